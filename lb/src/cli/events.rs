//! `weir events`: what happened, and why.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::client::{Client, ClientError};
use super::paint::{Paint, harmless};
use super::{Format, Instance, emit, failed};

/// Between two looks of `--follow`.
const PAUSE: Duration = Duration::from_secs(1);

/// `weir events`.
#[derive(Debug, Args)]
pub(super) struct Show {
    #[command(flatten)]
    instance: Instance,
    /// Go on, and print what happens from now on
    #[arg(long, short)]
    follow: bool,
    /// Only what happened after the event of this number
    #[arg(long, value_name = "ID")]
    since: Option<u64>,
    /// At most so many, 1 to 1000: the newest, or with --since the first after it
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..=1000))]
    limit: u64,
    /// Form of the events; JSON is one object a line
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// An answer of `/api/v1/events`.
#[derive(Debug, Deserialize)]
struct Stretch {
    events: Vec<Event>,
    last: u64,
    lost: u64,
    /// When the process began that numbers them.
    #[serde(default)]
    started: String,
}

impl Stretch {
    /// Whether its numbers are not those of the process that `started` then, and told up to `seen`.
    fn is_of_another(&self, started: &str, seen: Option<u64>) -> bool {
        self.started != started || seen.is_some_and(|seen| self.last < seen)
    }
}

#[derive(Debug, Deserialize, Serialize)]
struct Event {
    id: u64,
    time: String,
    kind: String,
    level: String,
    message: String,
    fields: Value,
}

impl Show {
    pub(super) fn run(self) -> ExitCode {
        match self.show() {
            Ok(code) => code,
            Err(error) => failed(&error.to_string()),
        }
    }

    fn show(&self) -> Result<ExitCode, ClientError> {
        let client = Client::new(&self.instance)?;
        let mut seen = self.since;
        let stretch = self.read(&client, seen, self.limit)?;
        let mut code = self.print(&stretch);
        let mut started = stretch.started;
        seen = Some(stretch.events.last().map_or(stretch.last, |event| event.id));
        let mut reachable = true;
        while self.follow && code == ExitCode::SUCCESS {
            std::thread::sleep(PAUSE);
            match self.read(&client, seen, 1000) {
                Ok(stretch) if stretch.is_of_another(&started, seen) => {
                    eprintln!("weir: the instance was restarted");
                    (seen, started) = (Some(0), stretch.started);
                }
                Ok(stretch) => {
                    code = self.print(&stretch);
                    seen = stretch.events.last().map(|event| event.id).or(seen);
                    reachable = true;
                }
                Err(error) if reachable => {
                    eprintln!("weir: {}; still trying", harmless(&error.to_string()));
                    reachable = false;
                }
                Err(_) => {}
            }
        }
        Ok(code)
    }

    fn read(&self, client: &Client, since: Option<u64>, limit: u64) -> Result<Stretch, ClientError> {
        let since = since.map(|since| format!("&since={since}")).unwrap_or_default();
        client.get(&format!("/api/v1/events?limit={limit}{since}"))
    }

    fn print(&self, stretch: &Stretch) -> ExitCode {
        if stretch.lost > 0 {
            eprintln!("weir: {} older events are no longer kept", stretch.lost);
        }
        let paint = Paint::for_stdout();
        let lines = stretch.events.iter().map(|event| match self.format {
            Format::Json => serde_json::to_string(event).unwrap_or_default() + "\n",
            Format::Text => line(event, paint),
        });
        emit(&lines.collect::<String>())
    }
}

fn line(event: &Event, paint: Paint) -> String {
    let level = paint.state(&event.level, &format!("{:<5}", harmless(&event.level).to_uppercase()));
    let message = harmless(&event.message).replace('\n', "; ");
    let asked = asked(&event.fields["asked_by"]);
    let asked = if asked.is_empty() { asked } else { paint.dim(&asked) };
    format!(
        "{} {} {level} {message}{asked}\n",
        paint.dim(&harmless(&event.time)),
        paint.dim(&format!("#{:<4}", event.id))
    )
}

/// Who asked for it; nothing, if that is nobody or somebody on the same host who has no name.
fn asked(by: &Value) -> String {
    match (by["who"].as_str(), by["from"].as_str()) {
        (Some(who), Some(from)) if who != "loopback" => harmless(&format!(" (asked by {who} from {from})")),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_process_is_known_whatever_its_numbers() {
        let of = |started: &str| Stretch { events: Vec::new(), last: 9, lost: 0, started: started.into() };
        assert!(!of("a").is_of_another("a", Some(9)) && !of("").is_of_another("", None));
        assert!(of("b").is_of_another("a", Some(5)), "it has told more than the one before it");
        assert!(of("").is_of_another("", Some(10)), "an older one, which does not say");
    }

    #[test]
    fn an_event_is_one_line() {
        let event: Event = serde_json::from_value(serde_json::json!({
            "id": 7, "time": "2026-01-02T03:04:05.678Z", "kind": "started", "level": "info",
            "message": "a\nb\u{1b}[2J", "fields": {}
        }))
        .unwrap();
        assert_eq!(line(&event, Paint::plain()), "2026-01-02T03:04:05.678Z #7    INFO  a; b\u{fffd}[2J\n");
    }

    #[test]
    fn who_asked_from_elsewhere_is_told() {
        for (by, expected) in [
            (serde_json::json!({"who": "token t", "from": "10.0.0.9:1"}), " (asked by token t from 10.0.0.9:1)"),
            (serde_json::json!({"who": "loopback", "from": "127.0.0.1:1"}), ""),
            (Value::Null, ""),
        ] {
            assert_eq!(asked(&by), expected);
        }
    }
}
