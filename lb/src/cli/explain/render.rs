//! One request's way, for a person.

use std::fmt::Write as _;

use crate::cli::paint::Paint;
use crate::cli::table::{Cell, Table, age};
use crate::control::explain::{Cluster, Endpoint, Explained, Level, Pick, Release, Route, Served};

/// The whole way, in sections from the listener to the endpoint.
pub(super) fn text(explained: &Explained, paint: Paint) -> String {
    let mut sections = vec![head(explained, paint), routes(explained, paint)];
    sections.extend(explained.release.as_ref().map(|release| self::release(release, paint)));
    sections.extend(explained.cluster.as_ref().map(|cluster| self::cluster(cluster, paint)));
    sections.extend(explained.pick.as_ref().map(|pick| self::pick(pick, paint)));
    sections.extend(treated(explained, paint));
    if let Some(refused) = &explained.refused {
        let said = if refused.status == 0 { "no answer".to_owned() } else { refused.status.to_string() };
        let said = paint.bad(&format!("{said} {}", refused.reason));
        sections.push(format!("{}  {said}: {}\n", paint.bold("answered by us"), refused.words));
    }
    if !explained.notes.is_empty() {
        let notes: String = explained.notes.iter().map(|note| format!("  {note}\n")).collect();
        sections.push(format!("{}\n{notes}", paint.bold("notes")));
    }
    sections.join("\n")
}

/// What is done to it on its way.
fn treated(explained: &Explained, paint: Paint) -> Option<String> {
    let mut text = String::new();
    for limit in &explained.limits {
        line(&mut text, "limit", &format!("of the {}, {}: {} left", limit.of, limit.words, limit.left));
    }
    if let Some(rewritten) = &explained.rewritten {
        rewritten.target.iter().for_each(|target| line(&mut text, "path", &format!("endpoints see {target}")));
        rewritten.host.iter().for_each(|host| line(&mut text, "host", &format!("endpoints see {host}")));
    }
    if let Some(reply) = explained.reply.as_ref().filter(|_| explained.refused.is_none()) {
        let to = reply.location.as_ref().map(|location| format!(" to {location}")).unwrap_or_default();
        line(&mut text, "answer", &format!("{}{to}, by the route itself", reply.status));
    }
    (!text.is_empty()).then(|| format!("{}\n{text}", paint.bold("on the way")))
}

fn head(explained: &Explained, paint: Paint) -> String {
    let request = &explained.request;
    let mut told = vec![format!("from {}", request.client), format!("generation {}", explained.generation)];
    told.extend(explained.zone.as_ref().map(|zone| format!("zone {zone}")));
    told.extend(explained.seed.map(|seed| format!("seed {seed}")));
    let asked = format!("{} {}{}", request.method, request.host, request.target);
    let served = explained.served.as_ref().map(|served| self::served(served, paint)).unwrap_or_default();
    format!("{}  {}\n{served}", paint.bold(&asked), told.join(" · "))
}

fn served(served: &Served, paint: Paint) -> String {
    let said = if served.status == 0 { "no answer".to_owned() } else { served.status.to_string() };
    let reason = served.reason.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default();
    let by = served.endpoint.as_ref().map(|endpoint| format!(" by {endpoint}")).unwrap_or_default();
    let attempts = match served.attempts {
        1 => "1 attempt".to_owned(),
        many => format!("{many} attempts"),
    };
    let said = if served.status == 0 || served.status >= 500 { paint.bad(&said) } else { said };
    let mut text = format!("  got {said}{reason}{by} in {:.1} ms, {attempts}, at {}\n", served.took_ms, served.at);
    let id = served.request_id.as_ref().map(|id| format!(", request id {id}")).unwrap_or_default();
    // Writing to a String cannot fail.
    let _ = writeln!(text, "  decision {}{id}", served.decision);
    for (at, attempt) in (1..).zip(&served.earlier) {
        let endpoint = attempt.endpoint.as_deref().unwrap_or("nobody");
        let _ = writeln!(text, "  attempt {at} went to {endpoint}: {}", attempt.why);
    }
    text
}

fn routes(explained: &Explained, paint: Paint) -> String {
    let mut text = format!("{}\n", paint.bold(&format!("listener {}", explained.listener)));
    if explained.routes_left_out > 0 {
        let _ = writeln!(text, "  {} routes before these do not match", explained.routes_left_out);
    }
    let widths =
        |of: fn(&Route) -> &str| explained.routes.iter().map(|route| of(route).chars().count()).max().unwrap_or(0);
    let lines = explained.routes.iter().map(|route| route.line.to_string().len()).max().unwrap_or(0);
    let (name, matches) = (widths(|route| &route.route), widths(|route| &route.matches));
    for Route { route, line, matches: its, to, taken, verdict } in &explained.routes {
        let row = format!("{route:<name$}  line {line:<lines$}  {its:<matches$}  {verdict}");
        let _ = match taken {
            true => writeln!(text, "  {}  {row} -> {to}", paint.yes("yes")),
            false => writeln!(text, "  {}", paint.dim(&format!("no   {row}"))),
        };
    }
    text
}

/// A line of a section: a word in a column of its own, and what it is.
fn line(text: &mut String, word: &str, what: &str) {
    let _ = writeln!(text, "  {word:<9} {what}");
}

