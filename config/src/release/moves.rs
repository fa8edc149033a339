//! Which users a change of a release moves, and from where to where.
//!
//! By arithmetic over the buckets of the weights in the file, never by asking who is there now. What
//! lists of rules do comes on top; [`verdict_of`] knows it for one id.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use super::rule::{self, BUCKETS, Bucket, Range, Share};
use super::{Release, Rule};
use crate::units::ClusterName;

/// Users that a change takes from one cluster to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Move {
    /// Where they were.
    pub from: ClusterName,
    /// Where they go.
    pub to: ClusterName,
    /// Their buckets, ascending. Empty if all users are drawn anew, by another salt: then nobody can
    /// say which, but how many can be expected.
    pub ranges: Vec<RangeInclusive<u16>>,
    /// How many they are; exact if there are ranges.
    pub share: Share,
    /// They are thrown out of a canary that they were in.
    pub expels: bool,
}

/// Whose a user is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// 0 is stable, 1 the first canary.
    pub version: usize,
    /// The bucket of the id.
    pub bucket: Bucket,
}

/// The moves by weights from `old` to `new`, those out of a canary first, then the largest.
#[must_use]
pub fn moves(old: &Release, new: &Release) -> Vec<Move> {
    let (before, after) = (ranges(old), ranges(new));
    let mut moves = if old.salt == new.salt { exact(old, &before, new, &after) } else { drawn_anew(old, new) };
    moves.retain(|one| one.from != one.to && one.share > Share::NONE);
    moves.sort_by_key(|one| (!one.expels, std::cmp::Reverse(one.share)));
    moves
}

/// Whose the user with `id` is, by the weights in the file and by lists of users; other rules need
/// more of a request than its id. `None` for an empty id, which is nobody's.
#[must_use]
pub fn verdict_of(release: &Release, id: &[u8]) -> Option<Verdict> {
    let id = release.canonical.of(id);
    if id.is_empty() {
        return None;
    }
    let bucket = Bucket::of(&release.salt, &id);
    let listed = |rules: &[Rule]| rules.iter().any(|rule| matches!(rule, Rule::Users(users) if users.contains(&id)));
    if listed(&release.never) {
        return Some(Verdict { version: 0, bucket });
    }
    let canaries = &release.canaries;
    let first = canaries.iter().position(|canary| listed(&canary.first) && !listed(&canary.never));
    let version = first.map_or_else(|| rule::owner(&ranges(release), bucket), |at| at + 1);
    let never = version > 0 && listed(&canaries[version - 1].never);
    Some(Verdict { version: if never { 0 } else { version }, bucket })
}

/// What each canary owns by the weights in the file.
fn ranges(release: &Release) -> Vec<Range> {
    release.canaries.iter().map(|canary| Range { from: canary.from, share: canary.weight }).collect()
}

fn exact(old: &Release, before: &[Range], new: &Release, after: &[Range]) -> Vec<Move> {
    let mut buckets: BTreeMap<(usize, usize), Vec<u16>> = BTreeMap::new();
    for bucket in Bucket::all() {
        let pair = (rule::owner(before, bucket), rule::owner(after, bucket));
        buckets.entry(pair).or_default().push(bucket.get());
    }
    let one = |((from, to), buckets): (_, Vec<u16>)| {
        Some(Move {
            from: old.cluster(from)?.clone(),
            to: new.cluster(to)?.clone(),
            ranges: in_ranges(&buckets),
            share: Share::of_buckets(buckets.len() as u16)?,
            expels: from > 0,
        })
    };
    buckets.into_iter().filter_map(one).collect()
}

/// Under another salt where a user was says nothing of where they are: of each version's users each
/// version gets its share.
fn drawn_anew(old: &Release, new: &Release) -> Vec<Move> {
    let mut moves = Vec::new();
    for (from, (cluster, before)) in shares(old).into_iter().enumerate() {
        for (to, after) in shares(new) {
            let expected = (before * after + u32::from(BUCKETS) / 2) / u32::from(BUCKETS);
            // Two shares multiplied are no more than each.
            let share = Share::of_buckets(expected as u16).unwrap_or_default();
            moves.push(Move { from: cluster.clone(), to: to.clone(), ranges: Vec::new(), share, expels: from > 0 });
        }
    }
    moves
}

/// Each version's cluster and buckets, stable first.
fn shares(release: &Release) -> Vec<(&ClusterName, u32)> {
    let canaries = release.canaries.iter().map(|canary| (&canary.cluster, u32::from(canary.weight.buckets())));
    let given: u32 = canaries.clone().map(|(_, buckets)| buckets).sum();
    std::iter::once((&release.stable, u32::from(BUCKETS).saturating_sub(given))).chain(canaries).collect()
}

/// Ascending numbers as ranges.
fn in_ranges(numbers: &[u16]) -> Vec<RangeInclusive<u16>> {
    let mut ranges: Vec<RangeInclusive<u16>> = Vec::new();
    for number in numbers {
        match ranges.last_mut() {
            Some(last) if last.end() + 1 == *number => *last = *last.start()..=*number,
            _ => ranges.push(*number..=*number),
        }
    }
    ranges
}
