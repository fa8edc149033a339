//! What is done to requests on their way: answered at once, rewritten, changed, kept out, limited.

use std::net::SocketAddr;
use std::process::Command;

use serde_json::Value;
use weir_integration_tests::backend::Backend;
use weir_integration_tests::client::{RawClient, get};
use weir_integration_tests::message::{Request, Response};
use weir_integration_tests::weir::Weir;
use weir_integration_tests::{place, wait};

/// A Weir with these routes (in flow style) before the one that takes everything else.
struct Town {
    weir: Weir,
    web: SocketAddr,
    backend: Backend,
}

impl Town {
    fn new(routes: &str) -> Self {
        Self::with("", "", routes)
    }

    /// Further lines for the top level, and keys for the listener.
    fn with(top: &str, listener: &str, routes: &str) -> Self {
        let (web, backend) = (place::address(), Backend::text("from the endpoint"));
        let weir = Weir::start(&yaml(web, &backend, top, listener, routes));
        Self { weir, web, backend }
    }

    fn ask(&self, request: &str) -> Response {
        RawClient::once(self.web, request)
            .unwrap_or_else(|broken| panic!("{broken} instead of an answer to {request:?}"))
    }

    /// What the endpoint gets of a request.
    fn sent_on(&self, request: &str) -> Request {
        assert_eq!(self.ask(request).status, 200, "{request}");
        self.backend.requests().pop().expect("a request")
    }
}

fn yaml(web: SocketAddr, backend: &Backend, top: &str, listener: &str, routes: &str) -> String {
    format!(
        "{top}\nlisteners:\n  - name: web\n    bind: {web}\n{listener}\n    routes:\n{routes}      - cluster: main\n\
         clusters: [{{name: main, endpoints: [\"{}\"]}}]\n",
        backend.address()
    )
}

fn request(method: &str, target: &str, host: &str) -> String {
    format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n\r\n")
}

const REDIRECTS: &str = "      - {match: {path_prefix: /old}, redirect: {path_prefix: /new}, name: moved}
      - {match: {path_prefix: /tls}, redirect: {scheme: https}}
      - {match: {path_prefix: /far}, redirect: {scheme: https, host: far.example, port: 8443, path: /x, status: 302, strip_query: true}}
      - {match: {host: same.example}, redirect: {status: 307, port: 81}}
";

#[test]
fn a_redirect_is_whole_and_keeps_what_it_is_not_told_to_change() {
    let town = Town::new(REDIRECTS);
    for (method, target, host, status, location) in [
        ("GET", "/old/a?b=c", "a.example", 301, "http://a.example/new/a?b=c"),
        ("POST", "/old", "a.example:8080", 308, "http://a.example:8080/new"),
        ("HEAD", "/old", "a.example:80", 301, "http://a.example/new"),
        ("GET", "/tls/x", "a.example:8080", 301, "https://a.example/tls/x"),
        ("GET", "/far/y?z", "a.example", 302, "https://far.example:8443/x"),
        ("GET", "http://b.example/old/a", "a.example", 301, "http://b.example/new/a"),
        ("GET", "//evil.example/%2e%2e", "same.example", 307, "http://same.example:81//evil.example/%2e%2e"),
        ("GET", "/\\evil.example", "same.example", 307, "http://same.example:81/\\evil.example"),
        ("OPTIONS", "*", "same.example", 307, "http://same.example:81/"),
        ("GET", "/", "same.example.", 307, "http://same.example.:81/"),
    ] {
        let answer = {
            let asked = request(method, target, host);
            let mut client = RawClient::connect(town.web);
            client.send(&asked);
            client.response_to(&asked).unwrap()
        };
        assert_eq!((answer.status, answer.fields.get("location")), (status, Some(location)), "{method} {target}");
        assert_eq!(answer.body.is_empty(), method == "HEAD", "{method} {target}");
        assert_eq!(answer.reason(), None, "it is no failure");
        assert!(answer.fields.get("x-request-id").is_some());
    }
    assert!(town.backend.requests().is_empty());
}

#[test]
fn a_request_without_a_host_is_sent_nowhere() {
    let town = Town::new("      - {redirect: {status: 301, port: 81}, match: {path_prefix: /a}}\n");
    let answer = town.ask("GET /a HTTP/1.0\r\n\r\n");
    assert_eq!((answer.status, answer.reason()), (400, Some("bad_host")));
    assert_eq!(answer.fields.get("location"), None);
}

