//! Any cluster at all: whoever is picked may be, and shares are as told.

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use support::*;
use weir_config::model::{Balance, Cluster, Panic, PanicMode, Sticky, Weight, ZoneName};
use weir_core::availability::{Locality, Tier, WHOLE, zones};
use weir_core::balance::{Ask, Cursors, Tried, Why, pick};
use weir_core::dice::Dice;
use weir_core::endpoint::Status::{self, Draining, Ejected, Healthy, Probation, Unhealthy, Unknown};
use weir_core::hash;
use weir_core::snapshot::{self, Member};
use weir_core::time::Moment;

const POLICIES: [Balance; 6] =
    [Balance::RoundRobin, Balance::LeastRequest, Balance::Random, Balance::Ewma, Balance::RingHash, Balance::Maglev];

fn wish(balance: Balance) -> Cluster {
    let mut config = cluster("shop", Vec::new(), Vec::new());
    config.balance = balance;
    config.hash.table_size = 251;
    config.hash.bounded_load = None;
    config
}

fn any_wish() -> impl Strategy<Value = Cluster> {
    let modes = [PanicMode::Off, PanicMode::AllHosts, PanicMode::LeastBad];
    (0..POLICIES.len(), 0..modes.len(), 1u8..=100, any::<bool>()).prop_map(move |(policy, mode, threshold, bounded)| {
        let mut config = wish(POLICIES[policy]);
        config.panic = Panic { mode: modes[mode], threshold };
        config.hash.bounded_load = bounded.then_some(125);
        config
    })
}

fn any_status() -> impl Strategy<Value = Status> {
    prop_oneof![
        6 => Just(Healthy),
        1 => Just(Unknown),
        2 => Just(Unhealthy),
        1 => Just(Ejected),
        1 => Just(Probation),
        1 => Just(Draining),
    ]
}

fn any_member() -> impl Strategy<Value = Member> {
    let weight = prop_oneof![4 => 1u64..4, 1 => Just(0), 1 => 1u64..=10_000];
    let permille = prop_oneof![3 => Just(1000u16), 1 => 10u16..=1000];
    (any_status(), weight, permille, 0u8..3, 0u8..4, any::<bool>()).prop_map(
        |(status, weight, permille, priority, zone, full)| {
            let mut member = member(0, status);
            member.weight = Weight::new(weight).expect("a weight");
            (member.permille, member.priority) = (permille, priority / 2);
            member.reachable = permille % 5 > 0 || status == Healthy;
            member.zone = (zone > 0).then(|| ZoneName::new(&format!("az-{zone}")).expect("a name"));
            if full && permille % 3 == 0 {
                member.live.requests.set_most(Some(0));
            }
            member
        },
    )
}

