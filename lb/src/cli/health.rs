//! `weir health`: is an instance alive, is it ready; for whoever only looks at the exit code.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use http::StatusCode;
use weir_config::words;

use super::client::{Client, ClientError};
use super::paint::harmless;
use super::{Instance, emit, failed};

#[derive(Debug, Args)]
pub(super) struct Health {
    /// Whether it is ready for traffic, not only alive: 1 while it starts and while it drains
    #[arg(long)]
    ready: bool,
    /// How long an answer may take
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = words::duration)]
    timeout: Duration,
    #[command(flatten)]
    instance: Instance,
}

impl Health {
    pub(super) fn run(self) -> ExitCode {
        match self.ask() {
            Ok(Ok(word)) => emit(&format!("{word}\n")),
            Ok(Err(word)) => failed(&word),
            Err(error) => error.exit(),
        }
    }

    /// What the instance says of itself: that all is well, or that it is not.
    fn ask(&self) -> Result<Result<String, String>, ClientError> {
        let client = Client::new(&self.instance)?.within(self.timeout);
        let reply = client.look(if self.ready { "/readyz" } else { "/livez" })?;
        let said = String::from_utf8_lossy(&reply.body);
        let word = harmless(said.lines().next().unwrap_or_default());
        match (reply.status, self.ready) {
            (StatusCode::OK, ready) if word == if ready { "ready" } else { "alive" } => Ok(Ok(word)),
            // Somebody else, who is well: not the instance that is asked for.
            (StatusCode::OK, _) => Err(client.strange("it says something else")),
            (StatusCode::SERVICE_UNAVAILABLE, true) => Ok(Err(format!("not ready: {word}"))),
            _ => Err(client.refused(&reply)),
        }
    }
}
