//! Ways back: what happens to endpoints and breakers by themselves, and by trials.

use std::sync::Arc;

use weir_config::model;

use super::{Cause, Limits, TrafficNotice, Wake};
use crate::attempt::Outcome;
use crate::control::{Control, Effect, Evidence, Notice, Tried, Whose};
use crate::endpoint::{ClusterId, EndpointId};
use crate::health::outlier::{State, Tested, most_out};
use crate::health::slow_start;
use crate::live::{ClusterLive, Trial};

impl Control {
    /// Does what is due by itself.
    pub(super) fn wake(&mut self, effects: &mut Vec<Effect>) {
        while let Some(&(at, wake)) = self.judging.wakes.first()
            && at <= self.now
        {
            self.judging.wakes.pop_first();
            match wake {
                Wake::Endpoint(id) => self.wake_endpoint(id, effects),
                Wake::Cluster(id) => self.wake_cluster(id, effects),
            }
        }
    }

    fn wake_endpoint(&mut self, id: EndpointId, effects: &mut Vec<Effect>) {
        let Some(known) = self.known.get_mut(&id) else { return };
        known.wake = None;
        let standing = &known.traffic.standing;
        match standing.state() {
            _ if standing.due().is_none_or(|due| due > self.now) => {}
            // Whether it gets more or less is for the judgment of its cluster to say.
            State::Reduced { .. } => self.judging.suspects.extend(known.place.map(|place| place.cluster)),
            State::Ejected { .. } => {
                let ejection = known.traffic.ejection.clone();
                self.put_on_probation(id);
                if let Some(ejection) = ejection {
                    self.judge(id, Evidence::TimeServed(ejection), effects);
                }
            }
            State::In | State::Probation { .. } => {}
        }
        self.refresh(id);
    }

    fn put_on_probation(&mut self, id: EndpointId) {
        let Some(known) = self.known.get_mut(&id) else { return };
        let rules = known.place.and_then(|place| self.clusters[place.cluster].config.outlier.as_ref());
        let most = rules.map_or(1, |rules| rules.probation_requests.get());
        self.given.trials += 1;
        known.traffic.standing.try_again(Arc::new(Trial::new(self.given.trials, most)));
    }

    fn wake_cluster(&mut self, id: ClusterId, effects: &mut Vec<Effect>) {
        let Some(at) = self.clusters.iter().position(|cluster| cluster.kept.id == id) else { return };
        let cluster = &mut self.clusters[at];
        let (Some(rate), Some(breaker)) = (&cluster.config.breaker.failure_rate, &mut cluster.judged.breaker) else {
            return;
        };
        if breaker.due().is_some_and(|due| due <= self.now) {
            self.given.trials += 1;
            let change = breaker.try_again(rate, Arc::new(Trial::new(self.given.trials, rate.trials.get())));
            self.breaker_changed(at, Some(change), effects);
        }
    }

    /// A trial ended.
    pub(in crate::control) fn tried(&mut self, Tried { whose, epoch, outcome }: Tried, effects: &mut Vec<Effect>) {
        match whose {
            Whose::Endpoint(id) => self.endpoint_tried(id, epoch, outcome, effects),
            Whose::Cluster(id) => self.cluster_tried(id, epoch, outcome, effects),
        }
    }

    fn endpoint_tried(&mut self, id: EndpointId, epoch: u64, outcome: Outcome, effects: &mut Vec<Effect>) {
        let Some(known) = self.known.get_mut(&id) else { return };
        let Some(cluster) = known.place.map(|place| place.cluster) else { return };
        let config = Arc::clone(&self.clusters[cluster].config);
        let Some(rules) = &config.outlier else { return };
        match known.traffic.standing.tried(rules, epoch, outcome.class()) {
            Tested::Nothing | Tested::Good(_) => {}
            Tested::Passed => {
                known.traffic.standing.readmit(self.now);
                if let Some(ejection) = known.traffic.ejection.take() {
                    let successes = rules.probation_successes.get();
                    self.judge(id, Evidence::Proved { successes, ejection }, effects);
                }
            }
            Tested::Failed(good) => {
                let cause = Cause::Trial { outcome, good, needed: rules.probation_successes.get() };
                let limits = self.limits(cluster, rules);
                self.eject(id, rules, cause, limits, effects);
            }
        }
    }

