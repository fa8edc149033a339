//! A drill watched from its beginning to its report. Whatever ends the watching before that ends
//! the drill too.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use serde_json::Value;

use super::report::{self, Drill};
use crate::cli::Format;
use crate::cli::client::{Client, ClientError, Interrupts, Parameters};
use crate::cli::paint::harmless;
use crate::cli::table::age;

/// Between two looks.
const PAUSE: Duration = Duration::from_secs(1);
/// So many looks in a row may fail: an instance may be busy.
const MISSES_MAX: u32 = 5;

/// Follows drill `id` and prints its report.
pub(super) fn to_the_end(
    client: &Client,
    id: u64,
    interrupts: &mut Interrupts,
    format: Format,
) -> Result<ExitCode, ClientError> {
    let path = format!("/api/v1/drills/{id}");
    let line = Line::new();
    let (mut asked_to_end, mut misses) = (false, 0);
    loop {
        let interrupted = client.pause(PAUSE, interrupts);
        if interrupted && !asked_to_end {
            line.clear();
            client.order(&format!("{path}:end"), &Parameters::by_me())?;
            eprintln!("drill {id} is ended; looking on for a while (Ctrl-C again: what is known by now)");
            asked_to_end = true;
            continue;
        }
        let value: Value = match client.get(&path) {
            Ok(value) => value,
            Err(error) => {
                misses += 1;
                if misses < MISSES_MAX && !interrupted {
                    continue;
                }
                line.clear();
                // It may be deaf for a moment only.
                let _ = client.order(&format!("{path}:end"), &Parameters::by_me());
                return Err(error);
            }
        };
        misses = 0;
        let drill: Drill = client.understand(value.clone())?;
        if drill.stage == "reported" || interrupted {
            line.clear();
            return report::print(&value, format);
        }
        line.show(&progress(&drill));
    }
}

fn progress(drill: &Drill) -> String {
    let left = age(drill.left_seconds.unwrap_or_default().ceil() as u64);
    let stage = if drill.stage == "running" { "runs" } else { "is over, looking on" };
    let mut text = format!("drill {} {stage}, {left} left", drill.drill);
    for cluster in drill.clusters.iter().take(3) {
        let now = cluster.after.as_ref().unwrap_or(&cluster.during);
        text += &format!(" · {}: {} of {} failed", cluster.cluster, now.errors, now.requests);
        text += &now.p99_ms.map(|p99| format!(", p99 {p99:.0} ms")).unwrap_or_default();
    }
    harmless(&text)
}

/// One line on a terminal, written over and over; nothing where nobody sees it.
struct Line {
    on: bool,
}

impl Line {
    fn new() -> Self {
        Self { on: io::stderr().is_terminal() }
    }

    fn show(&self, text: &str) {
        self.write(&format!("\r\x1b[2K{text}"));
    }

    fn clear(&self) {
        self.write("\r\x1b[2K");
    }

    fn write(&self, text: &str) {
        if self.on {
            // Of a terminal that is gone nothing better can be said.
            let _ = io::stderr().write_all(text.as_bytes()).and_then(|()| io::stderr().flush());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_says_what_clients_see_now() {
        let drill = |stage: &str, after: Value| {
            serde_json::from_value(serde_json::json!({
                "drill": 3, "kind": "reset", "words": "", "stage": stage, "by": "ada", "ended_by": null, "left_seconds": 41.2, "began": "",
                "clusters": [{"cluster": "app", "before": report::tests::stretch(100, 0), "during": report::tests::stretch(50, 5), "after": after}],
            }))
            .unwrap()
        };
        assert_eq!(progress(&drill("running", Value::Null)), "drill 3 runs, 42s left · app: 5 of 50 failed, p99 12 ms");
        assert_eq!(
            progress(&drill("after", report::tests::stretch(7, 0))),
            "drill 3 is over, looking on, 42s left · app: 0 of 7 failed, p99 12 ms"
        );
    }
}
