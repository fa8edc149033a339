//! The load tool, and what it says.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

/// A load.
pub(crate) struct Load<'l> {
    pub(crate) to: SocketAddr,
    pub(crate) path: &'l str,
    pub(crate) connections: usize,
    pub(crate) turn: Duration,
    /// More request header fields.
    pub(crate) header: Option<&'l str>,
    /// A script that makes the requests.
    pub(crate) script: Option<&'l Path>,
}

/// Runs a load on core 1; completed requests.
///
/// # Errors
/// When any request failed: then the figure would compare different work.
pub(crate) fn run(load: &Load<'_>) -> Result<f64> {
    let mut command = Command::new("taskset");
    command.args(["-c", "1", "wrk", "-t1", "-c", &load.connections.to_string()]);
    command.args(["-d", &format!("{}s", load.turn.as_secs())]);
    if let Some(header) = load.header {
        command.args(["-H", header]);
    }
    if let Some(script) = load.script {
        command.arg("-s").arg(script);
    }
    command.arg(format!("http://{}{}", load.to, load.path));
    let output = command.output().context("cannot start wrk")?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() || said.contains("Non-2xx") {
        bail!("wrk against {}: {said}{}", load.to, String::from_utf8_lossy(&output.stderr));
    }
    let requests = said.lines().find_map(|line| line.trim().split_once(" requests in ")?.0.parse().ok());
    requests.with_context(|| format!("wrk said nothing of requests: {said}"))
}
