//! One life: dice choose what happens, the shadow says what must follow.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use weir_config::model::{Balance, Config, EjectionAction};
use weir_core::attempt::Class;
use weir_core::availability::Tier;
use weir_core::balance::{Ask, Cursors, Refusal, Tried, pick};
use weir_core::control::{
    Control, Effect, Event, Inconclusive, ProbeFailure, ProbeOrder, ProbeOutcome, ProbeResult, Probed, Transition,
};
use weir_core::dice::Dice;
use weir_core::endpoint::{EndpointKey, Status};
use weir_core::reason::Reason;
use weir_core::snapshot::{Breaker, Cluster, Snapshot};
use weir_core::time::Moment;

use super::shadow::Shadow;
use super::story::Story;
use super::traffic::UnderWay;
use super::wishes;

pub(crate) struct Life {
    pub(super) dice: Dice,
    pub(super) now: Moment,
    control: Control,
    pub(super) shadow: Shadow,
    /// Orders the shell has not answered, given-up and cancelled ones included.
    pending: Vec<ProbeOrder>,
    answered: Vec<Probed>,
    /// Endpoints that are really ill; all others are well.
    ill: BTreeMap<EndpointKey, ProbeFailure>,
    /// Endpoints whose answers to real requests are mostly bad; probes do not see it.
    pub(super) sick: BTreeMap<EndpointKey, Class>,
    /// Nothing goes wrong any more.
    pub(super) well: bool,
    pub(super) trials: Vec<UnderWay>,
    pub(super) snapshot: Option<Arc<Snapshot>>,
    cursors: Cursors,
    story: Story,
}

/// Names the life if it ends before its time.
struct Here {
    seed: u64,
    step: usize,
}

impl Drop for Here {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let Self { seed, step } = self;
            eprintln!("seed {seed}, step {step}: WEIR_SEED={seed} cargo test -p weir-core --test sim");
        }
    }
}

/// Lives one life of so many steps, and sees to it that all is well in the end.
pub(crate) fn live(seed: u64, steps: usize) -> Story {
    let mut dice = Dice::new(seed);
    let control = Control::new(1 + dice.below(3) as usize, dice.split());
    let mut life = Life {
        dice,
        now: Moment::ZERO,
        control,
        shadow: Shadow::default(),
        pending: Vec::new(),
        answered: Vec::new(),
        ill: BTreeMap::new(),
        sick: BTreeMap::new(),
        well: false,
        trials: Vec::new(),
        snapshot: None,
        cursors: Cursors::new(),
        story: Story::default(),
    };
    let mut here = Here { seed, step: 0 };
    let first = wishes::any(&mut life.dice);
    life.configure(first);
    for step in 1..=steps {
        here.step = step;
        life.something_happens();
        if life.dice.below(3) == 0 {
            life.publish();
        }
    }
    life.recover();
    life.story
}

impl Life {
    fn something_happens(&mut self) {
        match self.dice.below(100) {
            0..60 if !self.pending.is_empty() => self.answer_one(),
            60..65 if !self.pending.is_empty() => drop(self.take_pending()),
            65..68 if !self.answered.is_empty() => self.answer_again(),
            68..73 => {
                let old = self.shadow.config.clone().expect("configured at birth");
                let wish = wishes::changed(&old, &mut self.dice);
                self.configure(wish);
            }
            73..77 => self.somebody_falls_ill_or_recovers(),
            77..79 => self.traffic_turns(),
            79 => self.jump(),
            80..86 => self.send(),
            86..90 if !self.trials.is_empty() => self.end_trial(),
            _ => self.tick(),
        }
    }

    fn configure(&mut self, config: Config) {
        let config = Arc::new(config);
        self.shadow.configured(self.now, &config);
        self.step(Event::Configured(config));
        // A reload is a transaction: step and publish.
        self.publish();
    }

