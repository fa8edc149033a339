//! What leads from one configuration to another, and what it means for users: put together, and as
//! text and JSON.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Value, json};
use weir_config::{Changes, Config};

use super::live::{Health, Traffic};
use super::moves::{Move, Pair, pairs};
use super::users::{self, SHOWN, Users};
use crate::admin::status::Status;
use crate::cli::client::{Client, ClientError};
use crate::cli::paint::{Paint, harmless};

/// Where to look beside the two configurations.
pub(in crate::cli) struct Look<'a> {
    /// Ids whose moves are told.
    pub(in crate::cli) users: Option<&'a Path>,
    /// An instance that tells whom a move finds.
    pub(in crate::cli) client: Option<&'a Client>,
    /// Keep every id that moves, not just the first.
    pub(in crate::cli) all_ids: bool,
    /// See how many requests there are, which takes a second.
    pub(in crate::cli) sample: bool,
}

/// What leads from one configuration to another.
pub(in crate::cli) struct Preview {
    pub(in crate::cli) changes: Changes,
    releases: Vec<Release>,
    users: Option<(String, Vec<Users>)>,
}

/// What it means for one release.
struct Release {
    name: String,
    new_hash: bool,
    new_key: bool,
    moves: Vec<(Move, Option<f64>)>,
    /// Of the clusters somebody moves to.
    health: Vec<(String, Option<Health>)>,
}

