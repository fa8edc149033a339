//! The config of each balancer, and of the backend: as their manuals advise, and equal in what they do.

use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use anyhow::Result;

use crate::peer::Front;
use crate::tls;

/// Where a balancer listens, whom it serves, and where its files lie.
pub(crate) struct Ends<'e> {
    pub(crate) directory: &'e Path,
    pub(crate) address: SocketAddr,
    pub(crate) backend: SocketAddr,
}

/// Weir's, with `more` at its top level.
pub(crate) fn weir(more: &str, ends: &Ends<'_>, front: Front) -> String {
    let Ends { address, backend, .. } = ends;
    let (protocol, tls, check) = match front {
        Front::Routes(routes) => {
            let body = weir_benches::routes_yaml(&address.to_string(), &backend.to_string(), routes);
            return format!("admin: off\nworkers: 1\n{more}\n{body}");
        }
        Front::Http => ("http", String::new(), "http_health_check: {path: /healthz}"),
        Front::Tls { resume } => {
            let tickets = if resume { "on" } else { "off" };
            let tls = format!(
                "    tls: {{cert: {}, key: {}, session_tickets: {tickets}, max_handshakes: 8192}}\n",
                tls::CERTIFICATE,
                tls::KEY
            );
            ("http", tls, "http_health_check: {path: /healthz}")
        }
        Front::Tcp { .. } => ("tcp", String::new(), "tcp_health_check: {}"),
    };
    format!(
        "admin: off\nworkers: 1\n{more}\nlisteners:\n  - name: web\n    bind: {address}\n    protocol: {protocol}\n    cluster: main\n{tls}\
         clusters:\n  - name: main\n    endpoints: [\"{backend}\"]\n    health_checks:\n      - {{timeout: 1s, interval: 5s, {check}}}\n"
    )
}

/// The backend's: it answers from memory, and from the file `large` of its directory.
pub(crate) fn backend(directory: &Path, address: SocketAddr) -> String {
    let server = format!(
        "server {{ listen {address} backlog=4096; root {}; location / {{ return 200 \"a small answer\"; }} location /large {{ }} }}",
        directory.display()
    );
    nginx_http(directory, &server)
}

/// nginx's: as its manual advises for keep-alive upstreams, with the header fields that Weir adds.
pub(crate) fn nginx(ends: &Ends<'_>, front: Front) -> String {
    let Ends { directory, address, backend } = ends;
    let proxy = "proxy_pass http://main; proxy_http_version 1.1; proxy_set_header Connection \"\"; \
                 proxy_set_header Host $http_host; proxy_set_header X-Forwarded-For $remote_addr; \
                 proxy_set_header X-Forwarded-Proto $scheme; proxy_set_header X-Forwarded-Host $http_host; \
                 proxy_set_header X-Request-Id $request_id; proxy_max_temp_file_size 0;";
    let mut http = format!("upstream main {{ server {backend}; keepalive 256; keepalive_requests 1000000000; }}\n");
    match front {
        Front::Http => {
            let _ = writeln!(http, "server {{ listen {address} backlog=4096; location / {{ {proxy} }} }}");
        }
        Front::Routes(routes) => {
            for n in 0..routes {
                let _ = writeln!(
                    http,
                    "server {{ listen {address}; server_name h{n}.example; location /p{n} {{ {proxy} }} }}"
                );
            }
        }
        Front::Tls { resume } => {
            // `$http_host` is empty over HTTP/2, whose clients say `:authority`.
            let proxy = proxy.replace("$http_host", "$host");
            let tickets =
                if resume { "ssl_session_tickets on;" } else { "ssl_session_tickets off; ssl_session_cache off;" };
            let _ = writeln!(
                http,
                "server {{ listen {address} ssl http2 backlog=4096; ssl_certificate {path}/{}; ssl_certificate_key {path}/{};\n\
                 ssl_protocols TLSv1.2 TLSv1.3; {tickets} location / {{ {proxy} }} }}",
                tls::CERTIFICATE,
                tls::KEY,
                path = directory.display(),
            );
        }
        Front::Tcp { .. } => return nginx_stream(directory, *address, *backend),
    }
    nginx_http(directory, &http)
}

