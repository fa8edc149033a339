//! What workers do in a life: send requests by the latest snapshot, and tell what they see.

use std::sync::Arc;

use weir_core::attempt::{Class, Outcome};
use weir_core::control::{Event, Tried, Whose};
use weir_core::endpoint::EndpointKey;
use weir_core::live::{Trial, TrialPermit};
use weir_core::reason::Reason;
use weir_core::snapshot::{Breaker, Cluster, Member};

use super::life::Life;
use super::wishes::TRIALS_MAX;

/// A trial under way.
pub(crate) struct UnderWay {
    whose: Whose,
    /// Of an endpoint: which.
    key: Option<Arc<EndpointKey>>,
    permit: TrialPermit,
}

impl Life {
    /// Some requests to one cluster.
    pub(crate) fn send(&mut self) {
        let Some(snapshot) = self.snapshot.clone() else { return };
        let cluster = &snapshot.clusters[self.dice.below(snapshot.clusters.len() as u64) as usize];
        match &cluster.breaker {
            Breaker::Open { .. } => return,
            Breaker::HalfOpen(trial) => return self.try_out(Whose::Cluster(cluster.id), None, trial),
            Breaker::Closed => {}
        }
        for index in cluster.available.usable() {
            for _ in 0..self.dice.below(8) {
                self.attempt(cluster, &cluster.members[index as usize]);
            }
        }
        for member in &cluster.members {
            if let Some(trial) = &member.trial {
                self.try_out(Whose::Endpoint(member.id), Some(&member.key), trial);
            }
        }
    }

    fn attempt(&mut self, cluster: &Cluster, member: &Member) {
        let class = self.outcome_of(Some(&member.key)).class();
        let request = self.dice.below(50);
        member.load.of(request as usize % 2).classes[class.index()].add(1);
        self.shadow.attempted(self.now, &member.key, class);
        let row = member.live.streak.note(class, request);
        let rules = cluster.config.outlier.as_ref().map(|rules| rules.consecutive);
        let reaches = row.zip(rules).is_some_and(|(row, rules)| row.reaches(&rules));
        // One may be lost on the way.
        if reaches && self.dice.below(4) > 0 {
            self.step(Event::Suspected(member.id));
        }
    }

    fn try_out(&mut self, whose: Whose, key: Option<&Arc<EndpointKey>>, trial: &Arc<Trial>) {
        if let Some(permit) = trial.take() {
            self.trials.push(UnderWay { whose, key: key.cloned(), permit });
        }
        assert!(trial.under_way() <= TRIALS_MAX, "trials are bounded by how many are under way");
    }

    /// A trial ends, or whoever waited for it goes away.
    pub(crate) fn end_trial(&mut self) {
        let at = self.dice.below(self.trials.len() as u64) as usize;
        let UnderWay { whose, key, permit } = self.trials.swap_remove(at);
        if self.dice.below(10) == 0 {
            return;
        }
        let (outcome, epoch) = (self.outcome_of(key.as_deref()), permit.epoch());
        drop(permit);
        if let Some(key) = key {
            self.shadow.tried(&key, epoch, outcome.class());
        }
        self.step(Event::Tried(Tried { whose, epoch, outcome }));
    }

    /// How an attempt ends: at one endpoint, or anywhere in a cluster.
    fn outcome_of(&mut self, key: Option<&EndpointKey>) -> Outcome {
        let sick = key.and_then(|key| self.sick.get(key));
        let bad = match sick {
            Some(_) => self.dice.below(4) > 0,
            None => !self.well && self.dice.below(50) == 0,
        };
        match (bad, sick) {
            (true, Some(Class::Connect)) => Outcome::Failed(Reason::ConnectRefused),
            (true, Some(Class::Gateway)) => Outcome::Answered(503),
            (true, _) => Outcome::Answered([500, 429][self.dice.below(2) as usize]),
            (false, _) => Outcome::Answered([200, 200, 200, 404][self.dice.below(4) as usize]),
        }
    }

    /// Traffic at one endpoint goes wrong, or at a whole cluster, or right again. Probes see none
    /// of it.
    pub(crate) fn traffic_turns(&mut self) {
        let config = self.shadow.config.clone().expect("configured at birth");
        let cluster = &config.clusters[self.dice.below(config.clusters.len() as u64) as usize];
        let class = [Class::Connect, Class::Gateway, Class::Error][self.dice.below(3) as usize];
        let whole_cluster = self.dice.below(6) == 0;
        let one = self.dice.below(cluster.endpoints.len() as u64) as usize;
        for (at, endpoint) in cluster.endpoints.iter().enumerate() {
            let key = EndpointKey { cluster: cluster.name.clone(), address: endpoint.address.clone() };
            if (at == one || whole_cluster) && self.sick.remove(&key).is_none() {
                self.sick.insert(key, class);
            }
        }
    }
}
