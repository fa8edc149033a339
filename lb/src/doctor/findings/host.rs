//! Limits, certificates, the clock and the scheduler.

use std::time::Duration;

use super::{Area, Says, percent, shown};
use crate::doctor::facts::{Certificate, Clock, Facts, Host, Process};
use crate::doctor::report::Finding;

const LIMITS: Area = Area("limits");
const CERTIFICATES: Area = Area("certificates");
const CLOCK: Area = Area("clock");
const SCHEDULER: Area = Area("scheduler");

/// Fewer descriptors than this are too few for a proxy: two for each request under way.
const FILES_LEAST: u64 = 4096;
/// Shorter accept queues overflow in bursts; the kernel's own default has long been 4096.
const QUEUE_LEAST: u64 = 1024;
/// From so many per cent on a limit is near, and from so many as good as reached.
const NEAR: u64 = 80;
const REACHED: u64 = 95;
/// What a clock may be off without harm to certificates and logs.
const STEP_MIN: f64 = 0.5;
const STEP_BAD: f64 = 60.0;
/// A file may be written on another host, whose clock is a little ahead.
const AHEAD_MAX: Duration = Duration::from_secs(60);
/// When a control thread that is so late says less of endpoints than of itself.
const LAG_MAX: Duration = Duration::from_millis(500);
/// Of the time of the look: when a thread waits so long for a processor, or never rests.
const WAITED: f64 = 0.3;
const BUSY: f64 = 0.95;
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

pub(super) fn judge(facts: &Facts) -> Vec<Finding> {
    let mut found = limits(&facts.host);
    found.extend(facts.certificates.iter().filter_map(certificate));
    found.extend(clock(&facts.clock));
    found.extend(facts.process.iter().flat_map(scheduler));
    found
}

fn limits(host: &Host) -> Vec<Finding> {
    let mut found = Vec::new();
    found.extend(files(host));
    if let Some((open, most)) = host.all_files.filter(|(open, most)| percent(*open, *most) >= NEAR) {
        found.push(LIMITS.bad(
            "host_files_used_up",
            Says {
                cause: format!("this host has opened {open} of {most} files"),
                evidence: "`/proc/sys/fs/file-nr`".into(),
                effect: "beyond it nobody on this host opens a file or a connection".into(),
                fix: "find who holds them (`lsof -n | awk '{print $1, $2}' | sort | uniq -c | sort -n`), or `sysctl -w fs.file-max=...`".into(),
            },
        ));
    }
    if let Some(most) = host.somaxconn.filter(|most| *most < QUEUE_LEAST) {
        found.push(LIMITS.warning(
            "somaxconn_low",
            Says {
                cause: format!("accept queues of this host end at {most} connections"),
                evidence: format!("`net.core.somaxconn` is {most}"),
                effect: "in a burst new connections are thrown away, and clients try again after 1 s".into(),
                fix: "`sysctl -w net.core.somaxconn=4096`, and start weir again".into(),
            },
        ));
    }
    if let (Some(0), Some(most)) = (host.syncookies, host.syn_backlog.filter(|most| *most < QUEUE_LEAST)) {
        found.push(LIMITS.warning(
            "syn_backlog_low",
            Says {
                cause: format!("only {most} connections may be half open, and SYN cookies are off"),
                evidence: format!("`net.ipv4.tcp_max_syn_backlog` is {most}, `net.ipv4.tcp_syncookies` is 0"),
                effect: "a burst, or a flood of SYNs, keeps clients out".into(),
                fix: "`sysctl -w net.ipv4.tcp_syncookies=1 net.ipv4.tcp_max_syn_backlog=4096`".into(),
            },
        ));
    }
    if let Some((count, most)) = host.conntrack.filter(|(count, most)| percent(*count, *most) >= NEAR) {
        let says = Says {
            cause: format!("the packet filter follows {count} connections, of {most} that it can"),
            evidence: "`net.netfilter.nf_conntrack_count` and `nf_conntrack_max`".into(),
            effect: "beyond it packets of new connections are dropped: dials and clients time out".into(),
            fix: format!(
                "`sysctl -w net.netfilter.nf_conntrack_max={}`, or no tracking for this traffic (`notrack`)",
                most.saturating_mul(2)
            ),
        };
        let reached = percent(count, most) >= REACHED;
        found.push(if reached { LIMITS.bad("conntrack_full", says) } else { LIMITS.warning("conntrack_near", says) });
    }
    found
}

fn files(host: &Host) -> Option<Finding> {
    let files = host.files?;
    let fix = "`LimitNOFILE=1048576` in its unit, `--ulimit nofile=1048576` of its container, or `ulimit -Hn`; \
               then start weir again"
        .to_owned();
    let limit = files.limit;
    let used = files.open.map_or(0, |open| percent(open, limit));
    if let Some(open) = files.open.filter(|_| used >= NEAR) {
        let says = Says {
            cause: format!("weir has {open} files open, of {limit} that it may"),
            evidence: format!("`/proc/PID/fd` against `Max open files`: {used} %"),
            effect: "clients are turned away and no connection to an endpoint is opened (`connect_local`)".into(),
            fix,
        };
        return Some(if used >= REACHED {
            LIMITS.bad("files_used_up", says)
        } else {
            LIMITS.warning("files_near", says)
        });
    }
    (limit < FILES_LEAST).then(|| {
        LIMITS.warning(
            "files_low",
            Says {
                cause: format!("weir may open only {limit} files"),
                evidence: format!("the limit on open files is {limit}"),
                effect: format!("room for about {} requests at once: each takes two", limit / 2),
                fix,
            },
        )
    })
}

