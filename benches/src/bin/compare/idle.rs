//! What an idle client connection costs in memory.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::Plan;
use crate::peer::{self, Backend, Front};
use crate::process::Process;

const CONNECTIONS: u32 = 4_000;
/// Opened first and not counted: they pay for what is allocated once.
const WARM_UP: u32 = 200;

/// Opens connections that ask once and then say nothing, and compares resident memory.
pub(crate) fn measure(plan: &Plan) -> Result<()> {
    let backend = Backend::start()?;
    println!("\nMemory of an idle client connection that has asked once, {CONNECTIONS} of them");
    for kind in &plan.peers {
        let peer = peer::start(plan, *kind, backend.address, Front::Http)?;
        let mut idle = open(peer.address, WARM_UP)?;
        let before = settled(&peer.process);
        idle.extend(open(peer.address, CONNECTIONS)?);
        let grown = settled(&peer.process).saturating_sub(before);
        println!("{:<24} {:>8.2} KiB", peer.name, grown as f64 / 1024.0 / f64::from(CONNECTIONS));
        drop(idle);
    }
    Ok(())
}

fn open(to: SocketAddr, count: u32) -> Result<Vec<TcpStream>> {
    let mut open = Vec::new();
    for _ in 0..count {
        let mut stream = TcpStream::connect(to).context("an idle connection")?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        stream.write_all(b"GET / HTTP/1.1\r\nHost: shop.example\r\nUser-Agent: idle\r\nAccept: */*\r\n\r\n")?;
        let mut answer = [0; 4096];
        anyhow::ensure!(stream.read(&mut answer)? > 0, "no answer on an idle connection");
        open.push(stream);
    }
    Ok(open)
}

/// Resident memory once it has not changed for a second.
fn settled(process: &Process) -> u64 {
    let (mut last, mut since) = (process.resident(), Instant::now());
    while since.elapsed() < Duration::from_secs(1) {
        thread::sleep(Duration::from_millis(100));
        let now = process.resident();
        if now != last {
            (last, since) = (now, Instant::now());
        }
    }
    last
}
