//! Gzip (RFC 1952) around deflate.

/// How hard it is tried to make it small, of 10: a profile is made once and read once.
const LEVEL: u8 = 6;

/// `bytes`, compressed.
#[must_use]
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    // Deflate; no flags, no time, no hints, made on Unix.
    let mut out = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3];
    out.extend(miniz_oxide::deflate::compress_to_vec(bytes, LEVEL));
    out.extend(crc32(bytes).to_le_bytes());
    // Modulo 2^32, as it is defined.
    out.extend((bytes.len() as u32).to_le_bytes());
    out
}

/// The sum of RFC 1952, section 8, bit by bit: there is little of it.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| if sum & 1 == 1 { (sum >> 1) ^ 0xedb8_8320 } else { sum >> 1 })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_is_the_published_one() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        assert_eq!(crc32(b""), 0);
    }

    #[test]
    fn what_is_compressed_comes_back() {
        let bytes = "weir ".repeat(1000).into_bytes();
        let packed = gzip(&bytes);
        assert!(packed.len() < bytes.len() / 10);
        let deflated = &packed[10..packed.len() - 8];
        assert_eq!(miniz_oxide::inflate::decompress_to_vec(deflated).unwrap(), bytes);
    }
}