    fn cluster_tried(&mut self, id: ClusterId, epoch: u64, outcome: Outcome, effects: &mut Vec<Effect>) {
        let Some(at) = self.clusters.iter().position(|cluster| cluster.kept.id == id) else { return };
        let draw = self.dice.roll();
        let cluster = &mut self.clusters[at];
        let (Some(rate), Some(breaker)) = (&cluster.config.breaker.failure_rate, &mut cluster.judged.breaker) else {
            return;
        };
        let change = breaker.tried(rate, epoch, outcome, self.now, draw);
        self.breaker_changed(at, change, effects);
    }

    /// A reduced endpoint was clean for a step: it gets more.
    pub(super) fn restore(&mut self, id: EndpointId, effects: &mut Vec<Effect>) {
        let Some(known) = self.known.get_mut(&id) else { return };
        if known.traffic.standing.restore(self.now) == Some(1000) {
            let (key, zone) = (Arc::clone(&known.key), known.zone.clone());
            effects.push(Effect::Notice(Notice::Traffic(TrafficNotice::Restored { key, zone })));
        }
        self.refresh(id);
    }

    /// How many of a cluster's endpoints are out, and may be.
    pub(in crate::control) fn limits(&self, cluster: usize, rules: &model::Outlier) -> Limits {
        let known = self.clusters[cluster].endpoints.iter().filter_map(|id| self.known.get(id));
        let mut limits = Limits::default();
        for known in known.filter(|known| known.weight.get() > 0) {
            limits.total += 1;
            limits.out += u32::from(known.traffic.standing.is_out());
        }
        limits.most = most_out(rules, limits.total);
        limits
    }
}

impl Control {
    /// Brings an endpoint's share, its limits and its next turn in line with where it stands.
    pub(in crate::control) fn refresh(&mut self, id: EndpointId) {
        let Some(known) = self.known.get_mut(&id) else { return };
        let place = known.place;
        let config = place.map(|place| &*self.clusters[place.cluster].config);
        let step = known.ramp.zip(config.and_then(|config| config.slow_start.as_ref()));
        let step = step.and_then(|(since, ramp)| slow_start::share(ramp, since, self.now));
        known.ramp = known.ramp.filter(|_| step.is_some());
        let ramp = step.map_or(1000, |(permille, _)| permille);

        let share = u32::from(known.traffic.standing.permille()) * u32::from(ramp) / 1000;
        let permille = share.clamp(1, 1000) as u16;
        if let Some(config) = config {
            let limits = &config.breaker.per_endpoint;
            let scaled = |most: u32| (u64::from(most) * u64::from(ramp) / 1000).max(1) as u32;
            known.live.requests.set_most(limits.max_requests.map(|most| scaled(most.get())));
            known.live.connections.set_most(limits.max_connections.map(Into::into));
        }
        let wake = [known.traffic.standing.due(), step.map(|(_, next)| next)].into_iter().flatten().min();
        // Whoever left the configuration is looked at again when it comes back; one that is reduced
        // and whose turn has come, when its cluster is judged.
        let is_out = known.traffic.standing.is_out();
        let wake = wake.filter(|&at| place.is_some() && (at > self.now || is_out));
        if let Some(before) = std::mem::replace(&mut known.wake, wake) {
            self.judging.sleep(before, id);
        }
        self.judging.wakes.extend(wake.map(|at| (at, Wake::Endpoint(id))));
        if let Some(place) = place
            && std::mem::replace(&mut known.permille, permille) != permille
        {
            self.clusters[place.cluster].note(place.member);
            self.changed = true;
        }
    }
}

/// Sets a cluster's own limits.
pub(in crate::control) fn limit(live: &ClusterLive, breaker: &model::Breaker) {
    live.requests.set_most(breaker.max_requests.map(Into::into));
    live.connections.set_most(breaker.max_connections.map(Into::into));
    live.retries.set_most(breaker.max_retries.map(Into::into));
}
