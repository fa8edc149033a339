//! Whatever the text: an answer, soon, and never a panic.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use weir_config::model::{Config, Endpoint, FailureWindow};
use weir_config::{MAX_DEPTH, Style, parse_bytes, parse_endpoints, parse_str};

/// Longer than any of these takes in an unoptimised build on a busy machine.
const SOON: Duration = Duration::from_secs(10);

fn codes(text: &str) -> Vec<&'static str> {
    match parse_str(text) {
        Ok(parsed) => parsed.warnings.iter().map(|mistake| mistake.code).collect(),
        Err(mistakes) => mistakes.iter().map(|mistake| mistake.code).collect(),
    }
}

fn soon<T>(work: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let value = work();
    assert!(start.elapsed() < SOON, "took {:?}", start.elapsed());
    value
}

#[test]
fn too_much_of_anything_is_refused() {
    assert_eq!(codes(&"#".repeat((4 << 20) + 1)), ["file_too_large"]);
    let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
    assert_eq!(codes(&nested(MAX_DEPTH + 1)), ["too_deep"]);
    assert_eq!(codes(&nested(100_000)), ["too_deep"]);
    assert_eq!(codes(&"- ".repeat(100_000)), ["too_deep"]);
    assert_eq!(codes(&"{a: ".repeat(100_000)), ["too_deep"]);
    let block: String = (0..MAX_DEPTH + 1).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect();
    assert_eq!(codes(&block), ["too_deep"]);
    assert_eq!(soon(|| codes(&format!("[{}]", "1,".repeat(2_000_000)))), ["too_many_values"]);
}

/// Reload runs on threads whose stacks nobody chose with YAML in mind.
#[test]
fn the_deepest_file_fits_a_small_stack() {
    let read = || codes(&("[".repeat(MAX_DEPTH) + &"]".repeat(MAX_DEPTH)));
    let thread = std::thread::Builder::new().stack_size(1 << 20).spawn(read).unwrap();
    assert_eq!(thread.join().unwrap(), ["not_a_map"]);
}

#[test]
fn aliases_cannot_explode() {
    let mut lists = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    let mut merges = "a0: &a0 {k: v}\n".to_owned();
    for n in 1..40 {
        let before = vec![format!("*a{}", n - 1); 10].join(", ");
        let _ = writeln!(lists, "a{n}: &a{n} [{before}]");
        let _ = writeln!(merges, "a{n}: &a{n} {{<<: [{before}], k{n}: v}}");
    }
    assert_eq!(soon(|| codes(&lists)), ["alias_limit"]);
    let told = soon(|| codes(&merges));
    assert!(told.contains(&"alias_limit") || told.contains(&"unknown_key"), "{told:?}");
    let wide = format!("a: &a [{}]\nb: [{}]\n", "x,".repeat(1000), "*a,".repeat(100_000));
    assert_eq!(soon(|| codes(&wide)), ["alias_limit"]);
    let deep = format!("a: &a [{}", "[*a, ".repeat(3)) + "]]]]\n";
    assert!(!codes(&deep).is_empty());
}

#[test]
fn many_mistakes_are_counted_and_not_all_told() {
    let text: String = (0..50_000).map(|n| format!("wrong{n}: 1\n")).collect();
    let mistakes = soon(|| parse_str(&text).unwrap_err());
    let told = soon(|| mistakes.render(Style::Plain));
    assert!(told.matches("error[").count() == 100, "{}", told.matches("error[").count());
    assert!(told.contains("(the first 100 are shown)"), "{}", &told[told.len() - 200..]);
}

#[test]
fn ten_thousand_routes_and_endpoints_are_read_at_once() {
    let mut text = "listeners:\n  - name: web\n    bind: 0.0.0.0:8080\n    routes:\n".to_owned();
    for n in 0..10_000 {
        let _ = writeln!(
            text,
            "      - match: {{host: h{}.example, path_prefix: /p{n}}}\n        cluster: c{}",
            n % 100,
            n % 50
        );
    }
    text.push_str("clusters:\n");
    for cluster in 0..50 {
        let _ = writeln!(text, "  - name: c{cluster}\n    endpoints:\n      az-a:");
        for n in 0..200 {
            let _ = writeln!(text, "        - {{address: 10.{cluster}.{}.{}:80, weight: 2}}", n / 250, n % 250);
        }
    }
    let start = Instant::now();
    let parsed = parse_str(&text).unwrap();
    // Release builds take about a tenth of a second; this bound catches what is quadratic.
    assert!(start.elapsed() < SOON, "took {:?}", start.elapsed());
    eprintln!("{} KiB in {:?}", text.len() >> 10, start.elapsed());
    assert_eq!(parsed.config.listeners[0].routes.len(), 10_000);
    assert_eq!(parsed.config.clusters.iter().map(|cluster| cluster.endpoints.len()).sum::<usize>(), 10_000);
    assert!(parsed.warnings.is_empty(), "{}", parsed.warnings);
}

