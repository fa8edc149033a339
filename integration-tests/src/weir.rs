//! The real binary as a child process.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::client::RawClient;
use crate::message::Response;
use crate::{place, wait};

/// A running `weir run`. Killed when dropped; if the test is failing, what it logged is printed.
#[derive(Debug)]
pub struct Weir {
    directory: TempDir,
    admin: SocketAddr,
    /// `run`, the config's path and further arguments.
    arguments: Vec<OsString>,
    child: Child,
    status: Option<ExitStatus>,
}

/// The path of the binary under test: beside the directory of the test executables.
///
/// # Panics
/// When it is not there.
#[must_use]
pub fn binary() -> PathBuf {
    let tests = std::env::current_exe().expect("a test knows its path");
    let profile = tests.parent().and_then(Path::parent).expect("tests live in target/PROFILE/deps");
    let path = profile.join("weir");
    assert!(path.exists(), "{} is not there: run `cargo build --bins` first, or `make test`", path.display());
    path
}

/// Starts the binary in `directory`; what it says is added to what is there.
fn launch(directory: &Path, arguments: &[OsString]) -> Child {
    let log = |name: &str| {
        OpenOptions::new().create(true).append(true).open(directory.join(name)).expect("a log file can be opened")
    };
    Command::new(binary())
        .args(arguments)
        .env("WEIR_LOG_FORMAT", "json")
        .stdin(Stdio::null())
        .stdout(log("stdout"))
        .stderr(log("stderr"))
        .spawn()
        .expect("the binary starts")
}

impl Weir {
    /// Starts it with this config (to which an admin address is added) and waits until it is ready.
    ///
    /// # Panics
    /// When it does not become ready.
    #[must_use]
    pub fn start(yaml: &str) -> Self {
        let mut weir = Self::spawn(yaml);
        weir.wait_ready();
        weir
    }

