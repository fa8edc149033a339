//! HTTP/2 (RFC 9113) by hand, on either side of a connection: any bytes can be sent, and what comes
//! is read frame by frame. With prior knowledge, so without TLS.

pub mod endpoint;
pub mod hpack;

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use hpack::{Block, Decoder};
use socket2::SockRef;

use crate::wait;

/// Types of frames.
#[allow(missing_docs, reason = "the names are those of RFC 9113 6")]
pub mod kind {
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const PRIORITY: u8 = 2;
    pub const RST_STREAM: u8 = 3;
    pub const SETTINGS: u8 = 4;
    pub const PUSH_PROMISE: u8 = 5;
    pub const PING: u8 = 6;
    pub const GOAWAY: u8 = 7;
    pub const WINDOW_UPDATE: u8 = 8;
    pub const CONTINUATION: u8 = 9;
}

/// Flags of frames.
#[allow(missing_docs, reason = "the names are those of RFC 9113 6")]
pub mod flag {
    pub const ACK: u8 = 1;
    pub const END_STREAM: u8 = 1;
    pub const END_HEADERS: u8 = 4;
    pub const PADDED: u8 = 8;
    pub const PRIORITY: u8 = 32;
}

/// Error codes.
#[allow(missing_docs, reason = "the names are those of RFC 9113 7")]
pub mod code {
    pub const NO_ERROR: u32 = 0;
    pub const PROTOCOL_ERROR: u32 = 1;
    pub const INTERNAL_ERROR: u32 = 2;
    pub const FLOW_CONTROL_ERROR: u32 = 3;
    pub const STREAM_CLOSED: u32 = 5;
    pub const FRAME_SIZE_ERROR: u32 = 6;
    pub const REFUSED_STREAM: u32 = 7;
    pub const CANCEL: u32 = 8;
    pub const COMPRESSION_ERROR: u32 = 9;
    pub const ENHANCE_YOUR_CALM: u32 = 11;
}

/// What a client's connection begins with.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// See [`kind`].
    pub kind: u8,
    /// See [`flag`].
    pub flags: u8,
    /// 0: the connection's.
    pub stream: u32,
    /// Behind the nine bytes of its head.
    pub payload: Vec<u8>,
}

impl Frame {
    /// Its error code, if it is one of those that have one.
    #[must_use]
    pub fn code(&self) -> Option<u32> {
        let at = match self.kind {
            kind::RST_STREAM => 0,
            kind::GOAWAY => 4,
            _ => return None,
        };
        self.payload.get(at..at + 4).and_then(|bytes| Some(u32::from_be_bytes(bytes.try_into().ok()?)))
    }

    /// Whether it has all of these flags.
    #[must_use]
    pub fn has(&self, flags: u8) -> bool {
        self.flags & flags == flags
    }
}

/// A frame's bytes.
#[must_use]
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    bytes.extend_from_slice(&[kind, flags]);
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// A SETTINGS frame's bytes.
#[must_use]
pub fn settings(settings: &[(u16, u32)]) -> Vec<u8> {
    let payload: Vec<u8> =
        settings.iter().flat_map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat()).collect();
    frame(kind::SETTINGS, 0, 0, &payload)
}

/// How a stream ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// As it should: END_STREAM.
    Whole,
    /// By RST_STREAM with this code.
    Reset(u32),
    /// With its connection: by GOAWAY with this code.
    GoAway(u32),
    /// With its connection, closed or reset.
    Closed,
    /// It has not: nothing comes.
    Not,
}

/// What came on a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Header sections in order: interim ones, the head, trailers.
    pub blocks: Vec<Block>,
    /// All its data.
    pub body: Vec<u8>,
    /// How it ended.
    pub end: End,
}

impl Message {
    /// Its last status.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        let text = self.blocks.iter().rev().find_map(|block| field(block, ":status"))?;
        text.parse().ok()
    }

    /// A field of its head.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<String> {
        self.blocks.iter().find_map(|block| field(block, name))
    }
}

/// The first field of that name.
#[must_use]
pub fn field(block: &Block, name: &str) -> Option<String> {
    let found = block.iter().find(|(is, _)| is == name.as_bytes())?;
    Some(String::from_utf8_lossy(&found.1).into_owned())
}

/// One side of a connection.
#[derive(Debug)]
pub struct Raw {
    stream: TcpStream,
    inbox: Vec<u8>,
    /// Frames that were read while another was looked for.
    aside: VecDeque<Frame>,
    decoder: Decoder,
    /// Whether SETTINGS and PING are acknowledged as they should be.
    pub polite: bool,
}

