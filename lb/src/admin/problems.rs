//! What is wrong now, in words: what an operator wants to know before any number.
//!
//! Pure: from the status, certificates and releases. Not an alert: it is gone when its cause is, and
//! it says what is so, not for how long it may be.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use super::status::{Cluster, Endpoint, Status};
use crate::control::Ending;
use crate::observe::journal::Level;

/// Endpoints named in one sentence; the others are counted.
const NAMED: usize = 3;

/// Something that is not as it should be, or not as it always is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Problem {
    /// `error`: requests are lost, or an order was refused; `warn`: worth a look; `info`: an operator
    /// wants it so.
    level: Level,
    /// One word.
    what: &'static str,
    /// One sentence.
    words: String,
    /// More of it, perhaps.
    detail: Vec<String>,
    /// RFC 3339, if it is known.
    since: Option<String>,
    /// The cluster it is about, if it is about one.
    cluster: Option<String>,
}

impl Problem {
    const fn new(level: Level, what: &'static str, words: String) -> Self {
        Self { level, what, words, detail: Vec::new(), since: None, cluster: None }
    }

    fn of_cluster(level: Level, what: &'static str, cluster: &Cluster, words: &str) -> Self {
        let words = format!("{}: {words}", cluster.name);
        Self { cluster: Some(cluster.name.clone()), ..Self::new(level, what, words) }
    }
}

/// The worst first; within that, in the order of the configuration.
pub(super) fn of(status: &Status, endings: &[Ending], releases: &Value) -> Vec<Problem> {
    let mut all = of_process(status);
    status.clusters.iter().for_each(|one| of_cluster(one, &mut all));
    all.extend(endings.iter().map(|ending| {
        // Two weeks are worth a look here, though they are no alarm yet.
        let level = if ending.level == Level::Info { Level::Warn } else { Level::Error };
        Problem::new(level, "certificate", ending.words.clone())
    }));
    releases.as_array().into_iter().flatten().for_each(|one| of_release(one, &mut all));
    let order = |drill: bool, one: &super::status::Order| {
        let (level, what, verb) =
            if drill { (Level::Warn, "drill", "runs") } else { (Level::Info, "drain", "is drained") };
        Problem::new(level, what, format!("{} {verb}, ordered by {}", one.words, one.by))
    };
    all.extend(status.drills.iter().map(|drill| order(true, drill)));
    all.extend(status.drains.iter().map(|drain| order(false, drain)));
    all.sort_by_key(|problem| match problem.level {
        Level::Error => 0,
        Level::Warn => 1,
        Level::Info => 2,
    });
    all
}

fn of_process(status: &Status) -> Vec<Problem> {
    let mut all = Vec::new();
    let last = &status.config.last_reload;
    if last.result == "rejected" {
        let problem = Problem::new(Level::Error, "reload", last.message.clone());
        all.push(Problem { since: Some(last.at.clone()), ..problem });
    }
    match &*status.phase {
        "starting" => {
            let words = "Starting: not every endpoint has been judged yet".to_owned();
            all.push(Problem::new(Level::Info, "phase", words));
        }
        "draining" => all.push(Problem::new(Level::Warn, "phase", "Draining: this instance takes no new work".into())),
        _ => {}
    }
    for listener in &status.listeners {
        for address in listener.addresses.iter().filter(|address| address.bound.is_none()) {
            let words = format!("Listener {} is not served on {}", listener.name, address.configured);
            all.push(Problem::new(Level::Error, "listener", words));
        }
    }
    all
}

