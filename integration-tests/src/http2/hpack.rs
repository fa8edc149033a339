//! Header blocks (RFC 7541) as tests need them: written as literals, read whole.

/// Fields in order: names and values as bytes, for what is no text must be sendable too.
pub type Block = Vec<(Vec<u8>, Vec<u8>)>;

/// RFC 7541 appendix A, `name` or `name=value`, from index 1.
const STATIC: &str = ":authority :method=GET :method=POST :path=/ :path=/index.html :scheme=http \
    :scheme=https :status=200 :status=204 :status=206 :status=304 :status=400 :status=404 \
    :status=500 accept-charset accept-encoding=gzip,~deflate accept-language accept-ranges accept \
    access-control-allow-origin age allow authorization cache-control content-disposition \
    content-encoding content-language content-length content-location content-range content-type \
    cookie date etag expect expires from host if-match if-modified-since if-none-match if-range \
    if-unmodified-since last-modified link location max-forwards proxy-authenticate \
    proxy-authorization range referer refresh retry-after server set-cookie \
    strict-transport-security transfer-encoding user-agent vary via www-authenticate";

/// The lengths of the codes of RFC 7541 appendix B, one letter for each symbol: `A` is 5 bits. The
/// code is canonical, so its lengths are all of it.
const LENGTHS: &[u8; 256] = b"ISXXXXXXXTZXXZXXXXXXXXZXXXXXXXXXBFFHIBDGFFDGDBBBAAABBBBBBBCDKBHF\
    IBCCCCCCCCCCCCCCCCCCCCCCDCDIOIJBKABABABBBACCBBBABCBAABCCCCCKGJIXPRPPRRRSRSSSSSTSTTRSTSSSSQRSRSST\
    RQPRRSSQSRRTQRSSQQRQSRSSPRRRSRRSVVPORSRUVVVWWVTUOQVWWVWTQQVVXWWWPTPQRQQSRRUUTTVSVWVVWWWWWXWWWWWV";

/// Writes a block of literals without indexing.
#[must_use]
pub fn literals<N: AsRef<[u8]>, V: AsRef<[u8]>>(fields: &[(N, V)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in fields {
        out.push(0);
        string(&mut out, name.as_ref());
        string(&mut out, value.as_ref());
    }
    out
}

/// Writes a string as it is.
pub fn string(out: &mut Vec<u8>, bytes: &[u8]) {
    integer(out, 0, 7, bytes.len());
    out.extend_from_slice(bytes);
}

/// Writes an integer behind `flags`, in a prefix of so many bits.
pub fn integer(out: &mut Vec<u8>, flags: u8, bits: u32, value: usize) {
    let most = (1 << bits) - 1;
    if value < most {
        out.push(flags | value as u8);
        return;
    }
    out.push(flags | most as u8);
    let mut rest = value - most;
    while rest >= 128 {
        out.push((rest & 127) as u8 | 128);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// Reads the other side's blocks.
#[derive(Debug, Default)]
pub struct Decoder {
    /// Newest first.
    dynamic: Vec<(Vec<u8>, Vec<u8>)>,
    /// Codes in order: length, symbol.
    codes: Vec<(u8, u8)>,
}

impl Decoder {
    /// Reads a block.
    ///
    /// # Panics
    /// When it is none.
    pub fn read(&mut self, mut block: &[u8]) -> Block {
        let mut fields = Vec::new();
        while let Some(first) = block.first().copied() {
            if first & 0x80 != 0 {
                fields.push(self.entry(take_integer(&mut block, 7)));
            } else if first & 0xe0 == 0x20 {
                let size = take_integer(&mut block, 5);
                assert!(size <= 4096, "a dynamic table of {size} bytes");
            } else {
                let is_indexed = first & 0x40 != 0;
                let index = take_integer(&mut block, if is_indexed { 6 } else { 4 });
                let name = if index == 0 { self.take_string(&mut block) } else { self.entry(index).0 };
                let value = self.take_string(&mut block);
                if is_indexed {
                    self.dynamic.insert(0, (name.clone(), value.clone()));
                    let mut size = 0;
                    self.dynamic.retain(|(name, value)| {
                        size += name.len() + value.len() + 32;
                        size <= 4096
                    });
                }
                fields.push((name, value));
            }
        }
        fields
    }

    fn entry(&self, index: usize) -> (Vec<u8>, Vec<u8>) {
        if let Some(entry) = index.checked_sub(62) {
            return self.dynamic.get(entry).unwrap_or_else(|| panic!("no field {index}")).clone();
        }
        let entry = STATIC.split_whitespace().nth(index - 1).expect("an index of the static table");
        let (name, value) = entry.split_once('=').unwrap_or((entry, ""));
        (name.into(), value.replace('~', " ").into())
    }

    fn take_string(&mut self, block: &mut &[u8]) -> Vec<u8> {
        let is_huffman = block[0] & 0x80 != 0;
        let length = take_integer(block, 7);
        let (bytes, rest) = block.split_at(length);
        *block = rest;
        if is_huffman { self.huffman(bytes) } else { bytes.to_vec() }
    }

    fn huffman(&mut self, bytes: &[u8]) -> Vec<u8> {
        if self.codes.is_empty() {
            self.codes = (0..=255).map(|symbol| (LENGTHS[usize::from(symbol)] - b'A' + 5, symbol)).collect();
            self.codes.sort_unstable();
        }
        let mut bits = bytes.iter().flat_map(|byte| (0..8).rev().map(move |at| u32::from(byte >> at & 1)));
        let mut out = Vec::new();
        // Canonical: of each length the first code and where its symbols begin follow from those before.
        'symbols: loop {
            let (mut code, mut first, mut begin) = (0, 0, 0);
            for length in 1..=30 {
                let Some(bit) = bits.next() else { return out };
                code = code << 1 | bit;
                let count = self.codes.iter().filter(|(long, _)| *long == length).count();
                if code < first + count as u32 {
                    out.push(self.codes[begin + (code - first) as usize].1);
                    continue 'symbols;
                }
                first += count as u32;
                begin += count;
                first <<= 1;
            }
            panic!("no Huffman code");
        }
    }
}

fn take_integer(block: &mut &[u8], bits: u32) -> usize {
    let most = (1 << bits) - 1;
    let mut value = usize::from(block[0]) & most;
    *block = &block[1..];
    if value == most {
        let mut shift = 0;
        loop {
            let byte = block[0];
            *block = &block[1..];
            value += usize::from(byte & 127) << shift;
            shift += 7;
            if byte & 128 == 0 {
                break;
            }
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7541 C.4.1 and C.4.2, C.2.1.
    #[test]
    fn examples_of_the_rfc() {
        let mut decoder = Decoder::default();
        let first = b"\x82\x86\x84\x41\x8c\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff";
        let authority = (b":authority".to_vec(), b"www.example.com".to_vec());
        assert_eq!(decoder.read(first)[3], authority);
        let second = decoder.read(b"\x82\x86\x84\xbe\x58\x86\xa8\xeb\x10\x64\x9c\xbf");
        assert_eq!(second[3..], [authority, (b"cache-control".to_vec(), b"no-cache".to_vec())]);
    }

    #[test]
    fn what_is_written_is_read() {
        let long = "x".repeat(300);
        let fields = [("a", "b"), ("long", long.as_str())];
        let read = Decoder::default().read(&literals(&fields));
        assert_eq!(read, fields.map(|(name, value)| (name.into(), value.into())));
    }
}