fn nginx_http(directory: &Path, http: &str) -> String {
    let path = directory.display();
    format!(
        "{}\nhttp {{ access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000000;\n\
         client_body_temp_path {path}/b; proxy_temp_path {path}/p; fastcgi_temp_path {path}/f; uwsgi_temp_path {path}/u; scgi_temp_path {path}/s;\n\
         server_names_hash_max_size 65536; server_names_hash_bucket_size 128;\n{http}\n}}\n",
        nginx_process(directory)
    )
}

fn nginx_stream(directory: &Path, address: SocketAddr, backend: SocketAddr) -> String {
    // Debian packages the module by itself.
    format!(
        "load_module /usr/lib/nginx/modules/ngx_stream_module.so;\n{}\n\
         stream {{ server {{ listen {address} backlog=4096; proxy_connect_timeout 1s; proxy_timeout 1h; proxy_pass {backend}; }} }}\n",
        nginx_process(directory)
    )
}

fn nginx_process(directory: &Path) -> String {
    format!(
        "daemon off; master_process off; worker_processes 1; worker_rlimit_nofile 18000; pid {}/pid;\n\
         events {{ worker_connections 9000; }}",
        directory.display()
    )
}

/// HAProxy's.
///
/// # Errors
/// When its maps of routes cannot be written.
pub(crate) fn haproxy(ends: &Ends<'_>, front: Front) -> Result<String> {
    let Ends { directory, address, backend } = ends;
    let (choose, bind) = match front {
        Front::Tcp { bulk } => return Ok(haproxy_tcp(*address, *backend, bulk)),
        Front::Routes(routes) => (haproxy_routes(directory, routes)?, String::new()),
        Front::Http => ("  default_backend main\n".to_owned(), String::new()),
        Front::Tls { resume } => {
            let tickets = if resume { "" } else { " no-tls-tickets" };
            let bind = format!(" ssl crt {}/{} alpn h2,http/1.1{tickets}", directory.display(), tls::BOTH);
            ("  default_backend main\n".to_owned(), bind)
        }
    };
    let cache = if front == (Front::Tls { resume: false }) { "  tune.ssl.cachesize 0\n" } else { "" };
    Ok(format!(
        "global\n  nbthread 1\n  maxconn 8000\n  maxpipes 512\n{cache}defaults\n  mode http\n  timeout client 60s\n  timeout server 15s\n  timeout connect 1s\n  \
         timeout http-keep-alive 60s\n  http-reuse always\n  option splice-response\n  option forwardfor\n\
         frontend web\n  bind {address} backlog 4096{bind}\n  unique-id-format %{{+X}}o\\ %ci:%cp_%fi:%fp_%Ts_%rt:%pid\n  unique-id-header X-Request-Id\n  \
         http-request set-header X-Forwarded-Proto {}\n  http-request set-header X-Forwarded-Host %[req.hdr(host)]\n{choose}\
         backend main\n  server one {backend} check inter 5s\n",
        if bind.is_empty() { "http" } else { "https" },
    ))
}

fn haproxy_routes(directory: &Path, routes: u32) -> Result<String> {
    let map = directory.join("hosts.map");
    let lines: String = (0..routes).map(|n| format!("h{n}.example main\n")).collect();
    fs::write(&map, lines)?;
    let paths = directory.join("paths.map");
    let lines: String = (0..routes).map(|n| format!("/p{n} main\n")).collect();
    fs::write(&paths, lines)?;
    Ok(format!(
        "  acl known path,map_beg({}) -m found\n  http-request deny if !known\n  use_backend %[req.hdr(host),lower,map({})]\n",
        paths.display(),
        map.display()
    ))
}

fn haproxy_tcp(address: SocketAddr, backend: SocketAddr, bulk: bool) -> String {
    // Left to itself it copies half of the bytes of a large answer; always splicing costs small ones more.
    let splice = if bulk { "splice-response" } else { "splice-auto" };
    format!(
        "global\n  nbthread 1\n  maxconn 8000\n  maxpipes 512\ndefaults\n  mode tcp\n  timeout client 1h\n  timeout server 1h\n  timeout connect 1s\n  \
         option {splice}\nfrontend web\n  bind {address} backlog 4096\n  default_backend main\n\
         backend main\n  server one {backend} check inter 5s\n"
    )
}
