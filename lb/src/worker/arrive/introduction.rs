//! Who a connection says it is: the PROXY protocol, from those who are believed.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::time::timeout;
use weir_config::model::ProxyIn;
use weir_core::reason::Reason;

use crate::env::Stream;
use crate::proxy::{self, Ends, Opening};

/// Whose connection it is, and what else was read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Introduced {
    /// Where it comes from.
    pub(super) peer: SocketAddr,
    /// Where it came to, if that was told.
    pub(super) to: Option<SocketAddr>,
    /// What came after the header, or instead of it: the first bytes of what is said next.
    pub(super) early: Vec<u8>,
}

/// The longest a header may take, whatever the listener grants a request's head.
const PATIENCE_MAX: Duration = Duration::from_secs(10);
/// Read at once: more than a header is, and little to hand on.
const PIECE: usize = 512;

/// Reads the header of a connection from `peer`, if one is expected of it.
///
/// # Errors
/// [`Reason::ProxyHeader`]: there was none, or not in time, or it is malformed.
pub(super) async fn introduction<S: Stream>(
    stream: &mut S,
    peer: SocketAddr,
    rule: &ProxyIn,
    patience: Duration,
) -> Result<Introduced, Reason> {
    let source = peer.ip().to_canonical();
    let mut read = Vec::new();
    if !rule.trusted.iter().any(|net| net.contains(&source)) {
        return Ok(Introduced { peer, to: None, early: read });
    }
    let heard = timeout(patience.min(PATIENCE_MAX), hear(stream, &mut read)).await;
    match heard.unwrap_or(if read.is_empty() { Opening::Absent } else { Opening::Malformed }) {
        Opening::Header(ends, length) => {
            read.drain(..length);
            let (peer, to) = ends.map_or((peer, None), |Ends { from, to }| (from, Some(to)));
            Ok(Introduced { peer, to, early: read })
        }
        Opening::Absent if rule.optional => Ok(Introduced { peer, to: None, early: read }),
        Opening::Absent | Opening::Partial | Opening::Malformed => Err(Reason::ProxyHeader),
    }
}

/// Reads until it is clear what there is; [`Opening::Partial`] if the connection ended before that.
async fn hear<S: Stream>(stream: &mut S, read: &mut Vec<u8>) -> Opening {
    let mut piece = [0; PIECE];
    loop {
        let count = stream.read(&mut piece).await.unwrap_or(0);
        read.extend_from_slice(&piece[..count]);
        match proxy::opening(read) {
            // Who says nothing at all says no header either.
            Opening::Partial if count == 0 && read.is_empty() => return Opening::Absent,
            Opening::Partial if count > 0 => {}
            clear => return clear,
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncWriteExt, DuplexStream, duplex};
    use tokio::time::Instant;

    use super::*;

    const PEER: &str = "10.0.0.9:1234";
    const V1: &[u8] = b"PROXY TCP4 192.0.2.1 198.51.100.2 5000 443\r\n";

    fn rule(optional: bool) -> ProxyIn {
        ProxyIn { optional, trusted: vec!["10.0.0.0/8".parse().unwrap()] }
    }

    async fn told(stream: &mut DuplexStream, peer: &str, optional: bool) -> Result<(String, String), Reason> {
        let introduced = introduction(stream, peer.parse().unwrap(), &rule(optional), Duration::from_secs(60)).await?;
        Ok((introduced.peer.to_string(), String::from_utf8(introduced.early).unwrap()))
    }

    async fn after(bytes: &[u8], peer: &str, optional: bool) -> Result<(String, String), Reason> {
        let (mut ours, mut theirs) = duplex(4096);
        theirs.write_all(bytes).await.unwrap();
        told(&mut ours, peer, optional).await
    }

    fn is(peer: &str, early: &str) -> Result<(String, String), Reason> {
        Ok((peer.into(), early.into()))
    }

    #[tokio::test(start_paused = true)]
    async fn only_the_trusted_are_heard_and_nothing_is_lost() {
        let whole = [V1, b"hello"].concat();
        for optional in [false, true] {
            assert_eq!(after(&whole, PEER, optional).await, is("192.0.2.1:5000", "hello"));
            assert_eq!(after(b"PROXY UNKNOWN\r\nhi", PEER, optional).await, is(PEER, "hi"));
            assert_eq!(after(b"PROXY TCP4 nonsense\r\n", PEER, optional).await, Err(Reason::ProxyHeader));
            // From a stranger it is what it is: the first bytes of whatever is spoken there.
            assert_eq!(after(&whole, "192.168.0.1:5", optional).await, is("192.168.0.1:5", ""));
        }
        assert_eq!(after(b"GET / HTTP/1.1\r\n", PEER, true).await, is(PEER, "GET / HTTP/1.1\r\n"));
        assert_eq!(after(b"GET / HTTP/1.1\r\n", PEER, false).await, Err(Reason::ProxyHeader));
    }

    #[tokio::test(start_paused = true)]
    async fn a_header_may_come_byte_by_byte_but_not_for_ever() {
        let (mut ours, mut theirs) = duplex(64);
        let slow = async {
            for byte in [V1, b"x"].concat() {
                theirs.write_u8(byte).await.unwrap();
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        };
        let (heard, ()) = tokio::join!(told(&mut ours, PEER, false), slow);
        assert_eq!(heard, is("192.0.2.1:5000", ""));

        for (says, optional, expected) in [
            (b"PROXY TCP4".as_slice(), false, Err(Reason::ProxyHeader)),
            (b"PROXY TCP4", true, Err(Reason::ProxyHeader)),
            (b"", false, Err(Reason::ProxyHeader)),
            // A client that waits for the endpoint to speak first.
            (b"", true, is(PEER, "")),
        ] {
            let (mut ours, mut theirs) = duplex(64);
            theirs.write_all(says).await.unwrap();
            let began = Instant::now();
            assert_eq!(told(&mut ours, PEER, optional).await, expected);
            assert_eq!(began.elapsed(), PATIENCE_MAX);
            drop(theirs);
        }
        let (mut ours, theirs) = duplex(64);
        drop(theirs);
        assert_eq!(told(&mut ours, PEER, false).await, Err(Reason::ProxyHeader));
    }
}
