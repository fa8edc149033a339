//! What the admin API has: the one table that the index (`GET /api/v1`) and its documentation are made
//! of. It says what there is; [`api`](super::api) answers it.

use std::fmt::Write as _;

use serde::Serialize;
use serde_json::{Value, json};

/// One thing that can be asked.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Endpoint {
    /// `GET` (and then `HEAD` too), `POST` or `DELETE`.
    pub method: &'static str,
    /// Its path; a word in capitals stands for a name or a number.
    pub path: &'static str,
    /// Its parameters, as they stand behind the `?`.
    pub parameters: &'static [&'static str],
    /// What it answers, or does.
    pub meaning: &'static str,
    /// Who may ask from elsewhere.
    pub needs: Needs,
}

/// What a request from elsewhere has to show. Over loopback and Unix sockets nothing is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Needs {
    /// Nothing: it tells nothing of the instance but whether it is there.
    Nothing,
    /// A token of either kind, or a certificate.
    Read,
    /// The token of `token_file`, or a certificate.
    Change,
}

const fn get(path: &'static str, parameters: &'static [&'static str], meaning: &'static str) -> Endpoint {
    Endpoint { method: "GET", path, parameters, meaning, needs: Needs::Read }
}

const fn open(path: &'static str, parameters: &'static [&'static str], meaning: &'static str) -> Endpoint {
    Endpoint { needs: Needs::Nothing, ..get(path, parameters, meaning) }
}

const fn profile(path: &'static str, parameters: &'static [&'static str], meaning: &'static str) -> Endpoint {
    Endpoint { needs: Needs::Change, ..get(path, parameters, meaning) }
}

const fn post(path: &'static str, parameters: &'static [&'static str], meaning: &'static str) -> Endpoint {
    Endpoint { method: "POST", path, parameters, meaning, needs: Needs::Change }
}

/// Whom an order to a release is about, where it has several canaries.
const CANARY: &[&str] = &["canary", "by"];
const DRILL: &[&str] =
    &["kind", "endpoint", "zone", "cluster", "route", "percent", "header", "for", "after", "delay", "status", "by"];

/// Everything, in the order a reader wants it.
pub const ENDPOINTS: &[Endpoint] = &[
    open("/", &[], "the status page, for a browser"),
    open("/livez", &[], "200 while the control thread answers"),
    open("/readyz", &["verbose"], "200 while it serves; 503 while it starts and while it drains"),
    get("/metrics", &[], "metrics, as Prometheus and OpenMetrics have them"),
    get("/api/v1", &[], "this list"),
    get("/api/v1/status", &["cluster"], "listeners, clusters, endpoints, health and its evidence"),
    get("/api/v1/events", &["since", "limit"], "what happened: the newest, or the first after an id"),
    get("/api/v1/stream", &["since"], "what happens, as it happens: server-sent events"),
    get("/api/v1/doctor", &[], "the instance looks at itself and its host, for some seconds"),
    get("/api/v1/config", &[], "the configuration in force: its text, hash and generation"),
    get("/api/v1/reloads", &[], "the last attempts to load the configuration: what each changed, or its mistakes"),
    get(
        "/api/v1/explain",
        &["method", "url", "header", "client", "user", "listener", "at_weight", "seed"],
        "the way such a request takes now, and why",
    ),
    get("/api/v1/decisions/ID", &[], "the way of a request that was served, by its X-Weir-Decision"),
    get("/api/v1/releases", &[], "releases: versions side by side, verdicts, rollouts"),
    get("/api/v1/releases/NAME", &[], "one of them"),
    get("/api/v1/releases/NAME:preview", &["weights"], "who would move by other weights; nothing is changed"),
    get("/api/v1/releases/NAME/buckets", &[], "requests so far, by bucket"),
    get("/api/v1/drains", &[], "what is drained by hand, by whom, until when"),
    get("/api/v1/drills", &[], "rehearsals, with their reports"),
    get("/api/v1/drills/ID", &[], "one of them"),
    post("/api/v1/config:reload", &[], "reads the file again: what changed, or 422 with every mistake"),
    post("/api/v1/upgrade", &[], "lets a new process take over, and answers once it serves; 409 if it does not"),
    post(
        "/api/v1/drain",
        &["endpoint", "zone", "cluster", "for", "force", "by"],
        "no new work for an endpoint or a zone",
    ),
    post("/api/v1/undrain", &["endpoint", "zone", "cluster", "by"], "ends a drain"),
    post("/api/v1/drills", DRILL, "begins a rehearsal: zone, unreachable, latency, abort or reset, and where"),
    post("/api/v1/drills/ID:end", &["by"], "ends it"),
    Endpoint { method: "DELETE", ..post("/api/v1/drills/ID", &["by"], "the same") },
    post("/api/v1/releases/NAME:pause", CANARY, "its rollout stands still"),
    post("/api/v1/releases/NAME:resume", CANARY, "it goes on"),
    post("/api/v1/releases/NAME:abort", CANARY, "everybody is given back to stable"),
    profile("/debug/pprof/", &[], "what is below it"),
    profile(
        "/debug/pprof/profile",
        &["seconds", "frequency", "format"],
        "where CPU time goes: pprof; format=svg is a flame graph, format=text stacks on lines",
    ),
    profile("/debug/pprof/tasks", &[], "how workers do: tasks, lag, use of their threads"),
];

/// The table of the documentation.
#[must_use]
pub fn markdown() -> String {
    let mut table = "| | parameters | from elsewhere | |\n|---|---|---|---|\n".to_owned();
    for Endpoint { method, path, parameters, meaning, needs } in ENDPOINTS {
        let parameters: Vec<String> = parameters.iter().map(|name| format!("`{name}`")).collect();
        let needs = match needs {
            Needs::Nothing => "open",
            Needs::Read => "token",
            Needs::Change => "token that may change",
        };
        let _ = writeln!(table, "| `{method} {path}` | {} | {needs} | {meaning} |", parameters.join(", "));
    }
    table
}

/// The answer of `GET /api/v1`.
pub(super) fn all() -> Value {
    json!({ "version": env!("CARGO_PKG_VERSION"), "endpoints": ENDPOINTS })
}