impl Raw {
    /// A client's side, its preface and empty SETTINGS sent.
    ///
    /// # Panics
    /// When it cannot connect.
    #[must_use]
    pub fn client(to: SocketAddr) -> Self {
        Self::client_with(to, &[])
    }

    /// The same with these settings.
    ///
    /// # Panics
    /// When it cannot connect.
    #[must_use]
    pub fn client_with(to: SocketAddr, with: &[(u16, u32)]) -> Self {
        let mut raw = Self::silent(to);
        raw.send([PREFACE, &settings(with)].concat());
        raw
    }

    /// A client's side that has said nothing yet.
    ///
    /// # Panics
    /// When it cannot connect.
    #[must_use]
    pub fn silent(to: SocketAddr) -> Self {
        let stream = TcpStream::connect_timeout(&to, wait::PATIENCE).expect("the listener accepts");
        Self::over(stream)
    }

    /// A server's side of a connection it has accepted: the client's preface is read, SETTINGS sent.
    ///
    /// # Errors
    /// Those of the socket, or if the client says something else.
    pub fn server(stream: TcpStream, with: &[(u16, u32)]) -> io::Result<Self> {
        let mut raw = Self::over(stream);
        let mut preface = [0; 24];
        raw.stream.read_exact(&mut preface)?;
        if preface != PREFACE {
            return Err(io::ErrorKind::InvalidData.into());
        }
        raw.try_send(settings(with))?;
        Ok(raw)
    }

    fn over(stream: TcpStream) -> Self {
        let _ = stream.set_nodelay(true);
        let _ = stream.set_read_timeout(Some(wait::PATIENCE));
        let _ = stream.set_write_timeout(Some(wait::PATIENCE));
        Self { stream, inbox: Vec::new(), aside: VecDeque::new(), decoder: Decoder::default(), polite: true }
    }

    /// Waits this long for each read instead of [`wait::PATIENCE`].
    ///
    /// # Panics
    /// When it is no time.
    pub fn patience(&mut self, patience: Duration) {
        self.stream.set_read_timeout(Some(patience)).expect("a positive time");
    }

