//! The one thing of WebSocket that a proxy between the versions has to do itself: over HTTP/1 a
//! server proves that it has understood (RFC 6455 4.2.2), over HTTP/2 there is no such proof (RFC
//! 8441 5), so whoever asked over HTTP/1 is given it here.

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// What stands behind the key in what is hashed.
const MAGIC: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// A `Sec-WebSocket-Key` (RFC 6455 4.1): it has to be fresh, and is no secret.
pub(crate) fn key(nonce: u128) -> String {
    STANDARD.encode(nonce.to_be_bytes())
}

/// `Sec-WebSocket-Accept` for a `Sec-WebSocket-Key`.
pub(super) fn accept(key: &[u8]) -> String {
    // SHA-1 keeps no secret here: it is part of the protocol.
    let digest = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, &[key, MAGIC].concat());
    STANDARD.encode(digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_proof_is_that_of_the_standard() {
        assert_eq!(accept(b"dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }
}
