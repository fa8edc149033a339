//! What keeps requests together on one endpoint: the hash key, and the cookie of a session.

use std::io::Write;
use std::net::IpAddr;

use weir_config::model::Sticky;
use weir_core::hash;
use weir_core::release::Asked;
use weir_core::route::RequestView;
use weir_core::snapshot::{Cluster, Member};

use super::forward::Inbound;
use crate::env::Stream;
use crate::http1::head::RequestHead;

/// What one request asks to be kept together by.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Affinity {
    /// Its hash key, if its cluster hashes: which of the keys it is, and the hash.
    pub(crate) hash: Option<(usize, u64)>,
    /// The endpoint its session is on, if it has a cookie that says so.
    pub(crate) session: Option<u64>,
}

impl Affinity {
    pub(crate) fn of<S: Stream>(cluster: &Cluster, inbound: &Inbound<'_, S>) -> Self {
        let request = &inbound.heads.request;
        let config = &cluster.config;
        let hash = if config.balance.hashes() {
            let Asked { view, query, client } = asked(request, inbound.client_address());
            hash::first_of(&config.hash.keys, &view, query, client)
        } else {
            None
        };
        Self { hash, session: config.sticky.as_ref().and_then(|sticky| hash::session(sticky, &request.fields)) }
    }

    /// The cookie that puts the session on `member`, unless it is there already.
    pub(crate) fn cookie(self, cluster: &Cluster, member: &Member) -> Option<Vec<u8>> {
        let sticky = cluster.config.sticky.as_ref()?;
        let id = hash::sticky(&member.key);
        (self.session != Some(id)).then(|| cookie(sticky, id))
    }
}

/// All that may decide on where a request goes.
pub(crate) fn asked(request: &RequestHead, client: IpAddr) -> Asked<'_> {
    let target = request.target();
    let query = memchr::memchr(b'?', target).and_then(|at| std::str::from_utf8(&target[at + 1..]).ok());
    let view =
        RequestView { method: request.method(), host: request.host(), path: request.path(), headers: &request.fields };
    Asked { view, query, client }
}

fn cookie(sticky: &Sticky, id: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(128);
    out.extend_from_slice(b"Set-Cookie: ");
    out.extend_from_slice(sticky.cookie.as_bytes());
    out.push(b'=');
    out.extend_from_slice(&hash::session_value(id));
    out.extend_from_slice(b"; Path=");
    out.extend_from_slice(sticky.path.as_bytes());
    if let Some(ttl) = sticky.ttl {
        // Writing to a Vec cannot fail.
        let _ = write!(out, "; Max-Age={}", ttl.as_secs());
    }
    // Nobody but us has a use for it.
    out.extend_from_slice(b"; HttpOnly; SameSite=Lax\r\n");
    out
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_cookie_says_how_long_and_where() {
        let mut sticky = Sticky { cookie: "sid".into(), ttl: None, path: "/app".into() };
        let text = |sticky: &Sticky| String::from_utf8(cookie(sticky, 0xabc)).unwrap();
        assert_eq!(text(&sticky), "Set-Cookie: sid=0000000000000abc; Path=/app; HttpOnly; SameSite=Lax\r\n");
        sticky.ttl = Some(Duration::from_secs(90));
        assert!(text(&sticky).contains("; Max-Age=90; HttpOnly"));
    }
}
