//! A reload is a transaction: read, understand, reserve sockets, step, publish, open. Whatever
//! fails before the step leaves everything as it was, and is told.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::SystemTime;

use serde_json::{Value, json};
use weir_config::{Changes, Config, Mistakes, Style};
use weir_core::control::Event;
use weir_core::time::Moment;

use super::attempts::Attempt;
use super::source::{SourceError, fingerprint};
use super::{Phase, ReserveError, Seen, Shell, Sockets};
use super::{certificates, tokens};
use crate::env::Env;
use crate::observe::journal::{Kind, Level};
use crate::observe::metrics::control::Reload;
use crate::tls::Book;

/// Who asked for a reload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// The process started.
    Start,
    /// The file changed.
    File,
    /// SIGHUP.
    Signal,
    /// The admin API.
    Api,
}

impl Trigger {
    /// The word in events and the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::File => "file",
            Self::Signal => "signal",
            Self::Api => "api",
        }
    }
}

/// How a reload ended.
#[derive(Clone, Debug)]
pub enum ReloadOutcome {
    /// A new configuration is in force.
    Applied(Applied),
    /// It says the same as the one in force.
    Unchanged {
        /// The generation in force.
        generation: u64,
    },
    /// It was refused; the one before stays in force.
    Rejected(Rejection),
}

/// What came into force.
#[derive(Clone, Debug)]
pub struct Applied {
    /// The first generation with it.
    pub generation: u64,
    /// What changed, in words, on lines of its own.
    pub changes: String,
    /// The same on one line, shortened if it is long.
    pub summary: String,
    /// The same for programs.
    pub changes_json: Value,
    /// What is probably not meant, in words; empty if nothing.
    pub warnings: String,
    /// The same for programs.
    pub warnings_json: Value,
}

/// Why a configuration was refused.
#[derive(Clone, Debug)]
pub struct Rejection {
    /// Every mistake, in words, with its place.
    pub text: String,
    /// The same for programs.
    pub json: Box<Value>,
    /// The first mistake on one line.
    pub first: String,
    /// How many there are.
    pub count: usize,
}

impl Rejection {
    /// The text has mistakes.
    #[must_use]
    pub fn of_text(mistakes: &Mistakes) -> Self {
        let first = mistakes.iter().next().map(|mistake| format!("{}:{mistake}", mistakes.file())).unwrap_or_default();
        Self { text: mistakes.render(Style::Plain), json: mistakes.to_json().into(), first, count: mistakes.errors() }
    }

    /// There is no text.
    #[must_use]
    pub fn of_source(error: &SourceError) -> Self {
        Self::plain("unreadable", error.to_string())
    }

    /// Addresses cannot be bound.
    #[must_use]
    pub fn of_sockets(errors: &[ReserveError]) -> Self {
        let mistakes: Vec<Value> = errors
            .iter()
            .map(|error| {
                let (listener, address) = error.address.clone().unzip();
                json!({
                    "severity": "error",
                    "code": if address.is_some() { "cannot_bind" } else { "cannot_open" },
                    "listener": listener.as_ref().map(|listener| listener.as_str()),
                    "address": address.map(|address| address.to_string()),
                    "message": error.message,
                })
            })
            .collect();
        let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
        Self {
            text: lines.join("\n"),
            json: json!({ "errors": errors.len(), "warnings": 0, "mistakes": mistakes }).into(),
            first: lines.first().cloned().unwrap_or_default(),
            count: errors.len(),
        }
    }

    /// TLS that was asked for cannot be had.
    #[must_use]
    pub(super) fn of_book(wrong: &[String]) -> Self {
        let wrong: Vec<ReserveError> = wrong.iter().map(|why| ReserveError::file(why.clone())).collect();
        Self::of_sockets(&wrong)
    }

    pub(super) fn of_ourselves() -> Self {
        Self::plain("internal", "the core made no snapshot of the first configuration: a mistake of weir itself".into())
    }

    pub(super) fn stopping() -> Self {
        Self::plain("stopping", "the process is stopping and takes no new configuration".into())
    }

    pub(super) fn upgrading() -> Self {
        Self::plain("upgrading", "another process is about to take over; whichever serves then reads the file".into())
    }

    fn plain(code: &str, message: String) -> Self {
        let mistakes = json!([{ "severity": "error", "code": code, "message": message }]);
        Self {
            text: message.clone(),
            json: json!({ "errors": 1, "warnings": 0, "mistakes": mistakes }).into(),
            first: message,
            count: 1,
        }
    }
}

