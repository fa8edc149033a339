//! The balancers under test and the backend behind them: how they are started.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use tempfile::TempDir;

use crate::process::{self, Process};
use crate::{Plan, configs, tls};

/// A balancer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Weir,
    Nginx,
    Haproxy,
}

impl Kind {
    pub(crate) fn named(name: &str) -> Result<Self> {
        Ok(match name {
            "weir" => Self::Weir,
            "nginx" => Self::Nginx,
            "haproxy" => Self::Haproxy,
            _ => bail!("no balancer {name:?}: there are weir, nginx and haproxy"),
        })
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Weir => "weir",
            Self::Nginx => "nginx",
            Self::Haproxy => "haproxy",
        }
    }
}

/// What a balancer shows to its clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Front {
    /// HTTP/1.1 in the clear, one route for everything.
    Http,
    /// The same with a route for each of so many hosts and paths.
    Routes(u32),
    /// TLS 1.3 with HTTP/2 and HTTP/1.1, one route for everything.
    Tls {
        /// Whether sessions can be resumed.
        resume: bool,
    },
    /// Bytes, passed on as they are.
    Tcp {
        /// Whether there are many in a row.
        bulk: bool,
    },
}

/// A balancer that runs.
pub(crate) struct Peer {
    pub(crate) name: String,
    pub(crate) address: SocketAddr,
    pub(crate) process: Process,
    _directory: TempDir,
}

/// How a balancer is called, and where its config lies.
pub(crate) struct Prepared {
    pub(crate) command: Vec<String>,
    pub(crate) address: SocketAddr,
    pub(crate) directory: TempDir,
}

/// Writes the config of a balancer in front of `backend`.
pub(crate) fn prepare(plan: &Plan, kind: Kind, backend: SocketAddr, front: Front) -> Result<Prepared> {
    let directory = tempfile::tempdir()?;
    let address = process::free_address()?;
    let path = directory.path();
    if matches!(front, Front::Tls { .. }) {
        tls::write_certificate(path)?;
    }
    let ends = configs::Ends { directory: path, address, backend };
    let (file, text) = match kind {
        Kind::Weir => ("weir.yaml", configs::weir(&plan.weir_config, &ends, front)),
        Kind::Nginx => ("nginx.conf", configs::nginx(&ends, front)),
        Kind::Haproxy => ("haproxy.cfg", configs::haproxy(&ends, front)?),
    };
    let file = path.join(file);
    fs::write(&file, text)?;
    let file = file.display().to_string();
    let command = match kind {
        Kind::Weir => vec![plan.weir.display().to_string(), "run".into(), file],
        Kind::Nginx => nginx_command(path, &file),
        Kind::Haproxy => vec![found("haproxy"), "-f".into(), file, "-db".into()],
    };
    Ok(Prepared { command, address, directory })
}

/// Starts a balancer on core 0.
pub(crate) fn start(plan: &Plan, kind: Kind, backend: SocketAddr, front: Front) -> Result<Peer> {
    let Prepared { command, address, directory } = prepare(plan, kind, backend, front)?;
    let process = Process::start(0, &command, address)?;
    let name = match front {
        Front::Routes(routes) => format!("{}, {routes} routes", kind.name()),
        _ => kind.name().to_owned(),
    };
    Ok(Peer { name, address, process, _directory: directory })
}

/// The backend: an nginx that answers from memory, and from a file of 1 MiB under `/large`.
pub(crate) struct Backend {
    pub(crate) address: SocketAddr,
    _process: Process,
    _directory: TempDir,
}

impl Backend {
    /// Starts it on core 1.
    pub(crate) fn start() -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let address = process::free_address()?;
        let path = directory.path();
        fs::write(path.join("large"), vec![b'x'; 1024 * 1024])?;
        let file = path.join("nginx.conf");
        fs::write(&file, configs::backend(path, address))?;
        let command = nginx_command(path, &file.display().to_string());
        Ok(Self { address, _process: Process::start(1, &command, address)?, _directory: directory })
    }
}

fn nginx_command(directory: &Path, file: &str) -> Vec<String> {
    let error_log = directory.join("error.log").display().to_string();
    vec![
        found("nginx"),
        "-p".into(),
        directory.display().to_string(),
        "-c".into(),
        file.to_owned(),
        "-e".into(),
        error_log,
    ]
}

/// Debian's daemons stand where a user's PATH may not look.
fn found(program: &str) -> String {
    let usual = PathBuf::from("/usr/sbin").join(program);
    if usual.exists() { usual.display().to_string() } else { program.to_owned() }
}
