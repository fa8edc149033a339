//! A file of user ids.

use std::path::PathBuf;

use crate::grammar::{self, Wrong};
use crate::model::{Canonical, Users};

/// Users of a file: one id a line; blank lines and those that start with `#` do not count.
///
/// # Errors
/// What is wrong, and in which line.
pub(crate) fn read_users(name: &str, bytes: &[u8], canonical: Canonical) -> Result<Users, Wrong> {
    let bad = |line: usize, what: &str| {
        Wrong::new("bad_users_file", format!("{name}, line {line}: {what}"))
            .hint("one id a line; lines that start with # are comments")
    };
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        let wrong = Wrong::new("bad_users_file", format!("{name} is UTF-16, not plain text"));
        return Err(wrong.hint("save it as UTF-8, or as plain ASCII"));
    }
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    if bytes.trim_ascii().is_empty() {
        let wrong = Wrong::new("empty_file", format!("{name} is empty; it may be half written"));
        return Err(wrong.hint("a list of nobody is a file with a comment, as in `# nobody`"));
    }
    // At once rather than line by line: all of them then lie in one piece.
    let lower = canonical.lower.then(|| bytes.to_ascii_lowercase());
    let mut ids = Vec::new();
    for (at, line) in lower.as_deref().unwrap_or(bytes).split(|byte| *byte == b'\n').enumerate() {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.trim_ascii().is_empty() || line.starts_with(b"#") {
            continue;
        }
        let id = if canonical.trim { line.trim_ascii() } else { line };
        if id.iter().any(u8::is_ascii_control) {
            return Err(bad(at + 1, "this is no id: it holds a control character, such as a tab"));
        }
        if id.len() > grammar::MAX_ID {
            return Err(bad(
                at + 1,
                &format!("this id has {} bytes; at most {} are possible", id.len(), grammar::MAX_ID),
            ));
        }
        if ids.len() == Users::MAX {
            return Err(bad(at + 1, &format!("there are more than {} ids", Users::MAX)));
        }
        ids.push(id);
    }
    Ok(Users::new(ids, Some(PathBuf::from(name))))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEEP: Canonical = Canonical { trim: true, lower: false };

    #[test]
    fn a_file_of_users() {
        let text = b"\xef\xbb\xbf# beta testers\n1001\r\n\n  Ann  \n#1002\n1001\nalice@example.com";
        let users = read_users("beta.txt", text, KEEP).unwrap();
        assert_eq!(users.len(), 3);
        assert!([&b"1001"[..], b"Ann", b"alice@example.com"].iter().all(|id| users.contains(id)));
        let lower = read_users("beta.txt", text, Canonical { lower: true, ..KEEP }).unwrap();
        assert!(lower.contains(b"ann") && !lower.contains(b"Ann"));
        let exact = read_users("beta.txt", text, Canonical { trim: false, lower: false }).unwrap();
        assert!(exact.contains(b"  Ann  ") && !exact.contains(b"Ann"));
        assert!(read_users("beta.txt", b"# nobody\n", KEEP).unwrap().is_empty());
    }

    #[test]
    fn what_is_no_file_of_users() {
        let many = "x\n".repeat(Users::MAX + 1);
        let long = "x".repeat(grammar::MAX_ID + 1);
        let table: [(&[u8], &str); 6] = [
            (b" \n", "beta.txt is empty; it may be half written"),
            (b"\xff\xfe1\0", "beta.txt is UTF-16, not plain text"),
            (b"1\n2\t3\n", "beta.txt, line 2: this is no id: it holds a control character, such as a tab"),
            (b"1\n\n2\x003", "beta.txt, line 3: this is no id: it holds a control character, such as a tab"),
            (many.as_bytes(), "beta.txt, line 1000001: there are more than 1000000 ids"),
            (long.as_bytes(), "beta.txt, line 1: this id has 8193 bytes; at most 8192 are possible"),
        ];
        for (bytes, expected) in table {
            assert_eq!(read_users("beta.txt", bytes, KEEP).unwrap_err().message, expected);
        }
    }
}
