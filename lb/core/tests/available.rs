//! Who may be picked, in which shares, and why: from statuses, priorities and zones.

mod support;

use std::sync::Arc;

use support::*;
use weir_config::model::{Balance, Cluster, Panic, PanicMode, Source, SourceKind, Weight, ZoneAware, ZoneName};
use weir_core::availability::{Inactive, Locality, Tier, WHOLE, WhyNot, ZoneState};
use weir_core::balance::{Ask, Cursors, Pick, Refusal, Tried, Why, pick};
use weir_core::control::Notice;
use weir_core::dice::Dice;
use weir_core::endpoint::Status::{self, Draining, Ejected, Healthy, Probation, Unhealthy, Unknown};
use weir_core::reason::Reason;
use weir_core::snapshot::{self, Member};

fn shop_with(panic: PanicMode) -> Cluster {
    let mut config = cluster("shop", Vec::new(), Vec::new());
    config.panic = Panic { mode: panic, threshold: 50 };
    config
}

fn weighing(statuses: &[(Status, u64)]) -> Vec<Member> {
    let member = |(n, &(status, weight)): (usize, &(Status, u64))| Member {
        weight: Weight::new(weight).expect("a weight"),
        ..member(n, status)
    };
    statuses.iter().enumerate().map(member).collect()
}

/// Members in zones: `("az-a", 3)` is three healthy ones in az-a; no name is no zone.
fn in_zones(zones: &[(&str, usize)]) -> Vec<Member> {
    let zones = zones.iter().flat_map(|&(zone, count)| std::iter::repeat_n(zone, count));
    let member = |(n, zone): (usize, &str)| Member { zone: ZoneName::new(zone).ok(), ..member(n, Healthy) };
    zones.enumerate().map(member).collect()
}

fn pick_one<'c>(cluster: &'c snapshot::Cluster, tried: &[usize]) -> Result<Pick<'c>, Refusal> {
    let mut marked = Tried::new();
    tried.iter().for_each(|&index| marked.push(index));
    let ask = Ask { may_try: true, ..Ask::new(&marked) };
    pick(cluster, &ask, &mut Cursors::new(), &mut Dice::new(1))
}

fn usable(cluster: &snapshot::Cluster) -> Vec<u32> {
    let mut usable: Vec<u32> = cluster.available.usable().collect();
    usable.sort_unstable();
    usable
}

/// Each group's locality, share and size.
fn groups(cluster: &snapshot::Cluster) -> Vec<(u8, String, u32, usize)> {
    let groups = cluster.available.groups.iter();
    groups.map(|group| (group.priority, group.zone.to_string(), group.share, group.usable.len())).collect()
}

fn zone_state(cluster: &snapshot::Cluster) -> ZoneState {
    cluster.available.levels[0].zones.state
}

#[test]
fn who_may_be_picked() {
    let table = [
        (vec![(Healthy, 1), (Unhealthy, 1), (Healthy, 2)], Tier::Healthy, vec![0, 2]),
        (vec![(Healthy, 1), (Unknown, 1)], Tier::Healthy, vec![0]),
        (vec![(Unhealthy, 1), (Unknown, 1)], Tier::Unknown, vec![1]),
        (vec![(Healthy, 0), (Unknown, 1)], Tier::Unknown, vec![1]),
        (vec![(Healthy, 1), (Ejected, 1), (Draining, 1), (Probation, 1)], Tier::Healthy, vec![0]),
        (vec![(Ejected, 1), (Probation, 1)], Tier::Trials, vec![]),
    ];
    for (given, tier, wanted) in table {
        let cluster = made(shop_with(PanicMode::Off), weighing(&given), None);
        assert_eq!((cluster.available.tier, usable(&cluster)), (tier, wanted.clone()), "{given:?}");
        for (at, member) in cluster.members.iter().enumerate() {
            let why_not = cluster.available.why_not(at, member);
            assert_eq!(why_not.is_none(), wanted.contains(&(at as u32)), "{given:?}, member {at}: {why_not:?}");
        }
    }
}

