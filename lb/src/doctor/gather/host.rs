//! What this host allows: descriptors, queues, ports, the packet filter's table; and who keeps its
//! clock right.

use std::fs;
use std::path::Path;

use crate::doctor::facts::{Files, Host};
use crate::process::limits;

/// Looks at the limits that hold for process `pid`, or would for one that we start.
pub(super) fn look(pid: Option<u32>, ourselves: bool) -> Host {
    let number = |path: &str| fs::read_to_string(path).ok().and_then(|text| text.trim().parse().ok());
    let pair = |count: &str, most: &str| number(count).zip(number(most));
    let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok();
    let reserved = fs::read_to_string("/proc/sys/net/ipv4/ip_local_reserved_ports").unwrap_or_default();
    Host {
        files: files(pid, ourselves),
        all_files: fs::read_to_string("/proc/sys/fs/file-nr").ok().and_then(|text| all_files(&text)),
        somaxconn: number("/proc/sys/net/core/somaxconn"),
        syn_backlog: number("/proc/sys/net/ipv4/tcp_max_syn_backlog"),
        syncookies: number("/proc/sys/net/ipv4/tcp_syncookies"),
        local_ports: range.and_then(|range| local_ports(&range, &reserved)),
        conntrack: pair("/proc/sys/net/netfilter/nf_conntrack_count", "/proc/sys/net/netfilter/nf_conntrack_max"),
    }
}

fn files(pid: Option<u32>, ourselves: bool) -> Option<Files> {
    let Some(pid) = pid else { return Some(Files { open: None, limit: limits::most_open_files() }) };
    let open = fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count() as u64;
    let limit = if ourselves {
        limits::open_files()
    } else {
        soft_limit(&fs::read_to_string(format!("/proc/{pid}/limits")).ok()?)?
    };
    Some(Files { open: Some(open), limit })
}

/// Of `/proc/PID/limits`.
fn soft_limit(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    match line.split_ascii_whitespace().next()? {
        "unlimited" => Some(u64::MAX),
        number => number.parse().ok(),
    }
}

/// Open, free, the most.
fn all_files(text: &str) -> Option<(u64, u64)> {
    let mut columns = text.split_ascii_whitespace().map(str::parse);
    Some((columns.next()?.ok()?, columns.nth(1)?.ok()?))
}

/// The first and the last, and how many between them are set aside.
fn local_ports(range: &str, reserved: &str) -> Option<(u16, u16, u64)> {
    let mut ends = range.split_ascii_whitespace().map(str::parse);
    let (first, last): (u16, u16) = (ends.next()?.ok()?, ends.next()?.ok()?);
    let parts = reserved.trim().split(',').filter_map(|part| {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        let (from, to): (u16, u16) = (from.parse().ok()?, to.parse().ok()?);
        let (from, to) = (from.max(first), to.min(last));
        (from <= to).then(|| u64::from(to - from) + 1)
    });
    Some((first, last, parts.sum()))
}

/// Who keeps the clock right; and, of the one that tells, whether it has set it since the boot.
/// The kernel knows too, but only tells by a call that has no safe form here.
pub(super) fn clock_keeper() -> Option<(String, Option<bool>)> {
    const KEEPERS: [&str; 6] = ["chronyd", "ntpd", "openntpd", "ntp-daemon", "phc2sys", "systemd-timesyn"];
    let processes = fs::read_dir("/proc").ok()?.flatten();
    let name = processes
        .filter(|process| {
            process.file_name().to_str().is_some_and(|name| name.starts_with(|c: char| c.is_ascii_digit()))
        })
        .filter_map(|process| fs::read_to_string(process.path().join("comm")).ok())
        .find(|name| KEEPERS.contains(&name.trim()))?;
    let name = name.trim();
    if name == "systemd-timesyn" {
        let done = Path::new("/run/systemd/timesync/synchronized").exists();
        return Some(("systemd-timesyncd".into(), Some(done)));
    }
    Some((name.to_owned(), None))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_own_words() {
        assert_eq!(all_files("3520\t0\t9223372036854775807\n"), Some((3520, 9_223_372_036_854_775_807)));
        assert_eq!(local_ports("32768\t60999\n", "\n"), Some((32_768, 60_999, 0)));
        assert_eq!(local_ports("1000 1999", "8080,900-1009,1999"), Some((1000, 1999, 11)));
        assert_eq!(local_ports("x", ""), None);
        let limits = "Limit   Soft Limit  Hard Limit  Units\nMax open files            1024                 524288               files     \n";
        assert_eq!(soft_limit(limits), Some(1024));
        assert_eq!(soft_limit("Max open files  unlimited unlimited files"), Some(u64::MAX));
    }

    #[test]
    fn this_host_tells() {
        let host = look(Some(std::process::id()), true);
        assert!(host.files.unwrap().open.unwrap() > 0);
        assert!(host.local_ports.is_some() && host.somaxconn.is_some());
        assert!(look(None, false).files.unwrap().open.is_none());
    }
}
