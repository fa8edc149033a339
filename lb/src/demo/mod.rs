//! `weir demo`: a whole shop on loopback, to look at and to break.
//!
//! Embedded replicas in three zones, a steady load, and between them the real server with a real
//! config file that may be edited while it runs. Nothing here is used by `weir run`, and nothing
//! here knows how the server works: it is handed in as [`run`]'s last argument.
//!
//! [`replica`] is what is broken, [`control`] the hand that breaks it, [`load`] the users who
//! should not notice, [`scene`] the config and the text on the terminal.

mod control;
mod load;
mod replica;
mod scene;

use std::fs;
use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::mpsc;
use std::thread;

use tokio::runtime::{Builder, LocalOptions};

use self::replica::Shop;
use self::scene::Scene;

/// Where the demo listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Where traffic comes in; another port of the same address if it is taken.
    pub listen: SocketAddr,
    /// Where the admin API listens; another port of the same address if it is taken.
    pub admin: SocketAddr,
}

/// Why the demo could not start.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// An address that cannot be listened on, with any port.
    #[error("cannot listen on {address}: {error}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        error: io::Error,
    },
    /// The temporary directory for the config file.
    #[error("cannot write {}: {error}", path.display())]
    Write {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The replicas.
    #[error("cannot start the demo's replicas: {0}")]
    Replicas(#[source] io::Error),
}

/// Runs the demo until `serve`, the real server on the config file it is given, returns.
///
/// # Errors
/// [`DemoError`] says what could not be started.
pub fn run(options: Options, serve: impl FnOnce(&Path) -> ExitCode) -> Result<ExitCode, DemoError> {
    run_telling(options, &mut io::stdout(), serve)
}

fn run_telling(
    options: Options,
    out: &mut impl Write,
    serve: impl FnOnce(&Path) -> ExitCode,
) -> Result<ExitCode, DemoError> {
    let listen = free_or_other(options.listen)?;
    let admin = free_or_other(options.admin)?;
    let (tell, told) = mpsc::sync_channel(1);
    thread::Builder::new().name("demo".into()).spawn(move || play(listen, &tell)).map_err(DemoError::Replicas)?;
    let (replicas, control) = told
        .recv()
        .unwrap_or_else(|_| Err(io::Error::other("their thread ended at once")))
        .map_err(DemoError::Replicas)?;
    let directory = Directory::create()?;
    // What is printed shall work as it stands, wherever this program lies.
    let program = std::env::current_exe().map_or_else(|_| "weir".to_owned(), |path| path.display().to_string());
    let scene = Scene { program, listen, admin, control, config: directory.0.join("weir.yaml"), replicas };
    fs::write(&scene.config, scene.yaml()).map_err(|error| DemoError::Write { path: scene.config.clone(), error })?;
    for (name, wanted, got) in [("--listen", options.listen, listen), ("--admin", options.admin, admin)] {
        if wanted.port() != 0 && wanted != got {
            // A closed terminal is no reason to stop.
            let _ = writeln!(out, "{wanted} is taken ({name}): using {got} instead.");
        }
    }
    let _ = out.write_all(scene.welcome().as_bytes());
    let _ = out.flush();
    Ok(serve(&scene.config))
}

/// What the demo's own thread tells once it runs: the replicas, and where it takes orders.
type Told = io::Result<(Vec<scene::Replica>, SocketAddr)>;

/// The demo's own thread: replicas, control endpoint and load. It ends with the process.
fn play(listen: SocketAddr, tell: &mpsc::SyncSender<Told>) {
    // The other side waits until it is told, so sending cannot fail.
    let runtime = match Builder::new_current_thread().enable_all().build_local(LocalOptions::default()) {
        Ok(runtime) => runtime,
        Err(error) => {
            let _ = tell.send(Err(error));
            return;
        }
    };
    runtime.block_on(async {
        let begun = async {
            let shop = Rc::new(Shop::open().await?);
            let control = control::open(Rc::clone(&shop)).await?;
            io::Result::Ok((shop, control))
        };
        match begun.await {
            Ok((shop, (address, serving))) => {
                let _ = tell.send(Ok((shop.list(), address)));
                tokio::join!(serving, load::run(listen));
            }
            Err(error) => {
                let _ = tell.send(Err(error));
            }
        }
    });
}

/// `wanted` if it is free, else another port of the same IP address.
fn free_or_other(wanted: SocketAddr) -> Result<SocketAddr, DemoError> {
    let bind = |address: SocketAddr| TcpListener::bind(address).and_then(|listener| listener.local_addr());
    match bind(wanted) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => bind(SocketAddr::new(wanted.ip(), 0)),
        bound => bound,
    }
    .map_err(|error| DemoError::Listen { address: wanted, error })
}

/// A directory of our own that goes when the demo does.
struct Directory(PathBuf);

impl Directory {
    fn create() -> Result<Self, DemoError> {
        use std::os::unix::fs::DirBuilderExt;
        let path = std::env::temp_dir().join(format!("weir-demo-{}", std::process::id()));
        // Not if it exists: in a shared directory somebody else may have put it there.
        match fs::DirBuilder::new().mode(0o700).create(&path) {
            Ok(()) => Ok(Self(path)),
            Err(error) => Err(DemoError::Write { path, error }),
        }
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // Nothing is lost if it stays: it lies among temporary files.
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_gives_another_one() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let wanted = taken.local_addr().unwrap();
        let got = free_or_other(wanted).unwrap();
        assert_eq!(got.ip(), wanted.ip());
        assert_ne!(got.port(), wanted.port());
    }

    #[test]
    fn the_demo_writes_a_valid_config_and_leaves_nothing_behind() {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut seen = PathBuf::new();
        let mut told = Vec::new();
        let code = run_telling(Options { listen: any, admin: any }, &mut told, |config| {
            let text = fs::read_to_string(config).unwrap();
            assert!(text.contains("shop-v2"), "{text}");
            seen = config.to_owned();
            ExitCode::SUCCESS
        });
        assert_eq!(code.unwrap(), ExitCode::SUCCESS);
        assert!(!seen.exists());
        let told = String::from_utf8(told).unwrap();
        assert!(told.contains(seen.to_str().unwrap()), "the way to the file is told: {told}");
    }
}
