//! What each address answers.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use serde_json::{Value, json};
use weir_core::availability::Tier;
use weir_core::control::Order;
use weir_core::endpoint::Status;

use super::access::Caller;
use super::body::AnswerBody;
use super::diagnosis::NoReport;
use super::query::{Query, Wrong};
use super::status::Clock;
use super::{Service, buckets, explain, index, live, orders, page, releases, reloads, status};
use crate::control::{BoundListener, Phase, ReloadOutcome, Trigger};
use crate::env::Env;
use crate::observe::journal::{Asker, rfc3339, timestamp};
use crate::observe::metrics::Format;

pub(super) type Answer = Response<AnswerBody>;

const JSON: &str = "application/json";
const PROBLEM: &str = "application/problem+json";
const TEXT: &str = "text/plain; charset=utf-8";
const STREAM: &str = "text/event-stream";

/// Events in one answer: when nothing is said, and at the most.
const EVENTS_DEFAULT: usize = 100;
const EVENTS_MAX: usize = 1000;

impl<E: Env> Service<E> {
    pub(super) async fn answer(&self, request: Request<Incoming>, caller: &Caller) -> Answer {
        // No request here needs its body: it is never read, and hyper closes after a large one.
        let (head, _) = request.into_parts();
        let asker = match self.admit(&head, caller) {
            Ok(asker) => asker,
            Err(refused) => return *refused,
        };
        let query = Query::of(&head.uri);
        let read = matches!(head.method, Method::GET | Method::HEAD);
        match (head.uri.path(), read) {
            ("/metrics", true) => self.metrics(head.headers.get(ACCEPT)).await,
            ("/api/v1/doctor", true) => self.doctor().await,
            ("/api/v1/stream", true) if head.method == Method::GET => self.stream(&head.headers, &query),
            (path, true) if path.starts_with("/debug/") => self.debug(path, &query, &asker).await,
            (path, false) if path.starts_with("/debug/") => Self::debug_changed(path),
            (path, true) if page::is_page(path) => page::answer(path, &head.headers).unwrap_or_else(not_found),
            (path, true) if let Some((name, Some("preview"))) = releases::named(path) => {
                self.preview(name, &query).await
            }
            (path, true) => self.read(path, &query),
            (path, false) => self.change(&head.method, path, &query.asked_by(&asker), &asker).await,
        }
    }

    fn read(&self, path: &str, query: &Query) -> Answer {
        if let Some(release) = buckets::release_of(path) {
            let found = buckets::of(&self.handle, release, self.clock());
            return found.map_or_else(not_found, |found| json_answer(StatusCode::OK, JSON, &found));
        }
        match path {
            // Answered before, in full; here it is only said that they can be read.
            "/" | "/api/v1/stream" => answer(StatusCode::OK, TEXT, ""),
            _ if page::is_page(path) => answer(StatusCode::OK, TEXT, ""),
            // That this is answered at all is the news.
            "/livez" | "/healthz" | "/ping" => answer(StatusCode::OK, TEXT, "alive\n"),
            "/readyz" | "/ready" => self.ready(query.get("verbose").is_some()),
            "/api/v1" | "/api/v1/" => json_answer(StatusCode::OK, JSON, &index::all()),
            "/api/v1/status" => self.status(query.get("cluster")),
            "/api/v1/config" => self.config(),
            "/api/v1/events" => self.events(query).unwrap_or_else(|wrong| refused(&wrong)),
            "/api/v1/explain" => explain::explain(query, &self.handle, self.clock(), self.env.dice("explain"))
                .map_or_else(|wrong| refused(&wrong), |value| json_answer(StatusCode::OK, JSON, &value)),
            "/api/v1/drains" => json_answer(StatusCode::OK, JSON, &orders::drains(&self.handle, self.clock())),
            "/api/v1/drills" => json_answer(StatusCode::OK, JSON, &orders::drills(&self.handle, self.clock())),
            "/api/v1/reloads" => json_answer(StatusCode::OK, JSON, &reloads::of(&self.handle)),
            "/api/v1/releases" => json_answer(StatusCode::OK, JSON, &releases::all(&self.handle)),
            "/api/v1/config:reload" | "/api/v1/upgrade" | "/api/v1/drain" | "/api/v1/undrain" => not_allowed("POST"),
            _ if let Some(id) = path.strip_prefix("/api/v1/decisions/") => self.decision(id),
            _ if path.starts_with("/api/v1/releases/") => self.release(path, query),
            _ => match drill_id(path) {
                Some((_, true)) => not_allowed("POST"),
                Some((id, false)) => match orders::drill_by_id(id, &self.handle, self.clock()) {
                    Some(drill) => json_answer(StatusCode::OK, JSON, &drill),
                    None => not_found(),
                },
                None => not_found(),
            },
        }
    }

