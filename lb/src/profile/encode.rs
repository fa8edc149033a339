//! A profile for other programs: pprof's protobuf, and stacks on lines.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use super::protobuf::Message;
use super::{Frame, Profile};

/// One line for each stack, as flame graph tools take it: `thread;outer;inner COUNT`.
#[must_use]
pub fn collapsed(profile: &Profile) -> String {
    let mut text = String::new();
    for (stack, count) in &profile.stacks {
        text.push_str(&plain(&stack.thread));
        for frame in &stack.frames {
            text.push(';');
            text.push_str(&plain(&frame.function));
        }
        // Writing to a String cannot fail.
        let _ = writeln!(text, " {count}");
    }
    text
}

/// What would end a name or a line, as something else.
fn plain(name: &str) -> String {
    name.replace(';', ":").replace(['\n', '\r'], " ")
}

/// `profile.proto`, which `go tool pprof` and its kin read; not compressed.
/// (<https://github.com/google/pprof/blob/main/proto/profile.proto>)
#[must_use]
pub fn pprof(profile: &Profile) -> Vec<u8> {
    let mut tables = Tables::default();
    // The first has to be empty.
    tables.text("");
    let (mut message, period) = (Message::default(), 1_000_000_000 / u64::from(profile.frequency.max(1)));
    let kinds =
        [("samples", "count"), ("cpu", "nanoseconds")].map(|(kind, unit)| (tables.text(kind), tables.text(unit)));
    for (kind, unit) in kinds {
        message.message(1, |of| {
            of.number(1, kind);
            of.number(2, unit);
        });
    }
    let thread = tables.text("thread");
    for (stack, count) in &profile.stacks {
        // The innermost first.
        let locations: Vec<u64> = stack.frames.iter().rev().map(|frame| tables.location(frame)).collect();
        let name = tables.text(&stack.thread);
        message.message(2, |sample| {
            sample.packed(1, locations);
            sample.packed(2, [*count, count.saturating_mul(period)]);
            sample.message(3, |label| {
                label.number(1, thread);
                label.number(2, name);
            });
        });
    }
    let file = tables.text("weir");
    // Names, files and lines are known: nobody need look for the program.
    message.message(3, |mapping| {
        mapping.number(1, 1);
        mapping.number(5, file);
        (7..=10).for_each(|known| mapping.number(known, 1));
    });
    tables.write(&mut message);
    let nanoseconds = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    let started = profile.started.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    message.number(9, nanoseconds(started));
    message.number(10, nanoseconds(profile.lasted));
    let (kind, unit) = kinds[1];
    message.message(11, |of| {
        of.number(1, kind);
        of.number(2, unit);
    });
    message.number(12, period);
    message.into_bytes()
}

/// What samples refer to by number, each once.
#[derive(Default)]
struct Tables<'p> {
    texts: Vec<&'p str>,
    by_text: HashMap<&'p str, u64>,
    /// Name and file, as numbers of texts.
    functions: Vec<(u64, u64)>,
    by_function: HashMap<(u64, u64), u64>,
    /// Function and line.
    locations: Vec<(u64, u32)>,
    by_location: HashMap<(u64, u32), u64>,
}

impl<'p> Tables<'p> {
    /// Texts count from 0,
    fn text(&mut self, text: &'p str) -> u64 {
        number_of(&mut self.texts, &mut self.by_text, text)
    }

    /// all else from 1.
    fn location(&mut self, frame: &'p Frame) -> u64 {
        let named = (self.text(&frame.function), self.text(&frame.file));
        let function = number_of(&mut self.functions, &mut self.by_function, named) + 1;
        number_of(&mut self.locations, &mut self.by_location, (function, frame.line)) + 1
    }

    fn write(&self, message: &mut Message) {
        for (id, (function, line)) in (1..).zip(&self.locations) {
            message.message(4, |location| {
                location.number(1, id);
                location.number(2, 1);
                location.message(4, |at| {
                    at.number(1, *function);
                    at.number(2, u64::from(*line));
                });
            });
        }
        for (id, (name, file)) in (1..).zip(&self.functions) {
            message.message(5, |function| {
                function.number(1, id);
                function.number(2, *name);
                function.number(3, *name);
                function.number(4, *file);
            });
        }
        self.texts.iter().for_each(|text| message.bytes(6, text.as_bytes()));
    }
}

/// The place of `item` in `list`, at the end if it was not there.
fn number_of<T: Copy + Eq + std::hash::Hash>(list: &mut Vec<T>, known: &mut HashMap<T, u64>, item: T) -> u64 {
    *known.entry(item).or_insert_with(|| {
        list.push(item);
        list.len() as u64 - 1
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::sample;
    use super::*;

    #[test]
    fn stacks_are_lines() {
        assert_eq!(
            collapsed(&sample()),
            "control;main;probe 60\nworker-0;main;serve 10\nworker-0;main;serve;parse<T> 30\n"
        );
        assert_eq!(plain("a;b\nc"), "a:b c");
    }

    #[test]
    fn each_text_stands_in_the_profile_once() {
        let bytes = pprof(&sample());
        let count = |text: &str| bytes.windows(text.len()).filter(|at| *at == text.as_bytes()).count();
        for text in ["main", "parse<T>", "worker-0", "nanoseconds", "a.rs"] {
            assert_eq!(count(text), 1, "{text}");
        }
    }
}
