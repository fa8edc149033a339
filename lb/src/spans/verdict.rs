//! What follows the answer to an export, by OTLP's rules: sent, refused, or again after a pause.

use std::time::Duration;

use tokio::time::Instant;
use weir_core::dice::Dice;

use super::post::Step;

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
    // One that asks for no pause at all is still not to be met five times in a row.
    asked.filter(|asked| !asked.is_zero()).unwrap_or_else(|| usual.mul_f64(0.5 + dice.unit() / 2.0)).min(PAUSE_MAX)
}

/// What there is to tell of a receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// It answered with this status.
    Status(u16),
    /// There is no answer, and why.
    Silent(Step),
    /// It threw some spans away.
    Partial,
    /// It took all, with a warning.
    Warning,
}

/// The same is told again after this long.
const TOLD_FOR: Duration = Duration::from_secs(60);
/// So much is told in that time, whatever comes.
const TOLD_MAX: usize = 8;

/// What was told of a receiver, so that it is not told with every batch.
#[derive(Debug, Default)]
pub(super) struct Told {
    lately: Vec<(News, Instant)>,
    /// It was said that it is ill, and not yet that it is well.
    ill: bool,
}

impl Told {
    /// Whether `news` are told, at `now`.
    pub(super) fn tells(&mut self, news: News, now: Instant) -> bool {
        self.lately.retain(|(_, at)| now.saturating_duration_since(*at) < TOLD_FOR);
        if self.lately.len() >= TOLD_MAX || self.lately.iter().any(|(told, _)| *told == news) {
            return false;
        }
        self.lately.push((news, now));
        self.ill |= news != News::Warning;
        true
    }

    /// Whether it is told that all is well again.
    pub(super) fn tells_well(&mut self) -> bool {
        std::mem::take(&mut self.ill)
    }
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
        assert!(pause(1, Some(Duration::ZERO), &mut dice) >= PAUSE / 2);
    }

    #[test]
    fn the_same_is_not_told_with_every_batch() {
        let (mut told, began) = (Told::default(), Instant::now());
        let at = |seconds| began + Duration::from_secs(seconds);
        assert!(!told.tells_well(), "nothing was wrong");
        assert!(told.tells(News::Status(401), at(0)));
        assert!(!told.tells(News::Status(401), at(59)));
        assert!(told.tells(News::Silent(Step::Connect), at(5)));
        assert!(told.tells_well() && !told.tells_well());
        // It comes and goes: once a minute is enough.
        assert!(!told.tells(News::Status(401), at(6)) && !told.tells_well());
        assert!(told.tells(News::Status(401), at(60)));
        assert!(told.tells(News::Warning, at(61)) && !told.tells(News::Warning, at(62)));
        // Something else each time is no way round it.
        let more = (500..600).filter(|status| told.tells(News::Status(*status), at(63))).count();
        assert!(more < TOLD_MAX, "{more}");
        assert!(told.tells(News::Status(401), at(200)));
    }
}
