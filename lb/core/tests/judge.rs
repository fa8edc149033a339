//! The judge over whole rollouts: how often it condemns the innocent, how soon the guilty.

use std::time::Duration;

use weir_config::model::{Bucket, Guard, JudgeRules};
use weir_core::dice::Dice;
use weir_core::release::judge::guard::{Reading, Tripped, Watch};
use weir_core::release::judge::{Arm, Judge, Kind, Latencies, Period, User};
use weir_core::time::Moment;

const RULES: JudgeRules = JudgeRules { min_requests: 200, confidence: 95.0, error_margin: 1.0, latency_margin: 25.0 };

/// How a version answers.
#[derive(Clone, Copy)]
struct Nature {
    errors: f64,
    /// Times as long as the usual.
    slow: f64,
}

const GOOD: Nature = Nature { errors: 0.005, slow: 1.0 };

fn arm(dice: &mut Dice, requests: u64, nature: Nature) -> Arm {
    let mut arm = Arm { requests, ..Arm::default() };
    for _ in 0..requests {
        if dice.unit() < nature.errors {
            arm.errors += 1;
        } else {
            // Exponential over a floor: a long tail, as latencies have.
            let millis = nature.slow * 40.0f64.mul_add(-(1.0 - dice.unit()).ln(), 10.0);
            arm.latency.observe(Duration::from_secs_f64(millis / 1000.0));
        }
    }
    arm
}

/// Ten seconds in which both arms had so many requests.
fn period(dice: &mut Dice, requests: u64, canary: Nature, stable: Nature) -> Period {
    let both = [arm(dice, requests, canary), arm(dice, requests, stable)];
    let [canary, stable] = both;
    let bucket = |n: u64| Bucket::new(n as u16).expect("a bucket");
    // Errors of different users.
    let users = (0..canary.errors).map(|n| User { bucket: bucket(dice.below(500) ^ n), requests: 1, errors: 1 });
    Period { lasted: Duration::from_secs(10), users: users.collect(), canary, stable }
}

/// Five steps of five looks each; the base rates drift. Whether it is ever rolled back.
fn rollout(seed: u64, canary: impl Fn(Nature) -> Nature) -> Option<usize> {
    let mut dice = Dice::new(seed);
    let mut judge = Judge::default();
    (0..25).find(|look| {
        if look % 5 == 0 && *look > 0 {
            judge.step();
        }
        let drift = dice.unit();
        let stable = Nature { errors: 0.02 * drift, slow: 0.5 + drift };
        let requests = 100 + dice.below(300);
        judge.take(&RULES, &period(&mut dice, requests, canary(stable), stable));
        judge.verdict(&RULES).kind == Kind::Rollback
    })
}

#[test]
fn two_thousand_rollouts_of_the_same_version_are_hardly_ever_rolled_back() {
    let condemned = (0..2000).filter(|seed| rollout(*seed, |stable| stable).is_some()).count();
    println!("{condemned} of 2000 rolled back");
    assert!(condemned <= 100, "{condemned} of 2000");
}

#[test]
fn nor_without_a_margin_for_errors() {
    // The margin must not be what the guarantee lives off.
    let rules = JudgeRules { error_margin: 0.0, latency_margin: 0.0, ..RULES };
    let condemned = (0..2000u64).filter(|seed| {
        let mut dice = Dice::new(*seed);
        let mut judge = Judge::default();
        (0..25).any(|_| {
            let nature = Nature { errors: 0.2 * dice.unit(), slow: 1.0 };
            judge.take(&rules, &period(&mut dice, 100, nature, nature));
            judge.verdict(&rules).kind == Kind::Rollback
        })
    });
    let condemned = condemned.count();
    println!("{condemned} of 2000 rolled back");
    assert!(condemned <= 100, "{condemned} of 2000");
}

/// Requests in each arm until a canary was rolled back, by rollout, ascending.
fn caught(nature: Nature, each: u64) -> Vec<u64> {
    let mut after: Vec<u64> = (0..200)
        .map(|seed| {
            let mut dice = Dice::new(seed);
            let mut judge = Judge::default();
            let look = (1..=200).find(|_| {
                judge.take(&RULES, &period(&mut dice, each, nature, GOOD));
                judge.verdict(&RULES).kind == Kind::Rollback
            });
            look.expect("caught") * each
        })
        .collect();
    after.sort_unstable();
    after
}

