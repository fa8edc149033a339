//! Which events there are, how much each may matter, and what is brought as evidence: the one table,
//! of which `docs/reference/events.md` is made.

use serde::Serialize;

use super::Level;

/// What kind of thing happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The process runs with its first configuration.
    Started,
    /// Every endpoint has its first verdict: the process is ready.
    Ready,
    /// The health of an endpoint changed.
    EndpointTransition,
    /// A rule on traffic was met and nobody was taken out: the endpoint is spared, watched, or
    /// gets less; or nobody is taken out for a moment.
    Ejection,
    /// A cluster's failure-rate breaker opened, tries, or closed.
    Breaker,
    /// A cluster has too few endpoints left, or enough again.
    Panic,
    /// What a name or a file tells of endpoints changed, or cannot be had.
    Discovery,
    /// Endpoints were drained by an operator, or are no longer.
    Drain,
    /// A rehearsal began, ended, or has its report.
    Drill,
    /// What is judged of a canary changed, or its rollout took a turn.
    Release,
    /// Certificates came into force, or one of them will not be valid for much longer.
    Certificate,
    /// What an earlier process left was taken over, or cannot be used.
    State,
    /// A new configuration is in force.
    ConfigApplied,
    /// The configuration was read again and says the same.
    ConfigUnchanged,
    /// A configuration was refused; the one before stays in force.
    ConfigRejected,
    /// The configuration file is missing or back, or a file beside it is open to everybody.
    ConfigSource,
    /// A listener accepts.
    ListenerOpened,
    /// A listener no longer accepts.
    ListenerClosed,
    /// Another process is to take over, has, or could not.
    Upgrade,
    /// The process takes no new work.
    DrainStarted,
    /// The process has no work left, or cut what was left.
    DrainFinished,
}

/// What is told of a kind of event.
#[derive(Clone, Copy, Debug)]
pub struct Told {
    /// The word in logs and the API.
    pub name: &'static str,
    /// How much it may matter.
    pub levels: &'static [Level],
    /// One sentence or two.
    pub meaning: &'static str,
    /// The fields that may be there, and what each says. A nested one is told with its parent.
    pub evidence: &'static [(&'static str, &'static str)],
}

const CLUSTER: (&str, &str) = ("cluster", "whose");
const ENDPOINT: (&str, &str) = ("endpoint", "its address");
const ZONE: (&str, &str) = ("zone", "the zone it stands in; null if it is not known");
const GENERATION: (&str, &str) = ("generation", "the generation that is in force");
const TRIGGER: (&str, &str) = ("trigger", "what made it be read: `start`, `file`, `signal` or `api`");
const CONFIG: (&str, &str) = ("config", "the file of the configuration");
const LISTENER: (&str, &str) = ("listener", "its name");
const ADDRESS: (&str, &str) = ("address", "the address it has");
const CONFIGURED: (&str, &str) = ("configured", "the address as the configuration writes it");

impl Kind {
    /// All of them, as a life goes: start, endpoints, clusters, operators, configuration, end.
    pub const ALL: [Self; 21] = [
        Self::Started,
        Self::State,
        Self::Ready,
        Self::EndpointTransition,
        Self::Ejection,
        Self::Breaker,
        Self::Panic,
        Self::Discovery,
        Self::Drain,
        Self::Drill,
        Self::Release,
        Self::Certificate,
        Self::ConfigApplied,
        Self::ConfigUnchanged,
        Self::ConfigRejected,
        Self::ConfigSource,
        Self::ListenerOpened,
        Self::ListenerClosed,
        Self::Upgrade,
        Self::DrainStarted,
        Self::DrainFinished,
    ];

