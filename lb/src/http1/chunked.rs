//! The chunked coding (RFC 9112 7.1), strictly: a state machine over slices, no IO.
//!
//! What comes out is data and at the end the trailer section; size lines are made anew by whoever
//! sends the data on, so extensions, odd zeros and the like never pass.

/// The input is not the chunked coding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BadChunk;

/// Most bytes of chunk extensions, beyond as many as there was data. They mean nothing to anybody;
/// a body that is made of them is an attack.
const EXTENSIONS_MAX: u32 = 4096;
/// Most bytes of a trailer section: as many as an endpoint's head has, for what gRPC says of a call's
/// end (`grpc-status-details-bin`) comes before the messages or behind them.
const TRAILERS_MAX: usize = super::parse::RESPONSE_HEAD_MAX;

#[derive(Debug, Default)]
enum State {
    /// In the digits of a size line: how many so far, and the size.
    #[default]
    Size,
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    Trailers,
    Done,
}

/// Takes a chunked body apart.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    state: State,
    digits: u8,
    left: u64,
    extensions: u32,
    trailers: Vec<u8>,
}

impl Decoder {
    /// Reads on in `input`; gives data to `data` piece by piece and returns how many bytes of
    /// `input` belong to this body. Less than all only when the body [is done](Self::is_done).
    ///
    /// # Errors
    /// At the first byte that cannot be.
    pub(crate) fn decode<'i>(&mut self, input: &'i [u8], mut data: impl FnMut(&'i [u8])) -> Result<usize, BadChunk> {
        let mut at = 0;
        while at < input.len() {
            let byte = input[at];
            match self.state {
                State::Size => {
                    at += 1;
                    self.size_line(byte)?;
                }
                State::Extension => {
                    at += 1;
                    self.extension(byte)?;
                }
                State::SizeLf => {
                    at += 1;
                    expect(byte, b'\n')?;
                    self.digits = 0;
                    self.state = if self.left == 0 { State::Trailers } else { State::Data };
                }
                State::Data => {
                    let take = usize::try_from(self.left).unwrap_or(usize::MAX).min(input.len() - at);
                    data(&input[at..at + take]);
                    // Data earns room for more extensions.
                    self.extensions = self.extensions.saturating_sub(u32::try_from(take).unwrap_or(u32::MAX));
                    at += take;
                    self.left -= take as u64;
                    if self.left == 0 {
                        self.state = State::DataCr;
                    }
                }
                State::DataCr => {
                    at += 1;
                    expect(byte, b'\r')?;
                    self.state = State::DataLf;
                }
                State::DataLf => {
                    at += 1;
                    expect(byte, b'\n')?;
                    self.state = State::Size;
                }
                State::Trailers => {
                    at += 1;
                    self.trailer(byte)?;
                }
                State::Done => break,
            }
        }
        Ok(at)
    }

    /// Whether the last byte of the body has been read.
    pub(crate) const fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    /// How many bytes of data are next; 0 where something else is.
    pub(crate) fn data_left(&self) -> usize {
        if matches!(self.state, State::Data) { usize::try_from(self.left).unwrap_or(usize::MAX) } else { 0 }
    }

    /// The trailer section, field lines with their line ends; empty if there was none.
    pub(crate) fn trailers(&self) -> &[u8] {
        &self.trailers
    }

    fn size_line(&mut self, byte: u8) -> Result<(), BadChunk> {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            b'A'..=b'F' => byte - b'A' + 10,
            b'\r' if self.digits > 0 => {
                self.state = State::SizeLf;
                return Ok(());
            }
            b';' if self.digits > 0 => {
                self.state = State::Extension;
                return Ok(());
            }
            _ => return Err(BadChunk),
        };
        if self.digits == 0 {
            self.left = 0;
        }
        self.digits += 1;
        // 15 digits: below 2^60, so nobody's arithmetic overflows on what we pass.
        if self.digits > 15 {
            return Err(BadChunk);
        }
        self.left = self.left << 4 | u64::from(digit);
        Ok(())
    }

    fn extension(&mut self, byte: u8) -> Result<(), BadChunk> {
        self.extensions += 1;
        match byte {
            b'\r' => self.state = State::SizeLf,
            b'\t' | b' '..=b'~' | 0x80.. => {}
            _ => return Err(BadChunk),
        }
        if self.extensions > EXTENSIONS_MAX { Err(BadChunk) } else { Ok(()) }
    }

    fn trailer(&mut self, byte: u8) -> Result<(), BadChunk> {
        self.trailers.push(byte);
        if byte == b'\n' {
            match self.trailers.as_slice() {
                [b'\r', b'\n'] | [.., b'\r', b'\n', b'\r', b'\n'] => {
                    self.trailers.truncate(self.trailers.len() - 2);
                    self.state = State::Done;
                }
                [.., b'\r', b'\n'] => {}
                _ => return Err(BadChunk),
            }
        }
        if self.trailers.len() > TRAILERS_MAX { Err(BadChunk) } else { Ok(()) }
    }
}

