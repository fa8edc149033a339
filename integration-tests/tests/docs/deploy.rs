//! Each file of `deploy/` is read by the tool it is for.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Output};

use weir_integration_tests::weir::binary;

use crate::configs::check;
use crate::{read, root, tree};

fn run(tool: &str, arguments: &[&str], directory: &Path) -> Output {
    Command::new(tool)
        .args(arguments)
        .current_dir(directory)
        .output()
        .unwrap_or_else(|error| panic!("cannot start {tool} ({error}); `make test` installs it"))
}

#[test]
fn every_file_is_known_here() {
    let files: Vec<String> = tree::files("deploy").iter().map(|path| path.display().to_string()).collect();
    assert_eq!(
        files,
        [
            "deploy/Dockerfile",
            "deploy/Dockerfile.dockerignore",
            "deploy/kubernetes/weir.yaml",
            "deploy/prometheus/prometheus.yml",
            "deploy/prometheus/weir.rules.yml",
            "deploy/prometheus/weir.test.yml",
            "deploy/sysctl/90-weir.conf",
            "deploy/systemd/weir.service",
        ],
        "a new file needs a test that reads it"
    );
}

#[test]
fn prometheus_takes_the_scrape_and_the_rules() {
    let directory = root().join("deploy/prometheus");
    for arguments in [
        &["check", "config", "prometheus.yml"],
        &["check", "rules", "weir.rules.yml"],
        &["test", "rules", "weir.test.yml"],
    ] {
        let output = run("promtool", arguments, &directory);
        let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "promtool {arguments:?}: {said}");
    }
}

/// The words of `text` that are names of metrics: `weir_…` and `process_…`.
fn metrics_in(text: &str) -> BTreeSet<&str> {
    text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
        .filter(|word| word.starts_with("weir_") || word.starts_with("process_"))
        .collect()
}

#[test]
fn every_metric_that_is_named_exists() {
    let known: BTreeSet<&str> = weir::observe::metrics::table::ALL.iter().map(|metric| metric.name).collect();
    let mut files = tree::files("deploy/prometheus");
    files.extend(tree::files("docs"));
    for path in files {
        let text = read(&path);
        for name in metrics_in(&text) {
            let base = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix));
            // Names of crates and files look alike.
            let ours = ["weir_config", "weir_core"].contains(&name);
            assert!(
                ours || known.contains(name) || base.is_some_and(|base| known.contains(base)),
                "{}: there is no metric {name}",
                path.display()
            );
        }
    }
}

#[test]
fn systemd_understands_every_line_of_the_unit() {
    if !Path::new("/usr/bin/systemd-analyze").exists() {
        eprintln!("skipped: systemd-analyze is not installed here");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let unit = directory.path().join("weir.service");
    // Commands must exist; the rest stands as it is.
    let text = read("deploy/systemd/weir.service").replace("/usr/local/bin/weir", &binary().display().to_string());
    std::fs::write(&unit, text).unwrap();
    let unit = unit.display().to_string();
    // Its exit code says nothing of unknown keys; what it prints does.
    let output = run("systemd-analyze", &["verify", &unit], directory.path());
    let said = String::from_utf8_lossy(&output.stderr);
    let ours: Vec<&str> = said.lines().filter(|line| line.contains("weir.service")).collect();
    assert!(ours.is_empty(), "{ours:#?}");
    let arguments = ["security", "--offline=yes", "--threshold=20", "--no-pager", &unit];
    let output = run("systemd-analyze", &arguments, directory.path());
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "exposed by more than 2.0: {}", said.lines().last().unwrap_or_default());
}

