//! What leads from one configuration to another, and what it means for users: put together, and as
//! text and JSON.
//!
//! Which share of the users moves is [`weir_config::release::moves`]; here is added who they are, how
//! many requests they make, and whether those they come to are well.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Value, json};
use weir_config::model::Release;
use weir_config::release::moves::{Move, moves};
use weir_config::{Changes, Config};

use super::live::{Health, Traffic};
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
    releases: Vec<Moved>,
    users: Option<(String, Vec<Users>)>,
}

/// A release that is in both configurations, and is not the same.
pub(super) struct Pair<'a> {
    pub(super) old: &'a Release,
    pub(super) new: &'a Release,
}

/// What becomes of a release's users.
struct Moved {
    release: String,
    moves: Vec<(Move, Option<f64>)>,
    per_second: Option<f64>,
    /// Of the clusters somebody moves to, if an instance was asked.
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
        let releases = pairs.iter().map(|pair| Moved::new(pair, look, status.as_ref())).collect::<Result<_, _>>()?;
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
            text.push_str(&release.render(paint));
        }
        if let Some((file, users)) = &self.users {
            text.push_str(&render_users(file, users, paint));
        }
        text
    }
}

impl Moved {
    fn new(pair: &Pair<'_>, look: &Look<'_>, status: Option<&Status>) -> Result<Self, LookError> {
        let (moves, release) = (moves(pair.old, pair.new), pair.new.name.to_string());
        let sampled = look.client.filter(|_| look.sample && !moves.is_empty());
        let traffic = match sampled.map(|client| Traffic::of(client, &release)) {
            Some(Ok(traffic)) => Some(traffic),
            // The instance does not know the release: it says nothing of its requests.
            Some(Err(ClientError::Refused { .. })) | None => None,
            Some(Err(error)) => return Err(error.into()),
        };
        let mut health: Vec<(String, Option<Health>)> = Vec::new();
        if let Some(status) = status {
            for its in &moves {
                let to = its.to.as_str();
                if !health.iter().any(|(cluster, _)| cluster == to) {
                    health.push((to.to_owned(), Health::of(status, to)));
                }
            }
        }
        let per_second = traffic.as_ref().map(|traffic| traffic.per_second);
        let rated = |its: Move| {
            let rate = traffic.as_ref().map(|traffic| traffic.of_move(&its));
            (its, rate)
        };
        Ok(Self { release, moves: moves.into_iter().map(rated).collect(), per_second, health })
    }

    fn to_json(&self) -> Vec<Value> {
        let round = |rate: f64| (rate * 100.0).round() / 100.0;
        let one = |(its, rate): &(Move, Option<f64>)| {
            let health =
                self.health.iter().find(|(cluster, _)| cluster == its.to.as_str()).and_then(|(_, found)| *found);
            json!({
                "release": self.release,
                "from": its.from.as_str(),
                "to": its.to.as_str(),
                "percent": its.share.percent(),
                "buckets": its.ranges.iter().map(|range| [*range.start(), *range.end()]).collect::<Vec<_>>(),
                "expels": its.expels,
                "requests_per_second": rate.map(round),
                "release_requests_per_second": self.per_second.map(round),
                "to_endpoints": health.map(|its| json!({ "healthy": its.healthy, "of": its.all, "usable": its.usable })),
            })
        };
        self.moves.iter().map(one).collect()
    }

    /// What the changes do not say already.
    fn render(&self, paint: Paint) -> String {
        let mut lines = Vec::new();
        if let Some(all) = self.per_second {
            for (its, rate) in &self.moves {
                let rate = rate.unwrap_or_default();
                let line = format!("{} -> {}: {rate:.1} of {all:.1} requests/s", its.from, its.to);
                lines.push(paint.state(if its.expels { "error" } else { "" }, &line));
            }
        }
        for (cluster, health) in &self.health {
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
        format!("\nRelease {}, now:\n  {}\n", self.release, lines.join("\n  "))
    }
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
