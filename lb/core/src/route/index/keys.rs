//! A hash table from texts to numbers, written once when a table is built, then only read.
//!
//! The keys come from the configuration, so a fixed hash is no way in: a request can choose what
//! it asks for, not what is stored.

/// Texts, each in a scope, numbered from 0 in order of insertion. Open addressing with linear
/// probing, at most half full.
#[derive(Clone, Debug, Default)]
pub(super) struct Keys {
    slots: Vec<Slot>,
    entries: Vec<Entry>,
    /// All texts, end to end.
    texts: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    /// The upper half of the hash; the lower one chose the slot.
    tag: u32,
    /// The entry's number, or [`FREE`].
    entry: u32,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    hash: u64,
    scope: u32,
    start: u32,
    len: u32,
}

const FREE: u32 = u32::MAX;

impl Keys {
    /// The number of the text, a new one if it was not there. `hash` must follow from both.
    pub(super) fn insert(&mut self, scope: u32, hash: u64, text: &[u8]) -> usize {
        if let Some(there) = self.get(scope, hash, text) {
            return there;
        }
        if (self.entries.len() + 1) * 2 > self.slots.len() {
            self.grow();
        }
        let number = self.entries.len();
        self.entries.push(Entry { hash, scope, start: self.texts.len() as u32, len: text.len() as u32 });
        self.texts.extend_from_slice(text);
        self.place(hash, number as u32);
        number
    }

    pub(super) fn get(&self, scope: u32, hash: u64, text: &[u8]) -> Option<usize> {
        let mask = self.slots.len().checked_sub(1)?;
        let mut at = hash as usize & mask;
        loop {
            let Slot { tag, entry } = self.slots[at];
            if entry == FREE {
                return None;
            }
            if tag == tag_of(hash) && self.holds(entry as usize, scope, text) {
                return Some(entry as usize);
            }
            at = (at + 1) & mask;
        }
    }

    fn holds(&self, entry: usize, scope: u32, text: &[u8]) -> bool {
        let Entry { scope: its_scope, start, len, .. } = self.entries[entry];
        // Nothing is not compared: a masked load from where nothing is costs 100 ns on some machines.
        let same = || text.is_empty() || &self.texts[start as usize..(start + len) as usize] == text;
        its_scope == scope && len as usize == text.len() && same()
    }

    fn grow(&mut self) {
        let slots = (self.slots.len() * 2).max(4);
        self.slots = vec![Slot { tag: 0, entry: FREE }; slots];
        for number in 0..self.entries.len() {
            self.place(self.entries[number].hash, number as u32);
        }
    }

    fn place(&mut self, hash: u64, entry: u32) {
        let mask = self.slots.len() - 1;
        let mut at = hash as usize & mask;
        while self.slots[at].entry != FREE {
            at = (at + 1) & mask;
        }
        self.slots[at] = Slot { tag: tag_of(hash), entry };
    }
}

const fn tag_of(hash: u64) -> u32 {
    (hash >> 32) as u32
}

/// The boundaries of a path, front to back: before each slash, and at the end. Each with the hash
/// of all that lies before it, so that a path is read once for all its prefixes.
pub(super) struct Segments<'a> {
    path: &'a [u8],
    from: usize,
    depth: u32,
    hash: u64,
}

/// One boundary.
pub(super) struct Segment {
    /// What lies before it: `path[..end]`.
    pub(super) end: usize,
    /// Slashes in that.
    pub(super) depth: u32,
    /// Of that and the scope.
    pub(super) hash: u64,
}

impl<'a> Segments<'a> {
    pub(super) fn of(path: &'a [u8], scope: u32) -> Self {
        Self { path, from: 0, depth: 0, hash: fold(u64::from(scope), SEED) }
    }
}

impl Iterator for Segments<'_> {
    type Item = Segment;

    fn next(&mut self) -> Option<Segment> {
        let rest = self.path.get(self.from..)?;
        let len = rest.iter().position(|&byte| byte == b'/').unwrap_or(rest.len());
        self.hash = absorb(self.hash, &rest[..len]);
        let segment = Segment { end: self.from + len, depth: self.depth, hash: self.hash };
        // Past the slash; at the end of the path this lies outside and ends the walk.
        self.from = segment.end + 1;
        self.depth += 1;
        Some(segment)
    }
}

const SEED: u64 = 0x9e37_79b9_7f4a_7c15;
const STEP: u64 = 0xd6e8_feb8_6659_fd93;

/// The hash of a text without scope or segments.
pub(super) fn hash(text: &[u8]) -> u64 {
    absorb(SEED, text)
}

/// Mixes `text` and its length into `hash`: eight bytes a step, the last ones overlapping.
fn absorb(hash: u64, text: &[u8]) -> u64 {
    let hash = fold(hash ^ text.len() as u64, STEP);
    match text {
        [] => hash,
        [only] => fold(hash ^ u64::from(*only), SEED),
        _ if text.len() < 4 => {
            fold(hash ^ u64::from(pair(text, 0)) << 16 ^ u64::from(pair(text, text.len() - 2)), SEED)
        }
        _ if text.len() < 8 => {
            fold(hash ^ u64::from(half(text, 0)) << 32 ^ u64::from(half(text, text.len() - 4)), SEED)
        }
        _ => {
            let (words, _) = text.as_chunks::<8>();
            let hash = words.iter().fold(hash, |hash, word| fold(hash ^ u64::from_le_bytes(*word), SEED));
            let last = text.last_chunk::<8>().copied().unwrap_or_default();
            fold(hash ^ u64::from_le_bytes(last), STEP)
        }
    }
}

fn pair(text: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([text[at], text[at + 1]])
}

fn half(text: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([text[at], text[at + 1], text[at + 2], text[at + 3]])
}

/// Multiplies to 128 bits and folds the halves: each bit of the input reaches all of the output.
const fn fold(a: u64, b: u64) -> u64 {
    let wide = a as u128 * b as u128;
    wide as u64 ^ (wide >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_get_their_number_back() {
        let mut keys = Keys::default();
        let texts: Vec<String> = (0..1000).map(|n| "x".repeat(n % 20) + &n.to_string()).collect();
        for scope in [0, 7] {
            for (number, text) in texts.iter().enumerate() {
                let hash = hash(text.as_bytes()) ^ u64::from(scope);
                let number = number + if scope == 0 { 0 } else { texts.len() };
                assert_eq!(keys.insert(scope, hash, text.as_bytes()), number);
                assert_eq!(keys.insert(scope, hash, text.as_bytes()), number);
            }
        }
        assert_eq!(keys.get(1, hash(b"0"), b"0"), None);
        assert_eq!(keys.get(0, hash(b"absent"), b"absent"), None);
    }

    #[test]
    fn boundaries_lie_before_slashes_and_at_the_end() {
        let ends = |path: &str| Segments::of(path.as_bytes(), 0).map(|segment| segment.end).collect::<Vec<_>>();
        assert_eq!(ends("/a/b"), [0, 2, 4]);
        assert_eq!(ends("/a/"), [0, 2, 3]);
        assert_eq!(ends("/"), [0, 1]);
        assert_eq!(ends(""), [0]);
    }
}