    /// A release by its name, for reading.
    fn release(&self, path: &str, query: &Query) -> Answer {
        match releases::named(path) {
            Some((name, None)) => match releases::one(name, &self.handle) {
                Some(release) => json_answer(StatusCode::OK, JSON, &release),
                None => not_found(),
            },
            Some((name, Some(action))) if releases::order(name, action, query).is_some() => not_allowed("POST"),
            // Answered before, in full; here it is only said that it can be read.
            Some((_, Some("preview"))) => answer(StatusCode::OK, TEXT, ""),
            Some(_) | None => not_found(),
        }
    }

    async fn change(&self, method: &Method, path: &str, query: &Query, asker: &Asker) -> Answer {
        let drill = drill_id(path);
        let order = match (path, drill) {
            ("/api/v1/config:reload", _) if method == Method::POST => return self.reload(asker).await,
            ("/api/v1/upgrade", _) if method == Method::POST => return self.upgrade(asker).await,
            ("/api/v1/drain", _) if method == Method::POST => orders::drain(query),
            ("/api/v1/undrain", _) if method == Method::POST => orders::undrain(query),
            ("/api/v1/drills", _) if method == Method::POST => orders::drill(query, &self.handle),
            (_, Some((id, true))) if method == Method::POST => orders::end(id, query),
            (_, Some((id, false))) if method == Method::DELETE => orders::end(id, query),
            ("/api/v1/config:reload" | "/api/v1/upgrade" | "/api/v1/drain" | "/api/v1/undrain", _)
            | (_, Some((_, true))) => {
                return not_allowed("POST");
            }
            ("/api/v1/drills", _) => return not_allowed("GET, HEAD, POST"),
            (_, Some((_, false))) => return not_allowed("GET, HEAD, DELETE"),
            ("/metrics" | "/api/v1/doctor", _) => return not_allowed("GET, HEAD"),
            _ if let Some(order) = release_order(method, path, query) => order,
            _ => {
                let read = self.read(path, query);
                return match read.status() {
                    StatusCode::NOT_FOUND => not_found(),
                    // What it takes instead is said there.
                    StatusCode::METHOD_NOT_ALLOWED => read,
                    _ => not_allowed("GET, HEAD"),
                };
            }
        };
        match order {
            Ok(order) => self.order(order, asker).await,
            Err(wrong) => refused(&wrong),
        }
    }

    async fn order(&self, order: Order, asker: &Asker) -> Answer {
        match self.handle.on_behalf(asker).order(order).await {
            Ok(done) => json_answer(StatusCode::OK, JSON, &orders::done(&done, &self.handle, self.clock())),
            Err(why) => refused(&orders::refused(&why)),
        }
    }

    pub(super) fn clock(&self) -> Clock {
        Clock { now: self.env.now(), wall: self.env.wall() }
    }

    fn ready(&self, verbose: bool) -> Answer {
        let phase = self.handle.phase();
        let snapshot = self.handle.snapshot();
        let members = || snapshot.clusters.iter().flat_map(|cluster| &cluster.members);
        let unjudged = members().filter(|member| member.status == Status::Unknown).count();
        let (status, word) = match phase {
            Phase::Serving => (StatusCode::OK, "ready".to_owned()),
            Phase::Starting => {
                let word = format!("starting: {unjudged} of {} endpoints not judged yet", members().count());
                (StatusCode::SERVICE_UNAVAILABLE, word)
            }
            Phase::Draining => (StatusCode::SERVICE_UNAVAILABLE, "draining".to_owned()),
        };
        if !verbose {
            return answer(status, TEXT, word + "\n");
        }
        let mark = |good: bool| if good { "[+]" } else { "[-]" };
        let mut text = format!("[+]config: generation {} in force\n", snapshot.generation);
        text += &format!("[+]listeners: served on {}\n", addresses(&self.handle.bound()));
        text += &format!("{}endpoints: {unjudged} not judged yet\n", mark(phase != Phase::Starting));
        text += &format!("{}phase: {}\n", mark(phase == Phase::Serving), phase.as_str());
        for cluster in &snapshot.clusters {
            let healthy = cluster.members.iter().filter(|member| member.status == Status::Healthy).count();
            let all = cluster.members.len();
            // For people: an instance without healthy endpoints is no worse than its neighbours.
            let none = match cluster.available.tier {
                Tier::Nobody(reason) => format!("; using none: {}", reason.as_str()),
                Tier::Healthy | Tier::Unknown | Tier::Panic | Tier::Trials => String::new(),
            };
            let (mark, name) = (mark(healthy > 0), &cluster.config.name);
            text += &format!("{mark}cluster {name}: {healthy} of {all} endpoints healthy{none}\n");
        }
        answer(status, TEXT, text + &word + "\n")
    }

