//! The rules, told naively: who is what, from the list of all that was heard.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use weir_config::model::{Address, Cluster, ClusterName, Config, EjectionAction, Endpoint, HealthCheck};
use weir_core::attempt::Class;
use weir_core::control::{
    Cause, Control, Ejection, Evidence, FORGET_AFTER, LOST_GRACE, Limits, ProbeId, ProbeOrder, Probed, Transition,
};
use weir_core::endpoint::{EndpointId, EndpointKey, Status};
use weir_core::health::outlier::{Charge, Rule};
use weir_core::snapshot;
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
    /// Which probation each trial is of: the number of it.
    epochs: BTreeMap<u64, u32>,
    /// Changes of status that must be told of in this step.
    changes: Vec<(EndpointKey, Status, Status)>,
}

struct Person {
    status: Status,
    checks: Vec<Check>,
    traffic: Traffic,
    /// Probations so far.
    probations: u32,
    /// Attempts that ended in the last minutes.
    attempts: Vec<(Moment, Class)>,
    /// When it left the configuration; `None` while it is in.
    left: Option<Moment>,
    id: Option<EndpointId>,
}

/// Where somebody stands with his traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Traffic {
    In,
    /// Until then, if that was told.
    Ejected(Option<Moment>),
    /// With so many good trials.
    Probation(u32),
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
                self.adopt(now, key, cluster);
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

    fn adopt(&mut self, now: Moment, key: EndpointKey, cluster: &Cluster) {
        let checks = &cluster.health_checks[..];
        let forgotten = |person: &Person| person.left.is_some_and(|left| left + FORGET_AFTER <= now);
        if self.people.get(&key).is_none_or(forgotten) {
            let checks: Vec<Check> = checks.iter().map(|check| Check::of(check, Status::Unknown)).collect();
            let (status, attempts) = (verdict(&checks), Vec::new());
            let traffic = Traffic::In;
            self.people.insert(key, Person { status, checks, traffic, probations: 0, attempts, left: None, id: None });
            return;
        }
        let person = self.people.get_mut(&key).expect("just looked up");
        person.left = None;
        let before = verdict(&person.checks);
        if cluster.outlier.as_ref().is_none_or(|rules| rules.action != EjectionAction::Eject) {
            person.traffic = Traffic::In;
            self.changes.extend(person.judge(&key));
        }
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
                let prior = if before == Status::Healthy { Status::Healthy } else { Status::Unknown };
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
        assert_eq!(order.address.ip().map(|address| address.ip()), order.key.address.ip().map(|address| address.ip()));
        assert_eq!(port_of(&order.address), port);
        assert!(order.due <= now, "{}: not before it is due", order.key);
        let lost_at = now + order.check.timeout + LOST_GRACE;
        let under_way = self.asked.insert((id, order.id.check), (order.id, lost_at));
        assert_eq!(under_way, None, "{}: one probe at a time", order.key);
        assert!(!self.cancelled.contains(&order.id), "{}: can be told from one that was cancelled", order.key);
    }

    /// Time passed: probes without an answer are not waited for any longer, time outs are over.
    pub(crate) fn waited(&mut self, now: Moment) {
        for (key, person) in self.people.iter_mut().filter(|(_, person)| person.left.is_none()) {
            if matches!(person.traffic, Traffic::Ejected(Some(until)) if until <= now) {
                person.traffic = Traffic::Probation(0);
                person.probations += 1;
                self.changes.extend(person.judge(key));
            }
        }
        self.cancel(|_, _, lost_at| lost_at <= now);
    }

    fn cancel(&mut self, hopeless: impl Fn(EndpointId, u16, Moment) -> bool) {
        let gone = self.asked.extract_if(.., |(endpoint, check), (_, lost_at)| hopeless(*endpoint, *check, *lost_at));
        self.cancelled.extend(gone.map(|(_, (id, _))| id));
    }

    /// Exactly what the rules changed was told. Whom traffic shows to be bad is for the rules of
    /// ejection to say; that they hold is checked here.
    pub(crate) fn told(&mut self, now: Moment, transitions: &[Transition]) {
        let (mut told, mut ejected) = (Vec::new(), Vec::new());
        for transition in transitions {
            self.touched.insert(transition.key.cluster.clone());
            match &transition.evidence {
                Evidence::Probe { streak, threshold, .. } => {
                    assert_eq!(streak, threshold, "{}: exactly as many as it takes", transition.key);
                }
                Evidence::Traffic(ejection) if transition.from != Status::Unhealthy => {
                    if let Cause::Charge(charge) = &ejection.cause {
                        ejected.push((transition, ejection, charge));
                        continue;
                    }
                }
                _ => {}
            }
            told.push((EndpointKey::clone(&transition.key), transition.from, transition.to));
        }
        let mut changes = std::mem::take(&mut self.changes);
        // Each one's own story is in order; whose comes first does not matter.
        told.sort_by(|one, other| one.0.cmp(&other.0));
        changes.sort_by(|one, other| one.0.cmp(&other.0));
        assert_eq!(told, changes);
        for (transition, ejection, charge) in ejected {
            self.ejected(now, transition, ejection, charge);
        }
    }

    fn ejected(&mut self, now: Moment, transition: &Transition, ejection: &Ejection, charge: &Charge) {
        let key = &*transition.key;
        let config = self.config.as_ref().expect("configured at birth");
        let cluster = config.clusters.iter().find(|cluster| cluster.name == key.cluster).expect("of the configuration");
        let rules = cluster.outlier.as_ref().expect("rules");
        let weighs = |endpoint: &&Endpoint| endpoint.weight.get() > 0;
        let key_of =
            |endpoint: &Endpoint| EndpointKey { cluster: cluster.name.clone(), address: endpoint.address.clone() };
        let peers: Vec<&Person> =
            cluster.endpoints.iter().filter(weighs).map(|endpoint| &self.people[&key_of(endpoint)]).collect();
        let person = &self.people[key];
        assert_eq!((person.status, person.traffic), (transition.from, Traffic::In), "{key}");
        let same = peers.iter().filter(|peer| peer.status == person.status).count();
        assert!(same > 1, "{key}: the last usable is never ejected");
        let healthy = peers.iter().any(|peer| peer.status == Status::Healthy);
        assert!(person.status == Status::Healthy || !healthy, "{key}: nobody is judged who gets nothing");
        let out = 1 + peers.iter().filter(|peer| peer.traffic != Traffic::In).count();
        let most = (peers.len() * usize::from(rules.max_ejection_percent) / 100).max(1);
        assert!(out <= most, "{key}: {out} are out, {most} may be");
        let Limits { out: told_out, most: told_most, total } = ejection.limits;
        assert_eq!((told_out as usize, told_most as usize, total as usize), (out, most, peers.len()), "{key}");
        let pause = ejection.until.since(now).as_secs_f64();
        let (base, longest) = (rules.base_ejection_time.as_secs_f64(), rules.max_ejection_time.as_secs_f64());
        assert!((base * 0.79..=longest * 1.21).contains(&pause), "{key}: out for {pause} s");
        person.check(now, charge);
        let person = self.people.get_mut(key).expect("just seen");
        person.traffic = Traffic::Ejected(Some(ejection.until));
        person.status = Status::Ejected;
    }

    /// An attempt ended.
    pub(crate) fn attempted(&mut self, now: Moment, key: &EndpointKey, class: Class) {
        if let Some(person) = self.people.get_mut(key) {
            person.attempts.push((now, class));
        }
    }

    /// A trial ended: so many good ones in a row bring it back, a bad one puts it out again.
    pub(crate) fn tried(&mut self, key: &EndpointKey, epoch: u64, class: Class) {
        let config = self.config.as_ref().expect("configured at birth");
        let rules = config.clusters.iter().find(|cluster| cluster.name == key.cluster);
        let Some(rules) = rules.and_then(|cluster| cluster.outlier.as_ref()) else { return };
        let Some(person) = self.people.get_mut(key) else { return };
        let Traffic::Probation(good) = person.traffic else { return };
        if person.left.is_some() || self.epochs[&epoch] != person.probations || !class.counts() {
            return;
        }
        person.traffic = match class.is_failure() {
            true => Traffic::Ejected(None),
            false if good + 1 < rules.probation_successes.get() => Traffic::Probation(good + 1),
            false => Traffic::In,
        };
        self.changes.extend(person.judge(key));
    }

    /// Workers see this now.
    pub(crate) fn published(&mut self, cluster: &snapshot::Cluster) {
        for member in &cluster.members {
            if let Some(trial) = &member.trial {
                self.epochs.entry(trial.epoch).or_insert_with(|| self.people[&*member.key].probations);
            }
        }
    }

    /// An ejection that is not told, since something that goes before it shows, has an end too.
    pub(crate) fn learn_ends(&mut self, control: &Control) {
        for (key, person) in self.people.iter_mut().filter(|(_, person)| person.traffic == Traffic::Ejected(None)) {
            if let Some(ejection) = control.endpoint(key).and_then(|view| view.ejection) {
                person.traffic = Traffic::Ejected(Some(ejection.until));
            }
        }
    }
}

