//! What a person types. Verbs, their help, their exit codes; nothing else.
//!
//! Exit codes: 0 it is done, 1 what was checked is bad or cannot be had, 2 the command line is
//! wrong, 3 stopped, but requests had to be cut. Text for people on a terminal, JSON on demand.

mod check;
mod client;
mod diff;
mod doctor;
mod drain;
mod drill;
mod events;
mod explain;
mod explain_error;
mod health;
mod paint;
mod profile;
mod reference;
mod release;
mod reload;
mod status;
mod table;
mod upgrade;

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::LazyLock;

use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use weir_config::model::Address;

use crate::observe::log;
use crate::server::{self, RunOptions};
use client::Credentials;
use paint::Paint;

pub use reference::reference;

/// The whole command line.
#[derive(Debug, Parser)]
#[command(
    name = "weir",
    version = VERSION.as_str(),
    about = "A high-availability, health-checking load balancer: one binary, one YAML file.",
    max_term_width = 100,
    after_help = "Start here:\n  weir demo                  replicas, load and a balancer, to look at and to break\n  weir check weir.yaml       is this configuration right?\n  weir run weir.yaml         the balancer"
)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

/// The verbs.
#[derive(Debug, Subcommand)]
enum Verb {
    /// Run the balancer
    ///
    /// Stays in the foreground. SIGHUP reads the configuration again (so does a change of the
    /// file), SIGTERM and SIGINT finish what is under way and stop, a second one stops at once,
    /// SIGUSR1 opens log files again, SIGUSR2 lets a new process take over.
    #[command(after_help = "Example:\n  weir run weir.yaml\n  weir run --log debug --admin 127.0.0.1:9901 weir.yaml")]
    Run(Run),
    /// Say whether a configuration is right, and everything that is wrong with it
    #[command(
        after_help = "Example:\n  weir check weir.yaml\n  weir check --format json weir.yaml | jq '.mistakes[].message'"
    )]
    Check(check::Check),
    /// Say in words what a reload would change, and which users of a release move
    ///
    /// Without OLD, NEW is held against what is in force in a running instance.
    #[command(
        after_help = "Example:\n  weir diff weir.yaml weir.yaml.new\n  weir diff --users ids.txt weir.yaml weir.yaml.new\n  weir diff --admin 127.0.0.1:9900 weir.yaml.new"
    )]
    Diff(diff::Diff),
    /// Change which version of a release users get, and see how versions do
    ///
    /// The file stays the one truth: `set` writes weights into it. Rollouts are paused, resumed and
    /// given up in the running instance.
    #[command(
        after_help = "Example:\n  weir release status orders\n  weir release set orders orders-v2=10\n  weir release set orders orders-v2=0          # back to stable, now\n  weir release abort orders"
    )]
    Release(release::Release),
    /// Print the JSON Schema of the configuration, for editors
    #[command(
        after_help = "Example:\n  weir schema > weir.schema.json\n  # first line of weir.yaml:\n  # yaml-language-server: $schema=weir.schema.json"
    )]
    Schema,
    /// Tell the way of one request, and why: listener, route, release, cluster, endpoint
    ///
    /// Of a file (CONFIG METHOD URL), of a running instance (METHOD URL), or of a request that was
    /// served (the ID in its answer's X-Weir-Decision). Nothing is sent, and nothing changed.
    #[command(
        after_help = "Example:\n  weir explain weir.yaml GET http://shop.example/orders --user 42\n  weir explain GET http://shop.example/orders -H 'x-user-id: 42' --at-weight orders-v2=20\n  weir explain 0c9fb1d44dc9ad1e6d4e1e5a7fd0c2ab"
    )]
    Explain(explain::Explain),
    /// Find what is wrong on this host and on the way to endpoints, and how to mend it
    ///
    /// Ports and who has them, DNS server by server, each endpoint step by step, sockets, limits,
    /// clock, certificates. Changes nothing. Exit code: 0 well (or warnings only), 1 something is bad.
    #[command(
        after_help = "Example:\n  weir doctor weir.yaml            # from here, with or without a running instance\n  weir doctor                      # a running instance looks at itself\n  weir doctor --format json weir.yaml | jq '.findings[].cause'"
    )]
    Doctor(doctor::Doctor),
    /// Explain a reason: what it means, whose fault it is, where to look, which setting
    ///
    /// Reasons stand in X-Weir-Reason, the access log, and metrics. Without one: the list.
    #[command(after_help = "Example:\n  weir explain-error connect_refused\n  weir explain-error")]
    ExplainError(explain_error::ExplainError),
    /// Show listeners, clusters and the health of every endpoint of a running instance
    #[command(after_help = "Example:\n  weir status\n  weir status --cluster orders --format json")]
    Status(status::Show),
    /// Say whether a running instance is alive, or ready: exit code 0 or 1, and one line
    #[command(
        after_help = "Example:\n  weir health\n  weir health --ready --admin unix:/run/weir/admin.sock --timeout 1s"
    )]
    Health(health::Health),
    /// Show what happened in a running instance, and why
    #[command(after_help = "Example:\n  weir events\n  weir events --follow --format json")]
    Events(events::Show),
    /// Make a running instance read its configuration again, and wait for the verdict
    #[command(after_help = "Example:\n  weir reload && echo taken")]
    Reload(reload::Reload),
    /// Let a new process take over: the program as it is on disk now, with the same arguments
    ///
    /// Listening sockets, health, ejections, drains and rollouts go to it; requests under way are finished by
    /// the old one. If the new one does not come to serve, the old one goes on.
    #[command(after_help = "Example:\n  install -m 755 weir.new /usr/bin/weir && weir upgrade")]
    Upgrade(upgrade::Upgrade),
    /// Give an endpoint, or a whole zone, no new work; without arguments: show what is drained
    ///
    /// Work under way is finished. A drain is kept over reloads, not over restarts.
    #[command(after_help = "Example:\n  weir drain app/10.0.1.11:8080 --for 10m\n  weir drain zone az-b\n  weir drain")]
    Drain(drain::Drain),
    /// End a drain
    #[command(after_help = "Example:\n  weir undrain app/10.0.1.11:8080\n  weir undrain zone az-b")]
    Undrain(drain::Undrain),
    /// Show where the CPU time of a running instance goes, as a flame graph or for `go tool pprof`
    #[command(
        after_help = "Example:\n  weir profile --seconds 10 > cpu.svg\n  weir profile --format pprof --output cpu.pb.gz"
    )]
    Profile(profile::Take),
    /// Rehearse: make something fail on purpose, for a time, and see what clients notice
    ///
    /// Follows the drill and prints its report: requests, errors and latency before, during and
    /// after. Whatever ends this command ends the drill, and every drill ends by itself.
    #[command(
        after_help = "Example:\n  weir drill zone az-b --for 60s\n  weir drill latency --cluster app --delay 200ms --percent 50\n  weir drill abort --status 503 --route web/1\n  weir drill list"
    )]
    Drill(drill::Drill),
    /// See it work: embedded replicas in three zones, a steady load, and a balancer between them
    #[command(after_help = "Example:\n  weir demo\n  weir demo --listen 127.0.0.1:8888")]
    Demo(Demo),
    /// Print completions for a shell
    #[command(after_help = "Example:\n  weir completions bash > /etc/bash_completion.d/weir")]
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// Print the manual, in roff
    #[command(after_help = "Example:\n  weir man | man -l -\n  weir man status | man -l -")]
    Man {
        /// The verb it is about; without, the whole
        verb: Option<String>,
    },
    /// Print which build this is
    #[command(after_help = "Example:\n  weir version")]
    Version,
}

