//! Rollouts: the machine by table and property, and control driving it by traffic.

mod support;

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use support::{Life, canary, cluster, cluster_name, config, endpoints, listener, orders, to};
use weir_config::model::{Bucket, Canary, Config, Guard, OnFail, Release, ReleaseName, Rollout, Share};
use weir_core::control::orders::{Done, Refused};
use weir_core::control::releases::{Action, CanaryView, ReleaseOrder};
use weir_core::control::{Event, Notice, Order};
use weir_core::load::Shards;
use weir_core::release::judge::guard::Tripped;
use weir_core::release::judge::{Judge, Kind, Verdict};
use weir_core::release::load::ArmLoad;
use weir_core::release::rollout::{Phase, Plan, Senseless, State, Transition, Wish};
use weir_core::snapshot::Snapshot;

const HOLD: Duration = Duration::from_secs(600);

fn share(percent: f64) -> Share {
    Share::of_percent(percent).expect("a share")
}

fn rollout() -> Rollout {
    Rollout {
        steps: [1.0, 5.0, 25.0, 50.0, 100.0].map(share).to_vec(),
        hold: HOLD,
        guard: Guard { error_percent: 30.0, latency_factor: 5.0, window: Duration::from_secs(60), min_requests: 20 },
        on_fail: OnFail::Rollback,
    }
}

fn rising(percent: f64) -> Canary {
    Canary { rollout: Some(rollout()), ..canary("v2", 0, share(percent).buckets()) }
}

fn says(kind: Kind) -> Verdict {
    let rules = orders(Vec::new()).judge;
    Verdict { kind, why: kind.words().to_owned(), ..Judge::default().verdict(&rules) }
}

fn struck() -> Tripped {
    Tripped::Errors { failed: 20, requests: 20, least: 0.83, percent: 30.0, window: Duration::from_secs(60) }
}

/// A canary, and what becomes of it.
struct Story {
    canary: Canary,
    state: State,
}

impl Story {
    fn of(canary: Canary) -> Self {
        let state = State::begin(&Plan::of(&canary), Self::wish(&canary));
        Self { canary, state }
    }

    fn wish(canary: &Canary) -> Wish {
        Wish::of(&orders(Vec::new()), canary)
    }

    fn tick(&mut self, seconds: u64, kind: Kind) -> Option<Transition> {
        self.state.tick(&Plan::of(&self.canary), Duration::from_secs(seconds), &says(kind), None)
    }

    fn edit(&mut self, edit: impl FnOnce(&mut Canary)) -> Option<Transition> {
        edit(&mut self.canary);
        self.state.edit(&Plan::of(&self.canary), Self::wish(&self.canary))
    }

    /// Promoted until it stands at step `step`.
    fn at(canary: Canary, step: usize) -> Self {
        let mut story = Self::of(canary);
        while story.state.step < step {
            story.tick(600, Kind::Promote);
        }
        story
    }
}

#[test]
fn it_rises_step_by_step_and_is_done_at_the_ceiling() {
    let mut story = Story::of(rising(30.0));
    let mut seen = vec![story.state.weight];
    while story.state.phase == Phase::Advancing {
        let before = story.state.clone();
        assert_eq!(story.tick(599, Kind::Promote), None, "before its time");
        for kind in [Kind::Hold, Kind::InsufficientData] {
            assert_eq!(story.tick(600, kind), None, "without proof");
        }
        assert_eq!(story.state.in_force(), Some(before.weight));
        let words = story.tick(1, Kind::Promote).expect("a turn").to_string();
        if story.state.phase == Phase::Advancing {
            seen.push(story.state.weight);
            assert_eq!(story.state.held_for, Duration::ZERO);
        } else {
            assert_eq!(words, "is rolled out, at 30 %: promote");
        }
    }
    assert_eq!(seen, [1.0, 5.0, 25.0, 30.0].map(share));
    assert_eq!(story.tick(6000, Kind::Promote), None);
    // Done, but not out of sight.
    let failed = story.tick(1, Kind::Rollback).expect("a turn");
    assert_eq!(failed.to_string(), "is rolled back from 30 % to nothing by the judge: rollback");
    assert_eq!(story.state.in_force(), None);
}