#[test]
fn the_kernel_knows_every_setting() {
    for line in read("deploy/sysctl/90-weir.conf").lines() {
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

/// The documents of the manifest, and their `kind`s.
fn manifests(text: &str) -> Vec<(&str, &str)> {
    let kind = |document| str::lines(document).find_map(|line| line.strip_prefix("kind: ")).unwrap_or_default();
    text.split("\n---\n").map(|document| (kind(document), document)).collect()
}

#[test]
fn the_kubernetes_manifest_fits_together() {
    let text = read("deploy/kubernetes/weir.yaml");
    let manifests = manifests(&text);
    let kinds: Vec<&str> = manifests.iter().map(|(kind, _)| *kind).collect();
    assert_eq!(kinds, ["ConfigMap", "Deployment", "Service"]);
    let deployment = manifests[1].1;

    let (_, block) = manifests[0].1.split_once("  weir.yaml: |\n").expect("the ConfigMap holds weir.yaml");
    let config: String = block.lines().map(|line| format!("{}\n", line.strip_prefix("    ").unwrap_or(line))).collect();
    assert!(deployment.contains("mountPath: /etc/weir-tokens"));
    let (verdict, good) =
        check(&config.replace("/etc/weir-tokens/admin", "admin.token").replace("/etc/weir-tokens/read", "read.token"));
    assert!(good, "{verdict:#}");
    let token = |name: &str| Ok(format!("a-token-of-its-own-for-{name}").into_bytes());
    let source = weir_config::Source { name: "weir.yaml", env: &|_| None, files: &token };
    let config = weir_config::parse(&config, &source).unwrap().config;

    // What the kubelet asks, and when it kills.
    let admin = config.admin.expect("probes need the admin address").bind[0].ip().unwrap();
    assert!(admin.ip().is_unspecified() && deployment.contains(&format!("containerPort: {}", admin.port())));
    let web = config.listeners[0].bind[0].ip().unwrap().port();
    assert!(deployment.contains(&format!("containerPort: {web}")));
    let grace = deployment
        .lines()
        .find_map(|line| line.trim().strip_prefix("terminationGracePeriodSeconds: "))
        .and_then(|seconds| seconds.parse::<u64>().ok())
        .expect("a grace period");
    let drain = config.shutdown.delay + config.shutdown.timeout;
    assert!(grace > drain.as_secs(), "killed after {grace} s, but a drain takes {drain:?}");
    assert!(!config.shutdown.delay.is_zero(), "Services go on sending for a while");
    for path in ["/readyz", "/livez"] {
        assert!(deployment.contains(&format!("path: {path}")));
    }
    let settings = |line: &&str| !line.trim_start().starts_with('#');
    assert!(
        !deployment.lines().filter(settings).any(|line| line.contains("subPath")),
        "files mounted by subPath are never updated"
    );
}

#[test]
fn the_unit_waits_for_the_drain() {
    let unit = read("deploy/systemd/weir.service");
    let seconds = unit.lines().find_map(|line| line.strip_prefix("TimeoutStopSec=")).unwrap().parse::<u64>().unwrap();
    let shutdown = weir_config::parse_str(
        "listeners: [{name: a, bind: '127.0.0.1:1', cluster: b}]\nclusters: [{name: b, endpoints: ['127.0.0.1:2']}]",
    )
    .unwrap()
    .config
    .shutdown;
    assert!(seconds > (shutdown.delay + shutdown.timeout).as_secs());
}

#[test]
fn the_image_is_built_from_what_is_there_and_runs_as_nobody() {
    let text = read("deploy/Dockerfile");
    let lines: Vec<&str> =
        text.lines().filter(|line| !line.trim_start().starts_with('#') && !line.is_empty()).collect();
    let of = |instruction: &str| -> Vec<&str> {
        lines.iter().filter_map(|line| line.strip_prefix(instruction)).map(str::trim).collect()
    };
    let known =
        ["FROM", "WORKDIR", "COPY", "RUN", "USER", "ENV", "STOPSIGNAL", "EXPOSE", "HEALTHCHECK", "ENTRYPOINT", "CMD"];
    for line in &lines {
        let instruction = line.split_whitespace().next().unwrap_or_default();
        assert!(known.contains(&instruction), "{line}");
    }
    let rust = read("Cargo.toml");
    let rust = rust.lines().find_map(|line| line.strip_prefix("rust-version = ")).unwrap().trim_matches('"');
    assert!(of("FROM")[0].starts_with(&format!("rust:{rust}")), "built with another Rust than {rust}");
    assert!(of("FROM").iter().all(|image| image.contains(':') && !image.contains("latest")));
    let user: u32 = of("USER").last().and_then(|user| user.split(':').next()?.parse().ok()).expect("a user by number");
    assert_ne!(user, 0);
    for copied in
        of("COPY").iter().flat_map(|copy| copy.split_whitespace()).filter_map(|word| word.strip_prefix("/src/"))
    {
        assert!(copied.starts_with("target/") || root().join(copied).exists(), "{copied} is not there");
    }
    // What the image runs, the binary takes.
    for command in [of("HEALTHCHECK")[0].split_once("CMD ").unwrap().1, of("CMD")[0]] {
        let words: Vec<String> = serde_json::from_str(command).unwrap();
        let verb = words.iter().find(|word| !word.starts_with('/')).unwrap();
        let output = run(&binary().display().to_string(), &[verb, "--help"], &root());
        assert!(output.status.success(), "there is no verb {verb}");
    }
}
