//! What the admin API has: the one table that the index (`GET /api/v1`) and `docs/reference/api.md` are
//! made of. It says what there is; [`api`](super::api) answers it, and a test holds the two together.

use serde_json::{Value, json};

/// What a request from elsewhere has to show. Over loopback and Unix sockets nothing is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// Nothing: it tells nothing of the instance but whether it is there.
    Nothing,
    /// A token of either kind, or a certificate.
    Read,
    /// The token of `token_file`, or a certificate.
    Change,
}

impl Needs {
    /// The word in the index.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Read => "read",
            Self::Change => "change",
        }
    }
}

/// One thing that can be asked.
#[derive(Clone, Copy, Debug)]
pub struct Endpoint {
    /// GET stands for HEAD too.
    pub method: &'static str,
    /// Words in capitals stand for what the asker says.
    pub path: &'static str,
    /// Who may ask from elsewhere.
    pub needs: Needs,
    /// What it answers, or does; in sentences.
    pub meaning: &'static str,
    /// Parameters after `?`, and what each says.
    pub parameters: &'static [(&'static str, &'static str)],
    /// Statuses, and when; beside those that stand for all.
    pub answers: &'static [(u16, &'static str)],
}

/// Statuses that any of them may have.
pub const ALWAYS: [(u16, &str); 10] = [
    (400, "A parameter is unknown, there twice, or not understood; `parameter` and `remedy` say which and what to do."),
    (401, "A credential is wanted and none was brought, or the token is wrong."),
    (403, "The token is for reading only; or a web page of another site asks."),
    (404, "There is nothing at this address, or no such release, drill or request."),
    (405, "The address takes other methods; `Allow` says which."),
    (409, "What is asked for does not fit what is: it would leave nobody, is over already, or is one too many."),
    (421, "`Host` is no IP address, not localhost and none of `admin.hosts`."),
    (422, "There is no such cluster, endpoint, zone or listener; or a configuration has mistakes."),
    (500, "What was asked for could not be made; the log says why."),
    (503, "The process is stopping, or as many ask as may."),
];

const BY: (&str, &str) = ("by", "a name for the log and the event; it proves nothing");
const CANARY: (&str, &str) = ("canary", "the canary, by its cluster; needed where there are several");

