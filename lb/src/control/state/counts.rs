//! How counters are written down for the next process: a line of version and checksum, then JSON, one
//! row for each thing that is counted.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use weir_core::carry::{Kind, Row, Subject, Totals};
use xxhash_rust::xxh64::xxh64;

/// Of the form below, and of what names mean: bounds of histograms, places in lists.
const VERSION: u32 = 1;
/// A thousand endpoints come to half a megabyte; more than this is not told.
const BYTES_MAX: usize = 64 << 20;

#[derive(Deserialize, Serialize)]
struct Head {
    version: u32,
    /// XXH64 of the rest, hexadecimal.
    checksum: String,
}

/// Kind, names, totals by name.
type Line = (String, Vec<String>, BTreeMap<String, u64>);

/// As text; `None` if it would be far too long.
pub(crate) fn text(totals: &Totals) -> Option<String> {
    let line = |(subject, row): (&Subject, &Row)| -> Line {
        (subject.kind.as_str().to_owned(), subject.names.clone(), row.0.clone())
    };
    let lines: Vec<Line> = totals.0.iter().map(line).collect();
    // Strings and integers always have a form.
    let body = serde_json::to_string(&lines).unwrap_or_default();
    let head = Head { version: VERSION, checksum: format!("{:016x}", xxh64(body.as_bytes(), 0)) };
    let text = format!("{}\n{body}\n", serde_json::to_string(&head).unwrap_or_default());
    (text.len() <= BYTES_MAX).then_some(text)
}

/// From text. Kinds that are not known here are left out: another version counts other things.
///
/// # Errors
/// Why it cannot be understood.
pub(crate) fn parse(text: &str) -> Result<Totals, String> {
    let words = |error: serde_json::Error| error.to_string();
    if text.len() > BYTES_MAX {
        return Err("it is far too long".to_owned());
    }
    let (head, body) = text.split_once('\n').ok_or("it ends in its first line")?;
    let head: Head = serde_json::from_str(head).map_err(words)?;
    if head.version != VERSION {
        return Err(format!("its version is {}, and {VERSION} is known here", head.version));
    }
    let body = body.strip_suffix('\n').unwrap_or(body);
    if head.checksum != format!("{:016x}", xxh64(body.as_bytes(), 0)) {
        return Err("its checksum is another".to_owned());
    }
    let lines: Vec<Line> = serde_json::from_str(body).map_err(words)?;
    let known = |(kind, names, row): Line| {
        let kind = Kind::ALL.into_iter().find(|known| known.as_str() == kind)?;
        Some((Subject { kind, names }, Row(row)))
    };
    Ok(Totals(lines.into_iter().filter_map(known).collect()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn totals() -> impl Strategy<Value = Totals> {
        let kind = prop::sample::select(Kind::ALL.to_vec());
        let subject = (kind, prop::collection::vec(".{0,8}", 0..4));
        let row = prop::collection::btree_map(".{0,8}", 1..=u64::MAX, 1..6);
        prop::collection::vec((subject, row), 0..8).prop_map(|rows| {
            let mut totals = Totals::default();
            rows.into_iter().for_each(|((kind, names), row)| totals.note(Subject { kind, names }, Row(row)));
            totals
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(totals in totals()) {
            prop_assert_eq!(parse(&text(&totals).unwrap()).unwrap(), totals);
        }

        #[test]
        fn whatever_comes_is_no_panic(words in ".{0,64}", totals in totals(), at in any::<prop::sample::Index>()) {
            let _ = parse(&words);
            let good = text(&totals).unwrap();
            let cut: String = good.chars().take(at.index(good.len())).collect();
            prop_assert!(cut.len() + 1 >= good.len() || parse(&cut).is_err());
        }
    }

    #[test]
    fn what_was_touched_or_is_newer_is_not_believed() {
        let mut totals = Totals::default();
        totals.note(Subject::new(Kind::Cluster, &["shop"]), Row([("requests".to_owned(), 7)].into()));
        let good = text(&totals).unwrap();
        for (wrong, why) in [
            (good.replace(":7}", ":8}"), "its checksum is another"),
            (good.replace("\"version\":1", "\"version\":2"), "its version is 2, and 1 is known here"),
            (String::new(), "it ends in its first line"),
        ] {
            assert_eq!(parse(&wrong).unwrap_err(), why);
        }
        let body = r#"[["cluster",["shop"],{"requests":7}],["orbit",["x"],{"n":1}]]"#;
        let newer =
            format!("{{\"version\":1,\"checksum\":\"{:016x}\",\"more\":1}}\n{body}\n", xxh64(body.as_bytes(), 0));
        assert_eq!(parse(&newer).unwrap(), totals, "what is not known is left out");
    }
}
