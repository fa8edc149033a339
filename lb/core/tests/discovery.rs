//! Endpoints that are found: stories of the control loop with sources, one rule each.

mod support;

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use support::*;
use weir_config::model::{Config, Endpoint, HealthCheck, Source, SourceKind, Weight};
use weir_core::availability::Tier;
use weir_core::control::discovered::News;
use weir_core::control::*;
use weir_core::dice::Dice;
use weir_core::discovery::{Answer, Failure, FailureKind, Silent, State, Told, Trace};
use weir_core::endpoint::Status;
use weir_core::reason::Reason;
use weir_core::time::Moment;

fn name(host: &str) -> Source {
    let kind = SourceKind::Name { host: host.into(), port: 80 };
    Source { kind, zone: None, weight: Weight::ONE, priority: 0 }
}

/// A cluster `shop` with fixed endpoints and sources.
fn found_shop(endpoints: Vec<Endpoint>, sources: Vec<Source>, checks: Vec<HealthCheck>) -> Config {
    let mut config = shop(endpoints, checks);
    let cluster = Arc::make_mut(&mut config.clusters[0]);
    cluster.sources = sources;
    config
}

fn told(numbers: &[usize], ttl: u64) -> Answer {
    let endpoints = numbers.iter().map(|&n| endpoint(n, 1)).collect();
    let told = Told { endpoints, ttl: Some(Duration::from_secs(ttl)), silent: Silent::None };
    Answer { result: Ok(told), trace: Arc::new(Trace::default()) }
}

fn failed(kind: FailureKind) -> Answer {
    Answer { result: Err(Failure { kind, detail: String::new() }), trace: Arc::default() }
}

/// A control loop that looks at sources.
struct World {
    control: Control,
    now: Moment,
    looks: Vec<Look>,
    left: Vec<Arc<SourceKey>>,
    probes: Vec<ProbeOrder>,
    notices: Vec<Notice>,
    transitions: Vec<Transition>,
}

impl World {
    fn of(config: Config) -> Self {
        Self::after(Moment::ZERO, Memory::default(), config)
    }

    /// Goes on where another process left off.
    fn after(now: Moment, memory: Memory, config: Config) -> Self {
        let mut control = Control::new(2, Dice::new(1));
        control.recall(now, memory);
        let (looks, left, probes, notices, transitions) = Default::default();
        let mut world = Self { control, now, looks, left, probes, notices, transitions };
        world.configure(config);
        world
    }

    fn configure(&mut self, config: Config) {
        self.step(Event::Configured(Arc::new(config)));
    }

    fn step(&mut self, event: Event) {
        let mut effects = Vec::new();
        self.control.step(self.now, event, &mut effects);
        self.control.check_invariants();
        for effect in effects {
            match effect {
                Effect::Look(look) => self.looks.push(look),
                Effect::LookAway(key) => self.left.push(key),
                Effect::Probe(order) => self.probes.push(order),
                Effect::Notice(notice) => self.notices.push(notice),
                Effect::Remember(_) => {}
                Effect::Transition(transition) => self.transitions.push(transition),
            }
        }
    }

    /// Lets time pass until somebody is looked at, probes passing meanwhile.
    fn next_look(&mut self) -> Look {
        loop {
            if !self.looks.is_empty() {
                return self.looks.remove(0);
            }
            self.pass_probes();
            self.now = self.control.next_due().expect("something is due").max(self.now);
            self.step(Event::Tick);
        }
    }

    fn pass_probes(&mut self) {
        for order in std::mem::take(&mut self.probes) {
            let outcome = ProbeOutcome { result: PASSED, took: Duration::from_millis(1) };
            self.step(Event::Probed(Probed { id: order.id, outcome }));
        }
    }

    fn answer(&mut self, look: &Look, answer: Answer) {
        self.step(Event::Found(Box::new(Found { key: Arc::clone(&look.key), number: look.number, answer })));
    }

    /// The next look is answered so.
    fn hear(&mut self, answer: Answer) {
        let look = self.next_look();
        self.answer(&look, answer);
    }