/// All of them.
pub const ENDPOINTS: &[Endpoint] = &[
    Endpoint {
        answers: &[(200, "Always, as long as the control thread lives.")],
        ..get("/livez", Needs::Nothing, "Whether the process is alive. `/healthz` and `/ping` are the same.")
    },
    Endpoint {
        parameters: &[("verbose", "with a line for each part, for people; for who may read")],
        answers: &[(200, "It serves."), (503, "It starts, or drains.")],
        ..get("/readyz", Needs::Nothing, "Whether it is ready for traffic. `/ready` is the same.")
    },
    get("/", Needs::Nothing, "The status page, for a browser; its files lie under `/page/`."),
    get("/api/v1", Needs::Read, "This list, as JSON."),
    get("/metrics", Needs::Read, "Metrics for Prometheus; OpenMetrics with exemplars, if `Accept` asks for it."),
    Endpoint {
        parameters: &[("cluster", "of this cluster alone")],
        ..get(
            "/api/v1/status",
            Needs::Read,
            "Listeners, clusters, endpoints, health and its evidence, what is wrong now.",
        )
    },
    Endpoint {
        parameters: &[
            ("since", "the first events after this id; without, the newest"),
            ("limit", "at most so many, up to 1000; without, 100"),
        ],
        ..get(
            "/api/v1/events",
            Needs::Read,
            "What happened, oldest first: [events](events.md). `last` is the newest id, `lost` how many are gone, `started` when this process was: another one numbers anew.",
        )
    },
    Endpoint {
        parameters: &[("since", "after this id, where `Last-Event-ID` does not say it")],
        answers: &[
            (200, "Server-sent events, until one side ends it."),
            (503, "Too many are open; see `Retry-After`."),
        ],
        ..get(
            "/api/v1/stream",
            Needs::Read,
            "What happens, as it happens: [status-page.md](../status-page.md#what-it-asks).",
        )
    },
    get("/api/v1/config", Needs::Read, "The text of the configuration in force, its file, hash and generation."),
    get(
        "/api/v1/reloads",
        Needs::Read,
        "The last 20 attempts to load the configuration: what each changed, or its mistakes.",
    ),
    Endpoint {
        answers: &[(200, "What was found; `verdict` is that of the worst."), (429, "A look is under way.")],
        ..get(
            "/api/v1/doctor",
            Needs::Read,
            "The instance looks at itself and its host, for some seconds: [doctor.md](../doctor.md).",
        )
    },
    Endpoint {
        parameters: &[
            ("url", "what is asked for, as in `http://shop.example/orders`; needed"),
            ("method", "GET, if nothing is said"),
            ("header", "NAME:VALUE; may be there several times"),
            ("client", "the client's IP address"),
            ("user", "the user's id, wherever the release finds it"),
            ("listener", "the listener, where several could take it"),
            ("at_weight", "CLUSTER=PERCENT: as if the canary had this weight; may be there several times"),
            ("seed", "the same seed gives the same draw"),
        ],
        answers: &[(200, "The way, step by step; nothing is sent.")],
        ..get(
            "/api/v1/explain",
            Needs::Read,
            "The way of a request that is described, and why: [explain.md](../explain.md).",
        )
    },
    get(
        "/api/v1/decisions/ID",
        Needs::Read,
        "The way of a request that was served, by the `X-Weir-Decision` of its answer.",
    ),
    get("/api/v1/releases", Needs::Read, "All releases: versions side by side, verdicts, where rollouts stand."),
    get("/api/v1/releases/NAME", Needs::Read, "One release: versions side by side, verdicts, where rollouts stand."),
    get("/api/v1/releases/NAME/buckets", Needs::Read, "A release's requests so far, by bucket."),
    Endpoint {
        parameters: &[("weights", "CLUSTER=PERCENT, several with commas; needed")],
        ..get(
            "/api/v1/releases/NAME:preview",
            Needs::Read,
            "Who would move by other weights, and the command for it; nothing is changed.",
        )
    },
    Endpoint {
        parameters: &[CANARY, BY],
        ..post("/api/v1/releases/NAME:pause", "Keeps a canary's rollout at its present step.")
    },
    Endpoint {
        parameters: &[CANARY, BY],
        ..post("/api/v1/releases/NAME:resume", "Lets a rollout go on; one that ended begins again at its first step.")
    },
    Endpoint {
        parameters: &[CANARY, BY],
        ..post("/api/v1/releases/NAME:abort", "Gives a canary up: all of its users are stable's again, at once.")
    },
    get("/api/v1/drains", Needs::Read, "What is drained by hand, by whom and for how long."),
    Endpoint {
        parameters: &[
            ("endpoint", "CLUSTER/ADDRESS: this endpoint"),
            ("zone", "or every endpoint of this zone"),
            ("cluster", "beside `zone`: in this cluster alone"),
            ("for", "a duration; without, until it is ended"),
            ("force", "even if nobody would be left"),
            BY,
        ],
        answers: &[(200, "Who is drained."), (409, "It would leave nobody, and `force` was not said.")],
        ..post("/api/v1/drain", "Gives an endpoint or a zone no new work: [drills.md](../drills.md#drain).")
    },
    Endpoint {
        parameters: &[
            ("endpoint", "CLUSTER/ADDRESS: this endpoint"),
            ("zone", "or this zone"),
            ("cluster", "beside `zone`: in this cluster alone"),
            BY,
        ],
        ..post("/api/v1/undrain", "Ends a drain.")
    },
    get("/api/v1/drills", Needs::Read, "Rehearsals under way and over, with reports."),
    get("/api/v1/drills/ID", Needs::Read, "One rehearsal, with its report."),
    Endpoint {
        parameters: &[
            ("kind", "`zone`, `unreachable`, `latency`, `abort` or `reset`; needed"),
            ("endpoint", "where: CLUSTER/ADDRESS"),
            ("zone", "or a zone"),
            ("cluster", "or a cluster"),
            ("route", "or LISTENER, LISTENER/NUMBER, LISTENER/NAME"),
            ("percent", "the share of requests that is struck, 0.01 to 100; without, all"),
            ("header", "requests with it alone: NAME=VALUE, NAME or !NAME"),
            ("for", "how long, as in 60s"),
            ("after", "how long is looked on afterwards"),
            ("delay", "of `latency`, and needed there: how much later, as in 200ms"),
            ("status", "of `abort`: 200 to 599; without, 503"),
            BY,
        ],
        ..post("/api/v1/drills", "Begins a rehearsal: [drills.md](../drills.md#drill).")
    },
    Endpoint {
        parameters: &[BY],
        ..post("/api/v1/drills/ID:end", "Ends a rehearsal. `DELETE` of `/api/v1/drills/ID` does too.")
    },
    Endpoint { method: "DELETE", parameters: &[BY], ..post("/api/v1/drills/ID", "Ends a rehearsal.") },
    Endpoint {
        answers: &[(200, "What changed, or that nothing did."), (422, "It was refused: every mistake is there.")],
        ..post("/api/v1/config:reload", "Reads the configuration again, and answers with the verdict.")
    },
    Endpoint {
        answers: &[(200, "Another process serves."), (409, "It did not come to serve; this one goes on.")],
        ..post("/api/v1/upgrade", "Lets a new process take over: [upgrade.md](../upgrade.md).")
    },
    Endpoint {
        parameters: &[
            ("seconds", "how long, 1 to 60; without, 10"),
            ("frequency", "looks for each second of CPU time, 1 to 999; without, 99"),
            ("format", "`pprof` (gzip), `proto`, `svg` or `text`"),
        ],
        answers: &[(200, "The profile."), (409, "One is under way.")],
        ..get("/debug/pprof/profile", Needs::Change, "Where CPU time goes: [profiling.md](../profiling.md).")
    },
    get("/debug/pprof/", Needs::Change, "What is below it, as text."),
    get("/debug/pprof/tasks", Needs::Change, "How the workers do: how late, how busy, how many tasks."),
];

