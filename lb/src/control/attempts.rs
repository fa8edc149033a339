//! The newest attempts to load the configuration: when, why, and what came of each, in full words.
//!
//! For whoever asks what a reload changed or why it was refused, minutes later and from elsewhere.

use std::collections::VecDeque;
use std::time::SystemTime;

use super::reload::{ReloadOutcome, Trigger};

/// Attempts kept; the oldest go first.
pub const KEPT: usize = 20;
/// Longest text kept of one, in bytes: a file full of mistakes is told by its first ones.
const TEXT_MAX: usize = 64 << 10;

/// One attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// When it ended.
    pub at: SystemTime,
    /// Who asked.
    pub trigger: Trigger,
    /// `applied`, `unchanged` or `rejected`.
    pub result: &'static str,
    /// The first generation of the configuration that was in force after it.
    pub generation: u64,
    /// One sentence.
    pub message: String,
    /// What changed, line by line; or every mistake with the line of the source it is in. Empty if
    /// there is nothing to say.
    pub text: String,
    /// What was taken and is probably not meant.
    pub warnings: String,
}

/// The newest attempts, oldest first.
#[derive(Debug, Default)]
pub(super) struct Attempts(VecDeque<Attempt>);

impl Attempts {
    pub(super) fn note(&mut self, attempt: Attempt) {
        if self.0.len() >= KEPT {
            self.0.pop_front();
        }
        self.0.push_back(attempt);
    }

    pub(super) fn newest_first(&self) -> impl Iterator<Item = &Attempt> {
        self.0.iter().rev()
    }
}

impl Attempt {
    /// The first configuration.
    pub(super) fn first(at: SystemTime, generation: u64, words: String) -> Self {
        let (trigger, result, message) = (Trigger::Start, "applied", "the first configuration".to_owned());
        Self { at, trigger, result, generation, message, text: words, warnings: String::new() }
    }

    /// `outcome`, told as `message`; `generation` is in force.
    pub(super) fn of(
        outcome: &ReloadOutcome,
        at: SystemTime,
        trigger: Trigger,
        generation: u64,
        message: &str,
    ) -> Self {
        let (result, text, warnings) = match outcome {
            ReloadOutcome::Applied(applied) => ("applied", &*applied.changes, &*applied.warnings),
            ReloadOutcome::Unchanged { .. } => ("unchanged", "", ""),
            ReloadOutcome::Rejected(rejection) => ("rejected", &*rejection.text, ""),
        };
        let (text, warnings) = (bounded(text), bounded(warnings));
        Self { at, trigger, result, generation, message: message.to_owned(), text, warnings }
    }
}

fn bounded(text: &str) -> String {
    let end = text.floor_char_boundary(TEXT_MAX);
    if end < text.len() { format!("{}\n… (cut here)\n", &text[..end]) } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_are_kept_and_texts_are_bounded() {
        let mut attempts = Attempts::default();
        for generation in 1..=30 {
            attempts.note(Attempt::first(SystemTime::UNIX_EPOCH, generation, String::new()));
        }
        let kept: Vec<u64> = attempts.newest_first().map(|attempt| attempt.generation).collect();
        assert_eq!(kept, (11..=30).rev().collect::<Vec<u64>>());
        let long = bounded(&"ä".repeat(TEXT_MAX));
        assert!(long.len() < TEXT_MAX + 40 && long.ends_with("(cut here)\n"));
        assert_eq!(bounded("short"), "short");
    }
}
