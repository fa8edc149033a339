//! Releases: what changes, and whom it moves.

use std::fmt::Display;
use std::sync::Arc;

use super::{ChangeKind, Group, Notes, Pair, Touches, pairs, show};
use crate::model::{Config, Target};
use crate::release::moves::{Move, moves};
use crate::release::{
    Anonymous, BUCKETS, Canary, Canonical, Guard, IdCookie, IdKey, JudgeRules, JwtFrom, JwtKey, Mirror, OnFail,
    OnUnhealthy, Release, Rollout, Rule, Users,
};

/// Most ranges of buckets that are told of one move.
const RANGES_TOLD: usize = 8;

pub(super) fn diff(pair: Pair<'_, Arc<Release>>, notes: &mut Notes) {
    match pair {
        // Traffic reaches it by a route, which is a change of its own.
        Pair::Added(new) => {
            let canaries: Vec<_> = new.canaries.iter().map(|one| format!("{} {} %", one.cluster, one.weight)).collect();
            let canaries = if canaries.is_empty() { "no canary".to_owned() } else { canaries.join(", ") };
            let what = format!("release {}: new, stable {}, {canaries}", new.name, new.stable);
            notes.subject("").added(Touches::Nothing, &what);
        }
        Pair::Removed(old) => {
            notes.subject("").removed(Touches::NewRequests, &format!("release {}: removed", old.name));
        }
        Pair::Both(old, new) => both(old, new, notes),
    }
}

fn both(old: &Release, new: &Release, notes: &mut Notes) {
    // The line is where it stands in the file, not what it means.
    let Release {
        name,
        key,
        canonical,
        salt,
        stable,
        canaries,
        never,
        anonymous,
        on_unhealthy,
        judge,
        mirror,
        line: _,
    } = new;
    let subject = format!("release {name}");
    let touches = Touches::NewRequests;
    notes.subject(&subject);
    keys(&old.key, key, notes);
    notes.field(touches, "canonical", &old.canonical, canonical, self::canonical);
    notes.field(touches, "salt", &old.salt, salt, |salt| format!("{salt:?}"));
    notes.field(touches, "stable", &old.stable, stable, show::plain);
    notes.field(touches, "anonymous", &old.anonymous, anonymous, self::anonymous);
    notes.field(touches, "on_unhealthy", &old.on_unhealthy, on_unhealthy, |on| match on {
        OnUnhealthy::Stable => "stable".to_owned(),
        OnUnhealthy::Error => "error".to_owned(),
    });
    self::judge(old.judge, *judge, notes);
    self::mirror(old.mirror.as_ref(), mirror.as_ref(), notes);
    let mut kept = Vec::new();
    for pair in pairs(&old.canaries, canaries, |canary| canary.cluster.clone()) {
        if let Pair::Both(_, new) = &pair {
            kept.push(std::ptr::from_ref(*new));
        }
        canary(pair, &subject, notes);
    }
    notes.subject(&subject);
    if !kept.is_sorted() {
        let what = "the order of its canaries: the first whose `first` list takes a request has it";
        notes.push(ChangeKind::Changed, touches, what);
    }
    lists("never", &old.never, never, notes);
    for one in moves(old, new) {
        let what = moved(&one, old.salt != new.salt);
        notes.push(ChangeKind::Changed, touches, &what).moves(one);
    }
    if (&old.key, old.canonical) != (key, *canonical) {
        let what = "whoever's id is another than before may get another version";
        notes.push(ChangeKind::Changed, touches, what).expels();
    }
}

/// Whom a route moves that sends its requests elsewhere, if a release has to do with it.
pub(super) fn routed((old, new): (&Target, &Target), (before, after): (&Config, &Config), notes: &mut Notes) {
    if old == new {
        return;
    }
    let release = |target: &Target, config: &Config| match target {
        Target::Release(name) => {
            config.releases.iter().find(|release| release.name == *name).map(|one| (**one).clone())
        }
        Target::Cluster(_) | Target::Reply(_) => None,
    };
    // A cluster is a release of which everybody is in stable.
    let all_to = |target: &Target, like: &Release| match target {
        Target::Cluster(stable) => {
            Some(Release { stable: stable.clone(), canaries: Vec::new(), never: Vec::new(), ..like.clone() })
        }
        Target::Release(_) | Target::Reply(_) => None,
    };
    let (from, to) = (release(old, before), release(new, after));
    let pair = match (from, to) {
        (Some(from), Some(to)) => Some((from, to)),
        (Some(from), None) => all_to(new, &from).map(|to| (from, to)),
        (None, Some(to)) => all_to(old, &to).map(|from| (from, to)),
        (None, None) => None,
    };
    let Some((from, to)) = pair else { return };
    for one in moves(&from, &to) {
        let what = moved(&one, from.salt != to.salt);
        notes.push(ChangeKind::Changed, Touches::NewRequests, &what).moves(one);
    }
}

