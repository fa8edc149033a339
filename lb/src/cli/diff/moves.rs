//! Which share of a release's users goes from one cluster to another: arithmetic on its buckets.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use weir_config::model::{Bucket, Config, Release, Rule, Share};
use weir_config::release::rule::{self, Range};

/// A release that is in both configurations.
pub(in crate::cli) struct Pair<'a> {
    pub(in crate::cli) old: &'a Release,
    pub(in crate::cli) new: &'a Release,
}

/// Users of a release who get another cluster.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::cli) struct Move {
    pub(in crate::cli) from: String,
    pub(in crate::cli) to: String,
    /// Per cent of the users.
    pub(in crate::cli) share: f64,
    /// Their buckets, first and last; none if every user gets another bucket.
    pub(in crate::cli) buckets: Vec<(u16, u16)>,
    /// They are in a canary and lose it.
    pub(in crate::cli) out: bool,
}

/// The releases that both have and in which something of who gets what changed.
pub(in crate::cli) fn pairs<'a>(old: &'a Config, new: &'a Config) -> Vec<Pair<'a>> {
    let before = |release: &Release| old.releases.iter().find(|old| old.name == release.name);
    let pairs = new.releases.iter().filter_map(|new| Some(Pair { old: before(new)?, new }));
    pairs.filter(|pair| pair.old != pair.new).collect()
}

impl Pair<'_> {
    /// Whether every user gets another bucket.
    pub(in crate::cli) fn is_new_hash(&self) -> bool {
        self.old.salt != self.new.salt
    }

    /// Whether users may have another id, or none.
    pub(in crate::cli) fn is_new_key(&self) -> bool {
        self.old.key != self.new.key || self.old.canonical != self.new.canonical
    }

    /// Who moves by bucket, by whom they leave and where they go. Lists are no part of it.
    pub(in crate::cli) fn moves(&self) -> Vec<Move> {
        let (old, new) = (ranges(self.old), ranges(self.new));
        let mut moved: BTreeMap<(usize, usize), Vec<Bucket>> = BTreeMap::new();
        if self.is_new_hash() {
            return self.moves_anew(&old, &new);
        }
        for bucket in Bucket::all() {
            let (from, to) = (rule::owner(&old, bucket), rule::owner(&new, bucket));
            if self.old.cluster(from) != self.new.cluster(to) {
                moved.entry((from, to)).or_default().push(bucket);
            }
        }
        let moves = moved.into_iter().map(|((from, to), buckets)| {
            let share = 100.0 * buckets.len() as f64 / f64::from(Share::ALL.buckets());
            Move { buckets: runs(&buckets), ..self.to_move(from, to, share) }
        });
        moves.collect()
    }

    /// With a new salt a user's old bucket says nothing of the new one: shares multiply.
    fn moves_anew(&self, old: &[Range], new: &[Range]) -> Vec<Move> {
        let (old, new) = (shares(old), shares(new));
        let both =
            old.iter().enumerate().flat_map(|(from, a)| new.iter().enumerate().map(move |(to, b)| (from, to, a * b)));
        let moves = both.filter(|(from, to, share)| *share > 0.0 && self.old.cluster(*from) != self.new.cluster(*to));
        moves.map(|(from, to, share)| self.to_move(from, to, 100.0 * share)).collect()
    }

    fn to_move(&self, from: usize, to: usize, share: f64) -> Move {
        let name = |release: &Release, version| release.cluster(version).map(ToString::to_string).unwrap_or_default();
        Move { from: name(self.old, from), to: name(self.new, to), share, buckets: Vec::new(), out: from > 0 }
    }
}

impl Move {
    pub(in crate::cli) fn to_json(&self, release: &str) -> Value {
        json!({
            "release": release,
            "from": self.from,
            "to": self.to,
            "percent": self.share,
            "buckets": self.buckets,
            "out_of_canary": self.out,
        })
    }

    /// `buckets 0-499, 9000-9999`.
    pub(in crate::cli) fn ranges(&self) -> String {
        let one =
            |&(first, last): &(u16, u16)| if first == last { first.to_string() } else { format!("{first}-{last}") };
        let several = if matches!(self.buckets[..], [(first, last)] if first == last) { "" } else { "s" };
        format!("bucket{several} {}", self.buckets.iter().map(one).collect::<Vec<_>>().join(", "))
    }
}

/// The version of whoever has this id, in its canonical form, if nothing else is known of them:
/// rules that go by header, cookie or network take nobody. 0 is stable.
pub(in crate::cli) fn version_of(release: &Release, id: &[u8]) -> usize {
    let listed = |rules: &[Rule]| rules.iter().any(|rule| matches!(rule, Rule::Users(users) if users.contains(id)));
    if listed(&release.never) {
        return 0;
    }
    let first = release.canaries.iter().position(|canary| listed(&canary.first) && !listed(&canary.never));
    if let Some(at) = first {
        return at + 1;
    }
    match rule::owner(&ranges(release), Bucket::of(&release.salt, id)) {
        0 => 0,
        version if listed(&release.canaries[version - 1].never) => 0,
        version => version,
    }
}

fn ranges(release: &Release) -> Vec<Range> {
    release.canaries.iter().map(|canary| Range { from: canary.from, share: canary.weight }).collect()
}

/// Of the whole, by version.
fn shares(ranges: &[Range]) -> Vec<f64> {
    let canaries: Vec<f64> = ranges.iter().map(|range| range.share.percent() / 100.0).collect();
    std::iter::once(1.0 - canaries.iter().sum::<f64>()).chain(canaries).collect()
}

/// Ascending buckets as stretches, first and last.
fn runs(buckets: &[Bucket]) -> Vec<(u16, u16)> {
    let mut runs: Vec<(u16, u16)> = Vec::new();
    for bucket in buckets.iter().map(|bucket| bucket.get()) {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == bucket => *last = bucket,
            _ => runs.push((bucket, bucket)),
        }
    }
    runs
}