impl Person {
    fn judge(&mut self, key: &EndpointKey) -> Option<(EndpointKey, Status, Status)> {
        let to = match (verdict(&self.checks), self.traffic) {
            (Status::Unhealthy, _) => Status::Unhealthy,
            (_, Traffic::Ejected(_)) => Status::Ejected,
            (_, Traffic::Probation(_)) => Status::Probation,
            (checks, Traffic::In) => checks,
        };
        let from = std::mem::replace(&mut self.status, to);
        (from != to).then(|| (key.clone(), from, to))
    }

    /// What stands against it did happen.
    fn check(&self, now: Moment, charge: &Charge) {
        let failed = |class: Class| class.is_failure();
        match charge.rule {
            Rule::Consecutive { threshold, .. } => {
                let telling = self.attempts.iter().map(|(_, class)| *class);
                let telling = telling.filter(|&class| class.counts() && class != Class::Shed);
                let row = telling.rev().take_while(|&class| failed(class)).count();
                assert!(charge.failures >= threshold && row >= charge.failures as usize, "{row} in a row: {charge}");
            }
            Rule::Share { window, minimum_requests, .. } => {
                // Counts are read once in five seconds at least, so they may be that old.
                let reach = window + Duration::from_secs(5);
                let recent = self.attempts.iter().filter(|(at, _)| now.since(*at) <= reach);
                let failures = recent.filter(|(_, class)| failed(*class)).count();
                assert!(charge.failures as usize <= failures, "{failures} failed: {charge}");
                assert!(charge.failures >= charge.needed && charge.requests >= minimum_requests, "{charge}");
            }
        }
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
