//! Hosts on one network segment, each a network namespace of its own: interfaces, addresses, routes
//! and neighbours are theirs, so that files made for real hosts can be run there as they stand.
//!
//! The switch between them is a host too: `192.0.2.1`, whose bridge the others' `eth0` are plugged
//! into. Nothing outside of these namespaces is touched. Needs root and `ip`, like [`crate::netns`].

use std::net::{SocketAddr, TcpListener};
use std::process::{Command, Stdio};
use std::thread::JoinHandle;

use crate::netns::{inside, ip, tool, turn};

/// A host. Gone when dropped, with its end of the cable; what runs in it has to be ended before.
#[derive(Debug)]
pub struct Host {
    namespace: String,
}

/// The switch, which is a host as well.
#[derive(Debug)]
pub struct Segment {
    switch: Host,
    /// Hosts that were plugged in so far.
    ports: u32,
}

impl Segment {
    /// The switch alone, at `192.0.2.1/24`.
    ///
    /// # Panics
    /// When this process may not, or `ip` is missing.
    #[must_use]
    #[allow(clippy::new_without_default, reason = "it changes the machine: no value to have by default")]
    pub fn new() -> Self {
        let switch = Host::alone();
        switch.ip("link add eth0 type bridge");
        switch.ip("link set eth0 up");
        switch.ip("addr add 192.0.2.1/24 dev eth0");
        Self { switch, ports: 0 }
    }

    /// The switch as a host: a place for clients, endpoints, and a router.
    #[must_use]
    pub fn switch(&self) -> &Host {
        &self.switch
    }

    /// Plugs in a new host with this address (`192.0.2.11/24`) on its `eth0`.
    ///
    /// # Panics
    /// When the system does not let us.
    #[must_use]
    pub fn host(&mut self, address: &str) -> Host {
        let host = Host::alone();
        self.ports += 1;
        let port = format!("port{}", self.ports);
        let (here, there) = (&self.switch.namespace, &host.namespace);
        ip(&["link", "add", &port, "netns", here, "type", "veth", "peer", "name", "eth0", "netns", there]);
        self.switch.ip(&format!("link set {port} master eth0 up"));
        host.ip("link set eth0 up");
        host.ip(&format!("addr add {address} dev eth0"));
        host
    }
}

impl Host {
    fn alone() -> Self {
        let (_turn, nth) = turn();
        let namespace = format!("weir-{}-{nth}", std::process::id());
        ip(&["netns", "add", &namespace]);
        let host = Self { namespace };
        host.ip("link set lo up");
        host
    }

    /// `ip` with these arguments, about this host.
    ///
    /// # Panics
    /// When it fails.
    pub fn ip(&self, arguments: &str) {
        let words: Vec<&str> = ["-n", &self.namespace].into_iter().chain(arguments.split(' ')).collect();
        ip(&words);
    }

    /// What `ip` with these arguments says of this host.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn ask_ip(&self, arguments: &str) -> String {
        let output =
            Command::new(tool("ip")).args(["-n", &self.namespace]).args(arguments.split(' ')).output().expect("ip");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// A program to be run on this host. Its process id is the program's own.
    #[must_use]
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(tool("ip"));
        command.args(["netns", "exec", &self.namespace, &tool(program)]).stdin(Stdio::null());
        command
    }

    /// A listener on this host.
    ///
    /// # Panics
    /// When the address cannot be bound.
    #[must_use]
    pub fn listen(&self, address: SocketAddr) -> TcpListener {
        let bound = inside(&self.namespace, move || TcpListener::bind(address)).join();
        bound.expect("a thread that moves").unwrap_or_else(|error| panic!("cannot bind {address}: {error}"))
    }

    /// Does something on a thread of its own on this host: what it connects to is reached from here.
    pub fn act<T: Send + 'static>(&self, act: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
        inside(&self.namespace, act)
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = Command::new(tool("ip")).args(["netns", "del", &self.namespace]).stderr(Stdio::null()).status();
    }
}
