//! What people are told of tokens: who else on this host can read them.

use std::os::unix::fs::PermissionsExt;

use serde_json::json;
use weir_config::model::Config;

use super::source::Source;
use crate::observe::journal::{Journal, Kind, Level};

/// What everybody on a host may do to a file: here, read it.
const OTHERS_READ: u32 = 0o004;

/// Warns of files with tokens of `config` that every user of this host can read.
pub(super) fn warn_of_readable(config: &Config, source: &Source, journal: &Journal) {
    let tokens = config.admin.iter().flat_map(|admin| [&admin.token, &admin.read_token]).flatten();
    for token in tokens {
        let mode = std::fs::metadata(source.path_beside(&token.file)).map(|file| file.permissions().mode());
        if mode.is_ok_and(|mode| mode & OTHERS_READ != 0) {
            let file = &token.file;
            let message = format!("every user of this host can read the token in {file}: chmod o-r {file}");
            journal.record(Kind::ConfigSource, Level::Warn, message, json!({ "file": file }));
        }
    }
}
