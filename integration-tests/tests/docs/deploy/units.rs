//! What systemd, the kernel and dpkg's neighbours read: units, users, directories, settings.

use std::path::Path;
use std::time::Duration;

use weir_integration_tests::weir::binary;

use super::{assert_command_exists, run, succeeds};
use crate::{read, root};

const UNITS: [&str; 3] = ["systemd/weir.service", "systemd/weir.socket", "bird/weir-announce.service"];

/// The values of a key of a unit.
fn values<'t>(unit: &'t str, key: &str) -> Vec<&'t str> {
    unit.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('=')).collect()
}

fn seconds(unit: &str, key: &str) -> Duration {
    let values = values(unit, key);
    Duration::from_secs(
        values.first().and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("{key}: {values:?}")),
    )
}

#[test]
fn systemd_understands_every_line_of_the_units() {
    let directory = tempfile::tempdir().unwrap();
    let mut units = Vec::new();
    for path in UNITS {
        // Commands must exist; the rest stands as it is.
        let text = read(Path::new("deploy").join(path))
            .replace("/usr/bin/weir", &binary().display().to_string())
            .replace("/usr/lib/weir/weir-announce", &root().join("deploy/bird/weir-announce").display().to_string());
        let unit = directory.path().join(Path::new(path).file_name().unwrap());
        std::fs::write(&unit, text).unwrap();
        units.push(unit.display().to_string());
    }
    let all: Vec<&str> = ["verify"].into_iter().chain(units.iter().map(String::as_str)).collect();
    // Its exit code says nothing of unknown keys; what it prints does. Manuals are not installed.
    let output = run("systemd-analyze", &all, directory.path());
    let said = String::from_utf8_lossy(&output.stderr);
    let ours: Vec<&str> = said.lines().filter(|line| line.contains("weir") && !line.contains("Command 'man")).collect();
    assert!(ours.is_empty(), "{ours:#?}");
    for unit in units.iter().filter(|unit| unit.ends_with(".service")) {
        let arguments = ["security", "--offline=yes", "--threshold=20", "--no-pager", unit];
        let output = run("systemd-analyze", &arguments, directory.path());
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "exposed by more than 2.0: {}", said.lines().last().unwrap_or_default());
    }
}

#[test]
fn the_unit_fits_the_binary_and_its_defaults() {
    let unit = read("deploy/systemd/weir.service");
    for key in ["ExecStart", "ExecReload"] {
        for command in values(&unit, key) {
            assert_command_exists(&command.split_whitespace().collect::<Vec<_>>());
        }
    }
    let shutdown = weir_config::parse_str(
        "listeners: [{name: a, bind: '127.0.0.1:1', cluster: b}]\nclusters: [{name: b, endpoints: ['127.0.0.1:2']}]",
    )
    .unwrap()
    .config
    .shutdown;
    assert!(seconds(&unit, "TimeoutStopSec") > shutdown.delay + shutdown.timeout, "killed while it drains");
    // It tells systemd three things: that it is ready, that it lives, and (an upgrade) who it is now.
    assert_eq!(values(&unit, "Type"), ["notify"]);
    assert_eq!(values(&unit, "NotifyAccess"), ["main"]);
    assert!(seconds(&unit, "WatchdogSec") >= Duration::from_secs(5), "a busy machine is no dead one");
    // Threads are pinned and limits raised by calls of @resources.
    assert!(!values(&unit, "SystemCallFilter").iter().any(|set| set.starts_with('~') && set.contains("@resources")));
    // What it may write must not be read-only: each directory is one of systemd's.
    for (key, path) in
        [("StateDirectory", "/var/lib/weir"), ("LogsDirectory", "/var/log/weir"), ("RuntimeDirectory", "/run/weir")]
    {
        assert_eq!(values(&unit, key), [path.rsplit('/').next().unwrap()]);
        assert!(unit.contains(path), "the unit does not say what {path} is for");
    }
}

#[test]
fn users_and_directories_are_made() {
    let system = tempfile::tempdir().unwrap();
    let at = |path: &str| system.path().join(path);
    let rooted = format!("--root={}", system.path().display());
    std::fs::create_dir_all(at("etc")).unwrap();
    for (kind, tool, more) in
        [("sysusers", "systemd-sysusers", None), ("tmpfiles", "systemd-tmpfiles", Some("--create"))]
    {
        let folder = at(&format!("usr/lib/{kind}.d"));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::copy(root().join(format!("deploy/{kind}/weir.conf")), folder.join("weir.conf")).unwrap();
        let arguments: Vec<&str> = more.into_iter().chain([rooted.as_str(), "weir.conf"]).collect();
        let said = succeeds(tool, &arguments, system.path());
        assert!(!said.contains("Unknown") && !said.contains("Failed"), "{tool}: {said}");
    }
    let users = std::fs::read_to_string(at("etc/passwd")).unwrap();
    let user = users.lines().find(|line| line.starts_with("weir:")).unwrap_or_else(|| panic!("{users}"));
    assert!(user.contains("/var/lib/weir") && user.ends_with("nologin"), "{user}");
    assert!(at("etc/weir/certs").is_dir());
}

#[test]
fn the_kernel_knows_every_setting() {
    for file in ["deploy/sysctl/90-weir.conf", "deploy/sysctl/91-weir-address.conf"] {
        for line in read(file).lines() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (key, value) = line.split_once('=').unwrap_or_else(|| panic!("{line:?} sets nothing"));
            let path = format!("/proc/sys/{}", key.trim().replace('.', "/"));
            let now = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
            let fields = |text: &str| text.split_whitespace().count();
            assert_eq!(fields(value), fields(&now), "{key} takes {now:?}");
            assert!(value.split_whitespace().all(|number| number.parse::<u64>().is_ok()), "{line}");
        }
    }
}
