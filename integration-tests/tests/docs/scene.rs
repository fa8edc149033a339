//! One place where commands of pages are run: its directory, its addresses, and what is held
//! against what the page shows.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use weir_integration_tests::wait;
use weir_integration_tests::weir::binary;

use crate::loose;
use crate::markdown::Block;

/// A command and what the page shows of its output.
pub(crate) struct Step {
    pub(crate) command: String,
    pub(crate) shown: String,
}

/// The steps of a block; lines before the first `$` belong to nobody.
pub(crate) fn steps(block: &Block) -> Vec<Step> {
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
pub(crate) struct Scene {
    pub(crate) directory: PathBuf,
    pub(crate) path: String,
    pub(crate) admin: SocketAddr,
    /// Text on the page, and what it is here.
    pub(crate) instead: Vec<(String, String)>,
    /// What only looks may look again until it sees: health takes its time.
    pub(crate) is_patient: bool,
}

impl Scene {
    pub(crate) fn translate(&self, text: &str) -> String {
        let each = |text: String, (page, here): &(String, String)| text.replace(page.as_str(), here);
        self.instead.iter().fold(text.to_owned(), each)
    }

    /// Runs a command; its exit code, and what it printed, errors last.
    pub(crate) fn run(&self, command: &str) -> (i32, String) {
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
    pub(crate) fn play(&self, block: &Block) {
        let steps = steps(block);
        let exit = block.word("exit").map_or(0, |code| code.parse().unwrap());
        for (at, step) in steps.iter().enumerate() {
            let expected = if at + 1 == steps.len() { exit } else { 0 };
            let command = self.translate(&step.command);
            let shown = self.translate(&step.shown);
            let good = |(code, said): &(i32, String)| *code == expected && loose::matches(&shown, said);
            let mut last = self.run(&command);
            let deadline = std::time::Instant::now() + wait::PATIENCE;
            while !good(&last) && self.is_patient && only_looks(&command) && std::time::Instant::now() < deadline {
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
    let reads = ["weir status", "weir events", "weir explain", "weir release status", "curl "];
    reads.iter().any(|start| command.starts_with(start)) && !command.contains("-X POST")
}

/// A PATH in which `weir` is the binary under test.
pub(crate) fn path() -> String {
    let binary = binary();
    let directory = binary.parent().expect("it lies in a directory").display();
    format!("{directory}:{}", std::env::var("PATH").unwrap_or_default())
}
