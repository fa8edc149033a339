//! User-space instructions per request: a figure that repeats to the digit on a noisy machine.
//!
//! Each balancer runs under callgrind twice, with few and with many requests; what does not
//! depend on their number cancels out.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::Signal;

use crate::Plan;
use crate::peer::{self, Backend, Front, Kind, Prepared};
use crate::process::Process;

const FEW: u32 = 2_000;
const MANY: u32 = 10_000;
const CONNECTIONS: usize = 8;
/// Under valgrind everything takes some fifty times longer.
const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) fn measure(plan: &Plan) -> Result<()> {
    let backend = Backend::start()?;
    println!("\nUser-space instructions per request, H1 keep-alive, small answer, {CONNECTIONS} connections");
    for kind in &plan.peers {
        let few = total(plan, *kind, backend.address, FEW)?;
        let many = total(plan, *kind, backend.address, MANY)?;
        println!("{:<24} {:>8}", kind.name(), many.saturating_sub(few) / u64::from(MANY - FEW));
    }
    Ok(())
}

/// All instructions of a balancer's life with so many requests.
fn total(plan: &Plan, kind: Kind, backend: SocketAddr, requests: u32) -> Result<u64> {
    let Prepared { command, address, directory } = peer::prepare(plan, kind, backend, Front::Http)?;
    let out = directory.path().join("callgrind.out");
    let mut under: Vec<String> = ["valgrind", "--tool=callgrind"].map(str::to_owned).to_vec();
    under.push(format!("--callgrind-out-file={}", out.display()));
    under.extend(command);
    let mut process = Process::start_within(0, &under, address, PATIENCE)?;
    ask(address, requests)?;
    process.stop(if kind == Kind::Haproxy { Signal::USR1 } else { Signal::TERM });
    let text = fs::read_to_string(&out).context("callgrind's output")?;
    let line = text.lines().find_map(|line| line.strip_prefix("totals:").or_else(|| line.strip_prefix("summary:")));
    line.and_then(|line| line.trim().parse().ok()).context("callgrind's total")
}

/// So many requests, in turn over a few kept-open connections.
fn ask(to: SocketAddr, requests: u32) -> Result<()> {
    let mut streams = Vec::new();
    for _ in 0..CONNECTIONS {
        let stream = TcpStream::connect(to)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        streams.push(stream);
    }
    let mut answer = vec![0; 16 * 1024];
    for _ in 0..requests / CONNECTIONS as u32 {
        for stream in &mut streams {
            stream.write_all(b"GET / HTTP/1.1\r\nHost: shop.example\r\nUser-Agent: h2load\r\nAccept: */*\r\n\r\n")?;
        }
        for stream in &mut streams {
            let mut got = 0;
            // The backend's small answer ends like this.
            while !answer[..got].ends_with(b"a small answer") {
                let more = stream.read(&mut answer[got..])?;
                anyhow::ensure!(more > 0, "the connection ended: {}", String::from_utf8_lossy(&answer[..got]));
                got += more;
            }
            anyhow::ensure!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer[..got]));
        }
    }
    Ok(())
}
