//! Which of a list of users move, by id.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use serde_json::{Value, json};
use weir_config::release::moves::verdict_of;

use super::preview::Pair;

/// Longest line, in bytes.
const LINE_MAX: u64 = 64 << 10;
/// Ids that people are shown of each move.
pub(super) const SHOWN: usize = 20;

/// What becomes of the users of a file in one release.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::cli) struct Users {
    pub(super) release: String,
    pub(super) stay: u64,
    /// By whom they leave and where they go.
    pub(super) moved: BTreeMap<(String, String), Moved>,
}

/// Users who make the same move.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::cli) struct Moved {
    pub(super) count: u64,
    /// As they stand in the file, the first of them or all.
    pub(super) ids: Vec<String>,
    /// They lose a canary.
    pub(super) expels: bool,
}

/// Why the file says nothing.
#[derive(Debug, thiserror::Error)]
pub(in crate::cli) enum UsersError {
    #[error("cannot read {0}: {1}")]
    Io(String, io::Error),
    #[error("{0}, line {1} is longer than {max} KiB: is this a file of ids, one a line?", max = LINE_MAX >> 10)]
    Line(String, u64),
}

/// What becomes of the users in the file at `path`; of each move, `keep` ids.
pub(in crate::cli) fn of_file(path: &Path, pairs: &[Pair<'_>], keep: usize) -> Result<Vec<Users>, UsersError> {
    let name = || path.display().to_string();
    let file = File::open(path).map_err(|error| UsersError::Io(name(), error))?;
    of(BufReader::with_capacity(256 << 10, file), pairs, keep).map_err(|(line, error)| match error {
        Some(error) => UsersError::Io(name(), error),
        None => UsersError::Line(name(), line),
    })
}

/// Reads line by line, for there may be very many. Fails with the number of the line, and with the
/// system's word if it was not the line that is wrong.
fn of(mut from: impl BufRead, pairs: &[Pair<'_>], keep: usize) -> Result<Vec<Users>, (u64, Option<io::Error>)> {
    let mut all: Vec<Users> =
        pairs.iter().map(|pair| Users { release: pair.new.name.to_string(), ..Users::default() }).collect();
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        let read = from.by_ref().take(LINE_MAX).read_until(b'\n', &mut line).map_err(|error| (number, Some(error)))?;
        if read == 0 {
            break;
        }
        if read as u64 == LINE_MAX && !line.ends_with(b"\n") {
            return Err((number, None));
        }
        let id = line.strip_suffix(b"\n").unwrap_or(&line);
        let id = id.strip_suffix(b"\r").unwrap_or(id);
        if id.trim_ascii().is_empty() || id.starts_with(b"#") {
            continue;
        }
        for (pair, users) in pairs.iter().zip(&mut all) {
            users.count(pair, id, keep);
        }
    }
    Ok(all)
}

impl Users {
    fn count(&mut self, pair: &Pair<'_>, id: &[u8], keep: usize) {
        // Nobody's: nothing but blanks.
        let Some((old, new)) = verdict_of(pair.old, id).zip(verdict_of(pair.new, id)) else { return };
        let clusters = pair.old.cluster(old.version).zip(pair.new.cluster(new.version));
        let Some((from, to)) = clusters else { return };
        if from == to {
            self.stay += 1;
            return;
        }
        let moved = self.moved.entry((from.to_string(), to.to_string())).or_default();
        moved.count += 1;
        moved.expels = old.version > 0;
        if moved.ids.len() < keep {
            moved.ids.push(String::from_utf8_lossy(id.trim_ascii()).into_owned());
        }
    }

    pub(super) fn to_json(&self) -> Value {
        let moved = self.moved.iter().map(|((from, to), moved)| {
            json!({ "from": from, "to": to, "expels": moved.expels, "count": moved.count, "ids": moved.ids })
        });
        json!({ "release": self.release, "stay": self.stay, "moved": moved.collect::<Vec<_>>() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(percent: u32) -> weir_config::Config {
        let text = format!(
            "listeners: [{{name: web, bind: '127.0.0.1:80', routes: [{{match: {{}}, release: orders}}]}}]\n\
             releases: [{{name: orders, key: {{header: x-user-id}}, stable: v1, canaries: [{{cluster: v2, weight: {percent}, \
             never: [{{users: [root]}}]}}]}}]\n\
             clusters: [{{name: v1, endpoints: ['10.0.0.1:80']}}, {{name: v2, endpoints: ['10.0.0.2:80']}}]\n"
        );
        weir_config::parse_str(&text).unwrap().config
    }

    #[test]
    fn a_file_is_read_line_by_line() {
        let (old, new) = (config(50), config(100));
        let (half, all) = (&old.releases[0], &new.releases[0]);
        let text: String = (0..1_000).map(|n| format!("  user-{n}\r\n")).collect();
        let text = format!("# ids\n\n  \n{text}root");
        let users = of(text.as_bytes(), &[Pair { old: half, new: all }], 3).unwrap().remove(0);
        let moved = &users.moved[&("v1".to_owned(), "v2".to_owned())];
        assert_eq!(users.stay + moved.count, 1_001);
        assert!((400..600).contains(&moved.count) && moved.ids.len() == 3 && !moved.expels, "{moved:?}");
        assert!(moved.ids.iter().all(|id| id.starts_with("user-")), "{moved:?}");
        let back = of(text.as_bytes(), &[Pair { old: all, new: half }], usize::MAX).unwrap().remove(0);
        let back = &back.moved[&("v2".to_owned(), "v1".to_owned())];
        assert!(back.expels && back.count == moved.count && back.ids.len() as u64 == back.count);
        assert!(!back.ids.iter().any(|id| id == "root"), "lists of users are known");
    }

    #[test]
    fn what_is_no_list_of_ids_is_noticed() {
        let line = vec![b'x'; LINE_MAX as usize + 1];
        let text = [&b"a\n"[..], &line].concat();
        assert!(matches!(of(&text[..], &[], 1), Err((2, None))));
        assert!(of_file(Path::new("/nowhere"), &[], 1).unwrap_err().to_string().contains("/nowhere"));
    }
}
