//! Notices that the file may have changed.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use notify::event::{AccessKind, AccessMode, EventKind};
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::Source;
use super::trail::trail;

/// A change is looked at once nothing has happened for this long: an editor saves in several steps.
const QUIET: Duration = Duration::from_millis(200);
/// Steps that never end are not waited for longer than this, in [`QUIET`]s.
const STEPS_MAX: u32 = 10;
/// Where a directory cannot be watched (it is gone, or the system has no watches left), the file
/// is looked at this often.
const BLIND: Duration = Duration::from_secs(5);

/// Calls `changed` whenever the file, or one that was read with it, may have changed, for ever. It may
/// call once too often, never once too seldom.
pub async fn watch(source: &Source, mut changed: impl AsyncFnMut()) {
    let (wake, mut woken) = mpsc::channel(1);
    let mut eyes = Eyes::open(wake);
    let mut others = source.beside.subscribe();
    let mut sees = eyes.look_along(&source.all_paths());
    loop {
        // Their senders live in `eyes` and in `source`: neither channel can end here.
        let next = async {
            tokio::select! {
                biased;
                _ = woken.recv() => {}
                _ = others.changed() => {}
            }
        };
        if sees {
            next.await;
        } else {
            let _ = timeout(BLIND, next).await;
        }
        for _ in 0..STEPS_MAX {
            if timeout(QUIET, woken.recv()).await.is_err() {
                break;
            }
        }
        // First watch, then read: a change in between is seen twice rather than not at all.
        others.mark_unchanged();
        sees = eyes.look_along(&source.all_paths());
        changed().await;
    }
}

struct Eyes {
    watcher: Option<RecommendedWatcher>,
    watched: BTreeSet<PathBuf>,
    trail: Arc<Mutex<Vec<PathBuf>>>,
    // Keeps the channel open where there is no watcher.
    _wake: mpsc::Sender<()>,
}

impl Eyes {
    fn open(wake: mpsc::Sender<()>) -> Self {
        let trail = Arc::new(Mutex::new(Vec::new()));
        let (names, sender) = (Arc::clone(&trail), wake.clone());
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            let names = names.lock().unwrap_or_else(PoisonError::into_inner);
            if event.map_or(true, |event| concerns(&event, &names)) {
                // Full is as good: a wake-up is already on its way.
                let _ = sender.try_send(());
            }
        });
        if let Err(error) = &watcher {
            tracing::warn!(%error, "changes of files cannot be watched here; the configuration is looked at every 5 s");
        }
        Self { watcher: watcher.ok(), watched: BTreeSet::new(), trail, _wake: wake }
    }

    /// Watches every directory on the way to one of `paths`, anew: one that was replaced by another of
    /// the same name needs a new watch. Says whether all of them are watched.
    fn look_along(&mut self, paths: &[PathBuf]) -> bool {
        let Some(watcher) = &mut self.watcher else { return false };
        let names: Vec<PathBuf> = paths.iter().flat_map(|path| trail(path)).collect();
        let directories: BTreeSet<PathBuf> = names.iter().filter_map(|name| Some(name.parent()?.to_owned())).collect();
        for gone in std::mem::take(&mut self.watched) {
            // Its watch ended by itself if the directory did.
            let _ = watcher.unwatch(&gone);
        }
        *self.trail.lock().unwrap_or_else(PoisonError::into_inner) = names;
        let mut all = true;
        for directory in directories {
            match watcher.watch(&directory, RecursiveMode::NonRecursive) {
                Ok(()) => _ = self.watched.insert(directory),
                Err(_) => all = false,
            }
        }
        all
    }
}