#[test]
fn everything_wrong_ten_thousand_times_is_still_quick() {
    let mut text = "listeners:\n  - name: web\n    bind: 0.0.0.0:8080\n    routes:\n".to_owned();
    for n in 0..10_000 {
        let _ = writeln!(text, "      - {{name: r, match: {{path_prefix: /p}}, cluster: clutser{n}}}");
    }
    text.push_str("clusters:\n");
    for n in 0..10_000 {
        let _ = writeln!(text, "  - {{name: cluster{n}, endpoints: [1.1.1.1:1, 1.1.1.1:1]}}");
    }
    soon(|| parse_str(&text).unwrap_err());
}

const FULL: &str = include_str!("../examples/full.yaml");

/// Files beside the examples.
fn beside(name: &str) -> std::io::Result<Vec<u8>> {
    std::fs::read(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(name))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_gets_an_answer(text in "\\PC{0,200}") {
        let _ = answer(text.as_bytes());
    }

    #[test]
    fn any_bytes_get_an_answer(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = answer(&bytes);
    }

    #[test]
    fn anything_like_yaml_gets_an_answer(parts in prop::collection::vec(prop::sample::select(vec![
        "a", "listeners", "clusters", "name", "endpoints", ": ", ":", "- ", "\n", "\n  ", "\n    ", "[", "]", "{", "}",
        ", ", "\"", "'", "|", ">", "&a ", "*a", "<<: ", "!!int ", "---\n", "...", "1", "-1", "0x1F", "1e9", ".nan",
        "~", "true", "5s", "10.0.0.1:80", "${A}", "${A:-b}", "$", "#", "\t", "\r", "? ", "é", "堰", "\u{feff}",
    ]), 0..60)) {
        let _ = answer(parts.concat().as_bytes());
    }

    /// A good file with a piece cut out, moved or doubled.
    #[test]
    fn a_damaged_file_gets_an_answer(from in 0..FULL.len(), len in 0..80usize, to in 0..FULL.len(), keep in any::<bool>()) {
        let bytes = FULL.as_bytes();
        let piece = &bytes[from..(from + len).min(bytes.len())];
        let mut damaged = bytes.to_vec();
        if !keep {
            damaged.drain(from..from + piece.len());
        }
        let at = to.min(damaged.len());
        damaged.splice(at..at, piece.iter().copied());
        let _ = answer(&damaged);
    }

    /// As it may be half written, or written by somebody else.
    #[test]
    fn any_list_of_endpoints_gets_an_answer(parts in prop::collection::vec(prop::sample::select(vec![
        "- ", "\n", "[", "]", "{", "}", ", ", ": ", "az-a", "address", "weight", "priority", "zone", "10.0.0.1:80",
        "[::1]:80", "unix:/run/a", "unix:", "srv:", "file:", "a.internal", ":", "1", "-1", "16", "10001", "'", "${A}",
    ]), 0..30)) {
        let source = weir_config::Source { name: "any", env: &|name| (name == "A").then(|| "5".to_owned()), files: &beside };
        match parse_endpoints(&parts.concat(), &source) {
            Ok(endpoints) => are_endpoints(&endpoints),
            Err(mistakes) => prop_assert!(mistakes.errors() > 0),
        }
    }

    /// Keys of policies with numbers that are about right.
    #[test]
    fn any_numbers_in_policies_get_an_answer(
        numbers in prop::collection::vec(prop_oneof![0..8u64, 90..110u64, 990..1010u64, Just(65_537), any::<u64>()], 8),
        ms in prop::collection::vec(prop_oneof![0..3u64, 90..1100u64, 29_000..310_000u64], 8),
        parts in prop::collection::vec(0.0..120.0f64, 4),
        balance in prop::sample::select(vec!["round_robin", "ring_hash", "maglev"]),
    ) {
        let (n, d) = (numbers, ms);
        let keys = [
            format!("balance: {balance}"),
            format!("hash: {{table_size: {}, minimum_ring_size: {}, maximum_ring_size: {}}}", n[0], n[1], n[2]),
            format!("outlier_detection: {{base_ejection_time: {}ms, max_ejection_time: {}ms, confidence: {}, \
                     failure_percentage: [{{threshold: {}, window: {}ms}}, {{threshold: {}, minimum_requests: {}}}]}}",
                    d[0], d[1], parts[0] / 100.0, parts[1], d[2], parts[2], n[3]),
            format!("circuit_breaker: {{max_requests: {}, failure_rate: {{open: {}ms, max_open: {}ms}}}}", n[4], d[3], d[4]),
            format!("resolve: {{min_ttl: {}ms, max_ttl: {}ms}}", d[5], d[6]),
            format!("slow_start: {{window: {}ms, aggression: {}, minimum_percent: {}}}", d[7], parts[3], n[5]),
            format!("overprovisioning: {}", n[6]),
            format!("retry_budget: {{percent: {}}}", n[7]),
        ];
        // One at a time too, or hardly any would be taken.
        for keys in std::iter::once(keys.join(", ")).chain(keys.iter().cloned()) {
            let _ = answer(format!(
                "listeners: [{{name: web, bind: '0.0.0.0:80', cluster: a}}]\n\
                 clusters: [{{name: a, endpoints: ['a.internal:80', '10.0.0.1:80'], {keys}}}]\n"
            ).as_bytes());
        }
    }

    /// A good file with one character replaced.
    #[test]
    fn a_mistyped_file_gets_an_answer(at in 0..FULL.len(), with in any::<char>()) {
        let mut text: Vec<char> = FULL.chars().collect();
        let at = at % text.len();
        text[at] = with;
        let _ = answer(text.into_iter().collect::<String>().as_bytes());
    }
}

