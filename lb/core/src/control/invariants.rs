//! What must hold between any two steps. For tests and debugging: a full sweep.

use std::collections::BTreeSet;

use super::discovered::Wanted;
use super::known::Known;
use super::schedule::{Plan, Slot};
use super::{Control, REMEMBERED_MAX};
use crate::endpoint::{EndpointId, Status};
use crate::health::outlier::State;
use crate::health::verdict;

impl Control {
    /// Checks everything that must hold between two steps.
    ///
    /// # Panics
    /// If something does not hold: a mistake in this crate.
    pub fn check_invariants(&self) {
        self.check_indices();
        self.check_plans();
        let wakes = self.known.iter().filter_map(|(&id, known)| Some((known.wake?, id)));
        assert!(self.judging.holds(wakes), "what happens by itself is planned, and nothing else");
        for known in self.known.values() {
            let drain = self.drains.of(&known.key, known.zone.as_ref());
            assert_eq!(known.drained, drain.is_some(), "{}: drained if and only if a drain says so", known.key);
            let says = verdict(known.checks.iter().map(|check| check.opinion.verdict()));
            assert_eq!(known.verdict, says, "{}: the verdict is what its checks come to", known.key);
            assert_eq!(known.status, known.status_of(), "{}: the status is what all that is known comes to", known.key);
            self.check_traffic(known);
            for check in &known.checks {
                let opinion = check.opinion;
                assert!(
                    opinion.streak() < opinion.threshold(&check.definition),
                    "{}: a streak that meets the threshold changes the verdict",
                    known.key
                );
            }
        }
    }

    fn check_traffic(&self, known: &Known) {
        let standing = &known.traffic.standing;
        assert_eq!(standing.is_out(), known.traffic.ejection.is_some(), "{}: out for a cause", known.key);
        assert!((1..=1000).contains(&known.permille), "{}: some of its weight", known.key);
        assert!(known.ramp.is_none() || known.status == Status::Healthy, "{}: only the healthy ramp", known.key);
        if let (State::Ejected { until }, Some(_)) = (standing.state(), known.place) {
            assert!(*until > self.now, "{}: nobody is out for longer than told", known.key);
            assert!(known.wake.is_some_and(|wake| wake <= *until), "{}: its time out ends by itself", known.key);
        }
    }

    fn check_indices(&self) {
        assert_eq!(self.known.len(), self.by_key.len(), "one number for each key");
        assert!(self.sources.is_in_order(), "each source is due when it says");
        let members: Vec<Vec<Wanted>> =
            self.clusters.iter().map(|cluster| self.sources.members(&cluster.config)).collect();
        for (id, known) in &self.known {
            assert_eq!(self.by_key.get(&known.key), Some(id), "{}: found by its key", known.key);
            let departed = self.departed.contains(&(known.left, *id));
            assert_eq!(known.place.is_none(), departed, "{}: either in the configuration or departed", known.key);
            if let Some(place) = known.place {
                let cluster = &self.clusters[place.cluster];
                assert_eq!(cluster.endpoints[place.member], *id, "{}: stands in its place", known.key);
                assert_eq!(cluster.config.name, known.key.cluster, "{}: in its own cluster", known.key);
                let Wanted { endpoint: wanted, gone, host } = &members[place.cluster][place.member];
                assert_eq!(
                    (&wanted.address, wanted.weight, &wanted.zone, host, *gone),
                    (&known.key.address, known.weight, &known.zone, &known.host, known.gone),
                    "{}: is what the configuration and its sources say",
                    known.key
                );
                let defined = known.checks.iter().map(|check| &check.definition);
                assert!(defined.eq(&cluster.config.health_checks), "{}: has the checks of its cluster", known.key);
            }
        }
        let placed: BTreeSet<EndpointId> = self.clusters.iter().flat_map(|c| c.endpoints.iter().copied()).collect();
        assert_eq!(placed.len() + self.departed.len(), self.known.len(), "nobody is known without a cause");
        assert!(self.departed.len() <= REMEMBERED_MAX, "memory of those who left is bounded");
    }

    fn check_plans(&self) {
        let slots = || {
            self.known.iter().flat_map(|(&endpoint, known)| {
                (0..).zip(&known.checks).map(move |(check, state)| (known, Slot { endpoint, check }, state.plan))
            })
        };
        for (known, _, plan) in slots() {
            let probed = plan != Plan::Idle;
            assert_eq!(probed, known.place.is_some(), "{}: probed if and only if configured", known.key);
        }
        let planned = slots().map(|(_, slot, plan)| (slot, plan));
        assert!(self.schedule.holds(planned), "the schedule holds each check's plan and nothing else");
        let overdue = self.schedule.due_by(self.now);
        assert!(overdue.is_none() || !self.may_ask(), "nothing waits that could be asked");
    }
}
