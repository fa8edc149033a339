//! What a change of TLS, HTTP/2, UDP, actions and limits is said to do.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

use weir_config::Touches::{self, NewConnections, NewRequests};
use weir_config::{Changes, Config, Source, diff, parse};

const FULL: &str = include_str!("../examples/full.yaml");

fn read(folder: &str, name: &str) -> std::io::Result<Vec<u8>> {
    std::fs::read(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(folder).join(name))
}

/// What `text` means, with the files in `instead` in place of those of the examples.
fn config_with(text: &str, instead: &[(&str, &str)]) -> Config {
    let files = |name: &str| match instead.iter().find(|(file, _)| *file == name) {
        Some((_, other)) => read("tests/mistakes/files", other),
        None => read("examples", name),
    };
    parse(text, &Source { name: "full.yaml", env: &|_| None, files: &files }).unwrap().config
}

fn told(changes: &Changes) -> Vec<(&str, Touches)> {
    changes.iter().map(|change| (&*change.what, change.touches)).collect()
}

const TABLE: &[(&str, &str, Touches, &str)] = &[
    ("tunnel_idle: 1h ", "tunnel_idle: 2h ", NewRequests, "listener web: timeouts: tunnel_idle 1h -> 2h"),
    (
        "connections_per_client: 100",
        "connections_per_client: 200",
        NewConnections,
        "listener web: limits: connections_per_client 100 -> 200",
    ),
    (
        "allow: [10.0.0.0/8, 192.0.2.0/24]",
        "allow: [10.0.0.0/8]",
        NewRequests,
        "listener web: allow 10.0.0.0/8, 192.0.2.0/24 -> 10.0.0.0/8",
    ),
    ("deny: [10.6.6.6]", "deny: []", NewRequests, "listener web: deny 10.6.6.6/32 -> none"),
    (
        "burst: 200",
        "burst: 300",
        NewRequests,
        "listener web: rate_limit 100 per 1s, burst 200, of each client address, 100000 at the most -> \
         100 per 1s, burst 300, of each client address, 100000 at the most",
    ),
    (
        "max_concurrent_streams: 100",
        "max_concurrent_streams: 50",
        NewConnections,
        "listener web: http2: max_concurrent_streams 100 -> 50",
    ),
    ("ping_interval: 30s", "ping_interval: off", NewConnections, "listener web: http2: ping_interval 30s -> off"),
    ("ping_timeout: 10s", "ping_timeout: 5s", NewConnections, "listener web: http2: ping_timeout 10s -> 5s"),
    (
        "max_connection_age: 1h",
        "max_connection_age: 2h",
        NewConnections,
        "listener web: http2: max_connection_age 1h -> 2h",
    ),
    (
        "port: 8443\n",
        "port: 9443\n",
        NewRequests,
        "listener web: route for /old/*: target redirect to https://new.example:8443/new/* (308) -> \
         redirect to https://new.example:9443/new/* (308)",
    ),
    (
        "respond: {status: 200,",
        "respond: {status: 201,",
        NewRequests,
        "listener web: route for =/robots.txt: target answer 200 with 14 bytes of text/plain; charset=utf-8 -> \
         answer 201 with 14 bytes of text/plain; charset=utf-8",
    ),
    (
        "rewrite: {path_prefix: /v1, ",
        "rewrite: {path_prefix: /v2, ",
        NewRequests,
        "listener web: route for /api/*: rewrite path /v1/* -> /v2/*",
    ),
    (
        "host: api.internal}",
        "host: api.other}",
        NewRequests,
        "listener web: route for /api/*: rewrite host api.internal -> api.other",
    ),
    (
        "x-client: \"{client_address}\"",
        "x-client: \"{host}\"",
        NewRequests,
        "listener web: route for /api/*: request headers other values for -x-debug =x-client =x-braces +via",
    ),
    (
        "remove: server}",
        "remove: [server, x-a]}",
        NewRequests,
        "listener web: route for /api/*: response headers -server =x-served-by +vary -> \
         -server -x-a =x-served-by +vary",
    ),
    (
        "upgrade: [websocket, connect]",
        "upgrade: []",
        NewRequests,
        "listener web: route for /api/*: upgrade websocket, connect -> none",
    ),
    ("deny: [10.7.0.0/16]", "deny: []", NewRequests, "listener web: route for /api/*: deny 10.7.0.0/16 -> none"),
    (
        "rate_limit: {requests: 10, key: {header: x-api-key}}",
        "rate_limit: {requests: 10, key: everybody}",
        NewRequests,
        "listener web: route for /api/*: rate_limit 10 per 1s, burst 10, of each x-api-key, 100000 at the most -> \
         10 per 1s, burst 10, of everybody",
    ),
    ("alpn: [h2, http/1.1] ", "alpn: http/1.1 ", NewConnections, "listener secure: tls alpn h2, http/1.1 -> http/1.1"),
    (
        "min_version: \"1.2\"          # 1.2",
        "min_version: 1.3            # 1.2",
        NewConnections,
        "listener secure: tls min_version 1.2 -> 1.3",
    ),
    (
        "mode: require  ",
        "mode: request  ",
        NewConnections,
        "listener secure: tls client_certificates mode require -> request",
    ),
    (
        "ca: clients.pem",
        "ca: ca.pem",
        NewConnections,
        "listener secure: tls client_certificates ca clients.pem (1 authority) -> ca.pem (1 authority)",
    ),
    (
        "forward: true  ",
        "forward: false ",
        NewConnections,
        "listener secure: tls client_certificates forward on -> off",
    ),
    (
        "session_tickets: {key_file: tickets.key}",
        "session_tickets: off",
        NewConnections,
        "listener secure: tls session_tickets tickets.key (2 keys) -> off",
    ),
    (
        "handshake_timeout: 10s",
        "handshake_timeout: 5s",
        NewConnections,
        "listener secure: tls handshake_timeout 10s -> 5s",
    ),
    ("max_handshakes: 1024", "max_handshakes: 512", NewConnections, "listener secure: tls max_handshakes 1024 -> 512"),
    (
        "mode: required ",
        "mode: optional ",
        NewConnections,
        "listener secure: proxy_protocol required from 10.0.0.0/8 -> optional from 10.0.0.0/8",
    ),
    ("max_session: 12h}", "max_session: 6h}", NewConnections, "listener databases: timeouts: max_session 12h -> 6h"),
    ("on_unhealthy: close", "on_unhealthy: keep", NewConnections, "listener databases: on_unhealthy close -> keep"),
    (
        "      idle: 60s                   # a flow",
        "      idle: 5s #",
        NewConnections,
        "listener names: udp: idle 1m -> 5s",
    ),
    ("max_flows: 65536", "max_flows: 1000", NewConnections, "listener names: udp: max_flows 65536 -> 1000"),
    ("responses: 1 ", "responses: 2 ", NewConnections, "listener names: udp: responses 1 -> 2"),
    ("protocol: h2 ", "protocol: h1 ", NewRequests, "cluster orders-v3: protocol h2 -> h1"),
    (
        "server_name: orders.internal",
        "server_name: other.internal",
        NewRequests,
        "cluster orders-v3: tls server_name orders.internal -> other.internal",
    ),
    (
        "      ca: ca.pem  ",
        "      # no ca     ",
        NewRequests,
        "cluster orders-v3: tls verify ca.pem -> the system's authorities",
    ),
    ("verify: on ", "verify: off ", NewRequests, "cluster orders-v3: tls verify ca.pem -> off"),
    (
        "certificate: {cert: weir.pem, key: weir.key}",
        "",
        NewRequests,
        "cluster orders-v3: tls certificate weir.pem (weir.example, until 2126-01-01) -> none",
    ),
    ("proxy_protocol: v2", "proxy_protocol: off", NewRequests, "cluster orders-v3: proxy_protocol v2 -> off"),
    (
        "authority: shop.example}",
        "authority: other.example}",
        NewRequests,
        "cluster orders-v3: health check gRPC health of shop.v1.Orders: authority shop.example -> other.example",
    ),
    (
        "receive: +PONG",
        "receive: +OK",
        NewRequests,
        "cluster databases: health check TCP dialogue: receive \"+PONG\" -> \"+OK\"",
    ),
    ("send: \"PING", "send: \"AUTH x", NewRequests, "cluster databases: health check TCP dialogue: what it sends"),
];

