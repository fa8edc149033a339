//! Child processes and what they use: CPU time and memory of a whole tree, from `/proc`.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit};

/// A child that ends when dropped.
pub(crate) struct Process(Child);

/// CPU time, in seconds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cpu {
    pub(crate) user: f64,
    pub(crate) system: f64,
}

impl Cpu {
    pub(crate) fn total(self) -> f64 {
        self.user + self.system
    }

    pub(crate) fn since(self, before: Self) -> Self {
        Self { user: self.user - before.user, system: self.system - before.system }
    }
}

impl Process {
    /// Starts `command` on one core and waits until `address` accepts.
    pub(crate) fn start(core: u8, command: &[String], address: SocketAddr) -> Result<Self> {
        Self::start_within(core, command, address, Duration::from_secs(20))
    }

    pub(crate) fn start_within(core: u8, command: &[String], address: SocketAddr, patience: Duration) -> Result<Self> {
        let child = Command::new("taskset")
            .args(["-c", &core.to_string()])
            .args(command)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot start {}", command.join(" ")))?;
        let mut process = Self(child);
        let deadline = Instant::now() + patience;
        while TcpStream::connect(address).is_err() {
            if let Some(status) = process.0.try_wait()? {
                bail!("{} ended at once: {status}", command.join(" "));
            }
            if Instant::now() > deadline {
                bail!("{} does not listen on {address}", command.join(" "));
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(process)
    }

    /// Asks it to end and waits.
    pub(crate) fn stop(&mut self, signal: Signal) {
        // Both fail only if it has ended already.
        let _ = kill_process(Pid::from_child(&self.0), signal);
        let _ = self.0.wait();
    }

    /// It and its descendants.
    fn tree(&self) -> Vec<u32> {
        let mut tree = vec![self.0.id()];
        let all = processes();
        let mut at = 0;
        while at < tree.len() {
            let parent = tree[at];
            tree.extend(all.iter().filter(|(_, of)| *of == parent).map(|(pid, _)| *pid));
            at += 1;
        }
        tree
    }

    /// CPU time of the tree so far.
    pub(crate) fn cpu(&self) -> Cpu {
        let ticks = rustix::param::clock_ticks_per_second() as f64;
        let of = |pid| stat(pid).map(|fields| (number(&fields, 11), number(&fields, 12)));
        self.tree().into_iter().filter_map(of).fold(Cpu::default(), |sum, (user, system)| Cpu {
            user: sum.user + user / ticks,
            system: sum.system + system / ticks,
        })
    }

    /// Resident memory of the tree, in bytes.
    pub(crate) fn resident(&self) -> u64 {
        let page = rustix::param::page_size() as u64;
        self.tree().into_iter().filter_map(|pid| stat(pid).map(|fields| number(&fields, 21) as u64 * page)).sum()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.stop(Signal::TERM);
    }
}

/// Every process and its parent.
fn processes() -> Vec<(u32, u32)> {
    let pids = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter_map(|pid| Some((pid, number(&stat(pid)?, 1) as u32))).collect()
}

/// The fields of `/proc/PID/stat` after the name, which may itself have spaces: `state` is 0.
fn stat(pid: u32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = text.rsplit_once(')')?;
    Some(rest.split_whitespace().map(str::to_owned).collect())
}

fn number(fields: &[String], at: usize) -> f64 {
    fields.get(at).and_then(|field| field.parse().ok()).unwrap_or_default()
}

/// Thousands of idle connections need as many descriptors, here and in our children.
pub(crate) fn raise_open_files() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    // If it stays low, opening the connections will say so.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}

/// A free port on loopback.
pub(crate) fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}