const fn get(path: &'static str, needs: Needs, meaning: &'static str) -> Endpoint {
    Endpoint { method: "GET", path, needs, meaning, parameters: &[], answers: &[] }
}

const fn post(path: &'static str, meaning: &'static str) -> Endpoint {
    Endpoint { method: "POST", path, needs: Needs::Change, meaning, parameters: &[], answers: &[] }
}

/// The answer of `GET /api/v1`.
pub(super) fn all() -> Value {
    let endpoint = |endpoint: &Endpoint| {
        let Endpoint { method, path, needs, meaning, parameters, answers: _ } = endpoint;
        let parameters: Vec<&str> = parameters.iter().map(|(name, _)| *name).collect();
        json!({
            "method": method,
            "path": path,
            "parameters": parameters,
            "needs": needs.as_str(),
            "meaning": in_words(meaning),
        })
    };
    json!({ "version": env!("CARGO_PKG_VERSION"), "endpoints": ENDPOINTS.iter().map(endpoint).collect::<Vec<_>>() })
}

/// Without links to pages that are not there: `[doctor.md](../doctor.md)` is `docs/doctor.md`.
fn in_words(meaning: &str) -> String {
    let mut text = String::new();
    let mut rest = meaning;
    while let Some((before, (page, after))) =
        rest.split_once('[').and_then(|(before, link)| Some((before, link.split_once("](")?)))
    {
        text.push_str(before);
        text.push_str(page);
        rest = after.split_once(')').map_or("", |(_, after)| after);
    }
    text + rest
}