#[test]
fn a_redirected_body_does_not_become_the_next_request() {
    let town = Town::new(REDIRECTS);
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    let mut client = RawClient::connect(town.web);
    client.send(format!("POST /old HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{smuggled}", smuggled.len()));
    client.send(request("GET", "/old/2", "a"));
    assert_eq!(client.response().unwrap().status, 308);
    let second = client.response().unwrap();
    assert_eq!(second.fields.get("location"), Some("http://a/new/2"));
    // Nor one whose end is not here yet: then the connection ends.
    for framing in ["Content-Length: 50", "Transfer-Encoding: chunked"] {
        let mut client = RawClient::connect(town.web);
        client.send(format!("POST /old HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n"));
        let answer = client.response().unwrap();
        assert!(answer.status == 308 && answer.closes(), "{framing}");
        let _ = client.try_send(smuggled);
        client.half_close();
        client.expect_end();
    }
    assert!(!town.backend.received_text().contains("smuggled"));
}

#[test]
fn what_a_client_writes_stays_in_its_place_in_a_redirect() {
    let town = Town::new("      - {match: {path_prefix: /a}, redirect: {host: b.example}}\n");
    let answer = town.ask(&request("GET", "/a?%0d%0aSet-Cookie:x=y&\"><script>alert(1)</script>", "a"));
    assert_eq!(answer.fields.get("set-cookie"), None);
    assert!(!answer.text().contains("<script>"), "{}", answer.text());
    for bad in ["GET /a\rb HTTP/1.1\r\nHost: a\r\n\r\n", "GET /a HTTP/1.1\r\nHost: a\rLocation: x\r\n\r\n"] {
        let answer = town.ask(bad);
        assert_eq!((answer.status, answer.fields.get("location")), (400, None), "{bad:?}");
    }
}

#[test]
fn fixed_answers() {
    let town = Town::new(
        "      - {match: {path: /robots.txt}, respond: {status: 200, body: \"User-agent: *\\n\"}}
      - {match: {path: /json}, respond: {status: 503, body: '{}', content_type: application/json}, headers: {response: {set: {retry-after: '7'}}}}
      - {match: {path: /none}, respond: {status: 204}}
      - {match: {path: /gone}, respond: {status: 410}}
",
    );
    let answer = town.ask(&get("/robots.txt"));
    assert_eq!((answer.status, answer.text().as_str()), (200, "User-agent: *\n"));
    assert_eq!(answer.fields.get("content-type"), Some("text/plain; charset=utf-8"));
    let answer = town.ask(&get("/json"));
    assert_eq!((answer.status, answer.fields.get("content-type")), (503, Some("application/json")));
    assert_eq!((answer.fields.get("retry-after"), answer.reason()), (Some("7"), None));
    let answer = town.ask(&get("/none"));
    assert_eq!((answer.status, answer.fields.get("content-length")), (204, None));
    let answer = town.ask(&get("/gone"));
    assert_eq!((answer.status, answer.fields.get("content-length")), (410, Some("0")));

    let asked = request("HEAD", "/robots.txt", "a");
    let mut client = RawClient::connect(town.web);
    client.send(&asked);
    let answer = client.response_to(&asked).unwrap();
    assert_eq!((answer.fields.get("content-length"), answer.body.len()), (Some("14"), 0));
    client.send(get("/none"));
    assert_eq!(client.response().unwrap().status, 204, "the connection stays");
}

#[test]
fn own_answers_are_counted_and_logged_as_what_they_are() {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("access.log");
    let town = Town::with(&format!("access_log: {{path: \"{}\"}}", log.display()), "", REDIRECTS);
    assert_eq!(town.ask(&get("/old")).status, 301);
    let line = wait::until("the line", || std::fs::read_to_string(&log).ok().filter(|text| text.ends_with('\n')));
    let line: Value = serde_json::from_str(&line).unwrap();
    assert_eq!((&line["route"], &line["status"]), (&"moved".into(), &301.into()));
    assert!(line.get("cluster").is_none() && line.get("reason").is_none() && line.get("endpoint").is_none());
    assert!(line["bytes_out"].as_u64() > Some(0));
    let class = |class: &str| {
        town.weir.metric("weir_requests_total", &["listener=\"web\"", &format!("code_class=\"{class}\"")])
    };
    wait::until("the count", || (class("3xx") > 0.0).then_some(()));
}

