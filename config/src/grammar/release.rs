//! What releases are made of: salts, ids of users, files with them.

use super::Wrong;

/// Longest id of a user, in bytes: no header is longer.
pub(crate) const MAX_ID: usize = 8192;
/// Longest salt, in bytes.
const MAX_SALT: usize = 256;

/// A salt: text without control characters, for a zero byte ends it in the hash.
pub(crate) fn salt(text: &str) -> Result<(), Wrong> {
    match text.chars().find(|c| c.is_control()) {
        Some(bad) => Err(Wrong::new("bad_salt", format!("a salt cannot hold {bad:?}"))),
        None if text.len() > MAX_SALT => {
            Err(Wrong::new("bad_salt", format!("a salt has at most {MAX_SALT} bytes")).hint("as in orders-2026-11"))
        }
        None => Ok(()),
    }
}

/// The id of a user, as requests bring it.
pub(crate) fn user_id(text: &str) -> Result<(), Wrong> {
    if text.trim_ascii().is_empty() {
        return Err(Wrong::new("bad_user_id", "an id cannot be empty: a request without an id is nobody's"));
    }
    if text.len() > MAX_ID {
        return Err(Wrong::new("bad_user_id", format!("an id has at most {MAX_ID} bytes")));
    }
    if let Some(bad) = text.chars().find(|c| c.is_control()) {
        return Err(Wrong::new("bad_user_id", format!("an id cannot hold {bad:?}, which no request brings")));
    }
    if let Some(path) = text.strip_prefix("file:") {
        return Err(Wrong::new("bad_user_id", format!("{text:?} is a file, not an id"))
            .hint(format!("a file is a rule of its own: {{users: file:{path}}}")));
    }
    Ok(())
}

/// A file with ids, as `file:beta.txt`: its name.
pub(crate) fn users_file(text: &str) -> Result<&str, Wrong> {
    match text.strip_prefix("file:") {
        Some(path) => file_name(path),
        None => Err(Wrong::new("bad_users", format!("{text:?} is no list of users"))
            .hint(format!("for one user: [{text}]; for a file with an id a line: file:{text}"))),
    }
}

/// The name of a file, which counts from the configuration's folder.
pub(crate) fn file_name(text: &str) -> Result<&str, Wrong> {
    if text.is_empty() {
        return Err(Wrong::new("bad_path", "a file name cannot be empty").hint("as in beta.txt or /etc/weir/beta.txt"));
    }
    if text.contains('\0') {
        return Err(Wrong::new("bad_path", "a file name cannot hold a NUL"));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_and_files() {
        for good in ["1001", "ann", "ünal", "alice@example.com", " a ", "file"] {
            assert_eq!(user_id(good), Ok(()), "{good}");
        }
        for bad in ["", " ", "a\n", "file:beta.txt"] {
            assert_eq!(user_id(bad).map_err(|wrong| wrong.code), Err("bad_user_id"), "{bad}");
        }
        assert!(user_id(&"x".repeat(MAX_ID)).is_ok() && user_id(&"x".repeat(MAX_ID + 1)).is_err());
        assert_eq!(users_file("file:beta.txt"), Ok("beta.txt"));
        assert_eq!(users_file("file:").map_err(|wrong| wrong.code), Err("bad_path"));
        assert_eq!(
            users_file("beta.txt").unwrap_err().hint.unwrap(),
            "for one user: [beta.txt]; for a file with an id a line: file:beta.txt"
        );
        assert!(salt("").is_ok() && salt("orders-2026-11").is_ok() && salt("a\0b").is_err());
        assert!(salt(&"x".repeat(257)).is_err());
    }
}
