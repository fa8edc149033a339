//! The shape as a page to read: `docs/reference/configuration.md` is made of it.
//!
//! Sections are maps of the file, each with the paths at which it stands; rows are their keys. Each key
//! has an anchor at each of its paths, so that `#listeners.routes.timeout` leads to it.

use std::fmt::Write as _;

use super::{CONFIG, Integer, Key, Kind, List, Need, Object, Words, effect};
use crate::diff::{Touches, shown_size};

/// What comes first, as most people look for it; the rest follows in the order of the file.
const FIRST: [&str; 3] = ["listeners", "clusters", "releases"];

/// Pages that explain what stands under a path, from the folder of the reference.
const PAGES: [(&str, &str); 41] = [
    ("admin", "../operations.md#who-may-ask"),
    ("shutdown", "../operations.md#the-drain"),
    ("access_log", "../operations.md#the-access-log"),
    ("tracing", "../tracing.md"),
    ("tracing.otlp", "../tracing.md"),
    ("listeners", "../configuration.md#listeners"),
    ("listeners.routes", "../routing.md"),
    ("listeners.routes.match", "../configuration.md#what-a-route-matches"),
    ("listeners.routes.redirect", "../routing.md"),
    ("listeners.routes.respond", "../routing.md"),
    ("listeners.routes.rewrite", "../routing.md"),
    ("listeners.routes.headers", "../routing.md"),
    ("listeners.routes.retry", "../resilience.md#retries"),
    ("listeners.rate_limit", "../routing.md"),
    ("listeners.tls", "../tls.md"),
    ("listeners.http2", "../http2.md"),
    ("listeners.udp", "../udp.md"),
    ("listeners.proxy_protocol", "../tcp.md"),
    ("clusters", "../configuration.md#clusters"),
    ("clusters.hash", "../balancing.md"),
    ("clusters.sticky", "../balancing.md"),
    ("clusters.endpoints", "../configuration.md#endpoints"),
    ("clusters.resolve", "../discovery.md"),
    ("clusters.health_checks", "../health-checks.md"),
    ("clusters.health_checks.http_health_check", "../health-checks.md"),
    ("clusters.health_checks.tcp_health_check", "../health-checks.md"),
    ("clusters.health_checks.grpc_health_check", "../health-checks.md"),
    ("clusters.health_checks.udp_health_check", "../health-checks.md"),
    ("clusters.outlier_detection", "../resilience.md#which-endpoint-is-taken-out"),
    ("clusters.circuit_breaker", "../resilience.md#limits-and-the-queue"),
    ("clusters.retry_budget", "../resilience.md#retries"),
    ("clusters.panic", "../resilience.md#panic"),
    ("clusters.zone_aware", "../balancing.md"),
    ("clusters.slow_start", "../resilience.md"),
    ("clusters.tls", "../tls.md"),
    ("releases", "../gray-release.md"),
    ("releases.key.jwt", "../configuration.md#where-a-users-id-is-found"),
    ("releases.canaries", "../gray-release.md"),
    ("releases.canaries.rollout", "../gray-release.md#letting-it-go-by-itself"),
    ("releases.judge", "../gray-release.md"),
    ("releases.mirror", "../gray-release.md"),
];

const HEAD: &str = "# Reference: configuration

Every key of the file, made from the schema that `weir check` holds it against and `weir schema` prints; an editor that
has the schema shows the same words. How a file is written, with examples, is in [configuration.md](../configuration.md).

A path is the names of keys from the top, as in `listeners.routes.timeout`; each is an anchor of this page. A *duration*
is a number with its unit (`500ms`, `5s`, `1h30m`), a *size* is bytes or has a unit (`32KiB`, `10MiB`), and `${NAME}`
may stand for any value. Every key is there since 0.1.0. When a change of a key counts is said under each heading;
`weir diff` says it of an edit, and [reload.md](../reload.md) explains it.
";

/// A map of the file.
struct Section {
    object: &'static Object,
    /// Where it stands; the first is its heading.
    paths: Vec<String>,
}

impl Section {
    fn heading(&self) -> &str {
        &self.paths[0]
    }

    fn depth(&self) -> usize {
        self.heading().split('.').count()
    }
}

/// The reference of the configuration, in Markdown.
#[must_use]
pub fn reference() -> String {
    let sections = sections();
    let mut text = HEAD.to_owned() + "\n- [the top](#the-top)\n";
    for section in &sections[1..] {
        let path = section.heading();
        let name = path.rsplit('.').next().unwrap_or(path);
        let _ = writeln!(text, "{:2$}- [`{name}`](#{})", "", anchor(path), 2 * (section.depth() - 1));
    }
    for section in &sections {
        text += "\n";
        text += &written(section, &sections);
    }
    text
}

