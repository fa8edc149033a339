//! The body of a stream as HTTP/1 has it: what comes in.

use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use h2::RecvStream;
use http::HeaderMap;
use tokio::io::ReadBuf;

use super::{Form, is_value};
use crate::http1::push;

/// Room for a chunk's size line and the end of its line.
const CHUNK_FRAME: usize = 20;

/// A body that comes in.
pub(super) struct Source {
    stream: RecvStream,
    form: Form,
    /// Come and not read yet.
    data: Bytes,
    /// Come behind that, while nobody could take it.
    hoard: BytesMut,
    /// Text that did not fit where it was to be read to.
    text: Vec<u8>,
    ended: bool,
    /// A reset may say that the body is whole, and that no more of the other one is wanted.
    may_need_no_more: bool,
}

impl Source {
    pub(super) fn new(stream: RecvStream, form: Form) -> Self {
        Self {
            stream,
            form,
            data: Bytes::new(),
            hoard: BytesMut::new(),
            text: Vec::new(),
            ended: false,
            may_need_no_more: false,
        }
    }

    /// Of an answer: who gives a whole one before it has the request may reset the stream with NO_ERROR
    /// behind it (RFC 9113 8.1). Who has all of the request has nothing to say by that but that the
    /// answer breaks off.
    pub(super) fn may_need_no_more(&mut self, may: bool) {
        self.may_need_no_more = may;
    }

    /// From now on what comes is no body, but a tunnel's bytes.
    pub(super) fn become_raw(&mut self) {
        self.form = Form::Raw;
    }

    pub(super) fn is_raw(&self) -> bool {
        self.form == Form::Raw
    }

    /// Takes over what has come while nobody can take it on: there it is counted in frames, of which a
    /// conversation of small messages has more than may wait, here in bytes. No more may come for it.
    pub(super) fn hoard(&mut self, context: &mut Context<'_>) {
        while !self.ended
            && let Poll::Ready(Some(Ok(data))) = self.stream.poll_data(context)
        {
            self.hoard.extend_from_slice(&data);
        }
    }

    /// Reads on; ready with `false` when all has been read.
    pub(super) fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<Result<bool, h2::Error>> {
        let before = into.filled().len();
        loop {
            if !self.text.is_empty() {
                let count = self.text.len().min(into.remaining());
                into.put_slice(&self.text[..count]);
                self.text.drain(..count);
                return Poll::Ready(Ok(true));
            }
            if !self.data.is_empty() {
                self.take_data(into);
                if self.text.is_empty() && into.filled().len() > before && !self.stream.is_end_stream() {
                    return Poll::Ready(Ok(true));
                }
                // The end may go into the same read as the last of the data.
                if !self.data.is_empty() || into.remaining() == 0 {
                    return Poll::Ready(Ok(true));
                }
                continue;
            }
            if self.ended {
                return Poll::Ready(Ok(into.filled().len() > before));
            }
            match self.poll_frame(context) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending if into.filled().len() > before => return Poll::Ready(Ok(true)),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// The next frame's worth of body, or its end.
    fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Result<(), h2::Error>> {
        if !self.hoard.is_empty() {
            self.data = self.hoard.split().freeze();
            return Poll::Ready(Ok(()));
        }
        match ready!(self.stream.poll_data(context)) {
            Some(Ok(data)) => {
                self.data = data;
                return Poll::Ready(Ok(()));
            }
            Some(Err(error)) if self.is_end(&error) => {
                self.ended = true;
                last_chunk(&mut self.text, None);
                return Poll::Ready(Ok(()));
            }
            Some(Err(error)) => return Poll::Ready(Err(error)),
            None => {}
        }
        let trailers = ready!(self.stream.poll_trailers(context))?;
        self.ended = true;
        if self.form == Form::Chunked {
            last_chunk(&mut self.text, trailers.as_ref());
        }
        Poll::Ready(Ok(()))
    }

    /// Whether a body ends by this; one whose length was told is whole by that alone.
    fn is_end(&self, error: &h2::Error) -> bool {
        let no_more = error.is_reset() && error.is_remote() && error.reason() == Some(h2::Reason::NO_ERROR);
        no_more && self.may_need_no_more && self.form == Form::Chunked
    }

    fn take_data(&mut self, into: &mut ReadBuf<'_>) {
        let count = if self.form != Form::Chunked {
            let count = self.data.len().min(into.remaining());
            into.put_slice(&self.data[..count]);
            count
        } else if into.remaining() > CHUNK_FRAME {
            let count = self.data.len().min(into.remaining() - CHUNK_FRAME);
            into.put_slice(size_line(&mut [0; 16], count));
            into.put_slice(b"\r\n");
            into.put_slice(&self.data[..count]);
            into.put_slice(b"\r\n");
            count
        } else {
            let count = self.data.len();
            push(&mut self.text, &[size_line(&mut [0; 16], count), b"\r\n", &self.data, b"\r\n"]);
            count
        };
        self.data.advance(count);
        // Fails only once the stream is gone, and then nobody waits for room on it.
        let _ = self.stream.flow_control().release_capacity(count);
    }
}

/// `count` in hexadecimal digits.
fn size_line(digits: &mut [u8; 16], count: usize) -> &[u8] {
    let mut at = digits.len();
    let mut rest = count;
    loop {
        at -= 1;
        digits[at] = b"0123456789abcdef"[rest & 15];
        rest >>= 4;
        if rest == 0 {
            return &digits[at..];
        }
    }
}

fn last_chunk(out: &mut Vec<u8>, trailers: Option<&HeaderMap>) {
    out.extend_from_slice(b"0\r\n");
    for (name, value) in trailers.into_iter().flatten().filter(|(_, value)| is_value(value.as_bytes())) {
        push(out, &[name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"]);
    }
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_hexadecimal() {
        for count in [0, 1, 15, 16, 255, 256, 65_536, usize::MAX] {
            assert_eq!(size_line(&mut [0; 16], count), format!("{count:x}").as_bytes());
        }
    }

    #[test]
    fn trailers_are_field_lines() {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", "0".parse().unwrap());
        let mut out = Vec::new();
        last_chunk(&mut out, Some(&trailers));
        assert_eq!(out, b"0\r\ngrpc-status: 0\r\n\r\n");
    }
}
