//! `weir release status`: versions side by side, what is said of canaries, and where rollouts stand.

use std::fmt::Write as _;
use std::process::ExitCode;

use clap::Args;
use serde::Deserialize;
use serde_json::Value;

use crate::cli::client::{Client, ClientError};
use crate::cli::paint::{Paint, harmless_but_colours};
use crate::cli::table::{Cell, Table, age};
use crate::cli::{Format, Instance, emit, failed};

/// `weir release status`.
#[derive(Debug, Args)]
pub(super) struct Show {
    /// Only this release
    release: Option<String>,
    #[command(flatten)]
    instance: Instance,
    /// Form of the status
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// An answer of `/api/v1/releases`, as far as it is shown.
#[derive(Debug, Deserialize)]
struct Releases {
    releases: Vec<Release>,
}

#[derive(Debug, Deserialize)]
struct Release {
    name: String,
    salt: String,
    unattributed: u64,
    versions: Vec<Version>,
    canaries: Vec<Canary>,
}

#[derive(Debug, Deserialize)]
struct Version {
    cluster: String,
    /// Per cent: what the file gives it, and what it has.
    weight: f64,
    in_force: f64,
    closed: bool,
    ranges: Vec<(u16, u16)>,
    requests: u64,
    errors: u64,
    moved_by_health: u64,
    /// Of the last minute, as is what follows; nothing before there was one.
    requests_per_second: Option<f64>,
    recent_requests: Option<u64>,
    recent_errors: Option<u64>,
    p50_ms: Option<f64>,
    p99_ms: Option<f64>,
}

#[derive(Debug, Deserialize)]
struct Canary {
    cluster: String,
    phase: String,
    verdict: Verdict,
    rollout: Option<Rollout>,
}

#[derive(Debug, Deserialize)]
struct Verdict {
    kind: String,
    why: String,
    expected_seconds: Option<f64>,
}

#[derive(Debug, Deserialize)]
struct Rollout {
    why: Option<String>,
    step: usize,
    steps: usize,
    hold_seconds: f64,
    held_seconds: f64,
    /// The next step in per cent, and after how long it may come.
    next: Option<f64>,
    left_seconds: Option<f64>,
}

impl Show {
    pub(super) fn run(self) -> ExitCode {
        match self.show() {
            Ok(code) => code,
            Err(error) => failed(&error.to_string()),
        }
    }

