//! Each ```sh block: what is done on hosts that are not here, and so cannot be run. What can be
//! known of it is: programs are ones that a page may use, our own verbs and options exist, and so do
//! the files of this repository that are named.

use std::path::Path;

use crate::deploy::assert_command_exists;
use crate::markdown::{Block, blocks};
use crate::{pages, root};

/// Programs of others that a page may use.
const PROGRAMS: [&str; 30] = [
    "apt",
    "birdc",
    "cargo",
    "cd",
    "cp",
    "curl",
    "docker",
    "head",
    "helm",
    "install",
    "ip",
    "journalctl",
    "kubectl",
    "make",
    "mkdir",
    "mv",
    "openssl",
    "ss",
    "sysctl",
    "systemctl",
    "systemd-sysusers",
    "systemd-tmpfiles",
    "amtool",
    "promtool",
    "export",
    "kill",
    "cat",
    "base64",
    "npm",
    "sudo",
];

fn hold(block: &Block, line: &str) {
    let words: Vec<&str> = line.split_whitespace().take_while(|word| !word.starts_with(['>', '|', '#'])).collect();
    let Some((program, _)) = words.split_first() else { return };
    // Also behind `kubectl exec … --` and `docker exec NAME`, where a name may be ours too.
    let ours = words.iter().rposition(|word| ["weir", "/weir", "/usr/bin/weir"].contains(word));
    match (*program, ours) {
        ("weir", _) => assert_command_exists(&words),
        ("kubectl" | "docker", Some(at)) if words[1..at].contains(&"exec") || words[1..at].contains(&"--") => {
            assert_command_exists(&words[at..]);
        }
        ("make", _) => {
            let makefile = crate::read("Makefile");
            let known = |target: &str| makefile.lines().any(|line| line.starts_with(&format!("{target}:")));
            assert!(words[1..].iter().all(|target| known(target)), "{}: {line}", block.place());
        }
        (program, _) => assert!(PROGRAMS.contains(&program), "{}: what is {program}?", block.place()),
    }
    for word in words.iter().filter(|word| ["deploy/", "config/", "docs/"].iter().any(|room| word.starts_with(room))) {
        // `deploy/weir` is also how kubectl names a Deployment.
        let kubernetes = line.contains("kubectl") && !word.starts_with("deploy/kubernetes");
        assert!(kubernetes || root().join(word).exists(), "{}: there is no {word}", block.place());
    }
}

#[test]
fn commands_for_other_hosts_name_what_there_is() {
    let mut seen = 0;
    for block in pages().iter().flat_map(|page: &std::path::PathBuf| blocks(Path::new(page))) {
        if block.language() != "sh" {
            continue;
        }
        for line in block.text.replace("\\\n", " ").lines() {
            hold(&block, line);
            seen += 1;
        }
    }
    assert!(seen >= 40, "only {seen} commands: are they still found?");
}
