//! `weir upgrade`: what SIGUSR2 does, with an answer.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use http::StatusCode;
use serde_json::Value;

use super::client::{Client, ClientError};
use super::{Format, Instance, emit};

/// An upgrade ends before this, one way or the other: a new process, which may look up names and probe
/// endpoints before it serves, has less.
const PATIENCE: Duration = Duration::from_secs(120);

/// `weir upgrade`.
#[derive(Debug, Args)]
pub(super) struct Upgrade {
    #[command(flatten)]
    instance: Instance,
    /// Form of the answer
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

impl Upgrade {
    pub(super) fn run(self) -> ExitCode {
        match self.ask() {
            Ok(answer) => emit(&match self.format {
                Format::Json => format!("{answer:#}\n"),
                Format::Text => format!(
                    "process {} serves from now on; {} finishes what it has\n",
                    answer["process"], answer["before"]
                ),
            }),
            Err(error) => error.exit(),
        }
    }

    fn ask(&self) -> Result<Value, ClientError> {
        let client = Client::new(&self.instance)?.within(PATIENCE);
        let reply = client.post("/api/v1/upgrade")?;
        match reply.status {
            StatusCode::OK => match client.read::<Value>(&reply)? {
                answer if answer["process"].is_u64() => Ok(answer),
                _ => Err(client.strange("it names no process")),
            },
            _ => Err(client.refused(&reply)),
        }
    }
}
