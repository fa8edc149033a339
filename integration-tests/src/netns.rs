//! Network namespaces that a test makes: places whose network can be cut, so that packets vanish
//! as they do when a switch dies. Nothing outside of them is touched.
//!
//! Needs root, `ip` and `nft`; without them a test that asks for one fails and says so.

use std::fs::{self, File};
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::thread;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// A namespace with a network of its own, joined to ours by one cable. Gone when dropped.
#[derive(Debug)]
pub struct Netns {
    name: String,
    /// Six addresses: the first is ours, the others are inside.
    net: [u8; 4],
}

/// `ip netns` mounts things: one at a time. What is counted is how many this process has made.
static MADE: Mutex<u32> = Mutex::new(0);

/// Addresses inside of one namespace.
const INSIDE: u8 = 5;

impl Netns {
    /// Makes one.
    ///
    /// # Panics
    /// When this process may not, or `ip` or `nft` is missing.
    #[must_use]
    #[allow(clippy::new_without_default, reason = "it changes the machine: no value to have by default")]
    pub fn new() -> Self {
        let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
        if *made == 0 {
            check();
            sweep();
        }
        let nth = *made;
        *made += 1;
        let pid = std::process::id();
        // 198.18.0.0/15 is for benchmarks: no host has it. Eight addresses for each of 16 384.
        let at = ((pid % 1024) * 16 + nth % 16) * 8;
        let net = [198, 18 + (at >> 16) as u8, (at >> 8) as u8, at as u8];
        let name = format!("weir-{pid}-{nth}");
        let cable = format!("w{pid:x}-{nth}");
        let made = Self { name, net };
        let name = &made.name;
        ip(&["netns", "add", name]);
        ip(&["link", "add", &cable, "type", "veth", "peer", "name", "in0", "netns", name]);
        ip(&["addr", "add", &format!("{}/29", made.at(0)), "dev", &cable]);
        ip(&["link", "set", &cable, "up"]);
        ip(&["-n", name, "link", "set", "lo", "up"]);
        for nth in 1..=INSIDE {
            ip(&["-n", name, "addr", "add", &format!("{}/29", made.at(nth)), "dev", "in0"]);
        }
        ip(&["-n", name, "link", "set", "in0", "up"]);
        made.heal();
        made
    }

    fn at(&self, nth: u8) -> IpAddr {
        let [a, b, c, d] = self.net;
        IpAddr::V4(Ipv4Addr::new(a, b, c, d + 1 + nth))
    }

    /// Our end of the cable: an address of this host that is not loopback.
    #[must_use]
    pub fn outside(&self) -> IpAddr {
        self.at(0)
    }

    /// A listener in there, on address `nth` of five, from 0.
    ///
    /// # Panics
    /// When there is no such address, or the system does not let us.
    #[must_use]
    pub fn listen(&self, nth: u8) -> TcpListener {
        assert!(nth < INSIDE, "a namespace has {INSIDE} addresses");
        let (door, address) = (Path::new("/run/netns").join(&self.name), self.at(nth + 1));
        // A thread of its own: it moves there and does not come back, the socket does.
        let bound = thread::spawn(move || {
            let door = File::open(&door).expect("the namespace is there");
            move_into_link_name_space(door.as_fd(), Some(LinkNameSpaceType::Network)).expect("root may move there");
            TcpListener::bind((address, 0))
        });
        bound.join().expect("a thread that moves").unwrap_or_else(|error| panic!("cannot bind {address}: {error}"))
    }

    /// Cuts the cable: packets vanish, in both directions, of connections that are open too.
    pub fn cut(&self) {
        self.rules("add rule inet weir in iifname in0 drop\nadd rule inet weir out oifname in0 drop\n");
    }

    /// Lets packets to and from this address alone vanish.
    pub fn cut_off(&self, address: SocketAddr) {
        let (ip, port) = (address.ip(), address.port());
        self.rules(&format!(
            "add rule inet weir in ip daddr {ip} tcp dport {port} drop\nadd rule inet weir out ip saddr {ip} tcp sport {port} drop\n"
        ));
    }