/// What whoever reads a config relies on without asking again.
fn keeps_its_promises(config: &Config) {
    for cluster in &config.clusters {
        assert!(!cluster.endpoints.is_empty() || !cluster.sources.is_empty());
        are_endpoints(&cluster.endpoints);
        let hash = &cluster.hash;
        assert!(!hash.keys.is_empty() && hash.bounded_load.is_none_or(|percent| percent >= 100));
        assert!(hash.minimum_ring_size <= hash.maximum_ring_size && hash.minimum_ring_size > 0);
        assert!((2..hash.table_size).take_while(|d| d * d <= hash.table_size).all(|d| hash.table_size % d > 0));
        let is_window = |window: &FailureWindow| {
            window.threshold > 0.0 && window.threshold <= 100.0 && window.window >= Duration::from_secs(1)
        };
        if let Some(outlier) = &cluster.outlier {
            assert!(outlier.windows.iter().all(is_window) && (0.0..1.0).contains(&outlier.confidence));
            assert!(outlier.base_ejection_time <= outlier.max_ejection_time && !outlier.base_ejection_time.is_zero());
            assert!((1..=100).contains(&outlier.max_ejection_percent) && outlier.jitter_percent <= 50);
        }
        if let Some(rate) = &cluster.breaker.failure_rate {
            assert!(is_window(&rate.window) && rate.open <= rate.max_open && !rate.open.is_zero());
        }
        assert!(!cluster.breaker.queue_timeout.is_zero() && !cluster.retry_budget.window.is_zero());
        assert!(cluster.panic.threshold <= 100 && cluster.overprovisioning >= 100);
        assert!(cluster.resolve.min_ttl <= cluster.resolve.max_ttl && !cluster.resolve.min_ttl.is_zero());
        assert!(cluster.connect.source_ports.as_ref().is_none_or(|ports| *ports.start() > 0 && !ports.is_empty()));
        let ramp = cluster.slow_start;
        assert!(ramp.is_none_or(|ramp| !ramp.window.is_zero() && ramp.aggression > 0.0 && ramp.minimum_percent > 0));
    }
    for route in config.listeners.iter().flat_map(|listener| &listener.routes) {
        assert!(route.retry.backoff_base <= route.retry.backoff_max);
        assert!(route.retry.on.statuses.windows(2).all(|pair| pair[0] < pair[1]));
    }
}

fn are_endpoints(endpoints: &[Endpoint]) {
    let addresses: BTreeSet<_> = endpoints.iter().map(|endpoint| &endpoint.address).collect();
    assert_eq!(addresses.len(), endpoints.len());
    assert!(endpoints.iter().all(|endpoint| endpoint.priority <= 15));
    assert!(endpoints.iter().all(|endpoint| endpoint.address.ip().is_none_or(|address| address.port() > 0)));
}

/// Parses, and renders what is said in every form.
fn answer(bytes: &[u8]) -> bool {
    let source =
        weir_config::Source { name: "any", env: &|name| (name == "A").then(|| "5".to_owned()), files: &beside };
    let (taken, mistakes) = match parse_bytes(bytes, &source) {
        Ok(parsed) => {
            keeps_its_promises(&parsed.config);
            (true, parsed.warnings)
        }
        Err(mistakes) => (false, mistakes),
    };
    assert_eq!(mistakes.errors() == 0, taken);
    let plain = mistakes.render(Style::Plain);
    assert!(plain.chars().all(|c| c == '\n' || !c.is_control()), "{plain:?}");
    let _ = (mistakes.render(Style::Colour), mistakes.to_json());
    taken
}
