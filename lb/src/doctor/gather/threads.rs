//! How long the balancer's threads worked, and how long they waited for a processor.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use tokio::time::Instant;

use crate::doctor::facts::Thread;

/// Threads looked at.
const THREADS_MAX: usize = 256;

/// What the scheduler has counted so far.
#[derive(Debug)]
pub(super) struct Sample {
    at: Instant,
    /// By number: name, time worked, time waited.
    threads: BTreeMap<u32, (String, Duration, Duration)>,
}

impl Sample {
    /// Of the threads of process `pid` that control or serve.
    pub(super) fn take(pid: Option<u32>) -> Self {
        let mut threads = BTreeMap::new();
        let tasks = pid.and_then(|pid| fs::read_dir(format!("/proc/{pid}/task")).ok());
        for task in tasks.into_iter().flatten().flatten().take(THREADS_MAX) {
            let number: Option<u32> = task.file_name().to_str().and_then(|name| name.parse().ok());
            let name = fs::read_to_string(task.path().join("comm")).unwrap_or_default().trim().to_owned();
            let ours = number == pid || name.starts_with("weir-worker");
            let counted = fs::read_to_string(task.path().join("schedstat")).ok().and_then(|text| counted(&text));
            if let (Some(number), Some((ran, waited)), true) = (number, counted, ours) {
                let name = if Some(number) == pid { "control".to_owned() } else { name };
                threads.insert(number, (name, ran, waited));
            }
        }
        Self { at: Instant::now(), threads }
    }
}

/// Time worked, time waited for a processor, turns; in nanoseconds.
fn counted(text: &str) -> Option<(Duration, Duration)> {
    let mut columns = text.split_ascii_whitespace().map(|column| column.parse().map(Duration::from_nanos));
    Some((columns.next()?.ok()?, columns.next()?.ok()?))
}

/// What was counted between two samples.
pub(super) fn between(before: &Sample, after: Sample) -> Vec<Thread> {
    let over = after.at.saturating_duration_since(before.at);
    let threads = after.threads.into_iter().filter_map(|(number, (name, ran, waited))| {
        let (_, ran_before, waited_before) = before.threads.get(&number)?;
        let (ran, waited) = (ran.saturating_sub(*ran_before), waited.saturating_sub(*waited_before));
        Some(Thread { name, ran, waited, over })
    });
    threads.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schedulers_counts() {
        assert_eq!(counted("1500 2500 7\n"), Some((Duration::from_nanos(1500), Duration::from_nanos(2500))));
        assert_eq!(counted(""), None);
        let pid = Some(std::process::id());
        let first = Sample::take(pid);
        assert_eq!(between(&first, Sample::take(pid))[0].name, "control");
        assert!(Sample::take(None).threads.is_empty());
    }
}
