//! Which canary owns which buckets: that no bucket has two owners, and what would fit if one has.

use super::share;
use crate::lower::Fields;
use crate::mistake::Mistake;
use crate::model::{Bucket, ClusterName, Share};
use crate::release::rule::{BUCKETS, Range};
use crate::report::{Path, Report};
use crate::yaml::{Node, Span};

/// What a canary says of its buckets.
pub(super) struct Draft {
    /// As people know it.
    name: String,
    /// Its place in the list.
    at: usize,
    /// `None` if it is not told, or could not be read.
    pub(super) from: Option<Bucket>,
    from_given: bool,
    /// `None` if it could not be read.
    pub(super) share: Option<Share>,
    /// Where it stands.
    span: Span,
    from_span: Option<Span>,
    weight_span: Option<Span>,
}

impl Draft {
    pub(super) fn of(
        fields: &Fields<'_>,
        node: &Node,
        at: usize,
        cluster: Option<&ClusterName>,
        path: &Path<'_>,
        report: &mut Report,
    ) -> Self {
        let mark = |name| fields.get(name).map(Node::mark);
        // The table keeps the number within its type.
        let from = fields.integer("from").and_then(|from| Bucket::new(from as u16));
        Self {
            name: cluster.map_or_else(|| format!("canary {}", at + 1), ClusterName::to_string),
            at,
            from,
            from_given: fields.get("from").is_some(),
            share: share(fields, "weight", path, report),
            span: node.mark(),
            from_span: mark("from"),
            weight_span: mark("weight"),
        }
    }

    fn range(&self) -> Option<Range> {
        Some(Range { from: self.from?, share: self.share? })
    }
}

/// Reports sums over everybody, ranges that begin nowhere and buckets with two owners.
pub(super) fn check(drafts: &[Draft], path: &Path<'_>, report: &mut Report) {
    // What could not be read is reported, and would make what is said here wrong.
    if drafts.iter().any(|draft| draft.share.is_none() || draft.from_given && draft.from.is_none()) {
        return;
    }
    if let [only] = drafts
        && only.from.is_none()
    {
        // Bucket 0, wherever its range ends.
        return;
    }
    let sum: u32 = drafts.iter().filter_map(|draft| draft.share).map(|share| u32::from(share.buckets())).sum();
    if sum > u32::from(BUCKETS) {
        return too_much(drafts, sum, path, report);
    }
    let missing: Vec<&Draft> = drafts.iter().filter(|draft| draft.from.is_none()).collect();
    if !missing.is_empty() {
        return without_from(drafts, &missing, path, report);
    }
    for (second_at, second) in drafts.iter().enumerate() {
        for first in &drafts[..second_at] {
            overlap(first, second, drafts, path, report);
        }
    }
}

fn too_much(drafts: &[Draft], sum: u32, path: &Path<'_>, report: &mut Report) {
    // Blames the one that goes over.
    let mut so_far = 0;
    let over = drafts.iter().find(|draft| {
        so_far += draft.share.map_or(0, |share| u32::from(share.buckets()));
        so_far > u32::from(BUCKETS)
    });
    let Some(over) = over else { return };
    let told: Vec<String> =
        drafts.iter().filter_map(|draft| Some(format!("{} {}", draft.name, draft.share?))).collect();
    let message = format!("the weights add up to {} per cent of the users: {}", percent(sum), told.join(", "));
    let mistake = Mistake::error("weights_over_100", over.weight_span.unwrap_or(over.span), message);
    let excess = percent(sum - u32::from(BUCKETS));
    let hint = format!("weights are per cent of all users, and stable has what is left; take {excess} away");
    report.push(mistake.hint(hint), &path.item(over.at).key("weight"));
}

fn without_from(drafts: &[Draft], missing: &[&Draft], path: &Path<'_>, report: &mut Report) {
    let mut taken: Vec<Range> = drafts.iter().filter_map(Draft::range).collect();
    for draft in missing {
        let share = draft.share.unwrap_or_default();
        // As far apart as there are canaries: then each has room to grow.
        let even = Bucket::new((draft.at * usize::from(BUCKETS) / drafts.len()) as u16).unwrap_or_default();
        let from = room(even, share, &taken);
        let message =
            format!("{} does not say where its buckets begin; with more than one canary each does", draft.name);
        let mistake = Mistake::error("from_missing", draft.span, message);
        let mistake = match from {
            Some(from) => {
                taken.push(Range { from, share });
                mistake.hint(format!("as in `from: {from}`: then no other weight ever moves its users"))
            }
            None => mistake.hint("the others leave no room of its size; lower a weight"),
        };
        report.push(mistake, &path.item(draft.at));
    }
}

fn overlap(first: &Draft, second: &Draft, drafts: &[Draft], path: &Path<'_>, report: &mut Report) {
    let (Some(a), Some(b)) = (first.range(), second.range()) else { return };
    if !a.overlaps(b) {
        return;
    }
    let both = Bucket::all().filter(|bucket| a.contains(*bucket) && b.contains(*bucket)).count();
    let message = format!(
        "{} and {} both own {both} bucket{}, {} per cent of the users: {} has {}, {} has {}",
        first.name,
        second.name,
        if both == 1 { "" } else { "s" },
        percent(both as u32),
        first.name,
        shown(a),
        second.name,
        shown(b),
    );
    let others: Vec<Range> = drafts.iter().filter(|other| other.at != second.at).filter_map(Draft::range).collect();
    let mut ways = Vec::new();
    if let Some(from) = room(a.from.further(a.share.buckets()), b.share, &others) {
        ways.push(format!("`from: {from}` for {}", second.name));
    }
    // Whichever begins within the other ends the other.
    let shorter = if a.contains(b.from) { (first, b.from.after(a.from)) } else { (second, a.from.after(b.from)) };
    if shorter.1 > 0 {
        ways.push(format!("`weight: {}` for {}", percent(u32::from(shorter.1)), shorter.0.name));
    }
    let hint = if ways.is_empty() { "lower a weight".to_owned() } else { format!("what fits: {}", ways.join(", or ")) };
    let span = second.from_span.or(second.weight_span).unwrap_or(second.span);
    let related = first.from_span.or(first.weight_span).unwrap_or(first.span);
    let mistake = Mistake::error("overlapping_canaries", span, message).hint(hint).related(related, "the other one");
    report.push(mistake, &path.item(second.at).key("from"));
}

/// Where `share` fits beside `taken`: at `wish`, or else at the next bucket where it does.
fn room(wish: Bucket, share: Share, taken: &[Range]) -> Option<Bucket> {
    let fits = |from: &Bucket| !taken.iter().any(|range| range.overlaps(Range { from: *from, share }));
    let ends = taken.iter().map(|range| range.from.further(range.share.buckets()));
    let mut places: Vec<Bucket> = std::iter::once(wish).chain(ends).collect();
    places.sort_by_key(|place| place.after(wish));
    places.into_iter().find(fits)
}

/// As `buckets 0-499`.
fn shown(range: Range) -> String {
    match range.share.buckets() {
        0 => "no buckets".to_owned(),
        count => format!("{}-{}", range.from, range.from.further(count - 1)),
    }
}

/// Buckets in per cent.
fn percent(buckets: u32) -> f64 {
    f64::from(buckets) / 100.0
}
