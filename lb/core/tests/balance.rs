//! Shares: exact where promised, by weight where drawn.

mod support;

use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;
use support::*;
use weir_config::model::Balance;
use weir_core::balance::{Ask, Cursors, Tried, Why, pick};
use weir_core::dice::Dice;
use weir_core::snapshot::Cluster;

fn balanced(balance: Balance, weights: &[u64]) -> Arc<Cluster> {
    let mut cluster = cluster("shop", endpoints(weights), vec![]);
    cluster.balance = balance;
    let config = config(vec![listener("web", vec![to("shop")])], vec![cluster]);
    Arc::clone(&Life::of(config).publish().expect("new").clusters[0])
}

fn counts(cluster: &Cluster, picks: u64, dice: &mut Dice) -> Vec<u64> {
    let mut counts = vec![0; cluster.members.len()];
    let mut cursors = Cursors::new();
    for _ in 0..picks {
        counts[pick(cluster, &Ask::new(&Tried::new()), &mut cursors, dice).expect("somebody weighs").index] += 1;
    }
    counts
}

/// Weights of which at least one is over 0.
fn weights(most: usize) -> impl Strategy<Value = Vec<u64>> {
    let weight = prop_oneof![3 => 1u64..4, 1 => Just(0), 1 => 0u64..=200];
    vec(weight, 1..most).prop_filter("somebody weighs", |weights| weights.iter().any(|&weight| weight > 0))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// Wherever it starts, any whole round gives each exactly its weight; so do many.
    #[test]
    fn round_robin_is_exact(weights in weights(100), seed: u64) {
        let cluster = balanced(Balance::RoundRobin, &weights);
        let round = weights.iter().sum();
        prop_assert_eq!(counts(&cluster, round, &mut Dice::new(seed)), weights);
    }

    /// Nobody waits for longer than about twice his due, at any point of the round.
    #[test]
    fn round_robin_is_smooth(weights in weights(30), seed: u64) {
        let cluster = balanced(Balance::RoundRobin, &weights);
        let round: u64 = weights.iter().sum();
        let mut last = vec![0; weights.len()];
        let (mut cursors, mut dice) = (Cursors::new(), Dice::new(seed));
        for turn in 1..=3 * round {
            let at = pick(&cluster, &Ask::new(&Tried::new()), &mut cursors, &mut dice).unwrap().index;
            prop_assert!(turn - last[at] <= 2 * round.div_ceil(weights[at]) + weights.len() as u64);
            last[at] = turn;
        }
    }

    #[test]
    fn draws_follow_the_weights(weights in vec(0u64..20, 2..12), seed: u64) {
        let total: u64 = weights.iter().sum();
        prop_assume!(total > 0);
        let cluster = balanced(Balance::Random, &weights);
        let got = counts(&cluster, 20_000, &mut Dice::new(seed));
        for (got, weight) in got.into_iter().zip(weights) {
            let wanted = 20_000.0 * weight as f64 / total as f64;
            // Seven standard deviations: once in ten thousand million runs.
            prop_assert!((got as f64 - wanted).abs() <= 7.0 * wanted.sqrt() + 1.0, "{got} for {wanted}");
        }
    }

    /// With work that takes its time, least request loads endpoints by their weight.
    #[test]
    fn least_request_fills_by_weight(weights in vec(1u64..8, 3..8), seed: u64) {
        let cluster = balanced(Balance::LeastRequest, &weights);
        let (mut cursors, mut dice) = (Cursors::new(), Dice::new(seed));
        let total: u64 = weights.iter().sum();
        for _ in 0..100 * total {
            let picked = pick(&cluster, &Ask::new(&Tried::new()), &mut cursors, &mut dice).unwrap();
            picked.member.load.of(0).in_flight.add(1);
        }
        for (member, weight) in cluster.members.iter().zip(&weights) {
            let per_weight = member.load.of(0).in_flight.get() as f64 / *weight as f64;
            prop_assert!((80.0..120.0).contains(&per_weight), "{per_weight} requests for each unit of weight");
        }
    }

    #[test]
    fn no_policy_picks_whom_it_should_not(weights in weights(50), tried in vec(0usize..50, 0..20), seed: u64) {
        for balance in [Balance::RoundRobin, Balance::LeastRequest, Balance::Random] {
            let cluster = balanced(balance, &weights);
            let mut marked = Tried::new();
            tried.iter().for_each(|&index| marked.push(index));
            let left = (0..weights.len()).filter(|at| weights[*at] > 0 && !tried.contains(at)).count();
            let (mut cursors, mut dice) = (Cursors::new(), Dice::new(seed));
            for _ in 0..20 {
                match pick(&cluster, &Ask::new(&marked), &mut cursors, &mut dice) {
                    Ok(picked) => prop_assert!(weights[picked.index] > 0 && !tried.contains(&picked.index)),
                    Err(refusal) => prop_assert!(left == 0 && refusal.all_tried),
                }
            }
        }
    }
}

/// Drawing two means two: even next to one that has nearly all of the weight.
#[test]
fn the_two_draws_are_distinct() {
    for weights in [&[1; 5][..], &[10_000, 1, 1], &[3, 2, 1]] {
        let cluster = balanced(Balance::LeastRequest, weights);
        let (mut cursors, mut dice) = (Cursors::new(), Dice::new(4));
        for _ in 0..2000 {
            let picked = pick(&cluster, &Ask::new(&Tried::new()), &mut cursors, &mut dice).unwrap();
            assert!(matches!(picked.why, Why::LeastOfTwo { over } if over != picked.index), "{picked:?}");
        }
    }
}

/// A weight cut from 10 000 to 1 leaves a large debt; it is paid within a round, not within hours.
#[test]
fn a_heavy_past_does_not_shut_out() {
    let mut life = Life::new(3);
    let (mut cursors, mut dice) = (Cursors::new(), Dice::new(9));
    for (weights, picks) in [(&[10_000, 9_999, 1], 2), (&[2, 1, 1], 12)] {
        life.configure(shop(endpoints(weights), vec![]));
        let snapshot = life.publish().unwrap();
        let mut got = [0; 3];
        for _ in 0..picks {
            got[pick(&snapshot.clusters[0], &Ask::new(&Tried::new()), &mut cursors, &mut dice).unwrap().index] += 1;
        }
        assert!(picks == 2 || got.iter().all(|&got| got > 0), "{got:?}");
    }
}

/// However often the cluster changes: each new version goes on where the last one was.
#[test]
fn a_cluster_that_flaps_is_served_fairly() {
    let mut life = Life::new(3);
    let (mut cursors, mut dice) = (Cursors::new(), Dice::new(9));
    let mut got = [0; 4];
    for round in 0..4000 {
        // Number 3 comes and goes with every pick.
        let weights: &[u64] = if round % 2 == 0 { &[1, 2, 3] } else { &[1, 2, 3, 1] };
        life.configure(shop(endpoints(weights), vec![]));
        let snapshot = life.publish().unwrap();
        got[pick(&snapshot.clusters[0], &Ask::new(&Tried::new()), &mut cursors, &mut dice).unwrap().index] += 1;
    }
    let rest = 4000 - got[3];
    for (got, weight) in got.into_iter().zip([1, 2, 3]) {
        let wanted = rest * weight / 6;
        assert!((wanted * 9 / 10..=wanted * 11 / 10).contains(&got), "{got} for {wanted}");
    }
}