    fn members(&self) -> Vec<(usize, Status)> {
        let number = |view: &EndpointView<'_>| (0..=9).find(|&n| view.key.address == address(n)).expect("one of ours");
        self.control.endpoints().map(|view| (number(&view), view.status)).collect()
    }

    fn news(&mut self) -> Vec<News> {
        let news = |notice| match notice {
            Notice::Discovery(notice) => notice.news,
            #[allow(unreachable_patterns, reason = "other areas have notices too")]
            _ => unreachable!("nothing but sources here"),
        };
        std::mem::take(&mut self.notices).into_iter().map(news).collect()
    }
}

use Status::{Draining, Healthy, Unknown};

#[test]
fn d2_a_name_that_cannot_be_resolved_stops_nothing() {
    let mut config = found_shop(vec![], vec![name("gone.internal")], vec![]);
    config.clusters.push(Arc::new(cluster("other", endpoints(&[1]), vec![])));
    let mut world = World::of(config);
    assert!(!world.control.settled(), "its first answer is awaited");
    let snapshot = world.control.publish(world.now).expect("a first truth");
    assert_eq!(snapshot.clusters[0].available.tier, Tier::Nobody(Reason::Unresolved));
    assert_eq!(snapshot.clusters[1].available.tier, Tier::Healthy);
    world.hear(failed(FailureKind::NxDomain));
    assert!(world.control.settled(), "and a failure is an answer");
    assert!(matches!(&world.news()[..], [News::Failing { keeps: 0, .. }]));
    world.hear(told(&[1], 30));
    assert_eq!(world.members(), [(1, Healthy), (0, Healthy)]);
    let snapshot = world.control.publish(world.now).expect("a new truth");
    assert_eq!(snapshot.clusters[0].available.tier, Tier::Healthy);
}

#[test]
fn d2_readiness_waits_for_an_answer_no_longer_than_a_look_may_take() {
    let mut world = World::of(found_shop(endpoints(&[1]), vec![name("slow.internal")], vec![]));
    let _look = world.next_look();
    assert!(!world.control.settled());
    world.now = world.control.next_due().expect("the end of the wait");
    assert_eq!(world.now.since(Moment::ZERO), Duration::from_secs(2));
    world.step(Event::Tick);
    assert!(world.control.settled());
}

#[test]
fn readiness_waits_for_the_checks_of_those_found_in_time() {
    let mut world = World::of(found_shop(vec![], vec![name("a.internal")], vec![check()]));
    world.hear(told(&[1, 2], 30));
    assert!(!world.control.settled());
    while !world.control.settled() {
        world.now = world.control.next_due().expect("a probe is due").max(world.now);
        world.step(Event::Tick);
        world.pass_probes();
    }
    // Those found later do not make it unready.
    world.hear(told(&[1, 2, 3], 30));
    assert!(world.control.settled());
}

#[test]
fn d6_removal_wins_over_a_passing_check_and_d7_a_return_finds_its_history() {
    let mut world = World::of(found_shop(vec![], vec![name("a.internal")], vec![check()]));
    world.hear(told(&[1, 2], 30));
    let look = world.next_look();
    world.pass_probes();
    assert_eq!(world.members(), [(1, Healthy), (2, Healthy)]);
    let id = world.control.endpoints().next().expect("an endpoint").id;
    world.answer(&look, told(&[2], 30));
    assert_eq!(world.members(), [(1, Draining), (2, Healthy)]);
    // It is still checked, and passes; that does not bring it back.
    let look = world.next_look();
    assert_eq!(world.members(), [(1, Draining), (2, Healthy)]);
    let snapshot = world.control.publish(world.now).expect("a new truth");
    assert_eq!(snapshot.clusters[0].available.usable().collect::<Vec<_>>(), [1]);
    world.answer(&look, told(&[1, 2], 30));
    assert_eq!(world.members(), [(1, Healthy), (2, Healthy)]);
    // Missing twice: forgotten by its source, but not by us.
    world.hear(told(&[2], 30));
    world.hear(told(&[2], 30));
    assert_eq!(world.members(), [(2, Healthy)]);
    world.hear(told(&[1, 2], 30));
    let again = world.control.endpoints().next().expect("an endpoint");
    assert_eq!((again.id, again.status), (id, Healthy));
    let words: Vec<&str> = world
        .news()
        .iter()
        .map(|news| match news {
            News::Resolved { .. } => "resolved",
            News::Changed { added, gone, .. } if added.is_empty() && gone.len() == 1 => "gone",
            News::Changed { added, gone, .. } if gone.is_empty() && added.len() == 1 => "added",
            News::Removed(_) => "removed",
            _ => "else",
        })
        .collect();
    assert_eq!(words, ["resolved", "gone", "added", "gone", "removed", "added"]);
}

