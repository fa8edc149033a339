//! Traces: what endpoints are told, what a real OTLP decoder reads, and that nobody waits for a
//! receiver that is slow, wrong or gone.

use std::collections::BTreeSet;

use rustix::process::Signal;
use weir_integration_tests::backend::Backend;
use weir_integration_tests::client::{RawClient, get};
use weir_integration_tests::collector::{Collector, Received};
use weir_integration_tests::http2::endpoint::Endpoint;
use weir_integration_tests::http2::{End, Raw};
use weir_integration_tests::message::Response;
use weir_integration_tests::weir::Weir;
use weir_integration_tests::{place, wait};

use crate::{Front, Scene};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

/// A request with an id of ours and these fields, each with its line end.
fn request(path: &str, id: &str, fields: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: shop.example:80\r\nX-Request-Id: {id}\r\n{fields}\r\n")
}

fn traceparent(flags: &str) -> String {
    format!("traceparent: 00-{TRACE}-{PARENT}-{flags}\r\ntracestate: vendor=a,other=b\r\n")
}

/// What a `traceparent` says: trace, span, flags.
fn parts(text: Option<&str>) -> [String; 3] {
    let mut parts = text.expect("a traceparent").split('-').skip(1).map(str::to_owned);
    std::array::from_fn(|_| parts.next().expect("four parts"))
}

/// A span tree once it is there.
fn tree(collector: &Collector, id: &str, attempts: usize) -> (Received, Vec<Received>) {
    wait::until(id, || collector.request(id).filter(|(_, found)| found.len() == attempts))
}

