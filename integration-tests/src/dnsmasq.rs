//! A real DNS server over UDP and TCP, and a real client to ask it with.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use crate::wait;

/// One dnsmasq that knows one name. Killed when dropped.
#[derive(Debug)]
pub struct Dnsmasq {
    child: Child,
}

impl Dnsmasq {
    /// Starts one there that says `address` of `name`, and waits until it answers.
    ///
    /// # Panics
    /// When dnsmasq is not installed or does not start.
    #[must_use]
    pub fn start(at: SocketAddr, name: &str, address: &str) -> Self {
        let (ip, port) = (at.ip().to_string(), at.port().to_string());
        let mut command = Command::new("dnsmasq");
        command.args(["--no-daemon", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--bind-interfaces"]);
        command.args([format!("--listen-address={ip}"), format!("--port={port}")]);
        command.args([format!("--address=/{name}/{address}"), format!("--txt-record={name},{}", "x".repeat(250))]);
        command.args(["--user=", "--group=", "--pid-file="]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn();
        let child = child.unwrap_or_else(|error| panic!("cannot start dnsmasq ({error}); `make test` installs it"));
        let mut server = Self { child };
        wait::until(&format!("dnsmasq at {at}"), || {
            assert!(matches!(server.child.try_wait(), Ok(None)), "dnsmasq ended at once");
            (dig(at, &[name, "A"]) == address).then_some(())
        });
        server
    }
}

impl Drop for Dnsmasq {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What `dig +short` says when it asks `to`; one try of two seconds.
///
/// # Panics
/// When it is not installed.
#[must_use]
pub fn dig(to: SocketAddr, arguments: &[&str]) -> String {
    let output = Command::new("dig")
        .args([&format!("@{}", to.ip()), "-p", &to.port().to_string(), "+short", "+tries=1", "+time=2"])
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("cannot start dig ({error}); `make test` installs it"));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}
