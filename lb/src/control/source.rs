//! Where the configuration comes from: a file, and how a change of it is noticed.
//!
//! The file is read whole and bounded. What is watched are directories, not the file: editors and
//! `mv` put a new file in its place, and a Kubernetes ConfigMap swaps a symbolic link two steps
//! away from it. Whether its text really changed is for the reader to compare.

mod trail;
mod watch;

use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use weir_config::model::Share;
use weir_config::{Mistakes, Parsed, edit};

pub use watch::watch;

/// Longest file, in bytes: one more than the parser takes, so that it is the parser that says so.
const MAX_TEXT: u64 = (8 << 20) + 1;

/// The file the configuration is read from.
#[derive(Clone, Debug)]
pub struct Source {
    path: PathBuf,
}

/// Why the file could not be read.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// It is not there.
    #[error("{0} does not exist")]
    Missing(String),
    /// The system says no.
    #[error("cannot read {path}: {error}")]
    Io {
        /// The file.
        path: String,
        /// What the system said.
        error: io::Error,
    },
    /// It is larger than any configuration.
    #[error("{0} is larger than {max} MiB", max = MAX_TEXT >> 20)]
    TooLarge(String),
    /// It is no text.
    #[error("{path} is not UTF-8 text: byte {at} is no part of a character")]
    NotText {
        /// The file.
        path: String,
        /// Where, from 0.
        at: usize,
    },
}

impl Source {
    /// The file at `path`. Relative paths count from the working directory of this moment.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        // Fails only for an empty path, or without a working directory; then the reader says so.
        Self { path: std::path::absolute(path).unwrap_or_else(|_| path.to_owned()) }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its text as it is now.
    ///
    /// # Errors
    /// [`SourceError`].
    pub fn read(&self) -> Result<Arc<str>, SourceError> {
        let path = || self.path.display().to_string();
        let failed = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound => SourceError::Missing(path()),
            _ => SourceError::Io { path: path(), error },
        };
        let mut bytes = Vec::new();
        // Not waiting: opening a FIFO that nobody writes would stop this thread for ever.
        let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
        let file = std::fs::OpenOptions::new().read(true).custom_flags(flags).open(&self.path).map_err(failed)?;
        if !file.metadata().map_err(failed)?.is_file() {
            return Err(failed(io::Error::other("not a regular file")));
        }
        // One byte over tells "too large" from "just fits".
        file.take(MAX_TEXT + 1).read_to_end(&mut bytes).map_err(failed)?;
        if bytes.len() as u64 > MAX_TEXT {
            return Err(SourceError::TooLarge(path()));
        }
        match String::from_utf8(bytes) {
            Ok(text) => Ok(text.into()),
            Err(error) => Err(SourceError::NotText { path: path(), at: error.utf8_error().valid_up_to() }),
        }
    }

    /// What `text`, read from here, means. `${VAR}` is looked up in this process's environment.
    ///
    /// # Errors
    /// Every mistake in it.
    pub fn understand(&self, text: &str) -> Result<Parsed, Mistakes> {
        weir_config::parse(text, &weir_config::Source { name: &self.shown(), env: &|name| std::env::var(name).ok() })
    }

    /// `text`, read from here, with these weights for canaries of `release`.
    ///
    /// # Errors
    /// Why it cannot be changed so.
    pub fn set_weights(&self, text: &str, release: &str, changes: &[(&str, Share)]) -> Result<String, Mistakes> {
        let source = weir_config::Source { name: &self.shown(), env: &|name| std::env::var(name).ok() };
        edit::set_weights(text, &source, release, changes)
    }

    /// The path as people know it: from the working directory where it lies under it.
    #[must_use]
    pub fn shown(&self) -> String {
        let here = std::env::current_dir().ok();
        let relative = here.as_deref().and_then(|here| self.path.strip_prefix(here).ok());
        relative.unwrap_or(&self.path).display().to_string()
    }
}

/// A short name for a text: FNV-1a, 64 bits, in hexadecimal. Tells texts apart; proves nothing.
#[must_use]
pub fn fingerprint(text: &str) -> String {
    let hash = text
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    format!("{hash:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_or_says_why_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("weir.yaml");
        let source = Source::new(&path);
        assert!(matches!(source.read(), Err(SourceError::Missing(_))));
        std::fs::write(&path, "a: 1\n").unwrap();
        assert_eq!(&*source.read().unwrap(), "a: 1\n");
        std::fs::write(&path, b"a\xff").unwrap();
        assert!(matches!(source.read(), Err(SourceError::NotText { at: 1, .. })));
        std::fs::File::create(&path).unwrap().set_len(MAX_TEXT + 1).unwrap();
        assert!(matches!(source.read(), Err(SourceError::TooLarge(_))));
        assert!(matches!(Source::new(directory.path()).read(), Err(SourceError::Io { .. })));
    }

    #[test]
    fn fingerprints_are_the_published_ones() {
        assert_eq!(fingerprint(""), "cbf29ce484222325");
        assert_eq!(fingerprint("foobar"), "85944171f73967e8");
    }
}