#[test]
fn a_full_change_of_address_is_in_force_with_the_answer() {
    let mut world = World::of(found_shop(vec![], vec![name("a.internal")], vec![]));
    world.hear(told(&[1], 5));
    let before = world.now;
    world.hear(told(&[2], 5));
    assert!(world.now.since(before) <= Duration::from_millis(5500));
    assert_eq!(world.members(), [(1, Draining), (2, Healthy)]);
    let snapshot = world.control.publish(world.now).expect("a new truth");
    assert_eq!(snapshot.clusters[0].available.usable().collect::<Vec<_>>(), [1]);
}

#[test]
fn an_address_that_is_fixed_and_found_counts_once_and_one_told_twice_stays_while_one_tells_it() {
    let sources = vec![name("a.internal"), name("b.internal")];
    let mut world = World::of(found_shop(vec![endpoint(1, 7)], sources, vec![]));
    let (a, b) = (world.next_look(), world.next_look());
    world.answer(&a, told(&[1, 2], 30));
    world.answer(&b, told(&[2, 3], 60));
    assert_eq!(world.members(), [(1, Healthy), (2, Healthy), (3, Healthy)]);
    assert_eq!(world.control.endpoints().next().expect("an endpoint").weight.get(), 7, "the fixed one wins");
    world.hear(told(&[4], 30));
    let mut members = world.members();
    members.sort_unstable();
    assert_eq!(members, [(1, Healthy), (2, Healthy), (3, Healthy), (4, Healthy)]);
}

#[test]
fn h9_failures_never_change_health_and_recovery_is_automatic() {
    let mut world = World::of(found_shop(vec![], vec![name("a.internal")], vec![]));
    world.hear(told(&[1, 2], 30));
    world.transitions.clear();
    for _ in 0..5 {
        world.hear(failed(FailureKind::Timeout));
        assert_eq!(world.members(), [(1, Healthy), (2, Healthy)]);
    }
    let view = world.control.sources().next().expect("a source");
    assert_eq!(view.state(), State::Stale);
    assert!(view.stale_for().expect("it is stale") >= Duration::from_secs(15));
    world.hear(told(&[1, 2], 30));
    assert!(world.transitions.is_empty());
    let view = world.control.sources().next().expect("a source");
    assert_eq!((view.state(), view.stale_for()), (State::Resolved, None));
    assert!(view.ttl_left() == Some(Duration::from_secs(30)) && view.next_look_in().is_some());
    assert!(matches!(
        &world.news()[..],
        [News::Resolved { .. }, News::Failing { keeps: 2, lasts: Some(_), .. }, News::Recovered { .. }]
    ));
}

#[test]
fn d5_what_is_stale_too_long_is_given_up() {
    let mut world = World::of(found_shop(vec![], vec![name("a.internal")], vec![]));
    world.hear(told(&[1], 30));
    world.hear(failed(FailureKind::ServFail));
    let since = world.now;
    while !world.members().is_empty() {
        world.hear(failed(FailureKind::ServFail));
    }
    assert_eq!(world.now.since(since).as_secs() / 60, 10);
    assert!(matches!(world.news().last(), Some(News::GivenUp { .. })));
    let snapshot = world.control.publish(world.now).expect("a new truth");
    assert_eq!(snapshot.clusters[0].available.tier, Tier::Nobody(Reason::Unresolved));
}

