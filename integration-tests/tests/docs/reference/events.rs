//! Every kind of event.

use std::fmt::Write as _;

use weir::observe::journal::{Kind, Level};

use super::{expect, row};

const HEAD: &str = "# Reference: events

What happened in an instance, and why: `weir events`, `GET /api/v1/events`, the timeline of the status page, and one line of
the log each. An event has an `id` that rises by one, a `time`, a `kind`, a `level`, a `message` for people and `fields`,
which are its evidence for programs. The last 10 000 are kept; they end with the process.

Levels: `info` is as intended, `warn` is worth a look, `error` was lost or refused. A field that says nothing is null or not
there. What somebody asked for over the API has `asked_by` (`who`, `from`) beside what stands here.

";

#[test]
fn events_are_the_tables() {
    let mut page = HEAD.to_owned() + "| kind | level | what happened |\n|---|---|---|\n";
    let levels = |levels: &[Level]| {
        let words: Vec<&str> = levels.iter().map(|level| word(*level)).collect();
        words.join(", ")
    };
    for told in Kind::ALL.map(Kind::told) {
        page += &row(&[&format!("[`{0}`](#{0})", told.name), &levels(told.levels), told.meaning]);
    }
    for told in Kind::ALL.map(Kind::told) {
        let _ = write!(page, "\n## `{}`\n\n{}\n\n| field | says |\n|---|---|\n", told.name, told.meaning);
        for (field, says) in told.evidence {
            page += &row(&[&format!("`{field}`"), says]);
        }
    }
    expect("events", &page);
}

fn word(level: Level) -> &'static str {
    match level {
        Level::Info => "info",
        Level::Warn => "warn",
        Level::Error => "error",
    }
}