/// As `5 % of users, buckets 500-999, move from orders-v1 to orders-v2`.
fn moved(one: &Move, anew: bool) -> String {
    let Move { from, to, ranges, share, .. } = one;
    if anew {
        return format!("about {share} % of users, drawn anew by the other salt, move from {from} to {to}");
    }
    let range = |range: &std::ops::RangeInclusive<u16>| match (range.start(), range.end()) {
        (start, end) if start == end => start.to_string(),
        (start, end) => format!("{start}-{end}"),
    };
    let mut told: Vec<String> = ranges.iter().take(RANGES_TOLD).map(range).collect();
    if ranges.len() > RANGES_TOLD {
        told.push(format!("and {} more ranges", ranges.len() - RANGES_TOLD));
    }
    let one = if share.buckets() == 1 { "bucket" } else { "buckets" };
    let verb = if share.buckets() == BUCKETS { "all users" } else { "of users" };
    format!("{share} % {verb}, {one} {}, move from {from} to {to}", told.join(", "))
}

fn canary(pair: Pair<'_, Canary>, release: &str, notes: &mut Notes) {
    match pair {
        Pair::Added(new) => {
            let what = format!("canary {}: new, {} % from bucket {}", new.cluster, new.weight, new.from);
            notes.subject(release).added(Touches::NewRequests, &what);
        }
        Pair::Removed(old) => {
            notes.subject(release).removed(Touches::NewRequests, &format!("canary {}: removed", old.cluster));
            // Whom it had by weight is told by the moves.
            if !old.first.is_empty() {
                notes.expels();
            }
        }
        Pair::Both(old, new) => {
            let Canary { cluster, from, weight, first, never, rollout } = new;
            notes.subject(&format!("{release}: canary {cluster}"));
            notes.field(Touches::NewRequests, "from", &old.from, from, show::plain);
            notes.field(Touches::NewRequests, "weight", &old.weight, weight, show::plain);
            self::rollout(old.rollout.as_ref(), rollout.as_ref(), notes);
            lists("first", &old.first, first, notes);
            lists("never", &old.never, never, notes);
        }
    }
}

/// What came to a list of rules and what went. Whoever leaves `first` or comes to `never` is out.
fn lists(name: &str, old: &[Rule], new: &[Rule], notes: &mut Notes) {
    let out = |came: bool| came == (name == "never");
    for pair in pairs(&others(old), &others(new), Clone::clone) {
        let (what, came) = match pair {
            Pair::Added(rule) => (format!("{name}: {rule} added"), true),
            Pair::Removed(rule) => (format!("{name}: {rule} removed"), false),
            Pair::Both(..) => continue,
        };
        notes.push(if came { ChangeKind::Added } else { ChangeKind::Removed }, Touches::NewRequests, &what);
        if out(came) {
            notes.expels();
        }
    }
    let (before, after) = (users(old), users(new));
    for (sets, others, came) in [(&after, &before, true), (&before, &after, false)] {
        let missing = |id: &&[u8]| !others.iter().any(|set| set.contains(id));
        // One that is the same as before has nobody that the others miss.
        let changed = sets.iter().filter(|set| !others.iter().any(|other| other.same_ids(set)));
        let count = changed.flat_map(|set| set.iter()).filter(missing).count();
        if count == 0 {
            continue;
        }
        let (kind, word) = if came { (ChangeKind::Added, "added") } else { (ChangeKind::Removed, "removed") };
        let users = if count == 1 { "user" } else { "users" };
        notes.push(kind, Touches::NewRequests, &format!("{name}: {count} {users} {word}"));
        if out(came) {
            notes.expels();
        }
    }
    let (before, after) = (places(&before), places(&after));
    notes.field(Touches::Nothing, &format!("{name}: users in"), &before, &after, |places| show::list(places));
}

/// Rules that are no lists of users, in words.
fn others(rules: &[Rule]) -> Vec<String> {
    let shown = |rule: &Rule| match rule {
        Rule::Header { name, test } => Some(format!("header {}", show::header(name, test))),
        Rule::Cookie { name, value: Some(value) } => Some(format!("cookie {name}={value:?}")),
        Rule::Cookie { name, value: None } => Some(format!("cookie {name} present")),
        Rule::Networks(networks) => Some(format!("networks {}", show::list(networks))),
        Rule::Users(_) => None,
    };
    rules.iter().filter_map(shown).collect()
}

fn users(rules: &[Rule]) -> Vec<&Users> {
    fn of(rule: &Rule) -> Option<&Users> {
        if let Rule::Users(users) = rule { Some(users) } else { None }
    }
    rules.iter().filter_map(of).collect()
}

/// The files that users stand in, beside the configuration itself.
fn places(sets: &[&Users]) -> Vec<String> {
    sets.iter().filter_map(|set| Some(set.file()?.display().to_string())).collect()
}