/// "No healthy upstream" has many meanings: each has its own word.
#[test]
fn x3_a_refusal_says_which_nobody_it_is() {
    let table = [
        (vec![(Unhealthy, 1), (Unhealthy, 0)], Reason::NoHealthyEndpoint),
        (vec![(Unhealthy, 1), (Ejected, 1)], Reason::AllEjected),
        (vec![(Draining, 1), (Ejected, 1)], Reason::AllEjected),
        (vec![(Draining, 1), (Unhealthy, 1)], Reason::AllDraining),
        (vec![(Draining, 1)], Reason::AllDraining),
        (vec![(Healthy, 0), (Healthy, 0)], Reason::NoEndpoint),
        (vec![], Reason::NoEndpoint),
    ];
    for (given, reason) in table {
        let cluster = made(shop_with(PanicMode::Off), weighing(&given), None);
        assert_eq!(cluster.available.tier, Tier::Nobody(reason), "{given:?}");
        let refusal = pick_one(&cluster, &[]).unwrap_err();
        assert_eq!(refusal, Refusal { reason, all_tried: false, all_busy: false }, "{given:?}");
    }
    let mut config = shop_with(PanicMode::LeastBad);
    config.sources =
        vec![Source { kind: SourceKind::Srv("_http._tcp.a".into()), zone: None, weight: Weight::ONE, priority: 0 }];
    let refusal = pick_one(&made(config, Vec::new(), None), &[]).unwrap_err();
    assert_eq!(refusal.reason, Reason::Unresolved);

    let cluster = made(shop_with(PanicMode::Off), members(&[Healthy, Healthy]), None);
    let all_tried = pick_one(&cluster, &[0, 1]).unwrap_err();
    assert_eq!(all_tried, Refusal { reason: Reason::NoHealthyEndpoint, all_tried: true, all_busy: false });
    cluster.members[1].live.requests.set_most(Some(1));
    let _held = cluster.members[1].live.requests.take();
    let full = pick_one(&cluster, &[0]).unwrap_err();
    assert_eq!(full, Refusal { reason: Reason::QueueFull, all_tried: false, all_busy: true });
}

/// When everybody was taken out somebody is asked all the same: first a trial, then the least bad.
#[test]
fn e8_all_tripped_are_still_asked() {
    let statuses = [Unhealthy, Ejected, Probation, Ejected];
    let cluster = made(shop_with(PanicMode::LeastBad), members(&statuses), None);
    assert_eq!((cluster.available.tier, usable(&cluster)), (Tier::Panic, vec![1, 2]));
    let first = pick_one(&cluster, &[]).unwrap();
    assert_eq!((first.index, first.why, first.trial.is_some()), (2, Why::Trial, true));
    let second = pick_one(&cluster, &[2]).unwrap();
    assert_eq!((second.index, second.trial.is_some()), (1, false));
    let refusal = pick_one(&cluster, &[1, 2]).unwrap_err();
    assert!(refusal.all_tried, "no more than the threshold's share");

    // Nobody but those on probation, and no panic: one trial at a time is all there is.
    let cluster = made(shop_with(PanicMode::Off), members(&statuses), None);
    let trial = pick_one(&cluster, &[]).unwrap();
    assert_eq!((trial.index, trial.why), (2, Why::Trial));
    assert_eq!(pick_one(&cluster, &[]).unwrap_err().reason, Reason::AllEjected);
    drop(trial);
    assert!(pick_one(&cluster, &[]).is_ok());
}

/// The least bad: on probation, ejected, failing its checks; among equals fewer failures in a row.
#[test]
fn panic_uses_the_least_bad_up_to_the_threshold() {
    use weir_core::attempt::Class;
    let mut members = members(&[Unhealthy, Unhealthy, Ejected, Ejected, Healthy, Unhealthy, Unhealthy, Unhealthy]);
    members.iter().enumerate().for_each(|(n, member)| {
        for request in 0..n as u64 {
            let _ = member.live.streak.note(Class::Error, request);
        }
    });
    members.push(Member { weight: Weight::new(0).unwrap(), ..member(8, Unhealthy) });
    members.push(member(9, Draining));
    let cluster = made(shop_with(PanicMode::LeastBad), members.clone(), None);
    let why = cluster.available.panic.expect("1 of 8");
    assert_eq!((why.available, why.of, why.threshold), (1, 8, 50), "drained and weightless ones do not count");
    assert_eq!(
        why.to_string(),
        "1 of 8 endpoints are available, less than 50 %: the least bad of the others are used too"
    );
    assert_eq!(usable(&cluster), [0, 2, 3, 4]);
    assert_eq!(cluster.available.tier, Tier::Healthy);

    let cluster = made(shop_with(PanicMode::AllHosts), members.clone(), None);
    assert_eq!(usable(&cluster), (0..8).collect::<Vec<u32>>(), "never those drained");
    let cluster = made(shop_with(PanicMode::Off), members, None);
    assert_eq!((usable(&cluster), cluster.available.panic), (vec![4], None));
}

