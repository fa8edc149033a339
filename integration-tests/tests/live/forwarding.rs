//! What becomes of header fields on the way: hop-by-hop fields, `X-Forwarded-*`, `Forwarded`,
//! request ids, and order and form of everything else.

use weir_integration_tests::backend::Backend;
use weir_integration_tests::client::get;
use weir_integration_tests::message::Fields;

use crate::{Front, Scene};

/// The fields a backend gets for this request.
fn sent_on(front: &Front, request: &str) -> Fields {
    assert_eq!(front.ask(request).status, 200);
    front.backend.requests().pop().expect("a request").fields
}

#[test]
fn hop_by_hop_fields_stay_behind() {
    let front = Front::new(Backend::fixed(
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: x-secret, keep-alive\r\nX-Secret: 1\r\n\
         Keep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\nX-Kept: 2\r\n\r\n",
    ));
    let request = "GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, X-Hop, x-other-hop\r\nX-Hop: 1\r\nX-Other-Hop: 2\r\n\
                   Keep-Alive: 300\r\nProxy-Connection: keep-alive\r\nTE: gzip\r\nUpgrade: h2c\r\nX-End: 3\r\n\r\n";
    let answer = front.ask(request);
    let sent = front.backend.only_request().fields;
    for name in ["x-hop", "x-other-hop", "keep-alive", "proxy-connection", "te", "upgrade"] {
        assert_eq!(sent.get(name), None, "{name} is for us alone");
    }
    assert_eq!(sent.get("x-end"), Some("3"));
    for name in ["x-secret", "keep-alive", "proxy-connection"] {
        assert_eq!(answer.fields.get(name), None, "{name} is for us alone");
    }
    assert_eq!(answer.fields.get("x-kept"), Some("2"));
}

#[test]
fn connection_cannot_take_away_what_frames_or_addresses_a_request() {
    let front = Front::new(Backend::text("x"));
    let request = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nConnection: host, content-length, x-forwarded-for\r\n\r\nabc";
    let sent = sent_on(&front, request);
    assert_eq!(sent.get("host"), Some("a"));
    assert_eq!(sent.get("content-length"), Some("3"));
    assert_eq!(sent.get("x-forwarded-for"), Some("127.0.0.1"));
}

