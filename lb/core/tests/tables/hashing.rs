//! Envoy's and HAProxy's vectors for consistent hashing.

use weir_core::balance::{bounded, maglev, ring};

/// `127.0.0.1:90` and so on, with these shares.
fn hosts(shares: &[f64]) -> Vec<(String, f64)> {
    (90..).zip(shares).map(|(port, share)| (format!("127.0.0.1:{port}"), *share)).collect()
}

fn ports(table: &[u32]) -> Vec<u32> {
    table.iter().map(|entry| entry + 90).collect()
}

#[test]
fn envoy_maglev_tables() {
    assert_eq!(ports(&maglev::table(&hosts(&[1.0; 6]), 7)), [92, 94, 90, 91, 95, 90, 93]);
    let by_port: Vec<(String, f64)> = (90..96).map(|port| (port.to_string(), 1.0)).collect();
    assert_eq!(ports(&maglev::table(&by_port, 7)), [92, 95, 90, 93, 94, 91, 90]);
    assert_eq!(maglev::table(&hosts(&[1.0, 2.0]), 17), [1, 0, 0, 1, 0, 1, 1, 0, 1, 1, 1, 1, 1, 0, 1, 0, 1], "weights");
    assert_eq!(
        maglev::table(&hosts(&[1.0, 1.0]), 17),
        [1, 0, 0, 1, 0, 1, 1, 0, 0, 1, 0, 1, 0, 0, 1, 0, 1],
        "two localities of equal weight"
    );
    // Localities 8 : 0 : 2, each of one host; the second one's weight comes to nothing.
    assert_eq!(
        maglev::table(&hosts(&[0.8, 0.2, 0.0]), 17),
        [1, 0, 0, 0, 0, 0, 1, 0, 0, 1, 0, 1, 0, 0, 0, 0, 0],
        "three localities"
    );
    let table = maglev::table(&hosts(&[1.0, 2.0]), 65_537);
    assert_eq!([0, 1].map(|entry| table.iter().filter(|its| **its == entry).count()), [21_846, 43_691]);
}

#[test]
fn envoy_maglev_looks_on() {
    let table = maglev::table(&hosts(&[1.0; 6]), 7);
    let looks = [0, 1, 2].map(|step| table[maglev::slot(10, step, table.len())] + 90);
    assert_eq!(looks, [91, 90, 95]);
}

/// Nothing but names and weights matters.
#[test]
fn tables_do_not_depend_on_the_order() {
    let mut hosts = hosts(&[1.0, 2.0, 3.0, 4.0]);
    let by_name = |table: Vec<u32>, hosts: &[(String, f64)]| -> Vec<String> {
        table.into_iter().map(|entry| hosts[entry as usize].0.clone()).collect()
    };
    let table = by_name(maglev::table(&hosts, 101), &hosts);
    let owners = |hosts: &[(String, f64)]| ring::points(hosts, 100, 1000).into_iter().map(|(_, entry)| entry).collect();
    let ring = by_name(owners(&hosts), &hosts);
    hosts.reverse();
    assert_eq!(table, by_name(maglev::table(&hosts, 101), &hosts));
    assert_eq!(ring, by_name(owners(&hosts), &hosts));
}

#[test]
fn envoy_ring() {
    let ring: Vec<(u64, u32)> =
        ring::points(&hosts(&[1.0; 6]), 12, 8 << 20).into_iter().map(|(hash, entry)| (hash, entry + 90)).collect();
    assert_eq!(
        ring,
        [
            (833_437_586_790_550_860, 94),
            (928_266_305_478_181_108, 92),
            (1_033_482_794_131_418_490, 90),
            (3_551_244_743_356_806_947, 95),
            (3_851_675_632_748_031_481, 93),
            (5_583_722_120_771_150_861, 91),
            (6_311_230_543_546_372_928, 91),
            (7_700_377_290_971_790_572, 93),
            (13_144_177_310_400_110_813, 95),
            (13_444_792_449_719_432_967, 92),
            (15_516_499_411_664_133_160, 94),
            (16_117_243_373_044_804_889, 90),
        ]
    );
}