/// Endpoints that were just added say nothing of those that serve.
#[test]
fn newcomers_are_no_panic() {
    let statuses = [Healthy, Healthy, Unknown, Unknown, Unknown, Unknown];
    let cluster = made(shop_with(PanicMode::LeastBad), members(&statuses), None);
    assert_eq!((cluster.available.panic, usable(&cluster)), (None, vec![0, 1]));
    let cluster = made(shop_with(PanicMode::LeastBad), members(&[Unknown; 3]), None);
    assert_eq!((cluster.available.panic, usable(&cluster)), (None, vec![0, 1, 2]));
}

/// Panic begins and ends with a word to people: how many, what they are, and where.
#[test]
fn e2_panic_is_told_with_its_cause() {
    let mut config = shop(endpoints(&[1, 1, 1]), vec![check()]);
    let mut wish = Cluster::clone(&config.clusters[0]);
    wish.panic = Panic { mode: PanicMode::LeastBad, threshold: 70 };
    for (endpoint, zone) in wish.endpoints.iter_mut().zip(["az-a", "az-a", "az-b"]) {
        endpoint.zone = ZoneName::new(zone).ok();
    }
    config.clusters[0] = wish.into();
    let mut life = Life::of(config);
    // Whoever else is asked meanwhile passes.
    let answer = |life: &mut Life, n, result| {
        let order = life.await_probe(n);
        life.answer(&order, result);
    };
    (0..3).for_each(|n| answer(&mut life, n, PASSED));
    assert_eq!(life.publish().unwrap().clusters[0].panic_since, None);
    (0..3).for_each(|_| answer(&mut life, 2, NOT_WELL));
    let began = life.now;
    let cluster = Arc::clone(&life.publish().unwrap().clusters[0]);
    assert_eq!(cluster.panic_since, Some(began));
    assert_eq!(usable(&cluster), [0, 1, 2]);
    let told = |life: &mut Life| -> Vec<String> {
        assert_eq!(life.control.next_due(), Some(life.now), "at once");
        life.tick();
        let panics = life.notices.drain(..).filter(|notice| matches!(notice, Notice::Panic(_)));
        panics.map(|notice| notice.to_string()).collect()
    };
    assert_eq!(
        told(&mut life),
        ["cluster shop is in panic: 2 of 3 endpoints are available, less than 70 %: the least bad of the others \
          are used too; of the others 1 unhealthy; all of them in zone az-b"]
    );
    (0..2).for_each(|_| answer(&mut life, 2, PASSED));
    let lasted = life.now.since(began).as_secs_f64();
    assert_eq!(life.publish().unwrap().clusters[0].panic_since, None);
    assert_eq!(
        told(&mut life),
        [format!("cluster shop is no longer in panic after {lasted:.1} s: 3 of 3 endpoints are available")]
    );
}

#[test]
fn priorities_take_over_as_far_as_those_before_fail() {
    let cluster = |healthy: usize| {
        let statuses = [[Healthy].repeat(healthy), [Unhealthy].repeat(4 - healthy), [Healthy].repeat(4)].concat();
        let mut members = members(&statuses);
        members[4..].iter_mut().for_each(|member| member.priority = 1);
        made(shop_with(PanicMode::LeastBad), members, None)
    };
    let shares = |healthy| groups(&cluster(healthy)).iter().map(|group| (group.0, group.2)).collect::<Vec<_>>();
    assert_eq!(shares(4), [(0, 10_000), (1, 0)]);
    assert_eq!(shares(3), [(0, 10_000), (1, 0)]);
    assert_eq!(shares(2), [(0, 7000), (1, 3000)]);
    assert_eq!(shares(1), [(0, 3500), (1, 6500)]);
    assert_eq!(shares(0), [(1, 10_000)]);

    // The second level is for those who tried all of the first; not for those who find it full.
    let cluster = cluster(3);
    assert_eq!(cluster.available.why_not(4, &cluster.members[4]), Some(WhyNot::Reserve));
    assert!(pick_one(&cluster, &[0, 1]).unwrap().index == 2);
    assert!(pick_one(&cluster, &[0, 1, 2]).unwrap().index >= 4);
    cluster.members[2].live.requests.set_most(Some(0));
    assert!(pick_one(&cluster, &[0, 1]).unwrap_err().all_busy);
}

