//! Each ```console block is run as it stands, against a real instance, and must end and say what
//! the page shows.
//!
//! The blocks of a page are one session: one instance, one directory, in order. Its config is the
//! page's block `yaml file=weir.yaml`, or that of README.md, with replicas of ours in place of its
//! endpoints. `console demo` speaks to a `weir demo` instead. `exit=N` is how the block's last
//! command ends; a block with `later` shows what nobody should wait for and is not run. Pages on which
//! the reader starts everything are gone through by [`desk`], comparisons by [`crate::peers`].
//! `PAGE=docs/drills.md` runs that page alone.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use weir_integration_tests::backend::{Backend, ok};
use weir_integration_tests::weir::{Weir, binary};
use weir_integration_tests::{place, wait};

use crate::markdown::blocks;
use crate::scene::{Scene, path};
use crate::{configs, desk, pages};

/// An instance with the config of a page, before replicas that answer anything.
struct Shop {
    weir: Weir,
    scene: Scene,
    _replicas: Vec<Backend>,
}

/// The config shown on a page, or else in README.md.
fn config(page: &Path) -> String {
    let find = |page: &Path| blocks(page).into_iter().find(|block| block.word("file") == Some("weir.yaml"));
    find(page).or_else(|| find(Path::new("README.md"))).expect("README.md has a block `yaml file=weir.yaml`").text
}

/// The ports on which the listeners of a page are.
fn ports(yaml: &str) -> Vec<&str> {
    let rest = |(at, lead): (usize, &str)| {
        let rest = &yaml[at + lead.len()..];
        &rest[..rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len())]
    };
    yaml.match_indices("0.0.0.0:").map(rest).collect()
}

impl Shop {
    fn open(page: &Path) -> Self {
        let yaml = config(page);
        let webs: Vec<_> = ports(&yaml).into_iter().map(|port| (port.to_owned(), place::address())).collect();
        let mut instead: Vec<_> = webs.iter().map(|(port, web)| (format!("0.0.0.0:{port}"), web.to_string())).collect();
        let mut replicas = Vec::new();
        let is_part = |c: char| !(c.is_ascii_digit() || c == '.' || c == ':');
        for word in yaml.split(is_part).filter(|word| word.starts_with("10.") && word.contains(':')) {
            if !instead.iter().any(|(page, _)| page == word) {
                let replica = Backend::scripted(|peer, _| peer.send(ok("ok\n")));
                instead.push((word.to_owned(), replica.address().to_string()));
                replicas.push(replica);
            }
        }
        let here = instead.iter().fold(yaml, |yaml, (page, here)| yaml.replace(page.as_str(), here));
        let directory = tempfile::tempdir().unwrap();
        configs::put_files(directory.path());
        let path_of_config = directory.path().join("weir.yaml");
        let mut weir = Weir::spawn_at(directory, &path_of_config, &here);
        weir.wait_ready();
        instead.extend(webs.iter().map(|(port, web)| (format!("127.0.0.1:{port}"), web.to_string())));
        instead.push(("127.0.0.1:9900".to_owned(), weir.admin().to_string()));
        instead.push(("$(pidof weir)".to_owned(), weir.pid().to_string()));
        let scene = Scene {
            directory: weir.directory().to_owned(),
            path: path(),
            admin: weir.admin(),
            instead,
            is_patient: true,
        };
        Self { weir, scene, _replicas: replicas }
    }
}

/// A running `weir demo`. Ended when dropped.
struct Demo {
    child: Child,
    scene: Scene,
    _directory: TempDir,
}

impl Demo {
    fn open() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (listen, admin) = (place::address(), place::address());
        let log = |name: &str| File::create(directory.path().join(name)).unwrap();
        let child = Command::new(binary())
            .args(["demo", "--listen", &listen.to_string(), "--admin", &admin.to_string()])
            .stdin(Stdio::null())
            .stdout(log("stdout"))
            .stderr(log("stderr"))
            .spawn()
            .expect("the binary starts");
        let breaker = wait::until("the demo's welcome", || {
            let said = fs::read_to_string(directory.path().join("stdout")).ok()?;
            let line = said.lines().find(|line| line.trim_start().starts_with("breaker"))?;
            Some(line.rsplit("http://").next()?.trim().to_owned())
        });
        let instead = vec![
            ("127.0.0.1:8080".to_owned(), listen.to_string()),
            ("127.0.0.1:9900".to_owned(), admin.to_string()),
            ("127.0.0.1:44953".to_owned(), breaker),
        ];
        let scene = Scene { directory: directory.path().to_owned(), path: path(), admin, instead, is_patient: true };
        let demo = Self { child, scene, _directory: directory };
        wait::until_true("the demo's readiness", || demo.scene.run("curl -sf http://$WEIR_ADMIN_ADDR/readyz").0 == 0);
        // Only from some traffic is learned how long an answer usually takes, and with it a dial.
        wait::until_true("some traffic", || {
            let metrics = demo.scene.run("curl -sf http://$WEIR_ADMIN_ADDR/metrics").1;
            let answered =
                metrics.lines().filter(|line| line.starts_with("weir_requests_total{") && line.contains("2xx"));
            answered.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum::<f64>() >= 300.0
        });
        demo
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        // Asked to end, it removes its directory.
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        let _ = self.child.wait();
    }
}

#[test]
fn every_command_on_a_page_does_what_it_shows() {
    assert!(
        Command::new("curl").arg("--version").stdout(Stdio::null()).status().is_ok_and(|status| status.success()),
        "curl is not installed; `make test` installs it"
    );
    let chosen = std::env::var("PAGE").ok();
    let is_chosen = |page: &PathBuf| chosen.as_ref().is_none_or(|chosen| page.ends_with(chosen));
    let waiting = Mutex::new(pages().into_iter().filter(is_chosen).collect::<Vec<_>>());
    let next = || waiting.lock().unwrap().pop();
    let lane = || std::iter::from_fn(next).map(|page| play(&page)).sum::<usize>();
    // Sessions mostly wait: for verdicts, for rehearsals to end.
    let played: usize = std::thread::scope(|scope| {
        let lanes: Vec<_> = (0..4).map(|_| scope.spawn(lane)).collect();
        lanes.into_iter().map(|lane| lane.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))).sum()
    });
    assert!(played >= if chosen.is_some() { 1 } else { 60 }, "only {played} blocks: are they still found?");
}

/// Plays the sessions of a page; how many of its blocks were run.
fn play(page: &Path) -> usize {
    if desk::is_one(page) {
        return desk::work_through(page);
    }
    let console = blocks(page).into_iter().filter(|block| block.language() == "console");
    let (demos, shops): (Vec<_>, Vec<_>) = console
        .filter(|block| block.word("later").is_none() && block.word("ask").is_none())
        .partition(|block| block.word("demo").is_some());
    if !demos.is_empty() {
        let demo = Demo::open();
        demos.iter().for_each(|block| demo.scene.play(block));
    }
    if !shops.is_empty() {
        let shop = Shop::open(page);
        shops.iter().for_each(|block| shop.scene.play(block));
        drop(shop.weir);
    }
    demos.len() + shops.len()
}
