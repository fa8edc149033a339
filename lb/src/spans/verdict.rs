//! What follows the answer to an export, by OTLP's rules: sent, refused, or again after a pause.

use std::time::Duration;

use weir_core::dice::Dice;

/// Tries of one batch.
pub(super) const TRIES_MAX: u32 = 5;
/// The pause after the first failure; each further one is twice as long.
const PAUSE: Duration = Duration::from_secs(1);
/// No pause is longer, whatever a receiver says: by then the queue is full anyway.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// What a receiver said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) status: u16,
    /// `Retry-After`, in seconds.
    pub(super) retry_after: Option<Duration>,
}

/// What follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It has them.
    Sent,
    /// It would not take them a second time either.
    Refused,
    /// It may take them after the pause it asks for, if it asks for one.
    Again(Option<Duration>),
}

/// What follows an answer; none: there was no answer.
pub(super) const fn judge(said: Option<&Said>) -> Verdict {
    match said {
        None => Verdict::Again(None),
        Some(said) => match said.status {
            200..=299 => Verdict::Sent,
            429 | 502 | 503 | 504 => Verdict::Again(said.retry_after),
            _ => Verdict::Refused,
        },
    }
}

/// How long to wait after the try of this number, from 1: what was asked for, or twice as long each
/// time, between half of that and all, so that many instances do not come back at once.
pub(super) fn pause(number: u32, asked: Option<Duration>, dice: &mut Dice) -> Duration {
    let usual = PAUSE * 2u32.saturating_pow(number.saturating_sub(1).min(10));
    asked.unwrap_or_else(|| usual.mul_f64(0.5 + dice.unit() / 2.0)).min(PAUSE_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_may_pass_is_tried_again() {
        let asked = Some(Duration::from_secs(7));
        for (status, verdict) in [
            (200, Verdict::Sent),
            (202, Verdict::Sent),
            (302, Verdict::Refused),
            (400, Verdict::Refused),
            (401, Verdict::Refused),
            (404, Verdict::Refused),
            (413, Verdict::Refused),
            (429, Verdict::Again(asked)),
            (500, Verdict::Refused),
            (502, Verdict::Again(asked)),
            (503, Verdict::Again(asked)),
            (504, Verdict::Again(asked)),
        ] {
            assert_eq!(judge(Some(&Said { status, retry_after: asked })), verdict, "{status}");
        }
        assert_eq!(judge(None), Verdict::Again(None));
    }

    #[test]
    fn pauses_grow_and_are_bounded() {
        let mut dice = Dice::new(3);
        for (number, most) in [(1, 1), (2, 2), (3, 4), (4, 8), (40, 60)] {
            let pause = pause(number, None, &mut dice);
            assert!(
                pause <= Duration::from_secs(most) && pause * 2 >= Duration::from_secs(most),
                "{number}: {pause:?}"
            );
        }
        assert_eq!(pause(1, Some(Duration::from_secs(9)), &mut dice), Duration::from_secs(9));
        assert_eq!(pause(1, Some(Duration::from_secs(9000)), &mut dice), PAUSE_MAX);
    }
}
