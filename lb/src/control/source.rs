//! Where the configuration comes from: a file, and how a change of it is noticed.
//!
//! The file is read whole and bounded, and so are those it leads to: lists of users, certificates,
//! keys, whose change is a change of the configuration too. What is watched are directories, not the file: editors and
//! `mv` put a new file in its place, and a Kubernetes ConfigMap swaps a symbolic link two steps
//! away from it. Whether its text really changed is for the reader to compare.

mod trail;
mod watch;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::watch::Sender;
use weir_config::model::Share;
use weir_config::{Mistakes, Parsed, edit};

pub use watch::watch;

/// Longest file, in bytes, as the parser has it.
const MAX_TEXT: u64 = weir_config::MAX_TEXT as u64;

/// Longest of the files that it leads to, in bytes: a million users with ids of 100 bytes and more.
const MAX_BESIDE: u64 = 128 << 20;

/// The file the configuration is read from. Clones know of the same files beside it.
#[derive(Clone, Debug)]
pub struct Source {
    path: PathBuf,
    beside: Arc<Sender<Beside>>,
}

/// The files that a configuration leads to, and what each held: a short name for it, or why it could
/// not be read.
type Beside = BTreeMap<PathBuf, Result<String, String>>;

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
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        Self { path, beside: Arc::new(Sender::new(Beside::new())) }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where it is, and the files that were last read with it.
    fn all_paths(&self) -> Vec<PathBuf> {
        std::iter::once(self.path.clone()).chain(self.beside.borrow().keys().cloned()).collect()
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
        let bytes = read_bounded(&self.path, MAX_TEXT).map_err(failed)?;
        if bytes.len() as u64 > MAX_TEXT {
            return Err(SourceError::TooLarge(path()));
        }
        match String::from_utf8(bytes) {
            Ok(text) => Ok(text.into()),
            Err(error) => Err(SourceError::NotText { path: path(), at: error.utf8_error().valid_up_to() }),
        }
    }

    /// What `text`, read from here, means. `${VAR}` is looked up in this process's environment, files
    /// in the folder of this one.
    ///
    /// # Errors
    /// Every mistake in it.
    pub fn understand(&self, text: &str) -> Result<Parsed, Mistakes> {
        self.parse(text, &|name| self.read_beside(name))
    }

    /// As [`Self::understand`]; the files that were read, or should have been, are watched from now on
    /// with this one, instead of those before.
    ///
    /// # Errors
    /// Every mistake in it.
    pub fn load(&self, text: &str) -> Result<Parsed, Mistakes> {
        let beside = RefCell::new(Beside::new());
        let parsed = self.parse(text, &|name| {
            let bytes = self.read_beside(name);
            beside.borrow_mut().insert(self.path_beside(name), held(&bytes));
            bytes
        });
        self.beside.send_replace(beside.into_inner());
        parsed
    }

    fn parse(&self, text: &str, files: weir_config::ReadFile<'_>) -> Result<Parsed, Mistakes> {
        let env = |name: &str| std::env::var(name).ok();
        let source = weir_config::Source { name: &self.shown(), env: &env, files };
        weir_config::parse_at(text, &source, Some(SystemTime::now()))
    }

    /// Where the file is that the configuration calls so.
    pub(super) fn path_beside(&self, name: &str) -> PathBuf {
        self.path.parent().unwrap_or_else(|| Path::new("/")).join(name)
    }

    fn read_beside(&self, name: &str) -> io::Result<Vec<u8>> {
        read_whole(&self.path_beside(name))
    }

    /// Whether one of the files that were last read with this one holds something else now.
    #[must_use]
    pub fn is_outdated(&self) -> bool {
        let beside = self.beside.borrow().clone();
        beside.iter().any(|(path, before)| held(&read_whole(path)) != *before)
    }

    /// `text`, read from here, with these weights for canaries of `release`.
    ///
    /// # Errors
    /// Why it cannot be changed so.
    pub fn set_weights(&self, text: &str, release: &str, changes: &[(&str, Share)]) -> Result<String, Mistakes> {
        let env = |name: &str| std::env::var(name).ok();
        let files = |name: &str| self.read_beside(name);
        let source = weir_config::Source { name: &self.shown(), env: &env, files: &files };
        edit::set_weights(text, &source, release, changes)
    }

    /// The path as people know it: from the working directory where it lies under it. (A service's is `/`,
    /// and everything lies under that.)
    #[must_use]
    pub fn shown(&self) -> String {
        let here = std::env::current_dir().ok().filter(|here| here.parent().is_some());
        let relative = here.as_deref().and_then(|here| self.path.strip_prefix(here).ok());
        relative.unwrap_or(&self.path).display().to_string()
    }
}

/// What a regular file holds; one byte over `max` tells "too large" from "just fits".
fn read_bounded(path: &Path, max: u64) -> io::Result<Vec<u8>> {
    // Not waiting: opening a FIFO that nobody writes would stop this thread for ever.
    let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = std::fs::OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    let mut bytes = Vec::new();
    file.take(max + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// What a file beside the configuration holds.
fn read_whole(path: &Path) -> io::Result<Vec<u8>> {
    let bytes = read_bounded(path, MAX_BESIDE)?;
    if bytes.len() as u64 > MAX_BESIDE {
        return Err(io::Error::other(format!("it is larger than {} MiB", MAX_BESIDE >> 20)));
    }
    Ok(bytes)
}

fn held(bytes: &io::Result<Vec<u8>>) -> Result<String, String> {
    bytes.as_ref().map(|bytes| fingerprint_of(bytes)).map_err(ToString::to_string)
}

/// A short name for a text: FNV-1a, 64 bits, in hexadecimal. Tells texts apart; proves nothing.
#[must_use]
pub fn fingerprint(text: &str) -> String {
    fingerprint_of(text.as_bytes())
}

fn fingerprint_of(bytes: &[u8]) -> String {
    let hash = bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3));
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
    fn files_beside_it_count_from_its_folder_and_are_bounded() {
        let directory = tempfile::tempdir().unwrap();
        let source = Source::new(&directory.path().join("weir.yaml"));
        let text = |file: &str| {
            format!(
                "listeners: [{{name: web, bind: '127.0.0.1:80', release: gray}}]\n\
                 clusters: [{{name: app, endpoints: ['10.0.0.1:80']}}]\n\
                 releases: [{{name: gray, key: source_address, stable: app, never: {{users: 'file:{file}'}}}}]\n"
            )
        };
        let wrong = |file: &str| source.understand(&text(file)).unwrap_err().iter().next().unwrap().message.clone();
        let list = directory.path().join("never.txt");
        assert_eq!(wrong("never.txt"), "cannot read never.txt: it does not exist");
        assert_eq!(wrong("."), "cannot read .: not a regular file");
        std::fs::write(&list, "1\n").unwrap();
        assert!(source.understand(&text("never.txt")).is_ok());
        assert!(source.understand(&text(&list.display().to_string())).is_ok());
        std::fs::File::create(&list).unwrap().set_len(MAX_BESIDE + 1).unwrap();
        assert_eq!(wrong("never.txt"), "cannot read never.txt: it is larger than 128 MiB");
    }

    #[test]
    fn fingerprints_are_the_published_ones() {
        assert_eq!(fingerprint(""), "cbf29ce484222325");
        assert_eq!(fingerprint("foobar"), "85944171f73967e8");
    }
}