    fn answer_one(&mut self) {
        let order = self.take_pending();
        self.now = self.now + Duration::from_micros(self.dice.below(2_000_000));
        let result = match (self.dice.below(20), self.ill.get(&*order.key)) {
            (0, _) => ProbeResult::Inconclusive(Inconclusive::Late),
            (1, _) => ProbeResult::Inconclusive(Inconclusive::LocalResource),
            (2, None) => ProbeResult::Failed(ProbeFailure::Timeout),
            (2.., Some(failure)) => ProbeResult::Failed(*failure),
            (3.., None) => ProbeResult::Passed,
        };
        self.answer(&order, result);
    }

    fn answer(&mut self, order: &ProbeOrder, result: ProbeResult) {
        let probed = Probed { id: order.id, outcome: ProbeOutcome { result, took: Duration::from_millis(3) } };
        self.answered.push(probed);
        self.shadow.answered(&probed);
        self.step(Event::Probed(probed));
    }

    /// A shell that tells things twice, or long after, must do no harm.
    fn answer_again(&mut self) {
        let at = self.dice.below(self.answered.len() as u64) as usize;
        let probed = self.answered.swap_remove(at);
        self.shadow.answered(&probed);
        self.step(Event::Probed(probed));
    }

    fn take_pending(&mut self) -> ProbeOrder {
        let at = self.dice.below(self.pending.len() as u64) as usize;
        self.pending.swap_remove(at)
    }

    fn somebody_falls_ill_or_recovers(&mut self) {
        let config = self.shadow.config.clone().expect("configured at birth");
        let cluster = &config.clusters[self.dice.below(config.clusters.len() as u64) as usize];
        let failure = [ProbeFailure::ConnectRefused, ProbeFailure::Status(503)][self.dice.below(2) as usize];
        let whole_cluster = self.dice.below(6) == 0;
        let one = self.dice.below(cluster.endpoints.len() as u64) as usize;
        for (at, endpoint) in cluster.endpoints.iter().enumerate() {
            let key = EndpointKey { cluster: cluster.name.clone(), address: endpoint.address.clone() };
            if (at == one || whole_cluster) && self.ill.remove(&key).is_none() {
                self.ill.insert(key, failure);
            }
        }
    }

    /// A suspended machine, or a clock that is told twice the same.
    fn jump(&mut self) {
        let told = self.now;
        self.now = self.now + Duration::from_secs([1, 30, 599, 601][self.dice.below(4) as usize]);
        self.step(Event::Tick);
        let mut effects = Vec::new();
        self.control.step(told, Event::Tick, &mut effects);
        assert!(effects.is_empty(), "time does not run backwards");
    }

    fn tick(&mut self) {
        if let Some(due) = self.control.next_due() {
            assert!(due > self.now, "what is due was done");
            self.now = due;
        }
        self.step(Event::Tick);
    }

    pub(super) fn step(&mut self, event: Event) {
        let was_settled = self.control.settled();
        let mut effects = Vec::new();
        self.control.step(self.now, event, &mut effects);
        self.control.check_invariants();
        assert!(self.control.settled() || !was_settled, "once settled, always settled");
        effects.iter().for_each(|effect| self.story.tell(self.now, effect));
        self.shadow.waited(self.now);
        let mut told: Vec<Transition> = Vec::new();
        for effect in effects {
            match effect {
                Effect::Transition(transition) => told.push(transition),
                Effect::Notice(_) => {}
                Effect::Probe(order) => {
                    self.shadow.ordered(self.now, &order);
                    self.pending.push(order);
                    let most = self.shadow.config.as_ref().map_or(0, |config| config.max_concurrent_probes.get());
                    assert!(self.control.probes_under_way() <= most as usize, "no more probes than allowed");
                }
                // These lives find nobody: all their endpoints have fixed addresses.
                Effect::Look(_) | Effect::LookAway(_) | Effect::Remember(_) => {}
            }
        }
        self.shadow.told(self.now, &told);
        self.shadow.learn_ends(&self.control);
    }