#[test]
fn everybody_needs_no_comparison() {
    let mut story = Story::at(rising(100.0), 4);
    assert_eq!(story.state.in_force(), Some(Share::ALL));
    assert!(matches!(story.tick(600, Kind::InsufficientData), Some(Transition::Completed { .. })));
}

#[test]
fn a_guard_strikes_in_every_phase() {
    for (name, prepare) in [
        ("advancing", (|_| {}) as fn(&mut Story)),
        ("paused", |story| drop(story.state.pause(&Plan::of(&story.canary)))),
        ("complete", |story| {
            while story.state.phase != Phase::Complete {
                story.tick(600, Kind::Promote);
            }
        }),
    ] {
        let mut story = Story::of(rising(10.0));
        prepare(&mut story);
        assert_eq!(story.state.phase.as_str(), name);
        let plan = Plan::of(&story.canary);
        let turn = story.state.tick(&plan, Duration::from_secs(1), &says(Kind::Promote), Some(&struck()));
        assert!(matches!(turn, Some(Transition::Failed { keeps: false, .. })), "{name}: {turn:?}");
        assert_eq!(story.state.in_force(), None, "{name}");
        let again = story.state.tick(&plan, Duration::from_secs(1), &says(Kind::Rollback), Some(&struck()));
        assert_eq!(again, None, "once");
    }
}

#[test]
fn a_failed_one_may_keep_what_it_has() {
    let mut story = Story::at(rising(100.0), 2);
    story.edit(|canary| canary.rollout.as_mut().expect("a rollout").on_fail = OnFail::Pause);
    let failed = story.tick(1, Kind::Rollback).expect("a turn");
    assert_eq!(failed.to_string(), "is stopped at 25 % by the judge and waits for an operator: rollback");
    assert_eq!((story.state.in_force(), story.tick(6000, Kind::Promote)), (Some(share(25.0)), None));
    let plan = Plan::of(&story.canary);
    assert_eq!(story.state.resume(&plan), Ok(Transition::Resumed { at: share(25.0), anew: false }));
}

#[test]
fn operators_have_their_way_and_are_told_what_makes_no_sense() {
    let mut story = Story::at(rising(100.0), 1);
    let canary = story.canary.clone();
    let plan = Plan::of(&canary);
    let state = &mut story.state;
    assert_eq!(state.resume(&plan), Err(Senseless::Runs("advancing")));
    assert_eq!(state.pause(&plan), Ok(Transition::Paused { at: share(5.0) }));
    assert_eq!(state.pause(&plan), Err(Senseless::Already("paused")));
    assert_eq!(state.tick(&plan, HOLD * 9, &says(Kind::Promote), None), None, "paused is paused");
    assert_eq!(state.resume(&plan), Ok(Transition::Resumed { at: share(5.0), anew: false }));
    assert_eq!(state.abort(), Ok(Transition::Aborted { at: share(5.0) }));
    assert_eq!((state.in_force(), state.abort()), (None, Err(Senseless::Already("aborted"))));
    assert_eq!(state.pause(&plan), Err(Senseless::Closed("aborted")));
    assert_eq!(state.resume(&plan), Ok(Transition::Resumed { at: share(1.0), anew: true }));

    let mut plain = Story::of(support::canary("v2", 0, 500));
    let canary = plain.canary.clone();
    let plan = Plan::of(&canary);
    assert_eq!(plain.state.pause(&plan), Err(Senseless::NoRollout));
    assert_eq!(plain.tick(1, Kind::Rollback), None, "without a rollout nothing is done by itself");
    assert_eq!(plain.state.abort(), Ok(Transition::Aborted { at: share(5.0) }));
    assert_eq!(plain.state.resume(&plan), Ok(Transition::Resumed { at: share(5.0), anew: true }));
}

