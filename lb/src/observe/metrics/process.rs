//! The process itself: memory, CPU, descriptors, and the counts that belong to all of it.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::super::ProcessCounts;
use super::family::{Family, FamilyText};
use super::table::{self, Metric};

/// Clock ticks a second in `/proc`: USER_HZ, 100 on every Linux this builds for.
const TICKS: f64 = 100.0;

pub(super) struct ProcessCollector {
    counts: Arc<ProcessCounts>,
}

impl ProcessCollector {
    pub(super) const fn new(counts: Arc<ProcessCounts>) -> Self {
        Self { counts }
    }

    pub(super) fn collect(&self) -> Vec<FamilyText> {
        let mut build = Family::new(&table::BUILD_INFO);
        build.add(&[env!("CARGO_PKG_VERSION"), option_env!("WEIR_REVISION").unwrap_or("unknown")], 1.0);
        let mut families = vec![build.finish()];
        self.spans(&mut families);
        let mut put = |metric: &Metric, value: Option<f64>| {
            // What the system does not tell is left out, not shown as 0.
            if let Some(value) = value {
                let mut family = Family::new(metric);
                family.add(&[], value);
                families.push(family.finish());
            }
        };
        put(&table::PANICS, Some(self.counts.panics.load(Relaxed) as f64));
        put(&table::ACCESS_LOG_DROPPED, Some(self.counts.access_log_dropped.load(Relaxed) as f64));
        put(&table::OPEN_FDS, std::fs::read_dir("/proc/self/fd").ok().map(|fds| fds.count() as f64));
        put(&table::MAX_FDS, rustix::process::getrlimit(rustix::process::Resource::Nofile).current.map(|n| n as f64));
        let stat = std::fs::read_to_string("/proc/self/stat").ok().and_then(|text| Stat::parse(&text));
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        put(&table::RESIDENT, kib(&status, "VmRSS:"));
        put(&table::VIRTUAL, stat.as_ref().map(|stat| stat.virtual_bytes));
        put(&table::CPU, stat.as_ref().map(|stat| stat.cpu_seconds));
        put(&table::THREADS, stat.as_ref().map(|stat| stat.threads));
        let booted = std::fs::read_to_string("/proc/stat").ok().and_then(|text| boot_time(&text));
        put(&table::START_TIME, stat.zip(booted).map(|(stat, booted)| booted + stat.started_after_boot));
        families
    }
}

impl ProcessCollector {
    fn spans(&self, families: &mut Vec<FamilyText>) {
        let spans = &self.counts.spans;
        let mut exported = Family::new(&table::SPANS_EXPORTED);
        exported.count(&[], spans.sent());
        let mut waiting = Family::new(&table::SPANS_WAITING);
        waiting.count(&[], spans.waiting.load(Relaxed));
        let mut dropped = Family::new(&table::SPANS_DROPPED);
        spans.all_dropped().for_each(|(why, count)| dropped.count(&[why], count));
        let mut failures = Family::new(&table::EXPORT_FAILURES);
        spans.all_failures().for_each(|(why, count)| failures.count(&[why], count));
        families.extend([exported, dropped, waiting, failures].map(Family::finish));
    }
}

/// What we read of `/proc/self/stat`; see proc(5).
struct Stat {
    cpu_seconds: f64,
    threads: f64,
    started_after_boot: f64,
    virtual_bytes: f64,
}

impl Stat {
    fn parse(text: &str) -> Option<Self> {
        // The second field is the command in brackets and may hold anything, brackets too.
        let (_, rest) = text.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        // `state` is field 3 of the manual and the first of the rest.
        let field = |number: usize| fields.get(number - 3)?.parse::<f64>().ok();
        Some(Self {
            cpu_seconds: (field(14)? + field(15)?) / TICKS,
            threads: field(20)?,
            started_after_boot: field(22)? / TICKS,
            virtual_bytes: field(23)?,
        })
    }
}

fn kib(status: &str, name: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<f64>().ok()? * 1024.0)
}

fn boot_time(stat: &str) -> Option<f64> {
    stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_stat_even_with_a_strange_command_name() {
        let text = "42 (a) b) S 1 42 42 0 -1 4194560 1 0 0 0 150 50 0 0 20 0 7 0 1000 4096 1 18446744073709551615";
        let stat = Stat::parse(text).unwrap();
        assert_eq!((stat.cpu_seconds, stat.threads), (2.0, 7.0));
        assert_eq!((stat.started_after_boot, stat.virtual_bytes), (10.0, 4096.0));
        assert!(Stat::parse("42 (a").is_none());
        assert!(Stat::parse("42 (a) S 1").is_none());
    }

    #[test]
    fn reads_memory_and_boot_time() {
        assert_eq!(kib("VmSize:\t 9 kB\nVmRSS:\t   12 kB\n", "VmRSS:"), Some(12.0 * 1024.0));
        assert_eq!(kib("VmRSS: many", "VmRSS:"), None);
        assert_eq!(boot_time("cpu 1 2\nbtime 1700000000\n"), Some(1_700_000_000.0));
    }
}
