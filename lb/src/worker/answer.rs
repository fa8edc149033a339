//! Answers that a route gives itself because it was told to: redirects and fixed ones.
//!
//! They are no failures: they have no reason, and are counted and logged like those of endpoints.

use std::fmt::Write as _;
use std::io::Write as _;

use weir_config::model::{FixedReply, PathMatch, Reply};
use weir_core::reason::Reason;
use weir_core::rewrite::{self, Asked};
use weir_core::snapshot::Listener;

use super::Worker;
use super::forward::{Inbound, Refused};
use super::headers;
use super::reply::{self, Fate};
use crate::env::Env;
use crate::http1::head::RequestHead;

/// What is answered.
struct Says<'r> {
    status: u16,
    location: Option<String>,
    kind: &'r str,
    body: Vec<u8>,
}

/// Answers a request as its route says.
pub(crate) async fn give<E: Env>(
    worker: &Worker<E>,
    listener: &Listener,
    with: &Reply,
    inbound: &mut Inbound<'_, E::Stream>,
) -> Fate {
    let says = match with {
        Reply::Fixed(FixedReply { status, body, content_type }) => {
            Some(Says { status: *status, location: None, kind: content_type, body: body.clone().into_bytes() })
        }
        Reply::Redirect(redirect) => {
            let route = inbound.story.route.map(|at| &listener.config.routes[at].matches.path);
            let asked = asked(&inbound.heads.request, inbound.story.secure);
            rewrite::redirect(redirect, route.unwrap_or(&PathMatch::Any), &asked).map(|(status, location)| Says {
                status,
                body: page(&location),
                location: Some(location),
                kind: "text/html; charset=utf-8",
            })
        }
    };
    match says {
        Some(says) => send(worker, listener, &says, inbound).await,
        // An HTTP/1.0 request that does not say which host it is for.
        None => reply::refuse(worker, listener, Refused::from(Reason::BadHost), inbound).await,
    }
}

fn asked(request: &RequestHead, secure: bool) -> Asked<'_> {
    let (path, target) = (request.path(), request.target());
    Asked {
        secure,
        method: request.method(),
        host: request.host(),
        port: rewrite::port(request.authority()),
        path,
        // Bytes over 0x7f were refused when the head was parsed.
        query: target.get(path.len()..).and_then(|query| std::str::from_utf8(query).ok()).unwrap_or_default(),
    }
}

async fn send<E: Env>(
    worker: &Worker<E>,
    listener: &Listener,
    says: &Says<'_>,
    inbound: &mut Inbound<'_, E::Stream>,
) -> Fate {
    let Inbound { client, heads, upload, story, .. } = inbound;
    let request = &heads.request;
    let ending = reply::ending(worker, client, request, upload);
    story.status = says.status;
    let out = client.wire.outbox.tail();
    let start = out.len();
    headers::push_status(out, says.status);
    let phrase = http::StatusCode::from_u16(says.status).ok().and_then(|status| status.canonical_reason());
    // Writing to a Vec cannot fail.
    let _ = write!(out, "{}\r\n", phrase.unwrap_or_default());
    if let Some(location) = &says.location {
        let _ = write!(out, "Location: {location}\r\n");
    }
    let has_body = !matches!(says.status, 204 | 304);
    if has_body {
        if !says.body.is_empty() {
            let _ = write!(out, "Content-Type: {}\r\n", says.kind);
        }
        headers::push_length(out, says.body.len() as u64);
    }
    if let Some(id) = &story.id {
        let _ = write!(out, "X-Request-Id: {}\r\n", id.as_str());
    }
    out.extend_from_slice(&story.fields);
    reply::edit(out, start, listener, (&client.peer, client.secure.as_deref()), request, story);
    headers::connection(out, request.version, ending.closing);
    out.extend_from_slice(b"\r\n");
    if has_body && !request.is_head() {
        out.extend_from_slice(&says.body);
        story.body_out = says.body.len() as u64;
    }
    reply::end(listener, client, request, ending).await
}

/// For clients that do not follow: a link.
fn page(location: &str) -> Vec<u8> {
    let mut link = String::with_capacity(location.len());
    for letter in location.chars() {
        match letter {
            '&' | '<' | '>' | '"' | '\'' => {
                // Writing to a String cannot fail.
                let _ = write!(link, "&#{};", u32::from(letter));
            }
            _ => link.push(letter),
        }
    }
    format!("<!doctype html>\n<title>Elsewhere</title>\n<p>It is <a href=\"{link}\">elsewhere</a>.\n").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_cannot_end_its_quotes() {
        let page = String::from_utf8(page("http://a/?\"><script>'&b")).unwrap();
        assert!(page.contains("href=\"http://a/?&#34;&#62;&#60;script&#62;&#39;&#38;b\""), "{page}");
    }
}
