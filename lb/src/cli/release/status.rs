//! `weir release status`: versions side by side.

use std::process::ExitCode;

use clap::Args;
use serde_json::Value;

use crate::cli::client::{Client, ClientError};
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

impl Show {
    pub(super) fn run(self) -> ExitCode {
        match self.show() {
            Ok(code) => code,
            Err(error) => failed(&error.to_string()),
        }
    }

    fn show(&self) -> Result<ExitCode, ClientError> {
        let client = Client::new(&self.instance.admin)?;
        let value: Value = client.get("/api/v1/releases")?;
        Ok(emit(&format!("{value:#}\n")))
    }
}