/// Why it cannot be told.
#[derive(Debug, thiserror::Error)]
pub(in crate::cli) enum LookError {
    #[error(transparent)]
    Instance(#[from] ClientError),
    #[error(transparent)]
    Users(#[from] users::UsersError),
}

impl Preview {
    /// Compares, and looks where it is told to.
    pub(in crate::cli) fn new(old: &Config, new: &Config, look: &Look<'_>) -> Result<Self, LookError> {
        let pairs = pairs(old, new);
        let status = match look.client {
            Some(client) if !pairs.is_empty() => Some(client.get::<Status>("/api/v1/status")?),
            _ => None,
        };
        let releases = pairs.iter().map(|pair| Release::new(pair, look, status.as_ref())).collect::<Result<_, _>>()?;
        let keep = if look.all_ids { usize::MAX } else { SHOWN };
        let users = match look.users {
            Some(path) => Some((path.display().to_string(), users::of_file(path, &pairs, keep)?)),
            None => None,
        };
        Ok(Self { changes: weir_config::diff(old, new), releases, users })
    }

    /// Everybody's moves.
    pub(in crate::cli) fn moves(&self) -> impl Iterator<Item = &Move> {
        self.releases.iter().flat_map(|release| release.moves.iter().map(|(its, _)| its))
    }

    /// For programs: the changes, with `moves`, and `users` if they were asked for.
    pub(in crate::cli) fn to_json(&self) -> Value {
        let mut value = self.changes.to_json();
        let moves = self.releases.iter().flat_map(|release| {
            release.moves.iter().map(|(its, per_second)| {
                let mut value = its.to_json(&release.name);
                value["requests_per_second"] = per_second.map(|rate| (rate * 100.0).round() / 100.0).into();
                let health =
                    release.health.iter().find(|(cluster, _)| *cluster == its.to).and_then(|(_, found)| *found);
                value["to_endpoints"] = health
                    .map(|found| json!({ "healthy": found.healthy, "of": found.all, "usable": found.usable }))
                    .into();
                value
            })
        });
        value["moves"] = moves.collect::<Vec<_>>().into();
        if let Some((_, users)) = &self.users {
            value["users"] = users.iter().map(Users::to_json).collect::<Vec<_>>().into();
        }
        value
    }

    /// For people.
    pub(in crate::cli) fn render(&self, paint: Paint) -> String {
        let mut text = format!("{}\n", self.changes.to_string().trim_end());
        for release in &self.releases {
            text.push_str(&release.render(paint));
        }
        if let Some((file, users)) = &self.users {
            text.push_str(&render_users(file, users, paint));
        }
        text
    }
}

impl Release {
    fn new(pair: &Pair<'_>, look: &Look<'_>, status: Option<&Status>) -> Result<Self, LookError> {
        let moves = pair.moves();
        let name = pair.new.name.to_string();
        let known = status.is_some() && !moves.is_empty() && look.sample;
        let traffic = match look.client.filter(|_| known).map(|client| Traffic::of(client, &name)) {
            Some(Ok(traffic)) => Some(traffic),
            // The instance does not know the release: it says nothing of its requests.
            Some(Err(ClientError::Refused { .. })) | None => None,
            Some(Err(error)) => return Err(error.into()),
        };
        let mut health: Vec<(String, Option<Health>)> = Vec::new();
        for its in moves.iter().filter(|_| status.is_some()) {
            if !health.iter().any(|(cluster, _)| *cluster == its.to) {
                health.push((its.to.clone(), status.and_then(|status| Health::of(status, &its.to))));
            }
        }
        let moves = moves.into_iter().map(|its| {
            let rate = traffic.as_ref().map(|traffic| traffic.of_move(&its));
            (its, rate)
        });
        Ok(Self { new_hash: pair.is_new_hash(), new_key: pair.is_new_key(), moves: moves.collect(), health, name })
    }

    fn render(&self, paint: Paint) -> String {
        let moving: f64 = self.moves.iter().map(|(its, _)| its.share).sum();
        let stay = percent(100.0 - moving);
        // Writing to a String cannot fail.
        let mut text = match self.moves.is_empty() {
            true => format!("\nRelease {}: no user moves by bucket\n", self.name),
            false => format!("\nRelease {}: {} % of the users move, {stay} % stay\n", self.name, percent(moving)),
        };
        if self.new_hash {
            let line = "another salt: every user gets another bucket, the shares are what is to be expected";
            let _ = writeln!(text, "  {}", paint.state("error", line));
        }
        if self.new_key {
            let line = "ids are found elsewhere, or written otherwise: who gets another id gets another bucket";
            let _ = writeln!(text, "  {}", paint.state("warn", line));
        }
        for (its, rate) in &self.moves {
            let mut line = format!("{} -> {}: {} % of the users", its.from, its.to, percent(its.share));
            if !its.buckets.is_empty() {
                let _ = write!(line, ", {}", its.ranges());
            }
            if let Some(rate) = rate {
                let _ = write!(line, ", {rate:.1} requests/s");
            }
            if its.out {
                let _ = write!(line, ": OUT of canary {}", its.from);
            }
            let _ = writeln!(text, "  {}", paint.state(if its.out { "error" } else { "" }, &line));
        }
        for (cluster, health) in &self.health {
            let (state, line) = match health {
                Some(found) if found.usable => {
                    ("", format!("{cluster} has {} of {} endpoints healthy", found.healthy, found.all))
                }
                Some(found) => (
                    "error",
                    format!("{cluster} has no endpoint that can be used ({} of {} healthy)", found.healthy, found.all),
                ),
                None => ("warn", format!("{cluster} is not known to the running instance yet")),
            };
            let _ = writeln!(text, "  {}", paint.state(state, &line));
        }
        text
    }
}

/// `12.25`; two decimals at most.
fn percent(value: f64) -> String {
    ((value * 100.0).round() / 100.0).to_string()
}

fn render_users(file: &str, users: &[Users], paint: Paint) -> String {
    let mut text = format!("\nUsers of {file}:\n");
    // Writing to a String cannot fail.
    if users.is_empty() {
        let _ = writeln!(text, "  nobody moves: no release changes");
    }
    for Users { release, stay, moved } in users {
        let moving: u64 = moved.values().map(|moved| moved.count).sum();
        let _ = writeln!(text, "  release {release}: {moving} move, {stay} stay");
        for ((from, to), moved) in moved {
            let more = match moved.count.saturating_sub(moved.ids.len() as u64) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            let out = if moved.out { format!(", OUT of canary {from}") } else { String::new() };
            let ids: Vec<String> = moved.ids.iter().map(|id| harmless(id)).collect();
            let line = format!("{from} -> {to}: {}{out}: {}{more}", moved.count, ids.join(", "));
            let _ = writeln!(text, "    {}", paint.state(if moved.out { "error" } else { "" }, &line));
        }
    }
    text
}
