//! Traffic as workers would tell of it, and what it is judged by.

use std::sync::Arc;
use std::time::Duration;

use weir_config::model::*;
use weir_core::attempt::{Class, Outcome};
use weir_core::control::{Effect, EndpointView, Event, Notice, TrafficNotice, Tried, Whose};
use weir_core::endpoint::{EndpointId, Status};
use weir_core::health::outlier::What;
use weir_core::live::Trial;

use super::*;

/// Outlier detection with the product's defaults, but without jitter.
pub(crate) fn outlier() -> Outlier {
    let window = |threshold, seconds, requests| FailureWindow {
        threshold,
        window: Duration::from_secs(seconds),
        minimum_requests: count(requests),
    };
    Outlier {
        consecutive: Consecutive { any_5xx: Some(count(5)), gateway: None, local_origin: None },
        windows: vec![window(50.0, 10, 20), window(30.0, 300, 50)],
        confidence: 0.95,
        action: EjectionAction::Eject,
        max_ejection_percent: 34,
        correlated_percent: 30,
        base_ejection_time: Duration::from_secs(30),
        max_ejection_time: Duration::from_secs(300),
        jitter_percent: 0,
        probation_requests: count(1),
        probation_successes: count(3),
    }
}

/// A configuration of one cluster, `shop`, of `n` endpoints without checks, with these rules.
pub(crate) fn judged_shop(n: usize, rules: Outlier) -> Config {
    let mut shop = cluster("shop", endpoints(&vec![1; n]), Vec::new());
    shop.outlier = Some(rules);
    of_shop(shop)
}

/// A configuration of this cluster, `shop`.
pub(crate) fn of_shop(shop: Cluster) -> Config {
    config(vec![listener("web", vec![to("shop")])], vec![shop])
}

/// Traffic, as workers would tell of it.
impl Life {
    pub(crate) fn id(&self, n: usize) -> EndpointId {
        self.view(n).id
    }

    pub(crate) fn view(&self, n: usize) -> EndpointView<'_> {
        self.control.endpoints().find(|view| view.key.address == address(n)).expect("configured")
    }

    pub(crate) fn status(&self, n: usize) -> Status {
        self.view(n).status
    }

    /// Who has that status, by number.
    pub(crate) fn those(&self, status: Status) -> Vec<usize> {
        let views = self.control.endpoints().enumerate();
        views.filter(|(_, view)| view.status == status).map(|(n, _)| n).collect()
    }

    /// An attempt at endpoint number `n` ended; gives the transitions if a worker suspects it then.
    pub(crate) fn attempt(&mut self, n: usize, class: Class, request: u64) -> Vec<Effect> {
        let view = self.view(n);
        view.load.of((request % 2) as usize).classes[class.index()].add(1);
        let (id, row) = (view.id, view.live.streak.note(class, request));
        let cluster = self.control.clusters().next().expect("one cluster");
        let rules = cluster.config.outlier.as_ref().map(|rules| rules.consecutive);
        match (row, rules) {
            (Some(row), Some(rules)) if row.reaches(&rules) => self.step(Event::Suspected(id)),
            _ => Vec::new(),
        }
    }

    /// So many attempts, each of another request.
    pub(crate) fn attempts(&mut self, n: usize, class: Class, times: u64) -> Vec<Effect> {
        let first = self.now.as_nanos();
        (first..first + times).flat_map(|request| self.attempt(n, class, request)).collect()
    }

    /// Lets time pass, and all that is due with it.
    pub(crate) fn pass(&mut self, time: Duration) -> Vec<Effect> {
        let (end, mut effects) = (self.now + time, Vec::new());
        while let Some(due) = self.control.next_due().filter(|&due| due <= end) {
            assert!(due > self.now, "what is due was done");
            self.now = due;
            effects.extend(self.step(Event::Tick));
        }
        self.now = end;
        effects.extend(self.step(Event::Tick));
        effects
    }

    pub(crate) fn pass_seconds(&mut self, seconds: u64) -> Vec<Effect> {
        self.pass(Duration::from_secs(seconds))
    }

    /// The trial of endpoint number `n`, as workers see it.
    pub(crate) fn trial(&mut self, n: usize) -> Option<Arc<Trial>> {
        if let Some(snapshot) = self.publish() {
            self.published = Some(snapshot);
        }
        let snapshot = self.published.as_ref().expect("published");
        let member = snapshot.clusters[0].members.iter().find(|member| *member.address() == address(n));
        member.expect("configured").trial.clone()
    }

    /// A trial request of endpoint number `n` ends so.
    pub(crate) fn try_out(&mut self, n: usize, outcome: Outcome) -> Vec<Effect> {
        let epoch = self.trial(n).expect("on probation").epoch;
        let whose = Whose::Endpoint(self.id(n));
        self.step(Event::Tried(Tried { whose, epoch, outcome }))
    }
}

/// What became of whom.
pub(crate) fn told(effects: &[Effect]) -> Vec<(Status, Status)> {
    let told = effects.iter().map(|effect| match effect {
        Effect::Transition(transition) => (transition.from, transition.to),
        _ => panic!("only transitions: {effect:?}"),
    });
    told.collect()
}

/// Against whom a rule was met without taking it out, and why, as told.
pub(crate) fn charged(life: &Life) -> Vec<(String, What)> {
    let notices = life.notices.iter().filter_map(|notice| match notice {
        Notice::Traffic(TrafficNotice::Charged { key, what, .. }) => Some((key.address.to_string(), *what)),
        _ => None,
    });
    notices.collect()
}

/// Ejects endpoint number `n` by failures in a row.
pub(crate) fn eject(life: &mut Life, n: usize) {
    let effects = life.attempts(n, Class::Error, 5);
    assert_eq!(told(&effects), [(Status::Healthy, Status::Ejected)]);
}

/// Waits for the end of its time out, and ends its probation well.
pub(crate) fn bring_back(life: &mut Life, n: usize) {
    while life.status(n) == Status::Ejected {
        life.tick();
    }
    (0..2).for_each(|_| assert!(life.try_out(n, Outcome::Answered(200)).is_empty()));
    assert_eq!(told(&life.try_out(n, Outcome::Answered(200))), [(Status::Probation, Status::Healthy)]);
}
