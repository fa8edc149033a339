//! `weir release set`: weights changed in the file, looked at first, and followed until they are in
//! force.
//!
//! Going down is always allowed, at once and without a question: at night it is the way out. It
//! only says how many users leave. What needs a word more is to send a canary's users to another
//! canary, for they come into a version nobody chose for them.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use http::StatusCode;
use serde_json::{Value, json};
use weir_config::Mistakes;
use weir_config::edit::{Sort, unified};
use weir_config::model::{Canary, Share};

use super::file::{self, WriteError};
use crate::cli::check::style_of;
use crate::cli::client::{Client, ClientError, Credentials, DEFAULT_ADMIN};
use crate::cli::diff::{InForce, Look, LookError, Preview};
use crate::cli::paint::{Paint, harmless, harmless_but_colours};
use crate::cli::{Format, emit};
use crate::control::source::{Source, SourceError};

/// How often it is looked whether the change is in force, where no verdict can be asked for.
const LOOKS: u32 = 50;
const BETWEEN_LOOKS: Duration = Duration::from_millis(200);

/// `weir release set`.
#[derive(Debug, Args)]
pub(super) struct Set {
    /// The release
    release: String,
    /// What canaries get: a cluster and its share of the users in per cent, two decimals at most
    #[arg(value_name = "CLUSTER=WEIGHT", required = true, value_parser = Wish::parse)]
    wishes: Vec<Wish>,
    /// The configuration file; without it, the file of the running instance
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Admin address of the running instance, which is followed until the change is in force there
    /// [default: WEIR_ADMIN_ADDR or 127.0.0.1:9900; none with --config]
    #[arg(long, value_name = "ADDR")]
    admin: Option<String>,
    #[command(flatten)]
    credentials: Credentials,
    /// Show the change and who moves; write nothing
    #[arg(long)]
    dry_run: bool,
    /// A file of user ids, one a line: tells which of them move
    #[arg(long, value_name = "FILE")]
    users: Option<PathBuf>,
    /// Even if users of a canary come into another canary; back to stable needs no leave
    #[arg(long)]
    allow_move_out: bool,
    /// Form of the answer
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// What one canary shall get.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Wish {
    cluster: String,
    weight: Share,
}

impl Wish {
    fn parse(text: &str) -> Result<Self, String> {
        let Some((cluster, weight)) = text.split_once('=') else {
            return Err("write CLUSTER=WEIGHT, as in orders-v2=10".into());
        };
        let number: Option<f64> = weight.strip_suffix('%').unwrap_or(weight).trim().parse().ok();
        match number.and_then(Share::of_percent) {
            Some(weight) => Ok(Self { cluster: cluster.trim().to_owned(), weight }),
            None => Err(format!("{weight:?} is no weight; it is 0 to 100 per cent, with two decimals at most")),
        }
    }
}

/// Why nothing came of it.
#[derive(Debug, thiserror::Error)]
enum SetError {
    #[error(transparent)]
    Instance(#[from] ClientError),
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error(transparent)]
    Look(#[from] LookError),
    #[error(transparent)]
    Write(#[from] WriteError),
    #[error("{0}")]
    Mistakes(Box<Mistakes>),
    #[error(
        "the instance at {admin} reads {path}, which is not on this host: run this there, or name a file with --config"
    )]
    Elsewhere { admin: String, path: String },
    #[error(
        "{path} is not what is in force at {admin}: it was changed and refused, or is another file of that name; \
         `weir diff --admin {admin} {path}` says what differs, and --config {path} edits it all the same"
    )]
    NotInForce { admin: String, path: String },
}

/// What became of it.
struct Done {
    /// `written`, `unchanged`, `dry_run`, or `refused` for want of --allow-move-out.
    result: &'static str,
    path: String,
    patch: String,
    preview: Preview,
    /// A weight is but the ceiling of a rollout.
    by_steps: bool,
    followed: Option<Followed>,
}

/// How the running instance took it.
enum Followed {
    InForce(u64),
    /// What it says, in words.
    Rejected(String),
    /// Of another file than this.
    OtherFile(String),
    Silent(String),
}

impl Set {
    pub(super) fn run(self) -> ExitCode {
        match self.set() {
            Ok(done) => {
                let good = done.result != "refused" && matches!(done.followed, None | Some(Followed::InForce(_)));
                let printed = match self.format {
                    Format::Json => emit(&format!("{:#}\n", done.to_json())),
                    Format::Text => done.tell(),
                };
                if good { printed } else { ExitCode::FAILURE }
            }
            Err(error) => {
                self.refuse(&error);
                ExitCode::FAILURE
            }
        }
    }

