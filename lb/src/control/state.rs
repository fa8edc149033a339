//! What outlives the process: where rollouts stand, and what was seen of endpoints, in a directory
//! of the operator's.
//!
//! Two files, each replaced whole: written beside it, renamed. Writing waits for a disk, so a
//! thread of its own does it, always the newest only. A file that cannot be understood is set
//! aside and told of; it never keeps a balancer from starting.

pub(crate) mod counts;
mod form;
pub(crate) mod memory;

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{Duration, SystemTime};

use weir_core::control::Memory;
use weir_core::release::rollout::Kept;

/// The file, in the directory.
const NAME: &str = "releases.json";
/// What was seen of endpoints. Its age is the file's, which is touched while nothing changes.
const SEEN: &str = "health.json";
/// A start does not read more than that: far over what any configuration comes to.
const BYTES_MAX: u64 = 64 << 20;
/// A stop waits so long for the disk.
const STOP_MAX: Duration = Duration::from_secs(2);

/// A directory that can be written to.
#[derive(Debug)]
pub struct StateDir {
    path: PathBuf,
}

/// A directory that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot keep state in {}: {what}: {source}", path.display())]
pub struct StateError {
    path: PathBuf,
    what: &'static str,
    source: io::Error,
}

/// What an earlier process left.
#[derive(Debug)]
pub enum Left<T> {
    /// Nothing.
    Nothing,
    /// Where rollouts stood, or what was seen of endpoints.
    Kept(T),
    /// A file that cannot be understood, and in words what was done about it.
    Broken(String),
}

/// Where rollouts stand, as text.
pub(crate) fn rollouts_text(states: &[Kept]) -> String {
    form::text(states)
}

/// The same, from text.
///
/// # Errors
/// Why it cannot be understood.
pub(crate) fn rollouts(text: &str) -> Result<Vec<Kept>, String> {
    form::parse(text)
}

impl StateDir {
    /// Makes the directory if there is none, for its owner alone, and tries to write to it.
    ///
    /// # Errors
    /// When that cannot be done.
    pub fn open(path: &Path) -> Result<Self, StateError> {
        let failed = |what| move |source| StateError { path: path.to_owned(), what, source };
        let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
        made.map_err(failed("it cannot be made"))?;
        let trial = path.join("releases.json.trial");
        write_synced(&trial, b"").map_err(failed("it cannot be written to"))?;
        fs::remove_file(&trial).map_err(failed("it cannot be written to"))?;
        Ok(Self { path: path.to_owned() })
    }

    /// What an earlier process left here.
    #[must_use]
    pub fn read(&self) -> Left<Vec<Kept>> {
        self.read_as(NAME, form::parse)
    }

    /// What an earlier process saw of endpoints, as of now: with what it was when it was seen last,
    /// and how long ago that was.
    #[must_use]
    pub fn read_seen(&self) -> Left<(Memory, Duration)> {
        let path = self.path.join(SEEN);
        let age = || {
            let seen = fs::metadata(&path).and_then(|file| file.modified()).map_err(|error| error.to_string())?;
            seen.elapsed().map_err(|_| "it is from the future: the clock was set back".to_owned())
        };
        self.read_as(SEEN, |text| Ok((memory::parse(text)?, age()?)))
    }

