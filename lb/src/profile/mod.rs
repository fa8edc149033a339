//! Where this process's CPU time goes: its stacks, looked at so many times a second of CPU time, in the
//! forms that tools read.
//!
//! The crate `pprof` has the kernel send SIGPROF to whichever thread runs and walks its stack there and
//! then, by `framehop`: it takes no lock, allocates nothing, and asks the kernel whether an address can be
//! read before it is. Unwind tables are not to be trusted: those of hand-written assembler (aws-lc's
//! ML-KEM) lead nowhere, and what panics are walked by crashes there.
//! Nothing here costs anything while no profile is taken.

mod encode;
mod flame;
mod gzip;
mod protobuf;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, SystemTime};

use nix::sys::signal::{Signal, raise};
use tokio::time::Instant;

pub use encode::{collapsed, pprof};
pub use flame::svg;
pub use gzip::gzip;

/// What was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// When it began, by the wall clock.
    pub started: SystemTime,
    /// How long it took.
    pub lasted: Duration,
    /// Looks for each second of CPU time.
    pub frequency: u32,
    /// Each stack once, with how often it was seen.
    pub stacks: BTreeMap<Stack, u64>,
}

/// What one thread was doing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stack {
    /// The thread's name.
    pub thread: String,
    /// Who called whom, from the outermost; functions that were inlined are among them.
    pub frames: Vec<Frame>,
}

/// One function, at one place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Frame {
    /// Its name, without what the compiler adds to tell copies apart.
    pub function: String,
    /// The source file, if that is known.
    pub file: String,
    /// The line there, 0 if that is not known.
    pub line: u32,
}

/// Why there is no profile.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProfileError {
    /// Another one is being taken.
    #[error("a profile is being taken already")]
    Busy,
    /// Whoever wanted it is gone.
    #[error("nobody waits for it any more")]
    Unwanted,
    /// The system lets us not.
    #[error("{0}; profiling keeps samples in a temporary file: is the directory in TMPDIR (else /tmp) writable?")]
    System(String),
}

/// Looks `frequency` times each second of CPU time, for so long; ends early, and without a result, when
/// the other end of `wanted` is dropped. It is `started` now. Blocks the calling thread, and takes about a second more to find
/// out which functions it saw.
///
/// # Errors
/// [`ProfileError`].
pub fn take(
    started: SystemTime,
    lasts: Duration,
    frequency: u32,
    wanted: &Receiver<()>,
) -> Result<Profile, ProfileError> {
    let system = |error: pprof::Error| match error {
        pprof::Error::Running => ProfileError::Busy,
        error => ProfileError::System(error.to_string()),
    };
    let per_second = i32::try_from(frequency).unwrap_or(i32::MAX);
    prepare().map_err(system)?;
    let guard = pprof::ProfilerGuardBuilder::default().frequency(per_second).build().map_err(system)?;
    let began = Instant::now();
    if wanted.recv_timeout(lasts) == Err(RecvTimeoutError::Disconnected) {
        return Err(ProfileError::Unwanted);
    }
    let lasted = began.elapsed();
    let seen = guard.report().build_unresolved().map_err(system)?;
    // Finding names takes a while; nobody need be interrupted for it.
    drop(guard);
    let _forgets = Forgets;
    let mut stacks = BTreeMap::new();
    for (frames, count) in seen.data {
        let stack = stack(pprof::Frames::from(frames));
        *stacks.entry(stack).or_default() += u64::try_from(count).unwrap_or_default();
    }
    Ok(Profile { started, lasted, frequency, stacks })
}

/// Has the walk's tables read now, by this thread, which holds nothing that they need: the first signal
/// does that, wherever it comes.
fn prepare() -> pprof::Result<()> {
    static PREPARED: OnceLock<()> = OnceLock::new();
    if PREPARED.get().is_none() {
        // At one signal for each second of CPU time ours is the first.
        let _guard = pprof::ProfilerGuardBuilder::default().frequency(1).build()?;
        raise(Signal::SIGPROF).map_err(|error| pprof::Error::IoError(error.into()))?;
        let _ = PREPARED.set(());
    }
    Ok(())
}

/// What was read of the program to find names is forgotten with this: it is hundreds of megabytes in a
/// build with debug information.
struct Forgets;

impl Drop for Forgets {
    fn drop(&mut self) {
        backtrace::clear_symbol_cache();
    }
}

/// Takes away the file that samples spill into, which the process keeps for its next profile: to be called
/// when there will be none any more.
pub fn tidy() {
    let temporary = std::env::temp_dir();
    let open = std::fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    for file in open.filter_map(|entry| std::fs::read_link(entry.path()).ok()) {
        let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        // As `tempfile` names them; nothing else here makes any.
        if file.parent() == Some(&temporary) && name.len() == 10 && name.starts_with(".tmp") {
            // It may be gone already.
            let _ = std::fs::remove_file(&file);
        }
    }
}