fn release(release: &Release, paint: Paint) -> String {
    let mut text = format!("{}\n", paint.bold(&format!("release {}", release.name)));
    for (at, key) in release.keys.iter().enumerate() {
        let found = key.found.as_ref().map_or_else(|| "not there".to_owned(), |found| format!("{found:?}"));
        line(&mut text, if at == 0 { "key" } else { "" }, &format!("{}: {found}", key.place));
    }
    match &release.id {
        Some(id) if release.handed => line(&mut text, "id", &format!("{id}, made for it and handed out in a cookie")),
        Some(id) => line(&mut text, "id", id),
        None if release.bucket.is_some() => line(&mut text, "id", "not kept: it is a credential"),
        None => line(&mut text, "id", "none"),
    }
    if let Some(bucket) = release.bucket {
        let owner = release.owner.as_deref().unwrap_or("nobody");
        line(&mut text, "bucket", &format!("{bucket} of 10000, with salt {:?}: belongs to {owner}", release.salt));
    }
    let mut table = Table::new(&["VERSION", ">WEIGHT", "BUCKETS", ""]);
    for version in &release.versions {
        let remark = match (version.closed, version.supposed) {
            (true, _) => "closed: nobody gets it",
            (false, true) => "supposed, not in force",
            (false, false) => "",
        };
        let weight = format!("{} %", version.percent);
        table.row([&version.cluster, &weight, &version.buckets, remark].map(Cell::plain));
    }
    text.push_str(&trimmed(&table.render("            ", paint)));
    for (at, rule) in release.rules.iter().enumerate() {
        let took = if rule.took { paint.yes("takes it") } else { "does not take it".into() };
        line(&mut text, if at == 0 { "rules" } else { "" }, &format!("{}, {}: {took}", rule.list, rule.rule));
    }
    line(&mut text, "decided", &format!("{}: {} -> {}", release.why, release.words, paint.yes(&release.assigned)));
    if release.moved_by_health {
        let moved = format!("{} has no usable endpoint, so {} serves it", release.assigned, release.cluster);
        line(&mut text, "moved", &paint.state("warn", &moved));
    }
    if let Some(mirror) = &release.mirrored_to {
        line(&mut text, "mirrored", &format!("a copy goes to {mirror}"));
    }
    text
}

fn cluster(cluster: &Cluster, paint: Paint) -> String {
    let mut text = format!("{}\n", paint.bold(&format!("cluster {}", cluster.name)));
    line(&mut text, "balance", &format!("{}, using {}", cluster.balance, cluster.using));
    if let Some(panic) = &cluster.panic {
        line(&mut text, "panic", &paint.bad(panic));
    }
    let state = cluster.breaker.state.replace('_', " ");
    line(&mut text, "breaker", &format!("{}: {}", paint.state(&cluster.breaker.state, &state), cluster.breaker.words));
    for drill in &cluster.drills {
        line(&mut text, "drill", &paint.state("warn", drill));
    }
    for level in &cluster.levels {
        level_lines(&mut text, level);
    }
    if !cluster.endpoints.is_empty() {
        text.push_str(&trimmed(&endpoints(&cluster.endpoints).render("  ", paint)));
    }
    if cluster.endpoints_left_out > 0 {
        let _ = writeln!(text, "  and {} more", cluster.endpoints_left_out);
    }
    text
}

fn level_lines(text: &mut String, level: &Level) {
    let panic = if level.panic { ", in panic" } else { "" };
    let Level { priority, percent, available, of, zone_reason, .. } = level;
    let told = format!("{priority}: {percent} %, {available} of {of} available{panic}; {zone_reason}");
    line(text, "priority", &told);
    for zone in &level.zones {
        let name = zone.zone.as_deref().unwrap_or("(none told)");
        line(text, "", &format!("zone {name}: {:.2} %, {} of {} usable", zone.percent, zone.usable, zone.of));
    }
}

fn endpoints(endpoints: &[Endpoint]) -> Table {
    let mut table = Table::new(&["", "ENDPOINT", "ZONE", "STATUS", "FOR", ">WEIGHT", ">SHARE", ">ACTIVE", "WHY"]);
    for one in endpoints {
        let reason = one.reason.as_deref().unwrap_or_default();
        let why = match &one.why_not {
            Some(why_not) if reason.is_empty() => why_not.clone(),
            Some(why_not) => format!("{why_not} ({reason})"),
            None => reason.to_owned(),
        };
        let weight = match one.weight_percent {
            100.0 => one.weight.to_string(),
            part => format!("{} at {part:.1} %", one.weight),
        };
        table.row([
            Cell::plain(if one.picked { ">" } else { "" }),
            Cell::plain(&one.address),
            Cell::plain(one.zone.as_deref().unwrap_or("-")),
            Cell::state(&one.status),
            Cell::plain(one.since_seconds.map_or_else(|| "-".into(), age)),
            Cell::plain(weight),
            Cell::plain(format!("{:.1} %", one.share_percent)),
            Cell::plain(one.in_flight),
            Cell::plain(why),
        ]);
    }
    table
}

fn pick(pick: &Pick, paint: Paint) -> String {
    let who = match &pick.endpoint {
        Some(endpoint) => paint.yes(endpoint),
        None => paint.bad("nobody"),
    };
    let mut text = format!("{}  {who}: {}\n", paint.bold("pick"), pick.words);
    if let Some(key) = &pick.key {
        line(&mut text, "key", key);
    }
    for step in &pick.steps {
        let _ = writeln!(text, "  {step}");
    }
    text
}

/// Without blanks at the ends of lines: columns at the end may be empty.
fn trimmed(table: &str) -> String {
    table.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}
