//! Each file of `deploy/` is read by the tool it is for.

mod image;
mod kubernetes;
mod package;
mod units;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Output};

use weir_integration_tests::weir::binary;

use crate::{read, root, tree};

fn run(tool: &str, arguments: &[&str], directory: &Path) -> Output {
    Command::new(tool)
        .args(arguments)
        .current_dir(directory)
        .output()
        .unwrap_or_else(|error| panic!("cannot start {tool} ({error}); `make test` installs it"))
}

/// The same, of a program that must not fail; what it printed, errors last.
fn succeeds(tool: &str, arguments: &[&str], directory: &Path) -> String {
    let output = run(tool, arguments, directory);
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{tool} {arguments:?} ended with {}: {said}", output.status);
    said.into_owned()
}

/// A program that no Debian package has: `make test-packages` puts it into `target/tools`.
pub(crate) fn extra(tool: &str) -> String {
    let path = root().join("target/tools/bin").join(tool);
    assert!(path.exists(), "{} is not there: `make test-packages` installs it", path.display());
    path.display().to_string()
}

/// Holds a command line of ours (`/usr/bin/weir run FILE --state-dir DIR`) against what the binary
/// takes: its verb, and each option.
pub(crate) fn assert_command_exists(words: &[&str]) {
    let verb = words.get(1).unwrap_or_else(|| panic!("{words:?} has no verb"));
    let output = run(&binary().display().to_string(), &[verb, "--help"], &root());
    assert!(output.status.success(), "{words:?}: there is no verb {verb}");
    let help = String::from_utf8_lossy(&output.stdout).into_owned();
    for option in words.iter().filter(|word| word.starts_with("--") && word.len() > 2) {
        let name = option.split('=').next().unwrap_or(option);
        let known = help.split(|c: char| c.is_whitespace() || ",[]".contains(c)).any(|word| word == name);
        assert!(known, "{words:?}: {verb} takes no {name}");
    }
}

#[test]
fn every_file_is_known_here() {
    let files: Vec<String> = tree::files("deploy").iter().map(|path| path.display().to_string()).collect();
    assert_eq!(
        files,
        [
            "deploy/Dockerfile",
            "deploy/Dockerfile.dockerignore",
            "deploy/alertmanager/alertmanager.yml",
            "deploy/bird/bird.conf",
            "deploy/bird/router.conf",
            "deploy/bird/weir-announce",
            "deploy/bird/weir-announce.service",
            "deploy/debian/default",
            "deploy/debian/pages",
            "deploy/debian/postinst",
            "deploy/debian/postrm",
            "deploy/debian/prerm",
            "deploy/debian/weir.yaml",
            "deploy/grafana/provisioning/dashboards/weir.yaml",
            "deploy/grafana/provisioning/datasources/prometheus.yaml",
            "deploy/grafana/source/cluster.yaml",
            "deploy/grafana/source/instance.yaml",
            "deploy/grafana/source/overview.yaml",
            "deploy/grafana/source/release.yaml",
            "deploy/grafana/weir-cluster.json",
            "deploy/grafana/weir-instance.json",
            "deploy/grafana/weir-overview.json",
            "deploy/grafana/weir-release.json",
            "deploy/helm/weir/Chart.yaml",
            "deploy/helm/weir/templates/NOTES.txt",
            "deploy/helm/weir/templates/_helpers.tpl",
            "deploy/helm/weir/templates/configmap.yaml",
            "deploy/helm/weir/templates/deployment.yaml",
            "deploy/helm/weir/templates/horizontalpodautoscaler.yaml",
            "deploy/helm/weir/templates/networkpolicy.yaml",
            "deploy/helm/weir/templates/poddisruptionbudget.yaml",
            "deploy/helm/weir/templates/secret.yaml",
            "deploy/helm/weir/templates/service.yaml",
            "deploy/helm/weir/templates/serviceaccount.yaml",
            "deploy/helm/weir/templates/tests/ready.yaml",
            "deploy/helm/weir/values.schema.json",
            "deploy/helm/weir/values.yaml",
            "deploy/keepalived/keepalived.conf",
            "deploy/kubernetes/base/deployment.yaml",
            "deploy/kubernetes/base/kustomization.yaml",
            "deploy/kubernetes/base/networkpolicy.yaml",
            "deploy/kubernetes/base/poddisruptionbudget.yaml",
            "deploy/kubernetes/base/service.yaml",
            "deploy/kubernetes/base/serviceaccount.yaml",
            "deploy/kubernetes/base/weir.yaml",
            "deploy/kubernetes/overlays/production/kustomization.yaml",
            "deploy/kubernetes/overlays/production/namespace.yaml",
            "deploy/kubernetes/overlays/production/service.yaml",
            "deploy/kubernetes/overlays/production/weir.yaml",
            "deploy/prometheus/prometheus.yml",
            "deploy/prometheus/weir.rules.yml",
            "deploy/prometheus/weir.slo.rules.yml",
            "deploy/prometheus/weir.slo.test.yml",
            "deploy/prometheus/weir.test.yml",
            "deploy/sysctl/90-weir.conf",
            "deploy/sysctl/91-weir-address.conf",
            "deploy/systemd/weir.service",
            "deploy/systemd/weir.socket",
            "deploy/sysusers/weir.conf",
            "deploy/tmpfiles/weir.conf",
        ],
        "a new file needs a test that reads it"
    );
}

/// The words of `text` that are names of metrics: `weir_…` and `process_…`. With a colon inside they
/// are recorded by a rule, or paths of code.
fn metrics_in(text: &str) -> BTreeSet<&str> {
    text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':'))
        .map(|word| word.trim_end_matches(':'))
        .filter(|word| !word.contains(':'))
        .filter(|word| word.starts_with("weir_") || word.starts_with("process_"))
        .collect()
}

#[test]
fn every_metric_that_is_named_exists() {
    let known: BTreeSet<&str> = weir::observe::metrics::table::ALL.iter().map(|metric| metric.name).collect();
    let mut files = tree::files("deploy/prometheus");
    files.extend(tree::files("deploy/grafana/source"));
    files.extend(tree::files("docs"));
    for path in files.into_iter().filter(|path| path.extension().is_none_or(|extension| extension != "png")) {
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
