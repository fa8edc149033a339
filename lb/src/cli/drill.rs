//! `weir drill`: faults made on purpose, for a time, and what became of the traffic meanwhile.

mod follow;
mod report;

use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::Value;
use weir_config::words;

use super::client::{Client, ClientError, Parameters};
use super::paint::{Paint, harmless, harmless_but_colours};
use super::{Format, Instance, emit};
use report::Drills;

/// `weir drill`.
#[derive(Debug, Args)]
pub(super) struct Drill {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// A whole zone seems gone: no connection to its endpoints, probes included
    #[command(after_help = "Example:\n  weir drill zone az-b --for 60s")]
    Zone {
        /// Which
        zone: String,
        #[command(flatten)]
        common: Common,
    },
    /// An endpoint, or a cluster, cannot be reached
    #[command(after_help = "Example:\n  weir drill unreachable --endpoint app/10.0.1.11:8080 --for 30s")]
    Unreachable {
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        strike: Strike,
        #[command(flatten)]
        common: Common,
    },
    /// Answers come later
    #[command(after_help = "Example:\n  weir drill latency --cluster app --delay 200ms --percent 50 --for 60s")]
    Latency {
        /// How much later, as in 200ms
        #[arg(long, value_name = "DURATION", value_parser = words::duration)]
        delay: Duration,
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        strike: Strike,
        #[command(flatten)]
        common: Common,
    },
    /// A status is answered instead
    #[command(after_help = "Example:\n  weir drill abort --status 503 --route web/1 --header x-canary=yes")]
    Abort {
        /// Which, 200 to 599
        #[arg(long, value_name = "CODE", default_value_t = 503, value_parser = clap::value_parser!(u16).range(200..=599))]
        status: u16,
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        strike: Strike,
        #[command(flatten)]
        common: Common,
    },
    /// Connections are reset before an answer
    #[command(after_help = "Example:\n  weir drill reset --endpoint app/10.0.1.11:8080 --percent 10 --for 2m")]
    Reset {
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        strike: Strike,
        #[command(flatten)]
        common: Common,
    },
    /// Show what is rehearsed, and what was
    #[command(after_help = "Example:\n  weir drill list")]
    List {
        #[command(flatten)]
        instance: Instance,
        /// Form of the list
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// Show one drill with its report
    #[command(after_help = "Example:\n  weir drill show 3")]
    Show {
        /// Its number
        id: u64,
        #[command(flatten)]
        instance: Instance,
        /// Form of the report
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// End a drill before its time
    #[command(after_help = "Example:\n  weir drill end 3")]
    End {
        /// Its number
        id: u64,
        #[command(flatten)]
        instance: Instance,
        /// Form of the answer
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
}

/// Where: one of these.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Place {
    /// At one endpoint, CLUSTER/ADDRESS as `weir status` shows it
    #[arg(long, value_name = "ENDPOINT")]
    endpoint: Option<String>,
    /// At every endpoint of a cluster
    #[arg(long, value_name = "NAME")]
    cluster: Option<String>,
    /// At every endpoint in a zone
    #[arg(long, value_name = "NAME")]
    zone: Option<String>,
    /// Before requests are sent anywhere: all of a listener, or those of its route N (from 1) or NAME
    #[arg(long, value_name = "LISTENER[/N]")]
    route: Option<String>,
}

/// Whom.
#[derive(Debug, Args)]
struct Strike {
    /// So many of a hundred, 0.01 to 100
    #[arg(long, value_name = "PERCENT", default_value = "100")]
    percent: String,
    /// Only requests with this header: NAME=VALUE, NAME, or !NAME for those without
    #[arg(long, value_name = "HEADER")]
    header: Option<String>,
}

/// How long, and how it is told.
#[derive(Debug, Args)]
struct Common {
    /// How long, at most 24h
    #[arg(long = "for", value_name = "DURATION", default_value = "60s", value_parser = words::duration)]
    lasts: Duration,
    /// How long to look on after its end, at most 10m
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = words::duration)]
    after: Duration,
    /// Do not wait for the report; the drill ends by itself, or by `weir drill end`
    #[arg(long)]
    detach: bool,
    #[command(flatten)]
    instance: Instance,
    /// Form of the report
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

impl Drill {
    pub(super) fn run(self) -> ExitCode {
        let mut parameters = Parameters::by_me();
        let outcome = match self.what {
            What::Zone { zone, common } => {
                parameters.add("kind", "zone");
                parameters.add("zone", zone);
                common.begin(parameters)
            }
            What::Unreachable { place, strike, common } => {
                parameters.add("kind", "unreachable");
                common.begin(strike.tell(place.tell(parameters)))
            }
            What::Latency { delay, place, strike, common } => {
                parameters.add("kind", "latency");
                parameters.add("delay", words::shown(delay));
                common.begin(strike.tell(place.tell(parameters)))
            }
            What::Abort { status, place, strike, common } => {
                parameters.add("kind", "abort");
                parameters.add("status", status.to_string());
                common.begin(strike.tell(place.tell(parameters)))
            }
            What::Reset { place, strike, common } => {
                parameters.add("kind", "reset");
                common.begin(strike.tell(place.tell(parameters)))
            }
            What::List { instance, format } => list(&instance, format),
            What::Show { id, instance, format } => show(id, &instance, format),
            What::End { id, instance, format } => end(id, &instance, format),
        };
        outcome.unwrap_or_else(|error| error.exit())
    }
}

impl Place {
    fn tell(self, mut parameters: Parameters) -> Parameters {
        parameters.add_if("endpoint", self.endpoint);
        parameters.add_if("cluster", self.cluster);
        parameters.add_if("zone", self.zone);
        parameters.add_if("route", self.route);
        parameters
    }
}

impl Strike {
    fn tell(self, mut parameters: Parameters) -> Parameters {
        parameters.add("percent", self.percent.trim_end_matches('%'));
        parameters.add_if("header", self.header);
        parameters
    }
}

impl Common {
    fn begin(self, mut parameters: Parameters) -> Result<ExitCode, ClientError> {
        parameters.add("for", words::shown(self.lasts));
        parameters.add("after", words::shown(self.after));
        let client = Client::new(&self.instance)?;
        // Before the drill, so that a signal cannot come between.
        let mut interrupts = client.interrupts()?;
        let begun = client.order("/api/v1/drills", &parameters)?;
        let told = |text: &Value| harmless(text.as_str().unwrap_or_default());
        for warning in begun["warnings"].as_array().into_iter().flatten() {
            eprintln!("weir: {}", told(warning));
        }
        if self.detach {
            return Ok(match self.format {
                Format::Json => emit(&format!("{:#}\n", begun["drill"])),
                Format::Text => emit(&format!("{}\n", told(&begun["text"]))),
            });
        }
        eprintln!("{}; Ctrl-C ends it early", told(&begun["text"]));
        let id = begun["drill"]["drill"].as_u64().unwrap_or_default();
        follow::to_the_end(&client, id, &mut interrupts, self.format)
    }
}

fn list(instance: &Instance, format: Format) -> Result<ExitCode, ClientError> {
    let client = Client::new(instance)?;
    Ok(match format {
        Format::Json => emit(&format!("{:#}\n", client.get::<Value>("/api/v1/drills")?)),
        Format::Text => {
            let drills: Drills = client.get("/api/v1/drills")?;
            emit(&harmless_but_colours(&report::list(&drills, Paint::for_stdout())))
        }
    })
}

fn show(id: u64, instance: &Instance, format: Format) -> Result<ExitCode, ClientError> {
    let client = Client::new(instance)?;
    report::print(&client.get(&format!("/api/v1/drills/{id}"))?, format)
}

fn end(id: u64, instance: &Instance, format: Format) -> Result<ExitCode, ClientError> {
    let client = Client::new(instance)?;
    let ended = client.order(&format!("/api/v1/drills/{id}:end"), &Parameters::by_me())?;
    Ok(match format {
        Format::Json => emit(&format!("{:#}\n", ended["drill"])),
        Format::Text => emit(&format!("{}\n", harmless(ended["text"].as_str().unwrap_or_default()))),
    })
}