/// The configuration's text in force.
#[derive(Clone, Debug)]
pub struct InForce {
    /// As read.
    pub text: Arc<str>,
    /// A short name for it.
    pub hash: String,
    /// The first generation with it.
    pub generation: u64,
    /// Since when.
    pub since: SystemTime,
}

impl InForce {
    pub(super) fn new(text: Arc<str>, generation: u64, since: SystemTime) -> Self {
        Self { hash: fingerprint(&text), text, generation, since }
    }
}

/// How the newest attempt to load the configuration ended.
#[derive(Clone, Debug)]
pub struct LastReload {
    /// When.
    pub at: SystemTime,
    /// Who asked.
    pub trigger: Trigger,
    /// `applied`, `unchanged` or `rejected`.
    pub result: &'static str,
    /// In words.
    pub message: String,
}

impl LastReload {
    pub(super) fn applied(trigger: Trigger, at: SystemTime) -> Self {
        Self { at, trigger, result: "applied", message: "the first configuration".into() }
    }
}

impl<E: Env, S: Sockets> Shell<E, S> {
    /// Reads the file and takes it, or not. Every attempt leaves an event, a log line and a count.
    pub(super) fn reload(&mut self, trigger: Trigger) -> ReloadOutcome {
        let outcome = match self.shared.source.read() {
            _ if self.shared.phase.get() == Phase::Draining => ReloadOutcome::Rejected(Rejection::stopping()),
            Ok(text) => {
                self.seen = Seen::Text(Arc::clone(&text));
                self.take(text)
            }
            Err(error) => {
                self.seen = Seen::Unreadable(error.to_string());
                ReloadOutcome::Rejected(Rejection::of_source(&error))
            }
        };
        self.note_reload(trigger, &outcome);
        outcome
    }

    /// The file, or one that was read with it, may have changed: acts only if what it holds did.
    pub(super) fn look_at_file(&mut self) {
        let found = match self.shared.source.read() {
            Ok(text) => Seen::Text(text),
            Err(error) => Seen::Unreadable(error.to_string()),
        };
        let outdated = self.shared.source.is_outdated();
        if found == self.seen && (!outdated || matches!(found, Seen::Unreadable(_))) {
            return;
        }
        let in_force = Arc::clone(&self.shared.in_force.borrow().text);
        let (level, message) = match &found {
            Seen::Unreadable(why) => (Level::Warn, format!("{why}; the configuration in force stays")),
            // It went and came back as it was: worth a word, but no reload.
            Seen::Text(text) if *text == in_force && !outdated && matches!(self.seen, Seen::Unreadable(_)) => {
                (Level::Info, format!("{} is back, unchanged", self.shared.source.shown()))
            }
            Seen::Text(_) => {
                self.reload(Trigger::File);
                return;
            }
        };
        self.seen = found;
        self.shared.journal.record(Kind::ConfigSource, level, message, json!({ "config": self.shared.source.path() }));
    }

    fn take(&mut self, text: Arc<str>) -> ReloadOutcome {
        let before = self.shared.truth.load_full();
        let weir_config::Parsed { config, warnings } = match self.shared.source.load(&text) {
            Ok(understood) => understood,
            Err(mistakes) => return ReloadOutcome::Rejected(Rejection::of_text(&mistakes)),
        };
        let changes = weir_config::diff(&before.config, &config);
        let book = match self.shared.book.load().next(&config) {
            Ok(book) => book,
            Err(wrong) => return ReloadOutcome::Rejected(Rejection::of_book(&wrong)),
        };
        if changes.is_empty() {
            return self.take_spelling(text, config, book);
        }
        let config = Arc::new(config);
        let reserved = match self.sockets.reserve(&config) {
            Ok(reserved) => reserved,
            Err(errors) => return ReloadOutcome::Rejected(Rejection::of_sockets(&errors)),
        };
        // From here on nothing can fail.
        self.shared.book.store(Arc::new(book));
        self.shared.metrics.adopt(Some(&before.config), &config);
        self.shared.show_canaries();
        self.step(Event::Configured(config));
        self.publish();
        let snapshot = self.shared.truth.load_full();
        certificates::tell_new(&before.config, &snapshot.config, &self.shared.journal);
        if before.config.admin != snapshot.config.admin {
            tokens::warn_of_readable(&snapshot.config, &self.shared.source, &self.shared.journal);
        }
        // Among them may be one that has not long to live.
        self.certificates.1 = Moment::ZERO;
        self.sockets.open(reserved, &snapshot);
        self.shared.in_force.replace(InForce::new(text, snapshot.generation, self.env.wall()));
        ReloadOutcome::Applied(Applied {
            generation: snapshot.generation,
            changes: changes.to_string(),
            summary: summary(&changes),
            changes_json: changes.to_json(),
            warnings: if warnings.is_empty() { String::new() } else { warnings.render(Style::Plain) },
            warnings_json: warnings.to_json(),
        })
    }

