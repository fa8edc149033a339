//! A route's changes to header fields, on a head that is already written.
//!
//! Ours are in it by then, so they can be changed like all others; what frames a message cannot,
//! nor what is hop-by-hop, whoever asks. Costs nothing where a route changes nothing.

use std::io::Write;
use std::net::IpAddr;

use weir_config::model::{HeaderEdits, HeaderTemplate, Piece};

use super::headers::{Peer, RequestId};
use super::story::Story;
use crate::http1::head::{Known, RequestHead};
use crate::tls::Secure;

/// What values may say of a request. Everything in here was checked when it came in: no piece holds
/// the end of a line.
#[derive(Clone, Copy)]
pub(crate) struct Facts<'a> {
    pub(crate) request: &'a RequestHead,
    /// Who asks, as trusted proxies tell it.
    pub(crate) client: IpAddr,
    pub(crate) id: Option<&'a RequestId>,
    /// It came over TLS, to us or to a proxy that is believed.
    pub(crate) secure: bool,
    /// The cluster that answers; empty if none does.
    pub(crate) cluster: &'a str,
    /// The name that was asked for by SNI.
    pub(crate) server_name: &'a str,
}

impl<'a> Facts<'a> {
    pub(crate) fn of(peer: &Peer, request: &'a RequestHead, story: &'a Story, cluster: &'a str) -> Self {
        let client = story.client(peer.address.ip());
        Self { request, client, id: story.id.as_ref(), secure: story.secure, cluster, server_name: "" }
    }

    /// The same of a client with this TLS.
    pub(crate) fn of_tls(self, secure: Option<&'a Secure>) -> Self {
        let server_name = secure.and_then(|secure| secure.server_name.as_deref());
        Self { server_name: server_name.unwrap_or_default(), ..self }
    }
}

/// Changes the head that `out` holds from `start` on: its first line and its fields, each with its
/// line end, without the empty line that ends it.
pub(crate) fn apply(out: &mut Vec<u8>, start: usize, edits: &HeaderEdits, facts: &Facts<'_>) {
    if !edits.remove.is_empty() || !edits.set.is_empty() {
        let gone = |name: &[u8]| {
            let is = |its: &String| name.eq_ignore_ascii_case(its.as_bytes());
            is_free(name) && (edits.remove.iter().any(is) || edits.set.iter().any(|(its, _)| is(its)))
        };
        remove(out, start, gone);
    }
    for (name, template) in edits.set.iter().chain(&edits.add) {
        if is_free(name.as_bytes()) {
            push(out, name, template, facts);
        }
    }
}

/// Whether a field is anybody's to change: not if it says where a message ends, where it goes, or
/// what the next hop alone is to do with it.
fn is_free(name: &[u8]) -> bool {
    match Known::of(name) {
        Known::Connection
        | Known::ContentLength
        | Known::Expect
        | Known::HopByHop
        | Known::Host
        | Known::TransferEncoding
        | Known::Upgrade => false,
        _ => !name.eq_ignore_ascii_case(b"trailer"),
    }
}

/// Takes out the fields whose name `gone` says.
fn remove(out: &mut Vec<u8>, start: usize, gone: impl Fn(&[u8]) -> bool) {
    let (mut read, mut write) = (start, start);
    while read < out.len() {
        let end = memchr::memchr(b'\n', &out[read..]).map_or(out.len(), |at| read + at + 1);
        let line = &out[read..end];
        // The first line has its colon, if any, behind a space: it is no name.
        let name = &line[..memchr::memchr(b':', line).unwrap_or(0)];
        if read == start || !gone(name) {
            out.copy_within(read..end, write);
            write += end - read;
        }
        read = end;
    }
    out.truncate(write);
}

/// Appends a field. One whose pieces all have nothing to say is left out.
fn push(out: &mut Vec<u8>, name: &str, template: &HeaderTemplate, facts: &Facts<'_>) {
    let start = out.len();
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    let value = out.len();
    template.0.iter().for_each(|piece| push_piece(out, piece, facts));
    let is_whole = memchr::memchr3(b'\r', b'\n', 0, &out[value..]).is_none();
    if is_whole && (out.len() > value || template.0.is_empty()) {
        out.extend_from_slice(b"\r\n");
    } else {
        out.truncate(start);
    }
}