/// At least the points asked for, by weight, and never more than allowed.
#[test]
fn rings_have_points_by_weight() {
    let points = |shares: &[f64], least, most| {
        let ring = ring::points(&hosts(shares), least, most);
        let of = |entry| ring.iter().filter(|(_, its)| *its == entry).count();
        (0..shares.len() as u32).map(of).collect::<Vec<usize>>()
    };
    assert_eq!(points(&[1.0; 3], 1024, 8 << 20), [342, 342, 342]);
    assert_eq!(points(&[1.0, 2.0], 1024, 8 << 20), [342, 684]);
    assert_eq!(points(&[1.0, 0.0, 3.0], 4, 8), [1, 0, 3]);
    assert_eq!(points(&[1.0, 1.0, 1.0], 1024, 7), [3, 2, 2], "what rounding leaves is carried on");
    assert_eq!(points(&[], 1024, 7), [0; 0]);
}

#[test]
fn haproxy_bounded_load() {
    let slots = |active, percent, weights: &[u64]| {
        let (total, whole) = (bounded::total(active, percent), weights.iter().sum());
        let mut before = 0;
        let own = |weight: &u64| {
            before += weight;
            bounded::slots(total, before - weight, *weight, whole)
        };
        (total, weights.iter().map(own).collect::<Vec<u64>>())
    };
    assert_eq!(slots(10, 150, &[1; 5]), (17, vec![3, 3, 4, 3, 4]));
    assert_eq!(slots(0, 125, &[1; 3]), (2, vec![1, 1, 1]), "nobody is shut out");
    assert_eq!(slots(99, 125, &[3, 1]), (125, vec![93, 32]));
}

/// Who leaves takes hardly any keys of others along: 10.2 % of all slots move for one of ten (10 %
/// is ideal), 1.6 % for one of a hundred (1 %).
#[test]
fn maglev_moves_few_keys() {
    for (n, most) in [(10, 0.1035), (100, 0.0170)] {
        let hosts = |without: Option<usize>| -> Vec<(String, f64)> {
            (0..n).map(|at| (format!("10.0.0.{at}:80"), if Some(at) == without { 0.0 } else { 1.0 })).collect()
        };
        let before = maglev::table(&hosts(None), 65_537);
        let gone = [0, n / 2, n - 1];
        let moved: usize = gone
            .iter()
            .map(|&gone| {
                let after = maglev::table(&hosts(Some(gone)), 65_537);
                before.iter().zip(&after).filter(|(before, after)| before != after).count()
            })
            .sum();
        let share = moved as f64 / (gone.len() * before.len()) as f64;
        assert!((1.0 / n as f64 * 0.99..most).contains(&share), "{share} moved with {n} endpoints");
    }
}

/// A new endpoint on the ring takes keys for itself, and moves none between the others.
#[test]
fn a_ring_moves_only_what_the_new_one_takes() {
    let owner = |ring: &[(u64, u32)], hash: u64| {
        let at = ring.partition_point(|(point, _)| *point < hash);
        ring[at % ring.len()].1
    };
    let nine = ring::points(&hosts(&[1.0; 9]), 1024, 8 << 20);
    // The same number of points each: with one more, 1 024 at least would be fewer for each.
    let ten = ring::points(&hosts(&[1.0; 10]), nine.len() as u32 / 9 * 10, 8 << 20);
    let mut moved = 0;
    for key in 0..20_000u32 {
        let hash = weir_core::hash::of(&key.to_le_bytes());
        let (before, after) = (owner(&nine, hash), owner(&ten, hash));
        assert!(before == after || after == 9, "key {key} went from {before} to {after}");
        moved += usize::from(before != after);
    }
    assert!((1000..3200).contains(&moved), "{moved} of 20 000 moved");
}
