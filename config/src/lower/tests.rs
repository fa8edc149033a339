//! The table against what is read of it, and its defaults against themselves.

use std::cell::RefCell;
use std::collections::BTreeSet;

thread_local! {
    static READ: RefCell<BTreeSet<(&'static str, &'static str)>> = const { RefCell::new(BTreeSet::new()) };
}

/// Files beside the examples.
fn beside(name: &str) -> std::io::Result<Vec<u8>> {
    std::fs::read(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(name))
}

pub(super) fn note_read(object: &'static str, key: &'static str) {
    READ.with_borrow_mut(|read| read.insert((object, key)));
}

#[test]
fn every_key_of_the_table_is_read() {
    READ.with_borrow_mut(BTreeSet::clear);
    let source = crate::Source { name: "full.yaml", env: &|_| None, files: &beside };
    crate::parse(include_str!("../../examples/full.yaml"), &source).unwrap();
    let expected: BTreeSet<_> =
        crate::shape::objects().iter().flat_map(|o| o.keys.iter().map(|key| (o.title, key.name))).collect();
    assert_eq!(READ.with_borrow(Clone::clone), expected);
}

/// A config in which the object with this title has `keys` beside what it needs.
fn with(title: &str, keys: &str) -> String {
    let listener = match title {
        "listener" => format!("cluster: shop, {keys}"),
        "server_tls" => format!("cluster: shop, tls: {{cert: shop.pem, key: shop.key, {keys}}}"),
        "client_certificates" => format!(
            "cluster: shop, tls: {{cert: shop.pem, key: shop.key, client_certificates: {{ca: ca.pem, {keys}}}}}"
        ),
        "proxy_protocol" => format!("cluster: shop, proxy_protocol: {{trusted: 10.0.0.0/8, {keys}}}"),
        "rate_limit" => format!("cluster: shop, rate_limit: {{requests: 5, {keys}}}"),
        "http2" => format!("cluster: shop, http2: {{{keys}}}"),
        "udp" => format!("cluster: shop, protocol: udp, udp: {{{keys}}}"),
        "redirect" => format!("routes: [{{redirect: {{scheme: https, {keys}}}}}]"),
        "respond" => format!("routes: [{{respond: {{{keys}}}}}]"),
        "route_headers" => format!("routes: [{{cluster: shop, headers: {{{keys}}}}}]"),
        "header_edits" => format!("routes: [{{cluster: shop, headers: {{request: {{{keys}}}}}}}]"),
        "listener_timeouts" => format!("cluster: shop, timeouts: {{{keys}}}"),
        "limits" => format!("cluster: shop, limits: {{{keys}}}"),
        "headers" => format!("cluster: shop, headers: {{{keys}}}"),
        "route" => format!("routes: [{{cluster: shop, {keys}}}]"),
        "match" => format!("routes: [{{cluster: shop, match: {{{keys}}}}}]"),
        "retry" => format!("routes: [{{cluster: shop, retry: {{{keys}}}}}]"),
        "backoff" => format!("routes: [{{cluster: shop, retry: {{backoff: {{{keys}}}}}}}]"),
        _ => "cluster: shop".to_owned(),
    };
    let endpoint = match title {
        "endpoint" => format!("endpoints: [{{address: '10.0.1.11:80', {keys}}}]"),
        "zoned_endpoint" => format!("endpoints: {{az-a: [{{address: '10.0.1.11:80', {keys}}}]}}"),
        _ => "endpoints: ['10.0.1.11:80']".to_owned(),
    };
    let cluster = match title {
        "cluster" => keys.to_owned(),
        "health_check" => format!("health_checks: [{{tcp_health_check: {{}}, {keys}}}]"),
        "http_health_check" | "grpc_health_check" => format!("health_checks: [{{{title}: {{{keys}}}}}]"),
        "client_tls" => format!("tls: {{{keys}}}"),
        "failure_window" => format!("outlier_detection: {{failure_percentage: {{threshold: 30, {keys}}}}}"),
        "probation" => format!("outlier_detection: {{probation: {{{keys}}}}}"),
        "failure_rate" | "per_endpoint" => format!("circuit_breaker: {{{title}: {{{keys}}}}}"),
        "connect" | "pool" | "resolve" | "hash" | "sticky" | "panic" | "zone_aware" | "slow_start"
        | "outlier_detection" | "circuit_breaker" | "retry_budget" => format!("{title}: {{{keys}}}"),
        _ => String::new(),
    };
    let top = match title {
        "config" => keys.to_owned(),
        "admin" => format!("admin: {{{keys}}}"),
        "shutdown" => format!("shutdown: {{{keys}}}"),
        "access_log" => format!("access_log: {{path: '-', {keys}}}"),
        _ => String::new(),
    };
    format!(
        "listeners: [{{name: web, bind: '0.0.0.0:8080', {listener}}}]\n\
         clusters: [{{name: shop, {endpoint}, {cluster}}}, {{name: next, endpoints: ['10.0.1.12:80']}}]\n\
         {top}\n{}\n",
        release(title, keys)
    )
}

/// A release in which the object with this title has `keys` beside what it needs; empty for others.
fn release(title: &str, keys: &str) -> String {
    let canaries = match title {
        "canary" => format!(", canaries: [{{cluster: next, {keys}}}]"),
        "rollout" => format!(", canaries: [{{cluster: next, rollout: {{{keys}}}}}]"),
        "guard" => format!(", canaries: [{{cluster: next, rollout: {{guard: {{{keys}}}}}}}]"),
        "release" => String::new(),
        _ => ", canaries: [{cluster: next}]".to_owned(),
    };
    let release = match title {
        "release" => format!(", {keys}"),
        "canonical" | "judge" => format!(", {title}: {{{keys}}}"),
        "id_cookie" => format!(", anonymous: {{sticky_cookie: {{{keys}}}}}"),
        "mirror" => format!(", mirror: {{cluster: next, percent: 10, {keys}}}"),
        "jwt" | "canary" | "rollout" | "guard" => String::new(),
        _ => return String::new(),
    };
    let key = if title == "jwt" { format!("{{jwt: {{{keys}}}}}") } else { "source_address".to_owned() };
    format!("releases: [{{name: gray, key: {key}, stable: shop{canaries}{release}}}]")
}

#[test]
fn a_default_that_is_written_out_means_the_same() {
    for object in crate::shape::objects() {
        let source = crate::Source { name: "with", env: &|_| None, files: &beside };
        let meaning = |keys: &str| crate::parse(&with(object.title, keys), &source).unwrap().config;
        for key in object.keys {
            if let crate::shape::Need::Default(default) = key.need {
                // These mean something there only.
                let base = if ["on_unhealthy", "udp"].contains(&key.name) { "protocol: udp" } else { "" };
                let base = if object.title == "listener" { base } else { "" };
                let joint = if base.is_empty() { "" } else { ", " };
                let written = format!("{base}{joint}{}: {default}", key.name);
                assert!(with(object.title, &written).contains(&written), "{} is nowhere", object.title);
                assert_eq!(meaning(&written), meaning(base), "{}: {written}", object.title);
            }
        }
    }
}
