//! Weir beside nginx and HAProxy: the same work, in turn within each round, CPU per request.
//!
//! `cargo run --release -p weir-benches --bin compare -- --help`. Needs Debian's nginx, haproxy and
//! wrk; TLS and HTTP/2 need openssl and h2load (nghttp2-client), TCP nginx's stream module, and
//! `instructions` valgrind. `benches/README.md` says what each work is and what it aims at. Each balancer runs on one thread on core 0; load tool and
//! backend share core 1. The figure to trust is user and system time of the balancer's process
//! tree by completed requests; ratios are taken within a round, then their median.

mod configs;
mod idle;
mod instructions;
mod load;
mod peer;
mod process;
mod rounds;
mod rows;
mod tls;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Parser;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Work {
    /// Small answers over kept-open connections.
    KeepAlive,
    /// Small answers, a new client connection for each.
    Connections,
    /// Answers of 1 MiB.
    Bodies,
    /// Small answers over kept-open connections with TLS 1.3.
    TlsKeepAlive,
    /// Small answers, a new TLS connection with a full handshake for each.
    TlsHandshakes,
    /// Answers of 1 MiB over TLS 1.3.
    TlsBodies,
    /// Small answers over HTTP/2 with TLS, 16 connections with 16 streams each, to HTTP/1.1.
    H2,
    /// Small exchanges over kept-open TCP sessions.
    TcpKeepAlive,
    /// Small exchanges, a new TCP session for each.
    TcpConnections,
    /// Answers of 1 MiB over TCP sessions.
    TcpBodies,
    /// 10 000 routes against 10, of each balancer against itself.
    Routes,
    /// Memory of an idle client connection.
    Idle,
    /// User-space instructions per request, under callgrind.
    Instructions,
}

/// Weir beside nginx and HAProxy.
#[derive(Debug, Parser)]
struct Arguments {
    /// What is measured, in this order.
    #[arg(value_enum, default_values_t = [
        Work::KeepAlive, Work::Connections, Work::Bodies, Work::TlsKeepAlive, Work::TlsHandshakes, Work::TlsBodies, Work::H2,
        Work::TcpKeepAlive, Work::TcpConnections, Work::TcpBodies, Work::Routes, Work::Idle,
    ])]
    work: Vec<Work>,
    /// Rounds; in each, every balancer has its turn.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds of one turn.
    #[arg(long, default_value_t = 4)]
    seconds: u64,
    /// Client connections, but for `h2`.
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// The weir binary; by default the one beside this program.
    #[arg(long)]
    weir: Option<PathBuf>,
    /// Lines for the top level of Weir's config, such as `access_log: /tmp/access.log`.
    #[arg(long, default_value = "")]
    weir_config: String,
    /// The balancers, out of weir, nginx and haproxy.
    #[arg(long, value_delimiter = ',', default_values_t = ["weir".to_owned(), "nginx".into(), "haproxy".into()])]
    peers: Vec<String>,
}

/// How a measurement is run.
struct Plan {
    rounds: usize,
    turn: Duration,
    connections: usize,
    weir: PathBuf,
    weir_config: String,
    peers: Vec<peer::Kind>,
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<()> {
    let beside = std::env::current_exe().context("this program's path")?.with_file_name("weir");
    let weir = arguments.weir.unwrap_or(beside);
    anyhow::ensure!(weir.exists(), "{} is not there: cargo build --release --bin weir", weir.display());
    let plan = Plan {
        rounds: arguments.rounds.max(1),
        turn: Duration::from_secs(arguments.seconds.max(1)),
        connections: arguments.connections,
        weir,
        weir_config: arguments.weir_config,
        peers: arguments.peers.iter().map(|name| peer::Kind::named(name)).collect::<Result<_>>()?,
    };
    process::raise_open_files();
    for work in arguments.work {
        match work {
            Work::KeepAlive => rounds::simple(&plan, &rows::KEEP_ALIVE)?,
            Work::Connections => rounds::simple(&plan, &rows::CONNECTIONS)?,
            Work::Bodies => rounds::simple(&plan, &rows::BODIES)?,
            Work::TlsKeepAlive => rounds::simple(&plan, &rows::TLS_KEEP_ALIVE)?,
            Work::TlsHandshakes => rounds::simple(&plan, &rows::TLS_HANDSHAKES)?,
            Work::TlsBodies => rounds::simple(&plan, &rows::TLS_BODIES)?,
            Work::H2 => rounds::simple(&plan, &rows::H2)?,
            Work::TcpKeepAlive => rounds::simple(&plan, &rows::TCP_KEEP_ALIVE)?,
            Work::TcpConnections => rounds::simple(&plan, &rows::TCP_CONNECTIONS)?,
            Work::TcpBodies => rounds::simple(&plan, &rows::TCP_BODIES)?,
            Work::Routes => rounds::routes(&plan)?,
            Work::Idle => idle::measure(&plan)?,
            Work::Instructions => instructions::measure(&plan)?,
        }
    }
    Ok(())
}
