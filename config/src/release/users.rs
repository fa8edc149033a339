//! A set of user ids, up to a million of them, in little memory.
//!
//! All ids lie one behind the other in one piece of memory; a table of 8 bytes a place says where
//! each begins, and holds 24 bits of its hash: whoever is not in the set is told so by the table
//! alone, as good as always. A million ids of 10 bytes take 28 MB, and are exact: no filter.

use std::path::PathBuf;

use xxhash_rust::xxh64::xxh64;

/// A set of user ids in canonical form.
#[derive(Clone)]
pub struct Users {
    /// Each id after its length, a little-endian `u16`.
    ids: Box<[u8]>,
    /// Open addressing, at most half full: 0, or an id's place plus one in the lower 40 bits and the
    /// upper 24 bits of its hash above. Empty for no ids, else a power of two.
    table: Box<[u64]>,
    len: usize,
    /// The sum of all hashes: sets that differ in it differ.
    digest: u64,
    file: Option<PathBuf>,
}

const PLACE_BITS: u32 = 40;
const PLACE: u64 = (1 << PLACE_BITS) - 1;
/// Another than that of the buckets, with which it has nothing to do.
const SEED: u64 = 0x7573_6572;

impl Users {
    /// Most ids in one set.
    pub const MAX: usize = 1_000_000;
    /// Longest id in bytes; longer ones are in no set.
    pub const MAX_ID: usize = u16::MAX as usize;

    /// The set of `ids`; `file` is where they were read, if not in the config. What comes twice
    /// counts once.
    #[must_use]
    pub fn new<'a>(ids: impl IntoIterator<Item = &'a [u8]>, file: Option<PathBuf>) -> Self {
        let mut arena = Vec::new();
        let mut count = 0;
        for id in ids {
            if let Ok(len) = u16::try_from(id.len()) {
                arena.extend_from_slice(&len.to_le_bytes());
                arena.extend_from_slice(id);
                count += 1;
            }
        }
        let size = if count == 0 { 0 } else { (2 * count as usize).next_power_of_two() };
        let mut set =
            Self { ids: arena.into_boxed_slice(), table: vec![0; size].into_boxed_slice(), len: 0, digest: 0, file };
        set.fill();
        set
    }

    /// Enters every id of the arena in the table, the second of two alike not.
    fn fill(&mut self) {
        let mut place = 0;
        while let Some(id) = self.id(place) {
            let (next, hash) = (place + 2 + id.len(), xxh64(id, SEED));
            if let Err(free) = self.find(id, hash) {
                self.table[free] = (hash & !PLACE) | (place as u64 + 1);
                self.len += 1;
                self.digest = self.digest.wrapping_add(hash);
            }
            place = next;
        }
    }

    /// The id at a place of the arena.
    fn id(&self, place: usize) -> Option<&[u8]> {
        let (len, rest) = self.ids.get(place..)?.split_first_chunk()?;
        rest.get(..usize::from(u16::from_le_bytes(*len)))
    }

    /// Where in the table `id` is, or the free place it would have. The table is not empty.
    fn find(&self, id: &[u8], hash: u64) -> Result<usize, usize> {
        let mask = self.table.len() - 1;
        let mut at = hash as usize & mask;
        loop {
            match self.table[at] {
                0 => return Err(at),
                entry if (entry ^ hash) & !PLACE == 0 && self.id((entry & PLACE) as usize - 1) == Some(id) => {
                    return Ok(at);
                }
                // At most half of them are taken, so this ends.
                _ => at = (at + 1) & mask,
            }
        }
    }

    /// Whether `id` is one of them.
    #[must_use]
    pub fn contains(&self, id: &[u8]) -> bool {
        self.len > 0 && self.find(id, xxh64(id, SEED)).is_ok()
    }

    /// Every id once, in no order that means anything.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.table.iter().filter_map(|entry| self.id(((entry & PLACE) as usize).checked_sub(1)?))
    }

    /// How many there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Where they were read, if not in the config.
    #[must_use]
    pub const fn file(&self) -> Option<&PathBuf> {
        self.file.as_ref()
    }

    /// Whether the same users are in both, wherever they were read.
    #[must_use]
    pub fn same_ids(&self, other: &Self) -> bool {
        (self.len, self.digest) == (other.len, other.digest)
            && (self.ids == other.ids || self.iter().all(|id| other.contains(id)))
    }
}

impl PartialEq for Users {
    fn eq(&self, other: &Self) -> bool {
        self.file == other.file && self.same_ids(other)
    }
}

impl Eq for Users {}

impl std::fmt::Debug for Users {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Users").field("len", &self.len()).field("file", &self.file).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::time::{Duration, Instant};

    use super::*;

    fn set(ids: &[&str]) -> Users {
        Users::new(ids.iter().map(|id| id.as_bytes()), None)
    }

    #[test]
    fn a_set_is_what_is_in_it() {
        let empty = set(&[]);
        assert!(empty.is_empty() && !empty.contains(b"") && empty.iter().next().is_none());
        let few = set(&["1001", "ann", "1001", "", "b"]);
        assert_eq!(few.len(), 4);
        assert!(["1001", "ann", "", "b"].iter().all(|id| few.contains(id.as_bytes())));
        assert!(["100", "10011", "Ann", "a", "\0"].iter().all(|id| !few.contains(id.as_bytes())));
        assert_eq!(few, set(&["b", "", "ann", "1001"]), "whatever their order");
        assert_ne!(few, set(&["b", "", "ann", "1002"]));
        assert_ne!(few, Users::new([&b"b"[..], b"", b"ann", b"1001"], Some("a.txt".into())), "elsewhere");
        assert!(few.same_ids(&Users::new([&b"b"[..], b"", b"ann", b"1001"], Some("a.txt".into()))));
        let long = vec![b'x'; Users::MAX_ID + 1];
        assert!(!Users::new([&long[..]], None).contains(&long));
    }

    #[test]
    fn a_million_ids_are_few_bytes_and_exact() {
        let ids: Vec<String> = (0..1_000_000u64).map(|n| format!("user{:06}", n * 7)).collect();
        let began = Instant::now();
        let users = Users::new(ids.iter().map(String::as_bytes), None);
        let built = began.elapsed();
        assert_eq!(users.len(), 1_000_000);
        assert!(users.ids.len() + 8 * users.table.len() <= 30 << 20, "{}", users.ids.len() + 8 * users.table.len());
        // A second by far, even on a machine with other things to do.
        assert!(built < Duration::from_secs(5), "{built:?}");
        assert!(ids.iter().all(|id| users.contains(id.as_bytes())));
        let known: HashSet<&str> = ids.iter().map(String::as_str).collect();
        for n in 0..1_000_000u64 {
            let id = format!("user{n:06}");
            assert_eq!(users.contains(id.as_bytes()), known.contains(&*id), "{id}");
        }
        assert_eq!(users.iter().count(), 1_000_000);
        assert_eq!(users, Users::new(ids.iter().rev().map(String::as_bytes), None));
    }
}
