//! Whatever the text: an answer, soon, and never a panic.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use weir_config::{MAX_DEPTH, Style, parse_bytes, parse_str};

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

    /// A good file with one character replaced.
    #[test]
    fn a_mistyped_file_gets_an_answer(at in 0..FULL.len(), with in any::<char>()) {
        let mut text: Vec<char> = FULL.chars().collect();
        let at = at % text.len();
        text[at] = with;
        let _ = answer(text.into_iter().collect::<String>().as_bytes());
    }
}

/// Parses, and renders what is said in every form.
fn answer(bytes: &[u8]) -> bool {
    let source = weir_config::Source { name: "any", env: &|name| (name == "A").then(|| "5".to_owned()) };
    let (taken, mistakes) = match parse_bytes(bytes, &source) {
        Ok(parsed) => (true, parsed.warnings),
        Err(mistakes) => (false, mistakes),
    };
    assert_eq!(mistakes.errors() == 0, taken);
    let plain = mistakes.render(Style::Plain);
    assert!(plain.chars().all(|c| c == '\n' || !c.is_control()), "{plain:?}");
    let _ = (mistakes.render(Style::Colour), mistakes.to_json());
    taken
}
