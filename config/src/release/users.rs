//! A set of user ids, up to a million of them, in little memory.

use std::path::PathBuf;

/// A set of user ids in canonical form.
#[derive(Clone)]
pub struct Users {
    ids: std::collections::HashSet<Box<[u8]>>,
    file: Option<PathBuf>,
}

impl Users {
    /// Most ids in one set.
    pub const MAX: usize = 1_000_000;

    /// The set of `ids`; `file` is where they were read, if not in the config.
    #[must_use]
    pub fn new<'a>(ids: impl IntoIterator<Item = &'a [u8]>, file: Option<PathBuf>) -> Self {
        Self { ids: ids.into_iter().map(Box::from).collect(), file }
    }

    /// Whether `id` is one of them.
    #[must_use]
    pub fn contains(&self, id: &[u8]) -> bool {
        self.ids.contains(id)
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// Where they were read, if not in the config.
    #[must_use]
    pub const fn file(&self) -> Option<&PathBuf> {
        self.file.as_ref()
    }
}

impl PartialEq for Users {
    fn eq(&self, other: &Self) -> bool {
        self.file == other.file && self.ids == other.ids
    }
}

impl std::fmt::Debug for Users {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Users").field("len", &self.len()).field("file", &self.file).finish()
    }
}
