//! The rules, told naively: who is what, from the list of all that was heard.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use weir_config::model::{Address, ClusterName, Config, HealthCheck};
use weir_core::control::{Evidence, FORGET_AFTER, LOST_GRACE, ProbeId, ProbeOrder, Probed, Transition};
use weir_core::endpoint::{EndpointId, EndpointKey, Status};
use weir_core::time::Moment;

#[derive(Default)]
pub(crate) struct Shadow {
    pub(crate) config: Option<Arc<Config>>,
    /// Clusters in which something changed since the last publication.
    pub(crate) touched: BTreeSet<ClusterName>,
    /// Where an endpoint was asked, and may have been seen to answer again, or no longer.
    pub(crate) asked_in: BTreeSet<ClusterName>,
    people: BTreeMap<EndpointKey, Person>,
    names: BTreeMap<EndpointId, EndpointKey>,
    /// Probes under way, and when they are given up.
    asked: BTreeMap<(EndpointId, u16), (ProbeId, Moment)>,
    /// Probes whose answer nobody waits for any more.
    cancelled: BTreeSet<ProbeId>,
    /// Changes of status that must be told of in this step.
    changes: Vec<(EndpointKey, Status, Status)>,
}

struct Person {
    status: Status,
    checks: Vec<Check>,
    /// When it left the configuration; `None` while it is in.
    left: Option<Moment>,
    id: Option<EndpointId>,
}

#[derive(Clone)]
struct Check {
    definition: Arc<HealthCheck>,
    verdict: Status,
    /// Every conclusive outcome under this definition.
    heard: Vec<bool>,
}

impl Shadow {
    pub(crate) fn status(&self, key: &EndpointKey) -> Status {
        self.people[key].status
    }

    pub(crate) fn everybody_is_healthy(&self) -> bool {
        self.people.values().filter(|person| person.left.is_none()).all(|person| person.status == Status::Healthy)
    }

    pub(crate) fn configured(&mut self, now: Moment, config: &Arc<Config>) {
        for cluster in &config.clusters {
            let old = self.config.iter().flat_map(|old| &old.clusters).find(|old| old.name == cluster.name);
            if old != Some(cluster) {
                self.touched.insert(cluster.name.clone());
            }
            for endpoint in &cluster.endpoints {
                let key = EndpointKey { cluster: cluster.name.clone(), address: endpoint.address.clone() };
                self.adopt(now, key, &cluster.health_checks);
            }
        }
        let named = |key: &EndpointKey| {
            let cluster = config.clusters.iter().find(|cluster| cluster.name == key.cluster);
            cluster.is_some_and(|cluster| cluster.endpoints.iter().any(|endpoint| endpoint.address == key.address))
        };
        let mut left = BTreeSet::new();
        for (_, person) in self.people.iter_mut().filter(|(key, person)| person.left.is_none() && !named(key)) {
            person.left = Some(now);
            left.extend(person.id);
        }
        self.cancel(|endpoint, _, _| left.contains(&endpoint));
        self.config = Some(Arc::clone(config));
    }

    fn adopt(&mut self, now: Moment, key: EndpointKey, checks: &[Arc<HealthCheck>]) {
        let forgotten = |person: &Person| person.left.is_some_and(|left| left + FORGET_AFTER <= now);
        if self.people.get(&key).is_none_or(forgotten) {
            let checks: Vec<Check> = checks.iter().map(|check| Check::of(check, Status::Unknown)).collect();
            let status = verdict(&checks);
            self.people.insert(key, Person { status, checks, left: None, id: None });
            return;
        }
        let person = self.people.get_mut(&key).expect("just looked up");
        person.left = None;
        let mut old: Vec<Option<Check>> = person.checks.drain(..).map(Some).collect();
        let stays: Vec<bool> = (0..checks.len())
            .map(|at| old.get(at).is_some_and(|old| old.as_ref().is_some_and(|old| old.definition == checks[at])))
            .collect();
        let mut new: Vec<Option<Check>> =
            (0..checks.len()).map(|at| if stays[at] { old[at].take() } else { None }).collect();
        for at in (0..checks.len()).filter(|&at| !stays[at]) {
            let moved = old.iter().position(|old| old.as_ref().is_some_and(|old| old.definition == checks[at]));
            new[at] = moved.and_then(|from| old[from].take());
        }
        for at in 0..checks.len() {
            if new[at].is_none() {
                let replaced = old.iter_mut().find_map(Option::take).map(|old| old.verdict);
                let prior = if person.status == Status::Healthy { Status::Healthy } else { Status::Unknown };
                new[at] = Some(Check::of(&checks[at], replaced.unwrap_or(prior)));
            }
        }
        person.checks = new.into_iter().flatten().collect();
        self.changes.extend(person.judge(&key));
        let id = person.id;
        self.cancel(|endpoint, at, _| Some(endpoint) == id && stays.get(usize::from(at)) != Some(&true));
    }