    /// Answers whatever comes to this address with a RST.
    pub fn reset(&self, address: SocketAddr) {
        let (ip, port) = (address.ip(), address.port());
        self.rules(&format!("add rule inet weir in ip daddr {ip} tcp dport {port} reject with tcp reset\n"));
    }

    /// Everything gets through again.
    pub fn heal(&self) {
        self.rules("");
    }

    /// These rules and no others.
    fn rules(&self, rules: &str) {
        let text = format!(
            "add table inet weir\ndelete table inet weir\nadd table inet weir\n\
             add chain inet weir in {{ type filter hook input priority 0; }}\n\
             add chain inet weir out {{ type filter hook output priority 0; }}\n{rules}"
        );
        let nft = tool("nft");
        run(Command::new(tool("ip")).args(["netns", "exec", &self.name, &nft, "-f", "-"]), &text);
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        // The cable goes with it.
        let _ = Command::new(tool("ip")).args(["netns", "del", &self.name]).stderr(Stdio::null()).status();
    }
}

/// Debian's administration tools stand where a user's PATH may not look.
fn tool(name: &str) -> String {
    let places = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"];
    let paths = places.iter().map(|place| format!("{place}/{name}"));
    paths.into_iter().find(|path| Path::new(path).exists()).unwrap_or_else(|| name.to_owned())
}

fn ip(arguments: &[&str]) {
    run(Command::new(tool("ip")).args(arguments), "");
}

fn run(command: &mut Command, input: &str) {
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = piped.spawn().unwrap_or_else(|error| panic!("cannot run {command:?} ({error}): {WANTED}"));
    let mut stdin = child.stdin.take().expect("it was asked for");
    stdin.write_all(input.as_bytes()).expect("it reads");
    drop(stdin);
    let output = child.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{command:?} failed: {said}\n{input}");
}

const WANTED: &str =
    "tests that cut networks need root, iproute2 and nftables; `make test-packages` installs the programs";

/// Whether this process may make namespaces at all.
fn check() {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let user = status.lines().find_map(|line| line.strip_prefix("Uid:")).and_then(|ids| ids.split_whitespace().nth(1));
    assert_eq!(user, Some("0"), "not root: {WANTED}");
    for name in ["ip", "nft"] {
        assert!(Path::new(&tool(name)).exists(), "no {name} here: {WANTED}");
    }
}

/// Removes what test processes left behind that were killed.
fn sweep() {
    for entry in fs::read_dir("/run/netns").into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let pid = name.strip_prefix("weir-").and_then(|rest| rest.split('-').next()).map(str::to_owned);
        if pid.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            let _ = Command::new(tool("ip")).args(["netns", "del", &name]).stderr(Stdio::null()).status();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;
    use std::time::Duration;

    use super::*;
    use crate::replica::{Replica, Totals};

    #[test]
    fn what_is_cut_is_silent_and_comes_back() {
        let place = Netns::new();
        let one = Replica::on("one", place.listen(0), &Totals::default());
        let other = Replica::on("other", place.listen(1), &Totals::default());
        let dial = |to: SocketAddr| TcpStream::connect_timeout(&to, Duration::from_millis(300)).map_err(|e| e.kind());
        let both = |what: &str, expected: [Result<(), std::io::ErrorKind>; 2]| {
            let seen = [one.address(), other.address()].map(|to| dial(to).map(drop));
            assert_eq!(seen, expected, "{what}");
        };
        both("at first", [Ok(()), Ok(())]);
        place.cut();
        both("cut", [Err(std::io::ErrorKind::TimedOut); 2]);
        place.heal();
        both("healed", [Ok(()), Ok(())]);
        place.cut_off(one.address());
        both("one cut off", [Err(std::io::ErrorKind::TimedOut), Ok(())]);
        place.reset(one.address());
        both("one reset", [Err(std::io::ErrorKind::ConnectionRefused), Ok(())]);
    }
}