#[derive(Debug, Args)]
struct Run {
    /// The configuration file
    #[arg(env = "WEIR_CONFIG")]
    config: PathBuf,
    /// Where the admin API listens, over what the file says: IP:PORT or unix:PATH
    #[arg(long, value_name = "ADDR", env = "WEIR_ADMIN_ADDR")]
    admin: Option<Address>,
    /// Where rollouts of releases are kept over restarts; made if it is missing
    #[arg(long, value_name = "DIR", env = "WEIR_STATE_DIR")]
    state_dir: Option<PathBuf>,
    #[command(flatten)]
    log: Log,
}

#[derive(Debug, Args)]
struct Demo {
    /// Where traffic comes in; another port if it is taken
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Where the admin API listens; another port if it is taken
    #[arg(long, value_name = "ADDR", default_value = client::DEFAULT_ADMIN, env = "WEIR_ADMIN_ADDR")]
    admin: SocketAddr,
    #[command(flatten)]
    log: Log,
}

#[derive(Debug, Args)]
struct Log {
    /// What is logged: a level, or levels by module as in "info,weir::control=debug" [default: info]
    #[arg(long = "log", value_name = "FILTER", env = "WEIR_LOG")]
    filter: Option<String>,
    /// Form of the log on standard error; text on a terminal, else JSON
    #[arg(long = "log-format", value_name = "FORMAT", env = "WEIR_LOG_FORMAT")]
    format: Option<log::Format>,
}

/// Form of what is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people
    #[default]
    Text,
    /// For programs
    Json,
}

/// Where a running instance is asked.
#[derive(Debug, Args)]
struct Instance {
    /// Admin address of the running instance: HOST:PORT, http://…, https://… or unix:PATH
    #[arg(long, value_name = "ADDR", default_value = client::DEFAULT_ADMIN, env = "WEIR_ADMIN_ADDR")]
    admin: String,
    #[command(flatten)]
    credentials: Credentials,
}