    /// The word in logs and the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.told().name
    }

    /// What is told of it.
    #[must_use]
    pub const fn told(self) -> Told {
        use Level::{Error, Info, Warn};
        let (name, levels, meaning, evidence): (_, &[Level], _, &[_]) = match self {
            Self::Started => (
                "started",
                &[Info],
                "The process runs with its first configuration; endpoints are not judged yet.",
                &[GENERATION, CONFIG, ("zone", "the zone this instance stands in")],
            ),
            Self::Ready => {
                ("ready", &[Info], "Every endpoint has had its first verdict: `/readyz` answers 200.", &[GENERATION])
            }
            Self::EndpointTransition => (
                "endpoint_transition",
                &[Info, Warn],
                "The health of an endpoint changed; a warning where it becomes unhealthy or is ejected.",
                &[
                    CLUSTER,
                    ENDPOINT,
                    ZONE,
                    ("from", "the state before"),
                    ("to", "the state now"),
                    ("evidence", "why, in words"),
                    ("probe", "by a probe: its check, result, layer, status, time, and how many in a row"),
                    ("traffic", "by traffic: the rule, its numbers, how long it is out, and the requests that decided"),
                    ("drain", "by an operator: what is drained, by whom, for how long"),
                ],
            ),
            Self::Ejection => (
                "ejection",
                &[Info, Warn],
                "A rule on traffic was met and nobody was taken out: the endpoint is spared, only watched, or gets \
                 less; or nobody is taken out for a moment, since many turned bad at once.",
                &[
                    CLUSTER,
                    ENDPOINT,
                    ZONE,
                    ("what", "what was done instead"),
                    ("rule", "the rule of `outlier_detection` that was met"),
                    ("failures", "failed attempts"),
                    ("requests", "attempts in all"),
                    ("ratio", "the share that failed, 0 to 1"),
                    ("bound", "the lower bound of Wilson's interval of it, 0 to 1"),
                    ("needed", "what had to be reached"),
                    ("threshold", "the rule's `threshold`"),
                    ("window_seconds", "the rule's `window`"),
                    ("minimum_requests", "the rule's `minimum_requests`"),
                    ("confidence", "the rule's `confidence`"),
                    ("classes", "attempts by what they say of the endpoint"),
                    ("otherwise", "what would have been decided by other rules, in words"),
                    ("spared_by", "why it was not taken out"),
                    ("weight_permille", "the share it is left with"),
                    ("limits", "how many of the cluster are out, and may be"),
                    ("samples", "the latest requests that failed"),
                    ("bad", "how many turned bad at once"),
                    ("of", "of how many"),
                    ("held_seconds", "how long nobody is taken out"),
                ],
            ),
            Self::Breaker => (
                "breaker",
                &[Info, Warn],
                "A cluster's failure-rate breaker opened (a warning), lets trials through, or closed.",
                &[
                    CLUSTER,
                    ("state", "`open`, `half_open` or `closed`"),
                    ("open_seconds", "how long it stays open"),
                    ("failures", "failed attempts within the window"),
                    ("requests", "attempts within it"),
                    ("classes", "the same by what they say of endpoints"),
                    ("threshold", "the rule's `threshold`"),
                    ("window_seconds", "the rule's `window`"),
                    ("outcome", "the trial that opened it again"),
                    ("good", "good trials before it"),
                    ("trials", "requests let through at once"),
                    ("successes", "good trials in a row that close it"),
                ],
            ),
            Self::Panic => (
                "panic",
                &[Info, Error],
                "A cluster has too few endpoints left, so that worse ones are used too (an error); or enough again.",
                &[
                    CLUSTER,
                    ("state", "`began` or `ended`"),
                    ("available", "endpoints that may be used"),
                    ("of", "of how many"),
                    ("threshold", "the cluster's `panic.threshold`"),
                    ("others", "the other endpoints by state"),
                    ("zone", "the zone most of them stand in, if it is one"),
                    ("lasted_seconds", "how long it lasted"),
                ],
            ),
            Self::Discovery => (
                "discovery",
                &[Info, Warn, Error],
                "What a name or a file tells of endpoints changed; cannot be had, so that what was found stays (a \
                 warning); or was given up (an error).",
                &[
                    CLUSTER,
                    ("source", "the name or file"),
                    ("what", "`resolved`, `changed`, `removed`, `failing`, `given_up` or `recovered`"),
                    ("endpoints", "how many endpoints it tells"),
                    ("ttl_seconds", "how long that is good for"),
                    ("added", "addresses that are new"),
                    ("gone", "addresses that are missing now"),
                    ("removed", "addresses that are endpoints no longer"),
                    ("failure", "how it failed"),
                    ("detail", "the same in words"),
                    ("keeps", "how many endpoints are kept"),
                    ("keeps_seconds", "for how long; null: for ever"),
                    ("next_look_seconds", "when it is looked at again"),
                    ("failing_seconds", "how long it failed before it was given up"),
                    ("failed_seconds", "how long it failed before it recovered"),
                    ("trace", "what was asked of which server, and answered"),
                ],
            ),
            Self::Drain => (
                "drain",
                &[Info],
                "An operator drained an endpoint or a zone, or the drain ended.",
                &[
                    ("endpoint", "the endpoint, if one was drained"),
                    ("zone", "the zone, if one was drained"),
                    ("cluster", "in this cluster alone; null: in all"),
                    ("state", "`drained` or `ended`"),
                    ("by", "who asked; null: its time was over"),
                    ("endpoints", "how many endpoints it is about"),
                    ("for_seconds", "how long it lasts; null: until it is ended"),
                    ("still_drained", "endpoints that another drain still holds"),
                ],
            ),
            Self::Drill => (
                "drill",
                &[Info, Warn],
                "A rehearsal began (a warning: failures are made on purpose), ended, or has its report.",
                &[
                    ("drill", "its number"),
                    ("state", "`began`, `ended` or `reported`"),
                    ("words", "what is rehearsed, in words"),
                    ("kind", "`unreachable`, `latency`, `abort` or `reset`"),
                    ("delay_ms", "of `latency`: how much later"),
                    ("status", "of `abort`: the status"),
                    ("at", "where"),
                    ("percent", "which share of requests is struck"),
                    ("header", "requests with this header alone"),
                    ("for_seconds", "how long it was to last"),
                    ("lasted_seconds", "how long it lasted"),
                    ("by", "who asked; null: its time was over"),
                    ("clusters", "the report: requests, errors and latency before, during and after"),
                ],
            ),
            Self::Release => (
                "release",
                &[Info, Warn, Error],
                "What is judged of a canary changed (a warning: `rollback`), or its rollout took a turn (an error: it \
                 failed).",
                &[
                    ("release", "its name"),
                    ("cluster", "the canary"),
                    (
                        "what",
                        "`verdict`, `restored`, or the turn: `advanced`, `completed`, `failed`, `paused`, `resumed`, \
                         `aborted`, `edited`",
                    ),
                    ("before", "the verdict before"),
                    ("verdict", "the verdict now, with the numbers of both sides"),
                    ("from", "the weight before, in per cent"),
                    ("to", "the weight now, in per cent"),
                    ("step", "the step it stands at, from 1"),
                    ("steps", "of how many"),
                    ("why", "why, in words"),
                    ("by", "of `failed`: `judge` or `guard`"),
                    ("anew", "of `resumed`: whether the step begins anew"),
                    ("ended", "of `edited`: whether the rollout ended by it"),
                    ("ordered_by", "who asked, if somebody did"),
                    ("phase", "of `restored`: what the canary does"),
                    ("weight", "of `restored`: the weight in force, in per cent"),
                    ("held_seconds", "of `restored`: how long the step has lasted"),
                ],
            ),
            Self::Certificate => (
                "certificate",
                &[Info, Warn, Error],
                "A certificate came into force, or ends within two weeks; ends within three days (a warning); or has \
                 ended (an error).",
                &[
                    ("of", "whose: a listener, a cluster, or admin"),
                    ("file", "its file"),
                    ("names", "the names it is for"),
                    ("subject", "its subject"),
                    ("not_after", "when it ends"),
                ],
            ),
            Self::State => (
                "state",
                &[Info, Warn, Error],
                "What an earlier process knew and counted was taken over; in part only (a warning); or it cannot be used \
                 (an error), and the process begins without it.",
                &[
                    (
                        "what",
                        "`remembered`, `counters`, `last_words`, `handed_over` or `before_ended`; `not_understood` or \
                         `set_aside` where it cannot be used",
                    ),
                    ("endpoints", "endpoints that were known"),
                    ("breakers", "breakers that were not closed"),
                    ("drains", "drains by hand"),
                ],
            ),
            Self::ConfigApplied => (
                "config_applied",
                &[Info],
                "A new configuration is in force.",
                &[
                    GENERATION,
                    TRIGGER,
                    ("changes", "what changed, as `weir diff --format json` says it"),
                    ("warnings", "what `weir check` warns of"),
                ],
            ),
            Self::ConfigUnchanged => (
                "config_unchanged",
                &[Info],
                "The configuration was read again, and means the same.",
                &[GENERATION, TRIGGER],
            ),
            Self::ConfigRejected => (
                "config_rejected",
                &[Error],
                "A configuration was refused; the one before stays in force.",
                &[TRIGGER, ("mistakes", "every mistake, with place and hint"), ("count", "how many")],
            ),
            Self::ConfigSource => (
                "config_source",
                &[Info, Warn],
                "The configuration's file is missing (a warning) or back, or everybody on this host can read a token's \
                 file (a warning).",
                &[CONFIG, ("file", "the token's file")],
            ),
            Self::ListenerOpened => {
                ("listener_opened", &[Info], "A listener accepts at an address.", &[LISTENER, ADDRESS, CONFIGURED])
            }
            Self::ListenerClosed => (
                "listener_closed",
                &[Info],
                "A listener no longer accepts at an address.",
                &[LISTENER, ADDRESS, CONFIGURED],
            ),
            Self::Upgrade => (
                "upgrade",
                &[Info, Error],
                "Another process is to take over, has, or could not (an error), so that this one goes on.",
                &[("process", "the other process")],
            ),
            Self::DrainStarted => (
                "drain_started",
                &[Info],
                "The process takes no new work: `/readyz` answers 503.",
                &[("why", "a signal, or another process that serves")],
            ),
            Self::DrainFinished => (
                "drain_finished",
                &[Info, Warn],
                "The process has no work left; or the time was over and requests were cut (a warning).",
                &[("cut", "how many requests were cut")],
            ),
        };
        Told { name, levels, meaning, evidence }
    }

    /// Whether an event of this kind is what the table says of it.
    #[cfg(test)]
    pub(super) fn assert_told(self, level: Level, fields: &serde_json::Map<String, serde_json::Value>) {
        let told = self.told();
        assert!(told.levels.contains(&level), "{}: {level:?} is not told of", told.name);
        for field in fields.keys().filter(|field| *field != "asked_by") {
            assert!(told.evidence.iter().any(|(name, _)| name == field), "{}: {field} is not told of", told.name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_is_the_one_in_json_and_no_kind_is_missing() {
        for (at, kind) in Kind::ALL.into_iter().enumerate() {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
            assert!(Kind::ALL[..at].iter().all(|other| *other != kind));
            assert!(kind.told().meaning.ends_with('.') && !kind.told().levels.is_empty());
        }
    }
}