#[test]
fn the_own_zone_comes_first_and_spills_over() {
    let zones = |own, zones: &[(&str, usize)]| groups(&made(shop_with(PanicMode::LeastBad), in_zones(zones), own));
    let group = |zone: &str, share, size| (0, zone.to_owned(), share, size);
    assert_eq!(
        zones(Some("az-b"), &[("az-a", 2), ("az-b", 2), ("az-c", 2)]),
        [group("own zone az-b", 10_000, 2), group("zone az-a", 0, 2), group("zone az-c", 0, 2)]
    );
    // Half as much as the others: it keeps what it can carry.
    assert_eq!(
        zones(Some("az-b"), &[("az-a", 2), ("az-b", 1), ("az-c", 2)]),
        [group("own zone az-b", 6000, 1), group("zone az-a", 2000, 2), group("zone az-c", 2000, 2)]
    );
    // Those of whom it is not known count as a zone nobody stands in.
    assert_eq!(
        zones(Some("az-b"), &[("az-a", 1), ("az-b", 1), ("", 2)]),
        [group("own zone az-b", 5000, 1), group("zone az-a", 0, 1), group("no zone", 5000, 2)]
    );
}

/// Zone-aware routing is off, and this is why.
#[test]
fn x4_the_reason_why_zones_do_not_count() {
    let three = || in_zones(&[("az-a", 2), ("az-b", 2), ("az-c", 2)]);
    let state = |config: &Cluster, members: Vec<Member>, own| zone_state(&made(config.clone(), members, own));
    let config = shop_with(PanicMode::LeastBad);
    let why = |why| ZoneState::Inactive(why);

    assert_eq!(state(&config, three(), Some("az-a")), ZoneState::Local);
    assert_eq!(state(&config, three(), None), why(Inactive::NoOwnZone));
    assert_eq!(state(&config, three(), Some("az-d")), why(Inactive::NotInCluster));
    assert_eq!(state(&config, in_zones(&[("az-a", 4)]), Some("az-a")), why(Inactive::SingleZone));
    assert_eq!(
        state(&config, in_zones(&[("az-a", 1), ("az-b", 1)]), Some("az-a")),
        why(Inactive::TooFew { available: 2, least: 3 })
    );
    let mut sick = three();
    sick[1..5].iter_mut().for_each(|member| member.status = Unhealthy);
    assert_eq!(state(&config, sick, Some("az-a")), why(Inactive::Panic));

    let mut off = config.clone();
    off.zone_aware.enabled = false;
    assert_eq!(state(&off, three(), Some("az-a")), why(Inactive::Off));
    let mut hashed = config.clone();
    hashed.balance = Balance::Maglev;
    assert_eq!(state(&hashed, three(), Some("az-a")), why(Inactive::Hashed));
    let mut shares = config;
    let share = |zone: &str, share| (ZoneName::new(zone).unwrap(), share);
    shares.zone_aware = ZoneAware { enabled: true, min_endpoints: 3, shares: vec![share("az-b", 1)] };
    assert_eq!(state(&shares, three(), Some("az-a")), why(Inactive::NoShare));
    shares.zone_aware.shares = vec![share("az-a", 1), share("az-b", 1)];
    assert_eq!(state(&shares, three(), Some("az-a")), ZoneState::Spill(6666));
}

/// The matrix people see: who carries how much, and where this instance sends.
#[test]
fn x4_a_matrix_for_each_zone() {
    let mut members = in_zones(&[("az-b", 2), ("az-a", 2), ("", 1)]);
    members[2].permille = 500;
    members[3].status = Ejected;
    let cluster = made(shop_with(PanicMode::LeastBad), members, Some("az-a"));
    let zones = &cluster.available.levels[0].zones;
    let rows: Vec<_> = zones
        .rows
        .iter()
        .map(|row| {
            (row.zone.as_ref().map(|zone| zone.as_str()), row.usable, row.of, row.capacity, row.instances, row.share)
        })
        .collect();
    // 0.5 of 3.5 is 14.28 %, and half of the traffic comes from here: 28.56 % of it stay.
    assert_eq!(
        rows,
        [(Some("az-a"), 1, 2, 1428, 5000, 2856), (Some("az-b"), 2, 2, 5714, 5000, 1428), (None, 1, 1, 2858, 0, 5716),]
    );
    assert_eq!(rows.iter().map(|row| row.5).sum::<u32>(), WHOLE);
    assert_eq!(zones.state, ZoneState::Spill(2856));
    assert_eq!(
        zones.state.to_string(),
        "28.56 % stays in the own zone, as much as it can carry; the rest goes where there is room"
    );
}

