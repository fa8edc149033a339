//! `/debug/pprof/`: profiles of CPU time, and how the runtimes do. For whoever may change things: a
//! profile costs CPU time, and tells what a process works on.

use std::cell::Cell;
use std::sync::mpsc;
use std::time::Duration;

use http::StatusCode;
use http::header::{CONTENT_DISPOSITION, HeaderValue};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

use super::Service;
use super::api::{Answer, answer, json_answer, not_allowed, not_found, problem, refused};
use super::query::{Query, Wrong};
use crate::env::Env;
use crate::observe::journal::Asker;
use crate::observe::runtime::Seen;
use crate::profile::{self, Profile, ProfileError};

/// Seconds of a profile: when nothing is said, and at the most.
const SECONDS_DEFAULT: u64 = 10;
const SECONDS_MAX: u64 = 60;
/// Looks for each second of CPU time. Not 100: what happens each 10 ms would be seen always or never.
const FREQUENCY_DEFAULT: u64 = 99;
const FREQUENCY_MAX: u64 = 999;
/// A worker that takes longer to answer is stuck.
const PATIENCE: Duration = Duration::from_secs(1);

const INDEX: &str = "\
/debug/pprof/profile?seconds=10                 CPU profile, for go tool pprof (gzip)
/debug/pprof/profile?seconds=10&format=svg      the same as a flame graph
/debug/pprof/profile?seconds=10&format=text     the same as stacks on lines
/debug/pprof/tasks                              workers: how late, how busy, how many tasks
";

/// The form of a profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Gzip,
    Plain,
    Svg,
    Text,
}

impl Form {
    fn of(query: &Query) -> Result<Self, Wrong> {
        match query.get("format") {
            None | Some("pprof") => Ok(Self::Gzip),
            Some("proto") => Ok(Self::Plain),
            Some("svg" | "flamegraph") => Ok(Self::Svg),
            Some("text" | "collapsed") => Ok(Self::Text),
            Some(other) => {
                let detail = format!("there is no format {other:?}");
                Err(Wrong::new("format", detail, "formats are: pprof (gzip), proto, svg, text"))
            }
        }
    }

    fn show(self, profile: &Profile) -> (Vec<u8>, &'static str, &'static str) {
        const BINARY: &str = "application/octet-stream";
        match self {
            Self::Gzip => (profile::gzip(&profile::pprof(profile)), BINARY, "weir.pb.gz"),
            Self::Plain => (profile::pprof(profile), BINARY, "weir.pb"),
            Self::Svg => (profile::svg(profile).into_bytes(), "image/svg+xml", ""),
            Self::Text => (profile::collapsed(profile).into_bytes(), "text/plain; charset=utf-8", ""),
        }
    }
}

/// What a request for a profile asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Wanted {
    lasts: Duration,
    frequency: u32,
    form: Form,
}

impl Wanted {
    fn of(query: &Query) -> Result<Self, Wrong> {
        query.only(&["seconds", "frequency", "format"])?;
        let within = |name, usual, most| match query.number(name)?.unwrap_or(usual) {
            number if (1..=most).contains(&number) => Ok(number),
            number => Err(Wrong::new(name, format!("{name} is {number}"), format!("a whole number from 1 to {most}"))),
        };
        Ok(Self {
            lasts: Duration::from_secs(within("seconds", SECONDS_DEFAULT, SECONDS_MAX)?),
            // The bound keeps it within its type.
            frequency: within("frequency", FREQUENCY_DEFAULT, FREQUENCY_MAX)? as u32,
            form: Form::of(query)?,
        })
    }
}

/// One profile under way; the next may begin when this is dropped.
struct UnderWay<'a>(&'a Cell<bool>);

impl<'a> UnderWay<'a> {
    fn begin(one: &'a Cell<bool>) -> Option<Self> {
        (!one.replace(true)).then_some(Self(one))
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.set(false);
    }
}

impl<E: Env> Service<E> {
    /// Answers `GET` of `path`.
    pub(super) async fn debug(&self, path: &str, query: &Query, asker: &Asker) -> Answer {
        match path {
            "/debug/pprof" | "/debug/pprof/" => answer(StatusCode::OK, "text/plain; charset=utf-8", INDEX),
            "/debug/pprof/profile" => match Wanted::of(query) {
                Ok(wanted) => self.profile(wanted, asker).await,
                Err(wrong) => refused(&wrong),
            },
            "/debug/pprof/tasks" => json_answer(StatusCode::OK, "application/json", &self.tasks().await),
            _ => not_found(),
        }
    }