    fn publish(&mut self) {
        let Some(snapshot) = self.control.publish(self.now) else {
            assert!(self.shadow.touched.is_empty(), "what changed is published");
            return;
        };
        self.story.publish(&snapshot);
        self.check_sharing(&snapshot);
        let config = self.shadow.config.as_ref().expect("configured at birth");
        assert_eq!(snapshot.config, *config);
        assert!(snapshot.clusters.iter().map(|cluster| &cluster.config).eq(&config.clusters));
        assert!(snapshot.listeners.iter().map(|listener| &listener.config).eq(&config.listeners));
        for listener in &snapshot.listeners {
            for (route, target) in listener.config.routes.iter().zip(&listener.targets) {
                let names = target.to.iter().map(|(cluster, _)| &snapshot.clusters[*cluster].config.name);
                match &route.target {
                    weir_config::model::Target::Cluster(wanted) => assert!(names.eq([wanted])),
                    weir_config::model::Target::Reply(_) => assert_eq!(names.len(), 0),
                    weir_config::model::Target::Release(wanted) => {
                        let release = &snapshot.releases[target.release.expect("a release")].config;
                        assert_eq!(release.name, *wanted);
                        assert!(names.eq(release.clusters()));
                    }
                }
            }
        }
        for cluster in &snapshot.clusters {
            self.check_cluster(cluster);
            self.shadow.published(cluster);
            self.pick_from(cluster);
        }
        self.cursors.keep(snapshot.clusters.iter().map(|cluster| &**cluster));
        self.snapshot = Some(snapshot);
    }

    /// What did not change is the same as before; identities and counts stay.
    fn check_sharing(&mut self, snapshot: &Snapshot) {
        let mut touched = std::mem::take(&mut self.shadow.touched);
        touched.append(&mut self.shadow.asked_in);
        let Some(old) = &self.snapshot else { return };
        assert!(snapshot.generation > old.generation, "generations rise");
        for cluster in &snapshot.clusters {
            let Some(before) = old.cluster(&cluster.config.name) else {
                continue;
            };
            assert_eq!(cluster.id, before.id);
            assert_eq!(cluster.version == before.version, Arc::ptr_eq(cluster, before), "a version names one thing");
            let may_change = touched.contains(&cluster.config.name) || changes_by_itself(&cluster.config);
            assert!(Arc::ptr_eq(cluster, before) || may_change, "the unchanged is shared");
            for member in &cluster.members {
                if let Some(before) = before.members.iter().find(|before| before.key == member.key) {
                    assert!(before.id == member.id && Arc::ptr_eq(&before.load, &member.load), "counts are adopted");
                }
            }
        }
        for listener in &snapshot.listeners {
            let Some(before) = old.listener(&listener.config.name) else {
                continue;
            };
            assert!(Arc::ptr_eq(&before.load, &listener.load));
            for (name, lane) in &before.lanes {
                let now = listener.lanes.iter().find(|(its, _)| its == name);
                assert!(now.is_none_or(|(_, now)| Arc::ptr_eq(now, lane)), "lanes are adopted");
            }
        }
    }

    fn check_cluster(&self, cluster: &Cluster) {
        for (member, endpoint) in cluster.members.iter().zip(&cluster.config.endpoints) {
            assert_eq!((member.address(), member.weight), (&endpoint.address, endpoint.weight));
            assert_eq!(member.zone, endpoint.zone);
            assert_eq!(member.status, self.shadow.status(&member.key), "{}", member.key);
            assert_eq!(member.trial.is_some(), member.status == Status::Probation, "{}", member.key);
        }
        assert_eq!(cluster.members.len(), cluster.config.endpoints.len());
        let can = |status| cluster.members.iter().any(|member| member.status == status && member.weight.get() > 0);
        let tier = match (can(Status::Healthy), can(Status::Unknown), can(Status::Probation)) {
            (true, ..) => Tier::Healthy,
            (false, true, _) => Tier::Unknown,
            (false, false, true) => Tier::Trials,
            (false, false, false) if can(Status::Ejected) => Tier::Nobody(Reason::AllEjected),
            (false, false, false) if can(Status::Unhealthy) => Tier::Nobody(Reason::NoHealthyEndpoint),
            (false, false, false) => Tier::Nobody(Reason::NoEndpoint),
        };
        assert_eq!(cluster.available.tier, tier);
    }

