//! Whose a socket is: from `/proc`, as far as this user may see.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

/// A process that holds a socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Owner {
    /// Its number.
    pub(crate) pid: u32,
    /// Its name, as the kernel has it: at most 15 bytes.
    pub(crate) name: String,
    /// Its command line, its words apart by spaces.
    pub(crate) line: String,
}

/// Descriptors looked at; whoever has more sees a part.
const LOOKED_AT_MAX: usize = 1_000_000;
/// As much of a command line as is kept.
const LINE_MAX: usize = 120;

impl Owner {
    fn of(pid: u32) -> Self {
        let read = |what: &str| fs::read(format!("/proc/{pid}/{what}")).unwrap_or_default();
        let name = String::from_utf8_lossy(&read("comm")).trim().to_owned();
        let line = String::from_utf8_lossy(&read("cmdline")).replace('\0', " ");
        let line: String = line.trim().chars().filter(|c| !c.is_control()).take(LINE_MAX).collect();
        Self { pid, line: if line.is_empty() { name.clone() } else { line }, name }
    }

    /// Whether it is a balancer that runs this configuration.
    pub(crate) fn runs(&self, config: &Path) -> bool {
        let read = |what: &str| fs::read(format!("/proc/{}/{what}", self.pid)).unwrap_or_default();
        let here = fs::read_link(format!("/proc/{}/cwd", self.pid)).unwrap_or_else(|_| PathBuf::from("/"));
        let (line, environment) = (read("cmdline"), read("environ"));
        let words = line.split(|byte| *byte == 0);
        let named = environment.split(|byte| *byte == 0).filter_map(|pair| pair.strip_prefix(b"WEIR_CONFIG="));
        let Ok(config) = config.canonicalize() else { return false };
        let is_it = |word: &[u8]| {
            let path = here.join(String::from_utf8_lossy(word).as_ref());
            path.canonicalize().is_ok_and(|path| path == config)
        };
        line.split(|byte| *byte == 0).any(|word| word == b"run") && words.chain(named).skip(1).any(is_it)
    }
}

impl std::fmt::Display for Owner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} (pid {})", self.name, self.pid)
    }
}

/// The processes that hold these sockets, by the sockets' inodes.
pub(crate) fn of(inodes: &HashSet<u64>) -> HashMap<u64, Owner> {
    let mut found = HashMap::new();
    let mut left = LOOKED_AT_MAX;
    if inodes.is_empty() {
        return found;
    }
    for process in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = process.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        let mut owner = None;
        for descriptor in fs::read_dir(process.path().join("fd")).into_iter().flatten().flatten() {
            left -= 1;
            if left == 0 {
                return found;
            }
            let inode = fs::read_link(descriptor.path()).ok().and_then(|link| inode_of(link.to_str()?));
            if let Some(inode) = inode.filter(|inode| inodes.contains(inode)) {
                let owner: &Owner = owner.get_or_insert_with(|| Owner::of(pid));
                found.entry(inode).or_insert_with(|| owner.clone());
            }
        }
        if found.len() == inodes.len() {
            break;
        }
    }
    found
}

/// A balancer that runs this configuration; seen by its command line, which is no secret.
pub(crate) fn running(config: &Path) -> Option<Owner> {
    let processes = fs::read_dir("/proc").ok()?.flatten();
    let mut numbers = processes.filter_map(|process| process.file_name().to_str()?.parse::<u32>().ok());
    numbers.find_map(|pid| {
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
        let owner = (name.trim() == "weir").then(|| Owner::of(pid))?;
        owner.runs(config).then_some(owner)
    })
}

fn inode_of(link: &str) -> Option<u64> {
    link.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_by_what_it_runs() {
        let ours = Owner::of(std::process::id());
        assert!(!ours.name.is_empty() && !ours.line.is_empty());
        assert!(!ours.runs(Path::new("/etc/passwd")));
        assert_eq!(inode_of("socket:[42]"), Some(42));
        assert_eq!(inode_of("pipe:[42]"), None);
    }
}