/// The program.
#[must_use]
pub fn main() -> ExitCode {
    match Cli::parse().verb {
        Verb::Run(run) => run.run(),
        Verb::Check(check) => check.run(),
        Verb::Diff(diff) => diff.run(),
        Verb::Release(release) => release.run(),
        Verb::Schema => emit(&format!("{:#}\n", weir_config::schema())),
        Verb::Explain(explain) => explain.run(),
        Verb::Doctor(doctor) => doctor.run(),
        Verb::ExplainError(explain) => explain.run(),
        Verb::Status(show) => show.run(),
        Verb::Health(health) => health.run(),
        Verb::Events(show) => show.run(),
        Verb::Reload(reload) => reload.run(),
        Verb::Upgrade(upgrade) => upgrade.run(),
        Verb::Drain(drain) => drain.run(),
        Verb::Undrain(undrain) => undrain.run(),
        Verb::Profile(take) => take.run(),
        Verb::Drill(drill) => drill.run(),
        Verb::Demo(demo) => demo.run(),
        Verb::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "weir", &mut script);
            emit_bytes(&script)
        }
        Verb::Man { verb } => manual(verb.as_deref()),
        Verb::Version => emit(&format!("weir {}\n", *VERSION)),
    }
}

impl Run {
    fn run(self) -> ExitCode {
        match self.log.start() {
            Ok(_log) => {
                let Self { config: config_path, admin, state_dir, .. } = self;
                server::run(&RunOptions { config_path, admin, state_dir })
            }
            Err(wrong) => usage(&wrong),
        }
    }
}

impl Demo {
    fn run(self) -> ExitCode {
        let Self { listen, admin, log } = self;
        // The demo tells its own story; what the balancer logs beside it is for those who ask.
        let log = Log { filter: log.filter.or_else(|| Some("warn".into())), ..log };
        let _log = match log.start() {
            Ok(running) => running,
            Err(wrong) => return usage(&wrong),
        };
        let serve = |config: &std::path::Path| {
            server::run(&RunOptions { config_path: config.to_owned(), admin: None, state_dir: None })
        };
        match crate::demo::run(crate::demo::Options { listen, admin }, serve) {
            Ok(code) => code,
            Err(error) => failed(&error.to_string()),
        }
    }
}

impl Log {
    fn start(&self) -> Result<log::Running, String> {
        let fallback = || std::env::var("RUST_LOG").ok().filter(|filter| !filter.is_empty());
        let filter = self.filter.clone().or_else(fallback).unwrap_or_else(|| "info".into());
        log::start(&filter, self.format.unwrap_or_else(log::Format::for_stderr), Paint::for_stderr().is_on())
    }
}

fn manual(verb: Option<&str>) -> ExitCode {
    let mut whole = Cli::command();
    whole.build();
    let command = match verb {
        None => whole,
        Some(verb) => match whole.find_subcommand(verb) {
            Some(command) => command.clone(),
            None => return usage(&format!("there is no verb {verb:?}; `weir --help` lists them")),
        },
    };
    let mut page = Vec::new();
    match clap_mangen::Man::new(command).render(&mut page) {
        Ok(()) => emit_bytes(&page),
        Err(error) => failed(&error.to_string()),
    }
}

/// The version and, where the build was told, the revision.
static VERSION: LazyLock<String> = LazyLock::new(|| {
    let version = env!("CARGO_PKG_VERSION");
    option_env!("WEIR_REVISION").map_or_else(|| version.to_owned(), |revision| format!("{version} ({revision})"))
});

/// Prints to standard output.
fn emit(text: &str) -> ExitCode {
    emit_bytes(text.as_bytes())
}

fn emit_bytes(bytes: &[u8]) -> ExitCode {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Ok(()) => ExitCode::SUCCESS,
        // `weir status | head` is no failure.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => failed(&format!("cannot write: {error}")),
    }
}

/// Says what went wrong; an instance, or a file, may have a part in the words.
fn failed(message: &str) -> ExitCode {
    eprintln!("weir: {}", paint::harmless(message));
    ExitCode::FAILURE
}

/// Says what is wrong with the command line.
fn usage(message: &str) -> ExitCode {
    eprintln!("weir: {}", paint::harmless(message));
    ExitCode::from(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_verb_has_help_with_an_example() {
        for verb in Cli::command().get_subcommands() {
            assert!(verb.get_about().is_some(), "{}", verb.get_name());
            let example = verb.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(example.contains(&format!("weir {}", verb.get_name())), "{}", verb.get_name());
            for under in verb.get_subcommands() {
                let example = under.get_after_help().map(ToString::to_string).unwrap_or_default();
                let line = format!("weir {} {}", verb.get_name(), under.get_name());
                assert!(example.contains(&line), "{line}");
            }
        }
    }
}