/// A zone that is dead or drained gets nothing, and the others what it got.
#[test]
fn a_zone_that_is_gone() {
    for status in [Unhealthy, Ejected, Draining] {
        let mut members = in_zones(&[("az-a", 3), ("az-b", 3), ("az-c", 3)]);
        members[..3].iter_mut().for_each(|member| member.status = status);
        let cluster = made(shop_with(PanicMode::LeastBad), members.clone(), Some("az-a"));
        let shares: Vec<u32> = cluster.available.groups.iter().map(|group| group.share).collect();
        let wanted: &[u32] = if status == Draining { &[10_000] } else { &[5000, 5000] };
        assert_eq!(shares, wanted, "{status}");
        assert!(cluster.available.groups.iter().all(|group| !matches!(group.zone, Locality::Local(_))));
        let cluster = made(shop_with(PanicMode::LeastBad), members, Some("az-b"));
        assert_eq!(cluster.available.groups[0].share, WHOLE);
    }
}

/// With its own zone's endpoints tried or full, a request goes to another zone all the same.
#[test]
fn other_zones_are_there_for_who_finds_nobody_at_home() {
    let cluster = made(shop_with(PanicMode::LeastBad), in_zones(&[("az-a", 1), ("az-b", 2)]), Some("az-a"));
    assert_eq!(zone_state(&cluster), ZoneState::Spill(6666));
    let cluster =
        made(shop_with(PanicMode::LeastBad), in_zones(&[("az-a", 2), ("az-b", 1), ("az-c", 1)]), Some("az-a"));
    assert_eq!(zone_state(&cluster), ZoneState::Local);
    assert_eq!(cluster.available.why_not(2, &cluster.members[2]), Some(WhyNot::OtherZone));
    assert!(pick_one(&cluster, &[0]).unwrap().index == 1);
    assert!(pick_one(&cluster, &[0, 1]).unwrap().index >= 2);
    (0..2).for_each(|at| cluster.members[at].live.requests.set_most(Some(0)));
    assert!(pick_one(&cluster, &[]).unwrap().index >= 2, "full at home is worth a longer way");
}

/// Whom nothing answers at eases nobody's load: not the least bad, unless all are to be used.
#[test]
fn panic_does_not_ask_who_is_not_there() {
    let gone = |mode| {
        let mut members = members(&[Healthy, Unhealthy, Unhealthy, Ejected]);
        members[1].reachable = false;
        members[3].reachable = false;
        usable(&made(shop_with(mode), members, None))
    };
    assert_eq!(gone(PanicMode::LeastBad), [0, 2]);
    assert_eq!(gone(PanicMode::AllHosts), [0, 1, 2, 3]);
    let mut all = members(&[Unhealthy, Unhealthy]);
    all.iter_mut().for_each(|member| member.reachable = false);
    let cluster = made(shop_with(PanicMode::LeastBad), all, None);
    assert_eq!((usable(&cluster), cluster.available.tier), (vec![], Tier::Nobody(Reason::NoHealthyEndpoint)));
}

/// Where this instance stands is part of the configuration: a reload may change it.
#[test]
fn another_own_zone_is_another_choice() {
    let wish = |zone: &str| {
        let mut config = shop(endpoints(&[1, 1, 1, 1]), vec![]);
        let mut wish = Cluster::clone(&config.clusters[0]);
        for (endpoint, zone) in wish.endpoints.iter_mut().zip(["az-a", "az-a", "az-b", "az-b"]) {
            endpoint.zone = ZoneName::new(zone).ok();
        }
        (config.clusters[0], config.zone) = (wish.into(), ZoneName::new(zone).ok());
        config
    };
    let mut life = Life::of(wish("az-a"));
    assert_eq!(life.publish().unwrap().clusters[0].available.groups[0].usable, [0, 1]);
    life.configure(wish("az-b"));
    assert_eq!(life.publish().unwrap().clusters[0].available.groups[0].usable, [2, 3]);
    life.configure(wish(""));
    assert_eq!(life.publish().unwrap().clusters[0].available.groups[0].usable, [0, 1, 2, 3]);
}

/// A level in panic of which nothing answers passes its part on.
#[test]
fn a_level_that_is_not_there_gets_nothing() {
    let shares = |there: [bool; 2]| {
        let mut members = members(&[Unhealthy, Unhealthy, Unhealthy, Unhealthy]);
        for (at, member) in members.iter_mut().enumerate() {
            (member.priority, member.reachable) = ((at / 2) as u8, there[at / 2]);
        }
        let cluster = made(shop_with(PanicMode::LeastBad), members, None);
        groups(&cluster).iter().map(|group| (group.0, group.2)).collect::<Vec<_>>()
    };
    assert_eq!(shares([true, true]), [(0, 5000), (1, 5000)]);
    assert_eq!(shares([false, true]), [(1, 10_000)]);
    assert_eq!(shares([true, false]), [(0, 10_000)]);
    assert_eq!(shares([false, false]), []);
}
