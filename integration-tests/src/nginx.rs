//! Real replicas: nginx processes that can be killed and come back on the same ports.

use std::fmt::Write as _;
use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::wait;

/// One nginx process with one or several server ports. Killed when dropped.
#[derive(Debug)]
pub struct Nginx {
    directory: TempDir,
    addresses: Vec<SocketAddr>,
    child: Option<Child>,
}

/// One server port of an nginx.
#[derive(Clone, Debug)]
pub struct Server {
    /// Where it listens.
    pub address: SocketAddr,
    /// What it answers to any path but `/healthz`, which it answers with 200 and `ok`.
    pub text: String,
}

impl Nginx {
    /// Starts one process for these servers and waits until all of them accept.
    ///
    /// # Panics
    /// When nginx is not installed or does not start.
    #[must_use]
    pub fn start(servers: Vec<Server>) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let mut blocks = String::new();
        for Server { address, text } in &servers {
            let _ = writeln!(
                blocks,
                "  server {{ listen {address}; location = /healthz {{ return 200 \"ok\"; }} \
                 location / {{ return 200 \"{text}\"; }} }}"
            );
        }
        Self::start_in(directory, &blocks, servers.into_iter().map(|server| server.address).collect())
    }

    /// Starts one process with these server blocks, which listen on these addresses; files they name
    /// lie in `directory`.
    ///
    /// # Panics
    /// When nginx is not installed or does not start.
    #[must_use]
    pub fn start_in(directory: TempDir, blocks: &str, addresses: Vec<SocketAddr>) -> Self {
        let config = config(directory.path().to_str().expect("a readable path"), blocks);
        fs::write(directory.path().join("nginx.conf"), config).expect("the config is written");
        let mut nginx = Self { directory, addresses, child: None };
        nginx.revive();
        nginx
    }

    /// Starts the process again on the same ports.
    ///
    /// # Panics
    /// When it runs already, or does not start.
    pub fn revive(&mut self) {
        assert!(self.child.is_none(), "this nginx runs already");
        let path = self.directory.path();
        let child = Command::new(binary())
            .args(["-p", path.to_str().expect("a readable path"), "-c", "nginx.conf", "-e", "error.log"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start nginx ({error}); `make test` installs it"));
        let child = self.child.insert(child);
        for address in &self.addresses {
            wait::until(&format!("nginx at {address}"), || {
                let log = || fs::read_to_string(path.join("error.log")).unwrap_or_default();
                assert!(matches!(child.try_wait(), Ok(None)), "nginx ended at once:\n{}", log());
                TcpStream::connect(address).ok()
            });
        }
    }

    /// Kills the process as `kill -9` does.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Debian's nginx stands where a user's PATH may not look.
fn binary() -> &'static str {
    if fs::exists("/usr/sbin/nginx").unwrap_or(false) { "/usr/sbin/nginx" } else { "nginx" }
}

fn config(directory: &str, blocks: &str) -> String {
    let mut text = format!(
        "daemon off; master_process off; worker_processes 1; pid {directory}/nginx.pid;\n\
         error_log {directory}/error.log;\n\
         events {{ worker_connections 1024; }}\n\
         http {{\n  access_log off; keepalive_requests 1000000; default_type text/plain;\n  \
         client_body_temp_path {directory}/body; proxy_temp_path {directory}/proxy; \
         fastcgi_temp_path {directory}/fastcgi; uwsgi_temp_path {directory}/uwsgi; scgi_temp_path {directory}/scgi;\n"
    );
    text.push_str(blocks);
    text.push_str("}\n");
    text
}