    /// Starts it with this config (to which an admin address is added).
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn spawn(yaml: &str) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let config = directory.path().join("weir.yaml");
        Self::spawn_at(directory, &config, yaml)
    }

    /// The same with a config path of the test's choice in `directory`.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn spawn_at(directory: TempDir, config: &Path, yaml: &str) -> Self {
        Self::spawn_with(directory, config, yaml, &[])
    }

    /// The same with further arguments of `weir run`.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn spawn_with(directory: TempDir, config: &Path, yaml: &str, arguments: &[&str]) -> Self {
        let admin = place::address();
        fs::write(config, format!("admin: {admin}\n{yaml}")).expect("the config is written");
        let arguments: Vec<OsString> =
            ["run".into(), config.into()].into_iter().chain(arguments.iter().map(Into::into)).collect();
        let child = launch(directory.path(), &arguments);
        Self { directory, admin, arguments, child, status: None }
    }

    /// Ends it in the orderly way, and starts it again as it was, with the config that is there now.
    ///
    /// # Panics
    /// When it does not end, or does not become ready.
    pub fn restart(&mut self) {
        self.signal(Signal::TERM);
        let _ = self.exit_code(wait::PATIENCE);
        self.child = launch(self.directory.path(), &self.arguments);
        self.status = None;
        self.wait_ready();
    }

    /// Lets another process take over: its number, or what the command said.
    ///
    /// # Errors
    /// What `weir upgrade` wrote to standard error when it failed.
    ///
    /// # Panics
    /// When the binary does not start.
    pub fn upgrade(&mut self) -> Result<u32, String> {
        let output = self.command(&["upgrade", "--format", "json"]);
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        let answer: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let heir = answer["process"].as_u64().and_then(|heir| u32::try_from(heir).ok()).expect("a process");
        Ok(heir)
    }

    /// Waits until `/readyz` says 200.
    ///
    /// # Panics
    /// When the process ends, or the deadline passes.
    pub fn wait_ready(&mut self) {
        wait::until("readiness", || {
            if let Some(status) = self.exited() {
                panic!("weir ended with {status}:\n{}", self.stderr());
            }
            self.try_admin("GET", "/readyz").filter(|answer| answer.status == 200)
        });
    }

    /// Where its admin API listens.
    #[must_use]
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// Its directory: `weir.yaml`, `stdout`, `stderr` and what a test puts there.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Its config file, unless the test chose another.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.directory.path().join("weir.yaml")
    }

    /// The process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it wrote to standard error so far.
    #[must_use]
    pub fn stderr(&self) -> String {
        fs::read_to_string(self.directory.path().join("stderr")).unwrap_or_default()
    }

    /// What it wrote to standard output so far.
    #[must_use]
    pub fn stdout(&self) -> String {
        fs::read_to_string(self.directory.path().join("stdout")).unwrap_or_default()
    }

    /// This config text with the admin address in front, as [`Self::start`] writes it.
    #[must_use]
    pub fn with_admin(&self, yaml: &str) -> String {
        format!("admin: {}\n{yaml}", self.admin)
    }

    /// Changes the config by `mv`ing a new file over it.
    ///
    /// # Panics
    /// When the file system does not let us.
    pub fn replace(&self, yaml: &str) {
        let new = self.directory.path().join("weir.yaml.new");
        fs::write(&new, self.with_admin(yaml)).expect("the new config is written");
        fs::rename(&new, self.config()).expect("the new config is moved");
    }

    /// Changes the config by writing into the file.
    ///
    /// # Panics
    /// When the file system does not let us.
    pub fn overwrite(&self, yaml: &str) {
        let mut file = File::create(self.config()).expect("the config opens");
        file.write_all(self.with_admin(yaml).as_bytes()).expect("the config is written");
    }

    /// Sends a signal.
    ///
    /// # Panics
    /// When the process is gone.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).expect("the process takes signals");
    }

    /// The exit status, if it has ended.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        if self.status.is_none() {
            self.status = self.child.try_wait().expect("a child can be asked");
        }
        self.status
    }

    /// Waits for its end; the exit code.
    ///
    /// # Panics
    /// When it does not end within `patience`, or by a signal.
    pub fn exit_code(&mut self, patience: Duration) -> i32 {
        let status = wait::within(patience, "the end of the process", || self.exited());
        status.code().unwrap_or_else(|| panic!("weir ended by {status}:\n{}", self.stderr()))
    }

    fn try_admin(&self, method: &str, path: &str) -> Option<Response> {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            self.admin
        );
        let mut client = RawClient::try_connect(self.admin).ok()?;
        client.try_send(&request).ok()?;
        client.response_to(&request).ok()
    }

    /// Asks the admin API.
    ///
    /// # Panics
    /// When it does not answer.
    #[must_use]
    pub fn admin_get(&self, path: &str) -> Response {
        self.try_admin("GET", path).unwrap_or_else(|| panic!("no answer to GET {path}:\n{}", self.stderr()))
    }

    /// Orders through the admin API.
    ///
    /// # Panics
    /// When it does not answer.
    #[must_use]
    pub fn admin_post(&self, path: &str) -> Response {
        self.try_admin("POST", path).unwrap_or_else(|| panic!("no answer to POST {path}:\n{}", self.stderr()))
    }

    /// The admin API's JSON answer.
    ///
    /// # Panics
    /// When it is not a JSON answer with 200.
    #[must_use]
    pub fn json(&self, path: &str) -> Value {
        let answer = self.admin_get(path);
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        serde_json::from_slice(&answer.body).unwrap_or_else(|error| panic!("{path}: {error}: {}", answer.text()))
    }

    /// The events of that kind so far, oldest first.
    ///
    /// # Panics
    /// When the admin API does not answer as it should.
    #[must_use]
    pub fn events(&self, kind: &str) -> Vec<Value> {
        let answer = self.json("/api/v1/events?since=0&limit=10000");
        let events = answer["events"].as_array().unwrap_or_else(|| panic!("a list of events in {answer}"));
        events.iter().filter(|event| event["kind"] == kind).cloned().collect()
    }

    /// Waits until there are `count` events of that kind; the last of them.
    ///
    /// # Panics
    /// When they do not come in time.
    #[must_use]
    pub fn wait_event(&self, kind: &str, count: usize) -> Value {
        let what = format!("event number {count} of kind {kind}");
        wait::until(&what, || self.events(kind).into_iter().nth(count - 1))
    }

    /// The sum of all series of a metric whose labels contain each of `labels` (as `name="value"`).
    #[must_use]
    pub fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        let scrape = self.admin_get("/metrics").text();
        sum_metric(&scrape, name, labels)
    }

    /// Resident memory in bytes.
    ///
    /// # Panics
    /// When the process is gone.
    #[must_use]
    pub fn resident(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("a running process");
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("VmRSS");
        let kib: u64 = line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).expect("a number");
        kib * 1024
    }

    /// Runs another command of the binary against this instance's admin API.
    ///
    /// # Panics
    /// When the binary does not start.
    #[must_use]
    pub fn command(&self, arguments: &[&str]) -> std::process::Output {
        Command::new(binary())
            .args(arguments)
            .env("WEIR_ADMIN_ADDR", self.admin.to_string())
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .output()
            .expect("the binary starts")
    }
}

impl Drop for Weir {
    fn drop(&mut self) {
        if self.exited().is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        // And whoever took over from it, however that was asked for.
        for heir in running(&self.config()) {
            let _ = kill_process(heir, Signal::KILL);
        }
        if std::thread::panicking() {
            eprintln!("--- weir's standard error:\n{}\n---", self.stderr());
        }
    }
}

/// The processes that run with this configuration.
fn running(config: &Path) -> Vec<Pid> {
    let wanted = config.as_os_str().as_bytes();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let runs = |process: &fs::DirEntry| {
        let line = fs::read(process.path().join("cmdline")).unwrap_or_default();
        let mut words = line.split(|byte| *byte == 0);
        words.any(|word| word == b"run") && words.any(|word| word == wanted)
    };
    let numbers = processes.filter(runs).filter_map(|process| process.file_name().to_str()?.parse().ok());
    numbers.filter_map(Pid::from_raw).collect()
}

/// The sum of all series of `name` in a scrape whose labels contain each of `labels`.
#[must_use]
pub fn sum_metric(scrape: &str, name: &str, labels: &[&str]) -> f64 {
    let series = scrape.lines().filter_map(|line| line.strip_prefix(name)).filter(|rest| rest.starts_with(['{', ' ']));
    series
        .filter(|rest| labels.iter().all(|label| rest.contains(label)))
        .filter_map(|rest| rest.rsplit(' ').next()?.parse::<f64>().ok())
        .sum()
}
