//! Whether a request is answered: the facts of its head and its connection, brought before those who
//! decide, and what is noted of those that are not.

use std::cell::Cell;
use std::time::Duration;

use http::header::{AUTHORIZATION, HeaderValue, WWW_AUTHENTICATE};
use http::request::Parts;
use http::{HeaderMap, Method};
use serde_json::json;
use weir_config::model::Admin;
use weir_core::time::Moment;

use super::Service;
use super::access::{self, Bearer, Caller, Denial, From, Wish};
use super::api::{Answer, problem};
use super::guard::{self, Refusal};
use super::page;
use super::query::Query;
use crate::env::Env;
use crate::observe::journal::Asker;

/// Between two log lines about requests that were refused.
const LOG_PAUSE: Duration = Duration::from_secs(10);

/// What was refused since it was last told of.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    told: Cell<Option<Moment>>,
    untold: Cell<u64>,
}

impl Refusals {
    /// One more, at `now`; how many were not told of before it, if it is time to tell again.
    fn note(&self, now: Moment) -> Option<u64> {
        if self.told.get().is_some_and(|told| now.since(told) < LOG_PAUSE) {
            self.untold.set(self.untold.get() + 1);
            return None;
        }
        self.told.set(Some(now));
        Some(self.untold.take())
    }
}

impl<E: Env> Service<E> {
    /// Who asks; or what they are told instead.
    pub(super) fn admit(&self, head: &Parts, caller: &Caller) -> Result<Asker, Box<Answer>> {
        let snapshot = self.handle.snapshot();
        let admin = snapshot.config.admin.as_ref();
        let wish = wish(head);
        if wish != Wish::Probe || head.headers.get(http::header::HOST).is_none() {
            let hosts = admin.map_or(&[][..], |admin| &admin.hosts);
            let local = matches!(caller.from, From::Unix { .. });
            if let Err(refusal) = guard::check(head, wish, hosts, local) {
                let Refusal { status, why, detail } = refusal;
                self.refused(why, head, &caller.from.to_string());
                return Err(problem(status, detail, json!({})).into());
            }
        }
        let bearer = admin.map_or(Bearer::None, |admin| bearer(&head.headers, admin));
        access::decide(caller, &bearer, wish).map_err(|denial| {
            self.refused(denial.as_str(), head, &caller.from.to_string());
            denied(denial).into()
        })
    }

    fn refused(&self, why: &'static str, head: &Parts, from: &str) {
        self.handle.refused_admin(why);
        if let Some(more) = self.refusals.note(self.env.now()) {
            let (method, path) = (&head.method, head.uri.path());
            tracing::warn!(why, from, more, "the admin API refused {method} {path}");
        }
    }
}

pub(super) fn wish(head: &Parts) -> Wish {
    match (&head.method, head.uri.path()) {
        // In full it names clusters and addresses.
        (&Method::GET | &Method::HEAD, "/readyz" | "/ready") if Query::of(&head.uri).get("verbose").is_some() => {
            Wish::Read
        }
        (&Method::GET | &Method::HEAD, "/livez" | "/healthz" | "/ping" | "/readyz" | "/ready") => Wish::Probe,
        // Files that hold nothing of this instance; what they ask for is asked about.
        (&Method::GET | &Method::HEAD, path) if page::is_page(path) => Wish::Page,
        (_, path) if path.starts_with("/debug/") => Wish::Change,
        (&Method::GET | &Method::HEAD, _) => Wish::Read,
        _ => Wish::Change,
    }
}

fn denied(denial: Denial) -> Answer {
    let words = format!("{} To be let in, {}.", denial.detail(), denial.remedy());
    let mut answer = problem(denial.status(), &words, json!({ "why": denial.as_str(), "remedy": denial.remedy() }));
    answer.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static(denial.challenge()));
    answer
}

/// What `headers` bring, held against the tokens of `admin`.
fn bearer(headers: &HeaderMap, admin: &Admin) -> Bearer {
    let mut brought = headers.get_all(AUTHORIZATION).iter().filter_map(|value| {
        let (scheme, token) = value.as_bytes().split_at_checked(b"Bearer ".len())?;
        scheme.eq_ignore_ascii_case(b"Bearer ").then(|| token.trim_ascii())
    });
    // What is brought where nothing is asked for is no mistake of whoever brings it.
    let (Some(first), true) = (brought.next(), admin.token.is_some() || admin.read_token.is_some()) else {
        return Bearer::None;
    };
    match (&admin.token, &admin.read_token) {
        _ if brought.next().is_some() => Bearer::Unknown,
        (Some(token), _) if token.is(first) => Bearer::Changes(token.file.clone()),
        (_, Some(token)) if token.is(first) => Bearer::Reads(token.file.clone()),
        _ => Bearer::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_told_of_now_and_then() {
        let (refusals, at) = (Refusals::default(), |seconds| Moment::ZERO + Duration::from_secs(seconds));
        let told: Vec<_> = [0, 1, 2, 10, 11, 25].map(at).into_iter().map(|now| refusals.note(now)).collect();
        assert_eq!(told, [Some(0), None, None, Some(2), None, Some(1)]);
    }

    #[test]
    fn what_a_probe_may_know_is_one_word() {
        for (uri, expected) in [
            ("/readyz", Wish::Probe),
            ("/readyz?x=verbose", Wish::Probe),
            ("/readyz?verbose", Wish::Read),
            ("/ready?a&%76erbose=1", Wish::Read),
            ("/livez?verbose", Wish::Probe),
            ("/", Wish::Page),
            ("/debug/pprof/tasks", Wish::Change),
            ("/metrics", Wish::Read),
        ] {
            let (head, ()) = http::Request::get(uri).body(()).unwrap().into_parts();
            assert_eq!(wish(&head), expected, "{uri}");
        }
    }

    #[test]
    fn a_token_is_held_against_those_there_are() {
        let files = |name: &str| Ok(name.repeat(8).into_bytes());
        let source = weir_config::Source { name: "x", env: &|_| None, files: &files };
        let admin = |more: &str| {
            let text = format!(
                "admin: {{{more}}}\nlisteners: [{{name: web, bind: '127.0.0.1:80', cluster: a}}]\n\
                 clusters: [{{name: a, endpoints: ['10.0.0.1:80']}}]"
            );
            weir_config::parse(&text, &source).unwrap().config.admin.unwrap()
        };
        let both = admin("token_file: aa, read_token_file: rr");
        let (a, r) = ("a".repeat(16), "r".repeat(16));
        for (values, expected) in [
            (vec![], Bearer::None),
            (vec![format!("Bearer {a}")], Bearer::Changes("aa".into())),
            (vec![format!("bearer  {a} ")], Bearer::Changes("aa".into())),
            (vec![format!("Bearer {r}")], Bearer::Reads("rr".into())),
            (vec![format!("Bearer {a}{a}")], Bearer::Unknown),
            (vec!["Bearer ".into()], Bearer::Unknown),
            (vec!["Basic dTpw".into()], Bearer::None),
            (vec![format!("Bearer {a}"), format!("Bearer {r}")], Bearer::Unknown),
        ] {
            let mut headers = HeaderMap::new();
            for value in &values {
                headers.append(AUTHORIZATION, value.parse().unwrap());
            }
            assert_eq!(bearer(&headers, &both), expected, "{values:?}");
        }
        let mut headers = HeaderMap::new();
        headers.append(AUTHORIZATION, "Bearer x".parse().unwrap());
        assert_eq!(bearer(&headers, &admin("bind: 127.0.0.1:9900")), Bearer::None);
    }
}