    /// Takes a configuration that means the same: what is shown is what was read, and lines count
    /// as they stand in it.
    fn take_spelling(&mut self, text: Arc<str>, config: Config, book: Book) -> ReloadOutcome {
        let before = self.shared.truth.load_full();
        if config != *before.config {
            self.shared.book.store(Arc::new(book));
            self.step(Event::Configured(Arc::new(config)));
            self.publish();
        }
        let InForce { generation, since, .. } = *self.shared.in_force.borrow();
        self.shared.in_force.replace(InForce::new(text, generation, since));
        ReloadOutcome::Unchanged { generation: self.shared.truth.load().generation }
    }

    fn note_reload(&self, trigger: Trigger, outcome: &ReloadOutcome) {
        let file = self.shared.source.shown();
        let (kind, level, count, message, mut fields) = match outcome {
            ReloadOutcome::Applied(applied) => {
                let message = format!("{file} applied as generation {}: {}", applied.generation, applied.summary);
                let fields = json!({ "generation": applied.generation, "changes": applied.changes_json, "warnings": applied.warnings_json["mistakes"] });
                (Kind::ConfigApplied, Level::Info, Reload::Applied, message, fields)
            }
            ReloadOutcome::Unchanged { generation } => {
                let message = format!("{file} read again: nothing changed");
                (Kind::ConfigUnchanged, Level::Info, Reload::Unchanged, message, json!({ "generation": generation }))
            }
            ReloadOutcome::Rejected(rejection) => {
                let more = match rejection.count {
                    0 | 1 => String::new(),
                    count => format!(" (and {} more)", count - 1),
                };
                let message = format!("{file} refused, the configuration in force stays: {}{more}", rejection.first);
                let fields = json!({ "mistakes": rejection.json["mistakes"], "count": rejection.count });
                (Kind::ConfigRejected, Level::Error, Reload::Rejected, message, fields)
            }
        };
        fields["trigger"] = trigger.as_str().into();
        let at = self.env.wall();
        self.shared.metrics.reloaded(count, at);
        let generation = self.shared.in_force.borrow().generation;
        self.shared.attempts.borrow_mut().note(Attempt::of(outcome, at, trigger, generation, &message));
        self.shared.last_reload.replace(LastReload { at, trigger, result: count.as_str(), message: message.clone() });
        self.shared.journal.record(kind, level, message, fields);
        if matches!(outcome, ReloadOutcome::Applied(_)) {
            self.note_listeners();
        }
    }
}

/// `2 listeners, 3 routes, 4 clusters and 12 endpoints`; names and files, where more endpoints are
/// found, are counted only if there are any.
#[must_use]
pub fn in_numbers(config: &Config) -> String {
    let routes = config.listeners.iter().map(|listener| listener.routes.len()).sum();
    let endpoints = config.clusters.iter().map(|cluster| cluster.endpoints.len()).sum();
    let sources: usize = config.clusters.iter().map(|cluster| cluster.sources.len()).sum();
    let count = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
    let mut numbers = vec![
        count(config.listeners.len(), "listener"),
        count(routes, "route"),
        count(config.clusters.len(), "cluster"),
        count(endpoints, "endpoint"),
    ];
    if sources > 0 {
        numbers.push(count(sources, "source") + " of more");
    }
    let last = numbers.pop().unwrap_or_default();
    format!("{} and {last}", numbers.join(", "))
}

/// The changes on one line that is not too long for a log.
fn summary(changes: &Changes) -> String {
    const MAX: usize = 8;
    let told = changes.iter().take(MAX).map(|change| format!("{} {}", change.kind.as_str(), change.what));
    let mut summary = told.collect::<Vec<_>>().join("; ");
    if changes.len() > MAX {
        // Writing to a String cannot fail.
        let _ = write!(summary, "; and {} more", changes.len() - MAX);
    }
    summary
}
