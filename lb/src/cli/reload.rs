//! `weir reload`: what the signal cannot do, an answer.

use std::process::ExitCode;

use clap::Args;
use http::StatusCode;
use serde_json::Value;

use super::client::{Client, ClientError};
use super::paint::{Paint, harmless};
use super::{Format, Instance, emit, failed};

/// `weir reload`.
#[derive(Debug, Args)]
pub(super) struct Reload {
    #[command(flatten)]
    instance: Instance,
    /// Form of the verdict
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

impl Reload {
    pub(super) fn run(self) -> ExitCode {
        match self.ask() {
            Ok((verdict, taken)) => {
                let printed = match self.format {
                    Format::Json => emit(&format!("{verdict:#}\n")),
                    Format::Text => self.tell(&verdict, taken),
                };
                if taken { printed } else { ExitCode::FAILURE }
            }
            Err(error) => failed(&error.to_string()),
        }
    }

    /// The verdict, and whether the configuration was taken.
    fn ask(&self) -> Result<(Value, bool), ClientError> {
        let client = Client::new(&self.instance)?;
        let reply = client.post("/api/v1/config:reload")?;
        match reply.status {
            StatusCode::OK => {
                let verdict: Value = client.read(&reply)?;
                // Whatever else answers there, nothing was loaded.
                match verdict["result"].as_str() {
                    Some("applied" | "unchanged") => Ok((verdict, true)),
                    _ => Err(client.strange("there is no verdict in it")),
                }
            }
            StatusCode::UNPROCESSABLE_ENTITY => Ok((client.read(&reply)?, false)),
            _ => Err(client.refused(&reply)),
        }
    }

    fn tell(&self, verdict: &Value, taken: bool) -> ExitCode {
        let text = |name: &str| harmless(verdict[name].as_str().unwrap_or_default().trim_end());
        let generation = &verdict["generation"];
        if !taken {
            eprintln!("{}\n{}", text("text"), Paint::for_stderr().bold("refused: the configuration in force stays"));
            return ExitCode::FAILURE;
        }
        let warnings = text("warnings_text");
        if !warnings.is_empty() {
            eprintln!("{warnings}");
        }
        match verdict["result"].as_str() {
            Some("unchanged") => emit(&format!("nothing changed: generation {generation} stays in force\n")),
            _ => emit(&format!("{}\napplied as generation {generation}\n", text("text"))),
        }
    }
}
