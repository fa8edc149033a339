//! HTTP/1 on the wire: heads, framing, chunks, buffered sockets. Both sides of the proxy use it.
//!
//! Sans-io but for [`wire`]. It knows no routes and no endpoints; steps 4 to 12 of the trunk
//! know nothing of it but [`head`]'s types, so another protocol can stand in its place.
//!
//! Ours and not a library's, for what a general server cannot give a proxy: to see every framing
//! field as it was sent (so that nothing ambiguous passes), to answer a malformed head with a
//! reason, to relay informational answers, and to spend a third of the instructions. The
//! tokenizer is `httparse`, which hyper stands on too.

pub(crate) mod chunked;
pub(crate) mod framing;
pub(crate) mod head;
pub(crate) mod host;
pub(crate) mod parse;
pub(crate) mod wire;

/// Appends `parts`, one after the other.
pub(crate) fn push(out: &mut Vec<u8>, parts: &[&[u8]]) {
    for part in parts {
        out.extend_from_slice(part);
    }
}