    /// Takes in an answer if it is the one that is waited for.
    pub(crate) fn answered(&mut self, probed: &Probed) {
        let slot = (probed.id.endpoint, probed.id.check);
        if self.asked.get(&slot).is_none_or(|(id, _)| *id != probed.id) {
            return;
        }
        self.asked.remove(&slot);
        let key = &self.names[&probed.id.endpoint];
        let person = self.people.get_mut(key).expect("whom we asked, we know");
        self.asked_in.insert(key.cluster.clone());
        if let Some(passed) = probed.outcome.result.conclusion() {
            person.checks[usize::from(probed.id.check)].hear(passed);
            self.changes.extend(person.judge(key));
        }
    }

    /// An order must be for a configured endpoint and check, due, and the only one.
    pub(crate) fn ordered(&mut self, now: Moment, order: &ProbeOrder) {
        let person = self.people.get_mut(&order.key).expect("nobody unknown is probed");
        assert_eq!(person.left, None, "{}: only configured endpoints are probed", order.key);
        let id = *person.id.get_or_insert(order.id.endpoint);
        assert_eq!(id, order.id.endpoint, "{}: the number stays", order.key);
        self.names.insert(id, EndpointKey::clone(&order.key));
        let check = &person.checks[usize::from(order.id.check)];
        assert_eq!(check.definition, order.check, "{}: asks what is configured", order.key);
        let port = check.definition.port.map_or_else(|| port_of(&order.key.address), Into::into);
        assert_eq!(order.address.ip().unwrap().ip(), order.key.address.ip().unwrap().ip());
        assert_eq!(port_of(&order.address), port);
        assert!(order.due <= now, "{}: not before it is due", order.key);
        let lost_at = now + order.check.timeout + LOST_GRACE;
        let under_way = self.asked.insert((id, order.id.check), (order.id, lost_at));
        assert_eq!(under_way, None, "{}: one probe at a time", order.key);
        assert!(!self.cancelled.contains(&order.id), "{}: can be told from one that was cancelled", order.key);
    }

    /// Time passed: probes without an answer are not waited for any longer.
    pub(crate) fn waited(&mut self, now: Moment) {
        self.cancel(|_, _, lost_at| lost_at <= now);
    }

    fn cancel(&mut self, hopeless: impl Fn(EndpointId, u16, Moment) -> bool) {
        let gone = self.asked.extract_if(.., |(endpoint, check), (_, lost_at)| hopeless(*endpoint, *check, *lost_at));
        self.cancelled.extend(gone.map(|(_, (id, _))| id));
    }

    /// Exactly what the rules changed was told.
    pub(crate) fn told(&mut self, transitions: &[Transition]) {
        for transition in transitions {
            self.touched.insert(transition.key.cluster.clone());
            if let Evidence::Probe { streak, threshold, .. } = transition.evidence {
                assert_eq!(streak, threshold, "{}: exactly as many as it takes", transition.key);
            }
        }
        let told: Vec<_> = transitions.iter().map(|told| (EndpointKey::clone(&told.key), told.from, told.to)).collect();
        assert_eq!(told, std::mem::take(&mut self.changes));
    }
}

impl Person {
    fn judge(&mut self, key: &EndpointKey) -> Option<(EndpointKey, Status, Status)> {
        let from = std::mem::replace(&mut self.status, verdict(&self.checks));
        (from != self.status).then(|| (key.clone(), from, self.status))
    }
}

impl Check {
    fn of(definition: &Arc<HealthCheck>, verdict: Status) -> Self {
        Self { definition: Arc::clone(definition), verdict, heard: Vec::new() }
    }

    /// The verdict changes when the last so many outcomes all say otherwise.
    fn hear(&mut self, passed: bool) {
        self.heard.push(passed);
        let (against, needed) = match self.verdict {
            Status::Unknown => (passed, 1),
            Status::Healthy => (false, self.definition.unhealthy_threshold.get() as usize),
            _ => (true, self.definition.healthy_threshold.get() as usize),
        };
        if self.heard.len() >= needed && self.heard.iter().rev().take(needed).all(|&passed| passed == against) {
            self.verdict = if against { Status::Healthy } else { Status::Unhealthy };
        }
    }
}

fn verdict(checks: &[Check]) -> Status {
    let all = |status| checks.iter().all(|check| check.verdict == status);
    match checks.iter().any(|check| check.verdict == Status::Unhealthy) {
        true => Status::Unhealthy,
        false if all(Status::Healthy) => Status::Healthy,
        false => Status::Unknown,
    }
}

fn port_of(address: &Address) -> u16 {
    address.ip().expect("the wishes are for IP addresses").port()
}