#[test]
fn who_asked_is_told_to_the_endpoint() {
    let front = Front::new(Backend::text("x"));
    let sent = sent_on(&front, "GET / HTTP/1.1\r\nHost: shop.example:81\r\n\r\n");
    assert_eq!(sent.get("host"), Some("shop.example:81"), "Host goes on as it came");
    assert_eq!(sent.get("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(sent.get("x-forwarded-proto"), Some("http"));
    assert_eq!(sent.get("x-forwarded-host"), Some("shop.example:81"));
    assert_eq!(sent.get("forwarded"), None, "off by default");
    assert!(sent.get("x-request-id").is_some_and(|id| id.len() >= 16));
}

const LIES: &str = "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: https\r\n\
                    X-Forwarded-Host: bank.example\r\nForwarded: for=6.6.6.6\r\nX-Request-Id: mine\r\n\r\n";

#[test]
fn what_a_stranger_says_about_others_is_not_believed() {
    let front = Front::new(Backend::text("x"));
    let sent = sent_on(&front, LIES);
    assert_eq!(sent.get("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(sent.get("x-forwarded-proto"), Some("http"));
    assert_eq!(sent.get("x-forwarded-host"), Some("a"));
    assert_eq!(sent.get("forwarded"), None);
    assert_ne!(sent.get("x-request-id"), Some("mine"));
}

#[test]
fn what_a_trusted_proxy_says_is_kept_and_added_to() {
    let front = Front::with(Backend::text("x"), |scene| scene.listener("trusted_proxies: [127.0.0.0/8]"));
    let sent = sent_on(&front, LIES);
    let chain = sent.all("x-forwarded-for").join(", ");
    assert_eq!(chain, "6.6.6.6, 127.0.0.1");
    assert_eq!(sent.get("x-forwarded-proto"), Some("https"));
    assert_eq!(sent.get("x-forwarded-host"), Some("bank.example"));
    assert_eq!(sent.get("x-request-id"), Some("mine"));
}

#[test]
fn forwarded_of_rfc_7239_when_asked_for() {
    let front =
        Front::with(Backend::text("x"), |scene| scene.listener("headers: {forwarded: true, x_forwarded: false}"));
    let sent = sent_on(&front, "GET / HTTP/1.1\r\nHost: shop.example:81\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n");
    let forwarded = sent.get("forwarded").expect("Forwarded").to_ascii_lowercase();
    assert!(forwarded.contains("for=127.0.0.1") || forwarded.contains("for=\"127.0.0.1"), "{forwarded}");
    assert!(forwarded.contains("proto=http"), "{forwarded}");
    assert!(forwarded.contains("host=\"shop.example:81\""), "a colon needs quotes: {forwarded}");
    assert_eq!(sent.get("x-forwarded-proto"), None);
}

#[test]
fn the_request_id_is_the_same_on_both_sides_and_new_for_each_request() {
    let front = Front::new(Backend::text("x"));
    let first = front.ask(&get("/"));
    let second = front.ask(&get("/"));
    let ids: Vec<String> =
        front.backend.requests().iter().map(|r| r.fields.get("x-request-id").expect("an id").to_owned()).collect();
    assert_eq!(first.fields.get("x-request-id"), Some(ids[0].as_str()));
    assert_eq!(second.fields.get("x-request-id"), Some(ids[1].as_str()));
    assert_ne!(ids[0], ids[1]);
}

#[test]
fn what_is_switched_off_is_not_added() {
    let front = Front::with(Backend::text("x"), |scene| {
        scene.listener("headers: {x_forwarded: false, request_id: false, reason: false}")
    });
    let answer = front.ask(&get("/"));
    let sent = front.backend.only_request().fields;
    for name in ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-request-id", "forwarded"] {
        assert_eq!(sent.get(name), None, "{name}");
    }
    assert_eq!(answer.fields.get("x-request-id"), None);
    let refused = front.ask("GET / HTTP/1.1\r\n\r\n");
    assert_eq!((refused.status, refused.reason()), (400, None));
}

#[test]
fn the_reason_header_is_ours_alone() {
    let front = Front::new(Backend::fixed(
        "HTTP/1.1 503 Service Unavailable\r\nX-Weir-Reason: no_healthy_endpoint\r\nContent-Length: 0\r\n\r\n",
    ));
    let answer = front.ask(&get("/"));
    assert_eq!((answer.status, answer.reason()), (503, None), "an endpoint cannot speak for us");
}

#[test]
fn other_fields_pass_in_order_and_as_they_are() {
    let front = Front::new(Backend::fixed(
        "HTTP/1.1 200 Fine\r\nContent-Length: 0\r\nSet-Cookie: a=1\r\nServer: old\r\nSet-Cookie: b=2\r\nX-Empty:\r\n\r\n",
    ));
    let answer = front.ask("GET /%7Ea//b/../c?x=%20+y HTTP/1.1\r\nHost: a\r\nX-One: 1\r\nCookie: a=1; b=2\r\nX-One: 2\r\nX-Empty:\r\nX-Tab: a\tb\r\n\r\n");
    let request = front.backend.only_request();
    assert_eq!(request.target, "/%7Ea//b/../c?x=%20+y", "a target is never rewritten");
    assert_eq!(request.fields.all("x-one"), ["1", "2"]);
    assert_eq!(request.fields.get("cookie"), Some("a=1; b=2"));
    assert_eq!(request.fields.get("x-empty"), Some(""));
    assert_eq!(request.fields.get("x-tab"), Some("a\tb"));
    assert_eq!(answer.start, "HTTP/1.1 200 Fine");
    assert_eq!(answer.fields.all("set-cookie"), ["a=1", "b=2"]);
    assert_eq!(answer.fields.get("server"), Some("old"));
    assert_eq!(answer.fields.get("x-empty"), Some(""));
}

#[test]
fn routes_choose_by_host_path_method_and_header_and_the_first_in_the_file_wins() {
    let names = ["exact", "wild", "path", "prefix", "method", "header", "rest"];
    let backends: Vec<Backend> = names.iter().map(|name| Backend::text(name)).collect();
    let web = Scene::to(backends[0].address()).web;
    let mut yaml = format!(
        "listeners:\n  - name: web\n    bind: {web}\n    protocol: http\n    routes:\n\
         \x20     - {{match: {{host: shop.example}}, cluster: exact}}\n\
         \x20     - {{match: {{host: '*.shop.example'}}, cluster: wild}}\n\
         \x20     - {{match: {{path: /only}}, cluster: path}}\n\
         \x20     - {{match: {{path_prefix: /orders}}, cluster: prefix}}\n\
         \x20     - {{match: {{method: [PUT, DELETE]}}, cluster: method}}\n\
         \x20     - {{match: {{header: {{x-employee: \"true\"}}}}, cluster: header}}\n\
         \x20     - {{match: {{path_prefix: /rest}}, cluster: rest}}\nclusters:\n"
    );
    for (name, backend) in names.iter().zip(&backends) {
        yaml.push_str(&format!("  - {{name: {name}, endpoints: [\"{}\"]}}\n", backend.address()));
    }
    let weir = weir_integration_tests::weir::Weir::start(&yaml);
    let ask = |line: &str, fields: &str| {
        let request = format!("{line} HTTP/1.1\r\n{fields}\r\n");
        weir_integration_tests::client::RawClient::once(web, &request).unwrap()
    };
    for (line, fields, text) in [
        ("GET /", "Host: SHOP.example:99\r\n", "exact"),
        ("GET /orders", "Host: shop.example\r\n", "exact"),
        ("GET /", "Host: a.b.shop.example\r\n", "wild"),
        ("GET /only?x", "Host: x\r\n", "path"),
        ("GET /orders", "Host: x\r\n", "prefix"),
        ("GET /orders/", "Host: x\r\n", "prefix"),
        ("PUT /orders/7?a", "Host: x\r\n", "prefix"),
        ("PUT /", "Host: x\r\nContent-Length: 0\r\n", "method"),
        ("GET /", "Host: x\r\nX-Employee: true\r\n", "header"),
        ("GET /rest/of", "Host: x\r\n", "rest"),
    ] {
        assert_eq!(ask(line, fields).text(), text, "{line} {fields:?}");
    }
    for (line, fields) in [
        ("GET /", "Host: notshop.example\r\n"),
        ("GET /ordersx", "Host: x\r\n"),
        ("GET /only/more", "Host: x\r\n"),
        ("GET /", "Host: x\r\nX-Employee: false\r\n"),
        ("put /", "Host: x\r\n"),
    ] {
        let answer = ask(line, fields);
        assert_eq!((answer.status, answer.reason()), (404, Some("no_route")), "{line} {fields:?}");
    }
    drop(weir);
}