#[test]
fn every_key_of_a_protocol_is_told_with_what_it_touches() {
    let full = config_with(FULL, &[]);
    for (from, to, touches, what) in TABLE {
        assert!(FULL.contains(from), "{from:?} is not in the example");
        let changes = diff(&full, &config_with(&FULL.replacen(from, to, 1), &[]));
        assert_eq!(told(&changes), [(*what, *touches)], "{from} -> {to}");
    }
}

#[test]
fn routes_by_name_asked_for_are_known_by_it() {
    let other = FULL.replacen("sni: [db.example, \"*.db.example\"]", "sni: db.example", 1);
    let changes = diff(&config_with(FULL, &[]), &config_with(&other, &[]));
    let expected = [
        ("listener databases: route for sni db.example|*.db.example to databases: removed", NewRequests),
        ("listener databases: route for sni db.example to databases: new", NewRequests),
        ("listener databases: the order of its routes", NewRequests),
    ];
    assert_eq!(told(&changes)[..2], expected[..2]);
}

#[test]
fn another_certificate_in_the_same_file_is_told_by_what_it_is() {
    let full = config_with(FULL, &[]);
    let renewed = config_with(FULL, &[("shop.pem", "soon.pem"), ("shop.key", "soon.key")]);
    let change = "certificate shop.pem: shop.example, *.shop.example, *.example, localhost and 2 more, \
                  until 2126-01-01 -> shop.example, until 2027-01-10";
    let expected = [format!("listener secure: {change}"), format!("listener inner: {change}")];
    let changes = diff(&full, &renewed);
    assert_eq!(told(&changes), expected.each_ref().map(|what| (&**what, NewConnections)));
    let renewed = config_with(FULL, &[("ca.pem", "other.pem"), ("weir.pem", "both.pem"), ("weir.key", "both.pem")]);
    let expected = [
        ("cluster orders-v3: tls ca ca.pem (1 authority): others than before", NewRequests),
        (
            "cluster orders-v3: tls certificate weir.pem: weir.example, until 2126-01-01 -> \
             shop.example, *.shop.example, *.example, localhost and 2 more, until 2126-01-01",
            NewRequests,
        ),
    ];
    assert_eq!(told(&diff(&full, &renewed)), expected);
}

