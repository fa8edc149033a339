//! A real peer over plain TCP: a Redis that can be killed and comes back on the same port.

use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Output, Stdio};

use tempfile::TempDir;

use crate::wait;

/// One Redis process. Killed when dropped.
#[derive(Debug)]
pub struct Redis {
    directory: TempDir,
    address: SocketAddr,
    child: Option<Child>,
}

impl Redis {
    /// Starts one there and waits until it accepts. It keeps nothing on disk.
    ///
    /// # Panics
    /// When Redis is not installed or does not start.
    #[must_use]
    pub fn start(address: SocketAddr) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let mut redis = Self { directory, address, child: None };
        redis.revive();
        redis
    }

    /// Starts the process again on the same port.
    ///
    /// # Panics
    /// When it runs already, or does not start.
    pub fn revive(&mut self) {
        assert!(self.child.is_none(), "this redis runs already");
        let (ip, port) = (self.address.ip().to_string(), self.address.port().to_string());
        let child = Command::new("redis-server")
            .args(["--bind", &ip, "--port", &port, "--save", "", "--appendonly", "no", "--protected-mode", "no"])
            .args(["--dir", self.directory.path().to_str().expect("a readable path")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start redis-server ({error}); `make test` installs it"));
        let child = self.child.insert(child);
        wait::until(&format!("redis at {}", self.address), || {
            assert!(matches!(child.try_wait(), Ok(None)), "redis ended at once");
            TcpStream::connect(self.address).ok()
        });
    }

    /// Kills the process as `kill -9` does.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}

/// What `redis-cli` says to `arguments` when it talks to `to`.
///
/// # Panics
/// When it is not installed.
#[must_use]
pub fn cli(to: SocketAddr, arguments: &[&str]) -> Output {
    Command::new("redis-cli")
        .args(["-h", &to.ip().to_string(), "-p", &to.port().to_string()])
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("cannot start redis-cli ({error}); `make test` installs it"))
}
