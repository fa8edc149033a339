//! What frames come by, told from their heads alone as their bytes pass: `h2` says nothing of those
//! that bring nobody anything.

/// The client's first words, which are no frame.
const PREFACE: u32 = 24;
const HEAD: usize = 9;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
/// `h2` bounds them by what a header list may have.
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;

/// The frames of one direction.
#[derive(Debug)]
pub(crate) struct Frames {
    head: [u8; HEAD],
    have: usize,
    /// Bytes until the next head begins.
    skip: u32,
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

impl Frames {
    /// From a client whose preface is still to come.
    pub(crate) const fn of_client() -> Self {
        Self { head: [0; HEAD], have: 0, skip: PREFACE }
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
            let taken = bytes.len().min(HEAD - self.have);
            self.head[self.have..self.have + taken].copy_from_slice(&bytes[..taken]);
            self.have += taken;
            bytes = &bytes[taken..];
            if self.have == HEAD {
                let [a, b, c, kind, flags, ..] = self.head;
                self.have = 0;
                self.skip = u32::from_be_bytes([0, a, b, c]);
                let is_part = match kind {
                    HEADERS | CONTINUATION => true,
                    DATA => self.skip > 0 || flags & END_STREAM != 0,
                    _ => false,
                };
                let counter = if is_part { &mut counts.parts } else { &mut counts.overhead };
                *counter = counter.saturating_add(1);
            }
        }
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
}
