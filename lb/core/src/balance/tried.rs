//! Whom one request has tried.

/// Members one request has tried: their indices. Allocates from the ninth on.
#[derive(Clone, Debug, Default)]
pub struct Tried {
    first: [u32; Self::INLINE],
    count: usize,
    more: Vec<u32>,
}

impl Tried {
    const INLINE: usize = 8;

    /// Nobody yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { first: [0; Self::INLINE], count: 0, more: Vec::new() }
    }

    /// Adds the member with that index ([`super::Pick::index`]).
    pub fn push(&mut self, index: usize) {
        let index = index as u32;
        match self.first.get_mut(self.count) {
            Some(free) => *free = index,
            None => self.more.push(index),
        }
        self.count += 1;
    }

    /// Whether the member with that index was tried.
    #[must_use]
    pub fn contains(&self, index: usize) -> bool {
        let inline = &self.first[..self.count.min(Self::INLINE)];
        inline.iter().chain(&self.more).any(|&tried| tried as usize == index)
    }

    /// How many tries there were.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.count
    }

    /// Whether nobody was tried.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }
}

#[cfg(test)]
mod tests {
    use super::Tried;

    #[test]
    fn tried_remembers_more_than_fits_inline() {
        let mut tried = Tried::new();
        assert!(tried.is_empty() && !tried.contains(0));
        (0..20).for_each(|index| tried.push(index));
        assert_eq!(tried.len(), 20);
        assert!((0..20).all(|index| tried.contains(index)) && !tried.contains(20));
    }
}
