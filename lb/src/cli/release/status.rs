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
    versions: Vec<Version>,
    #[serde(default)]
    canaries: Vec<Canary>,
}

#[derive(Debug, Deserialize)]
struct Version {
    cluster: String,
    /// Per cent, as the file says and as it is.
    weight: f64,
    in_force: f64,
    #[serde(default)]
    ranges: Vec<(u16, u16)>,
    requests: u64,
    /// In the last minute.
    #[serde(default)]
    requests_per_second: Option<f64>,
    errors: u64,
    #[serde(default)]
    error_rate: Option<f64>,
    #[serde(default)]
    p50_ms: Option<f64>,
    #[serde(default)]
    p99_ms: Option<f64>,
    #[serde(default)]
    unattributed: u64,
    #[serde(default)]
    moved_by_health: u64,
}

#[derive(Debug, Deserialize)]
struct Canary {
    cluster: String,
    verdict: Verdict,
    #[serde(default)]
    rollout: Option<Rollout>,
}

#[derive(Debug, Deserialize)]
struct Verdict {
    kind: String,
    why: String,
    #[serde(default)]
    expected_seconds: Option<f64>,
}

#[derive(Debug, Deserialize)]
struct Rollout {
    phase: String,
    step: usize,
    steps: usize,
    #[serde(default)]
    next: Option<f64>,
    #[serde(default)]
    left_seconds: Option<f64>,
    #[serde(default)]
    why: Option<String>,
}

impl Show {
    pub(super) fn run(self) -> ExitCode {
        match self.show() {
            Ok(code) => code,
            Err(error) => failed(&error.to_string()),
        }
    }

    fn show(&self) -> Result<ExitCode, ClientError> {
        let client = Client::new(&self.instance.admin)?;
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
    let unattributed: u64 = release.versions.iter().map(|version| version.unattributed).sum();
    // Writing to a String cannot fail.
    if unattributed > 0 {
        let _ = writeln!(text, "  {unattributed} requests had no id");
    }
    for version in release.versions.iter().filter(|version| version.moved_by_health > 0) {
        let Version { cluster, moved_by_health, .. } = version;
        let line = format!("{moved_by_health} requests of {cluster} went to stable, since it had no usable endpoint");
        let _ = writeln!(text, "  {}", paint.state("warn", &line));
    }
    for canary in &release.canaries {
        text.push_str(&render_canary(canary, paint));
    }
    text
}

fn versions(versions: &[Version]) -> Table {
    let heads =
        ["VERSION", ">WEIGHT", ">IN FORCE", "BUCKETS", ">REQUESTS", ">PER SECOND", ">ERRORS", ">RATE", ">P50", ">P99"];
    let mut table = Table::new(&heads);
    let or_none = |value: Option<String>| Cell::plain(value.unwrap_or_else(|| "-".into()));
    for version in versions {
        table.row([
            Cell::plain(&version.cluster),
            Cell::plain(format!("{} %", version.weight)),
            Cell::plain(format!("{} %", version.in_force)),
            or_none(buckets(&version.ranges)),
            Cell::plain(version.requests),
            or_none(version.requests_per_second.map(|rate| format!("{rate:.1}"))),
            Cell::plain(version.errors),
            or_none(version.error_rate.map(|rate| format!("{:.2} %", 100.0 * rate))),
            or_none(version.p50_ms.map(|ms| format!("{ms:.1} ms"))),
            or_none(version.p99_ms.map(|ms| format!("{ms:.1} ms"))),
        ]);
    }
    table
}

fn buckets(ranges: &[(u16, u16)]) -> Option<String> {
    let ranges: Vec<String> = ranges.iter().map(|(first, last)| format!("{first}-{last}")).collect();
    (!ranges.is_empty()).then(|| ranges.join(", "))
}

fn render_canary(canary: &Canary, paint: Paint) -> String {
    let Canary { cluster, verdict, rollout } = canary;
    let state = match verdict.kind.as_str() {
        "promote" => "healthy",
        "rollback" => "unhealthy",
        _ => "unknown",
    };
    let kind = verdict.kind.replace('_', " ");
    let expected = verdict.expected_seconds.map(|left| format!(", a verdict in about {}", age(left.ceil() as u64)));
    let mut text =
        format!("  {cluster}: {}: {}{}\n", paint.state(state, &kind), verdict.why, expected.unwrap_or_default());
    let Some(Rollout { phase, step, steps, next, left_seconds, why }) = rollout else { return text };
    let state = match phase.as_str() {
        "advancing" | "complete" => "healthy",
        "failed" | "aborted" => "unhealthy",
        _ => "warn",
    };
    let mut line = format!("    rollout {}, step {step} of {steps}", paint.state(state, phase));
    if let Some(next) = next {
        let when = left_seconds.map(|left| format!(" in {} at the soonest", age(left.ceil() as u64)));
        let _ = write!(line, "; next {next} %{}", when.unwrap_or_default());
    }
    if let Some(why) = why {
        let _ = write!(line, "; {why}");
    }
    text.push_str(&line);
    text.push('\n');
    text
}
