//! What frames come by, told from their heads alone as their bytes pass: `h2` says nothing of those
//! that bring nobody anything.
//!
//! And what comes in is strained for it. `h2` ends a connection on which a hundred frames of DATA ever
//! had nothing in them, and one on which many small ones wait for their streams to take them: both are
//! what attacks look like, and what honest peers do all day. So the former do not come to it (they are
//! [counted](Counts), which is for the worker to judge), and of the latter not more at a time than
//! streams are given the time to take away.

use std::io;
use std::task::{Context, Poll, ready};

use tokio::io::ReadBuf;

/// The client's first words, which are no frame.
const PREFACE: u32 = 24;
const HEAD: usize = 9;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
/// `h2` bounds them by what a header list may have.
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const PADDED: u8 = 8;
/// Frames that come in at a time, before others get their turn.
const TURN: u32 = 512;

/// The frames of one direction.
#[derive(Debug)]
pub(crate) struct Frames {
    head: [u8; HEAD],
    have: usize,
    /// Bytes until the next head begins.
    skip: u32,
    /// The last stream that began.
    last: u32,
}

/// How many frames there were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Those that are part of a message.
    pub(crate) parts: u32,
    /// All others: PING, SETTINGS, PRIORITY, WINDOW_UPDATE, RST_STREAM, unknown ones, and DATA with
    /// nothing in it.
    pub(crate) overhead: u32,
}

impl Counts {
    const fn all(self) -> u32 {
        self.parts.saturating_add(self.overhead)
    }
}

impl Frames {
    /// From a client whose preface is still to come.
    pub(crate) const fn of_client() -> Self {
        Self { head: [0; HEAD], have: 0, skip: PREFACE, last: 0 }
    }

    /// From a server.
    pub(crate) const fn of_server() -> Self {
        Self { skip: 0, ..Self::of_client() }
    }

    /// Counts those that begin within `bytes`, the next that come by.
    pub(crate) fn count(&mut self, mut bytes: &[u8], counts: &mut Counts) {
        while !bytes.is_empty() {
            let skipped = bytes.len().min(self.skip as usize);
            self.skip -= skipped as u32;
            bytes = &bytes[skipped..];
            bytes = self.take_head(bytes, counts).1;
        }
    }

    /// The same, and moves together what is left without those that say nothing; how much that is.
    /// Part of a head at the end is kept back, since it may be one of those.
    fn strain(&mut self, bytes: &mut [u8], counts: &mut Counts) -> usize {
        let (mut from, mut to) = (0, 0);
        while from < bytes.len() {
            let skipped = (bytes.len() - from).min(self.skip as usize);
            if from != to {
                bytes.copy_within(from..from + skipped, to);
            }
            (from, to) = (from + skipped, to + skipped);
            self.skip -= skipped as u32;
            let (kind, rest) = self.take_head(&bytes[from..], counts);
            from = bytes.len() - rest.len();
            if kind == Some(Kind::Something) {
                bytes[to..to + HEAD].copy_from_slice(&self.head);
                to += HEAD;
            }
        }
        to
    }

    /// Takes what is there of a frame's head; what frame it is, once the head is whole, and the rest.
    fn take_head<'b>(&mut self, bytes: &'b [u8], counts: &mut Counts) -> (Option<Kind>, &'b [u8]) {
        let taken = bytes.len().min(HEAD - self.have);
        self.head[self.have..self.have + taken].copy_from_slice(&bytes[..taken]);
        self.have += taken;
        let kind = (self.have == HEAD).then(|| self.begin(counts));
        (kind, &bytes[taken..])
    }

    /// The head of a frame is whole.
    fn begin(&mut self, counts: &mut Counts) -> Kind {
        let [a, b, c, kind, flags, stream @ ..] = self.head;
        self.have = 0;
        self.skip = u32::from_be_bytes([0, a, b, c]);
        let is_part = match kind {
            HEADERS | CONTINUATION => true,
            DATA => self.skip > 0 || flags & END_STREAM != 0,
            _ => false,
        };
        let counter = if is_part { &mut counts.parts } else { &mut counts.overhead };
        *counter = counter.saturating_add(1);
        let stream = u32::from_be_bytes(stream);
        if kind == HEADERS {
            self.last = self.last.max(stream);
        }
        // Where a stream cannot be, it is an error, and `h2`'s to see.
        let may_be = stream != 0 && stream <= self.last;
        if kind == DATA && !is_part && flags & PADDED == 0 && may_be { Kind::Nothing } else { Kind::Something }
    }
}

/// What a frame is to whoever reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Something,
    /// DATA with nothing in it, that ends nothing.
    Nothing,
}

/// What comes in, strained.
#[derive(Debug)]
pub(crate) struct Strained {
    frames: Frames,
    /// A head that was kept back and is to be given now: so many of its last bytes.
    given: usize,
    /// Frames since others had their turn.
    turn: u32,
}

impl Strained {
    pub(crate) const fn new(frames: Frames) -> Self {
        Self { frames, given: 0, turn: 0 }
    }