/// The sections in the order of the page, the whole file first. A map that stands at several paths is told
/// at the shortest.
fn sections() -> Vec<Section> {
    let mut places: Vec<(String, &'static Object)> = vec![(String::new(), &CONFIG)];
    let (first, rest): (Vec<&Key>, Vec<&Key>) = CONFIG.keys.iter().partition(|key| FIRST.contains(&key.name));
    for key in first.into_iter().chain(rest) {
        visit(&key.kind, key.name, &mut places);
    }
    let mut sections: Vec<Section> = Vec::new();
    for (path, object) in &places {
        let same = places.iter().filter(|(_, other)| other.title == object.title).map(|(path, _)| path.clone());
        let mut paths: Vec<String> = same.collect();
        paths.sort_by_key(|path| path.split('.').count());
        if paths[0] == *path {
            sections.push(Section { object, paths });
        }
    }
    sections
}

fn visit(kind: &'static Kind, path: &str, places: &mut Vec<(String, &'static Object)>) {
    match kind {
        // The same map with a key less stands where something around it says that key.
        Kind::Object(_) if places.iter().any(|(other, _)| other == path) => {}
        Kind::Object(object) => {
            places.push((path.to_owned(), object));
            for key in object.keys {
                visit(&key.kind, &format!("{path}.{}", key.name), places);
            }
        }
        Kind::List(list) => visit(&list.of, path, places),
        Kind::Map(_, of) => visit(of, path, places),
        // A list of them is the longer form.
        Kind::Any(kinds) => kinds.iter().rev().for_each(|kind| visit(kind, path, places)),
        _ => {}
    }
}

fn written(section: &Section, all: &[Section]) -> String {
    let (object, path) = (section.object, section.heading());
    let mut text = match path {
        "" => "## The top\n".to_owned(),
        path => format!("{} `{path}`\n", if section.depth() == 1 { "##" } else { "###" }),
    };
    let _ = write!(text, "\n{}", object.doc);
    if let [_, others @ ..] = &section.paths[..]
        && !others.is_empty()
    {
        let others: Vec<String> = others.iter().map(|path| format!("`{path}`")).collect();
        let _ = write!(text, " The same keys stand in {}.", others.join(", "));
    }
    for choice in object.choices {
        let keys = names(choice.of);
        let _ = match choice.needed {
            Some(_) => write!(text, " Exactly one of {keys} is given."),
            None => write!(text, " Of {keys} one at the most is given."),
        };
    }
    let _ = write!(text, " {}", counts(section));
    if let Some((_, page)) = PAGES.iter().find(|(under, _)| *under == path) {
        let name = page.trim_start_matches("../").split('#').next().unwrap_or(page);
        let _ = write!(text, " More: [{name}]({page}).");
    }
    text += "\n\n| key | value | default | meaning |\n|---|---|---|---|\n";
    for key in object.keys {
        text += &row(key, section, all);
    }
    text
}

/// When a change counts: what holds for most keys, then the exceptions.
fn counts(section: &Section) -> String {
    let of = |key: &Key| effect::of(join(section.heading(), key.name).as_str());
    let groups = [
        Some(Touches::NewRequests),
        Some(Touches::NewConnections),
        Some(Touches::Connections),
        Some(Touches::Nothing),
        None,
    ];
    let members = |group| section.object.keys.iter().filter(move |key| of(key) == group).map(|key| key.name);
    let most = groups.into_iter().rev().max_by_key(|group| members(*group).count()).flatten();
    let mut text = match most {
        Some(Touches::Nothing) => "A change touches no traffic".to_owned(),
        Some(Touches::NewRequests) => "A change counts for new requests".to_owned(),
        Some(Touches::NewConnections) => "A change counts for new connections".to_owned(),
        Some(Touches::Connections) => "A change drains open connections".to_owned(),
        None => "A change needs a new process".to_owned(),
    };
    for group in groups.into_iter().filter(|group| *group != most) {
        let keys: Vec<&str> = members(group).collect();
        if keys.is_empty() {
            continue;
        }
        let what = match group {
            Some(Touches::Nothing) => "touches no traffic",
            Some(Touches::NewRequests) => "counts for new requests",
            Some(Touches::NewConnections) => "counts for new connections",
            Some(Touches::Connections) => "drains connections that are open",
            None => "**needs a restart**",
        };
        let _ = write!(text, "; of {} it {what}", names(&keys));
    }
    text + "."
}