    fn read_as<T>(&self, name: &str, parse: impl FnOnce(&str) -> Result<T, String>) -> Left<T> {
        let text = match read_bounded(&self.path.join(name)) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Left::Nothing,
            // Whoever put it there and whatever it is: to serve without it is better than not to serve.
            Err(error) => return self.set_aside(name, &error.to_string()),
        };
        match parse(&text) {
            Ok(kept) => Left::Kept(kept),
            Err(why) => self.set_aside(name, &why),
        }
    }

    fn set_aside<T>(&self, name: &str, why: &str) -> Left<T> {
        let (path, aside) = (self.path.join(name), self.path.join(format!("{name}.broken")));
        let done = match fs::rename(&path, &aside) {
            Ok(()) => format!("it is now {}", aside.display()),
            Err(error) => format!("and cannot be set aside: {error}"),
        };
        Left::Broken(format!("{} cannot be understood ({why}); {done}", path.display()))
    }

    /// Begins to keep what it is given.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn keeper(self) -> io::Result<Keeper> {
        let (sender, wanted) = mpsc::channel();
        let (done, ended) = mpsc::channel();
        std::thread::Builder::new().name("weir-state".into()).spawn(move || {
            self.keep(&wanted);
            // Nobody waits if the process did not stop but was stopped.
            let _ = done.send(());
        })?;
        Ok(Keeper { sender: Some(sender), ended })
    }

    fn keep(&self, wanted: &mpsc::Receiver<Wanted>) {
        let (mut failing, mut unsaved) = (false, Unsaved::default());
        while let Ok(first) = wanted.recv() {
            std::iter::once(first).chain(wanted.try_iter()).for_each(|next| unsaved.take(next));
            let written = self.save(&mut unsaved);
            if let Some(done) = unsaved.waiting.take() {
                // Nobody waits any more if this took too long.
                let _ = done.send(());
            }
            // Told once: a full disk is full ten seconds later, too.
            let news = failing != written.is_err();
            failing = written.is_err();
            match written {
                Ok(()) if news => tracing::info!(dir = %self.path.display(), "state is kept again"),
                Err(error) if news => tracing::error!(
                    %error,
                    dir = %self.path.display(),
                    "state cannot be kept; after a restart rollouts would go on where they last were kept"
                ),
                _ => {}
            }
        }
    }

    /// What cannot be written stays, and is tried again with whatever comes next.
    fn save(&self, unsaved: &mut Unsaved) -> io::Result<()> {
        // A file that is not the newest must not look so.
        let is_newest = unsaved.seen.is_none();
        let still = std::mem::take(&mut unsaved.still);
        let written = saved(&mut unsaved.rollouts, |states| self.write(states));
        let noted = saved(&mut unsaved.seen, |text| self.write_seen(text));
        let touched = if still && is_newest { self.touch_seen() } else { Ok(()) };
        written.and(noted).and(touched)
    }

    /// A crash of this process loses nothing of it; one of the whole host may, and then it is of no use.
    fn write_seen(&self, text: &str) -> io::Result<()> {
        let fresh = self.path.join("health.json.new");
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
        file.write_all(text.as_bytes())?;
        fs::rename(&fresh, self.path.join(SEEN))
    }

    fn touch_seen(&self) -> io::Result<()> {
        OpenOptions::new().write(true).open(self.path.join(SEEN))?.set_modified(SystemTime::now())
    }

    /// Replaces the file, whole or not at all.
    fn write(&self, states: &[Kept]) -> io::Result<()> {
        let fresh = self.path.join("releases.json.new");
        write_synced(&fresh, form::text(states).as_bytes())?;
        fs::rename(&fresh, self.path.join(NAME))?;
        // The name, too, is to survive a power cut.
        File::open(&self.path)?.sync_all()
    }
}

/// Writes what there is, if anything; what cannot be written stays.
fn saved<T>(what: &mut Option<T>, write: impl FnOnce(&T) -> io::Result<()>) -> io::Result<()> {
    what.as_ref().map_or(Ok(()), write)?;
    *what = None;
    Ok(())
}

fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn read_bounded(path: &Path) -> io::Result<String> {
    let file = fs::metadata(path)?;
    let wrong = |what| Err(io::Error::new(io::ErrorKind::InvalidData, what));
    if !file.is_file() {
        // Reading a pipe, for one, would wait for ever.
        return wrong("it is no file");
    }
    if file.len() > BYTES_MAX {
        return wrong("it is far too large");
    }
    fs::read_to_string(path)
}

/// Keeps the newest of what it is given. Dropped, it writes what is left.
#[derive(Debug)]
pub struct Keeper {
    sender: Option<mpsc::Sender<Wanted>>,
    ended: mpsc::Receiver<()>,
}

/// What is to be kept.
#[derive(Debug)]
enum Wanted {
    Rollouts(Vec<Kept>),
    Seen(String),
    /// Nothing has changed since.
    StillSeen,
    /// All before this is to be written, and then this told.
    Flush(mpsc::Sender<()>),
}

/// The newest of all that is not written yet.
#[derive(Debug, Default)]
struct Unsaved {
    rollouts: Option<Vec<Kept>>,
    seen: Option<String>,
    still: bool,
    waiting: Option<mpsc::Sender<()>>,
}

impl Unsaved {
    fn take(&mut self, next: Wanted) {
        match next {
            Wanted::Rollouts(states) => self.rollouts = Some(states),
            Wanted::Seen(text) => self.seen = Some(text),
            Wanted::StillSeen => self.still = true,
            Wanted::Flush(done) => self.waiting = Some(done),
        }
    }
}

impl Keeper {
    /// Keeps this in place of what was kept before. Waits for nothing.
    pub fn keep(&self, states: Vec<Kept>) {
        self.send(Wanted::Rollouts(states));
    }

    /// Keeps what is seen of endpoints now, or (`None`) that nothing has changed. Waits for nothing.
    pub fn keep_seen(&self, memory: Option<&Memory>) {
        self.send(memory.map_or(Wanted::StillSeen, |memory| Wanted::Seen(memory::text(memory))));
    }

    /// Waits until all is written that was to be kept; not for long, should the disk hang.
    pub fn flush(&self) {
        let (done, written) = mpsc::channel();
        self.send(Wanted::Flush(done));
        let _ = written.recv_timeout(STOP_MAX);
    }