#[test]
fn a_request_is_a_tree_of_spans() {
    let collector = Collector::new();
    let plain = Backend::text("plain");
    let failing = Backend::fixed("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n");
    let cut = Backend::scripted(|peer, _| {
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nx");
        peer.close();
    });
    let calls = Endpoint::scripted(|raw, stream, _| {
        let fields = [(":status", "200"), ("content-type", "application/grpc"), ("grpc-status", "14")];
        raw.headers(stream, &fields, true);
    });
    let (web, open, nobody) = (place::address(), place::address(), place::refusing());
    let weir = Weir::start(&format!(
        "
zone: az-a
access_log: '-'
tracing:
  otlp: {{endpoint: '{url}', headers: {{x-api-key: sesame}}, interval: 100ms}}
  ratio: 1
  service_name: edge
listeners:
  - name: web
    bind: {web}
    trusted_proxies: [127.0.0.0/8]
    routes:
      - {{name: retried, match: {{path_prefix: /retried}}, cluster: retried, retry: {{attempts: 3, on: [connect-failure, 503]}}}}
      - {{match: {{path_prefix: /refused}}, cluster: refused, retry: off}}
      - {{match: {{path_prefix: /cut}}, cluster: cut, retry: off}}
      - {{match: {{path_prefix: /calls}}, cluster: calls, retry: off}}
      - {{match: {{path_prefix: /gray}}, release: gray}}
      - {{match: {{path_prefix: /plain}}, cluster: plain}}
  - name: open
    bind: {open}
    cluster: plain
clusters:
  - {{name: plain, endpoints: {{az-a: [{plain}]}}}}
  - {{name: retried, balance: round_robin, outlier_detection: off, endpoints: [{failing}, {plain}]}}
  - {{name: refused, endpoints: [{nobody}]}}
  - {{name: cut, endpoints: [{cut}]}}
  - {{name: calls, protocol: h2, endpoints: [{calls}]}}
releases:
  - name: gray
    key: {{header: x-user-id}}
    stable: plain
    canaries: [{{cluster: retried, first: [{{users: [ann]}}]}}]
",
        url = collector.url(),
        plain = plain.address(),
        failing = failing.address(),
        cut = cut.address(),
        calls = calls.address(),
    ));
    let ask = |text: &str| RawClient::once(web, text);

    // Plain, with a sampled parent: the endpoint's parent is the attempt, whose parent is the request.
    ask(&request("/plain/x?token=secret", "plain", &traceparent("01"))).unwrap();
    let told = plain.requests().pop().unwrap();
    let [trace, span, flags] = parts(told.fields.get("traceparent"));
    assert_eq!((trace.as_str(), flags.as_str(), told.fields.all("traceparent").len()), (TRACE, "01", 1));
    assert_eq!(told.fields.all("tracestate"), ["vendor=a,other=b"]);
    let (server, attempts) = tree(&collector, "plain", 1);
    assert_eq!((server.trace(), server.parent(), server.service.as_str()), (TRACE.into(), PARENT.into(), "edge"));
    assert_eq!(
        (server.span.name.as_str(), server.span.kind, server.span.trace_state.as_str()),
        ("GET", 2, "vendor=a,other=b")
    );
    // Sampled, and its parent is of another process.
    assert_eq!((server.span.flags, attempts[0].span.flags), (0x301, 0x101));
    for (key, value) in [
        ("http.request.method", "GET"),
        ("http.response.status_code", "200"),
        ("url.path", "/plain/x"),
        ("url.scheme", "http"),
        ("server.address", "shop.example"),
        ("server.port", "80"),
        ("network.protocol.version", "1.1"),
        ("error.type", ""),
        ("weir.listener", "web"),
        ("weir.cluster", "plain"),
        ("weir.attempts", "1"),
        ("http.response.body.size", "5"),
    ] {
        assert_eq!(server.get(key), value, "{key}");
    }
    assert!(server.get("client.address").starts_with("127."), "{server:?}");
    assert!(!format!("{:?}", collector.spans()).contains("secret"), "a query may hold secrets");
    let attempt = &attempts[0];
    assert_eq!((attempt.id(), attempt.trace(), attempt.span.kind), (span, TRACE.into(), 3));
    assert_eq!(attempt.get("weir.endpoint"), plain.address().to_string());
    assert_eq!(attempt.get("url.full"), format!("http://{}/plain/x", plain.address()));
    assert_eq!((attempt.get("weir.zone"), attempt.get("weir.outcome")), ("az-a".into(), "success".into()));
    assert_eq!(attempt.events(), ["connected", "first_byte"]);
    let (outer, inner) = (&server.span, &attempt.span);
    let moments = [outer.start_time_unix_nano, inner.start_time_unix_nano, inner.events[0].time_unix_nano];
    let later = [inner.events[1].time_unix_nano, inner.end_time_unix_nano, outer.end_time_unix_nano];
    assert!(moments.into_iter().chain(later).is_sorted(), "{server:?} {attempt:?}");

    // A parent that is not sampled: told on, not exported.
    ask(&request("/plain", "unsampled", &traceparent("00"))).unwrap();
    let told = plain.requests().pop().unwrap();
    let [trace, span, flags] = parts(told.fields.get("traceparent"));
    assert_eq!((trace.as_str(), flags.as_str()), (TRACE, "00"));
    assert_ne!(span, PARENT);

    // Tried again: a span for each attempt, and each endpoint is told its own.
    let again = (0..8).find(|nth| {
        let id = format!("retried-{nth}");
        assert_eq!(ask(&request("/retried", &id, "")).unwrap().status, 200);
        let (server, _) = wait::until(&id, || collector.request(&id));
        server.get("weir.attempts") == "2"
    });
    let again = again.expect("one that came to the failing endpoint first");
    let (server, attempts) = tree(&collector, &format!("retried-{again}"), 2);
    assert_eq!((server.span.name.as_str(), server.get("weir.attempts").as_str()), ("GET retried", "2"));
    assert_eq!(server.parent(), "");
    let told = |attempt: &Received| {
        let all = [failing.requests(), plain.requests()].concat();
        all.iter().filter(|told| parts(told.fields.get("traceparent"))[1] == attempt.id()).count()
    };
    assert_eq!([told(&attempts[0]), told(&attempts[1])], [1, 1]);
    let of = |attempt: &Received| {
        ["http.response.status_code", "error.type", "http.request.resend_count"].map(|key| attempt.get(key))
    };
    assert_eq!(of(&attempts[0]), ["503", "503", ""]);
    assert_eq!(of(&attempts[1]), ["200", "", "1"]);
    assert_eq!(attempts[0].span.status.as_ref().map(|status| status.code), Some(2));

    // Refused, and cut: whose fault it was.
    ask(&request("/refused", "refused", "")).unwrap();
    let (server, attempts) = tree(&collector, "refused", 1);
    let refused = "connect_refused";
    assert_eq!((server.get("weir.reason"), server.get("error.type")), (refused.into(), refused.into()));
    assert_eq!((attempts[0].get("weir.reason"), attempts[0].events()), (refused.into(), Vec::new()));
    assert_eq!(server.span.status.as_ref().map(|status| status.code), Some(2));
    let _ = ask(&request("/cut", "cut", ""));
    let (server, attempts) = tree(&collector, "cut", 1);
    assert_eq!(
        (server.get("weir.reason"), attempts[0].get("weir.reason")),
        ("upstream_cut".into(), "upstream_cut".into())
    );
    ask(&request("/nowhere", "nowhere", "")).unwrap();
    let (server, _) = tree(&collector, "nowhere", 0);
    // A client's mistake is no failure of ours.
    assert_eq!((server.get("error.type"), server.span.status.is_none()), ("no_route".into(), true));

    // A release says who got what.
    ask(&request("/gray", "gray", "x-user-id: ann\r\n")).unwrap();
    let (server, _) = wait::until("gray", || collector.request("gray"));
    assert_eq!((server.get("weir.release"), server.get("weir.release_version")), ("gray".into(), "retried".into()));
    assert!(!server.get("weir.bucket").is_empty());

    // A gRPC call over HTTP/2.
    let mut raw = Raw::client(web);
    let fields = [
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", "shop.example"),
        (":path", "/calls/Do"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
        ("x-request-id", "call"),
        ("traceparent", &format!("00-{TRACE}-{PARENT}-01")),
    ];
    raw.headers(1, &fields, true);
    assert_eq!(raw.message(1).end, End::Whole);
    let (server, attempts) = tree(&collector, "call", 1);
    assert_eq!(server.trace(), TRACE);
    for span in [&server, &attempts[0]] {
        assert_eq!((span.get("rpc.system"), span.get("rpc.grpc.status_code")), ("grpc".into(), "14".into()));
    }
    assert_eq!(server.get("network.protocol.version"), "2");

    // A stranger's parent is not followed, but linked to.
    let answer = RawClient::once(open, &request("/plain", "stranger", &traceparent("01"))).unwrap();
    let id = answer.fields.get("x-request-id").unwrap().to_owned();
    let (server, _) = tree(&collector, &id, 1);
    assert_ne!(server.trace(), TRACE);
    assert_eq!((server.parent(), server.span.trace_state.as_str()), (String::new(), ""));
    let link = &server.span.links[0];
    assert_eq!(link.span_id, [0x00, 0xf0, 0x67, 0xaa, 0x0b, 0xa9, 0x02, 0xb7]);
    let told = plain.requests().pop().unwrap();
    assert_eq!(
        (parts(told.fields.get("traceparent"))[0].clone(), told.fields.get("tracestate")),
        (server.trace(), None)
    );

    // The log names the trace, whether or not it is sampled.
    let lines = wait::until("access lines", || {
        let lines: Vec<serde_json::Value> =
            weir.stdout().lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        (lines.len() >= 9).then_some(lines)
    });
    for line in &lines {
        let id = line["request_id"].as_str().unwrap();
        match collector.request(id) {
            Some((server, _)) => {
                assert_eq!(
                    (line["trace_id"] == server.trace(), line["span_id"] == server.id()),
                    (true, true),
                    "{line}"
                );
                assert_eq!(line["sampled"], true);
            }
            None => assert_eq!((id, line["trace_id"] == TRACE, line.get("sampled")), ("unsampled", true, None)),
        }
    }

    // An exemplar leads from the histogram to a trace.
    let scrape =
        "GET /metrics HTTP/1.1\r\nHost: localhost\r\nAccept: application/openmetrics-text;version=1.0.0\r\n\r\n";
    let scrape = RawClient::once(weir.admin(), scrape).unwrap().text();
    assert!(scrape.ends_with("# EOF\n"));
    let traces: BTreeSet<_> = collector.spans().iter().map(Received::trace).collect();
    let shown: Vec<_> = scrape.lines().filter_map(|line| line.split_once("# {trace_id=\"")).collect();
    assert!(
        !shown.is_empty() && shown.iter().all(|(line, rest)| line.contains("_bucket{") && traces.contains(&rest[..32])),
        "{shown:?}"
    );
    let headers: BTreeSet<_> =
        collector.posts().iter().map(|post| post.fields.get("x-api-key").map(str::to_owned)).collect();
    assert_eq!(headers, BTreeSet::from([Some("sesame".to_owned())]));
    wait::until_true("all of them counted", || {
        weir.metric("weir_tracing_spans_exported_total", &[]) as usize == collector.spans().len()
    });
}

#[test]
fn without_tracing_a_traceparent_goes_on_as_it_came() {
    let collector = Collector::new();
    let front = Front::new(Backend::text("fine"));
    // Not even a valid one is needed.
    front.ask(&request("/", "a", "TraceParent: 00-what-01\r\ntracestate: =\r\n"));
    let told = front.backend.only_request();
    assert_eq!((told.fields.get("traceparent"), told.fields.get("tracestate")), (Some("00-what-01"), Some("=")));
    // A reload switches it on, and off.
    let on = Scene { web: front.web, ..Scene::to(front.backend.address()) }.yaml();
    front
        .weir
        .replace(&format!("tracing: {{otlp: {{endpoint: '{}', interval: 100ms}}, ratio: 1}}\n{on}", collector.url()));
    wait::until("spans", || {
        front.ask(&request("/", "b", "TraceParent: 00-what-01\r\ntracestate: =\r\n"));
        (!collector.spans().is_empty()).then_some(())
    });
    let told = front.backend.requests().pop().unwrap();
    assert_eq!((told.fields.all("traceparent").len(), told.fields.get("tracestate")), (1, None));
    assert_eq!(parts(told.fields.get("traceparent"))[2], "03");
    front.weir.replace(&on);
    wait::until("no more traces", || {
        let requests = front.backend.requests().len();
        front.ask(&request("/", "c", ""));
        front.backend.requests()[requests].fields.get("traceparent").is_none().then_some(())
    });
}

/// All of them are answered.
fn ask_many(web: std::net::SocketAddr, count: usize) {
    let mut client = RawClient::connect(web);
    for _ in 0..count {
        client.send(get("/"));
        let Response { status, .. } = client.response().unwrap();
        assert_eq!(status, 200);
    }
}

#[test]
fn nobody_waits_for_a_receiver() {
    let hanging = Backend::raw(|peer| peer.hang());
    let scene = Scene::to(hanging.address());
    let endpoint = Backend::text("fine");
    let scene = Scene { endpoints: vec![endpoint.address()], ..scene };
    let yaml = |url: &str, more: &str| {
        format!(
            "tracing: {{otlp: {{endpoint: '{url}', queue: 40, batch: 10, interval: 100ms{more}}}, ratio: 1}}\n{}",
            scene.yaml()
        )
    };
    let mut weir = Weir::start(&yaml(&format!("http://{}", hanging.address()), ""));
    let waiting = |weir: &Weir| weir.metric("weir_tracing_spans_waiting", &[]);
    let dropped =
        |weir: &Weir, why: &str| weir.metric("weir_tracing_spans_dropped_total", &[&format!("why=\"{why}\"")]);
    ask_many(scene.web, 300);
    // What is over the bound is dropped and counted; what waits is bounded.
    wait::until_true("spans that found no room", || dropped(&weir, "queue_full") >= 560.0);
    assert!((1.0..=40.0).contains(&waiting(&weir)), "{}", waiting(&weir));
    // Nobody is there: the same.
    weir.replace(&yaml(&format!("http://{}", place::refusing()), ", timeout: 1s"));
    ask_many(scene.web, 50);
    let failures = |why: &str| weir.metric("weir_tracing_export_failures_total", &[&format!("why=\"{why}\"")]);
    wait::until_true("a connection that failed", || failures("connect") + failures("timeout") >= 1.0);
    assert!(waiting(&weir) <= 40.0);
    // One that comes back, wants a pause, and then does not want all of them.
    let collector = Collector::answering(|peer, nth| {
        let partial: &[u8] = b"\x0a\x0b\x08\x03\x12\x07too old";
        match nth {
            0 => peer.send("HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n"),
            1 => {
                peer.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", partial.len()));
                peer.send(partial);
            }
            _ => peer.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
        }
        nth > 0
    });
    weir.replace(&yaml(&collector.url(), ""));
    ask_many(scene.web, 10);
    wait::until_true("all that waited", || collector.spans().len() >= 10 && waiting(&weir) == 0.0);
    let posts = collector.posts();
    assert_eq!(posts[0].body, posts[1].body, "the same batch again");
    assert!(collector.spans().len() <= 10 * (posts.len() - 1));
    assert_eq!(
        (dropped(&weir, "rejected"), weir.metric("weir_tracing_spans_exported_total", &[])),
        (3.0, collector.spans().len() as f64 - 3.0)
    );
    assert!(weir.stderr().contains("rejected 3 of"), "{}", weir.stderr());
    // What is left when the process ends goes too, long before its turn.
    weir.replace(
        &yaml(&collector.url(), "").replace("interval: 100ms", "interval: 1h").replace("batch: 10", "batch: 40"),
    );
    wait::until_true("the reload", || weir.json("/api/v1/config")["text"].as_str().unwrap().contains("interval: 1h"));
    let before = collector.spans().len();
    ask_many(scene.web, 5);
    weir.signal(Signal::TERM);
    assert_eq!(weir.exit_code(wait::PATIENCE), 0);
    assert_eq!(collector.spans().len(), before + 10);
}

#[test]
fn a_receiver_that_hangs_does_not_hold_up_the_end() {
    let hanging = Backend::raw(|peer| peer.hang());
    let front = Front::with(Backend::text("fine"), |scene| scene);
    let scene = Scene { web: front.web, ..Scene::to(front.backend.address()) };
    let mut weir = front.weir;
    weir.replace(&format!(
        "tracing: {{otlp: {{endpoint: 'http://{}', interval: 100ms}}, ratio: 1}}\n{}",
        hanging.address(),
        scene.yaml()
    ));
    wait::until_true("a post that hangs", || {
        ask_many(scene.web, 1);
        hanging.connections() > 0
    });
    weir.signal(Signal::TERM);
    assert_eq!(weir.exit_code(wait::PATIENCE), 0);
}