/// Whether `event` may have changed what lies at the end of the trail.
fn concerns(event: &notify::Event, trail: &[PathBuf]) -> bool {
    match event.kind {
        // Reading is access too, and we read after each event.
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => {}
        EventKind::Access(_) => return false,
        _ => {}
    }
    // Without a path the system lost track; with a directory's own path, it moved or went.
    event.need_rescan()
        || event.paths.is_empty()
        || event.paths.iter().any(|path| trail.iter().any(|name| name == path || name.parent() == Some(path)))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use tokio::sync::mpsc::UnboundedReceiver;

    use super::*;

    /// Runs `story` while the file is watched; it is told of each change.
    async fn watching(path: PathBuf, story: impl AsyncFnOnce(&mut UnboundedReceiver<()>)) {
        let (told, mut heard) = mpsc::unbounded_channel();
        let source = Source::new(&path);
        let watching = watch(&source, async || _ = told.send(()));
        tokio::select! {
            // In this order: the watch is set up before the story begins.
            biased;
            () = watching => unreachable!("watches for ever"),
            () = story(&mut heard) => {}
        }
    }

    /// Real files need real time; it is bounded, and only waited for if something is broken.
    async fn told(heard: &mut UnboundedReceiver<()>) {
        timeout(Duration::from_secs(20), heard.recv()).await.expect("a change must be noticed").unwrap();
    }

    #[tokio::test]
    async fn every_way_to_replace_a_file_is_noticed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("weir.yaml");
        std::fs::write(&path, "1").unwrap();
        watching(path.clone(), async |heard| {
            std::fs::write(&path, "2").unwrap();
            told(heard).await;
            let other = directory.path().join("weir.yaml.new");
            std::fs::write(&other, "3").unwrap();
            std::fs::rename(&other, &path).unwrap();
            told(heard).await;
            std::fs::remove_file(&path).unwrap();
            told(heard).await;
            std::fs::write(&path, "4").unwrap();
            told(heard).await;
        })
        .await;
    }

    #[tokio::test]
    async fn a_swapped_config_map_is_noticed_each_time() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().to_owned();
        let swap = |n: u32| {
            std::fs::create_dir(root.join(format!("..{n}"))).unwrap();
            std::fs::write(root.join(format!("..{n}/weir.yaml")), n.to_string()).unwrap();
            symlink(format!("..{n}"), root.join("..data_tmp")).unwrap();
            std::fs::rename(root.join("..data_tmp"), root.join("..data")).unwrap();
        };
        swap(1);
        symlink("..data/weir.yaml", root.join("weir.yaml")).unwrap();
        watching(root.join("weir.yaml"), async |heard| {
            for n in 2..4 {
                swap(n);
                told(heard).await;
            }
        })
        .await;
    }

    #[tokio::test]
    async fn files_beside_it_are_watched_from_the_moment_they_are_known() {
        const GRAY: &str = "\
listeners: [{name: web, bind: '127.0.0.1:80', release: gray}]
clusters: [{name: app, endpoints: ['10.0.0.1:80']}]
releases: [{name: gray, key: source_address, stable: app, never: {users: file:lists/never.txt}}]
";
        let directory = tempfile::tempdir().unwrap();
        let list = directory.path().join("lists/never.txt");
        std::fs::create_dir(directory.path().join("lists")).unwrap();
        std::fs::write(&list, "1\n").unwrap();
        let (told_of, mut heard) = mpsc::unbounded_channel();
        let source = Source::new(&directory.path().join("weir.yaml"));
        let watching = watch(&source, async || _ = told_of.send(()));
        tokio::select! {
            biased;
            () = watching => unreachable!("watches for ever"),
            () = async {
                source.load(GRAY).unwrap();
                assert!(!source.is_outdated());
                told(&mut heard).await;
                std::fs::write(&list, "2\n").unwrap();
                told(&mut heard).await;
                assert!(source.is_outdated());
            } => {}
        }
    }

    #[test]
    fn only_what_lies_on_the_trail_concerns_us() {
        use notify::event::{CreateKind, ModifyKind, RenameMode};
        let trail = [PathBuf::from("/etc/weir/weir.yaml")];
        let rename = EventKind::Modify(ModifyKind::Name(RenameMode::To));
        for (kind, path, expected) in [
            (rename, Some("/etc/weir/weir.yaml"), true),
            (rename, Some("/etc/weir/weir.yaml.swp"), false),
            (EventKind::Create(CreateKind::File), Some("/etc/weir"), true),
            (EventKind::Access(AccessKind::Open(AccessMode::Read)), Some("/etc/weir/weir.yaml"), false),
            (EventKind::Access(AccessKind::Close(AccessMode::Read)), Some("/etc/weir/weir.yaml"), false),
            (EventKind::Access(AccessKind::Close(AccessMode::Write)), Some("/etc/weir/weir.yaml"), true),
            (EventKind::Other, None, true),
        ] {
            let mut event = notify::Event::new(kind);
            event.paths.extend(path.map(PathBuf::from));
            assert_eq!(concerns(&event, &trail), expected, "{kind:?} {path:?}");
        }
    }
}