#[test]
fn a_canary_that_fails_ten_times_as_often_is_caught() {
    let after = caught(Nature { errors: 0.05, ..GOOD }, 20);
    println!("median {}, nine of ten {}, all {}", after[100], after[180], after[199]);
    assert!(after[100] <= 500 && after[199] <= 1500, "{after:?}");
}

#[test]
fn a_canary_twice_as_slow_is_caught() {
    let after = caught(Nature { slow: 2.0, ..GOOD }, 20);
    println!("median {}, nine of ten {}, all {}", after[100], after[180], after[199]);
    assert!(after[100] <= 500 && after[199] <= 1500, "{after:?}");
}

#[test]
fn a_canary_that_turns_bad_late_is_caught() {
    let mut dice = Dice::new(7);
    let mut judge = Judge::default();
    for _ in 0..1000 {
        judge.take(&RULES, &period(&mut dice, 200, GOOD, GOOD));
    }
    assert_eq!(judge.verdict(&RULES).kind, Kind::Promote);
    let bad = Nature { errors: 0.05, ..GOOD };
    let looks = (1..).find(|_| {
        judge.take(&RULES, &period(&mut dice, 200, bad, GOOD));
        judge.verdict(&RULES).kind == Kind::Rollback
    });
    let looks = looks.expect("caught");
    assert!(looks <= 360 + 40, "within one stretch and a little: {looks}");
}

#[test]
fn a_difference_within_the_margin_is_none() {
    let mut dice = Dice::new(3);
    let mut judge = Judge::default();
    let (canary, stable) = (Nature { errors: 0.0052, ..GOOD }, Nature { errors: 0.0050, ..GOOD });
    for _ in 0..200 {
        judge.take(&RULES, &period(&mut dice, 2000, canary, stable));
        assert_ne!(judge.verdict(&RULES).kind, Kind::Rollback);
    }
    assert_eq!(judge.verdict(&RULES).kind, Kind::Promote);
}

#[test]
fn one_broken_user_condemns_nobody() {
    let mut dice = Dice::new(5);
    let mut judge = Judge::default();
    for look in 0..300 {
        let mut period = period(&mut dice, 100, GOOD, GOOD);
        // Half of the canary's traffic, all of it failing or slow.
        for slow in [false, true] {
            period.canary.requests += 50;
            let errors = if slow { 0 } else { 50 };
            period.canary.errors += errors;
            (0..50 - errors).for_each(|_| period.canary.latency.observe(Duration::from_secs(9)));
            period.users.push(User { bucket: Bucket::new(600).expect("a bucket"), requests: 50, errors });
        }
        judge.take(&RULES, &period);
        let verdict = judge.verdict(&RULES);
        assert_ne!(verdict.kind, Kind::Rollback, "look {look}: {}", verdict.why);
        if look % 100 == 99 {
            judge.step();
        }
    }
}

#[test]
fn too_little_is_said_with_what_is_missing() {
    let mut dice = Dice::new(1);
    let mut judge = Judge::default();
    let nothing = judge.verdict(&RULES);
    assert_eq!((nothing.kind, nothing.missing, nothing.expected), (Kind::InsufficientData, 200, None));
    judge.take(&RULES, &period(&mut dice, 50, GOOD, GOOD));
    let some = judge.verdict(&RULES);
    assert_eq!(
        (some.kind, some.missing, some.expected),
        (Kind::InsufficientData, 150, Some(Duration::from_secs(30))),
        "{}",
        some.why
    );
    assert_eq!(some.why, "50 requests, and 50 of its cohort; each needs 200");
    for _ in 0..4 {
        judge.take(&RULES, &period(&mut dice, 50, Nature { errors: 0.0, ..GOOD }, Nature { errors: 0.0, ..GOOD }));
    }
    let undecided = judge.verdict(&RULES);
    assert_eq!(undecided.kind, Kind::Hold, "{}", undecided.why);
    assert!((100..1000).contains(&undecided.missing) && undecided.expected.is_some(), "{undecided:?}");
    judge.step();
    assert_eq!(judge.verdict(&RULES).kind, Kind::InsufficientData, "a step asks for requests of its own");
}

