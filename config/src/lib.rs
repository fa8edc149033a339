//! Weir's configuration: YAML text in, a valid [`model::Config`] or every mistake out.
//!
//! Pure: reads no file, no clock, no environment; whoever calls hands in the text, a lookup for
//! `${VAR}`, and a reader for files that the text names. The way of a text through this crate:
//!
//! ```text
//! text --yaml--> tree with places --expand--> without ${VAR} --check--> of the right shape --lower--> Config
//! ```
//!
//! Only the first step stops at its first mistake; all others go on, so that an operator sees
//! everything at once. What is *not* checked here is what the text alone cannot tell: whether a
//! port is free, a file can be written, an endpoint answers.

pub mod admin;
mod check;
pub mod diff;
pub mod edit;
mod expand;
mod files;
mod grammar;
mod lower;
pub mod mistake;
pub mod model;
mod nearest;
mod probe;
pub mod release;
mod report;
mod resilience;
mod shape;
mod tls;
mod tracing;
mod traffic;
pub mod units;
pub mod words;
mod yaml;

use std::time::SystemTime;

pub use diff::{Changes, Touches, diff};
pub use files::{ReadFile, no_files};
pub use mistake::{Mistake, Mistakes, Severity, Style};
pub use model::Config;
pub use nearest::nearest;
pub use shape::{reference, schema};
pub use yaml::{MAX_ALIASED, MAX_DEPTH, MAX_NODES, MAX_TEXT};

use files::Files;
use report::{Path, Report};

/// What a text needs besides itself.
#[derive(Clone, Copy)]
pub struct Source<'a> {
    /// The file's name as shown in messages.
    pub name: &'a str,
    /// Looks up `${VAR}`.
    pub env: &'a dyn Fn(&str) -> Option<String>,
    /// Reads files that the text names: lists of users, certificates, keys. Asked once for each; when one
    /// of them changes, so may what the text means. [`no_files`] has none.
    pub files: ReadFile<'a>,
}

/// A config that is valid, and what is strange about it all the same.
#[derive(Clone, Debug)]
pub struct Parsed {
    /// The config.
    pub config: Config,
    /// What is allowed but probably not meant; may be empty.
    pub warnings: Mistakes,
}

/// Reads a config.
///
/// ```
/// let text = "
/// listeners: [{name: web, bind: '0.0.0.0:8080', cluster: shpo}]
/// clusters: [{name: shop, endpoints: ['10.0.1.11:8080']}]
/// ";
/// let source = weir_config::Source { name: "weir.yaml", env: &|_| None, files: &weir_config::no_files };
/// let mistakes = weir_config::parse(text, &source).unwrap_err();
/// assert!(mistakes.to_string().contains("did you mean `shop`?"));
/// ```
///
/// # Errors
/// Everything that is wrong with the text, and the warnings along with it.
pub fn parse(text: &str, source: &Source<'_>) -> Result<Parsed, Mistakes> {
    parse_at(text, source, None)
}

/// As [`parse`], and says which certificates are not valid at the time `now`, or not for much longer.
/// That is never an error: a new start must not fail for what a running process goes on with.
///
/// # Errors
/// As [`parse`].
pub fn parse_at(text: &str, source: &Source<'_>, now: Option<SystemTime>) -> Result<Parsed, Mistakes> {
    let mistakes = |list| Mistakes::new(source.name, text, list);
    let mut tree = yaml::read(text).map_err(|mistake| mistakes(vec![*mistake]))?;
    let mut report = Report::default();
    expand::expand(&mut tree, source.env, &Path::Root, &mut report);
    let files = Files::new(source.files, now);
    let config = lower::lower(&tree, &files, &mut report);
    let failed = report.has_errors();
    let list = mistakes(report.into_list());
    match config {
        Some(config) if !failed => Ok(Parsed { config, warnings: list }),
        // Nothing comes out of nothing but an error; should that ever fail, say at least this.
        _ if list.is_empty() => Err(mistakes(vec![yaml::unreadable()])),
        _ => Err(list),
    }
}

/// Reads a file of endpoints: a list in the form of a cluster's `endpoints`, plain or by zone, that
/// may be empty but leads to no names and no other files.
///
/// ```
/// let source = weir_config::Source { name: "endpoints.yaml", env: &|_| None, files: &weir_config::no_files };
/// let text = "az-a: ['10.0.1.11:8080', {address: '10.0.1.12:8080', weight: 2}]";
/// assert_eq!(weir_config::parse_endpoints(text, &source).unwrap().len(), 2);
/// ```
///
/// # Errors
/// Everything that is wrong with the text. An empty file is a mistake: it may be half written.
pub fn parse_endpoints(text: &str, source: &Source<'_>) -> Result<Vec<model::Endpoint>, Mistakes> {
    let mistakes = |list| Mistakes::new(source.name, text, list);
    let mut tree = yaml::read(text).map_err(|mistake| mistakes(vec![*mistake]))?;
    let mut report = Report::default();
    expand::expand(&mut tree, source.env, &Path::Root, &mut report);
    let endpoints = lower::lower_endpoints(&tree, &mut report);
    let failed = report.has_errors();
    if failed { Err(mistakes(report.into_list())) } else { Ok(endpoints) }
}

/// Reads a config from bytes, which may not even be text.
///
/// # Errors
/// As [`parse`], and if the bytes are not UTF-8.
pub fn parse_bytes(bytes: &[u8], source: &Source<'_>) -> Result<Parsed, Mistakes> {
    match std::str::from_utf8(bytes) {
        Ok(text) => parse(text, source),
        Err(error) => {
            let text = String::from_utf8_lossy(bytes);
            // What is valid stays as it is, so the offset is right in the lossy text too.
            let mistake = yaml::not_utf8(&text, error.valid_up_to());
            Err(Mistakes::new(source.name, &text, vec![mistake]))
        }
    }
}

/// Reads a config that is shown as `<config>` and sees no environment and no files.
///
/// # Errors
/// As [`parse`].
pub fn parse_str(text: &str) -> Result<Parsed, Mistakes> {
    parse(text, &Source { name: "<config>", env: &|_| None, files: &no_files })
}
