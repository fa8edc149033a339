//! `/api/v1/doctor`: the instance looks at itself and its host.
//!
//! On a thread of its own: looking blocks, and the control thread has probes to run. One look at a
//! time: whoever asks meanwhile is told to come again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::runtime::{Builder, LocalOptions};

use crate::control::Handle;
use crate::doctor::{Began, Report, Subject, examine};
use crate::env::Env;

/// Who may look.
#[derive(Debug)]
pub(super) struct Diagnosis {
    began: Began,
    busy: Arc<AtomicBool>,
}

/// Why there is no report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NoReport {
    /// A look is under way.
    Busy,
    /// There is no thread for it, or it ended early.
    Failed(String),
}

/// The one look that may be under way; over when dropped.
struct Turn(Arc<AtomicBool>);

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

impl Diagnosis {
    pub(super) fn new(began: Began) -> Self {
        Self { began, busy: Arc::default() }
    }

    /// Looks, for [`crate::doctor::LOOK_MAX`] at the most. If the caller goes away, the look ends
    /// by itself.
    pub(super) async fn look<E: Env>(&self, env: E, handle: &Handle) -> Result<Report, NoReport> {
        let turn = self.turn().ok_or(NoReport::Busy)?;
        let subject = Subject::running(handle, self.began);
        let looked = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
            runtime.map(|runtime| runtime.block_on(async { examine(env, subject).await }))
        });
        match looked.await {
            Ok(Ok(report)) => Ok(report),
            Ok(Err(error)) => Err(NoReport::Failed(error.to_string())),
            Err(error) => Err(NoReport::Failed(error.to_string())),
        }
    }

    fn turn(&self) -> Option<Turn> {
        let taken = self.busy.swap(true, Ordering::AcqRel);
        (!taken).then(|| Turn(Arc::clone(&self.busy)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_look_at_a_time() {
        let diagnosis = Diagnosis::new(Began::now());
        let first = diagnosis.turn();
        assert!(first.is_some() && diagnosis.turn().is_none());
        drop(first);
        assert!(diagnosis.turn().is_some());
    }
}