fn of_cluster(cluster: &Cluster, all: &mut Vec<Problem>) {
    if cluster.usable == 0 {
        let words = format!("no endpoint can be used ({})", cluster.using);
        all.push(Problem::of_cluster(Level::Error, "nobody", cluster, &words));
    }
    if let Some(panic) = &cluster.panic {
        all.push(Problem::of_cluster(Level::Error, "panic", cluster, &format!("panic, {}", panic.words)));
    }
    match cluster.breaker.as_ref().map(|breaker| &*breaker.state) {
        Some("open") => {
            let words = "its breaker is open, requests are refused";
            all.push(Problem::of_cluster(Level::Error, "breaker", cluster, words));
        }
        Some("half_open") => {
            let words = "its breaker lets trials through";
            all.push(Problem::of_cluster(Level::Warn, "breaker", cluster, words));
        }
        _ => {}
    }
    for (state, what) in [("unhealthy", "unhealthy"), ("ejected", "ejected by traffic"), ("probation", "on probation")]
    {
        let bad: Vec<&Endpoint> = cluster.endpoints.iter().filter(|one| one.status == state).collect();
        if !bad.is_empty() {
            all.push(endpoints(cluster, state, what, &bad));
        }
    }
    for source in &cluster.sources {
        let why = source.failure.as_deref().map(|why| format!(": {why}")).unwrap_or_default();
        match &*source.state {
            "stale" => {
                let words = format!("{} is stale, its last endpoints stay in force{why}", source.source);
                all.push(Problem::of_cluster(Level::Warn, "discovery", cluster, &words));
            }
            "unresolved" => {
                let words = format!("{} tells no endpoint{why}", source.source);
                all.push(Problem::of_cluster(Level::Error, "discovery", cluster, &words));
            }
            _ => {}
        }
    }
}

/// As `shop: 3 of 9 endpoints are unhealthy, all of zone az-b`.
fn endpoints(cluster: &Cluster, state: &'static str, what: &str, bad: &[&Endpoint]) -> Problem {
    let mut zones: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for one in &cluster.endpoints {
        let counts = zones.entry(one.zone.as_deref().unwrap_or_default()).or_default();
        counts.0 += usize::from(one.status == state);
        counts.1 += 1;
    }
    let whole: Vec<&str> =
        zones.iter().filter(|(zone, (bad, all))| !zone.is_empty() && bad == all).map(|(zone, _)| *zone).collect();
    let (count, of) = (bad.len(), cluster.endpoints.len());
    let verb = if count == 1 { "is" } else { "are" };
    let mut words = format!("{count} of {of} endpoints {verb} {what}");
    match whole.as_slice() {
        [] => {}
        [zone] if zones.len() > 1 => words += &format!(", all of zone {zone}"),
        zones => words += &format!(", all of {} zones", zones.len()),
    }
    let level = if state == "probation" { Level::Info } else { Level::Warn };
    let mut problem = Problem::of_cluster(level, state, cluster, &words);
    problem.detail = bad.iter().take(NAMED).map(|one| format!("{}: {}", one.address, one.reason)).collect();
    if count > NAMED {
        problem.detail.push(format!("and {} more", count - NAMED));
    }
    // RFC 3339 in UTC sorts as time does.
    problem.since = bad.iter().map(|one| &one.since).min().cloned();
    problem
}

