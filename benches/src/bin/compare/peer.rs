//! The balancers under test and the backend behind them: their configs and how they are started.

use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use tempfile::TempDir;

use crate::Plan;
use crate::process::{self, Process};

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

/// Writes the config of a balancer in front of `backend`; with `routes`, one for each of so many
/// hosts and paths, else one for everything.
pub(crate) fn prepare(plan: &Plan, kind: Kind, backend: SocketAddr, routes: Option<u32>) -> Result<Prepared> {
    let directory = tempfile::tempdir()?;
    let address = process::free_address()?;
    let path = directory.path();
    let (file, text) = match kind {
        Kind::Weir => ("weir.yaml", weir(plan, address, backend, routes)),
        Kind::Nginx => ("nginx.conf", nginx(path, address, backend, routes)),
        Kind::Haproxy => ("haproxy.cfg", haproxy(path, address, backend, routes)?),
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
pub(crate) fn start(plan: &Plan, kind: Kind, backend: SocketAddr, routes: Option<u32>) -> Result<Peer> {
    let Prepared { command, address, directory } = prepare(plan, kind, backend, routes)?;
    let process = Process::start(0, &command, address)?;
    let name = routes.map_or_else(|| kind.name().to_owned(), |routes| format!("{}, {routes} routes", kind.name()));
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
        let server = format!(
            "server {{ listen {address} backlog=4096; root {}; location / {{ return 200 \"a small answer\"; }} location /large {{ }} }}",
            path.display()
        );
        let file = path.join("nginx.conf");
        fs::write(&file, nginx_frame(path, &server))?;
        let command = nginx_command(path, &file.display().to_string());
        Ok(Self { address, _process: Process::start(1, &command, address)?, _directory: directory })
    }
}

fn weir(plan: &Plan, address: SocketAddr, backend: SocketAddr, routes: Option<u32>) -> String {
    let top = format!("admin: off\nworkers: 1\n{}\n", plan.weir_config);
    let body = match routes {
        Some(routes) => weir_benches::routes_yaml(&address.to_string(), &backend.to_string(), routes),
        None => format!(
            "listeners:\n  - {{name: web, bind: {address}, protocol: http, cluster: main}}\nclusters:\n  - name: main\n    \
             endpoints: [\"{backend}\"]\n    health_checks:\n      - {{timeout: 1s, interval: 5s, http_health_check: {{path: /healthz}}}}\n"
        ),
    };
    top + &body
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

fn nginx_frame(directory: &Path, http: &str) -> String {
    let path = directory.display();
    format!(
        "daemon off; master_process off; worker_processes 1; worker_rlimit_nofile 18000; pid {path}/pid;\n\
         events {{ worker_connections 9000; }}\nhttp {{ access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000000;\n\
         client_body_temp_path {path}/b; proxy_temp_path {path}/p; fastcgi_temp_path {path}/f; uwsgi_temp_path {path}/u; scgi_temp_path {path}/s;\n\
         server_names_hash_max_size 65536; server_names_hash_bucket_size 128;\n{http}\n}}\n"
    )
}

/// As its manual advises for keep-alive upstreams, with the header fields that Weir adds.
fn nginx(directory: &Path, address: SocketAddr, backend: SocketAddr, routes: Option<u32>) -> String {
    let proxy = "proxy_pass http://main; proxy_http_version 1.1; proxy_set_header Connection \"\"; \
                 proxy_set_header Host $http_host; proxy_set_header X-Forwarded-For $remote_addr; \
                 proxy_set_header X-Forwarded-Proto $scheme; proxy_set_header X-Forwarded-Host $http_host; \
                 proxy_set_header X-Request-Id $request_id; proxy_max_temp_file_size 0;";
    let mut http = format!("upstream main {{ server {backend}; keepalive 256; keepalive_requests 1000000000; }}\n");
    match routes {
        None => {
            let _ = writeln!(http, "server {{ listen {address} backlog=4096; location / {{ {proxy} }} }}");
        }
        Some(routes) => {
            for n in 0..routes {
                let _ = writeln!(
                    http,
                    "server {{ listen {address}; server_name h{n}.example; location /p{n} {{ {proxy} }} }}"
                );
            }
        }
    }
    nginx_frame(directory, &http)
}

fn haproxy(directory: &Path, address: SocketAddr, backend: SocketAddr, routes: Option<u32>) -> Result<String> {
    let choose = match routes {
        None => "  default_backend main\n".to_owned(),
        Some(routes) => {
            let map = directory.join("hosts.map");
            let lines: String = (0..routes).map(|n| format!("h{n}.example main\n")).collect();
            fs::write(&map, lines)?;
            let paths = directory.join("paths.map");
            let lines: String = (0..routes).map(|n| format!("/p{n} main\n")).collect();
            fs::write(&paths, lines)?;
            format!(
                "  acl known path,map_beg({}) -m found\n  http-request deny if !known\n  use_backend %[req.hdr(host),lower,map({})]\n",
                paths.display(),
                map.display()
            )
        }
    };
    Ok(format!(
        "global\n  nbthread 1\n  maxconn 8000\n  maxpipes 512\ndefaults\n  mode http\n  timeout client 60s\n  timeout server 15s\n  timeout connect 1s\n  \
         timeout http-keep-alive 60s\n  http-reuse always\n  option splice-response\n  option forwardfor\n\
         frontend web\n  bind {address} backlog 4096\n  unique-id-format %{{+X}}o\\ %ci:%cp_%fi:%fp_%Ts_%rt:%pid\n  unique-id-header X-Request-Id\n  \
         http-request set-header X-Forwarded-Proto http\n  http-request set-header X-Forwarded-Host %[req.hdr(host)]\n{choose}\
         backend main\n  server one {backend} check inter 5s\n"
    ))
}

/// Debian's daemons stand where a user's PATH may not look.
fn found(program: &str) -> String {
    let usual = PathBuf::from("/usr/sbin").join(program);
    if usual.exists() { usual.display().to_string() } else { program.to_owned() }
}
