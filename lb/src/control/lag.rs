//! How late this thread runs: what a probe must know before it blames its endpoint.

use std::cell::Cell;
use std::time::Duration;

use tokio::time::sleep;
use weir_core::time::Moment;

use crate::env::Env;

/// Between two looks at the clock.
const BEAT: Duration = Duration::from_millis(25);
/// Less than this is the timer's own grain.
const GRAIN: Duration = Duration::from_millis(10);
/// The worst lag is shown for one to two of these.
const WINDOW: Duration = Duration::from_secs(10);

/// Written by one task that sleeps and looks how late it woke up; read by everybody on its thread.
#[derive(Debug, Default)]
pub struct Lag {
    stalled: Cell<Duration>,
    worst: Cell<Duration>,
    worst_before: Cell<Duration>,
    window_began: Cell<Moment>,
}

impl Lag {
    /// All the time this thread stood still since the beginning. What counts is the difference
    /// between two moments.
    #[must_use]
    pub fn stalled(&self) -> Duration {
        self.stalled.get()
    }

    /// The longest it stood still in the last 10 to 20 seconds.
    #[must_use]
    pub fn worst(&self) -> Duration {
        self.worst.get().max(self.worst_before.get())
    }

    /// Watches for ever; tells `report` the worst after each beat.
    pub async fn watch<E: Env>(&self, env: &E, report: impl Fn(Duration)) {
        loop {
            let due = env.now() + BEAT;
            sleep(BEAT).await;
            let now = env.now();
            self.note(now, now.since(due));
            report(self.worst());
        }
    }

    fn note(&self, now: Moment, late: Duration) {
        if late > GRAIN {
            self.stalled.set(self.stalled.get() + late);
        }
        if now.since(self.window_began.get()) >= WINDOW {
            self.window_began.set(now);
            self.worst_before.set(self.worst.replace(Duration::ZERO));
        }
        self.worst.set(self.worst.get().max(late));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stalls_add_up_and_the_worst_is_forgotten_in_time() {
        let (lag, second) = (Lag::default(), Duration::from_secs(1));
        let at = |seconds: u32| Moment::ZERO + second * seconds;
        lag.note(at(1), GRAIN);
        lag.note(at(2), second * 3);
        lag.note(at(3), second);
        assert_eq!((lag.stalled(), lag.worst()), (second * 4, second * 3));
        lag.note(at(11), Duration::ZERO);
        assert_eq!(lag.worst(), second * 3);
        lag.note(at(22), Duration::ZERO);
        assert_eq!((lag.stalled(), lag.worst()), (second * 4, Duration::ZERO));
    }
}