    fn show(&self) -> Result<ExitCode, ClientError> {
        let client = Client::new(&self.instance)?;
        let mut value: Value = client.get("/api/v1/releases")?;
        if let (Some(name), Some(releases)) = (&self.release, value["releases"].as_array_mut()) {
            let known: Vec<String> =
                releases.iter().filter_map(|one| one["name"].as_str().map(ToOwned::to_owned)).collect();
            releases.retain(|one| one["name"] == **name);
            if releases.is_empty() {
                return Ok(failed(&format!("there is no release {name:?}; there are: {}", known.join(", "))));
            }
        }
        Ok(match self.format {
            Format::Json => emit(&format!("{value:#}\n")),
            Format::Text => emit(&harmless_but_colours(&render(&client.understand(value)?, Paint::for_stdout()))),
        })
    }
}

fn render(releases: &Releases, paint: Paint) -> String {
    if releases.releases.is_empty() {
        return "the configuration has no releases\n".into();
    }
    releases.releases.iter().map(|release| render_release(release, paint)).collect::<Vec<_>>().join("\n")
}

fn render_release(release: &Release, paint: Paint) -> String {
    let mut text = format!("{} {} · salt {}\n", paint.dim("RELEASE"), paint.bold(&release.name), release.salt);
    text.push_str(&versions(&release.versions).render("  ", paint));
    // Writing to a String cannot fail.
    if release.unattributed > 0 {
        let _ = writeln!(text, "  {} requests had no id", release.unattributed);
    }
    for Version { cluster, moved_by_health: moved, .. } in &release.versions {
        if *moved > 0 {
            let line = format!("{moved} requests of {cluster} went to stable, since it had no usable endpoint");
            let _ = writeln!(text, "  {}", paint.state("warn", &line));
        }
    }
    for canary in &release.canaries {
        text.push_str(&render_canary(canary, paint));
    }
    text
}

/// Counts are those of the process, rates and times those of the last minute.
fn versions(versions: &[Version]) -> Table {
    let heads =
        ["VERSION", ">WEIGHT", ">IN FILE", "BUCKETS", ">REQUESTS", ">ERRORS", ">PER SECOND", ">FAILED", ">P50", ">P99"];
    let mut table = Table::new(&heads);
    let or_none = |value: Option<String>| Cell::plain(value.unwrap_or_else(|| "-".into()));
    let ms = |ms: f64| format!("{ms:.1} ms");
    for version in versions {
        let weight = if version.closed { "closed".to_owned() } else { format!("{} %", version.in_force) };
        let failed =
            |(errors, requests)| (requests > 0).then(|| format!("{:.2} %", 100.0 * errors as f64 / requests as f64));
        let ranges: Vec<String> = version.ranges.iter().map(|(first, last)| format!("{first}-{last}")).collect();
        table.row([
            Cell::plain(&version.cluster),
            Cell::plain(weight),
            Cell::plain(format!("{} %", version.weight)),
            or_none((!ranges.is_empty()).then(|| ranges.join(" "))),
            Cell::plain(version.requests),
            Cell::plain(version.errors),
            or_none(version.requests_per_second.map(|rate| format!("{rate:.1}"))),
            or_none(version.recent_errors.zip(version.recent_requests).and_then(failed)),
            or_none(version.p50_ms.map(ms)),
            or_none(version.p99_ms.map(ms)),
        ]);
    }
    table
}

fn render_canary(canary: &Canary, paint: Paint) -> String {
    let Canary { cluster, phase, verdict, rollout } = canary;
    let state = match verdict.kind.as_str() {
        "promote" => "healthy",
        "rollback" => "unhealthy",
        _ => "unknown",
    };
    let kind = paint.state(state, &verdict.kind.replace('_', " "));
    let expected = verdict.expected_seconds.map(|left| format!("; a verdict in about {}", age(left.ceil() as u64)));
    // The judge says so itself where it knows.
    let expected = expected.filter(|_| !verdict.why.contains(" about ")).unwrap_or_default();
    let mut text = format!("  {cluster}: {kind}: {}{expected}\n", verdict.why);
    let state = match phase.as_str() {
        "advancing" | "complete" => "healthy",
        "failed" | "aborted" => "unhealthy",
        _ => "warn",
    };
    let phase_shown = paint.state(state, phase);
    match rollout {
        Some(rollout) => {
            let _ = writeln!(text, "    rollout {phase_shown}: {}", progress(rollout));
        }
        None if phase == "aborted" => {
            let _ = writeln!(text, "    {phase_shown}: nobody gets it until it is resumed or edited");
        }
        None => {}
    }
    text
}

/// Where a rollout stands, and what comes next.
fn progress(rollout: &Rollout) -> String {
    let seconds = |seconds: f64| age(seconds.ceil() as u64);
    let Rollout { why, step, steps, hold_seconds, held_seconds, next, left_seconds } = rollout;
    let mut line = format!("step {step} of {steps}, held for {} of {}", seconds(*held_seconds), seconds(*hold_seconds));
    if let Some(next) = next {
        let when = match left_seconds {
            Some(left) if *left > 0.0 => format!(" in {} at the soonest", seconds(*left)),
            Some(_) => " once it is judged fit".to_owned(),
            None => String::new(),
        };
        let _ = write!(line, "; next {next} %{when}");
    }
    if let Some(why) = why {
        let _ = write!(line, "; {why}");
    }
    line
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn version(cluster: &str, in_force: f64, ranges: Value) -> Value {
        json!({
            "cluster": cluster, "role": "canary", "weight": 50.0, "in_force": in_force, "closed": false,
            "ranges": ranges, "requests": 1200, "requests_by_class": {}, "requests_by_why": {}, "errors": 3,
            "moved_by_health": 0,
            "requests_per_second": 10.0, "recent_requests": 600, "recent_errors": 3, "p50_ms": 2.04, "p99_ms": null,
        })
    }

    fn shown(release: Value) -> String {
        render(&serde_json::from_value(json!({ "releases": [release] })).unwrap(), Paint::plain())
    }

    #[test]
    fn versions_stand_side_by_side() {
        let judged =
            json!({"kind": "insufficient_data", "why": "7 requests; each needs 200", "expected_seconds": 61.2});
        let rollout = json!({"phase": "advancing", "why": null, "step": 2, "weight": 5.0, "held_seconds": 30.5,
            "weights": [1.0, 5.0, 50.0], "steps": 3, "hold_seconds": 600.0, "next": 50.0, "left_seconds": 570.0});
        let mut stable = version("orders-v1", 95.0, json!([]));
        for field in ["requests_per_second", "recent_requests", "recent_errors", "p50_ms"] {
            stable[field] = Value::Null;
        }
        let mut third = version("orders-v3", 0.0, json!([]));
        third["closed"] = true.into();
        third["moved_by_health"] = 4.into();
        let release = json!({
            "name": "orders", "salt": "orders-2026", "stable": "orders-v1", "unattributed": 12,
            "versions": [stable, version("orders-v2", 5.0, json!([[0, 499]])), third],
            "canaries": [
                {"cluster": "orders-v2", "closed": false, "phase": "advancing", "rollout": rollout, "verdict": judged},
                {"cluster": "orders-v3", "closed": true, "phase": "aborted", "rollout": null,
                    "verdict": {"kind": "rollback", "why": "more errors", "expected_seconds": null}},
            ],
        });
        let expected = "\
RELEASE orders · salt orders-2026
  VERSION    WEIGHT  IN FILE  BUCKETS  REQUESTS  ERRORS  PER SECOND  FAILED     P50  P99
  orders-v1    95 %     50 %  -            1200       3           -       -       -    -
  orders-v2     5 %     50 %  0-499        1200       3        10.0  0.50 %  2.0 ms    -
  orders-v3  closed     50 %  -            1200       3        10.0  0.50 %  2.0 ms    -
  12 requests had no id
  4 requests of orders-v3 went to stable, since it had no usable endpoint
  orders-v2: insufficient data: 7 requests; each needs 200; a verdict in about 1m02s
    rollout advancing: step 2 of 3, held for 31s of 10m00s; next 50 % in 9m30s at the soonest
  orders-v3: rollback: more errors
    aborted: nobody gets it until it is resumed or edited
";
        assert_eq!(shown(release), expected);
    }

    #[test]
    fn without_releases_that_is_what_is_said() {
        let none = serde_json::from_value(json!({ "releases": [] })).unwrap();
        assert_eq!(render(&none, Paint::plain()), "the configuration has no releases\n");
    }
}