    fn refuse(&self, error: &SetError) {
        if self.format == Format::Json {
            let mut value = json!({ "result": "refused", "detail": harmless(&error.to_string()) });
            if let SetError::Mistakes(mistakes) = error {
                value["detail"] = mistakes.iter().next().map(ToString::to_string).into();
                value["mistakes"] = mistakes.to_json()["mistakes"].take();
            }
            // Whoever cannot be written to has nothing to read either.
            let _ = emit(&format!("{value:#}\n"));
            return;
        }
        match error {
            SetError::Mistakes(mistakes) => {
                eprint!("{}", mistakes.render(style_of(Paint::for_stderr())));
                if mistakes.iter().any(|mistake| mistake.code == "unset_variable") {
                    eprintln!("weir: variables are those of this shell, not of the instance; set them here too");
                }
            }
            error => eprintln!("weir: {}", harmless(&error.to_string())),
        }
        if matches!(error, SetError::Instance(ClientError::Connect { .. })) && self.config.is_none() {
            eprintln!("weir: without an instance, name the file with --config");
        }
        eprintln!("{}", Paint::for_stderr().bold("nothing was written"));
    }

    fn set(&self) -> Result<Done, SetError> {
        let (client, source, text) = self.file()?;
        let understand = |text: &str| source.understand(text).map_err(|mistakes| SetError::Mistakes(mistakes.into()));
        let old = understand(&text)?.config;
        let new_text = self.edit(&source, &text)?;
        let new = understand(&new_text)?.config;
        let look = Look { users: self.users.as_deref(), client: client.as_ref(), all_ids: false, sample: self.dry_run };
        let preview = Preview::new(&old, &new, &look)?;
        let release = new.releases.iter().find(|release| release.name.as_str() == self.release);
        let stable = release.map(|found| &found.stable);
        let by_steps = release.is_some_and(|found| found.canaries.iter().any(|canary| self.rises_by_steps(canary)));
        let elsewhere = preview.moves().any(|its| its.expels && stable.is_some_and(|stable| its.to != *stable));
        let paint = Paint::for_stdout();
        let patch = unified(&source.shown(), &text, &new_text, &|sort, line| match sort {
            Sort::Place => paint.dim(line),
            Sort::Same => line.to_owned(),
            Sort::Gone => paint.state("unhealthy", line),
            Sort::New => paint.state("healthy", line),
        });
        let done = |result, followed| Done { result, path: source.shown(), patch, preview, by_steps, followed };
        if elsewhere && !self.allow_move_out {
            return Ok(done("refused", None));
        }
        if self.dry_run {
            return Ok(done("dry_run", None));
        }
        let result = if new_text == *text { "unchanged" } else { "written" };
        if result == "written" {
            file::exchange(source.path(), &text, &new_text)?;
        }
        let followed = client.map(|client| follow(&client, &source, &new_text));
        Ok(done(result, followed))
    }

    /// The instance that is followed, the file, and its text.
    fn file(&self) -> Result<(Option<Client>, Source, Arc<str>), SetError> {
        if let Some(path) = &self.config {
            let client = self.admin.as_deref().map(|admin| Client::at(admin, &self.credentials)).transpose()?;
            let source = Source::new(path);
            let text = source.read()?;
            return Ok((client, source, text));
        }
        let admin = self.admin.clone().unwrap_or_else(default_admin);
        let client = Client::at(&admin, &self.credentials)?;
        let in_force: InForce = client.get("/api/v1/config")?;
        let source = Source::new(&in_force.path);
        let path = in_force.path.display().to_string();
        match source.read() {
            Ok(text) if *text == *in_force.text => Ok((Some(client), source, text)),
            Ok(_) => Err(SetError::NotInForce { admin, path }),
            Err(SourceError::Missing(_)) => Err(SetError::Elsewhere { admin, path }),
            Err(error) => Err(error.into()),
        }
    }

    fn rises_by_steps(&self, canary: &Canary) -> bool {
        let wished = self.wishes.iter().any(|wish| wish.is_for(canary) && wish.weight > Share::NONE);
        wished && canary.rollout.is_some()
    }

    fn edit(&self, source: &Source, text: &str) -> Result<String, SetError> {
        let changes: Vec<(&str, Share)> = self.wishes.iter().map(|wish| (&*wish.cluster, wish.weight)).collect();
        source.set_weights(text, &self.release, &changes).map_err(|mistakes| SetError::Mistakes(mistakes.into()))
    }
}

impl Wish {
    fn is_for(&self, canary: &Canary) -> bool {
        self.cluster == canary.cluster.as_str()
    }
}