    /// Answers everything else there.
    pub(super) fn debug_changed(path: &str) -> Answer {
        match path {
            "/debug/pprof" | "/debug/pprof/" | "/debug/pprof/profile" | "/debug/pprof/tasks" => {
                not_allowed("GET, HEAD")
            }
            _ => not_found(),
        }
    }

    async fn profile(&self, Wanted { lasts, frequency, form }: Wanted, asker: &Asker) -> Answer {
        let Some(_under_way) = UnderWay::begin(&self.profiling) else {
            return not_now(&ProfileError::Busy);
        };
        let Asker { who, from } = asker;
        tracing::info!(who, from, seconds = lasts.as_secs(), frequency, "a CPU profile is taken");
        // Dropped with this future, if whoever asked is gone: then it ends at once.
        let (_wanted, wanted) = mpsc::channel();
        let now = self.env.wall();
        let taken = tokio::task::spawn_blocking(move || {
            profile::take(now, lasts, frequency, &wanted).map(|profile| form.show(&profile))
        });
        match taken.await {
            Ok(Ok((bytes, kind, name))) => {
                let mut taken = answer(StatusCode::OK, kind, bytes);
                if let Ok(value) = HeaderValue::try_from(format!("attachment; filename=\"{name}\""))
                    && !name.is_empty()
                {
                    taken.headers_mut().insert(CONTENT_DISPOSITION, value);
                }
                taken
            }
            Ok(Err(error)) => not_now(&error),
            Err(error) => problem(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string(), json!({})),
        }
    }

    /// How each worker does, and how long it takes to say so.
    async fn tasks(&self) -> Value {
        let asked = Instant::now();
        let answers = (self.ask_workers)();
        let mut workers = Vec::with_capacity(answers.len());
        for (index, waits) in answers.into_iter().enumerate() {
            // All have the same time: it is one that they were asked at.
            let left = PATIENCE.saturating_sub(asked.elapsed());
            workers.push(match timeout(left, waits).await {
                Ok(Ok((seen, at))) => worker(index, seen, at.saturating_duration_since(asked)),
                Ok(Err(_)) => json!({ "worker": index, "state": "ended" }),
                Err(_) => json!({ "worker": index, "state": "stuck", "late_seconds": PATIENCE.as_secs_f64() }),
            });
        }
        let own = Seen::here();
        json!({
            "control": {
                "lag_seconds": self.handle.lag().as_secs_f64(),
                "tasks": own.tasks,
                "queued": own.queued,
                "parks": own.parks,
                "busy_seconds": own.busy.as_secs_f64(),
            },
            "workers": workers,
        })
    }
}

fn worker(index: usize, seen: Seen, late: Duration) -> Value {
    json!({
        "worker": index,
        "state": "running",
        "late_seconds": late.as_secs_f64(),
        "connections": seen.connections,
        "requests": seen.requests,
        "tasks": seen.tasks,
        "queued": seen.queued,
        "parks": seen.parks,
        "busy_seconds": seen.busy.as_secs_f64(),
    })
}

fn not_now(error: &ProfileError) -> Answer {
    let status = match error {
        ProfileError::Busy => StatusCode::CONFLICT,
        ProfileError::Unwanted | ProfileError::System(_) => StatusCode::SERVICE_UNAVAILABLE,
    };
    problem(status, &error.to_string(), json!({}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wanted_is_bounded() {
        let wanted = |query: &str| Wanted::of(&Query::of(&format!("/x?{query}").parse().unwrap()));
        let usual = Wanted { lasts: Duration::from_secs(10), frequency: 99, form: Form::Gzip };
        assert_eq!(wanted(""), Ok(usual));
        let all = wanted("seconds=60&frequency=999&format=flamegraph");
        assert_eq!(all, Ok(Wanted { lasts: Duration::from_secs(60), frequency: 999, form: Form::Svg }));
        for (query, parameter) in [
            ("seconds=0", Some("seconds")),
            ("seconds=61", Some("seconds")),
            ("seconds=x", Some("seconds")),
            ("frequency=1000", Some("frequency")),
            ("format=png", Some("format")),
            ("second=1", None),
        ] {
            assert_eq!(wanted(query).unwrap_err().parameter, parameter, "{query}");
        }
    }

    #[test]
    fn one_profile_at_a_time() {
        let one = Cell::new(false);
        let first = UnderWay::begin(&one);
        assert!(first.is_some() && UnderWay::begin(&one).is_none());
        drop(first);
        assert!(UnderWay::begin(&one).is_some());
    }
}
