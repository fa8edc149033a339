//! What is told about what happened: metrics, access log, status, events.

use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::Value;
use weir_integration_tests::backend::Backend;
use weir_integration_tests::client::{RawClient, get};
use weir_integration_tests::wait;
use weir_integration_tests::weir::{Weir, sum_metric};

use crate::{Front, Scene};

/// Some of everything: answers of each class, refusals, an abort, a large body.
fn traffic(front: &Front) -> u64 {
    let mut client = front.connect();
    for path in ["/200", "/200", "/204", "/304", "/404", "/500", "/200"] {
        client.send(get(path));
        client.response().unwrap();
    }
    front.ask("GET / HTTP/1.1\r\n\r\n");
    let _ = RawClient::once(front.web, &get("/cut"));
    9
}

fn backend() -> Backend {
    Backend::scripted(|peer, request| match request.target.as_str() {
        "/204" => peer.send("HTTP/1.1 204 No Content\r\n\r\n"),
        "/304" => peer.send("HTTP/1.1 304 Not Modified\r\n\r\n"),
        "/404" => peer.send("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"),
        "/500" => peer.send("HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n"),
        "/cut" => {
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nx");
            peer.close();
        }
        _ => peer.send(weir_integration_tests::backend::ok("fine")),
    })
}

#[test]
fn promtool_finds_nothing_to_complain_about() {
    let front = Front::with(backend(), |scene| {
        scene.cluster("health_checks: [{interval: 100ms, http_health_check: {path: /200}}]")
    });
    traffic(&front);
    let scrape = front.weir.admin_get("/metrics");
    assert!(
        scrape.fields.get("content-type").is_some_and(|kind| kind.starts_with("text/plain")),
        "{:?}",
        scrape.fields
    );
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("cannot start promtool ({error}); `make test` installs it"));
    promtool.stdin.take().unwrap().write_all(&scrape.body).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}\n{}", scrape.text());
    assert_eq!(said.trim(), "");
}

#[test]
fn metrics_add_up_with_what_was_sent() {
    let front = Front::new(backend());
    let sent = traffic(&front);
    let total = |scrape: &str| sum_metric(scrape, "weir_requests_total", &["listener=\"web\""]) as u64;
    let scrape = wait::until("all requests counted", || {
        Some(front.weir.admin_get("/metrics").text()).filter(|scrape| total(scrape) >= sent)
    });
    assert_eq!(total(&scrape), sent, "{scrape}");
    let class = |class: &str| sum_metric(&scrape, "weir_requests_total", &[&format!("code_class=\"{class}\"")]) as u64;
    // The answer that was cut had begun with 200: that is what its client saw.
    assert_eq!((class("2xx"), class("3xx"), class("5xx")), (5, 1, 1), "{scrape}");
    assert_eq!(class("4xx"), 2, "{scrape}");
    assert_eq!(sum_metric(&scrape, "weir_upstream_requests_total", &[]) as u64, sent - 1);
    assert!(sum_metric(&scrape, "weir_request_duration_seconds_count", &[]) as u64 >= sent - 2);
    for reason in ["bad_host", "upstream_cut"] {
        let label = format!("reason=\"{reason}\"");
        let said: Vec<&str> = scrape.lines().filter(|line| line.contains(&label) && !line.ends_with(" 0")).collect();
        assert!(!said.is_empty(), "{reason} is counted somewhere: {scrape}");
    }
    assert_eq!(sum_metric(&scrape, "weir_build_info", &[]) as u64, 1);
}

#[test]
fn the_access_log_has_one_line_a_request() {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("access.log");
    let backend = backend();
    let scene = Scene::to(backend.address());
    let weir = Weir::start(&format!("access_log: {{path: \"{}\", format: json}}\n{}", log.display(), scene.yaml()));
    let front = Front { weir, web: scene.web, backend };
    let sent = traffic(&front) as usize;
    let text = wait::until("all lines", || {
        std::fs::read_to_string(&log).ok().filter(|text| text.ends_with('\n') && text.lines().count() >= sent)
    });
    let lines: Vec<Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect();
    assert_eq!(lines.len(), sent, "{text}");
    let ids: BTreeSet<String> =
        lines.iter().filter_map(|line| line["request_id"].as_str().map(str::to_owned)).collect();
    assert!(ids.len() >= sent - 1, "each has an id of its own: {text}");
    let of = |status: u64| lines.iter().filter(|line| line["status"] == status).count();
    assert_eq!((of(404), of(500), of(204), of(304)), (1, 1, 1, 1), "{text}");
    assert!(text.contains("bad_host") && text.contains("upstream_cut"), "reasons are told: {text}");
    assert!(text.contains("/404") && text.contains(&front.backend.address().to_string()), "{text}");
}

#[test]
fn a_sampled_access_log_still_has_every_error() {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("access.log");
    let backend = backend();
    let scene = Scene::to(backend.address());
    let weir = Weir::start(&format!("access_log: {{path: \"{}\", sample: 0}}\n{}", log.display(), scene.yaml()));
    let front = Front { weir, web: scene.web, backend };
    traffic(&front);
    let errors = 3; // 500, bad_host, upstream_cut
    let text = wait::until("the errors", || {
        std::fs::read_to_string(&log).ok().filter(|text| text.ends_with('\n') && text.lines().count() >= errors)
    });
    assert_eq!(text.lines().count(), errors, "{text}");
}

#[test]
fn status_tells_each_endpoint_and_its_health() {
    let front = Front::new(backend());
    let status = front.weir.json("/api/v1/status").to_string();
    assert!(status.contains(&front.backend.address().to_string()), "{status}");
    assert!(status.contains("healthy"), "{status}");
    let output = front.weir.command(&["status"]);
    assert!(output.status.success());
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains(&front.backend.address().to_string()) && said.contains("main"), "{said}");
    assert!(!said.contains('\u{1b}'), "no colour where nobody sees it");
}

#[test]
fn events_tell_the_story_from_the_start() {
    let front = Front::new(backend());
    let _ = front.weir.wait_event("started", 1);
    let _ = front.weir.wait_event("ready", 1);
    let output = front.weir.command(&["events"]);
    assert!(output.status.success());
    assert!(!output.stdout.is_empty());
}

#[test]
fn what_changes_something_is_no_get() {
    let front = Front::new(backend());
    assert_eq!(front.weir.admin_get("/api/v1/config:reload").status, 405);
    assert_eq!(front.weir.admin_get("/no/such/page").status, 404);
    let config = front.weir.json("/api/v1/config");
    assert!(config["text"].as_str().is_some_and(|text| text.contains(&front.web.to_string())), "{config}");
}