    /// Rendered on a thread of its own: probes shall not wait for a scrape.
    async fn metrics(&self, accept: Option<&HeaderValue>) -> Answer {
        let metrics = self.metrics.clone();
        let format = Format::wanted(accept.and_then(|accept| accept.to_str().ok()));
        let Ok(leave) = Arc::clone(&self.scrapes).acquire_owned().await else {
            return problem(StatusCode::SERVICE_UNAVAILABLE, "No more scrapes are answered.", json!({}));
        };
        let rendered = tokio::task::spawn_blocking(move || {
            // Held to the end, also when nobody waits for it any more.
            let _leave = leave;
            metrics.render_as(format)
        });
        match rendered.await {
            Ok(Ok(text)) => answer(StatusCode::OK, format.content_type(), text),
            Ok(Err(error)) => problem(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string(), json!({})),
            Err(error) => problem(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string(), json!({})),
        }
    }

    async fn doctor(&self) -> Answer {
        match self.diagnosis.look(self.env.clone(), &self.handle).await {
            Ok(report) => match serde_json::to_vec(&report) {
                Ok(body) => answer(StatusCode::OK, JSON, body),
                Err(error) => problem(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string(), json!({})),
            },
            Err(NoReport::Busy) => {
                problem(StatusCode::TOO_MANY_REQUESTS, "A look is under way; ask again when it is over.", json!({}))
            }
            Err(NoReport::Failed(why)) => problem(StatusCode::INTERNAL_SERVER_ERROR, &why, json!({})),
        }
    }

    /// Of everything, or of everything but other clusters than this one.
    fn status(&self, cluster: Option<&str>) -> Answer {
        let mut status = status::of(&self.handle, &self.instance, self.clock());
        if let Some(cluster) = cluster {
            status.clusters.retain(|one| one.name == cluster);
        }
        match serde_json::to_vec(&status) {
            Ok(body) => answer(StatusCode::OK, JSON, body),
            Err(error) => problem(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string(), json!({})),
        }
    }

    /// What happens from now on; after the event that was seen last, if the reader says which.
    fn stream(&self, headers: &HeaderMap, query: &Query) -> Answer {
        let seen = headers.get("last-event-id").and_then(|id| id.to_str().ok()?.trim().parse().ok());
        let since = match query.number("since") {
            Ok(since) => seen.or(since),
            Err(wrong) => return refused(&wrong),
        };
        match self.live.join(&self.handle, &self.instance, self.clock(), since) {
            Some(body) => answer_with(StatusCode::OK, STREAM, body),
            None => {
                let detail = format!("{} streams are open; no more are served at once.", live::VIEWERS_MAX);
                let mut response = problem(StatusCode::SERVICE_UNAVAILABLE, &detail, json!({}));
                response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("5"));
                response
            }
        }
    }

    async fn preview(&self, release: &str, query: &Query) -> Answer {
        match self.previews.answer(release, query, (&self.handle, &self.instance, self.clock())).await {
            Some(Ok(value)) => json_answer(StatusCode::OK, JSON, &value),
            Some(Err(wrong)) => refused(&wrong),
            None => not_found(),
        }
    }

    fn config(&self) -> Answer {
        let in_force = self.handle.in_force();
        let value = json!({
            "path": self.handle.source().path(),
            "hash": in_force.hash,
            "generation": in_force.generation,
            "since": rfc3339(timestamp(in_force.since)),
            "text": &*in_force.text,
        });
        json_answer(StatusCode::OK, JSON, &value)
    }

    fn events(&self, query: &Query) -> Result<Answer, Wrong> {
        let (since, limit) = (query.number("since")?, query.number("limit")?);
        let limit = limit.map_or(EVENTS_DEFAULT, |limit| usize::try_from(limit).unwrap_or(EVENTS_MAX).min(EVENTS_MAX));
        let stretch = self.handle.journal().read(since, limit);
        let events: Vec<_> = stretch.events.iter().map(|event| &**event).collect();
        // Another process numbers its events anew: by this a reader knows.
        let started = rfc3339(timestamp(self.handle.started()));
        let value = json!({ "events": events, "last": stretch.last, "lost": stretch.lost, "started": started });
        Ok(json_answer(StatusCode::OK, JSON, &value))
    }

    fn decision(&self, id: &str) -> Answer {
        match explain::decision(id, &self.handle, self.clock()) {
            Some(value) => json_answer(StatusCode::OK, JSON, &value),
            None => problem(
                StatusCode::NOT_FOUND,
                "No request of this name is kept: the latest 1000 are, for an hour, of listeners with `headers.decision`.",
                json!({}),
            ),
        }
    }

    /// Answers once another process serves, or does not.
    async fn upgrade(&self, asker: &Asker) -> Answer {
        match self.handle.on_behalf(asker).upgrade().await {
            Ok(process) => {
                let value = json!({ "result": "upgraded", "process": process, "before": std::process::id() });
                json_answer(StatusCode::OK, JSON, &value)
            }
            Err(why) => problem(StatusCode::CONFLICT, &why, json!({ "result": "failed" })),
        }
    }

    async fn reload(&self, asker: &Asker) -> Answer {
        match self.handle.on_behalf(asker).reload(Trigger::Api).await {
            ReloadOutcome::Applied(applied) => json_answer(
                StatusCode::OK,
                JSON,
                &json!({
                    "result": "applied",
                    "generation": applied.generation,
                    "text": applied.changes,
                    "changes": applied.changes_json,
                    "warnings_text": applied.warnings,
                    "warnings": applied.warnings_json["mistakes"],
                }),
            ),
            ReloadOutcome::Unchanged { generation } => {
                json_answer(StatusCode::OK, JSON, &json!({ "result": "unchanged", "generation": generation }))
            }
            ReloadOutcome::Rejected(rejection) => problem(
                StatusCode::UNPROCESSABLE_ENTITY,
                &rejection.first,
                json!({
                    "result": "rejected",
                    "text": rejection.text,
                    "count": rejection.count,
                    "mistakes": rejection.json["mistakes"],
                }),
            ),
        }
    }
}

