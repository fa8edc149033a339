//! Published tables and vectors as oracles.

mod tables {
    mod availability;
    mod hashing;
}
mod support;

use std::time::Duration;

use support::*;
use weir_core::balance::{Ask, Cursors, Tried, Why, pick};
use weir_core::dice::Dice;

use weir_core::health::{Opinion, Verdict};

/// HAProxy's manual, `inter`, `fastinter`, `downinter`: the server's state decides.
#[test]
fn haproxy_intervals() {
    let check = check();
    let mut opinion = Opinion::OPEN;
    let mut table = vec![("not yet checked", None, check.fast_interval)];
    for (state, passed, pause) in [
        ("up 100 %", true, check.interval),
        ("transitionally up, going down", false, check.fast_interval),
        ("up 100 %, recovered", true, check.interval),
        ("transitionally up, going down", false, check.fast_interval),
        ("transitionally up, going down", false, check.fast_interval),
        ("down 100 %", false, check.down_interval),
        ("transitionally down, going up", true, check.fast_interval),
        ("down 100 %, failed again", false, check.down_interval),
        ("transitionally down, going up", true, check.fast_interval),
        ("up 100 %", true, check.interval),
    ] {
        table.push((state, Some(passed), pause));
    }
    for (state, passed, pause) in table {
        if let Some(passed) = passed {
            opinion.hear(&check, passed);
        }
        assert_eq!(opinion.pause(&check), pause, "{state}");
    }
}

/// The verdict after each outcome, with fall 3 and rise 2.
#[test]
fn rise_and_fall() {
    let table = [
        ("+", "H", "the first outcome decides"),
        ("-", "U", "the first outcome decides"),
        ("+--", "HHH", "two failures are not three"),
        ("+---", "HHHU", "three are"),
        ("+--+--+---", "HHHHHHHHHU", "in a row"),
        ("---+", "UUUU", "one pass is not two"),
        ("-++", "UUH", "two are"),
        ("-+-+-++", "UUUUUUH", "in a row"),
    ];
    for (outcomes, verdicts, rule) in table {
        let mut opinion = Opinion::OPEN;
        for (outcome, verdict) in outcomes.chars().zip(verdicts.chars()) {
            opinion.hear(&check(), outcome == '+');
            let wanted = if verdict == 'H' { Verdict::Healthy } else { Verdict::Unhealthy };
            assert_eq!(opinion.verdict(), wanted, "{outcomes}: {rule}");
        }
    }
}

/// nginx's vector for smooth weighted round robin; a worker starts anywhere in it.
#[test]
fn nginx_five_one_one() {
    let snapshot = Life::of(shop(endpoints(&[5, 1, 1]), vec![])).publish().unwrap();
    let mut starts = Vec::new();
    for seed in 0..50 {
        let (mut cursors, mut dice) = (Cursors::new(), Dice::new(seed));
        let mut next = || pick(&snapshot.clusters[0], &Ask::new(&Tried::new()), &mut cursors, &mut dice).unwrap();
        assert_eq!(next().why, Why::Turn);
        let order: String = (0..7).map(|_| ['a', 'b', 'c'][next().index]).collect();
        let start = "aabacaaaabacaa".find(&order);
        starts.push(start.unwrap_or_else(|| panic!("{order} is no turn of the wheel")));
    }
    assert!((0..7).all(|start| starts.contains(&start)), "every start occurs");
}

/// Envoy's formula for least request: weight over (active + 1), here turned over.
#[test]
fn envoy_least_request_weights() {
    // Weights, requests under way, and who must win; 2 means a toss.
    let table = [
        ([2, 1], [4, 1], 1), // 2.5 against 2
        ([2, 1], [4, 2], 0), // 2.5 against 3
        ([2, 1], [1, 0], 2),
        ([1, 1], [0, 0], 2),
        ([1, 1], [0, 1], 0),
        ([10_000, 1], [9_998, 0], 0),
    ];
    for (weights, active, winner) in table {
        let mut config = shop(endpoints(&weights), vec![]);
        let mut cluster = weir_config::model::Cluster::clone(&config.clusters[0]);
        cluster.balance = weir_config::model::Balance::LeastRequest;
        config.clusters[0] = cluster.into();
        let snapshot = Life::of(config).publish().unwrap();
        let members = &snapshot.clusters[0].members;
        members.iter().zip(active).for_each(|(member, active)| member.load.of(0).in_flight.add(active));
        let (mut cursors, mut dice) = (Cursors::new(), Dice::new(1));
        let mut won = [0; 2];
        for _ in 0..200 {
            let picked = pick(&snapshot.clusters[0], &Ask::new(&Tried::new()), &mut cursors, &mut dice).unwrap();
            assert_eq!(picked.why, Why::LeastOfTwo { over: 1 - picked.index }, "always two different ones");
            won[picked.index] += 1;
        }
        match winner {
            2 => assert!(won.iter().all(|&won| won > 60), "{weights:?} {active:?}: {won:?}"),
            winner => assert_eq!(won[winner], 200, "{weights:?} {active:?}"),
        }
    }
}

/// The pauses between probes as control schedules them, jitter off.
#[test]
fn control_keeps_the_intervals() {
    let mut life = Life::of(shop(endpoints(&[1]), vec![check()]));
    let mut order = life.await_probe(0);
    for (result, pause) in
        [(PASSED, 5), (REFUSED, 1), (REFUSED, 1), (REFUSED, 10), (REFUSED, 10), (PASSED, 1), (PASSED, 5)]
    {
        life.now = life.now + Duration::from_millis(700);
        life.answer(&order, result);
        let asked = life.now;
        order = life.await_probe(0);
        assert_eq!(order.due.since(asked), Duration::from_secs(pause), "counted from the answer");
    }
}