#[test]
fn nobody_left_to_compare_with_is_no_praise() {
    let mut judge = Judge::default();
    let mut dice = Dice::new(1);
    let mut all = period(&mut dice, 5000, GOOD, GOOD);
    all.stable = Arm::default();
    judge.take(&RULES, &all);
    let verdict = judge.verdict(&RULES);
    assert_eq!((verdict.kind, verdict.missing), (Kind::InsufficientData, 0));
    assert_eq!(verdict.why, "nobody is left in stable to compare it with");
}

#[test]
fn evidence_survives_and_a_restart_wins_nothing_back() {
    let mut dice = Dice::new(2);
    let mut judge = Judge::default();
    let bad = Nature { errors: 0.05, ..GOOD };
    for _ in 0..10 {
        judge.take(&RULES, &period(&mut dice, 100, bad, GOOD));
    }
    let before = judge.verdict(&RULES).p_errors;
    let mut restored = Judge::restored(judge.kept());
    assert!((restored.verdict(&RULES).p_errors - before).abs() < 1e-12);
    restored.take(&RULES, &period(&mut dice, 300, bad, GOOD));
    assert_eq!(restored.verdict(&RULES).kind, Kind::Rollback);
}

const GUARD: Guard =
    Guard { error_percent: 30.0, latency_factor: 5.0, window: Duration::from_secs(60), min_requests: 20 };

fn latencies(count: u64, millis: u64) -> Latencies {
    let mut all = Latencies::default();
    (0..count).for_each(|_| all.observe(Duration::from_millis(millis)));
    all
}

/// A guard that sees so many requests and failures each second; after how many seconds it strikes.
fn strikes(requests: u64, failed: u64, alone: u64) -> Option<(u64, Tripped)> {
    let mut watch = Watch::default();
    (0..=120).find_map(|second| {
        let reading = Reading { requests: requests * second, failed: failed * second, ..Reading::default() };
        let now = Moment::from(Duration::from_secs(second));
        watch.look(&GUARD, now, reading, |from| alone * now.since(from).as_secs()).map(|tripped| (second, tripped))
    })
}

#[test]
fn the_guard_strikes_within_seconds_and_not_for_little() {
    for (requests, failed, alone, wanted) in [
        (100, 100, 1, Some(1)),
        (100, 50, 1, Some(1)),
        (10, 4, 0, Some(9)),
        (1, 1, 0, Some(20)),
        (100, 28, 0, None),
        (100, 0, 0, None),
        (0, 0, 0, None),
        // All of it one user's.
        (100, 100, 100, None),
    ] {
        let struck = strikes(requests, failed, alone);
        assert_eq!(struck.as_ref().map(|(after, _)| *after), wanted, "{failed} of {requests}: {struck:?}");
    }
    let (_, tripped) = strikes(100, 100, 1).expect("struck");
    let words = "100 of its 100 requests within 1m failed, which is 96.3 % at least; 30 % are enough";
    assert_eq!(tripped.to_string(), words);
}

#[test]
fn what_was_long_ago_does_not_dilute() {
    let mut watch = Watch::default();
    let mut look = |second, requests, failed| {
        let reading = Reading { requests, failed, ..Reading::default() };
        watch.look(&GUARD, Moment::from(Duration::from_secs(second)), reading, |_| 0)
    };
    for second in 0..600 {
        assert_eq!(look(second, second * 100, 0), None);
    }
    let struck = (0..60).find(|bad| look(600 + bad, 60_000 + bad * 100, bad * 100).is_some());
    assert!(struck.is_some_and(|after| after <= 22), "{struck:?}");
}

#[test]
fn the_guard_knows_slow() {
    for (count, canary, stable, wanted) in
        [(1000, 600, 100, true), (1000, 450, 100, false), (100, 6000, 100, false), (1000, 100, 600, false)]
    {
        let mut watch = Watch::default();
        watch.look(&GUARD, Moment::ZERO, Reading::default(), |_| 0);
        let reading =
            Reading { requests: count, failed: 0, canary: latencies(count, canary), stable: latencies(count, stable) };
        let tripped = watch.look(&GUARD, Moment::from(Duration::from_secs(1)), reading, |_| 0);
        assert_eq!(tripped.is_some(), wanted, "{canary} against {stable}: {tripped:?}");
    }
}
