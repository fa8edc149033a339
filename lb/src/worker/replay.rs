//! The part of a request's body that was sent, kept to be sent again to another endpoint.

/// What was sent of a body, as it went over the wire; nothing any more once it grew too large.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    bytes: Option<Vec<u8>>,
    most: usize,
}

impl Kept {
    /// Keeps up to `most` bytes; 0 keeps nothing.
    pub(crate) fn up_to(most: usize) -> Self {
        Self { bytes: (most > 0).then(Vec::new), most }
    }

    /// Whether it keeps so much.
    pub(crate) const fn keeps(&self, most: usize) -> bool {
        self.most >= most
    }

    /// Whether it still keeps everything.
    pub(crate) const fn is_whole(&self) -> bool {
        self.bytes.is_some()
    }

    /// Adds what is sent now.
    pub(crate) fn add(&mut self, sent: &[u8]) {
        if let Some(bytes) = &mut self.bytes {
            if bytes.len() + sent.len() > self.most {
                self.bytes = None;
            } else {
                bytes.extend_from_slice(sent);
            }
        }
    }

    /// Everything so far.
    pub(crate) fn as_slice(&self) -> &[u8] {
        self.bytes.as_deref().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::Kept;

    #[test]
    fn too_much_is_nothing() {
        let mut kept = Kept::up_to(4);
        kept.add(b"abc");
        assert!(kept.is_whole());
        assert_eq!(kept.as_slice(), b"abc");
        kept.add(b"de");
        assert!(!kept.is_whole() && kept.as_slice().is_empty());
        assert!(!Kept::up_to(0).is_whole());
    }
}
