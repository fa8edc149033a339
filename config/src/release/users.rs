//! A set of user ids, up to a million of them, in little memory.
//!
//! A table of 16 bytes a place holds ids of up to 15 bytes themselves, so that one look at memory
//! tells whether somebody is in it; of longer ones it holds 56 bits of their hash and where they lie.
//! A million short ids take 32 MB, and are exact: no filter.

use std::path::PathBuf;

use xxhash_rust::xxh64::xxh64;

/// A set of user ids in canonical form.
#[derive(Clone)]
pub struct Users {
    /// The ids too long for a slot, each after its length, a little-endian `u16`.
    long: Box<[u8]>,
    /// Open addressing, at most half full. Empty for no ids, else a power of two.
    table: Box<[Slot]>,
    len: usize,
    /// The sum of all hashes: sets that differ in it differ.
    digest: u64,
    file: Option<PathBuf>,
}

/// Free: all zero. An id of up to 15 bytes: itself, and its length plus one in the last byte. A longer
/// one: its place among the long ones in 8 bytes, 7 bytes of its hash, and [`LONG`].
type Slot = [u8; 16];

const FREE: Slot = [0; 16];
const SHORT_MAX: usize = 15;
const LONG: u8 = u8::MAX;
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
        let (mut all, mut count) = (Vec::new(), 0_usize);
        for id in ids.into_iter().filter(|id| id.len() <= Self::MAX_ID) {
            push(&mut all, id);
            count += 1;
        }
        let size = if count == 0 { 0 } else { (2 * count).next_power_of_two() };
        let table = vec![FREE; size].into_boxed_slice();
        let mut set = Self { long: Box::default(), table, len: 0, digest: 0, file };
        let (mut place, mut long) = (0, Vec::new());
        while let Some(id) = stored(&all, place) {
            set.enter(id, &mut long);
            place += 2 + id.len();
        }
        set.long = long.into_boxed_slice();
        set
    }

    /// Enters an id, the second of two alike not; `long` are those that do not fit a slot.
    fn enter(&mut self, id: &[u8], long: &mut Vec<u8>) {
        let hash = xxh64(id, SEED);
        let Err(free) = self.find(id, hash, long) else { return };
        self.table[free] = short(id).unwrap_or_else(|| {
            let mut slot = [LONG; 16];
            slot[..8].copy_from_slice(&(long.len() as u64).to_le_bytes());
            slot[8..15].copy_from_slice(&hash.to_le_bytes()[1..]);
            push(long, id);
            slot
        });
        self.len += 1;
        self.digest = self.digest.wrapping_add(hash);
    }

    /// Where in the table `id` is, or the free place it would have. The table is not empty.
    fn find(&self, id: &[u8], hash: u64, long: &[u8]) -> Result<usize, usize> {
        let mask = self.table.len() - 1;
        let mut at = hash as usize & mask;
        let short = short(id);
        loop {
            let slot = &self.table[at];
            let same = match &short {
                Some(short) => slot == short,
                None => {
                    slot[15] == LONG && slot[8..15] == hash.to_le_bytes()[1..] && stored(long, place(slot)) == Some(id)
                }
            };
            if same {
                return Ok(at);
            }
            if *slot == FREE {
                return Err(at);
            }
            // At most half of them are taken, so this ends.
            at = (at + 1) & mask;
        }
    }

    /// Whether `id` is one of them.
    #[must_use]
    pub fn contains(&self, id: &[u8]) -> bool {
        self.len > 0 && self.find(id, xxh64(id, SEED), &self.long).is_ok()
    }

    /// Every id once, in no order that means anything.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.table.iter().filter_map(|slot| match slot[15] {
            0 => None,
            LONG => stored(&self.long, place(slot)),
            len => slot.get(..usize::from(len) - 1),
        })
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
        (self.len, self.digest) == (other.len, other.digest) && self.iter().all(|id| other.contains(id))
    }
}

/// The slot of an id that fits one.
fn short(id: &[u8]) -> Option<Slot> {
    let mut slot = FREE;
    slot.get_mut(..id.len()).filter(|_| id.len() <= SHORT_MAX)?.copy_from_slice(id);
    slot[15] = id.len() as u8 + 1;
    Some(slot)
}

fn push(arena: &mut Vec<u8>, id: &[u8]) {
    // Nobody longer than a `u16` says comes here.
    arena.extend_from_slice(&(id.len() as u16).to_le_bytes());
    arena.extend_from_slice(id);
}

/// The id at a place of an arena.
fn stored(arena: &[u8], place: usize) -> Option<&[u8]> {
    let (len, rest) = arena.get(place..)?.split_first_chunk()?;
    rest.get(..usize::from(u16::from_le_bytes(*len)))
}

/// Where a long id lies.
fn place(slot: &Slot) -> usize {
    let [a, b, c, d, e, f, g, h, ..] = *slot;
    u64::from_le_bytes([a, b, c, d, e, f, g, h]) as usize
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
        let (long, fits, over) = ("x".repeat(300), "y".repeat(15), "y".repeat(16));
        let mixed = set(&[&long, &fits, &over, &long]);
        assert_eq!(mixed.len(), 3);
        assert!([&long, &fits, &over].iter().all(|id| mixed.contains(id.as_bytes())));
        assert!(!mixed.contains("y".repeat(17).as_bytes()) && !mixed.contains("x".repeat(299).as_bytes()));
        assert_eq!(mixed.iter().map(<[u8]>::len).sum::<usize>(), 331);
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
        assert!(users.long.len() + 16 * users.table.len() <= 32 << 20, "{}", users.long.len());
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