fn of_release(release: &Value, all: &mut Vec<Problem>) {
    let name = release["name"].as_str().unwrap_or_default();
    for canary in release["canaries"].as_array().into_iter().flatten() {
        let cluster = canary["cluster"].as_str().unwrap_or_default();
        let (level, what) = match canary["rollout"]["phase"].as_str() {
            Some("paused") => (Level::Warn, "is paused"),
            Some("failed") => (Level::Error, "has failed"),
            _ if canary["verdict"]["kind"] == "rollback" => (Level::Warn, "should be rolled back"),
            _ => continue,
        };
        let why = [&canary["rollout"]["why"], &canary["verdict"]["why"]].into_iter().find_map(Value::as_str);
        let why = why.filter(|_| what != "is paused").map(|why| format!(": {why}")).unwrap_or_default();
        all.push(Problem::new(level, "release", format!("Release {name}: canary {cluster} {what}{why}")));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn endpoint(zone: &str, status: &str) -> Value {
        json!({
            "address": format!("{zone}:80"), "zone": zone, "weight": 1, "status": status, "since": "2030-01-01T00:00:00Z",
            "since_seconds": 1, "reason": "connection refused", "in_flight": 0, "requests": 0, "failures": 0,
            "connections": 0, "checks": [],
        })
    }

    fn status(change: impl FnOnce(&mut Value)) -> Status {
        let mut status = json!({
            "instance": "i", "version": "1", "phase": "serving", "started": "", "uptime_seconds": 1, "zone": null,
            "generation": 1,
            "config": {"path": "weir.yaml", "hash": "", "generation": 1, "since": "", "age_seconds": 1,
                       "last_reload": {"at": "then", "trigger": "file", "result": "applied", "message": "fine"}},
            "listeners": [{"name": "web", "addresses": [{"configured": "a:80", "bound": "a:80"}], "routes": 1,
                           "connections": 0, "accepted": 0, "rejected": 0}],
            "clusters": [{"name": "shop", "balance": "random", "using": "healthy", "healthy": 4, "usable": 4,
                          "endpoints": [endpoint("a", "healthy"), endpoint("a", "healthy"),
                                        endpoint("b", "healthy"), endpoint("b", "healthy")]}],
        });
        change(&mut status);
        serde_json::from_value(status).unwrap()
    }

    fn told(change: impl FnOnce(&mut Value)) -> Vec<String> {
        let all = of(&status(change), &[], &json!([]));
        all.iter().map(|one| format!("{:?} {}: {}", one.level, one.what, one.words)).collect()
    }

    #[test]
    fn nothing_is_wrong_with_what_is_well() {
        assert_eq!(told(|_| {}), Vec::<String>::new());
    }

    #[test]
    fn a_zone_that_went_is_one_sentence() {
        let wrong = told(|status| {
            for at in [2, 3] {
                status["clusters"][0]["endpoints"][at]["status"] = "unhealthy".into();
            }
        });
        assert_eq!(wrong, ["Warn unhealthy: shop: 2 of 4 endpoints are unhealthy, all of zone b"]);
    }

    #[test]
    fn each_trouble_has_its_words_and_the_worst_comes_first() {
        let wrong = told(|status| {
            status["config"]["last_reload"]["result"] = "rejected".into();
            status["phase"] = "draining".into();
            status["drains"] = json!([{"words": "zone b", "by": "ann", "left_seconds": 5}]);
            status["drills"] = json!([{"words": "drill 1: gone", "by": "bob", "left_seconds": 5}]);
            status["listeners"][0]["addresses"][0]["bound"] = Value::Null;
            let cluster = &mut status["clusters"][0];
            cluster["usable"] = 0.into();
            cluster["using"] = "all_ejected".into();
            cluster["panic"] = json!({"since_seconds": 1, "words": "1 of 4 left"});
            cluster["breaker"] = json!({"state": "open", "opens_seconds": 1});
            cluster["sources"] = json!([{"source": "dns:a", "state": "stale", "endpoints": 1, "failures": 1}]);
            cluster["endpoints"][0]["status"] = "ejected".into();
        });
        assert_eq!(
            wrong,
            [
                "Error reload: fine",
                "Error listener: Listener web is not served on a:80",
                "Error nobody: shop: no endpoint can be used (all_ejected)",
                "Error panic: shop: panic, 1 of 4 left",
                "Error breaker: shop: its breaker is open, requests are refused",
                "Warn phase: Draining: this instance takes no new work",
                "Warn ejected: shop: 1 of 4 endpoints is ejected by traffic",
                "Warn discovery: shop: dns:a is stale, its last endpoints stay in force",
                "Warn drill: drill 1: gone runs, ordered by bob",
                "Info drain: zone b is drained, ordered by ann",
            ]
        );
    }

    #[test]
    fn certificates_and_canaries_are_told() {
        let endings = [Ending { words: "listener web: a.pem expires in 9 days".into(), level: Level::Info }];
        let canary = |phase: &str| json!({"cluster": "v2", "rollout": {"phase": phase}, "verdict": {"kind": "wait"}});
        let releases = json!([{ "name": "orders", "canaries": [canary("paused"), canary("advancing")] }]);
        let words: Vec<String> = of(&status(|_| {}), &endings, &releases).into_iter().map(|one| one.words).collect();
        assert_eq!(words, ["listener web: a.pem expires in 9 days", "Release orders: canary v2 is paused"]);
    }
}