fn expect(byte: u8, wanted: u8) -> Result<(), BadChunk> {
    if byte == wanted { Ok(()) } else { Err(BadChunk) }
}

/// Appends a size line for `size` bytes with at least `width` digits.
pub(crate) fn size_line(out: &mut Vec<u8>, size: usize, width: usize) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let digits = (usize::BITS as usize - size.leading_zeros() as usize).div_ceil(4).max(width).max(1);
    out.extend((0..digits).rev().map(|digit| HEX[size >> (digit * 4) & 0xf]));
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Data, trailers and the number of bytes left over, fed in pieces of `step`.
    fn decode(input: &[u8], step: usize) -> Result<(Vec<u8>, Vec<u8>, usize, bool), BadChunk> {
        let mut decoder = Decoder::default();
        let mut data = Vec::new();
        let mut used = 0;
        for piece in input.chunks(step) {
            let took = decoder.decode(piece, |part| data.extend_from_slice(part))?;
            used += took;
            if took < piece.len() {
                break;
            }
        }
        Ok((data, decoder.trailers().to_vec(), input.len() - used, decoder.is_done()))
    }

    #[test]
    fn good_bodies_in_pieces_of_every_size() {
        let body = b"5\r\nhello\r\n00006;a=\"b\"\r\n world\r\nA\r\n0123456789\r\n0\r\nX-Sum: 1\r\n\r\nGET /";
        for step in 1..=body.len() {
            let (data, trailers, left, done) = decode(body, step).unwrap();
            assert_eq!(data, b"hello world0123456789");
            assert_eq!(trailers, b"X-Sum: 1\r\n");
            assert!(done);
            assert_eq!(left, 5);
        }
        assert_eq!(decode(b"0\r\n\r\n", 1).unwrap(), (vec![], vec![], 0, true));
        assert!(!decode(b"5\r\nhel", 1).unwrap().3);
    }

    #[test]
    fn bad_bodies() {
        for body in [
            &b"\r\n"[..],
            b"0x5\r\nhello\r\n",
            b"-5\r\nhello\r\n",
            b"+5\r\nhello\r\n",
            b" 5\r\nhello\r\n",
            b"5 \r\nhello\r\n",
            b"5\nhello\r\n",
            b"5\rhello",
            b"5\r\nhello!\r\n",
            b"5\r\nhelloX\n",
            b"5\r\nhello\n",
            b"5;a\nb\r\nhello",
            b"5;\0\r\nhello",
            b"ffffffffffffffff\r\n",
            b"0000000000000005\r\nhello\r\n",
            b"g\r\n",
            b";\r\n",
            b"0\r\nX: 1\n\r\n",
            b"0\r\n\n",
        ] {
            assert_eq!(decode(body, 1), Err(BadChunk), "{}", body.escape_ascii());
            assert_eq!(decode(body, body.len()), Err(BadChunk), "{}", body.escape_ascii());
        }
    }

    #[test]
    fn extensions_and_trailers_are_bounded() {
        let mut body = b"5;".to_vec();
        body.resize(EXTENSIONS_MAX as usize + 10, b'a');
        assert_eq!(decode(&body, 512), Err(BadChunk));
        let mut body = b"0\r\n".to_vec();
        body.resize(TRAILERS_MAX + 10, b'a');
        assert_eq!(decode(&body, 512), Err(BadChunk));
    }

    #[test]
    fn size_lines() {
        for (size, width, line) in
            [(0, 0, "0\r\n"), (15, 0, "f\r\n"), (16, 0, "10\r\n"), (5, 4, "0005\r\n"), (65_536, 1, "10000\r\n")]
        {
            let mut out = Vec::new();
            size_line(&mut out, size, width);
            assert_eq!(out, line.as_bytes());
        }
    }
}
