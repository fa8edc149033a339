//! Real programs before and behind Weir, run from a configuration of the test's.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::wait;

/// A running program. Killed when dropped.
#[derive(Debug)]
pub struct Daemon {
    directory: TempDir,
    child: Child,
}

impl Daemon {
    /// Runs `program` in a directory of its own with these files in it, and waits until it accepts
    /// at each of `addresses`.
    ///
    /// # Panics
    /// When it is not installed, or ends.
    #[must_use]
    pub fn start(program: &str, arguments: &[&str], files: &[(&str, &str)], addresses: &[SocketAddr]) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        Self::start_in(directory, program, arguments, files, addresses)
    }

    /// The same in a directory that is there.
    ///
    /// # Panics
    /// When it is not installed, or ends.
    #[must_use]
    pub fn start_in(
        directory: TempDir,
        program: &str,
        arguments: &[&str],
        files: &[(&str, &str)],
        addresses: &[SocketAddr],
    ) -> Self {
        let path = directory.path();
        for (name, text) in files {
            fs::write(path.join(name), text).expect("a file is written");
        }
        let log = fs::File::create(path.join("log")).expect("a log file");
        let mut child = Command::new(found(program))
            .args(arguments)
            .current_dir(path)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file has handles"))
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {program} ({error}); `make test` installs it"));
        for address in addresses {
            wait::until(&format!("{program} at {address}"), || {
                let log = || fs::read_to_string(path.join("log")).unwrap_or_default();
                assert!(matches!(child.try_wait(), Ok(None)), "{program} ended at once:\n{}", log());
                TcpStream::connect(address).ok()
            });
        }
        Self { directory, child }
    }

    /// HAProxy with this configuration after the usual beginning.
    #[must_use]
    pub fn haproxy(rest: &str, addresses: &[SocketAddr]) -> Self {
        let config = format!("defaults\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n{rest}\n");
        Self::start("haproxy", &["-db", "-f", "haproxy.cfg"], &[("haproxy.cfg", &config)], addresses)
    }

    /// nginx with this configuration after the usual beginning.
    #[must_use]
    pub fn nginx(rest: &str, addresses: &[SocketAddr]) -> Self {
        let config = format!(
            "daemon off; master_process off; worker_processes 1; pid nginx.pid; error_log stderr;\n\
             events {{ worker_connections 1024; }}\n{rest}\n"
        );
        Self::start("nginx", &["-p", ".", "-c", "nginx.conf", "-e", "stderr"], &[("nginx.conf", &config)], addresses)
    }

    /// Where it runs.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Debian's daemons stand where a user's PATH may not look.
fn found(program: &str) -> String {
    let path = format!("/usr/sbin/{program}");
    if Path::new(&path).exists() { path } else { program.into() }
}