    /// Picks, each time another one, until the cluster has nobody left.
    fn pick_from(&mut self, cluster: &Cluster) {
        let (mut tried, mut usable) = (Tried::new(), 0);
        let refusal = loop {
            match pick(cluster, &Ask::new(&tried), &mut self.cursors, &mut self.dice) {
                Ok(picked) => {
                    match &picked.trial {
                        Some(trial) => {
                            assert_eq!(Some(trial.epoch()), picked.member.trial.as_ref().map(|its| its.epoch))
                        }
                        None => {
                            let why_not = cluster.available.why_not(picked.index, picked.member);
                            assert_eq!(why_not, None, "picked although unavailable");
                            usable += 1;
                        }
                    }
                    assert!(!tried.contains(picked.index), "picked although tried");
                    self.story.pick(picked.index);
                    tried.push(picked.index);
                }
                Err(refusal) => break refusal,
            }
        };
        assert_eq!(usable, cluster.available.usable().count(), "all that can be picked are");
        let (reason, all_tried) = match cluster.available.tier {
            Tier::Nobody(reason) => (reason, false),
            Tier::Trials => (Reason::AllEjected, false),
            _ => (Reason::NoHealthyEndpoint, true),
        };
        assert_eq!(refusal, Refusal { reason, all_tried, all_busy: false });
    }

    fn unwell(&self) -> String {
        let ill = self.control.endpoints().filter(|one| one.status != Status::Healthy || one.permille < 1000);
        let ill: Vec<String> = ill.map(|one| format!("{} {} {}", one.key, one.status, one.permille)).collect();
        let breakers = self.control.clusters().map(|cluster| cluster.breaker.as_str());
        format!("{ill:?}, breakers {:?}", breakers.collect::<Vec<_>>())
    }

    fn all_is_well(&self) -> bool {
        let closed = self.control.clusters().all(|cluster| matches!(cluster.breaker, Breaker::Closed));
        let whole = self.control.endpoints().all(|endpoint| endpoint.permille == 1000);
        self.shadow.everybody_is_healthy() && self.control.settled() && closed && whole
    }

    /// The world is well: so is everybody soon, and each has exactly its share.
    fn recover(&mut self) {
        self.ill.clear();
        self.sick.clear();
        self.well = true;
        let end = self.now + Duration::from_secs(400);
        while !self.all_is_well() {
            while let Some(order) = self.pending.pop() {
                self.answer(&order, ProbeResult::Passed);
            }
            self.publish();
            self.send();
            while !self.trials.is_empty() {
                self.end_trial();
            }
            self.tick();
            assert!(self.now < end, "everything returns once the world is well: {}", self.unwell());
        }
        self.publish();
        let snapshot = self.snapshot.clone().expect("published at least now");
        for cluster in snapshot.clusters.iter().filter(|cluster| cluster.config.balance == Balance::RoundRobin) {
            let weights: Vec<u16> = cluster.members.iter().map(|member| member.weight.get()).collect();
            let mut got = vec![0; weights.len()];
            let mut cursors = Cursors::new();
            for _ in 0..weights.iter().sum() {
                let picked =
                    pick(cluster, &Ask::new(&Tried::new()), &mut cursors, &mut self.dice).expect("all are well");
                got[picked.index] += 1;
            }
            assert_eq!(got, weights, "exact shares");
        }
    }
}

/// Shares of its members, or its breaker, change with nobody's status.
fn changes_by_itself(cluster: &weir_config::model::Cluster) -> bool {
    let reduces = cluster.outlier.as_ref().is_some_and(|rules| rules.action == EjectionAction::Reduce);
    reduces || cluster.slow_start.is_some() || cluster.breaker.failure_rate.is_some()
}
