//! `weir diff`: what a reload would change, and who moves.

mod live;
mod preview;
mod users;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use serde::Deserialize;
use weir_config::Config;

use super::check::style_of;
use super::client::{Client, Credentials};
use super::paint::{Paint, harmless_but_colours};
use super::{Format, emit, usage};
use crate::control::source::Source;
pub(super) use preview::{Look, LookError, Preview};

/// `weir diff`.
#[derive(Debug, Args)]
pub(super) struct Diff {
    /// The configuration as it is, and as it would be; with --admin, OLD may be left out: then it is
    /// the one in force there
    #[arg(value_names = ["OLD", "NEW"], num_args = 1..=2, required = true)]
    files: Vec<PathBuf>,
    /// Admin address of a running instance: tells how many requests a release's moves concern, and
    /// whether the clusters they go to are well
    #[arg(long, value_name = "ADDR")]
    admin: Option<String>,
    #[command(flatten)]
    credentials: Credentials,
    /// A file of user ids, one a line: tells which of them move
    #[arg(long, value_name = "FILE")]
    users: Option<PathBuf>,
    /// Form of the difference; JSON names every user that moves, text the first 20 of each move
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// What of `/api/v1/config` is looked at.
#[derive(Debug, Deserialize)]
pub(super) struct InForce {
    /// The file, on the host of the instance.
    pub(super) path: PathBuf,
    /// The first generation with it.
    pub(super) generation: u64,
    /// What was read from it.
    pub(super) text: String,
}

impl Diff {
    pub(super) fn run(self) -> ExitCode {
        let told = || std::env::var("WEIR_ADMIN_ADDR").ok().filter(|admin| !admin.is_empty());
        let (old, new, admin) = match (&self.files[..], self.admin.clone()) {
            ([old, new], admin) => (Some(old), new, admin),
            ([new], admin) => match admin.or_else(told) {
                Some(admin) => (None, new, Some(admin)),
                None => return usage("with what? Name a second file, or a running instance with --admin"),
            },
            _ => return usage("name OLD and NEW"),
        };
        match self.preview(old.map(PathBuf::as_path), new, admin.as_deref()) {
            Ok(preview) => match self.format {
                Format::Json => emit(&format!("{:#}\n", preview.to_json())),
                Format::Text => emit(&harmless_but_colours(&preview.render(Paint::for_stdout()))),
            },
            Err(said) => {
                eprint!("{}", harmless_but_colours(&said));
                ExitCode::FAILURE
            }
        }
    }

    fn preview(&self, old: Option<&Path>, new: &Path, admin: Option<&str>) -> Result<Preview, String> {
        let client =
            admin.map(|admin| Client::at(admin, &self.credentials)).transpose().map_err(|error| said(&error))?;
        // Both, so that what is wrong with either is told at once.
        let old = match (old, &client) {
            (Some(old), _) => read(old),
            (None, Some(client)) => in_force(client),
            (None, None) => Err(said(&"there is nothing to compare with")),
        };
        let (old, new) = match (old, read(new)) {
            (Ok(old), Ok(new)) => (old, new),
            (old, new) => return Err([old.err(), new.err()].into_iter().flatten().collect()),
        };
        let all_ids = self.format == Format::Json;
        let look = Look { users: self.users.as_deref(), client: client.as_ref(), all_ids, sample: true };
        Preview::new(&old, &new, &look).map_err(|error| said(&error))
    }
}

/// A configuration, or what is wrong with it, ready to print.
pub(super) fn read(path: &Path) -> Result<Config, String> {
    let source = Source::new(path);
    let text = source.read().map_err(|error| said(&error))?;
    understand(&source, &text)
}

/// The configuration in force in a running instance.
fn in_force(client: &Client) -> Result<Config, String> {
    let found: InForce = client.get("/api/v1/config").map_err(|error| said(&error))?;
    understand(&Source::new(&found.path), &found.text)
}

fn understand(source: &Source, text: &str) -> Result<Config, String> {
    let parsed = source.understand(text).map_err(|mistakes| mistakes.render(style_of(Paint::for_stderr())))?;
    Ok(parsed.config)
}

fn said(error: &impl ToString) -> String {
    format!("weir: {}\n", error.to_string())
}
