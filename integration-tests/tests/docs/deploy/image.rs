//! The image: linted, and its last stage made by hand and run. There is no container engine here.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use weir_integration_tests::weir::binary;
use weir_integration_tests::{place, wait};

use super::{assert_command_exists, extra, succeeds};
use crate::{read, root};

/// The instructions of a Dockerfile, lines that go on joined: name and arguments.
fn instructions(text: &str) -> Vec<(String, String)> {
    let joined = text.lines().filter(|line| !line.trim_start().starts_with('#')).collect::<Vec<_>>().join("\n");
    let joined = joined.replace("\\\n", " ");
    let split = |line: &str| line.trim().split_once(' ').map(|(name, rest)| (name.to_owned(), rest.trim().to_owned()));
    joined.lines().filter_map(split).collect()
}

fn of<'t>(all: &'t [(String, String)], name: &str) -> Vec<&'t str> {
    all.iter().filter(|(known, _)| known == name).map(|(_, rest)| rest.as_str()).collect()
}

#[test]
fn the_image_is_built_from_what_is_there_and_runs_as_nobody() {
    succeeds(&extra("hadolint"), &["deploy/Dockerfile"], &root());
    let all = instructions(&read("deploy/Dockerfile"));
    let rust = read("Cargo.toml");
    let rust = rust.lines().find_map(|line| line.strip_prefix("rust-version = ")).unwrap().trim_matches('"');
    assert!(of(&all, "FROM")[0].starts_with(&format!("rust:{rust}")), "built with another Rust than {rust}");
    let user: u32 = of(&all, "USER").last().and_then(|user| user.split(':').next()?.parse().ok()).expect("a number");
    assert_ne!(user, 0);
    for copy in of(&all, "COPY").iter().filter(|copy| !copy.contains("--from=")) {
        let words: Vec<&str> = copy.split_whitespace().filter(|word| !word.starts_with("--")).collect();
        for from in &words[..words.len() - 1] {
            assert!(root().join(from).exists(), "{from} is not there");
        }
    }
    // What is left out of the build must not be part of it.
    let left_out = read("deploy/Dockerfile.dockerignore");
    for needed in ["lb", "config", "Cargo.lock", "LICENSE-MIT", "LICENSE-APACHE"] {
        assert!(!left_out.lines().any(|line| line.trim_end_matches('/') == needed), "{needed} is left out");
    }
}

/// The files that the last stage copies, from this build, below `image`; with the libraries that
/// distroless/cc has.
fn assemble(all: &[(String, String)], image: &Path) {
    let below = |path: &str| image.join(path.trim_start_matches('/'));
    for copy in of(all, "COPY").iter().filter(|copy| **copy != ". .") {
        let words: Vec<&str> = copy.split_whitespace().filter(|word| !word.starts_with("--")).collect();
        let (to, from) = words.split_last().unwrap();
        for from in from {
            match *from {
                "/out/weir" => _ = fs::copy(binary(), below(to)).unwrap(),
                "/out/state" => {
                    fs::create_dir_all(below(to)).unwrap();
                    let owner = copy.split("--chown=").nth(1).and_then(|rest| rest.split(':').next()?.parse().ok());
                    chown(below(to), owner, owner).unwrap();
                }
                from => {
                    fs::create_dir_all(below(to)).unwrap();
                    _ = fs::copy(root().join(from), below(to).join(from)).unwrap();
                }
            }
        }
    }
    let there =
        ["libc.so", "libm.so", "libgcc_s.so", "libstdc++.so", "ld-linux", "libpthread", "libdl", "librt", "linux-vdso"];
    for line in succeeds("ldd", &[binary().to_str().unwrap()], &root()).lines() {
        assert!(there.iter().any(|library| line.contains(library)), "distroless/cc does not have {line}");
        let Some(path) = line.split_whitespace().find(|word| word.starts_with('/')) else { continue };
        fs::create_dir_all(below(path).parent().unwrap()).unwrap();
        fs::copy(path, below(path)).unwrap();
    }
}

#[test]
fn the_last_stage_runs_without_anything_else() {
    let all = instructions(&read("deploy/Dockerfile"));
    let image = tempfile::tempdir().unwrap();
    fs::set_permissions(image.path(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::create_dir(image.path().join("var")).unwrap();
    fs::create_dir(image.path().join("var/lib")).unwrap();
    assemble(&all, image.path());
    let (web, admin): (SocketAddr, SocketAddr) = (place::address(), place::address());
    fs::create_dir_all(image.path().join("etc/weir")).unwrap();
    let config = format!(
        "admin: {admin}\nlisteners: [{{name: web, bind: '{web}', cluster: main}}]\n\
         clusters: [{{name: main, endpoints: ['127.0.0.1:9']}}]\n"
    );
    fs::write(image.path().join("etc/weir/weir.yaml"), config).unwrap();

    let user = of(&all, "USER")[0];
    let inside = |words: &[String]| {
        let mut command = Command::new("/usr/sbin/chroot");
        command.arg(format!("--userspec={user}")).arg(image.path()).args(words).stdin(Stdio::null());
        command.env_clear().env("WEIR_ADMIN_ADDR", admin.to_string());
        command
    };
    let words = |text: &str| -> Vec<String> { serde_json::from_str(text).unwrap() };
    let run: Vec<String> = [words(of(&all, "ENTRYPOINT")[0]), words(of(&all, "CMD")[0])].concat();
    let health = words(of(&all, "HEALTHCHECK")[0].split_once("CMD ").unwrap().1);
    for command in [&run, &health] {
        assert_command_exists(&command.iter().map(String::as_str).collect::<Vec<_>>());
    }
    let log = image.path().join("log");
    let mut child = inside(&run).stdout(Stdio::null()).stderr(File::create(&log).unwrap()).spawn().expect("chroot");
    wait::until_true("a healthy container", || {
        let said = || fs::read_to_string(&log).unwrap_or_default();
        assert!(child.try_wait().unwrap().is_none(), "it ended: {}", said());
        inside(&health).output().unwrap().status.success()
    });
    let stop = of(&all, "STOPSIGNAL")[0];
    assert_eq!(stop, "SIGTERM");
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    let status = wait::until("the end of the container", || child.try_wait().unwrap());
    assert_eq!(status.code(), Some(0), "{}", fs::read_to_string(&log).unwrap());
    assert!(!inside(&health).output().unwrap().status.success(), "healthy, and gone");
}
