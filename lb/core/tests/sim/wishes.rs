//! Configurations as operators change them: a little at a time, sharing most of their endpoints.

use std::time::Duration;

use weir_config::model::*;
use weir_core::dice::Dice;

use crate::support::{address, check, cluster, config, count, listener, outlier, to};

/// Endpoints a cluster can have.
pub(crate) const ADDRESSES: usize = 6;
/// Trials at once at the most.
pub(crate) const TRIALS_MAX: u32 = 2;
const CLUSTERS: [&str; 3] = ["shop", "blog", "mail"];
const LISTENERS: [&str; 2] = ["web", "internal"];

/// Any configuration.
pub(crate) fn any(dice: &mut Dice) -> Config {
    let mut clusters: Vec<Cluster> = Vec::new();
    for name in CLUSTERS {
        if clusters.is_empty() || dice.below(4) > 0 {
            clusters.push(any_cluster(name, dice));
        }
    }
    let mut config = config(Vec::new(), clusters);
    config.max_concurrent_probes = count(1 + dice.below(8) as u32);
    mend_listeners(&mut config, dice);
    config
}

/// One that differs in a thing or two.
pub(crate) fn changed(old: &Config, dice: &mut Dice) -> Config {
    let mut config = old.clone();
    let at = dice.below(config.clusters.len() as u64) as usize;
    let mut cluster = Cluster::clone(&config.clusters[at]);
    match dice.below(11) {
        0 => return any(dice),
        1 => cluster.health_checks = any_checks(dice).into_iter().map(Into::into).collect(),
        2 => cluster.health_checks.reverse(),
        3 => cluster.endpoints.reverse(),
        4 => cluster.balance = any_balance(dice),
        5 => config.clusters.reverse(),
        6 => {
            let at = dice.below(cluster.endpoints.len() as u64) as usize;
            cluster.endpoints[at].weight = any_weight(dice);
        }
        7 => cluster.endpoints = any_endpoints(dice),
        8 => cluster.outlier = any_outlier(dice),
        9 => cluster.breaker.failure_rate = any_failure_rate(dice),
        _ => mend_listeners(&mut config, dice),
    }
    keep_one_weight(&mut cluster.endpoints);
    let same = config.clusters.iter().position(|other| other.name == cluster.name);
    config.clusters[same.expect("clusters keep their names")] = cluster.into();
    config
}

fn mend_listeners(config: &mut Config, dice: &mut Dice) {
    let routes: Vec<Route> = config.clusters.iter().map(|cluster| to(cluster.name.as_str())).collect();
    let names = LISTENERS.iter().take(1 + dice.below(2) as usize);
    config.listeners = names.map(|name| listener(name, routes.clone()).into()).collect();
}

fn any_cluster(name: &str, dice: &mut Dice) -> Cluster {
    let mut cluster = cluster(name, any_endpoints(dice), any_checks(dice));
    cluster.balance = any_balance(dice);
    cluster.outlier = any_outlier(dice);
    cluster.breaker.failure_rate = any_failure_rate(dice);
    let window = Duration::from_secs(5 + dice.below(10));
    cluster.slow_start = (dice.below(3) == 0).then_some(SlowStart { window, aggression: 1.0, minimum_percent: 5 });
    (cluster.hash.table_size, cluster.hash.minimum_ring_size) = (251, 64);
    cluster
}

/// Quick to judge, so that a life sees something of it.
fn any_outlier(dice: &mut Dice) -> Option<Outlier> {
    use EjectionAction::{Eject, Observe, Reduce};
    let rules = Outlier {
        action: [Eject, Eject, Eject, Eject, Eject, Reduce, Observe][dice.below(7) as usize],
        confidence: [0.0, 0.8, 0.95][dice.below(3) as usize],
        max_ejection_percent: [10, 34, 67, 100][dice.below(4) as usize],
        correlated_percent: [30, 100][dice.below(2) as usize],
        base_ejection_time: Duration::from_secs(2 + dice.below(10)),
        max_ejection_time: Duration::from_secs(30),
        jitter_percent: [0, 20][dice.below(2) as usize],
        probation_requests: count(1 + dice.below(u64::from(TRIALS_MAX)) as u32),
        probation_successes: count(1 + dice.below(3) as u32),
        ..outlier()
    };
    (dice.below(4) > 0).then_some(rules)
}

fn any_failure_rate(dice: &mut Dice) -> Option<FailureRate> {
    let rate = FailureRate {
        window: FailureWindow { threshold: 80.0, window: Duration::from_secs(10), minimum_requests: count(10) },
        open: Duration::from_secs(1 + dice.below(5)),
        max_open: Duration::from_secs(20),
        trials: count(1 + dice.below(u64::from(TRIALS_MAX)) as u32),
        successes: count(1 + dice.below(3) as u32),
    };
    (dice.below(4) == 0).then_some(rate)
}

fn any_balance(dice: &mut Dice) -> Balance {
    [Balance::RoundRobin, Balance::LeastRequest, Balance::Random, Balance::Ewma, Balance::RingHash, Balance::Maglev]
        [dice.below(6) as usize]
}

fn any_endpoints(dice: &mut Dice) -> Vec<Endpoint> {
    let zone = |n: u64| (n > 0).then(|| ZoneName::new(&format!("zone-{n}")).expect("a name"));
    let mut endpoints: Vec<Endpoint> = Vec::new();
    for n in 0..ADDRESSES {
        if dice.below(3) > 0 {
            endpoints.push(Endpoint {
                address: address(n),
                zone: zone(dice.below(4)),
                weight: any_weight(dice),
                priority: 0,
            });
        }
    }
    if endpoints.is_empty() {
        endpoints.push(Endpoint { address: address(0), zone: None, weight: Weight::ONE, priority: 0 });
    }
    keep_one_weight(&mut endpoints);
    endpoints
}

fn any_weight(dice: &mut Dice) -> Weight {
    Weight::new([0, 1, 1, 1, 2, 5, 100][dice.below(7) as usize]).expect("a weight")
}

fn keep_one_weight(endpoints: &mut [Endpoint]) {
    if endpoints.iter().all(|endpoint| endpoint.weight.get() == 0) {
        endpoints[0].weight = Weight::ONE;
    }
}

/// None to three, from a handful, so that lists share some.
fn any_checks(dice: &mut Dice) -> Vec<HealthCheck> {
    (0..[0, 1, 1, 1, 2, 3][dice.below(6) as usize]).map(|_| any_check(dice)).collect()
}

fn any_check(dice: &mut Dice) -> HealthCheck {
    let flavour = dice.below(4) as u32;
    HealthCheck {
        jitter_percent: 10 * flavour as u8,
        unhealthy_threshold: count(1 + flavour % 3),
        healthy_threshold: count(1 + (flavour + 1) % 3),
        interval: Duration::from_secs(2 + u64::from(flavour)),
        port: (flavour == 3).then(|| 9000.try_into().expect("not 0")),
        ..check()
    }
}