fn default_admin() -> String {
    let told = std::env::var("WEIR_ADMIN_ADDR").ok().filter(|admin| !admin.is_empty());
    told.unwrap_or_else(|| DEFAULT_ADMIN.to_owned())
}

/// Makes the instance read its file now, and waits for its verdict.
fn follow(client: &Client, source: &Source, text: &str) -> Followed {
    let asked = || -> Result<Followed, ClientError> {
        let reply = client.post("/api/v1/config:reload")?;
        let looks = match reply.status {
            StatusCode::OK => 1,
            // It takes orders over loopback only; but it watches its file.
            StatusCode::FORBIDDEN => LOOKS,
            StatusCode::UNPROCESSABLE_ENTITY => {
                let verdict: Value = client.read(&reply)?;
                return Ok(Followed::Rejected(verdict["text"].as_str().unwrap_or_default().trim_end().to_owned()));
            }
            _ => return Err(client.refused(&reply)),
        };
        for look in 0..looks {
            if look > 0 {
                std::thread::sleep(BETWEEN_LOOKS);
            }
            let now: InForce = client.get("/api/v1/config")?;
            if now.text == text {
                return Ok(Followed::InForce(now.generation));
            }
            if now.path != source.path() {
                return Ok(Followed::OtherFile(now.path.display().to_string()));
            }
        }
        Ok(Followed::Rejected("it is not what is in force; `weir events` tells what happened".into()))
    };
    asked().unwrap_or_else(|error| Followed::Silent(error.to_string()))
}

impl Done {
    fn to_json(&self) -> Value {
        let mut value = json!({ "result": self.result, "path": self.path, "patch": self.patch });
        if let (Some(value), Value::Object(more)) = (value.as_object_mut(), self.preview.to_json()) {
            value.extend(more);
        }
        let (verdict, generation, detail) = match &self.followed {
            None => return value,
            Some(Followed::InForce(generation)) => ("in_force", Some(*generation), None),
            Some(Followed::Rejected(text)) => ("rejected", None, Some(text)),
            Some(Followed::OtherFile(path)) => ("other_file", None, Some(path)),
            Some(Followed::Silent(why)) => ("unknown", None, Some(why)),
        };
        value["instance"] = json!({ "verdict": verdict, "generation": generation, "detail": detail });
        value
    }

    fn tell(&self) -> ExitCode {
        let (paint, warn) = (Paint::for_stdout(), Paint::for_stderr());
        let mut text = self.preview.render(paint) + "\n";
        match self.result {
            "dry_run" => {
                text = format!("{}\n{text}dry run: nothing was written\n", self.patch);
            }
            "unchanged" => text += &format!("{} says so already\n", self.path),
            "refused" => {
                let printed = emit(&harmless_but_colours(&text));
                let why = "users of a canary would come into another canary; if that is meant, say --allow-move-out";
                eprintln!("{}\n{}", warn.state("rejected", &format!("weir: {why}")), warn.bold("nothing was written"));
                return printed;
            }
            _ => text += &format!("{} is written\n", self.path),
        }
        if let Some(Followed::InForce(generation)) = self.followed {
            text += &paint.state("applied", &format!("in force as generation {generation}"));
            text.push('\n');
        }
        if self.by_steps {
            text += "a rollout comes to that weight by its steps: `weir release status` shows where it is\n";
        }
        let printed = emit(&harmless_but_colours(&text));
        let wrong = match &self.followed {
            None | Some(Followed::InForce(_)) => return printed,
            Some(Followed::Rejected(why)) => {
                format!("the instance refused the file, and what was in force stays in force:\n{why}")
            }
            Some(Followed::OtherFile(path)) => format!("the instance asked reads another file: {path}"),
            Some(Followed::Silent(why)) => format!("whether it is in force is not known: {why}"),
        };
        eprintln!("{}", warn.state("rejected", &format!("weir: {}", harmless(&wrong))));
        printed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_read_as_people_write_them() {
        for (text, cluster, percent) in [
            ("v2=10", "v2", 10.0),
            ("v2=10%", "v2", 10.0),
            ("v2= 0.25 %", "v2", 0.25),
            ("v2=0", "v2", 0.0),
            ("orders-v2=100.00", "orders-v2", 100.0),
        ] {
            let wish = Wish::parse(text).unwrap();
            assert_eq!((&*wish.cluster, wish.weight.percent()), (cluster, percent));
        }
        for text in ["v2", "v2=", "v2=x", "v2=101", "v2=-1", "v2=0.005", "v2=NaN", "v2:10"] {
            assert!(Wish::parse(text).is_err(), "{text}");
        }
    }
}