fn stack(frames: pprof::Frames) -> Stack {
    let symbols = frames.frames.iter().rev().flat_map(|frame| frame.iter().rev());
    let frames_of = symbols.map(|symbol| Frame {
        function: named(without_hash(&symbol.name()), symbol.filename.as_deref()),
        file: symbol.filename.as_ref().map(|file| file.display().to_string()).unwrap_or_default(),
        line: symbol.lineno(),
    });
    Stack { thread: frames.thread_name.clone(), frames: frames_of.collect() }
}

/// A name that does not say where it is from, as `{closure#0}`, with its file: `{closure#0} [worker/tcp.rs]`.
fn named(name: &str, file: Option<&Path>) -> String {
    let path = name.split('<').next().unwrap_or_default();
    match file {
        Some(file) if !path.contains("::") => {
            let parts: Vec<_> = file.iter().map(|part| part.to_string_lossy()).collect();
            format!("{name} [{}]", parts[parts.len().saturating_sub(2)..].join("/"))
        }
        _ => name.to_owned(),
    }
}

/// `a::b::h0123456789abcdef` is `a::b`.
fn without_hash(name: &str) -> &str {
    match name.rsplit_once("::h") {
        Some((path, hash)) if hash.len() == 16 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()) => path,
        _ => name,
    }
}

#[cfg(test)]
mod testing {
    use super::*;

    /// Two threads, of which one does two things.
    pub(super) fn sample() -> Profile {
        let frame = |function: &str, line| Frame { function: function.to_owned(), file: "a.rs".to_owned(), line };
        let stack = |thread: &str, names: &[&str]| Stack {
            thread: thread.to_owned(),
            frames: names.iter().zip(1..).map(|(name, line)| frame(name, line)).collect(),
        };
        let stacks = [
            (stack("worker-0", &["main", "serve", "parse<T>"]), 30),
            (stack("worker-0", &["main", "serve"]), 10),
            (stack("control", &["main", "probe"]), 60),
        ];
        Profile {
            started: SystemTime::UNIX_EPOCH + Duration::from_secs(1),
            lasted: Duration::from_secs(2),
            frequency: 100,
            stacks: stacks.into_iter().collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn names_lose_their_hash() {
        for (name, expected) in [
            ("weir::worker::run::h0123456789abcdef", "weir::worker::run"),
            ("weir::worker::run", "weir::worker::run"),
            ("weir::hash::hello", "weir::hash::hello"),
            ("main", "main"),
        ] {
            assert_eq!(without_hash(name), expected);
        }
        let file = Some(Path::new("/src/lb/src/worker/tcp.rs"));
        assert_eq!(named("{closure#0}<a::B>", file), "{closure#0}<a::B> [worker/tcp.rs]");
        assert_eq!(named("weir::run", file), "weir::run");
        assert_eq!(named("run", None), "run");
    }

    /// When no other test takes one.
    fn in_turn(lasts: Duration, frequency: u32, wanted: &Receiver<()>) -> Result<Profile, ProfileError> {
        loop {
            match take(SystemTime::UNIX_EPOCH, lasts, frequency, wanted) {
                Err(ProfileError::Busy) => std::thread::yield_now(),
                taken => return taken,
            }
        }
    }

    #[test]
    fn who_works_is_seen_by_name() {
        let (_wanted, waits) = channel();
        let second = Duration::from_secs(1);
        let taking = std::thread::spawn(move || in_turn(second, 500, &waits));
        while !taking.is_finished() {
            std::hint::black_box(grind(1_000_000));
        }
        let profile = taking.join().unwrap().unwrap();
        assert!(profile.lasted >= second);
        let grinding = |stack: &Stack| stack.frames.iter().any(|frame| frame.function.contains("grind"));
        assert!(profile.stacks.keys().any(grinding), "{profile:?}");

        let (wanted, waits) = channel::<()>();
        drop(wanted);
        let unwanted = in_turn(Duration::from_secs(3600), 100, &waits);
        assert_eq!(unwanted, Err(ProfileError::Unwanted));
    }

    /// libgcc's walk, that of panics, crashed in aws-lc's Keccak within a second of this.
    #[test]
    fn code_whose_unwind_tables_are_wrong_is_looked_at_as_well() {
        let (_wanted, waits) = channel();
        let taking = std::thread::spawn(move || in_turn(Duration::from_secs(1), 1000, &waits));
        while !taking.is_finished() {
            std::hint::black_box(rustls::crypto::aws_lc_rs::kx_group::X25519MLKEM768.start().unwrap());
        }
        let profile = taking.join().unwrap().unwrap();
        let there = |stack: &Stack| stack.frames.iter().any(|frame| frame.function.contains("keccak"));
        assert!(profile.stacks.keys().any(there), "{profile:?}");
    }

    #[inline(never)]
    fn grind(rounds: u64) -> u64 {
        (0..rounds).fold(1, |sum: u64, round| std::hint::black_box(sum.wrapping_mul(31) ^ round))
    }
}
