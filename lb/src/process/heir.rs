//! The process that is to come after this one: started, given everything, waited for.
//!
//! It is started by a go-between, which is ended as soon as it serves: so it is nobody's child then but
//! the service manager's (or init's), who otherwise would not notice when it ends.

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, ExitStatus};
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use rustix::stdio;

use super::handover::{self, Legacy, VARIABLE};

/// As long may an heir take until it serves: its names are looked up and its endpoints probed by then.
const PATIENCE: Duration = Duration::from_secs(90);
/// What [`VARIABLE`] is for the go-between, and for the heir.
const GO_BETWEEN: &str = "go-between";
const HEIR: &str = "heir";

/// And so long from the elder's last words until it serves: it was ready to.
const LAST_PATIENCE: Duration = Duration::from_secs(15);

/// How the next process is started: as this one was.
#[derive(Clone, Debug)]
pub(crate) struct Heir {
    program: PathBuf,
    arguments: Vec<OsString>,
}

impl Heir {
    /// Looks up by what this process was started; the file may be another by the time it is needed.
    ///
    /// # Errors
    /// When the system does not tell.
    pub(crate) fn of_this_process() -> io::Result<Self> {
        let mut arguments = std::env::args_os();
        // As it was called, if that is a path: behind a symbolic link may be a newer one by then.
        let called = arguments.next().map(PathBuf::from).filter(|path| path.components().count() > 1);
        let program = match called {
            Some(path) => std::path::absolute(path)?,
            None => std::env::current_exe()?,
        };
        Ok(Self { program, arguments: arguments.collect() })
    }

    /// Starts it, gives it everything, the `last` of it when it could serve, and waits until it serves:
    /// itself, and how to tell it more. Blocks. Whoever shuts the socket down that is given
    /// to `begun` ends it.
    ///
    /// # Errors
    /// In words, why it does not serve; by then it is no more.
    pub(crate) fn succeed(
        &self,
        legacy: &Legacy,
        begun: impl FnOnce(UnixStream),
        last: impl FnOnce() -> io::Result<String>,
    ) -> Result<(u32, UnixStream), String> {
        // With process 1 ends its container, and whoever else is in it.
        if std::process::id() == 1 {
            return Err("this is process 1 of a container, which would end with it: start another container".to_owned());
        }
        let program = self.program.display();
        let (ours, its) = UnixStream::pair().map_err(|error| format!("no socket pair: {error}"))?;
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).env(VARIABLE, GO_BETWEEN).stdin(OwnedFd::from(its));
        // They are about this process, not about its heir.
        for variable in ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "WATCHDOG_PID"] {
            command.env_remove(variable);
        }
        let mut child = command.spawn().map_err(|error| format!("{program} cannot be started: {error}"))?;
        // The other end is the child's alone, or its end would not be seen.
        drop(command);
        let mut held = None;
        let times = (PATIENCE, LAST_PATIENCE);
        let met = ours.try_clone().and_then(|other| {
            begun(other);
            let heir = handover::give(&ours, legacy)?;
            // It waits for our word: this is no other process that got its number.
            held = Pid::from_raw(heir.cast_signed()).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
            handover::await_ready(&ours, times, last)?;
            Ok(heir)
        });
        match met {
            Ok(heir) => {
                end(&mut child);
                Ok((heir, ours))
            }
            Err(error) => Err(format!("{program} {}", epitaph(&mut child, held.as_ref(), &error))),
        }
    }
}

fn end(child: &mut Child) {
    // It may be gone already.
    let _ = child.kill();
    let _ = child.wait();
}

/// How a child ended that did not come to serve.
fn epitaph(child: &mut Child, heir: Option<&OwnedFd>, error: &io::Error) -> String {
    // One that has closed its end is about to end: that is told better than what we saw of it.
    let closed = matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe);
    let mut ended = child.try_wait().ok().flatten();
    for _ in 0..if closed { 20 } else { 0 } {
        if ended.is_some() {
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
        ended = child.try_wait().ok().flatten();
    }
    if let Some(heir) = heir {
        // The same.
        let _ = pidfd_send_signal(heir, Signal::KILL);
    }
    end(child);
    match (ended, error.kind()) {
        (Some(status), _) => format!("ended with {status} before it served; its log says why"),
        (None, io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => "took too long to serve, and was stopped".into(),
        (None, io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe) => {
            "took nothing over, and was stopped; is it a version that can?".into()
        }
        (None, _) => format!("could not take over, and was stopped: {error}"),
    }
}

/// If this process is only to start an heir: does so, and waits for its end. What this one ends with.
///
/// # Errors
/// When the heir cannot be started.
pub(crate) fn go_between() -> io::Result<Option<ExitCode>> {
    if std::env::var_os(VARIABLE).is_none_or(|what| what != GO_BETWEEN) {
        return Ok(None);
    }
    let Heir { program, arguments } = Heir::of_this_process()?;
    let elder = stdio::stdin().try_clone_to_owned()?;
    // The heir's alone: that it is closed tells the elder of its end.
    stdio::dup2_stdin(std::fs::File::open("/dev/null")?)?;
    let mut heir = Command::new(program).args(arguments).env(VARIABLE, HEIR).stdin(elder).spawn()?;
    Ok(Some(as_it_ended(heir.wait()?)))
}

/// As shells tell of it: 128 and the signal, if one ended it.
fn as_it_ended(status: ExitStatus) -> ExitCode {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    ExitCode::from(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
}

/// The elder that started this process as its heir, if one did.
///
/// # Errors
/// When standard input is not what it should be.
pub(crate) fn elder() -> io::Result<Option<UnixStream>> {
    if std::env::var_os(VARIABLE).is_none_or(|what| what != HEIR) {
        return Ok(None);
    }
    let elder = UnixStream::from(stdio::stdin().try_clone_to_owned()?);
    // Nobody else shall read or hold it.
    stdio::dup2_stdin(std::fs::File::open("/dev/null")?)?;
    elder.peer_addr()?;
    Ok(Some(elder))
}