#[test]
fn paths_and_hosts_are_rewritten_for_endpoints_alone() {
    let town = Town::new(
        "      - {match: {path_prefix: /api}, cluster: main, rewrite: {path_prefix: /v1, host: api.internal}}
      - {match: {path_prefix: /root}, cluster: main, rewrite: {path_prefix: /}}
      - {match: {path_prefix: /one}, cluster: main, rewrite: {path: /whole}}
",
    );
    for (target, wanted) in [
        ("/api/x?y=/api", "/v1/x?y=/api"),
        ("/api", "/v1"),
        ("/api?x", "/v1?x"),
        ("/api/../x", "/v1/../x"),
        ("/apix", "/apix"),
        ("/root", "/"),
        ("/root/a", "/a"),
        ("/root//a", "/a"),
        ("/one/two?three", "/whole?three"),
        ("http://other.example/api/x?y", "/v1/x?y"),
    ] {
        let sent = town.sent_on(&request("GET", target, "shop.example"));
        assert_eq!(sent.target, wanted, "{target}");
    }
    let sent = town.sent_on(&request("GET", "http://other.example:81/api", "shop.example"));
    assert_eq!(
        (sent.fields.get("host"), sent.fields.get("x-forwarded-host")),
        (Some("api.internal"), Some("other.example:81"))
    );
}

