//! The process that is to come after this one: started, given everything, waited for.

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::Duration;

use rustix::stdio;

use super::handover::{self, Legacy, VARIABLE};

/// As long may an heir take until it serves: its names are looked up and its endpoints probed by then.
const PATIENCE: Duration = Duration::from_secs(90);

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
    ) -> Result<(Child, UnixStream), String> {
        let program = self.program.display();
        let (ours, its) = UnixStream::pair().map_err(|error| format!("no socket pair: {error}"))?;
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).env(VARIABLE, "1").stdin(OwnedFd::from(its));
        // They are about this process, not about its heir.
        for variable in ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "WATCHDOG_PID"] {
            command.env_remove(variable);
        }
        let mut child = command.spawn().map_err(|error| format!("{program} cannot be started: {error}"))?;
        // The other end is the child's alone, or its end would not be seen.
        drop(command);
        let times = (PATIENCE, LAST_PATIENCE);
        let met = ours.try_clone().and_then(|other| {
            begun(other);
            handover::give(&ours, legacy)?;
            handover::await_ready(&ours, times, last)
        });
        match met {
            Ok(()) => Ok((child, ours)),
            Err(error) => Err(format!("{program} {}", epitaph(&mut child, &error))),
        }
    }
}

/// How a child ended that did not come to serve.
fn epitaph(child: &mut Child, error: &io::Error) -> String {
    // One that has closed its end is about to end: that is told better than what we saw of it.
    if error.kind() == io::ErrorKind::UnexpectedEof {
        std::thread::sleep(Duration::from_millis(100));
    }
    let ended = child.try_wait().ok().flatten();
    // It may be gone already.
    let _ = child.kill();
    let _ = child.wait();
    match (ended, error.kind()) {
        (Some(status), _) => format!("ended with {status} before it served; its log says why"),
        (None, io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => "took too long to serve, and was stopped".into(),
        (None, io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe) => {
            "took nothing over, and was stopped; is it a version that can?".into()
        }
        (None, _) => format!("could not take over, and was stopped: {error}"),
    }
}

/// The elder that started this process as its heir, if one did.
///
/// # Errors
/// When standard input is not what it should be.
pub(crate) fn elder() -> io::Result<Option<UnixStream>> {
    if std::env::var_os(VARIABLE).is_none() {
        return Ok(None);
    }
    let elder = UnixStream::from(stdio::stdin().try_clone_to_owned()?);
    // Nobody else shall read or hold it.
    stdio::dup2_stdin(std::fs::File::open("/dev/null")?)?;
    elder.peer_addr()?;
    Ok(Some(elder))
}
