//! A file with endpoints: read, and read again whenever it changes.

use std::cell::RefCell;
use std::path::Path;
use std::sync::Arc;

use tokio::time::Instant;
use weir_config::model::{self, Endpoint, Weight};
use weir_config::{Style, parse_endpoints};
use weir_core::discovery::{Answer, Failure, FailureKind, RECORDS_SHOWN, Silent, Step, Told, Trace};

use crate::control::source::{self, Source};

/// The largest priority an endpoint can have.
const PRIORITY_MAX: u8 = 15;

/// Tells what the file at the absolute `path` says now, and whenever it says something else.
pub(super) async fn follow(path: &Path, wanted: &model::Source, tell: impl Fn(Answer)) {
    let file = Source::new(path);
    let seen: RefCell<Option<Result<Arc<str>, String>>> = RefCell::new(None);
    let look = || {
        let began = Instant::now();
        let text = file.read().map_err(|error| error.to_string());
        if seen.borrow().as_ref() == Some(&text) {
            return;
        }
        let result = match &text {
            Ok(text) => understood(text, &file, wanted),
            Err(error) => Err(Failure { kind: FailureKind::Unreadable, detail: error.clone() }),
        };
        seen.replace(Some(text));
        let step = step(&file, &result);
        let trace = Trace { steps: vec![step], servers: Vec::new(), took: began.elapsed() };
        tell(Answer { result, trace: Arc::new(trace) });
    };
    tokio::select! {
        // In this order: the watch is set up before the first look, so that no change is missed.
        biased;
        () = source::watch(&file, async || look()) => {}
        () = async { look(); std::future::pending().await } => {}
    }
}

fn understood(text: &str, file: &Source, wanted: &model::Source) -> Result<Told, Failure> {
    let source = weir_config::Source {
        name: &file.shown(),
        env: &|name| std::env::var(name).ok(),
        files: &weir_config::no_files,
    };
    let endpoints = parse_endpoints(text, &source).map_err(|mistakes| {
        let first = mistakes.iter().next().map(|mistake| format!("{}:{mistake}\n", mistakes.file()));
        let detail = first.unwrap_or_default() + &mistakes.render(Style::Plain);
        Failure { kind: FailureKind::Invalid, detail }
    })?;
    let endpoints = endpoints.into_iter().map(|endpoint| placed(endpoint, wanted)).collect();
    Ok(Told { endpoints, ttl: None, silent: Silent::None })
}

/// An endpoint of the file, with what the source says of all of them where it says nothing itself.
/// Priorities count from the source's.
fn placed(endpoint: Endpoint, wanted: &model::Source) -> Endpoint {
    Endpoint {
        address: endpoint.address,
        zone: endpoint.zone.or_else(|| wanted.zone.clone()),
        weight: if endpoint.weight == Weight::ONE { wanted.weight } else { endpoint.weight },
        priority: endpoint.priority.saturating_add(wanted.priority).min(PRIORITY_MAX),
    }
}

fn step(file: &Source, result: &Result<Told, Failure>) -> Step {
    let (records, failure) = match result {
        Ok(told) => {
            (told.endpoints.iter().take(RECORDS_SHOWN).map(|endpoint| endpoint.address.to_string()).collect(), None)
        }
        Err(failure) => (Vec::new(), Some(failure.kind)),
    };
    Step { asked: file.shown(), records, failure }
}