    /// Sends these bytes; whether the other side is still there, its answers tell.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.try_send(bytes);
    }

    /// Sends these bytes.
    ///
    /// # Errors
    /// Those of the socket.
    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.write_all(bytes.as_ref())
    }

    /// Sends a frame.
    pub fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        self.send(frame(kind, flags, stream, payload));
    }

    /// Sends a header section in one frame; `last`: with END_STREAM.
    pub fn headers<N: AsRef<[u8]>, V: AsRef<[u8]>>(&mut self, stream: u32, fields: &[(N, V)], last: bool) {
        let flags = flag::END_HEADERS | if last { flag::END_STREAM } else { 0 };
        self.frame(kind::HEADERS, flags, stream, &hpack::literals(fields));
    }

    /// Sends data; `last`: with END_STREAM.
    pub fn data(&mut self, stream: u32, data: impl AsRef<[u8]>, last: bool) {
        self.frame(kind::DATA, if last { flag::END_STREAM } else { 0 }, stream, data.as_ref());
    }

    /// Sends RST_STREAM.
    pub fn reset(&mut self, stream: u32, code: u32) {
        self.frame(kind::RST_STREAM, 0, stream, &code.to_be_bytes());
    }

    /// Sends WINDOW_UPDATE.
    pub fn window(&mut self, stream: u32, more: u32) {
        self.frame(kind::WINDOW_UPDATE, 0, stream, &more.to_be_bytes());
    }

    /// Sends GOAWAY.
    pub fn go_away(&mut self, last: u32, code: u32) {
        self.frame(kind::GOAWAY, 0, 0, &[last.to_be_bytes(), code.to_be_bytes()].concat());
    }

    /// The next frame that is not mere politeness, whatever stream it is of.
    ///
    /// # Errors
    /// When the connection ends (`UnexpectedEof`, `ConnectionReset`) or nothing comes (`WouldBlock`).
    pub fn next_frame(&mut self) -> io::Result<Frame> {
        match self.aside.pop_front() {
            Some(frame) => Ok(frame),
            None => self.receive(),
        }
    }

    /// The next frame for which `wanted` holds; others are kept.
    ///
    /// # Errors
    /// As [`Self::next_frame`].
    pub fn find(&mut self, wanted: impl Fn(&Frame) -> bool) -> io::Result<Frame> {
        if let Some(at) = self.aside.iter().position(&wanted) {
            return Ok(self.aside.remove(at).expect("it was found there"));
        }
        loop {
            let frame = self.receive()?;
            if wanted(&frame) {
                return Ok(frame);
            }
            self.aside.push_back(frame);
        }
    }

    fn receive(&mut self) -> io::Result<Frame> {
        loop {
            let frame = self.read_frame()?;
            let is_ack = frame.has(flag::ACK);
            match frame.kind {
                kind::SETTINGS if is_ack => {}
                kind::SETTINGS if self.polite => self.frame(kind::SETTINGS, flag::ACK, 0, &[]),
                kind::PING if !is_ack && self.polite => self.frame(kind::PING, flag::ACK, 0, &frame.payload),
                kind::WINDOW_UPDATE => {}
                _ => return Ok(frame),
            }
        }
    }

    /// The next frame, whatever it is.
    ///
    /// # Errors
    /// As [`Self::next_frame`].
    pub fn read_frame(&mut self) -> io::Result<Frame> {
        loop {
            if let [a, b, c, kind, flags, d, e, f, g, rest @ ..] = &self.inbox[..] {
                let length = u32::from_be_bytes([0, *a, *b, *c]) as usize;
                if rest.len() >= length {
                    let stream = u32::from_be_bytes([*d, *e, *f, *g]);
                    let frame = Frame { kind: *kind, flags: *flags, stream, payload: rest[..length].to_vec() };
                    self.inbox.drain(..9 + length);
                    return Ok(frame);
                }
            }
            let mut bytes = [0; 16 * 1024];
            let count = self.stream.read(&mut bytes)?;
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.inbox.extend_from_slice(&bytes[..count]);
        }
    }

    /// Whatever comes on a stream, to its end.
    pub fn message(&mut self, stream: u32) -> Message {
        let mut message = Message { blocks: Vec::new(), body: Vec::new(), end: End::Not };
        let (mut block, mut last) = (Vec::new(), false);
        loop {
            let frame = match self.find(|frame| frame.stream == stream || frame.kind == kind::GOAWAY) {
                Ok(frame) => frame,
                Err(error) => {
                    let silent = matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut);
                    message.end = if silent { End::Not } else { End::Closed };
                    return message;
                }
            };
            match frame.kind {
                kind::HEADERS | kind::CONTINUATION => block.extend_from_slice(&frame.payload),
                kind::DATA => message.body.extend_from_slice(&frame.payload),
                kind::RST_STREAM => message.end = End::Reset(frame.code().unwrap_or(u32::MAX)),
                // A polite one lets streams end that are under way.
                kind::GOAWAY if frame.code() == Some(code::NO_ERROR) => continue,
                kind::GOAWAY => message.end = End::GoAway(frame.code().unwrap_or(u32::MAX)),
                _ => {}
            }
            if matches!(frame.kind, kind::HEADERS | kind::CONTINUATION) && frame.has(flag::END_HEADERS) {
                message.blocks.push(self.decoder.read(&std::mem::take(&mut block)));
            }
            last |= matches!(frame.kind, kind::HEADERS | kind::DATA) && frame.has(flag::END_STREAM);
            if last && block.is_empty() {
                message.end = End::Whole;
            }
            if message.end != End::Not {
                return message;
            }
        }
    }

    /// The next request, to its end, and its stream.
    ///
    /// # Errors
    /// As [`Self::next_frame`].
    pub fn request(&mut self) -> io::Result<(u32, Message)> {
        let stream = self.request_head()?;
        Ok((stream, self.message(stream)))
    }

    /// The stream of the next request, which [`Self::message`] reads.
    ///
    /// # Errors
    /// As [`Self::next_frame`].
    pub fn request_head(&mut self) -> io::Result<u32> {
        let head = self.find(|frame| frame.kind == kind::HEADERS)?;
        let stream = head.stream;
        self.aside.push_front(head);
        Ok(stream)
    }

    /// Answers with 200 and this text.
    pub fn answer(&mut self, stream: u32, text: &str) {
        self.headers(stream, &[(":status", "200")], false);
        self.data(stream, text, true);
    }

    /// Waits until the other side has read all that was sent: by a PING. What comes before its
    /// answer is kept.
    ///
    /// # Errors
    /// As [`Self::next_frame`].
    pub fn settle(&mut self) -> io::Result<()> {
        self.try_send(frame(kind::PING, 0, 0, b"settled?"))?;
        self.find(|frame| frame.kind == kind::PING && frame.has(flag::ACK)).map(drop)
    }

    /// Reads a header section.
    pub fn decode(&mut self, block: &[u8]) -> Block {
        self.decoder.read(block)
    }

    /// Ends our direction.
    pub fn half_close(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Resets the connection.
    pub fn abort(self) {
        let _ = SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
    }
}
