//! The load tools, and what they say.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::tls;

/// A load.
pub(crate) struct Load<'l> {
    pub(crate) to: SocketAddr,
    pub(crate) path: &'l str,
    pub(crate) connections: usize,
    pub(crate) turn: Duration,
    /// A new connection for each request.
    pub(crate) close: bool,
    /// A script of wrk's that makes the requests.
    pub(crate) script: Option<&'l Path>,
    pub(crate) tls: Option<&'l tls::Client>,
}

impl Load<'_> {
    /// The command of a load tool on core 1.
    fn command(&self, tool: &str) -> Command {
        let mut command = Command::new("taskset");
        command.args(["-c", "1", tool, "-t1"]);
        if let Some(tls) = self.tls {
            tls.set(&mut command);
        }
        command
    }

    fn url(&self) -> String {
        format!("{}://{}{}", if self.tls.is_some() { "https" } else { "http" }, self.to, self.path)
    }
}

/// Runs a load of HTTP/1.1; completed requests.
///
/// # Errors
/// When any request failed: then the figure would compare different work.
pub(crate) fn wrk(load: &Load<'_>) -> Result<f64> {
    let mut command = load.command("wrk");
    command.args(["-c", &load.connections.to_string(), "-d", &format!("{}s", load.turn.as_secs())]);
    if load.close {
        command.args(["-H", "Connection: close"]);
    }
    if let Some(script) = load.script {
        command.arg("-s").arg(script);
    }
    let said = said(command.arg(load.url()))?;
    // It says nothing of errors when there were none.
    ensure!(!said.contains("Non-2xx") && !said.contains("Socket errors"), "wrk against {}: {said}", load.to);
    let requests = said.lines().find_map(|line| line.trim().split_once(" requests in ")?.0.parse().ok());
    requests.filter(|requests| *requests > 0.0).with_context(|| format!("wrk completed nothing: {said}"))
}

/// Runs a load of HTTP/2 over TLS with so many streams on each connection; completed requests.
///
/// # Errors
/// When any request failed, or the connections are not what they should be.
pub(crate) fn h2load(load: &Load<'_>, streams: usize) -> Result<f64> {
    let mut command = load.command("h2load");
    command.args(["-c", &load.connections.to_string(), "-m", &streams.to_string()]);
    command.args(["-D", &load.turn.as_secs().to_string(), &format!("--tls13-ciphers={}", tls::CIPHER)]);
    let said = said(command.arg(load.url()))?;
    let expected = [
        "TLS Protocol: TLSv1.3",
        &format!("Cipher: {}", tls::CIPHER),
        "Application protocol: h2",
        " 0 failed, 0 errored, 0 timeout",
        " 2xx, 0 3xx, 0 4xx, 0 5xx",
    ];
    for part in expected {
        ensure!(said.contains(part), "h2load against {}: no {part:?}: {said}", load.to);
    }
    let succeeded = |line: &str| {
        line.strip_prefix("requests: ")?.split(", ").find_map(|part| part.strip_suffix(" succeeded")?.parse().ok())
    };
    let requests: Option<f64> = said.lines().find_map(succeeded);
    requests.filter(|requests| *requests > 0.0).with_context(|| format!("h2load completed nothing: {said}"))
}

/// What a tool printed.
fn said(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("cannot start {command:?}"))?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(output.status.success(), "{command:?}: {said}{}", String::from_utf8_lossy(&output.stderr));
    Ok(said)
}