fn any_members(most: usize) -> impl Strategy<Value = Vec<Member>> {
    vec(any_member(), 0..most).prop_map(|members| {
        let numbered =
            |(n, its): (usize, Member)| Member { key: member(n, Healthy).key, id: member(n, Healthy).id, ..its };
        members.into_iter().enumerate().map(numbered).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    /// Shares add up, nobody sits in two groups, nobody gets traffic without endpoints.
    #[test]
    fn groups_make_sense(config in any_wish(), members in any_members(30), own in 0u8..5) {
        let own = (own > 0).then(|| format!("az-{own}"));
        let cluster = made(config, members, own.as_deref());
        let available = &cluster.available;
        let shares: u32 = available.groups.iter().map(|group| group.share).sum();
        prop_assert!(shares == WHOLE || available.groups.is_empty());
        prop_assert_eq!(available.groups.is_empty(), matches!(available.tier, Tier::Nobody(_) | Tier::Trials));
        let mut seats = vec![0; cluster.members.len()];
        for group in &available.groups {
            prop_assert!(!group.usable.is_empty() && group.usable.is_sorted());
            for &index in &group.usable {
                seats[index as usize] += 1;
                let member = &cluster.members[index as usize];
                prop_assert!(member.weighs() && member.status != Draining && member.priority == group.priority);
                let may = member.status == Healthy
                    || (member.status == Unknown && available.tier == Tier::Unknown)
                    || available.panic.is_some();
                prop_assert!(may, "{}", member.status);
                match &group.zone {
                    Locality::All => {}
                    Locality::Local(zone) => prop_assert!(member.zone.as_ref() == Some(zone) && Some(zone.as_str()) == own.as_deref()),
                    Locality::Other(zone) => prop_assert_eq!(&member.zone, zone),
                }
            }
        }
        prop_assert!(seats.iter().all(|&seats| seats <= 1));
        for level in &available.levels {
            let rows = &level.zones.rows;
            let sum: u32 = rows.iter().map(|row| row.share).sum();
            prop_assert!(sum == WHOLE || rows.iter().all(|row| row.usable == 0));
            prop_assert!(rows.iter().all(|row| row.usable > 0 || row.share == 0), "{rows:?}");
        }
        for (index, member) in cluster.members.iter().enumerate() {
            prop_assert!(seats[index] == 1 || available.why_not(index, member).is_some());
        }
    }

    /// E5: who is taken out, was tried or is full is never picked, by any policy, on any attempt;
    /// and one attempt after the other finds everybody who may be.
    #[test]
    fn e5_nobody_is_picked_who_should_not_be(
        config in any_wish(), members in any_members(20), own in 0u8..3, hash: Option<u64>, sticky: Option<u64>,
        may_try: bool, seed: u64,
    ) {
        let own = (own > 0).then(|| format!("az-{own}"));
        let cluster = made(config, members, own.as_deref());
        let (mut cursors, mut dice, mut tried) = (Cursors::new(), Dice::new(seed), Tried::new());
        let mut permits = Vec::new();
        let refusal = loop {
            let ask = Ask { hash, sticky, may_try, ..Ask::new(&tried) };
            match pick(&cluster, &ask, &mut cursors, &mut dice) {
                Ok(picked) => {
                    let member = picked.member;
                    prop_assert!(!tried.contains(picked.index) && !member.live.requests.is_full());
                    let listed = cluster.available.usable().any(|index| index as usize == picked.index);
                    let on_trial = picked.why == Why::Trial;
                    prop_assert!(listed || on_trial);
                    prop_assert!(!on_trial || (member.status == Probation && picked.trial.is_some()));
                    tried.push(picked.index);
                    permits.push(picked.trial);
                }
                Err(refusal) => break refusal,
            }
        };
        let left = |index: &u32| !tried.contains(*index as usize);
        let (full, reserve): (Vec<u32>, Vec<u32>) = {
            let groups = |reserve| cluster.available.groups.iter().filter(move |group| group.reserve == reserve);
            let left = |reserve| groups(reserve).flat_map(|group| group.usable.iter().copied()).filter(left).collect();
            (left(false), left(true))
        };
        let is_full = |&index: &u32| cluster.members[index as usize].live.requests.is_full();
        prop_assert!(full.iter().all(is_full));
        prop_assert!(refusal.all_busy || reserve.iter().all(is_full));
        prop_assert_eq!(refusal.all_busy, !full.is_empty());
        prop_assert_eq!(refusal.all_tried, !refusal.all_busy && !cluster.available.groups.is_empty());
    }

    /// X4: each instance follows the rule in its own zone, and every zone gets what it can carry.
    #[test]
    fn x4_all_instances_together_load_zones_by_capacity(
        rows in vec((1u64..20, 0u64..30), 1..8),
    ) {
        let parts = |of: Vec<u64>| -> Vec<u32> {
            let sum = of.iter().sum::<u64>().max(1);
            of.into_iter().map(|part| (part * 10_000 / sum) as u32).collect()
        };
        let (instances, capacities) = rows.iter().copied().unzip();
        let (instances, capacities) = (parts(instances), parts(capacities));
        prop_assume!(capacities.iter().any(|&capacity| capacity > 0));
        let mut got = vec![0.0; rows.len()];
        for own in 0..rows.len() {
            // The own zone comes first.
            let turned = |of: &[u32]| [&of[own..=own], &of[..own], &of[own + 1..]].concat();
            let mut shares = zones::shares(&turned(&instances), &turned(&capacities));
            prop_assert_eq!(shares.iter().sum::<u32>(), WHOLE);
            let local = shares.remove(0);
            shares.insert(own, local);
            for (zone, share) in shares.into_iter().enumerate() {
                prop_assert!(share == 0 || capacities[zone] > 0);
                got[zone] += f64::from(share) * f64::from(instances[own]) / 1e4;
            }
        }
        for (got, capacity) in got.iter().zip(&capacities) {
            prop_assert!((got - f64::from(*capacity)).abs() < 20.0, "{got} for {capacity}");
        }
    }

    /// Wherever traffic may go, it goes by share and, within a group, by weight.
    #[test]
    fn picks_follow_the_shares(
        policy in 0usize..6, members in any_members(12), own in 0u8..3, seed: u64,
    ) {
        let own = (own > 0).then(|| format!("az-{own}"));
        let mut config = wish(POLICIES[policy]);
        config.hash.table_size = 65_537;
        config.hash.minimum_ring_size = 1 << 16;
        let hashes = config.balance.hashes();
        let members: Vec<Member> = members
            .into_iter()
            .map(|member| {
                member.live.requests.set_most(None);
                // Where somebody is out or ramps up, his keys are shared out by chance, not exactly.
                if hashes { Member { permille: 1000, status: Healthy, ..member } } else { member }
            })
            .collect();
        let cluster = made(config, members, own.as_deref());
        prop_assume!(!cluster.available.groups.is_empty());
        let (mut cursors, mut dice) = (Cursors::new(), Dice::new(seed));
        let (mut got, picks) = (BTreeMap::new(), 20_000u32);
        for _ in 0..picks {
            let picked = pick(&cluster, &Ask::new(&Tried::new()), &mut cursors, &mut dice).unwrap();
            *got.entry(picked.index).or_insert(0u32) += 1;
        }
        for group in &cluster.available.groups {
            let share = f64::from(group.share) / f64::from(WHOLE);
            let of: u32 = group.usable.iter().filter_map(|&index| got.get(&(index as usize))).sum();
            let wanted = f64::from(picks) * share;
            prop_assert!((f64::from(of) - wanted).abs() <= 7.0 * wanted.sqrt() + 1.0, "{of} for {wanted} in {}", group.zone);
            if matches!(POLICIES[policy], Balance::LeastRequest | Balance::Ewma) {
                continue;
            }
            let capacity: u64 = group.usable.iter().map(|&index| cluster.members[index as usize].capacity()).sum();
            for &index in &group.usable {
                let part = cluster.members[index as usize].capacity() as f64 / capacity as f64;
                let wanted = f64::from(of) * part;
                let got = f64::from(got.get(&(index as usize)).copied().unwrap_or(0));
                // A table cannot be finer than its slots.
                let coarse = if hashes { 0.12 * wanted + 60.0 } else { 3.0 };
                prop_assert!((got - wanted).abs() <= 7.0 * wanted.sqrt() + coarse, "{got} for {wanted}");
            }
        }
    }
}

fn healthy(count: usize) -> Vec<Member> {
    members(&vec![Healthy; count])
}

fn go_to(cluster: &snapshot::Cluster, ask: &Ask<'_>) -> (usize, Why) {
    let picked = pick(cluster, ask, &mut Cursors::new(), &mut Dice::new(1)).expect("somebody is there");
    (picked.index, picked.why)
}

/// A key goes to the same endpoint, whoever else falls ill; only the sick one's keys go elsewhere,
/// to many, and come back.
#[test]
fn a_key_stays_while_its_endpoint_does() {
    for balance in [Balance::RingHash, Balance::Maglev] {
        let mut config = wish(balance);
        config.hash.table_size = 65_537;
        let before = made(config.clone(), healthy(10), None);
        let mut members = healthy(10);
        members[3].status = Unhealthy;
        let after = made_after(Some(&before), config.clone(), members, None);
        let back = made_after(Some(&after), config, healthy(10), None);
        let (mut heirs, tried) = (vec![0; 10], Tried::new());
        for key in 0..5000u32 {
            let ask = Ask { hash: Some(hash::of(&key.to_le_bytes())), ..Ask::new(&tried) };
            let (own, why) = go_to(&before, &ask);
            assert_eq!(why, Why::Hash { passed_over: 0 });
            let (heir, why) = go_to(&after, &ask);
            if own == 3 {
                heirs[heir] += 1;
                assert!(matches!(why, Why::Hash { passed_over: 1.. }), "{why:?}");
            } else {
                assert_eq!(heir, own, "{balance:?}: key {key} was of no sick one");
            }
            assert_eq!(go_to(&back, &ask).0, own);
        }
        assert!(heirs[3] == 0 && heirs.iter().filter(|heir| **heir > 10).count() == 9, "{balance:?}: {heirs:?}");
    }
}

/// Without a key the pick is by weight; with one, an attempt after the first goes on by its order.
#[test]
fn a_request_without_key_goes_anywhere() {
    let cluster = made(wish(Balance::Maglev), healthy(4), None);
    let (mut cursors, mut dice, mut got) = (Cursors::new(), Dice::new(3), [0; 4]);
    (0..1000).for_each(|_| got[pick(&cluster, &Ask::new(&Tried::new()), &mut cursors, &mut dice).unwrap().index] += 1);
    assert!(got.iter().all(|got| (180..320).contains(got)), "{got:?}");
}

/// While an endpoint ramps up it takes a growing part of its own keys: each it takes it keeps.
#[test]
fn keys_come_to_a_ramping_endpoint_one_by_one() {
    let cluster = |permille| {
        let mut members = healthy(4);
        members[1].permille = permille;
        made(wish(Balance::Maglev), members, None)
    };
    let tried = Tried::new();
    let owned = |permille: u16| -> Vec<u32> {
        let cluster = cluster(permille);
        let at = |key: u32| go_to(&cluster, &Ask { hash: Some(hash::of(&key.to_le_bytes())), ..Ask::new(&tried) }).0;
        (0..4000).filter(|&key| at(key) == 1).collect()
    };
    let whole = owned(1000);
    let mut before = Vec::new();
    for permille in [50, 250, 500, 750] {
        let now = owned(permille);
        assert!(before.iter().all(|key| now.contains(key)) && now.iter().all(|key| whole.contains(key)));
        let part = now.len() as f64 / whole.len() as f64;
        assert!((part - f64::from(permille) / 1000.0).abs() < 0.06, "{part} at {permille}");
        before = now;
    }
}

/// One key gets all the traffic: nobody gets more than a quarter over the average.
#[test]
fn bounded_load_shares_out_a_hot_key() {
    for balance in [Balance::RingHash, Balance::Maglev] {
        let mut config = wish(balance);
        config.hash.bounded_load = Some(125);
        let cluster = made(config, healthy(10), None);
        let (tried, mut dice) = (Tried::new(), Dice::new(5));
        let ask = Ask { hash: Some(hash::of(b"hot")), ..Ask::new(&tried) };
        for under_way in 1..=1000u64 {
            cluster.load.of(0).in_flight.add(1);
            let picked = pick(&cluster, &ask, &mut Cursors::new(), &mut dice).unwrap();
            picked.member.load.of(0).in_flight.add(1);
            let most = (under_way as f64 * 0.125).ceil() as u64 + 1;
            assert!(picked.member.load.of(0).in_flight.get() <= most, "{balance:?}");
        }
        let loads: Vec<u64> = cluster.members.iter().map(|member| member.load.of(0).in_flight.get()).collect();
        assert!(
            loads.iter().filter(|load| **load >= 120).count() == 8,
            "{balance:?}: eight are filled, in order: {loads:?}"
        );
    }
}

#[test]
fn a_session_stays_as_long_as_its_endpoint_may_be_picked() {
    let mut config = wish(Balance::RoundRobin);
    config.sticky = Some(Sticky { cookie: "weir-sticky".into(), ttl: None, path: "/".into() });
    let mut members = members(&[Healthy, Unhealthy, Draining, Healthy, Healthy, Healthy]);
    members[3].priority = 1;
    let cluster = made(config, members, None);
    let mut tried = Tried::new();
    let stays = |index: usize, tried: &Tried| {
        let sticky = Some(hash::sticky(&cluster.members[index].key));
        go_to(&cluster, &Ask { sticky, ..Ask::new(tried) }) == (index, Why::Sticky)
    };
    assert!((0..50).all(|_| stays(0, &tried)));
    assert!(!stays(1, &tried) && !stays(2, &tried), "whoever is out or drained gets no new work");
    assert!(!stays(3, &tried), "the first level carries all again");
    assert_eq!(go_to(&cluster, &Ask { sticky: Some(7), ..Ask::new(&tried) }).1, Why::Turn, "no such endpoint");
    tried.push(0);
    assert!(!stays(0, &tried), "it was tried");
    cluster.members[4].live.requests.set_most(Some(0));
    assert!(!stays(4, &tried), "it is full");
}

/// Trials go to those on probation, first attempts only, one at a time.
#[test]
fn e3_who_is_on_probation_gets_trials_and_nothing_else() {
    let cluster = made(wish(Balance::RoundRobin), members(&[Healthy, Probation, Healthy]), None);
    let (mut cursors, mut dice, mut tried) = (Cursors::new(), Dice::new(1), Tried::new());
    for _ in 0..100 {
        assert_ne!(pick(&cluster, &Ask::new(&tried), &mut cursors, &mut dice).unwrap().index, 1);
    }
    let trying = Ask { may_try: true, ..Ask::new(&tried) };
    let trial = pick(&cluster, &trying, &mut cursors, &mut dice).unwrap();
    assert_eq!((trial.index, trial.why), (1, Why::Trial));
    assert!((0..10).all(|_| pick(&cluster, &trying, &mut cursors, &mut dice).unwrap().index != 1), "one at a time");
    drop(trial);
    tried.push(0);
    let again = Ask { may_try: true, ..Ask::new(&tried) };
    assert_eq!(pick(&cluster, &again, &mut cursors, &mut dice).unwrap().index, 2, "a second attempt is no trial");
}

/// Peak EWMA: the slow one of ten gets little, whoever is unknown is asked, and load counts.
#[test]
fn ewma_prefers_the_quick() {
    let cluster = made(wish(Balance::Ewma), healthy(10), None);
    for (at, member) in cluster.members.iter().enumerate() {
        let latency = Duration::from_millis(if at == 3 { 200 } else { 10 });
        member.load.of(1).latency.observe(Moment::ZERO, latency);
    }
    let tried = Tried::new();
    let share_of_three = |worker| {
        let (mut dice, mut got) = (Dice::new(2), 0);
        for _ in 0..2000 {
            let ask = Ask { worker, ..Ask::new(&tried) };
            got += usize::from(pick(&cluster, &ask, &mut Cursors::new(), &mut dice).unwrap().index == 3);
        }
        got
    };
    assert_eq!(share_of_three(1), 0, "worker 1 knows it, and the others are idle");
    assert!(share_of_three(0) > 100, "worker 0 knows nobody");
    for member in cluster.members.iter().filter(|member| member.id.0 != 3) {
        member.load.of(1).in_flight.add(30);
    }
    assert!(share_of_three(1) > 100, "the quick have too much to do");
}

/// A tie between two with as much to do goes to the one that is clearly quicker.
#[test]
fn least_request_breaks_ties_by_latency() {
    let cluster = made(wish(Balance::LeastRequest), healthy(2), None);
    let observe = |millis: [u64; 2]| {
        for (member, millis) in cluster.members.iter().zip(millis) {
            member.load.of(0).latency.observe(Moment::ZERO, Duration::from_millis(millis));
        }
    };
    let first = || {
        let (mut dice, tried) = (Dice::new(2), Tried::new());
        (0..100)
            .filter(|_| pick(&cluster, &Ask::new(&tried), &mut Cursors::new(), &mut dice).unwrap().index == 0)
            .count()
    };
    assert!((30..70).contains(&first()), "nothing known");
    observe([10, 11]);
    assert!((30..70).contains(&first()), "as good as equal");
    observe([10, 50]);
    assert_eq!(first(), 100);
    cluster.members[0].load.of(1).in_flight.add(1);
    assert_eq!(first(), 0, "the number counts first");
}

/// Health flaps, and the large tables stay as they are.
#[test]
fn tables_are_made_anew_only_for_other_members_or_weights() {
    let config = {
        let mut config = wish(Balance::Maglev);
        config.hash.table_size = 65_537;
        config
    };
    let first = made(config.clone(), healthy(20), None);
    let mut changed = healthy(20);
    (changed[7].status, changed[8].permille) = (Unhealthy, 50);
    let flapped = made_after(Some(&first), config.clone(), changed.clone(), None);
    assert!(Arc::ptr_eq(&first.tables, &flapped.tables));
    changed[9].weight = Weight::new(2).unwrap();
    let heavier = made_after(Some(&flapped), config.clone(), changed.clone(), None);
    assert!(!Arc::ptr_eq(&first.tables, &heavier.tables));
    changed.pop();
    let fewer = made_after(Some(&heavier), config.clone(), changed.clone(), None);
    assert!(!Arc::ptr_eq(&heavier.tables, &fewer.tables));
    let mut config = config;
    config.hash.table_size = 251;
    let smaller = made_after(Some(&fewer), config, changed, None);
    assert!(!Arc::ptr_eq(&fewer.tables, &smaller.tables));
}