#[test]
fn fields_are_removed_set_and_added() {
    let town = Town::new(
        "      - match: {path_prefix: /a}
        cluster: main
        headers:
          request: {set: {x-who: \"{client_address} {host} {path} {scheme} {cluster}\", x-id: \"{request_id}\", x-braces: \"{{}}\"}, add: {x-more: '2'}, remove: [x-forwarded-for, cookie]}
          response: {set: {x-frame-options: DENY}, remove: [x-request-id]}
      - {match: {path_prefix: /fixed}, respond: {status: 200}, headers: {response: {add: {x-own: '{path}'}}}}
",
    );
    let asked = "GET /a/b?c HTTP/1.1\r\nHost: Shop.example:80\r\nX-Who: me\r\nX-More: 1\r\nCookie: a=b\r\n\r\n";
    let answer = town.ask(asked);
    let sent = town.backend.requests().pop().unwrap().fields;
    assert_eq!(sent.get("x-who"), Some("127.0.0.1 Shop.example /a/b http main"));
    assert_eq!(sent.get("x-id"), sent.get("x-request-id"));
    assert_eq!(sent.all("x-more"), ["1", "2"]);
    assert_eq!(sent.get("x-braces"), Some("{}"));
    assert_eq!((sent.get("x-forwarded-for"), sent.get("cookie")), (None, None));
    assert_eq!((answer.fields.get("x-frame-options"), answer.fields.get("x-request-id")), (Some("DENY"), None));
    assert_eq!(town.ask(&get("/fixed/x")).fields.get("x-own"), Some("/fixed/x"));
}

/// What becomes of the bytes of a client in a template or a rewritten target is one field, and one
/// request.
#[test]
fn nothing_is_smuggled_through_templates_and_rewriting() {
    let town = Town::new(
        "      - {match: {path_prefix: /a}, cluster: main, rewrite: {path_prefix: /}, headers: {request: {set: {x-path: \"{path}\", x-host: \"{host}\"}}, response: {set: {x-back: \"{path}\"}}}}\n",
    );
    for target in ["/a/%0d%0aX-Evil:%201", "/a/%00", "/a/{host}{{", "/a/b:c", "/a/%0aGET%20/smuggled"] {
        let answer = town.ask(&request("GET", target, "a"));
        let sent = town.backend.requests().pop().unwrap();
        assert_eq!((sent.target.as_str(), sent.fields.get("x-path")), (&target[2..], Some(target)));
        assert_eq!((answer.fields.get("x-back"), answer.fields.get("x-evil")), (Some(target), None));
        assert_eq!(sent.fields.get("x-evil"), None);
    }
    let before = town.backend.requests().len();
    for bad in [
        "GET /a/\x00 HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /a/\tHTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /a HTTP/1.1\r\nHost: a b\r\n\r\n",
        "GET /a HTTP/1.1\r\nHost: a\x0bX: y\r\n\r\n",
        "GET /a /b HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /a\u{85}b HTTP/1.1\r\nHost: a\r\n\r\n",
    ] {
        assert_eq!(town.ask(bad).status, 400, "{bad:?}");
    }
    assert_eq!(town.backend.requests().len(), before);
}

#[test]
fn who_is_not_let_in_gets_no_further() {
    let town = Town::new(
        "      - {match: {path_prefix: /admin}, cluster: main, allow: [10.0.0.0/8]}
      - {match: {path_prefix: /not}, cluster: main, deny: [127.0.0.0/8]}
",
    );
    for path in ["/admin", "/not/you"] {
        let answer = town.ask(&get(path));
        assert_eq!((answer.status, answer.reason()), (403, Some("access_denied")));
    }
    assert_eq!(town.ask(&get("/")).status, 200);
    assert_eq!(town.backend.requests().len(), 1);
}

#[test]
fn a_listener_that_lets_nobody_in_says_so() {
    let town = Town::with("", "    deny: [127.0.0.0/8]", "");
    let answer = town.ask(&get("/"));
    assert_eq!((answer.status, answer.reason()), (403, Some("access_denied")));
    let denied = || town.weir.metric("weir_responses_total", &["reason=\"access_denied\""]);
    wait::until("the count", || (denied() >= 1.0).then_some(()));
    assert!(town.backend.requests().is_empty());
}

#[test]
fn a_trusted_proxy_tells_who_asks_and_nobody_else_does() {
    let listener = "    trusted_proxies: [127.0.0.0/8, 10.0.0.0/8]\n    deny: [192.0.2.0/24]";
    let town = Town::with("", listener, "      - {match: {path_prefix: /in}, cluster: main, allow: [198.51.100.7]}\n");
    let ask = |path: &str, chain: &str| {
        town.ask(&format!("GET {path} HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: {chain}\r\n\r\n")).status
    };
    assert_eq!(ask("/", "192.0.2.7"), 403);
    assert_eq!(ask("/", "192.0.2.7, 10.1.1.1"), 403);
    assert_eq!(ask("/", "192.0.2.7, 203.0.113.9"), 200, "left of a stranger stands the stranger's word");
    assert_eq!(ask("/in", "198.51.100.7"), 200);
    assert_eq!(ask("/in", "198.51.100.7:4711, 10.1.1.1"), 200);
    assert_eq!(ask("/in", "198.51.100.7, 203.0.113.9"), 403);
    assert_eq!(ask("/in", "198.51.100.7, unknown"), 403);
    assert_eq!(ask("/in", "203.0.113.9"), 403);
    // Where nobody is trusted nobody is believed.
    let town = Town::new("      - {match: {path_prefix: /in}, cluster: main, allow: [198.51.100.7]}\n");
    let lie = "GET /in HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 198.51.100.7\r\nForwarded: for=198.51.100.7\r\n\r\n";
    assert_eq!(town.ask(lie).status, 403);
}

#[test]
fn who_asks_too_often_is_told_when_to_come_again() {
    let listener = "    trusted_proxies: [127.0.0.0/8]\n    rate_limit: {requests: 3, per: 60s}";
    let town = Town::with("", listener, "");
    let ask = |client: &str| town.ask(&format!("GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: {client}\r\n\r\n"));
    for _ in 0..3 {
        assert_eq!(ask("192.0.2.1").status, 200);
    }
    let answer = ask("192.0.2.1");
    assert_eq!((answer.status, answer.reason()), (429, Some("rate_limited")));
    let pause: u64 = answer.fields.get("retry-after").unwrap().parse().unwrap();
    assert!((15..=20).contains(&pause), "{pause}");
    assert_eq!(ask("192.0.2.2").status, 200, "another client");
    assert_eq!(ask("2001:db8::1").status, 200);
    assert_eq!(ask("6.6.6.6, 192.0.2.1").status, 429, "it is the same one");
    assert_eq!(town.weir.metric("weir_responses_total", &["reason=\"rate_limited\""]), 2.0);
}

#[test]
fn limits_of_routes_and_keys_and_what_a_reload_keeps() {
    let routes = |key: &str, more: &str| {
        format!(
            "      - {{match: {{path_prefix: /key}}, name: keyed, cluster: main, rate_limit: {{requests: 2, per: 1h, key: {key}}}}}
      - {{match: {{path_prefix: /all}}, respond: {{status: 200}}, rate_limit: {{requests: 1, per: 1h, key: everybody}}}}
{more}"
        )
    };
    let town = Town::new(&routes("{header: x-api-key}", ""));
    let ask =
        |path: &str, key: &str| town.ask(&format!("GET {path} HTTP/1.1\r\nHost: a\r\nX-Api-Key: {key}\r\n\r\n")).status;
    assert_eq!([ask("/key", "a"), ask("/key", "a"), ask("/key", "a"), ask("/key", "b")], [200, 200, 429, 200]);
    assert_eq!([ask("/all", "a"), ask("/all", "b")], [200, 429], "own answers too");
    // Another route changes nothing for these.
    let more = "      - {match: {path_prefix: /other}, cluster: main}\n";
    town.weir.replace(&yaml(town.web, &town.backend, "", "", &routes("{header: x-api-key}", more)));
    let _ = town.weir.wait_event("config_applied", 1);
    assert_eq!([ask("/key", "a"), ask("/all", "b")], [429, 429]);
    // Another key is another limit.
    town.weir.replace(&yaml(town.web, &town.backend, "", "", &routes("client_address", more)));
    let _ = town.weir.wait_event("config_applied", 2);
    assert_eq!([ask("/key", "a"), ask("/all", "b")], [200, 429]);
}

#[test]
fn curl_follows() {
    let town = Town::new("      - {match: {path_prefix: /old}, redirect: {path_prefix: /new}}\n");
    let output = Command::new("curl")
        .args(["-sS", "-L", "--max-time", "5", "-w", "%{http_code} %{num_redirects} %{url_effective}"])
        .arg(format!("http://{}/old/a?b", town.web))
        .output()
        .expect("curl is there");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(said, format!("from the endpoint200 1 http://{}/new/a?b", town.web));
    // The method and the body stay where they matter.
    let output = Command::new("curl")
        .args(["-sS", "-L", "--max-time", "5", "-d", "body", &format!("http://{}/old", town.web)])
        .output()
        .expect("curl is there");
    assert!(output.status.success());
    let last = town.backend.requests().pop().unwrap();
    assert_eq!((last.method.as_str(), last.target.as_str(), &*last.body), ("POST", "/new", &b"body"[..]));
}

#[test]
fn the_way_tells_what_is_done() {
    let town = Town::with(
        "",
        "    rate_limit: {requests: 5, per: 1h}",
        "      - {match: {path_prefix: /old}, redirect: {path_prefix: /new}}
      - {match: {path_prefix: /api}, cluster: main, rewrite: {path_prefix: /v1, host: api.internal}}
      - {match: {path_prefix: /in}, cluster: main, allow: [10.0.0.0/8]}
",
    );
    let way = |path: &str| town.weir.json(&format!("/api/v1/explain?method=GET&url=http://{}{path}", town.web));
    let moved = way("/old/a");
    assert_eq!(moved["reply"]["status"], 301);
    assert_eq!(moved["reply"]["location"], format!("http://{}/new/a", town.web));
    assert!(moved["refused"].is_null() && moved["cluster"].is_null());
    let api = way("/api/x?y");
    assert_eq!((&api["rewritten"]["target"], &api["rewritten"]["host"]), (&"/v1/x?y".into(), &"api.internal".into()));
    assert_eq!(api["limits"][0]["left"], 5, "explaining takes nothing");
    assert_eq!(way("/in")["refused"]["reason"], "access_denied");
    let text = town.weir.command(&["explain", "GET", &format!("http://{}/old/a", town.web)]);
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    assert!(text.contains("301") && text.contains("/new/a"), "{text}");
}

#[test]
fn sessions_are_kept_out_and_limited_as_well() {
    let backend = Backend::raw(|peer| peer.send("hello"));
    let start = |keys: &str| {
        let web = place::address();
        let yaml = format!(
            "listeners: [{{name: tcp, bind: \"{web}\", protocol: tcp, cluster: main, {keys}}}]\n\
             clusters: [{{name: main, endpoints: [\"{}\"]}}]\n",
            backend.address()
        );
        (Weir::start(&yaml), web)
    };
    let says = |web| RawClient::try_connect(web).and_then(|mut client| client.more());
    let (weir, web) = start("deny: [127.0.0.1]");
    assert!(!says(web).is_ok_and(|count| count > 0));
    let count = |weir: &Weir, reason: &str| weir.metric("weir_responses_total", &[&format!("reason=\"{reason}\"")]);
    wait::until("the count", || (count(&weir, "access_denied") >= 1.0).then_some(()));
    let (weir, web) = start("rate_limit: {requests: 2, per: 1h}");
    let heard = (0..5).filter(|_| says(web).is_ok_and(|count| count > 0)).count();
    assert_eq!(heard, 2);
    wait::until("the count", || (count(&weir, "rate_limited") >= 3.0).then_some(()));
    assert_eq!(weir.metric("weir_rate_limited_total", &["listener=\"tcp\""]), 3.0);
}

/// Tokens come back.
#[test]
fn whoever_waits_is_let_in_again() {
    let town = Town::with("", "    rate_limit: {requests: 10, per: 1s, burst: 1}", "");
    assert_eq!(town.ask(&get("/")).status, 200);
    wait::until("a token", || (town.ask(&get("/")).status == 200).then_some(()));
}