/// What `POST /api/v1/releases/NAME:ACTION` wants.
fn release_order(method: &Method, path: &str, query: &Query) -> Option<Result<Order, Wrong>> {
    let (name, action) = releases::named(path).filter(|_| method == Method::POST)?;
    releases::order(name, action?, query)
}

/// The number in `/api/v1/drills/ID` or `/api/v1/drills/ID:end`, and whether it is the latter.
fn drill_id(path: &str) -> Option<(u64, bool)> {
    let id = path.strip_prefix("/api/v1/drills/")?;
    let (id, ends) = id.strip_suffix(":end").map_or((id, false), |id| (id, true));
    id.parse().ok().map(|id| (id, ends))
}

pub(super) fn answer(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Answer {
    answer_with(status, content_type, AnswerBody::from(body))
}

fn answer_with(status: StatusCode, content_type: &'static str, body: AnswerBody) -> Answer {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    response
}

pub(super) fn json_answer(status: StatusCode, content_type: &'static str, value: &Value) -> Answer {
    answer(status, content_type, format!("{value}\n"))
}

/// An error as RFC 9457 has it, with `more` members.
pub(super) fn problem(status: StatusCode, detail: &str, more: Value) -> Answer {
    let mut value = json!({
        "type": "about:blank",
        "title": status.canonical_reason(),
        "status": status.as_u16(),
        "detail": detail,
    });
    if let (Value::Object(value), Value::Object(more)) = (&mut value, more) {
        value.extend(more);
    }
    json_answer(status, PROBLEM, &value)
}

pub(super) fn refused(wrong: &Wrong) -> Answer {
    let Wrong { status, parameter, detail, remedy } = wrong;
    problem(*status, &format!("{detail}; {remedy}"), json!({ "parameter": parameter, "remedy": remedy }))
}

pub(super) fn not_found() -> Answer {
    problem(StatusCode::NOT_FOUND, "There is nothing at this address; GET /api/v1 lists what there is.", json!({}))
}

pub(super) fn not_allowed(allowed: &'static str) -> Answer {
    let mut response = problem(
        StatusCode::METHOD_NOT_ALLOWED,
        &format!("This address takes {allowed}; reading is GET, changing is POST."),
        json!({}),
    );
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    response
}

/// Where listeners are served, in words.
fn addresses(bound: &[BoundListener]) -> String {
    let list: Vec<String> = bound.iter().map(|bound| bound.actual.to_string()).collect();
    if list.is_empty() { "no address".into() } else { list.join(", ") }
}