#[test]
fn the_next_process_serves_with_those_found_though_it_finds_nobody() {
    let shop = || {
        let mut config = found_shop(vec![], vec![name("shop.internal")], vec![]);
        Arc::make_mut(&mut config.clusters[0]).resolve.max_stale = Some(Duration::from_secs(600));
        config
    };
    let mut before = World::of(shop());
    before.hear(told(&[1, 2], 30));
    before.hear(told(&[1], 30));
    before.hear(failed(FailureKind::Timeout));
    before.now = before.now + Duration::from_secs(500);
    before.step(Event::Tick);
    let memory = before.control.memory();

    let begin = seconds(100_000);
    let mut world = World::after(begin, memory.clone(), shop());
    assert_eq!(world.members(), [(1, Healthy)], "and not with who went");
    assert_eq!(world.control.memory().sources, memory.sources, "the one after it would, too");
    world.hear(failed(FailureKind::Timeout));
    assert!(world.control.settled());
    assert_eq!(world.members(), [(1, Healthy)]);
    // They have failed for 500 s already.
    while world.now < begin + Duration::from_secs(150) {
        world.hear(failed(FailureKind::Timeout));
    }
    assert_eq!(world.members(), []);

    let mut world = World::after(begin, memory, shop());
    world.hear(told(&[3], 30));
    assert_eq!(world.members(), [(1, Draining), (3, Healthy)], "an answer has the last word");
    // Whoever looks elsewhere knows nobody.
    let elsewhere = found_shop(vec![], vec![name("other.internal")], vec![]);
    assert_eq!(World::after(begin, before.control.memory(), elsewhere).members(), []);
}

#[test]
fn a_reload_keeps_what_was_found_and_looks_anew_where_the_wish_is_another() {
    let config = |ttl: u64, sources| {
        let mut config = found_shop(vec![], sources, vec![]);
        Arc::make_mut(&mut config.clusters[0]).resolve.max_ttl = Duration::from_secs(ttl);
        config
    };
    let mut world = World::of(config(300, vec![name("a.internal")]));
    let first = world.next_look();
    world.answer(&first, told(&[1], 300));
    // Nothing of it is about the source.
    let mut same = config(300, vec![name("a.internal")]);
    Arc::make_mut(&mut same.clusters[0]).pool.max_idle = 7;
    world.configure(same);
    assert!(world.looks.is_empty() && world.members() == [(1, Healthy)]);
    // Another rule: asked at once, kept meanwhile.
    world.configure(config(60, vec![name("a.internal")]));
    assert_eq!((world.looks.len(), world.members()), (1, vec![(1, Healthy)]));
    // An answer to the look before is not taken for one to this.
    world.answer(&first, told(&[9], 30));
    assert_eq!(world.members(), [(1, Healthy)]);
    // Another name: the old one is left alone, and what it told departs.
    world.looks.clear();
    world.configure(config(60, vec![name("b.internal")]));
    assert_eq!((world.left.len(), world.looks.len(), world.members()), (1, 1, vec![]));
    world.answer(&first, told(&[9], 30));
    assert_eq!(world.members(), []);
}

#[test]
fn probes_go_to_those_found_and_not_to_those_forgotten() {
    let mut world = World::of(found_shop(vec![], vec![name("a.internal")], vec![check()]));
    world.hear(told(&[1], 30));
    assert_eq!(world.members(), [(1, Unknown)]);
    let look = world.next_look();
    assert_eq!(world.members(), [(1, Healthy)]);
    world.answer(&look, told(&[2], 30));
    world.hear(told(&[2], 30));
    world.probes.clear();
    world.next_look();
    assert!(world.probes.iter().all(|order| order.key.address == address(2)));
}