#[test]
fn tls_comes_and_goes() {
    let tls = "    tls: {cert: shop.pem, key: shop.key, ocsp: shop.ocsp}\n    cluster: orders-v3\n";
    assert!(FULL.contains(tls));
    let (with, without) = (config_with(FULL, &[]), config_with(&FULL.replace(tls, "    cluster: orders-v3\n"), &[]));
    assert_eq!(told(&diff(&with, &without)), [("listener inner: tls: off", NewConnections)]);
    let on = "listener inner: tls: on, with shop.pem (shop.example, *.shop.example, *.example, localhost and 2 more, \
              until 2126-01-01)";
    assert_eq!(told(&diff(&without, &with)), [(on, NewConnections)]);
    let replaced = config_with(FULL, &[("shop.ocsp", "shop.ocsp"), ("tickets.key", "short80.key")]);
    let keys = "listener secure: tls session_tickets tickets.key (2 keys) -> tickets.key (1 key)";
    assert_eq!(told(&diff(&with, &replaced)), [(keys, NewConnections)]);
}

#[test]
fn sockets_of_datagrams_are_others_than_those_of_connections() {
    let text = |protocol: &str| {
        format!(
            "listeners: [{{name: dns, bind: '10.0.0.1:53', protocol: {protocol}, cluster: dns}}]\n\
             clusters: [{{name: dns, endpoints: ['10.0.0.2:53']}}]\n"
        )
    };
    let changes = diff(&config_with(&text("tcp"), &[]), &config_with(&text("udp"), &[]));
    let what: Vec<_> = changes.iter().map(|change| &*change.what).collect();
    let expected = ["listener dns: 10.0.0.1:53 is closed", "listener dns: listens on 10.0.0.1:53 too"];
    assert_eq!(what[..2], expected);
}

/// Keys are for handshakes: neither a diff nor a dump may tell them.
#[test]
fn private_keys_are_told_to_nobody() {
    let full = config_with(FULL, &[]);
    let dump = format!("{full:?}");
    let other =
        config_with(FULL, &[("shop.pem", "soon.pem"), ("shop.key", "soon.key"), ("tickets.key", "short80.key")]);
    let changes = diff(&full, &other);
    let told = format!("{changes}{}{changes:?}", changes.to_json());
    let tls = full.listeners.iter().find_map(|listener| listener.tls.as_ref()).unwrap();
    let weir_config::model::PrivateKey::Pkcs8(der) = &tls.certificates[0].key else { panic!("PKCS #8") };
    let part = |bytes: &[u8]| bytes.iter().map(u8::to_string).collect::<Vec<_>>().join(", ");
    let secrets = [part(&der[40..48]), part(&read("examples", "tickets.key").unwrap()[..8])];
    for secret in secrets {
        assert!(!dump.contains(&secret) && !told.contains(&secret), "{secret}");
    }
    assert!(dump.contains("PrivateKey(..)") || dump.contains("shop.pem"), "certificates are known by their file");
}
