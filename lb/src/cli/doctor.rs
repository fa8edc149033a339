//! `weir doctor`: what is wrong on this host and on the way to endpoints.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use tokio::runtime::{Builder, LocalOptions};

use super::client::{Client, ClientError};
use super::paint::{Paint, harmless, width, wrapped};
use super::{Format, Instance, emit, failed};
use crate::cli::check::style_of;
use crate::control::source::Source;
use crate::doctor::{Finding, Report, Severity, Subject, examine};
use crate::env::Os;

/// `weir doctor`.
#[derive(Debug, Args)]
pub(super) struct Doctor {
    /// The configuration file, to look from this process; without, a running instance looks at itself
    config: Option<PathBuf>,
    /// Warnings end with exit code 1 too
    #[arg(long)]
    strict: bool,
    /// Show what was looked at, too
    #[arg(long, short)]
    verbose: bool,
    /// Form of the report
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    #[command(flatten)]
    instance: Instance,
}

impl Doctor {
    pub(super) fn run(self) -> ExitCode {
        let report = match &self.config {
            Some(config) => here(config),
            None => ask(&self.instance).map_err(|error| error.exit()),
        };
        let report = match report {
            Ok(report) => report,
            Err(code) => return code,
        };
        let text = match self.format {
            Format::Json => match serde_json::to_string_pretty(&report) {
                Ok(text) => text + "\n",
                Err(error) => return failed(&error.to_string()),
            },
            Format::Text => render(&report, self.verbose, width(), Paint::for_stdout()),
        };
        let ill = report.count(Severity::Bad) > 0 || (self.strict && !report.findings.is_empty());
        match emit(&text) {
            ExitCode::SUCCESS if ill => ExitCode::FAILURE,
            code => code,
        }
    }
}

/// Looks from this process.
fn here(config: &Path) -> Result<Report, ExitCode> {
    let source = Source::new(config);
    let text = source.read().map_err(|error| failed(&error.to_string()))?;
    let parsed = source.understand(&text).map_err(|mistakes| {
        eprint!("{}", mistakes.render(style_of(Paint::for_stderr())));
        ExitCode::FAILURE
    })?;
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
    let runtime = runtime.map_err(|error| failed(&format!("cannot start: {error}")))?;
    let subject = Subject::configured(parsed.config, source.path().to_owned());
    Ok(runtime.block_on(async { examine(Os::new(), subject).await }))
}

/// Lets a running instance look at itself.
fn ask(instance: &Instance) -> Result<Report, ClientError> {
    Client::new(instance)?.get("/api/v1/doctor")
}

/// The report for people: findings by area, worst first.
fn render(report: &Report, verbose: bool, width: Option<usize>, paint: Paint) -> String {
    let mut text = String::new();
    let mut area = "";
    for finding in &report.findings {
        if finding.area != area {
            area = &finding.area;
            text += &format!("{}\n", paint.bold(&harmless(area)));
        }
        text += &one(finding, width, paint);
    }
    if verbose || report.findings.is_empty() {
        let lines = report.looked_at.iter().map(|line| format!("  {}\n", paint.dim(&harmless(line))));
        text += &format!("{}\n{}", paint.bold("looked at"), lines.collect::<String>());
    }
    text + &verdict(report, paint)
}

fn one(finding: &Finding, width: Option<usize>, paint: Paint) -> String {
    let mark = match finding.severity {
        Severity::Bad => paint.bad("✗"),
        Severity::Warning => paint.state("warn", "!"),
    };
    let mut text = format!("  {mark} {}\n", paint.bold(&wrapped(&harmless(&finding.cause), 4, width)));
    for (name, says) in [("seen", &finding.evidence), ("effect", &finding.effect), ("fix", &finding.fix)] {
        text += &format!("      {} {}\n", paint.dim(&format!("{name:<7}")), wrapped(&harmless(says), 14, width));
    }
    text
}

fn verdict(report: &Report, paint: Paint) -> String {
    let (bad, warnings) = (report.count(Severity::Bad), report.count(Severity::Warning));
    let plural = |count: usize, word: &str| format!("{count} {word}{}", if count == 1 { "" } else { "s" });
    let words = match (bad, warnings) {
        (0, 0) => paint.yes("all is well"),
        (0, _) => paint.state("warn", &plural(warnings, "warning")),
        (_, 0) => paint.bad(&format!("{bad} bad")),
        _ => format!("{}, {}", paint.bad(&format!("{bad} bad")), paint.state("warn", &plural(warnings, "warning"))),
    };
    format!("{words}{}\n", paint.dim(&format!(" (looked for {:.1} s)", report.took_ms / 1e3)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(severity: Severity, area: &str, cause: &str) -> Finding {
        Finding {
            severity,
            area: area.into(),
            code: "x".into(),
            cause: cause.into(),
            evidence: "this was seen".into(),
            effect: "this comes of it".into(),
            fix: "`mend it`".into(),
        }
    }

    #[test]
    fn a_report_for_people() {
        let findings = vec![
            finding(Severity::Bad, "ports", "nginx has it"),
            finding(Severity::Bad, "dns", "no such name\u{1b}[31m"),
            finding(Severity::Warning, "dns", "slow"),
        ];
        let report = Report {
            verdict: "bad".into(),
            findings,
            looked_at: vec!["ports      1 wanted".into()],
            took_ms: 1500.0,
            facts: serde_json::Value::Null,
        };
        let text = render(&report, true, None, Paint::plain());
        assert_eq!(
            text,
            "ports\n  ✗ nginx has it\n      seen    this was seen\n      effect  this comes of it\n      fix     `mend it`\n\
             dns\n  ✗ no such name\u{fffd}[31m\n      seen    this was seen\n      effect  this comes of it\n      fix     `mend it`\n  \
             ! slow\n      seen    this was seen\n      effect  this comes of it\n      fix     `mend it`\n\
             looked at\n  ports      1 wanted\n2 bad, 1 warning (looked for 1.5 s)\n"
        );
        let well = Report { findings: Vec::new(), ..report };
        assert_eq!(
            render(&well, false, None, Paint::plain()),
            "looked at\n  ports      1 wanted\nall is well (looked for 1.5 s)\n"
        );
    }
}
