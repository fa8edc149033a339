//! What is remembered of one endpoint's traffic: its windows, where it stands, what was told.

use std::sync::Arc;
use std::time::Duration;

use weir_config::model::{EjectionAction, Outlier};

use super::Ejection;
use crate::attempt::Class;
use crate::health::outlier::pool::INCIDENT_GAP;
use crate::health::outlier::{Charge, Counts, Spare, Standing, State, What, Window, judge};
use crate::live::EndpointLive;
use crate::load::{EndpointLoad, Shards};
use crate::time::Moment;

/// Kept by identity, apart from what probes say: neither memory writes the other.
#[derive(Debug)]
pub(crate) struct Traffic {
    pub(crate) standing: Standing,
    /// One for each span the rules ask for; none before there was traffic.
    windows: Vec<Window>,
    /// Totals as last read, and when.
    read: [u64; Class::COUNT],
    read_at: Moment,
    /// Since when a charge stands without a pause.
    bad_since: Option<Moment>,
    last_charged: Option<Moment>,
    /// What was told of this trouble.
    told: Told,
    /// Why it is out, while it is.
    pub(crate) ejection: Option<Arc<Ejection>>,
}

/// Each is told once.
#[derive(Clone, Copy, Debug, Default)]
struct Told {
    observed: bool,
    last: bool,
    cap: bool,
    correlated: bool,
}

/// Counts that were not read for longer than this are of a time in which nobody judged, and count
/// for nothing.
const UNREAD_MAX: Duration = Duration::from_secs(30);

impl Traffic {
    pub(crate) const fn new(now: Moment) -> Self {
        Self {
            standing: Standing::new(now),
            windows: Vec::new(),
            read: [0; Class::COUNT],
            read_at: now,
            bad_since: None,
            last_charged: None,
            told: Told { observed: false, last: false, cap: false, correlated: false },
            ejection: None,
        }
    }

    /// Goes on under rules that may have changed; what was counted within spans that stay is kept.
    /// Says whether it was out and is not any more, since the rules take nobody out now.
    pub(crate) fn adopt(&mut self, rules: Option<&Outlier>, now: Moment) -> bool {
        match rules {
            Some(rules) if !self.windows.is_empty() => self.make_windows(rules),
            Some(_) => {}
            None => self.windows = Vec::new(),
        }
        let action = rules.map(|rules| rules.action);
        let released = match self.standing.state() {
            State::In => false,
            State::Reduced { .. } => action != Some(EjectionAction::Reduce),
            State::Ejected { .. } | State::Probation { .. } => action != Some(EjectionAction::Eject),
        };
        let was_out = self.standing.is_out();
        if released {
            self.standing.readmit(now);
            self.ejection = None;
        }
        released && was_out
    }

    fn make_windows(&mut self, rules: &Outlier) {
        let mut old = std::mem::take(&mut self.windows);
        for rule in &rules.windows {
            if self.windows.iter().all(|window| window.span() != rule.window) {
                let same = old.iter().position(|window| window.span() == rule.window);
                self.windows.push(same.map_or_else(|| Window::new(rule.window), |at| old.swap_remove(at)));
            }
        }
    }

    /// Reads what was counted since the last time. Of one that is out nothing is kept: these are
    /// ends of requests from before, or trials.
    pub(crate) fn count(&mut self, rules: Option<&Outlier>, load: &Shards<EndpointLoad>, now: Moment) -> Counts {
        let unread = now.since(self.read_at) > UNREAD_MAX;
        let counts = self.catch_up(load, now);
        if unread || counts.is_empty() {
            return Counts::default();
        }
        if let Some(rules) = rules.filter(|_| !self.standing.is_out()) {
            if self.windows.is_empty() {
                self.make_windows(rules);
            }
            self.windows.iter_mut().for_each(|window| window.feed(now, &counts));
        }
        counts
    }

    /// What was counted so far is of the past, and nobody judges it again.
    pub(crate) fn begin_at(&mut self, load: &Shards<EndpointLoad>) {
        self.catch_up(load, self.read_at);
    }

    /// What was counted since the last reading.
    fn catch_up(&mut self, load: &Shards<EndpointLoad>, now: Moment) -> Counts {
        self.read_at = now;
        let mut by_class = [0; Class::COUNT];
        for ((class, read), count) in Class::ALL.into_iter().zip(&mut self.read).zip(&mut by_class) {
            let total = load.sum(|load| &load.classes[class.index()]);
            *count = u32::try_from(total.wrapping_sub(*read)).unwrap_or(u32::MAX);
            *read = total;
        }
        Counts::new(by_class)
    }

    /// What stands against it now.
    pub(crate) fn charge(&mut self, rules: &Outlier, live: &EndpointLive, now: Moment) -> Option<Charge> {
        let charge = judge(rules, live.streak.row(), &mut self.windows, now);
        if charge.is_none() {
            self.bad_since = None;
            return None;
        }
        self.standing.charged(rules, now);
        self.bad_since.get_or_insert(now);
        if self.last_charged.is_some_and(|last| now.since(last) >= INCIDENT_GAP) {
            self.told = Told::default();
        }
        self.last_charged = Some(now);
        charge
    }

    /// Whether it turned bad within the last `within`.
    pub(crate) fn turned_bad(&self, within: Duration, now: Moment) -> bool {
        self.bad_since.is_some_and(|since| now.since(since) < within)
    }

    /// Whether that is to be told: each once until it is well for a while.
    pub(crate) const fn tells(&mut self, what: What) -> bool {
        let told = match what {
            What::Observe => &mut self.told.observed,
            What::Spare(Spare::Last) => &mut self.told.last,
            What::Spare(Spare::Cap) => &mut self.told.cap,
            What::Spare(Spare::Correlated) => &mut self.told.correlated,
            What::Eject | What::Reduce(_) => return true,
        };
        !std::mem::replace(told, true)
    }

    /// It begins anew: what was before is not held against it any more.
    pub(crate) fn forget(&mut self, load: &Shards<EndpointLoad>, live: &EndpointLive, now: Moment) {
        self.windows.iter_mut().for_each(Window::clear);
        self.catch_up(load, now);
        live.streak.clear();
        self.bad_since = None;
        self.told = Told::default();
    }
}