#[test]
fn news_read_like_sentences() {
    let mut world = World::of(found_shop(vec![], vec![name("a.internal")], vec![]));
    for answer in
        [told(&[1, 2], 30), told(&[2, 3], 30), told(&[2, 3], 30), failed(FailureKind::NxDomain), told(&[2, 3], 30)]
    {
        world.hear(answer);
    }
    let lines: Vec<String> = world.notices.iter().map(ToString::to_string).collect();
    assert_eq!(
        lines,
        [
            "a.internal:80 of shop tells 2 endpoints (TTL 30s)",
            "a.internal:80 of shop tells 2 endpoints now (TTL 30s); new: 10.0.0.3:80; gone, no new work for: 10.0.0.1:80",
            "a.internal:80 of shop no longer tells 10.0.0.1:80: removed",
            "a.internal:80 of shop cannot be had: there is no such name (NXDOMAIN); 2 endpoints told before stay for 600s more; next look in 1.1s",
            "a.internal:80 of shop is back after 1.1s: tells 2 endpoints (TTL 30s)",
        ]
    );
}

/// What may happen to a world with sources.
#[derive(Clone, Debug)]
enum Happening {
    /// The oldest look under way is answered: these endpoints, or none.
    Answered(Vec<usize>, u64),
    /// An old look is answered once more.
    Stale(Vec<usize>),
    /// Probes under way pass.
    Probed,
    /// Time passes until something is due.
    Waited,
    /// A configuration with these sources, fixed endpoints, and checks or none.
    Configured(Vec<u8>, Vec<usize>, bool),
}

fn happening() -> impl Strategy<Value = Happening> {
    let numbers = || prop::collection::vec(0usize..9, 0..5);
    prop_oneof![
        4 => (numbers(), 0u64..90).prop_map(|(numbers, ttl)| Happening::Answered(numbers, ttl)),
        1 => numbers().prop_map(Happening::Stale),
        2 => Just(Happening::Probed),
        4 => Just(Happening::Waited),
        1 => (prop::collection::vec(0u8..3, 0..3), prop::collection::btree_set(0usize..9, 0..3), any::<bool>())
            .prop_map(|(sources, fixed, checked)| Happening::Configured(sources, fixed.into_iter().collect(), checked)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Every step ends with a check of all invariants (`World::step`): members are what the
    /// configuration and its sources say, everybody's plans are kept, nobody is known without a cause.
    #[test]
    fn whatever_happens_the_invariants_hold(story in prop::collection::vec(happening(), 1..80)) {
        let mut world = World::of(found_shop(vec![], vec![name("0.internal")], vec![]));
        let mut old: Vec<Look> = Vec::new();
        for what in story {
            match what {
                Happening::Answered(numbers, ttl) => {
                    if !world.looks.is_empty() {
                        let look = world.looks.remove(0);
                        let answer = if numbers.is_empty() { failed(FailureKind::Empty) } else { told(&numbers, ttl) };
                        world.answer(&look, answer);
                        old.push(look);
                    }
                }
                Happening::Stale(numbers) => {
                    if let Some(look) = old.last().cloned() {
                        let before = world.members();
                        world.answer(&look, told(&numbers, 30));
                        prop_assert_eq!(world.members(), before, "an old answer changes nothing");
                    }
                }
                Happening::Probed => world.pass_probes(),
                Happening::Waited => {
                    if let Some(due) = world.control.next_due() {
                        world.now = due.max(world.now);
                        world.step(Event::Tick);
                    }
                }
                Happening::Configured(sources, fixed, checked) => {
                    let distinct: std::collections::BTreeSet<u8> = sources.into_iter().collect();
                    let sources = distinct.into_iter().map(|n| name(&format!("{n}.internal"))).collect();
                    let fixed = fixed.into_iter().map(|n| endpoint(n, 1)).collect();
                    world.configure(found_shop(fixed, sources, if checked { vec![check()] } else { vec![] }));
                }
            }
            let members = world.members();
            let distinct: std::collections::BTreeSet<usize> = members.iter().map(|(n, _)| *n).collect();
            prop_assert_eq!(distinct.len(), members.len(), "nobody is a member twice");
            world.control.publish(world.now);
        }
    }
}
