//! Each ```console block is run as it stands, against a real instance, and must end and say what
//! the page shows.
//!
//! The blocks of a page are one session: one instance, one directory, in order. Its config is the
//! page's block `yaml file=weir.yaml`, or that of README.md, with replicas of ours in place of its
//! endpoints. `console demo` speaks to a `weir demo` instead. `exit=N` is how the block's last
//! command ends; a block with `later` shows what nobody should wait for and is not run.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use weir_integration_tests::backend::{Backend, ok};
use weir_integration_tests::weir::{Weir, binary};
use weir_integration_tests::{place, wait};

use crate::loose;
use crate::markdown::{Block, blocks};
use crate::pages;

/// A command and what the page shows of its output.
struct Step {
    command: String,
    shown: String,
}

/// The steps of a block; lines before the first `$` belong to nobody.
fn steps(block: &Block) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for line in block.text.lines() {
        match (line.strip_prefix("$ "), steps.last_mut()) {
            (Some(command), _) => steps.push(Step { command: command.to_owned(), shown: String::new() }),
            (None, Some(step)) if step.command.ends_with('\\') => {
                step.command.pop();
                step.command.push_str(line.trim_start());
            }
            (None, Some(step)) => {
                step.shown.push_str(line);
                step.shown.push('\n');
            }
            (None, None) => panic!("{}: a console block begins with `$ `", block.place()),
        }
    }
    steps
}

/// Where commands are run, and what stands for what.
struct Scene {
    directory: PathBuf,
    path: String,
    admin: SocketAddr,
    /// Text on the page, and what it is here.
    instead: Vec<(String, String)>,
}

impl Scene {
    fn translate(&self, text: &str) -> String {
        let each = |text: String, (page, here): &(String, String)| text.replace(page.as_str(), here);
        self.instead.iter().fold(text.to_owned(), each)
    }

    /// Runs a command; its exit code, and what it printed, errors last.
    fn run(&self, command: &str) -> (i32, String) {
        let output = Command::new("sh")
            .args(["-c", command])
            .current_dir(&self.directory)
            .env("PATH", &self.path)
            .env("WEIR_ADMIN_ADDR", self.admin.to_string())
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .output()
            .expect("a shell");
        let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        (output.status.code().unwrap_or(-1), said.into_owned())
    }

    /// Plays a block.
    fn play(&self, block: &Block) {
        let steps = steps(block);
        let exit = block.word("exit").map_or(0, |code| code.parse().unwrap());
        for (at, step) in steps.iter().enumerate() {
            let expected = if at + 1 == steps.len() { exit } else { 0 };
            let command = self.translate(&step.command);
            let shown = self.translate(&step.shown);
            let good = |(code, said): &(i32, String)| *code == expected && loose::matches(&shown, said);
            let mut last = self.run(&command);
            // What only looks may look again until it sees: health takes its time.
            let deadline = std::time::Instant::now() + wait::PATIENCE;
            while !good(&last) && only_looks(&command) && std::time::Instant::now() < deadline {
                std::thread::sleep(std::time::Duration::from_millis(100));
                last = self.run(&command);
            }
            let (code, said) = &last;
            assert!(
                good(&last),
                "{}: `{command}` ended with {code}, not {expected}, or did not say\n{shown}\nbut\n{said}",
                block.place()
            );
        }
    }
}

fn only_looks(command: &str) -> bool {
    let reads = ["weir status", "weir events", "weir explain", "curl "];
    reads.iter().any(|start| command.starts_with(start)) && !command.contains("-X POST")
}

/// A PATH in which `weir` is the binary under test.
fn path() -> String {
    let binary = binary();
    let directory = binary.parent().expect("it lies in a directory").display();
    format!("{directory}:{}", std::env::var("PATH").unwrap_or_default())
}

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

impl Shop {
    fn open(page: &Path) -> Self {
        let yaml = config(page);
        let web = place::address();
        let mut instead = vec![("0.0.0.0:8080".to_owned(), web.to_string())];
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
        let weir = Weir::start(&here);
        instead.push(("127.0.0.1:8080".to_owned(), web.to_string()));
        instead.push(("127.0.0.1:9900".to_owned(), weir.admin().to_string()));
        instead.push(("$(pidof weir)".to_owned(), weir.pid().to_string()));
        let scene = Scene { directory: weir.directory().to_owned(), path: path(), admin: weir.admin(), instead };
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
        let scene = Scene { directory: directory.path().to_owned(), path: path(), admin, instead };
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
    let mut played = 0;
    for page in pages() {
        let console = blocks(&page).into_iter().filter(|block| block.language() == "console");
        let (demos, shops): (Vec<_>, Vec<_>) =
            console.filter(|block| block.word("later").is_none()).partition(|block| block.word("demo").is_some());
        played += demos.len() + shops.len();
        if !demos.is_empty() {
            let demo = Demo::open();
            demos.iter().for_each(|block| demo.scene.play(block));
        }
        if !shops.is_empty() {
            let shop = Shop::open(&page);
            shops.iter().for_each(|block| shop.scene.play(block));
            drop(shop.weir);
        }
    }
    assert!(played >= 6, "only {played} blocks: are they still found?");
}
