//! `weir release`: who gets which version, changed and looked at.

mod file;
mod set;
mod status;

use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::client::{Client, Parameters};
use super::paint::harmless;
use super::{Format, Instance, emit};

/// `weir release`.
#[derive(Debug, Args)]
pub(super) struct Release {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Change weights in the configuration file, and wait until they are in force
    ///
    /// Changes nothing of the file but the weights: comments, order and quotes stay. What is
    /// written is checked first; a file with mistakes is not written. Says who moves.
    #[command(
        after_help = "Example:\n  weir release set orders orders-v2=10\n  weir release set orders orders-v2=0          # back to stable, now\n  weir release set orders orders-v2=0 orders-v3=10 --dry-run\n  weir release set orders orders-v2=10 --config weir.yaml --users ids.txt"
    )]
    Set(set::Set),
    /// Show versions side by side: weights, requests, errors, latency, verdicts, rollouts
    #[command(after_help = "Example:\n  weir release status\n  weir release status orders --format json")]
    Status(status::Show),
    /// Keep a canary's rollout at its present step
    #[command(after_help = "Example:\n  weir release pause orders\n  weir release pause orders --canary orders-v2")]
    Pause(Order),
    /// Let a rollout go on; one that failed or was given up begins again at its first step
    #[command(after_help = "Example:\n  weir release resume orders")]
    Resume(Order),
    /// Give a canary up: all of its users are stable's again, at once
    #[command(after_help = "Example:\n  weir release abort orders --canary orders-v2")]
    Abort(Order),
}

/// An order about a rollout.
#[derive(Debug, Args)]
struct Order {
    /// The release
    release: String,
    /// The canary, by its cluster; needed where there are several
    #[arg(long, value_name = "CLUSTER")]
    canary: Option<String>,
    #[command(flatten)]
    instance: Instance,
    /// Form of the answer
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

impl Release {
    pub(super) fn run(self) -> ExitCode {
        match self.what {
            What::Set(set) => set.run(),
            What::Status(show) => show.run(),
            What::Pause(order) => order.give("pause"),
            What::Resume(order) => order.give("resume"),
            What::Abort(order) => order.give("abort"),
        }
    }
}

impl Order {
    fn give(&self, verb: &str) -> ExitCode {
        let mut parameters = Parameters::by_me();
        parameters.add_if("canary", self.canary.as_ref());
        let path = format!("/api/v1/releases/{}:{verb}", escaped(&self.release));
        let answer = Client::new(&self.instance).and_then(|client| client.order(&path, &parameters));
        match (answer, self.format) {
            (Ok(answer), Format::Json) => emit(&format!("{answer:#}\n")),
            (Ok(answer), Format::Text) => emit(&format!("{}\n", harmless(answer["text"].as_str().unwrap_or("done")))),
            (Err(error), _) => error.exit(),
        }
    }
}

/// A name as a part of a path.
fn escaped(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    name.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}