fn push_piece(out: &mut Vec<u8>, piece: &Piece, facts: &Facts<'_>) {
    let text: &[u8] = match piece {
        Piece::Text(text) => text.as_bytes(),
        // Writing to a Vec cannot fail.
        Piece::ClientAddress => return drop(write!(out, "{}", facts.client.to_canonical())),
        Piece::Host => facts.request.host().as_bytes(),
        Piece::Path => facts.request.path().as_bytes(),
        Piece::RequestId => facts.id.map_or(&[], RequestId::as_bytes),
        Piece::Scheme if facts.secure => b"https",
        Piece::Scheme => b"http",
        Piece::Cluster => facts.cluster.as_bytes(),
        Piece::ServerName => facts.server_name.as_bytes(),
    };
    out.extend_from_slice(text);
}

#[cfg(test)]
mod tests {
    use weir_config::model::ListenerLimits;

    use super::*;
    use crate::http1::parse;

    const LIMITS: ListenerLimits = ListenerLimits {
        connections: None,
        connections_per_client: None,
        header_bytes: 4096,
        header_count: 100,
        uri_bytes: 1024,
        body_bytes: None,
        body_min_rate: 0,
    };

    fn edits(remove: &[&str], set: &[(&str, &[Piece])], add: &[(&str, &[Piece])]) -> HeaderEdits {
        let fields = |fields: &[(&str, &[Piece])]| {
            fields.iter().map(|(name, pieces)| ((*name).to_owned(), HeaderTemplate(pieces.to_vec()))).collect()
        };
        HeaderEdits {
            remove: remove.iter().map(|name| (*name).to_owned()).collect(),
            set: fields(set),
            add: fields(add),
        }
    }

    fn edited(head: &str, edits: &HeaderEdits) -> String {
        let mut request = RequestHead::default();
        parse::request(b"GET /a:b?c HTTP/1.1\r\nHost: A.example:80\r\n\r\n", &LIMITS, &mut request).unwrap();
        let id = RequestId::given(b"id-1").unwrap();
        let facts = Facts {
            request: &request,
            client: "::ffff:192.0.2.7".parse().unwrap(),
            id: Some(&id),
            secure: true,
            cluster: "shop",
            server_name: "",
        };
        let mut out = format!("before: 1\r\n{head}").into_bytes();
        apply(&mut out, 11, edits, &facts);
        String::from_utf8(out).unwrap().strip_prefix("before: 1\r\n").unwrap().to_owned()
    }

    fn text(text: &str) -> Piece {
        Piece::Text(text.into())
    }

    const HEAD: &str = "GET /x-a: HTTP/1.1\r\nX-A: 1\r\nx-b: 2\r\nX-A: 3\r\n";

    #[test]
    fn fields_go_are_set_and_added() {
        assert_eq!(edited(HEAD, &edits(&["x-a"], &[], &[])), "GET /x-a: HTTP/1.1\r\nx-b: 2\r\n");
        assert_eq!(edited(HEAD, &edits(&["get /x-a"], &[], &[])), HEAD);
        assert_eq!(
            edited(HEAD, &edits(&[], &[("x-a", &[text("n")])], &[("x-b", &[text("m")])])),
            "GET /x-a: HTTP/1.1\r\nx-b: 2\r\nx-a: n\r\nx-b: m\r\n"
        );
        assert_eq!(
            edited(HEAD, &edits(&["x-b"], &[], &[("x-b", &[])])),
            "GET /x-a: HTTP/1.1\r\nX-A: 1\r\nX-A: 3\r\nx-b: \r\n"
        );
    }

    #[test]
    fn values_tell_of_the_request() {
        let all = [
            Piece::ClientAddress,
            text(" "),
            Piece::Host,
            Piece::Path,
            text(" "),
            Piece::RequestId,
            Piece::Scheme,
            Piece::Cluster,
            Piece::ServerName,
        ];
        assert_eq!(
            edited("GET / HTTP/1.1\r\n", &edits(&[], &[], &[("x-a", &all)])),
            "GET / HTTP/1.1\r\nx-a: 192.0.2.7 A.example/a:b id-1httpsshop\r\n"
        );
        // Nothing to say.
        assert_eq!(edited("GET / HTTP/1.1\r\n", &edits(&[], &[], &[("x-a", &all[8..])])), "GET / HTTP/1.1\r\n");
    }

    #[test]
    fn what_frames_a_message_stays_whoever_asks() {
        let head = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nConnection: close\r\n";
        let names = ["host", "content-length", "transfer-encoding", "connection", "te", "upgrade", "trailer", "expect"];
        let set: Vec<(&str, &[Piece])> = names.iter().map(|name| (*name, &[][..])).collect();
        assert_eq!(edited(head, &edits(&names, &set, &set)), head);
        // Nor can a value end its line.
        assert_eq!(edited(head, &edits(&[], &[("x-a", &[text("b\r\nx: y")])], &[("x-b", &[text("c\n")])])), head);
    }
}
