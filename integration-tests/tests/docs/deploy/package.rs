//! The Debian package. cargo-deb, which makes it from `lb/Cargo.toml`, would take minutes to build:
//! the same list is laid out by hand here, packed with dpkg-deb, and installed into a directory.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use weir_integration_tests::weir::binary;

use super::succeeds;
use crate::configs::check;
use crate::{read, root, tree};

/// `[package.metadata.deb]`, as Cargo reads it.
fn metadata() -> Value {
    let arguments = ["metadata", "--format-version=1", "--no-deps", "--offline"];
    let output = Command::new(env!("CARGO")).args(arguments).current_dir(root()).output().expect("cargo");
    let all: Value = serde_json::from_slice(&output.stdout).expect("cargo metadata speaks JSON");
    let package = all["packages"].as_array().unwrap().iter().find(|package| package["name"] == "weir").unwrap();
    package["metadata"]["deb"].clone()
}

/// The files a source stands for: one, or those that a `*` in its last part takes.
fn sources(pattern: &str, pages: &Path) -> Vec<PathBuf> {
    if pattern == "target/release/weir" {
        return vec![binary()];
    }
    let path = match pattern.strip_prefix("target/release/pages/") {
        Some(name) => pages.join(name),
        None => root().join("lb").join(pattern),
    };
    let name = path.file_name().unwrap().to_string_lossy().into_owned();
    let Some((before, after)) = name.split_once('*') else { return vec![path] };
    let entries = fs::read_dir(path.parent().unwrap()).unwrap().map(|entry| entry.unwrap().path());
    let taken = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_string_lossy();
        name.starts_with(before) && name.ends_with(after)
    };
    entries.filter(taken).collect()
}

/// Lays out what the list says; the paths from the root of the system.
fn lay_out(list: &Value, pages: &Path, system: &Path) -> Vec<String> {
    let mut all = Vec::new();
    for asset in list.as_array().unwrap() {
        let part = |nth: usize| asset[nth].as_str().unwrap();
        let (from, to, mode) = (part(0), part(1), u32::from_str_radix(part(2), 8).unwrap());
        let found = sources(from, pages);
        assert!(!found.is_empty(), "{from} is nothing");
        for source in found {
            let to = if to.ends_with('/') {
                format!("{to}{}", source.file_name().unwrap().to_string_lossy())
            } else {
                to.to_owned()
            };
            let target = system.join(&to);
            fs::create_dir_all(target.parent().unwrap()).unwrap();
            // The binary is large: a link will do, where one can be made.
            if fs::hard_link(&source, &target).is_err()
                || mode != fs::metadata(&source).unwrap().permissions().mode() & 0o777
            {
                let _ = fs::remove_file(&target);
                fs::copy(&source, &target).unwrap_or_else(|error| panic!("{}: {error}", source.display()));
                fs::set_permissions(&target, fs::Permissions::from_mode(mode)).unwrap();
            }
            all.push(format!("/{to}"));
        }
    }
    all
}

#[test]
fn the_package_is_complete_and_installs() {
    let deb = metadata();
    let work = tempfile::tempdir().unwrap();
    let at = |name: &str| work.path().join(name);
    succeeds(
        &root().join("deploy/debian/pages").display().to_string(),
        &[binary().to_str().unwrap(), "pages"],
        work.path(),
    );
    fs::create_dir(at("tree")).unwrap();
    fs::set_permissions(at("tree"), fs::Permissions::from_mode(0o755)).unwrap();
    let files = lay_out(&deb["assets"], &at("pages"), &at("tree"));
    for verb in ["", "-run", "-check", "-reload"] {
        assert!(files.contains(&format!("/usr/share/man/man1/weir{verb}.1.gz")), "{files:#?}");
    }
    // All of deploy/ that is for a host goes along.
    for folder in ["systemd", "sysusers", "tmpfiles", "sysctl", "keepalived", "bird"] {
        for path in tree::files(format!("deploy/{folder}")) {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            assert!(files.iter().any(|file| file.ends_with(&format!("/{name}"))), "{} is left out", path.display());
        }
    }

    // As cargo-deb would write it.
    let control = at("tree/DEBIAN");
    fs::create_dir(&control).unwrap();
    let conffiles: Vec<&str> = deb["conf-files"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert!(conffiles.iter().all(|conffile| files.iter().any(|file| file == conffile)), "{conffiles:?}");
    assert!(files.iter().filter(|file| file.starts_with("/etc/")).all(|file| conffiles.contains(&file.as_str())));
    fs::write(control.join("conffiles"), conffiles.join("\n") + "\n").unwrap();
    let maintainer = deb["maintainer"].as_str().unwrap();
    let fields = format!(
        "Package: weir\nVersion: 0.1.0\nArchitecture: all\nMaintainer: {maintainer}\nDescription: a load balancer\n"
    );
    fs::write(control.join("control"), fields).unwrap();
    let scripts = root().join("lb").join(deb["maintainer-scripts"].as_str().unwrap());
    for script in ["postinst", "prerm", "postrm"] {
        succeeds("sh", &["-n", scripts.join(script).to_str().unwrap()], &root());
        fs::copy(scripts.join(script), control.join(script)).unwrap();
        fs::set_permissions(control.join(script), fs::Permissions::from_mode(0o755)).unwrap();
    }
    succeeds("dpkg-deb", &["-Znone", "--root-owner-group", "--build", "tree", "weir.deb"], work.path());
    install(work.path(), &files);
}

/// Installs it below a directory, changes a conffile, installs it again, removes and purges it.
fn install(work: &Path, files: &[String]) {
    let system = work.join("system");
    for path in ["var/lib/dpkg/updates", "var/lib/dpkg/info", "etc"] {
        fs::create_dir_all(system.join(path)).unwrap();
    }
    fs::write(system.join("var/lib/dpkg/status"), "").unwrap();
    let rooted = format!("--root={}", system.display());
    let dpkg = |arguments: &[&str]| {
        let all: Vec<&str> = [rooted.as_str(), "--force-script-chrootless", "--force-confold"]
            .into_iter()
            .chain(arguments.iter().copied())
            .collect();
        succeeds("dpkg", &all, work)
    };
    dpkg(&["--install", "weir.deb"]);
    let at = |path: &str| system.join(path.trim_start_matches('/'));
    for file in files {
        assert!(at(file).is_file(), "{file} is not installed");
    }
    assert!(fs::read_to_string(at("/etc/passwd")).unwrap().contains("weir:"), "no user was made");
    assert!(at("/etc/weir/certs").is_dir());
    let said = succeeds(at("/usr/bin/weir").to_str().unwrap(), &["version"], work);
    assert!(said.contains("weir"), "{said}");
    // What an operator wrote stays.
    fs::write(at("/etc/weir/weir.yaml"), "# ours\n").unwrap();
    fs::create_dir_all(at("/var/lib/weir")).unwrap();
    dpkg(&["--install", "weir.deb"]);
    assert_eq!(fs::read_to_string(at("/etc/weir/weir.yaml")).unwrap(), "# ours\n");
    dpkg(&["--remove", "weir"]);
    assert!(!at("/usr/bin/weir").exists() && at("/etc/weir/weir.yaml").exists() && at("/var/lib/weir").exists());
    dpkg(&["--purge", "weir"]);
    assert!(!at("/etc/weir/weir.yaml").exists() && !at("/var/lib/weir").exists());
}

#[test]
fn the_packages_configuration_is_right() {
    let (verdict, good) = check(&read("deploy/debian/weir.yaml"));
    assert!(good, "{verdict:#}");
    assert_eq!(verdict["warnings"], 0, "{verdict:#}");
}
