//! Pages that begin with nothing: their reader starts every program, each in a terminal of its own.
//!
//! A page is one if it has a block `console terminal=NAME`. Such a block begins with one command,
//! which goes on until a later block of the same terminal begins with `^C`; what is shown must come.
//! All blocks are gone through in order: each `yaml file=NAME` is saved as the reader would, each other
//! `console` block is played as on any page. Ports of 127.0.0.1 are replaced by free ones.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use weir_integration_tests::{place, wait};

use crate::loose;
use crate::markdown::{Block, blocks};
use crate::scene::{Scene, path, steps};

/// Whether a page is gone through here.
pub(crate) fn is_one(page: &Path) -> bool {
    blocks(page).iter().any(|block| block.word("terminal").is_some())
}

/// A terminal in which something runs. Killed when dropped.
struct Terminal {
    child: Child,
    said: PathBuf,
}

impl Terminal {
    fn open(scene: &Scene, name: &str, block: &Block) -> Self {
        let steps = steps(block);
        let [step] = &steps[..] else { panic!("{}: a terminal runs one command", block.place()) };
        let said = scene.directory.join(format!(".{name}"));
        let log = File::create(&said).unwrap();
        // Who runs these tests in the background may have them ignore what Ctrl-C sends.
        let child = Command::new("sh")
            .args(["-c", &format!("exec env --default-signal=INT {}", scene.translate(&step.command))])
            .current_dir(&scene.directory)
            .env("PATH", &scene.path)
            .env("WEIR_ADMIN_ADDR", scene.admin.to_string())
            .env("WEIR_LOG_FORMAT", "text")
            .env("NO_COLOR", "1")
            .env("PYTHONUNBUFFERED", "1")
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .expect("a shell");
        let mut terminal = Self { child, said };
        terminal.shows(&scene.translate(&step.shown), block, false);
        terminal
    }

    /// Waits until it shows what the page shows; if it is told to end, until it has ended, too.
    fn shows(&mut self, shown: &str, block: &Block, ends: bool) {
        let deadline = std::time::Instant::now() + wait::PATIENCE;
        loop {
            let ended = self.child.try_wait().unwrap().is_some();
            let said = fs::read_to_string(&self.said).unwrap_or_default();
            if loose::matches(shown, &said) && (ended || !ends) {
                assert!(ended == ends, "{}: it ended:\n{said}", block.place());
                return;
            }
            let waits = std::time::Instant::now() < deadline && (ends || !ended);
            assert!(waits, "{}: it should show\n{shown}\nbut has\n{said}", block.place());
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }

    fn interrupt(&mut self, shown: &str, block: &Block) {
        kill_process(Pid::from_child(&self.child), Signal::INT).expect("it still runs");
        self.shows(shown, block, true);
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Free addresses for those of 127.0.0.1 that stand on the page, also written as two words.
fn instead(page: &Path) -> Vec<(String, String)> {
    let text = crate::read(page);
    let mut ports: Vec<&str> = text
        .match_indices("127.0.0.1:")
        .map(|(at, lead)| {
            let rest = &text[at + lead.len()..];
            &rest[..rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len())]
        })
        .filter(|port| !port.is_empty())
        .collect();
    ports.sort_unstable();
    ports.dedup();
    let both = |port: &str| {
        let here = place::address();
        [
            (format!("127.0.0.1:{port}"), here.to_string()),
            (format!("127.0.0.1 {port}"), format!("{} {}", here.ip(), here.port())),
            (format!("127.0.0.1 port {port}"), format!("{} port {}", here.ip(), here.port())),
        ]
    };
    ports.into_iter().flat_map(both).collect()
}

/// Goes through a page; how many of its blocks were run.
pub(crate) fn work_through(page: &Path) -> usize {
    let directory = TempDir::new().unwrap();
    let instead = instead(page);
    let admin = instead.iter().find(|(shown, _)| shown == "127.0.0.1:9900").expect("the page shows the admin address");
    let admin = admin.1.parse().unwrap();
    let scene = Scene { directory: directory.path().to_owned(), path: path(), admin, instead, is_patient: true };
    let mut terminals: BTreeMap<String, Terminal> = BTreeMap::new();
    let mut played = 0;
    for block in blocks(page) {
        match (block.language(), block.word("file"), block.word("terminal")) {
            ("yaml", Some(name), _) => fs::write(directory.path().join(name), scene.translate(&block.text)).unwrap(),
            ("console", _, Some(name)) => {
                match (block.text.strip_prefix("^C\n"), terminals.remove(name)) {
                    (Some(shown), Some(mut terminal)) => terminal.interrupt(&scene.translate(shown), &block),
                    (Some(_), None) => panic!("{}: nothing runs in {name}", block.place()),
                    (None, _) => _ = terminals.insert(name.to_owned(), Terminal::open(&scene, name, &block)),
                }
                played += 1;
            }
            ("console", _, None) => {
                scene.play(&block);
                played += 1;
            }
            _ => {}
        }
    }
    played
}
