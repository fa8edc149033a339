//! Two processes, one of which acts: who keeps state and does something about rollouts while one takes
//! over from the other.

use weir_core::control::Last;
use weir_core::time::Moment;

use super::state::Keeper;
use super::{Shell, Sockets};
use crate::env::Env;

/// Another process that does what only one may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Other {
    /// There is none.
    None,
    /// The one before this, until it says its last.
    Before,
    /// The one after this, that is about to serve.
    After,
}

impl<E: Env, S: Sockets> Shell<E, S> {
    /// Another process serves until every endpoint was judged, and [`Handle::succeed`] said so.
    pub(crate) fn open_once_settled(&mut self) {
        self.other = Other::Before;
        // It was read long before anybody watches it.
        self.look_later = true;
        self.shared.control.borrow_mut().await_last();
    }

    /// Of two processes only the one that will serve may bind what a newer file asks for, and neither
    /// does before that is decided.
    pub(super) fn leaves_the_file(&self) -> bool {
        self.shared.held.get() || self.reserved.is_some()
    }

    /// What is kept is kept by whoever serves.
    pub(super) fn keeper(&self) -> Option<&Keeper> {
        self.keeper.as_ref().filter(|_| self.other == Other::None)
    }

    /// Another process is about to take over: what there is to be told, and nothing more is kept.
    pub(super) fn rest(&mut self) -> Last {
        let last = self.shared.control.borrow_mut().rest(self.env.now());
        if let Some(keeper) = self.keeper() {
            keeper.flush();
        }
        self.other = Other::After;
        last
    }

    /// It did not come to serve: this process goes on with all it did.
    pub(super) fn wake_up(&mut self) {
        self.shared.held.set(false);
        if self.other == Other::After {
            self.other = Other::None;
            self.shared.control.borrow_mut().wake_up(self.env.now());
            self.keep_all();
        }
    }

    pub(super) fn succeed(&mut self, last: Option<Last>) {
        self.shared.control.borrow_mut().succeed(self.env.now(), last, &mut self.effects);
        self.other = Other::None;
        self.carry_out();
        self.publish();
        self.keep_all();
    }

    /// Nobody else keeps anything from now on.
    fn keep_all(&mut self) {
        if let Some(keeper) = self.keeper() {
            keeper.keep(self.shared.control.borrow().rollouts());
        }
        self.kept = (0, Moment::ZERO);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::sleep;

    use super::super::state::StateDir;
    use super::super::tests::play_in;

    const TEXT: &str = "\
listeners: [{name: web, bind: '127.0.0.1:80', cluster: app}]
clusters: [{name: app, endpoints: ['10.0.0.1:80']}]
";

    #[tokio::test(start_paused = true)]
    async fn one_that_rests_keeps_nothing_until_it_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let dir = StateDir::open(folder.path()).unwrap();
        let file = folder.path().join("health.json");
        play_in(
            TEXT,
            |_| {},
            |shell| shell.keep_in(dir.keeper().unwrap()),
            async |stage| {
                sleep(Duration::from_secs(2)).await;
                let last = stage.handle.rest().await.unwrap();
                assert_eq!(last.memory.endpoints.len(), 1);
                assert!(file.exists(), "what was to be kept is written before another one may write");
                std::fs::remove_file(&file).unwrap();
                stage.write(&TEXT.replace("10.0.0.1", "10.0.0.2"));
                drop(stage.reload().await);
                sleep(Duration::from_secs(5)).await;
                stage.handle.rest().await.unwrap();
                assert!(!file.exists(), "it is another's");

                stage.handle.wake_up().await;
                sleep(Duration::from_secs(2)).await;
                stage.handle.rest().await.unwrap();
                assert!(std::fs::read_to_string(&file).unwrap().contains("10.0.0.2"), "it goes on");
            },
        )
        .await;
    }
}
