//! Shared worlds for the benches: configurations of a given size, and the core that lives in them.

use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::sync::Arc;

use weir_config::model::{Balance, Config};
use weir_core::control::{Control, Event};
use weir_core::dice::Dice;
use weir_core::snapshot::Snapshot;
use weir_core::time::Moment;

/// A config with one cluster of `endpoints` endpoints with weights from 1 to 5, in three zones.
#[must_use]
pub fn endpoints_yaml(endpoints: u32, balance: Balance) -> String {
    let balance = match balance {
        Balance::RoundRobin => "round_robin",
        Balance::LeastRequest => "least_request",
        Balance::Random => "random",
        Balance::Ewma => "ewma",
        Balance::RingHash => "ring_hash",
        Balance::Maglev => "maglev",
    };
    let mut text = format!(
        "listeners:\n  - {{name: web, bind: 127.0.0.1:8080, protocol: http, cluster: main}}\n\
         clusters:\n  - name: main\n    balance: {balance}\n    endpoints:\n"
    );
    for zone in 0..3 {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "      az-{zone}:");
        for n in (0..endpoints).filter(|n| n % 3 == zone) {
            let address = Ipv4Addr::from(0x0a00_0001 + n);
            let _ = writeln!(text, "        - {{address: \"{address}:8080\", weight: {}}}", 1 + n % 5);
        }
        if endpoints <= zone {
            text.push_str("        []\n");
        }
    }
    text
}

/// A config with `routes` routes: each with a host and a path prefix of its own, to one endpoint.
#[must_use]
pub fn routes_yaml(listen: &str, endpoint: &str, routes: u32) -> String {
    let mut text = format!("listeners:\n  - name: web\n    bind: {listen}\n    protocol: http\n    routes:\n");
    for n in 0..routes {
        let _ = writeln!(text, "      - {{match: {{host: h{n}.example, path_prefix: /p{n}}}, cluster: main}}");
    }
    let _ = write!(text, "clusters:\n  - {{name: main, endpoints: [\"{endpoint}\"]}}\n");
    text
}

/// The valid config of a text.
///
/// # Panics
/// When there is none.
#[must_use]
pub fn config(yaml: &str) -> Config {
    weir_config::parse_str(yaml).unwrap_or_else(|mistakes| panic!("{mistakes:?}")).config
}

/// A core in this config.
#[must_use]
pub fn control(config: Config) -> Control {
    let mut control = Control::new(1, Dice::new(1));
    control.step(Moment::ZERO, Event::Configured(Arc::new(config)), &mut Vec::new());
    control
}

/// The first snapshot of a core in this config.
///
/// # Panics
/// When it publishes none.
#[must_use]
pub fn snapshot(config: Config) -> Arc<Snapshot> {
    control(config).publish(Moment::ZERO).expect("a new config is a new generation")
}