#[test]
fn an_edit_wins() {
    type Edit = fn(&mut Canary);
    let to = |percent: f64| share(percent).buckets();
    assert_eq!((to(25.0), to(3.0)), (2500, 300));
    let lower: Edit = |canary| canary.weight = Share::of_buckets(300).expect("a share");
    let zero: Edit = |canary| canary.weight = Share::NONE;
    let more: Edit = |canary| canary.weight = Share::of_buckets(9_000).expect("a share");
    let at_once: Edit = |canary| canary.rollout = None;
    let steps: Edit =
        |canary| canary.rollout.as_mut().expect("a rollout").steps = vec![share(2.0), share(20.0), share(80.0)];
    let from: Edit = |canary| canary.from = Bucket::new(4000).expect("a bucket");
    let first: Edit = |canary| canary.first = vec![support::users(&["ann"])];
    for (edit, step, weight) in [
        (lower, 1, Some(3.0)),
        (zero, 0, Some(0.0)),
        (more, 2, Some(25.0)),
        (at_once, 0, Some(50.0)),
        (steps, 1, Some(25.0)),
        (from, 2, Some(25.0)),
        (first, 2, Some(25.0)),
    ] {
        let mut story = Story::at(rising(50.0), 2);
        story.edit(edit);
        assert_eq!((story.state.step, story.state.in_force()), (step, weight.map(share)));
    }
    let mut same = Story::at(rising(50.0), 2);
    assert_eq!(same.edit(first), None, "lists are no pace");
    // What had failed begins again.
    let mut failed = Story::at(rising(50.0), 2);
    failed.tick(1, Kind::Rollback);
    let edited = failed.edit(more).expect("edited");
    assert_eq!(edited.to_string(), "was edited and begins again with 1 %; it is no longer failed");
    assert_eq!((failed.state.step, failed.state.phase.clone()), (0, Phase::Advancing));
    // More weight throws nobody out.
    let mut story = Story::at(rising(3.0), 1);
    story.edit(more);
    assert_eq!((story.state.step, story.state.in_force()), (0, Some(share(3.0))));
    assert!(story.tick(600, Kind::Promote).is_some());
    assert_eq!(story.state.in_force(), Some(share(5.0)));
    // And back from nothing it begins at the beginning.
    let mut story = Story::at(rising(50.0), 2);
    story.edit(zero);
    story.edit(more);
    assert_eq!(story.state.in_force(), Some(share(1.0)));
}

#[derive(Clone, Debug)]
enum Deed {
    Tick(u64, Kind, bool),
    Pause,
    Resume,
    Abort,
    Weight(u16),
}

fn deeds() -> impl Strategy<Value = Vec<Deed>> {
    let kind = (0..Kind::ALL.len()).prop_map(|at| Kind::ALL[at]);
    let deed = prop_oneof![
        12 => (0..700u64, kind, prop::bool::weighted(0.03)).prop_map(|(seconds, kind, guard)| Deed::Tick(seconds, kind, guard)),
        1 => Just(Deed::Pause),
        1 => Just(Deed::Resume),
        1 => Just(Deed::Abort),
        1 => (0..=10_000u16).prop_map(Deed::Weight),
    ];
    prop::collection::vec(deed, 1..80)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Never above the file's weight; never more without proof and its time; closed until somebody
    /// says otherwise.
    #[test]
    fn weights_only_rise_by_proof(deeds in deeds()) {
        let mut story = Story::of(rising(100.0));
        for deed in deeds {
            let before = story.state.clone();
            let plan_before = Plan::of(&story.canary).weight;
            let mut canary = story.canary.clone();
            let turn = match deed {
                Deed::Tick(seconds, kind, guard) => {
                    let tripped = guard.then(struck);
                    let lasted = Duration::from_secs(seconds);
                    story.state.tick(&Plan::of(&canary), lasted, &says(kind), tripped.as_ref())
                }
                Deed::Pause => story.state.pause(&Plan::of(&canary)).ok(),
                Deed::Resume => story.state.resume(&Plan::of(&canary)).ok(),
                Deed::Abort => story.state.abort().ok(),
                Deed::Weight(weight) => {
                    canary.weight = Share::of_buckets(weight).expect("a share");
                    story.edit(|its| its.weight = canary.weight)
                }
            };
            let after = &story.state;
            let weight = after.in_force().unwrap_or_default();
            prop_assert!(weight <= story.canary.weight, "{after:?}");
            prop_assert!(turn.is_some() || after.in_force() == before.in_force());
            match deed {
                Deed::Tick(seconds, kind, guard) => {
                    if weight > before.in_force().unwrap_or_default() {
                        let held = before.held_for + Duration::from_secs(seconds);
                        prop_assert!(kind == Kind::Promote && !guard && held >= HOLD);
                        prop_assert_eq!(after.step, before.step + 1);
                    }
                    let closed = kind == Kind::Rollback || guard;
                    prop_assert!(!closed || after.in_force().is_none());
                    prop_assert!(before.in_force().is_some() || after.in_force().is_none());
                }
                Deed::Weight(_) => {
                    prop_assert_eq!(story.canary.weight == plan_before, turn.is_none());
                    if turn.is_some() {
                        prop_assert_eq!(&after.phase, &Phase::Advancing);
                        let had = before.in_force().unwrap_or_default();
                        prop_assert!(weight <= had.max(share(1.0)));
                        prop_assert!(weight >= had.min(story.canary.weight), "nobody is thrown out");
                    }
                }
                Deed::Pause => prop_assert_eq!(after.in_force(), before.in_force()),
                Deed::Abort => prop_assert_eq!(after.in_force(), None),
                Deed::Resume => prop_assert!(weight <= before.in_force().unwrap_or_else(|| share(1.0))),
            }
        }
    }
}

