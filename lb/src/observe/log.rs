//! The control log: what goes to standard error, one line an event.
//!
//! JSON where a program reads it, text where a person does. The access log is not here.

use std::fmt::{self, Write as _};
use std::io::{self, IsTerminal};
use std::time::SystemTime;

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Level, Subscriber};
use tracing_appender::non_blocking::WorkerGuard;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use super::journal::{rfc3339, timestamp};

/// The form of the control log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// One JSON object a line: ts, level, target, msg and the event's fields.
    Json,
    /// One line for human eyes.
    Text,
}

impl Format {
    /// Text on a terminal, else JSON.
    #[must_use]
    pub fn for_stderr() -> Self {
        if io::stderr().is_terminal() { Self::Text } else { Self::Json }
    }
}

/// Keeps the log running; dropped, it writes out what waits, if that can be done in a moment.
#[derive(Debug)]
#[must_use]
pub struct Running {
    _writer: WorkerGuard,
}

/// Starts logging to standard error. Lines that standard error does not take are dropped: nobody
/// waits for whoever reads them. `filter` is in `EnvFilter` syntax, such as `info` or
/// `weir=debug`; `coloured` matters to text alone. Where a logger already runs, it stays.
///
/// # Errors
/// When `filter` cannot be read; the message says where.
pub fn start(filter: &str, format: Format, coloured: bool) -> Result<Running, String> {
    let filter = EnvFilter::try_new(filter).map_err(|error| format!("log filter {filter:?}: {error}"))?;
    let (writer, guard) = tracing_appender::non_blocking(io::stderr());
    // The only other error is "already set": somebody embeds us and logs in their own way.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer)
        .event_format(Line { format, coloured })
        .try_init();
    Ok(Running { _writer: guard })
}

/// Writes one event as one line.
struct Line {
    format: Format,
    coloured: bool,
}

impl<S, N> FormatEvent<S, N> for Line
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, writer: Writer<'_>, event: &tracing::Event<'_>) -> fmt::Result {
        let mut parts = Parts::default();
        event.record(&mut parts);
        let metadata = event.metadata();
        let time = rfc3339(timestamp(SystemTime::now()));
        match self.format {
            Format::Json => json_line(writer, &time, *metadata.level(), metadata.target(), parts),
            Format::Text => text_line(writer, &time, *metadata.level(), parts, self.coloured),
        }
    }
}

/// An event's message and fields. A field named `json` holds a JSON object as text, which is
/// merged into the line: this is how the journal hands over evidence of any shape.
#[derive(Default)]
struct Parts {
    message: String,
    fields: Map<String, Value>,
}

impl Parts {
    fn put(&mut self, field: &Field, value: Value) {
        self.fields.insert(field.name().to_owned(), value);
    }
}

impl Visit for Parts {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.message = format!("{value:?}");
        } else {
            self.put(field, Value::String(format!("{value:?}")));
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => value.clone_into(&mut self.message),
            "json" => {
                if let Ok(Value::Object(fields)) = serde_json::from_str(value) {
                    self.fields.extend(fields);
                }
            }
            _ => self.put(field, Value::String(value.to_owned())),
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value.into());
    }
}

fn json_line(mut writer: Writer<'_>, time: &str, level: Level, target: &str, parts: Parts) -> fmt::Result {
    let mut line = Map::new();
    line.insert("ts".into(), time.into());
    line.insert("level".into(), level.as_str().to_ascii_lowercase().into());
    line.insert("target".into(), target.into());
    line.insert("msg".into(), parts.message.into());
    for (name, value) in parts.fields {
        line.entry(name).or_insert(value);
    }
    writeln!(writer, "{}", Value::Object(line))
}

fn text_line(mut writer: Writer<'_>, time: &str, level: Level, parts: Parts, coloured: bool) -> fmt::Result {
    let (on, off) = match level {
        _ if !coloured => ("", ""),
        Level::ERROR => ("\x1b[31m", "\x1b[0m"),
        Level::WARN => ("\x1b[33m", "\x1b[0m"),
        Level::INFO => ("\x1b[32m", "\x1b[0m"),
        _ => ("\x1b[2m", "\x1b[0m"),
    };
    write!(writer, "{time} {on}{level:<5}{off} {}", OneLine(&parts.message))?;
    // The journal's sentence already says what its evidence says.
    if !parts.fields.contains_key("event") {
        for (name, value) in &parts.fields {
            match value {
                Value::String(text) => write!(writer, " {name}={}", OneLine(text))?,
                other => write!(writer, " {name}={other}")?,
            }
        }
    }
    writeln!(writer)
}

/// Text from the network or a file, kept on one line and free of terminal control.
struct OneLine<'a>(&'a str);

impl fmt::Display for OneLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(
            |c| {
                if c.is_control() { write!(f, "{}", c.escape_default()) } else { f.write_char(c) }
            },
        )
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// What `events` log in `format`.
    fn logged(format: Format, events: impl FnOnce()) -> String {
        #[derive(Clone, Default)]
        struct Sink(Arc<Mutex<Vec<u8>>>);
        impl io::Write for Sink {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0.lock().unwrap().extend_from_slice(bytes);
                Ok(bytes.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let sink = Sink::default();
        let writer = sink.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(move || writer.clone())
            .event_format(Line { format, coloured: false })
            .finish();
        tracing::subscriber::with_default(subscriber, events);
        let bytes = sink.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn json_has_the_evidence_beside_the_message() {
        let line = logged(Format::Json, || {
            tracing::info!(target: "weir::journal", event = "started", id = 7, json = r#"{"zone":"az-a","msg":"no"}"#, "up");
        });
        let value: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(line.lines().count(), 1);
        assert_eq!(value["msg"], "up");
        assert_eq!(value["level"], "info");
        assert_eq!(value["target"], "weir::journal");
        assert_eq!((&value["event"], &value["id"], &value["zone"]), (&"started".into(), &7.into(), &"az-a".into()));
        assert!(value["ts"].as_str().unwrap().ends_with('Z'));
    }

    #[test]
    fn text_stays_on_one_line() {
        let line = logged(Format::Text, || tracing::warn!(peer = "a\nb\x1b[2J", "two\nlines"));
        assert_eq!(line.lines().count(), 1);
        assert!(line.ends_with("WARN  two\\nlines peer=a\\nb\\u{1b}[2J\n"), "{line}");
    }

    #[test]
    fn a_bad_filter_is_told() {
        assert!(start("weir=loud", Format::Text, false).unwrap_err().contains("weir=loud"));
    }
}