    /// Reads on by `read`, and counts what comes.
    pub(crate) fn poll_read(
        &mut self,
        mut read: impl FnMut(&mut Context<'_>, &mut ReadBuf<'_>) -> Poll<io::Result<()>>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
        counts: &mut Counts,
    ) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        while into.remaining() > 0 && into.filled().len() == before {
            if self.turn >= TURN {
                self.turn = 0;
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            let frames = counts.all();
            let polled = match (self.given, self.frames.have) {
                (0, 0) => self.poll_many(&mut read, context, into, counts),
                (0, _) => self.poll_rest(&mut read, context, counts),
                _ => {
                    self.give(into);
                    break;
                }
            };
            self.turn += counts.all() - frames;
            match polled {
                Poll::Ready(Ok(true)) => {}
                Poll::Ready(Ok(false)) => break,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    self.turn = 0;
                    return Poll::Pending;
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Whatever is there; false at the end of it.
    fn poll_many(
        &mut self,
        read: &mut impl FnMut(&mut Context<'_>, &mut ReadBuf<'_>) -> Poll<io::Result<()>>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
        counts: &mut Counts,
    ) -> Poll<io::Result<bool>> {
        let before = into.filled().len();
        ready!(read(context, into))?;
        let came = &mut into.filled_mut()[before..];
        let is_end = came.is_empty();
        let left = self.frames.strain(came, counts);
        into.set_filled(before + left);
        Poll::Ready(Ok(!is_end))
    }

    /// The rest of a head of which a part was kept back.
    fn poll_rest(
        &mut self,
        read: &mut impl FnMut(&mut Context<'_>, &mut ReadBuf<'_>) -> Poll<io::Result<()>>,
        context: &mut Context<'_>,
        counts: &mut Counts,
    ) -> Poll<io::Result<bool>> {
        let have = self.frames.have;
        let mut rest = [0; HEAD];
        let mut rest = ReadBuf::new(&mut rest[have..]);
        ready!(read(context, &mut rest))?;
        if rest.filled().is_empty() {
            // It ends in the middle of a head, which is for the reader to see.
            self.frames.head.copy_within(..have, HEAD - have);
            (self.frames.have, self.given) = (0, have);
        } else if self.frames.take_head(rest.filled(), counts).0 == Some(Kind::Something) {
            self.given = HEAD;
        }
        Poll::Ready(Ok(true))
    }

    /// Gives what was kept back.
    fn give(&mut self, into: &mut ReadBuf<'_>) {
        let count = self.given.min(into.remaining());
        let at = HEAD - self.given;
        into.put_slice(&self.frames.head[at..at + count]);
        self.given -= count;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, length: u8) -> Vec<u8> {
        let mut bytes = vec![0, 0, length, kind, flags, 0, 0, 0, 1];
        bytes.extend(std::iter::repeat_n(6, length.into()));
        bytes
    }

    #[test]
    fn frames_are_counted_however_they_are_cut() {
        let frames = [frame(6, 0, 8), frame(HEADERS, 4, 30), frame(DATA, 0, 0), frame(DATA, END_STREAM, 0)];
        let more = [frame(DATA, 0, 5), frame(CONTINUATION, 4, 0), frame(8, 0, 4), frame(0x77, 0, 200)];
        let bytes = [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &frames.concat(), &more.concat()].concat();
        for piece in [1, 2, 7, 9, 10, 64, bytes.len()] {
            let (mut frames, mut counts) = (Frames::of_client(), Counts::default());
            bytes.chunks(piece).for_each(|piece| frames.count(piece, &mut counts));
            assert_eq!(counts, Counts { parts: 4, overhead: 4 }, "in pieces of {piece}");
        }
    }

    /// What comes out of `bytes`, read in pieces of `piece` to places with `room`.
    fn strained(bytes: &[u8], piece: usize, room: usize) -> (Vec<u8>, Counts) {
        let (mut strained, mut counts) = (Strained::new(Frames::of_client()), Counts::default());
        let mut context = Context::from_waker(std::task::Waker::noop());
        let (mut rest, mut out) = (bytes, Vec::new());
        loop {
            let mut place = vec![0; room];
            let mut into = ReadBuf::new(&mut place);
            let read = |_: &mut Context<'_>, into: &mut ReadBuf<'_>| {
                let (now, later) = rest.split_at(rest.len().min(piece).min(into.remaining()));
                into.put_slice(now);
                rest = later;
                Poll::Ready(Ok(()))
            };
            match strained.poll_read(read, &mut context, &mut into, &mut counts) {
                Poll::Ready(read) if into.filled().is_empty() => {
                    read.unwrap();
                    return (out, counts);
                }
                Poll::Ready(_) => out.extend_from_slice(into.filled()),
                // It is the others' turn.
                Poll::Pending => {}
            }
        }
    }

    #[test]
    fn what_says_nothing_is_left_out_however_it_is_cut() {
        let nothing = || frame(DATA, 0, 0);
        let kept = [
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
            nothing(), // Of a stream that has not begun.
            frame(HEADERS, 4, 30),
            frame(DATA, 0, 5),
            frame(DATA, PADDED, 0),
            frame(6, 0, 8),
            frame(DATA, END_STREAM, 0),
            vec![0, 0, 0, DATA, 0, 0, 0, 0, 0],
            vec![0, 0],
        ];
        let mut bytes = kept[..4].concat();
        for frame in &kept[4..] {
            bytes.extend([nothing(), nothing(), frame.clone()].concat());
        }
        for piece in [1, 2, 5, 8, 9, 10, 64, bytes.len()] {
            for room in [1, 4, 9, 13, 1000] {
                let (out, counts) = strained(&bytes, piece, room);
                assert_eq!(out, kept.concat(), "in pieces of {piece}, to {room}");
                assert_eq!(counts, Counts { parts: 3, overhead: 14 }, "in pieces of {piece}, to {room}");
            }
        }
        let flood = nothing().repeat(3 * TURN as usize);
        let (out, counts) = strained(&[&kept[0], &kept[2], &flood].map(Vec::as_slice).concat(), 100, 100);
        assert_eq!((out, counts.overhead), (kept[0].iter().chain(&kept[2]).copied().collect(), 3 * TURN));
    }
}
