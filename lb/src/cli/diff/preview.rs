//! What leads from one configuration to another, and what it means for users: put together, and as
//! text and JSON.
//!
//! Which share of the users moves is [`weir_config::release::moves`]; here is added who they are, how
//! many requests they make, and whether those they come to are well.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::Value;
use weir_config::model::Release;
use weir_config::release::moves::{Move, moves};
use weir_config::{Changes, Config};

use super::live;
use super::users::{self, SHOWN, Users};
use crate::admin::moves::Moved;
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
    releases: Vec<Moved>,
    users: Option<(String, Vec<Users>)>,
}

/// A release that is in both configurations, and is not the same.
pub(super) struct Pair<'a> {
    pub(super) old: &'a Release,
    pub(super) new: &'a Release,
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
        let before = |new: &Release| old.releases.iter().find(|old| old.name == new.name);
        let pairs: Vec<Pair<'_>> = new
            .releases
            .iter()
            .filter_map(|new| Some(Pair { old: before(new)?, new }))
            .filter(|pair| pair.old != pair.new)
            .collect();
        let status = match look.client {
            Some(client) if !pairs.is_empty() => Some(client.get::<Status>("/api/v1/status")?),
            _ => None,
        };
        let releases =
            pairs.iter().map(|pair| moved(pair, look, status.as_ref())).collect::<Result<_, ClientError>>()?;
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
        value["moves"] = self.releases.iter().flat_map(Moved::to_json).collect::<Vec<_>>().into();
        if let Some((_, users)) = &self.users {
            value["users"] = users.iter().map(Users::to_json).collect::<Vec<_>>().into();
        }
        value
    }

    /// For people. What takes users out of a canary is red.
    pub(in crate::cli) fn render(&self, paint: Paint) -> String {
        let changes = self.changes.to_string();
        let out: Vec<&str> = self.changes.iter().filter(|change| change.expels).map(|change| &*change.what).collect();
        let mut text = String::new();
        // Writing to a String cannot fail.
        for line in changes.trim_end().lines() {
            let state = if out.iter().any(|what| line.contains(what)) { "error" } else { "" };
            let _ = writeln!(text, "{}", paint.state(state, line));
        }
        for release in &self.releases {
            text.push_str(&render_moved(release, paint));
        }
        if let Some((file, users)) = &self.users {
            text.push_str(&render_users(file, users, paint));
        }
        text
    }
}

/// What becomes of a release's users, as far as the instance tells.
fn moved(pair: &Pair<'_>, look: &Look<'_>, status: Option<&Status>) -> Result<Moved, ClientError> {
    let sampled = look.client.filter(|_| look.sample && !moves(pair.old, pair.new).is_empty());
    let traffic = match sampled.map(|client| live::traffic(client, pair.new.name.as_str())) {
        Some(Ok(traffic)) => Some(traffic),
        // The instance does not know the release: it says nothing of its requests.
        Some(Err(ClientError::Refused { .. })) | None => None,
        Some(Err(error)) => return Err(error),
    };
    Ok(Moved::of(pair.old, pair.new, traffic.as_ref(), status))
}

/// What the changes do not say already.
fn render_moved(moved: &Moved, paint: Paint) -> String {
    let mut lines = Vec::new();
    if let Some(all) = moved.per_second {
        for (its, rate) in &moved.moves {
            let rate = rate.unwrap_or_default();
            let line = format!("{} -> {}: {rate:.1} of {all:.1} requests/s", its.from, its.to);
            lines.push(paint.state(if its.expels { "error" } else { "" }, &line));
        }
    }
    for (cluster, health) in &moved.health {
        lines.push(match health {
            Some(its) if its.usable => format!("{cluster} has {} of {} endpoints healthy", its.healthy, its.all),
            Some(its) => {
                let line = format!("{cluster} has no endpoint that can be used, of {}", its.all);
                paint.state("error", &line)
            }
            None => paint.state("warn", &format!("{cluster} is not known to the running instance yet")),
        });
    }
    if lines.is_empty() {
        return String::new();
    }
    format!("\nRelease {}, now:\n  {}\n", moved.release, lines.join("\n  "))
}

fn render_users(file: &str, users: &[Users], paint: Paint) -> String {
    let mut text = format!("\nUsers of {}:\n", harmless(file));
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
            let ids: Vec<String> = moved.ids.iter().map(|id| harmless(id)).collect();
            let out = if moved.expels { " (out of a canary)" } else { "" };
            let line = format!("{} from {from} to {to}{out}: {}{more}", moved.count, ids.join(", "));
            let _ = writeln!(text, "    {}", paint.state(if moved.expels { "error" } else { "" }, &line));
        }
    }
    text
}
