//! Going on where another process is: its counters, then, once this one knows whom to serve with, the
//! last of what it did.
//!
//! Counters are carried in a shard of their own ([`Shards::carried`]), so all that looks at sums (scrapes,
//! the API, the judge of releases, windows of failures) sees one life. What was counted before this
//! process knew of a thing is its past, and judged by nobody again; what is told later (the other
//! process finishes what it has) is news, and counts.

use std::sync::Arc;

use weir_config::model::RouteName;

use super::{Control, Effect, Evidence, Memory};
use crate::carry::{Counters, Kind, Row, Subject, Totals};
use crate::endpoint::EndpointKey;
use crate::limits::Budget;
use crate::load::Shards;
use crate::rate::Limiter;
use crate::release::rollout::Kept;
use crate::snapshot::{self, Listener};
use crate::time::Moment;

/// The last of what another process did.
#[derive(Clone, Debug, Default)]
pub struct Last {
    /// What it knows of endpoints, and the drains it was told.
    pub memory: Memory,
    /// Where its rollouts stand. It does nothing about them any more.
    pub rollouts: Vec<Kept>,
    /// What it has counted.
    pub totals: Totals,
}

impl Control {
    /// All that is counted, as totals.
    #[must_use]
    pub fn totals(&self) -> Totals {
        let mut all = Totals::default();
        self.listeners.iter().for_each(|listener| note_listener(listener, &mut all));
        for cluster in &self.clusters {
            let mut row = Row::of(&cluster.kept.load);
            for (name, budget) in budgets(&cluster.kept) {
                row.set(format_args!("refused.{name}"), budget.refused());
            }
            row.set("spent", cluster.kept.live.retry.retries());
            if let Some((requests, retries)) = self.tally.window(cluster.kept.id) {
                row.set("window.requests", requests);
                row.set("window.retries", retries);
            }
            all.note(Subject::cluster(&cluster.config.name), row);
        }
        for known in self.placed() {
            all.note(Subject::endpoint(&known.key), Row::of(&known.load));
        }
        self.releases.iter().for_each(|release| release.totals(&mut all));
        all
    }

    /// Takes in what another process has counted: before the first configuration all of it, later
    /// what rose since.
    pub fn carry(&mut self, told: &Totals) {
        if !self.past.faded() {
            self.past.totals.merge(told);
        }
        self.lift(told);
    }

    /// What was told of things that there are by now.
    pub(super) fn lift_past(&mut self) {
        let past = std::mem::take(&mut self.past.totals);
        self.lift(&past);
        self.past.totals = past;
    }

    fn lift(&mut self, told: &Totals) {
        if told.0.is_empty() {
            return;
        }
        let ledger = &mut self.past.ledger;
        for listener in &self.listeners {
            let name = &listener.config.name;
            lift(told, &Subject::listener(Kind::Listener, name), &listener.load);
            lift(told, &Subject::listener(Kind::Unrouted, name), &listener.unrouted);
            listener.lanes.iter().for_each(|(cluster, lane)| lift(told, &Subject::lane(name, cluster), lane));
            for (route, limiter) in limiters(listener) {
                let subject = Subject::new(Kind::Limit, &[name.as_str(), &route]);
                let Some(row) = told.get(&subject) else { continue };
                let mut more = |count| ledger.rise(&subject, count, row.get(count));
                limiter.add_earlier(more("refused"), more("displaced"));
            }
        }
        for cluster in &self.clusters {
            let subject = Subject::cluster(&cluster.config.name);
            let Some(row) = told.get(&subject) else { continue };
            row.lift(cluster.kept.load.carried());
            for (name, budget) in budgets(&cluster.kept) {
                let name = format!("refused.{name}");
                budget.add_earlier(ledger.rise(&subject, &name, row.get(&name)));
            }
            cluster.kept.live.retry.add_earlier(ledger.rise(&subject, "spent", row.get("spent")));
            let window = (row.get("window.requests"), row.get("window.retries"));
            self.tally.begin_window(cluster.kept.id, self.now, window);
        }
        for id in self.clusters.iter().flat_map(|cluster| &cluster.endpoints) {
            if let Some(known) = self.known.get(id) {
                lift(told, &Subject::endpoint(&known.key), &known.load);
            }
        }
        self.releases.iter().for_each(|release| release.lift(told));
    }

    /// The past of an endpoint that is new here.
    pub(super) fn past_of(&self, key: &EndpointKey) -> Option<&Row> {
        if self.past.totals.0.is_empty() { None } else { self.past.totals.get(&Subject::endpoint(key)) }
    }

    /// Another process is about to take over: does nothing about rollouts any more, so that only one
    /// does; and what there is to be told of them, up to this moment.
    pub fn rest(&mut self, now: Moment) -> Last {
        self.now = self.now.max(now);
        self.rest_rollouts();
        Last { memory: self.memory(), rollouts: self.rollouts(), totals: self.totals() }
    }

    /// The other process did not come to serve: this one goes on.
    pub fn wake_up(&mut self, now: Moment) {
        self.now = self.now.max(now);
        self.wake_rollouts();
    }

    /// Another process acts until it says its last: nothing is done about rollouts before.
    pub fn await_last(&mut self) {
        self.rollouts.resting = true;
    }

    /// Takes over from another process, with the last of what it did; `None`: it ended before it said
    /// so, and what it told first is all there is.
    pub fn succeed(&mut self, now: Moment, last: Option<Last>, effects: &mut Vec<Effect>) {
        self.now = self.now.max(now);
        if let Some(Last { memory, rollouts, totals }) = last {
            self.carry(&totals);
            // What an operator told it meanwhile.
            self.recall_drains(memory.drains);
            self.apply_drains(&Evidence::Added, effects);
            self.succeed_rollouts(rollouts, &totals, effects);
        }
        self.wake_rollouts();
    }
}

/// Raises what was carried of one thing to what is told.
pub(super) fn lift<T: Counters + Default>(told: &Totals, subject: &Subject, load: &Shards<T>) {
    if let Some(row) = told.get(subject) {
        row.lift(load.carried());
    }
}

fn note_listener(listener: &Listener, all: &mut Totals) {
    let name = &listener.config.name;
    all.note(Subject::listener(Kind::Listener, name), Row::of(&listener.load));
    all.note(Subject::listener(Kind::Unrouted, name), Row::of(&listener.unrouted));
    for (cluster, lane) in &listener.lanes {
        all.note(Subject::lane(name, cluster), Row::of(lane));
    }
    for (route, limiter) in limiters(listener) {
        let mut row = Row::default();
        row.set("refused", limiter.refused());
        row.set("displaced", limiter.displaced());
        all.note(Subject::new(Kind::Limit, &[name.as_str(), &route]), row);
    }
}

/// Rate limits by route, as in metrics: by name, or by number from 1; nothing for the listener's own.
fn limiters(listener: &Listener) -> impl Iterator<Item = (String, &Arc<Limiter>)> {
    let word =
        |at: usize, name: &Option<RouteName>| name.as_ref().map_or_else(|| (at + 1).to_string(), ToString::to_string);
    let routes = listener.config.routes.iter().zip(&listener.targets).enumerate();
    let routes = routes.filter_map(move |(at, (route, target))| Some((word(at, &route.name), target.limit.as_ref()?)));
    listener.limit.iter().map(|limit| (String::new(), limit)).chain(routes)
}

fn budgets(kept: &snapshot::Kept) -> [(&'static str, &Arc<Budget>); 3] {
    let live = &kept.live;
    [("requests", &live.requests), ("connections", &live.connections), ("retries", &live.retries)]
}
