//! Envoy's vectors for priorities, panic and zones.

use weir_core::availability::priority::{Count, Load, loads};
use weir_core::availability::zones::shares;

/// Loads of levels of 20 endpoints each, of which so many per cent are healthy.
fn of_percent(healthy: &[u32], threshold: u8) -> Vec<Load> {
    let levels: Vec<Count> = healthy.iter().map(|percent| Count { available: *percent, of: 100 }).collect();
    loads(&levels, 140, threshold)
}

fn percents(loads: &[Load]) -> Vec<u8> {
    loads.iter().map(|load| load.percent).collect()
}

#[test]
fn envoy_priority_load() {
    let table: [(&[u32], &[u8]); 11] = [
        (&[100, 100], &[100, 0]),
        (&[72, 100], &[100, 0]),
        (&[71, 100], &[99, 1]),
        (&[50, 100], &[70, 30]),
        (&[25, 100], &[35, 65]),
        (&[0, 100], &[0, 100]),
        (&[25, 25, 100], &[35, 35, 30]),
        // Where Envoy's page and its code differ, as its code does.
        (&[5, 65], &[8, 92]),
        (&[25, 25, 20], &[37, 35, 28]),
        (&[50, 60], &[70, 30]),
        (&[0, 0], &[0, 0]),
    ];
    for (healthy, wanted) in table {
        assert_eq!(percents(&of_percent(healthy, 0)), wanted, "{healthy:?}");
    }
}

#[test]
fn envoy_panic() {
    type Row = (&'static [u32], &'static [(u8, bool)]);
    let table: [Row; 9] = [
        (&[25, 25], &[(50, true), (50, true)]),
        (&[25, 100], &[(35, false), (65, false)]),
        (&[5, 65], &[(8, true), (92, false)]),
        (&[49], &[(100, true)]),
        (&[50], &[(100, false)]),
        (&[100], &[(100, false)]),
        // While all together carry everything nobody is in panic.
        (&[0, 72], &[(0, false), (100, false)]),
        (&[36, 36], &[(50, false), (50, false)]),
        (&[0, 0, 0], &[(34, true), (33, true), (33, true)]),
    ];
    for (healthy, wanted) in table {
        let loads: Vec<(u8, bool)> = of_percent(healthy, 50).iter().map(|load| (load.percent, load.panic)).collect();
        assert_eq!(loads, wanted, "{healthy:?}");
    }
    assert_eq!(percents(&of_percent(&[0, 0], 0)), [0, 0], "threshold 0 is never");
}

/// If all are in panic, loads go by size.
#[test]
fn envoy_total_panic() {
    let count = |available, of| Count { available, of };
    let loads = loads(&[count(0, 0), count(1, 10), count(0, 20)], 140, 50);
    let loads: Vec<(u8, bool)> = loads.iter().map(|load| (load.percent, load.panic)).collect();
    assert_eq!(loads, [(0, false), (34, true), (66, true)]);
}

#[test]
fn envoy_zone_aware() {
    // Instances by zone, capacity by zone, and where an instance of the first zone sends.
    let table: [(&[u32], &[u32], &[u32]); 8] = [
        (&[2000, 8000], &[1000, 9000], &[5000, 5000]),
        // Of what does not stay, 10 of 15 go to the second zone and 5 of 15 to the third.
        (&[4000, 4000, 2000], &[2500, 5000, 2500], &[6250, 2500, 1250]),
        (&[5000, 5000], &[5000, 5000], &[10_000, 0]),
        (&[3333, 3333, 3333], &[5000, 2500, 2500], &[10_000, 0, 0]),
        (&[3333, 3333, 3333], &[0, 5000, 5000], &[0, 5000, 5000]),
        (&[5000, 5000], &[10_000, 0], &[10_000, 0]),
        // Nobody has room by the numbers: by capacity, then.
        (&[9000, 9000], &[5000, 5000], &[5555, 4445]),
        (&[], &[], &[]),
    ];
    for (instances, capacities, wanted) in table {
        assert_eq!(shares(instances, capacities), wanted, "{instances:?} {capacities:?}");
    }
}
