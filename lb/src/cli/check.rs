//! `weir check`: is this configuration right?

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use serde_json::json;
use weir_config::model::Certificate;
use weir_config::{Config, Parsed, Style};

use super::{Format, emit, failed};
use crate::cli::paint::Paint;
use crate::control::in_numbers;
use crate::control::source::Source;
use crate::observe::journal::{rfc3339, timestamp};

/// `weir check`.
#[derive(Debug, Args)]
pub(super) struct Check {
    /// The configuration file
    #[arg(env = "WEIR_CONFIG")]
    config: PathBuf,
    /// Form of the verdict
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

impl Check {
    pub(super) fn run(self) -> ExitCode {
        let source = Source::new(&self.config);
        let text = match source.read() {
            Ok(text) => text,
            Err(error) => return failed(&error.to_string()),
        };
        let parsed = source.understand(&text);
        let code = if parsed.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
        let printed = match (self.format, parsed) {
            (Format::Json, parsed) => {
                let valid = parsed.is_ok();
                let mistakes = parsed.map_or_else(|mistakes| mistakes, |parsed| parsed.warnings);
                let mut value = json!({ "valid": valid });
                if let (Some(value), serde_json::Value::Object(more)) = (value.as_object_mut(), mistakes.to_json()) {
                    value.extend(more);
                }
                emit(&format!("{value:#}\n"))
            }
            (Format::Text, Ok(Parsed { config, warnings })) => {
                let warnings = if warnings.is_empty() { String::new() } else { warnings.render(style()) };
                let certificates = certificates(&config);
                emit(&format!("{warnings}{} is valid: {}\n{certificates}", source.shown(), summary(&config)))
            }
            (Format::Text, Err(mistakes)) => {
                eprint!("{}", mistakes.render(style_of(Paint::for_stderr())));
                ExitCode::SUCCESS
            }
        };
        if printed == ExitCode::SUCCESS { code } else { printed }
    }
}

/// What the configuration has, and what its checks will cost.
fn summary(config: &Config) -> String {
    let probes: f64 = config
        .clusters
        .iter()
        .map(|cluster| {
            let each: f64 = cluster.health_checks.iter().map(|check| 1.0 / check.interval.as_secs_f64()).sum();
            each * cluster.endpoints.len() as f64
        })
        .sum();
    let cost = if probes > 0.0 { format!("; about {probes:.1} health probes a second") } else { String::new() };
    format!("{}{cost}", in_numbers(config))
}

/// A line for each certificate: whose, the file, its subject, its names, its last day.
fn certificates(config: &Config) -> String {
    const NAMES_MAX: usize = 4;
    let listeners = config.listeners.iter().flat_map(|listener| {
        let certificates = listener.tls.iter().flat_map(|tls| &tls.certificates);
        certificates.map(move |certificate| (format!("listener {}", listener.name), certificate))
    });
    let clusters = config
        .clusters
        .iter()
        .filter_map(|cluster| Some((format!("cluster {}", cluster.name), cluster.tls.as_ref()?.certificate.as_ref()?)));
    let line = |(whose, certificate): (String, &Arc<Certificate>)| {
        let Certificate { file, subject, names, not_after, .. } = &**certificate;
        let shown = names.iter().take(NAMES_MAX).map(String::as_str).collect::<Vec<_>>().join(", ");
        let more = match names.len().saturating_sub(NAMES_MAX) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let until: String = rfc3339(timestamp(*not_after)).chars().take(10).collect();
        format!("  {whose}: {file} ({subject}) for {shown}{more}, until {until}\n")
    };
    listeners.chain(clusters).map(line).collect()
}

fn style() -> Style {
    style_of(Paint::for_stdout())
}

pub(super) fn style_of(paint: Paint) -> Style {
    if paint.is_on() { Style::Colour } else { Style::Plain }
}