fn row(key: &Key, section: &Section, all: &[Section]) -> String {
    // At the top, the heading of a section is the anchor already.
    let headed = |path: &str| all.iter().any(|section| section.heading() == path && section.depth() == 1);
    let paths = section.paths.iter().map(|path| join(path, key.name)).filter(|path| !headed(path));
    let anchors: String = paths.map(|path| format!("<a id=\"{path}\"></a>")).collect();
    let path = join(section.heading(), key.name);
    let default = match key.need {
        Need::Required(_) => "**required**".to_owned(),
        Need::Default(yaml) => format!("`{yaml}`"),
        Need::Optional(otherwise) => otherwise.to_owned(),
    };
    let mut meaning = key.doc.to_owned();
    words(&key.kind, &mut meaning);
    let told = matches!(key.need, Need::Default(yaml) if yaml == key.example);
    let plain = matches!(key.kind, Kind::Bool | Kind::Word(_) | Kind::Integer(_));
    if !told && !plain {
        let _ = write!(meaning, "<br>Example: `{}`", key.example);
    }
    let value = value(&key.kind, &path, all);
    let cells = format!("{anchors}`{}` | {value} | {default} | {meaning}", key.name);
    let cells: Vec<String> = cells.split(" | ").map(|cell| cell.replace('|', "\\|")).collect();
    format!("| {} |\n", cells.join(" | "))
}

/// What may stand there.
fn value(kind: &Kind, path: &str, all: &[Section]) -> String {
    match kind {
        Kind::Bool => "`true` or `false`".to_owned(),
        Kind::Integer(Integer { min, max, .. }) if *max >= u64::from(u32::MAX) => format!("whole number, from {min}"),
        Kind::Integer(Integer { min, max, .. }) => format!("whole number, {min} to {max}"),
        Kind::Number(number) => format!("number {}", number.range),
        Kind::Duration { zero: true } => "duration, `0s` too".to_owned(),
        Kind::Duration { zero: false } => "duration".to_owned(),
        Kind::Ttl => "duration, in days too, up to `400d`".to_owned(),
        Kind::Size { max, .. } if *max == u64::MAX => "size".to_owned(),
        Kind::Size { max, .. } => format!("size, up to `{}`", shown_size(*max)),
        Kind::Text(rule) => rule.noun.trim_start_matches("a ").trim_start_matches("an ").to_owned(),
        Kind::Word(words) => {
            let known: Vec<String> = words.known.iter().map(|(word, _)| format!("`{word}`")).collect();
            known.join(", ")
        }
        Kind::Object(object) => {
            let there = all.iter().find(|section| section.paths.iter().any(|other| other == path));
            let there = there.or_else(|| all.iter().find(|section| section.object.title == object.title));
            there.map_or_else(|| "map".to_owned(), |section| format!("[map](#{})", anchor(section.heading())))
        }
        Kind::List(List { of, or_one: true, .. }) => format!("{}; or a list of them", value(of, path, all)),
        Kind::List(List { of: Kind::Object(object), .. }) => {
            value(&Kind::Object(object), path, all).replace("[map]", "[list of maps]")
        }
        Kind::List(list) => format!("list: {}", value(&list.of, path, all)),
        Kind::Map(rule, of) => format!("map from {} to: {}", rule.noun, value(of, path, all)),
        Kind::Any(kinds) => {
            let each: Vec<String> = kinds.iter().map(|kind| value(kind, path, all)).collect();
            each.join("; or ")
        }
    }
}

/// What each word means, where words may stand.
fn words(kind: &Kind, text: &mut String) {
    match kind {
        Kind::Word(Words { known, .. }) => {
            for (word, doc) in *known {
                let _ = write!(text, "<br>`{word}`: {doc}");
            }
        }
        Kind::List(list) => words(&list.of, text),
        Kind::Any(kinds) => kinds.iter().for_each(|kind| words(kind, text)),
        _ => {}
    }
}

fn names(keys: &[&str]) -> String {
    keys.iter().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", ")
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// The anchor of a heading that is a path.
fn anchor(path: &str) -> String {
    path.replace('.', "")
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn each_key_stands_in_it_once_at_each_path() {
        let text = reference();
        let ids: Vec<&str> = text.split("<a id=\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
        let unique: HashSet<&str> = ids.iter().copied().collect();
        assert_eq!(unique.len(), ids.len());
        for path in
            ["zone", "listeners.routes.timeout", "admin.tls.cert", "clusters.endpoints.zone", "releases.key.jwt"]
        {
            assert!(unique.contains(path), "{path}");
        }
    }

    #[test]
    fn headings_lead_to_one_place() {
        let sections = sections();
        let anchors: HashSet<String> = sections.iter().map(|section| anchor(section.heading())).collect();
        assert_eq!(anchors.len(), sections.len());
        for (path, _) in PAGES {
            assert!(sections.iter().any(|section| section.heading() == path), "{path} heads no section");
        }
    }
}
