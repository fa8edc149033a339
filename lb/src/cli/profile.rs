//! `weir profile`: where the CPU time of a running instance goes.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, ValueEnum};
use http::StatusCode;

use super::client::{Client, ClientError};
use super::{Instance, emit_bytes, failed, usage};

/// For the answer, beside the time that is looked: names have to be found.
const GRACE: Duration = Duration::from_secs(60);

#[derive(Debug, Args)]
pub(super) struct Take {
    /// How long it is looked, in seconds, at most 60
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=60))]
    seconds: u64,
    /// How often it is looked, each second of CPU time
    #[arg(long, value_name = "HZ", default_value_t = 99, value_parser = clap::value_parser!(u64).range(1..=999))]
    frequency: u64,
    /// Form of the profile
    #[arg(long, value_enum, default_value_t)]
    format: Form,
    /// Where it is written; without, standard output
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    instance: Instance,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Form {
    /// A flame graph, for a browser
    #[default]
    Svg,
    /// For `go tool pprof` and its kin
    Pprof,
    /// Stacks on lines
    Text,
}

impl Take {
    pub(super) fn run(self) -> ExitCode {
        if self.output.is_none() && self.format != Form::Text && std::io::stdout().is_terminal() {
            return usage("this is no text for a terminal: name a file with --output, or write `> cpu.svg`");
        }
        match self.ask() {
            Ok(bytes) => self.write(&bytes),
            Err(error) => error.exit(),
        }
    }

    fn ask(&self) -> Result<Vec<u8>, ClientError> {
        let Self { seconds, frequency, .. } = self;
        let client = Client::new(&self.instance)?.within(Duration::from_secs(*seconds) + GRACE);
        let format = match self.format {
            Form::Svg => "svg",
            Form::Pprof => "pprof",
            Form::Text => "text",
        };
        let path = format!("/debug/pprof/profile?seconds={seconds}&frequency={frequency}&format={format}");
        let reply = client.look(&path)?;
        if reply.status == StatusCode::OK { Ok(reply.body.to_vec()) } else { Err(client.refused(&reply)) }
    }

    fn write(&self, bytes: &[u8]) -> ExitCode {
        let Some(path) = &self.output else { return emit_bytes(bytes) };
        match std::fs::write(path, bytes) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => failed(&format!("cannot write {}: {error}", path.display())),
        }
    }
}