// What follows: control, by the counts of workers.

fn shop(canaries: Vec<Canary>) -> Config {
    gray(orders(canaries))
}

fn gray(release: Release) -> Config {
    let names = ["v1", "v2", "v3"].map(|name| cluster(name, endpoints(&[1]), Vec::new()));
    let mut config = config(vec![listener("web", vec![to("v1")])], names.to_vec());
    config.releases = vec![Arc::new(release)];
    config
}

fn count(arm: &ArmLoad, requests: u64, errors: u64, millis: u64) {
    arm.requests.add(requests);
    arm.errors.add(errors);
    (0..requests - errors).for_each(|_| arm.latency.observe(Duration::from_millis(millis)));
}

/// What a canary's requests are like.
#[derive(Clone, Copy)]
struct Traffic {
    /// A second, in each arm.
    requests: u64,
    /// Of them, in the canary.
    errors: u64,
    /// All of one user.
    one_user: bool,
}

const GOOD: Traffic = Traffic { requests: 40, errors: 0, one_user: false };
const BROKEN: Traffic = Traffic { errors: 40, ..GOOD };

trait Rolling {
    fn snapshot(&mut self) -> Arc<Snapshot>;
    fn serve(&mut self, seconds: u64, traffic: Traffic);
    fn weight(&mut self) -> Option<f64>;
    fn told(&mut self) -> Vec<String>;
    fn want(&mut self, canary: Option<&str>, action: Action) -> Result<Done, Refused>;
    fn canary<T>(&self, look: impl FnOnce(&CanaryView<'_>) -> T) -> T;
}

impl Rolling for Life {
    fn snapshot(&mut self) -> Arc<Snapshot> {
        if let Some(next) = self.publish() {
            self.published = Some(next);
        }
        Arc::clone(self.published.as_ref().expect("published"))
    }

    fn serve(&mut self, seconds: u64, Traffic { requests, errors, one_user }: Traffic) {
        for _ in 0..seconds {
            let snapshot = self.snapshot();
            let release = &snapshot.releases[0];
            let own: Vec<Bucket> = Bucket::all().filter(|bucket| release.owner(*bucket) == 1).collect();
            if !own.is_empty() {
                let load = release.loads[1].of(0);
                load.requests[1].add(requests - errors);
                load.requests[4].add(errors);
                load.errors.add(errors);
                count(&load.arm, requests, errors, 20);
                for n in 0..requests {
                    let at = if one_user { 0 } else { (n as usize * 37) % own.len() };
                    let bucket = usize::from(own[at].get());
                    let buckets = release.buckets.of(0);
                    buckets.requests[bucket].add(1);
                    buckets.errors[bucket].add(u64::from(n < errors));
                }
                if release.owner(Bucket::new(9_999).expect("a bucket")) == 0 {
                    count(&load.cohort, requests, 0, 20);
                }
            }
            self.now = self.now + Duration::from_secs(1);
            self.step(Event::Tick);
        }
    }

    fn weight(&mut self) -> Option<f64> {
        let release = Arc::clone(&self.snapshot().releases[0]);
        (!release.closed[0]).then(|| release.ranges[0].share.percent())
    }

    fn told(&mut self) -> Vec<String> {
        let mine = |notice: &Notice| matches!(notice, Notice::Release(_)).then(|| notice.to_string());
        self.notices.drain(..).filter_map(|notice| mine(&notice)).collect()
    }

    fn want(&mut self, canary: Option<&str>, action: Action) -> Result<Done, Refused> {
        let release = ReleaseName::new("orders").expect("a name");
        let canary = canary.map(cluster_name);
        self.order(Order::Release(ReleaseOrder { release, canary, action, by: "ann".into() }))
    }

    fn canary<T>(&self, look: impl FnOnce(&CanaryView<'_>) -> T) -> T {
        look(&self.control.releases().next().expect("a release").canaries[0])
    }
}

#[test]
fn a_good_canary_gets_everybody() {
    let mut life = Life::of(shop(vec![rising(100.0)]));
    let mut seen = vec![life.weight()];
    for _ in 0..60 {
        life.serve(60, GOOD);
        if seen.last() != Some(&life.weight()) {
            seen.push(life.weight());
        }
    }
    assert_eq!(seen, [1.0, 5.0, 25.0, 50.0, 100.0].map(Some));
    assert_eq!(life.canary(|canary| canary.state.phase.clone()), Phase::Complete);
    let told = life.told();
    let begins =
        "canary v2 of release orders goes from 1 % to 5 %, step 2 of 5: no worse than its cohort: errors 0.00 % (0 of ";
    assert!(told.iter().any(|words| words.starts_with(begins)), "{told:#?}");
    let ends = "canary v2 of release orders is rolled out, at 100 %: nobody is left in stable to compare it with";
    assert_eq!(told.last().map(String::as_str), Some(ends));
    life.serve(30, BROKEN);
    assert_eq!(life.weight(), None, "guards watch on");
}

#[test]
fn a_broken_canary_is_gone_in_seconds_and_comes_back_by_an_edit() {
    let mut life = Life::of(shop(vec![rising(100.0)]));
    life.serve(5, GOOD);
    let struck = (1..30).find(|_| {
        life.serve(1, BROKEN);
        life.weight().is_none()
    });
    assert!(struck.is_some_and(|seconds| seconds <= 8), "{struck:?}");
    let told = life.told();
    assert!(
        told.last().is_some_and(|words| words.contains("is rolled back from 1 % to nothing by its guard: ")),
        "{told:?}"
    );
    let remembered = life.remembered.clone();
    assert!(matches!(remembered[0].state.phase, Phase::Failed { .. }));
    life.serve(3600, GOOD);
    assert_eq!(life.weight(), None, "it stays out");
    life.configure(shop(vec![rising(50.0)]));
    assert_eq!(life.weight(), Some(1.0));
    life.serve(700, GOOD);
    assert_eq!(life.weight(), Some(5.0), "what it was does not count any more");
}

#[test]
fn one_broken_user_is_not_a_broken_canary() {
    let mut life = Life::of(shop(vec![rising(100.0)]));
    life.serve(900, Traffic { requests: 40, errors: 30, one_user: true });
    assert_eq!(life.weight(), Some(1.0), "{:?}", life.told());
}

#[test]
fn without_traffic_nothing_is_decided() {
    let mut life = Life::of(shop(vec![rising(100.0)]));
    life.serve(3600, Traffic { requests: 0, errors: 0, one_user: false });
    assert_eq!((life.weight(), life.told()), (Some(1.0), Vec::new()));
    let verdict = life.canary(|canary| canary.verdict.clone());
    assert_eq!((verdict.kind, verdict.missing), (Kind::InsufficientData, 200));
}

#[test]
fn weight_zero_is_zero_and_a_weight_without_rollout_is_at_once() {
    let mut life = Life::of(shop(vec![rising(0.0)]));
    life.serve(1200, GOOD);
    assert_eq!(life.weight(), Some(0.0));
    life.configure(shop(vec![canary("v2", 0, 2500)]));
    assert_eq!(life.weight(), Some(25.0));
    life.serve(60, BROKEN);
    assert_eq!(life.weight(), Some(25.0), "the judge only tells");
    assert_eq!(life.canary(|canary| canary.verdict.kind), Kind::Rollback);
    assert!(
        life.told().iter().any(|words| words.contains("is judged rollback (was insufficient data): more errors: "))
    );
}

#[test]
fn a_restart_goes_on_where_it_was() {
    let mut life = Life::of(shop(vec![rising(100.0)]));
    life.serve(900, GOOD);
    assert_eq!(life.weight(), Some(5.0));
    let kept = life.remembered.clone();
    let held = kept[0].state.held_for;
    assert!(held >= Duration::from_secs(270), "{held:?}");

    let mut next = Life::new(2);
    next.control.restore_rollouts(kept.clone());
    next.configure(shop(vec![rising(100.0)]));
    assert_eq!(next.weight(), Some(5.0));
    let told = next.told();
    assert!(
        told[0].starts_with("canary v2 of release orders stands where it stood: advancing at 5 %, for 5m"),
        "{told:?}"
    );
    next.serve(300 - 50, GOOD);
    assert_eq!(next.weight(), Some(5.0), "the time left");
    next.serve(100, GOOD);
    assert_eq!(next.weight(), Some(25.0));

    // Edited while nobody ran: the edit wins.
    let mut edited = Life::new(3);
    edited.control.restore_rollouts(kept);
    edited.configure(shop(vec![rising(2.0)]));
    assert_eq!(edited.weight(), Some(2.0));
}

/// Another process takes over from `life`, as of now.
fn taken_over(life: &mut Life, seed: u64) -> Life {
    let mut next = Life::new(seed);
    // It has another clock.
    next.now = life.now + Duration::from_secs(777);
    next.control.await_last();
    next.control.carry(&life.control.totals());
    next.control.restore_rollouts(life.control.rollouts());
    next.configure(shop(vec![rising(100.0)]));
    // The other serves until this one knows its endpoints.
    life.serve(7, GOOD);
    let now = next.now + Duration::from_secs(7);
    next.pass(Duration::from_secs(7));
    assert!(next.remembered.is_empty(), "the other one keeps state, and acts");
    let last = life.control.rest(life.now);
    let mut effects = Vec::new();
    next.control.succeed(now, Some(last), &mut effects);
    next
}

#[test]
fn a_rollout_over_upgrades_takes_as_long_as_without() {
    let steps = |upgrades: bool| {
        let mut life = Life::of(shop(vec![rising(100.0)]));
        let (mut seen, mut at, mut serial) = (Vec::new(), 0_u32, 1);
        while seen.len() < 5 && at < 4_000 {
            if seen.last().is_none_or(|(_, weight)| *weight != life.weight()) {
                seen.push((at, life.weight()));
            }
            if upgrades && at % 70 == 63 {
                serial += 1;
                life = taken_over(&mut life, serial);
                at += 7;
            } else {
                life.serve(1, GOOD);
                at += 1;
            }
        }
        seen
    };
    let (alone, upgraded) = (steps(false), steps(true));
    for ((at, weight), (also_at, also)) in alone.iter().zip(&upgraded) {
        assert_eq!(weight, also);
        let late = also_at.abs_diff(*at);
        assert!(late <= 30, "{weight:?}: {alone:?} {upgraded:?}");
    }
    assert_eq!(upgraded.len(), 5, "{upgraded:?}");
}

#[test]
fn what_is_said_to_the_old_process_holds_in_the_new_and_only_one_acts() {
    let mut life = Life::of(shop(vec![rising(100.0)]));
    life.serve(100, GOOD);
    let mut next = Life::new(2);
    next.now = life.now;
    next.control.await_last();
    next.control.carry(&life.control.totals());
    next.control.restore_rollouts(life.control.rollouts());
    next.configure(shop(vec![rising(100.0)]));
    assert!(life.want(None, Action::Pause).is_ok());
    let last = life.control.rest(life.now);
    let mut effects = Vec::new();
    next.control.succeed(next.now, Some(last.clone()), &mut effects);
    assert_eq!(next.canary(|canary| canary.state.phase.clone()), Phase::Paused);
    assert_eq!(next.canary(|canary| canary.verdict.clone()), life.canary(|canary| canary.verdict.clone()));

    // The old one does nothing by itself any more, unless the new one fails.
    life.told();
    life.serve(30, BROKEN);
    assert_eq!((life.weight(), life.told()), (Some(1.0), Vec::new()));
    life.control.wake_up(life.now);
    life.serve(30, BROKEN);
    assert_eq!(life.weight(), None, "its guard strikes again");

    // One that ends without a last word leaves what it told first.
    let mut alone = Life::new(4);
    alone.control.await_last();
    alone.control.restore_rollouts(last.rollouts);
    alone.configure(shop(vec![rising(100.0)]));
    alone.control.succeed(alone.now, None, &mut effects);
    assert_eq!(alone.canary(|canary| canary.state.phase.clone()), Phase::Paused);
}

#[test]
fn what_was_given_up_stays_so_over_restarts_and_reloads() {
    let mut life = Life::of(shop(vec![rising(100.0)]));
    assert!(life.want(None, Action::Abort).is_ok());
    assert_eq!((life.weight(), life.remembered.len()), (None, 1));
    let mut other = shop(vec![rising(100.0)]);
    other.shutdown.timeout = Duration::from_secs(1);
    life.configure(other);
    assert_eq!(life.weight(), None);
    let mut next = Life::new(2);
    next.control.restore_rollouts(life.remembered.clone());
    next.configure(shop(vec![rising(100.0)]));
    assert_eq!(next.weight(), None);
    assert!(next.want(Some("v2"), Action::Resume).is_ok());
    assert_eq!(next.weight(), Some(1.0));
    let words = "canary v2 of release orders begins again with 1 % (by ann)";
    assert_eq!(next.told().last().map(String::as_str), Some(words));
    // Out of the file, out of mind.
    next.configure(shop(Vec::new()));
    assert!(next.remembered.is_empty());
}

#[test]
fn orders_that_make_no_sense_are_refused_with_words() {
    let mut life = Life::of(shop(vec![rising(10.0), canary("v3", 5000, 100)]));
    for (canary, action, wanted) in [
        (None, Action::Pause, "there are several canaries: v2, v3"),
        (Some("v22"), Action::Pause, "there is no canary \"v22\"; did you mean v2?"),
        (Some("v2"), Action::Resume, "canary v2 is advancing: there is nothing to resume"),
        (Some("v3"), Action::Pause, "canary v3 has no rollout: it keeps its weight until the file says another"),
    ] {
        let refused = life.want(canary, action).expect_err("refused");
        assert_eq!(refused.to_string(), wanted);
    }
    let mut life = Life::of(shop(Vec::new()));
    assert!(life.want(None, Action::Abort).is_err());
    assert!(life.control.next_due().is_none(), "nothing to look at without canaries");
}

#[test]
fn views_tell_what_there_is() {
    let mut life = Life::of(shop(vec![rising(30.0)]));
    life.serve(45, GOOD);
    let view = life.control.releases().next().expect("a release");
    let [stable, v2] = &view.versions[..] else { panic!("two versions") };
    assert_eq!((stable.weight, stable.wished), (share(99.0), share(70.0)));
    assert_eq!((v2.weight, v2.wished, v2.closed), (share(1.0), share(30.0), false));
    assert_eq!((v2.requests[1], v2.errors), (45 * 40, 0));
    let minute = v2.minute.expect("known");
    assert_eq!((minute.lasted, minute.requests), (Duration::from_secs(30), 1200));
    let canary = &view.canaries[0];
    assert_eq!((canary.steps, canary.next), (4, Some(share(5.0))));
    assert!(canary.left.is_some_and(|left| left <= HOLD - Duration::from_secs(44)));
    let _: &Shards<_> = &view.published.buckets;
}