fn keys(old: &[IdKey], new: &[IdKey], notes: &mut Notes) {
    if old == new {
        return;
    }
    let shown = |keys: &[IdKey]| keys.iter().map(key).collect::<Vec<_>>().join(", ");
    if shown(old) == shown(new) {
        notes.push(
            ChangeKind::Changed,
            Touches::NewRequests,
            "key: another key in the file that tokens are signed with",
        );
    } else {
        notes.push(ChangeKind::Changed, Touches::NewRequests, &format!("key {} -> {}", shown(old), shown(new)));
    }
}

fn key(key: &IdKey) -> String {
    match key {
        IdKey::Header(name) => format!("header {name}"),
        IdKey::Cookie(name) => format!("cookie {name}"),
        IdKey::Query(name) => format!("query {name}"),
        IdKey::PathSegment(at) => format!("path_segment {at}"),
        IdKey::SourceAddress => "source_address".to_owned(),
        IdKey::Jwt(JwtKey { claim, from, signed }) => {
            let from = match from {
                JwtFrom::Header(name) => format!("header {name}"),
                JwtFrom::Cookie(name) => format!("cookie {name}"),
            };
            let signed = match signed {
                Some(signed) => format!(", signed {} by {}", signed.algorithm().as_str(), signed.file().display()),
                None => String::new(),
            };
            format!("jwt {claim} of {from}{signed}")
        }
    }
}

fn canonical(form: &Canonical) -> String {
    let Canonical { trim, lower } = form;
    format!("trim {}, case {}", show::on_off(*trim), if *lower { "lower" } else { "keep" })
}

fn anonymous(value: &Anonymous) -> String {
    match value {
        Anonymous::Stable => "stable".to_owned(),
        Anonymous::Cookie(IdCookie { name, ttl, path }) => {
            format!("sticky_cookie {name} ({}, {path})", show::duration(ttl))
        }
    }
}

fn judge(old: JudgeRules, new: JudgeRules, notes: &mut Notes) {
    let JudgeRules { min_requests, confidence, error_margin, latency_margin } = new;
    let mut number = |name, old: f64, new: f64| {
        notes.field(Touches::Nothing, &format!("judge {name}"), &old, &new, show::plain);
    };
    number("min_requests", f64::from(old.min_requests), f64::from(min_requests));
    number("confidence", old.confidence, confidence);
    number("error_margin", old.error_margin, error_margin);
    number("latency_margin", old.latency_margin, latency_margin);
}

fn mirror(old: Option<&Mirror>, new: Option<&Mirror>, notes: &mut Notes) {
    let mut group = Group::new("mirror", notes);
    let (Some(old), Some(new)) = (old, new) else {
        let shown = |mirror: &Option<&Mirror>| mirror.map(|one| format!("{} % to {}", one.share, one.cluster));
        return group.whole(&old, &new, shown);
    };
    let Mirror { cluster, share, unsafe_methods, max_concurrent, timeout, body_bytes } = new;
    group.field("cluster", &old.cluster, cluster, show::plain);
    group.field("percent", &old.share, share, show::plain);
    group.field("unsafe_methods", &old.unsafe_methods, unsafe_methods, |on| show::on_off(*on).to_owned());
    group.field("max_concurrent", &old.max_concurrent, max_concurrent, show::plain);
    group.field("timeout", &old.timeout, timeout, show::duration);
    group.field("body_bytes", &old.body_bytes, body_bytes, |n| show::size(*n));
}

fn rollout(old: Option<&Rollout>, new: Option<&Rollout>, notes: &mut Notes) {
    let mut group = Group::new("rollout", notes);
    let steps = |steps: &Vec<_>| shown_steps(steps);
    let (Some(old), Some(new)) = (old, new) else {
        let shown = |rollout: &Option<&Rollout>| {
            rollout.map(|one| format!("steps {}, hold {}", shown_steps(&one.steps), show::duration(&one.hold)))
        };
        return group.whole(&old, &new, shown);
    };
    let Rollout { steps: new_steps, hold, guard, on_fail } = new;
    let Guard { error_percent, latency_factor, window, min_requests } = guard;
    group.field("steps", &old.steps, new_steps, steps);
    group.field("hold", &old.hold, hold, show::duration);
    group.field("guard error_rate", &old.guard.error_percent, error_percent, show::plain);
    group.field("guard latency_factor", &old.guard.latency_factor, latency_factor, show::plain);
    group.field("guard window", &old.guard.window, window, show::duration);
    group.field("guard min_requests", &old.guard.min_requests, min_requests, show::plain);
    group.field("on_fail", &old.on_fail, on_fail, |on_fail| match on_fail {
        OnFail::Rollback => "rollback".to_owned(),
        OnFail::Pause => "pause".to_owned(),
    });
}

fn shown_steps(steps: &[impl Display]) -> String {
    steps.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}