fn certificate(of: &Certificate) -> Option<Finding> {
    let Certificate { whose, file, from, until, now } = of;
    let left = until.duration_since(*now).ok();
    let says = |cause: String, effect: &str| Says {
        cause,
        evidence: format!("`openssl x509 -noout -dates -in {file}`"),
        effect: effect.into(),
        fix: format!("put a new one in the place of `{file}`: it is taken without a restart"),
    };
    match left {
        None => {
            let ago = shown(now.duration_since(*until).unwrap_or_default());
            let cause = format!("the certificate {file} of {whose} expired {ago} ago");
            Some(CERTIFICATES.bad("certificate_expired", says(cause, "clients refuse the connection")))
        }
        Some(_) if from > now => {
            let wait = shown(from.duration_since(*now).unwrap_or_default());
            let cause =
                format!("the certificate {file} of {whose} is valid only in {wait}; is this host's clock right?");
            Some(CERTIFICATES.bad("certificate_not_yet_valid", says(cause, "clients refuse the connection")))
        }
        Some(left) if left < DAY * 14 => {
            let cause = format!("the certificate {file} of {whose} expires in {}", shown(left));
            let says = says(cause, "from then on clients refuse the connection");
            let code = "certificate_expiring";
            Some(if left < DAY * 3 { CERTIFICATES.bad(code, says) } else { CERTIFICATES.warning(code, says) })
        }
        Some(_) => None,
    }
}

fn clock(clock: &Clock) -> Vec<Finding> {
    let mut found = Vec::new();
    if clock.step.abs() >= STEP_MIN {
        let way = if clock.step > 0.0 { "forward" } else { "back" };
        let by = shown(Duration::from_secs_f64(clock.step.abs()));
        let says = Says {
            cause: format!("the wall clock was set {way} by {by} since {}", clock.since),
            evidence: "it and the time since the boot have moved apart; small corrections move both".into(),
            effect: "certificates seem expired or not valid yet, logs and metrics stand at wrong times; \
                     weir's own timers go by another clock and are not touched"
                .into(),
            fix: "let it be corrected in small steps (chrony: `makestep 1 3`), and find who set it: `journalctl -t systemd-timesyncd -u chrony`, the hypervisor, `date`".into(),
        };
        found.push(if clock.step.abs() >= STEP_BAD {
            CLOCK.bad("clock_step", says)
        } else {
            CLOCK.warning("clock_step", says)
        });
    }
    if let Some(ahead) = clock.file_ahead.filter(|ahead| *ahead > AHEAD_MAX) {
        found.push(CLOCK.warning(
            "clock_behind",
            Says {
                cause: format!("this host's clock is behind: the configuration was changed {} from now", shown(ahead)),
                evidence: "the time at which the file was changed".into(),
                effect: "certificates may seem not valid yet; logs stand at wrong times".into(),
                fix: "`timedatectl` shows whether the clock is kept right; `chronyc makestep` sets it".into(),
            },
        ));
    }
    if let Some((keeper, Some(false))) = &clock.keeper {
        found.push(CLOCK.warning(
            "clock_not_synchronized",
            Says {
                cause: format!("{keeper} runs, but has not yet set the clock"),
                evidence: "`/run/systemd/timesync/synchronized` is not there".into(),
                effect: "the clock may be wrong: certificates, logs and metrics go by it".into(),
                fix: "`timedatectl timesync-status`; let UDP port 123 to its servers through".into(),
            },
        ));
    }
    found
}

fn scheduler(process: &Process) -> Vec<Finding> {
    let mut found = Vec::new();
    if let Some(lag) = process.control_lag.filter(|lag| *lag >= LAG_MAX) {
        found.push(SCHEDULER.warning(
            "control_late",
            Says {
                cause: format!("weir's control thread stood still for {}", shown(lag)),
                evidence: "`weir_control_loop_lag_seconds`: the worst of the last 10 to 20 seconds".into(),
                effect: "probes end late, and say nothing of their endpoints; health is judged later".into(),
                fix: "give it a processor (container: a larger CPU limit; `CPUWeight=` in its unit), or probe fewer endpoints at once".into(),
            },
        ));
    }
    let share =
        |part: Duration, whole: Duration| if whole.is_zero() { 0.0 } else { part.as_secs_f64() / whole.as_secs_f64() };
    let starved: Vec<String> = process
        .threads
        .iter()
        .filter(|thread| share(thread.waited, thread.over) >= WAITED)
        .map(|thread| format!("{} waited {} of {}", thread.name, shown(thread.waited), shown(thread.over)))
        .collect();
    if !starved.is_empty() {
        found.push(SCHEDULER.warning(
            "processor_short",
            Says {
                cause: "weir waits for a processor".into(),
                evidence: format!("{}: `/proc/PID/task/*/schedstat`", super::listed(&starved)),
                effect: "latency that no endpoint has; probes and timers run late".into(),
                fix: "fewer `workers`, or more processors: `uptime`, `cat /proc/pressure/cpu`, the container's CPU limit".into(),
            },
        ));
        return found;
    }
    let busy: Vec<&str> = process
        .threads
        .iter()
        .filter(|thread| share(thread.ran, thread.over) >= BUSY)
        .map(|thread| thread.name.as_str())
        .collect();
    if !busy.is_empty() {
        found.push(
            SCHEDULER.warning(
                "worker_busy",
                Says {
                    cause: format!("{} never rests", super::listed(&busy)),
                    evidence: "it worked all the time of this look: `/proc/PID/task/*/schedstat`".into(),
                    effect: "its clients wait for each other".into(),
                    fix: "more `workers` if there are processors; `/debug/pprof/profile?seconds=10` shows what it does"
                        .into(),
                },
            ),
        );
    }
    found
}