    fn send(&self, wanted: Wanted) {
        if let Some(sender) = &self.sender {
            // Its thread ends only after this sender.
            let _ = sender.send(wanted);
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.sender = None;
        let _ = self.ended.recv_timeout(STOP_MAX);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use weir_config::model::{ClusterName, ReleaseName, Share};
    use weir_core::release::judge;
    use weir_core::release::rollout::{Phase, State, Wish};

    use super::*;

    fn kept(phase: Phase) -> Kept {
        let mut evidence = judge::Kept::default();
        evidence.errors.best = 0.1 + 0.2;
        evidence.latency.begin([0; 3]);
        Kept {
            release: ReleaseName::new("orders").unwrap(),
            canary: ClusterName::new("v2").unwrap(),
            state: State {
                wish: Wish { users: u64::MAX, pace: 1 },
                step: 2,
                held_for: Duration::from_millis(1234),
                phase,
                weight: Share::of_percent(12.25).unwrap(),
            },
            evidence,
        }
    }

    #[test]
    fn what_is_kept_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b");
        let failed = Phase::Failed { why: "p = 1e-9 \"quoted\"".into(), keeps: true };
        for phase in [Phase::Advancing, Phase::Paused, failed, Phase::Aborted, Phase::Complete] {
            let dir = StateDir::open(&path).unwrap();
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
            let keeper = dir.keeper().unwrap();
            keeper.keep(Vec::new());
            keeper.keep(vec![kept(phase.clone())]);
            drop(keeper);
            let Left::Kept(states) = StateDir::open(&path).unwrap().read() else { panic!("{phase:?}") };
            assert_eq!(states, [kept(phase)]);
        }
        let names: Vec<_> = fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, [NAME], "nothing else is left behind");
    }

    #[test]
    fn a_broken_file_is_set_aside() {
        let folder = tempfile::tempdir().unwrap();
        let dir = StateDir::open(folder.path()).unwrap();
        assert!(matches!(dir.read(), Left::Nothing));
        let good = form::text(&[kept(Phase::Advancing)]);
        let newer = good.replace("\"version\": 1", "\"version\": 2");
        let wrong = good.replace("advancing", "flying");
        for broken in ["", "{", "[]", &good[..good.len() / 2], &newer, &wrong] {
            fs::write(folder.path().join(NAME), broken).unwrap();
            let Left::Broken(words) = dir.read() else { panic!("{broken}") };
            assert!(words.contains("releases.json cannot be understood ("), "{words}");
            assert_eq!(fs::read_to_string(folder.path().join("releases.json.broken")).unwrap(), broken);
            assert!(matches!(dir.read(), Left::Nothing));
        }
        fs::write(folder.path().join(NAME), [0xff, 0xfe]).unwrap();
        assert!(matches!(dir.read(), Left::Broken(_)));
    }

    #[test]
    fn what_is_no_file_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let dir = StateDir::open(folder.path()).unwrap();
        let path = folder.path().join(SEEN);
        let pipe = || rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        let link = || std::os::unix::fs::symlink(&path, &path).unwrap();
        for make in [&|| fs::create_dir(&path).unwrap() as _, &pipe as &dyn Fn(), &link] {
            make();
            assert!(matches!(dir.read_seen(), Left::Broken(_)));
            assert!(matches!(dir.read_seen(), Left::Nothing), "it is set aside");
            let aside = folder.path().join("health.json.broken");
            fs::remove_dir(&aside).or_else(|_| fs::remove_file(&aside)).unwrap();
        }
    }

    #[test]
    fn what_cannot_be_kept_is_kept_later_and_what_is_old_does_not_look_new() {
        let folder = tempfile::tempdir().unwrap();
        let dir = StateDir::open(folder.path()).unwrap();
        let (path, in_the_way) = (folder.path().join(SEEN), folder.path().join("health.json.new"));
        fs::write(&path, "old").unwrap();
        let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(1000);
        File::options().write(true).open(&path).unwrap().set_modified(long_ago).unwrap();
        fs::create_dir(&in_the_way).unwrap();
        // As if the disk were full for a while.
        let mut unsaved = Unsaved { seen: Some("new".into()), ..Unsaved::default() };
        for _ in 0..2 {
            dir.save(&mut unsaved).unwrap_err();
            unsaved.take(Wanted::StillSeen);
            assert_eq!(fs::read_to_string(&path).unwrap(), "old");
            assert_eq!(fs::metadata(&path).unwrap().modified().unwrap(), long_ago);
        }
        fs::remove_dir(&in_the_way).unwrap();
        dir.save(&mut unsaved).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
    }

    #[test]
    fn a_directory_that_cannot_be_used_is_told_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        let error = StateDir::open(&file).unwrap_err().to_string();
        assert!(error.starts_with("cannot keep state in ") && error.contains("it cannot be made"), "{error}");
    }
}
