//! Counters from one process to the next: nothing falls, nothing is counted or judged twice.

mod support;

use proptest::prelude::*;
use support::*;
use weir_core::attempt::Class;
use weir_core::carry::{Counters, Kind, Row, Subject, Totals};
use weir_core::endpoint::Status;
use weir_core::load::{ClusterLoad, EndpointLoad, LaneLoad, ListenerLoad, Shards};

fn totals() -> impl Strategy<Value = Totals> {
    let subject = (prop::sample::select(vec![Kind::Cluster, Kind::Endpoint, Kind::Metric]), "[ab]");
    let row = prop::collection::btree_map("[xyz]", 1..50u64, 1..4);
    prop::collection::vec((subject, row), 0..6).prop_map(|rows| {
        let mut totals = Totals::default();
        rows.into_iter().for_each(|((kind, name), row)| totals.note(Subject::new(kind, &[&name]), Row(row)));
        totals
    })
}

fn merged(one: &Totals, other: &Totals) -> Totals {
    let mut both = one.clone();
    both.merge(other);
    both
}

proptest! {
    #[test]
    fn whatever_is_told_in_whatever_order_comes_to_the_same(one in totals(), other in totals(), third in totals()) {
        prop_assert_eq!(merged(&one, &one), one.clone(), "told twice");
        prop_assert_eq!(merged(&one, &other), merged(&other, &one));
        prop_assert_eq!(merged(&merged(&one, &other), &third), merged(&one, &merged(&other, &third)));
        let both = merged(&one, &other);
        for (subject, row) in &one.0 {
            prop_assert!(row.0.iter().all(|(name, total)| both.get(subject).unwrap().get(name) >= *total), "nothing falls");
        }
        prop_assert_eq!(merged(&one, &both.since(&one)), both.clone(), "what rose is all there is to tell");
        prop_assert_eq!(both.since(&both), Totals::default());
    }

    #[test]
    fn what_can_only_be_added_to_comes_to_the_largest_told(told in prop::collection::vec(0..1000u64, 1..20)) {
        let (mut ledger, subject) = (Totals::default(), Subject::new(Kind::Metric, &["weir_panics_total"]));
        let sum: u64 = told.iter().map(|told| ledger.rise(&subject, "count", *told)).sum();
        prop_assert_eq!(sum, *told.iter().max().unwrap());
    }

    #[test]
    fn a_load_is_carried_whole(adds in prop::collection::vec((0..3usize, any::<prop::sample::Index>(), 1..1000u64), 0..60)) {
        carried_whole::<EndpointLoad>(&adds)?;
        carried_whole::<ClusterLoad>(&adds)?;
        carried_whole::<ListenerLoad>(&adds)?;
        carried_whole::<LaneLoad>(&adds)?;
    }
}

/// Workers count this; the next process, and the one after it, show the same and go on.
fn carried_whole<T: Counters + Default>(adds: &[(usize, prop::sample::Index, u64)]) -> Result<(), TestCaseError> {
    let count = |shards: &Shards<T>| {
        for (worker, which, n) in adds {
            let (shard, mut all, mut at) = (shards.of(*worker), 0, 0);
            shard.counters(&mut |_, _| all += 1);
            shard.counters(&mut |_, count| {
                if at == which.index(all) {
                    count.add(*n);
                }
                at += 1;
            });
        }
    };
    let (first, second, third) = (Shards::<T>::new(3), Shards::<T>::new(1), Shards::<T>::new(8));
    count(&first);
    let row = Row::of(&first);
    // Told twice, and once an old word after a new one.
    row.lift(second.carried());
    Row::default().lift(second.carried());
    row.lift(second.carried());
    prop_assert_eq!(&Row::of(&second), &row);
    Row::of(&second).lift(third.carried());
    count(&third);
    let twice = Row(row.0.iter().map(|(name, total)| (name.clone(), total * 2)).collect());
    prop_assert_eq!(Row::of(&third), twice);
    Ok(())
}

#[test]
fn names_are_of_one_counter_each_and_gauges_are_none() {
    fn names<T: Counters + Default>() -> Vec<String> {
        let mut names = Vec::new();
        T::default().counters(&mut |name, _| names.push(name.to_string()));
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all, "{names:?}");
        names
    }
    let all = [names::<EndpointLoad>(), names::<ClusterLoad>(), names::<ListenerLoad>(), names::<LaneLoad>()].concat();
    for gauge in ["in_flight", "connections", "open", "shaking", "tunnels"] {
        assert!(!all.iter().any(|name| name == gauge), "{gauge}");
    }
    let shards: Shards<EndpointLoad> = Shards::new(1);
    shards.of(0).in_flight.add(3);
    shards.carried().in_flight.add(5);
    assert_eq!(EndpointLoad::active(&shards), 3, "what was under way elsewhere is nothing to balance by");
}

#[test]
fn the_past_is_not_judged_again_and_news_is() {
    let mut before = Life::of(judged_shop(4, outlier()));
    before.pass_seconds(1);
    // So bad that anybody who saw it all at once would take it out.
    let load = std::sync::Arc::clone(before.view(0).load);
    load.of(0).classes[Class::Error.index()].add(1000);
    let told = before.control.totals();

    let mut life = Life::new(2);
    life.control.carry(&told);
    life.configure(judged_shop(4, outlier()));
    assert_eq!(life.control.totals(), told, "the same counts");
    life.pass_seconds(20);
    assert_eq!(life.status(0), Status::Healthy, "it was judged when it happened");

    // What the other process finishes meanwhile happens now.
    load.of(0).classes[Class::Error.index()].add(400);
    let news = before.control.totals().since(&told);
    assert_eq!(news.0.len(), 1, "only what rose: {news:?}");
    life.control.carry(&news);
    life.control.carry(&news);
    assert_eq!(life.view(0).load.sum(|load| &load.classes[Class::Error.index()]), 1400);
    // No worker of ours suspects it: it is looked at in its turn.
    life.pass_seconds(5);
    assert_eq!(life.status(0), Status::Ejected);

    // A cluster that is not in the file any more has no past.
    let mut other = Life::new(3);
    other.control.carry(&told);
    other
        .configure(config(vec![listener("web", vec![to("else")])], vec![cluster("else", endpoints(&[1]), Vec::new())]));
    assert_eq!(other.control.totals(), Totals::default());
}
