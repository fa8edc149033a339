//! How do we know? The harness for live systems: the real binary between clients and backends
//! that can do everything wrong.
//!
//! It is blocking and plain on purpose: what a test sends and receives are bytes on a socket, parsed
//! by [`message`] alone, so that nothing here shares a mistake with the code under test. No test
//! sleeps for a fixed time; it polls with a deadline ([`wait`]).
//!
//! - [`weir`]: the binary as a child process, its config file, admin API, signals and exit code.
//! - [`backend`]: a scripted endpoint in this process that records each byte it gets.
//! - [`nginx`]: real replicas that can be killed and come back on the same port.
//! - [`redis`]: a Redis that can be killed and come back on the same port.
//! - [`daemon`]: any other real program, with a configuration of the test's.
//! - [`replica`]: an endpoint whose behaviour a test switches, and that remembers what it executed.
//! - [`netns`]: places whose network can be cut.
//! - [`segment`]: hosts on one network, with processes of their own.
//! - [`dns`]: a name server whose answers a test switches.
//! - [`tls`]: authorities, a client and an endpoint that speak TLS.
//! - [`client`]: one connection, strictly read.
//! - [`http2`]: HTTP/2 frame by frame, on either side.
//! - [`load`]: many kept-open connections that count each way to fail.
//! - [`pace`]: an open-loop load that writes down what became of each request, and when.
//! - [`place`]: loopback addresses nobody else uses.

// A harness: here a panic is a failed test, with a text that says what was expected.
#![allow(clippy::unwrap_used, reason = "a panic here is a failed test")]

pub mod backend;
pub mod client;
pub mod collector;
pub mod daemon;
pub mod dns;
pub mod dnsmasq;
pub mod http2;
pub mod load;
pub mod message;
pub mod netns;
pub mod nginx;
pub mod pace;
pub mod place;
pub mod redis;
pub mod replica;
pub mod segment;
pub mod tls;
pub mod wait;
pub mod weir;
