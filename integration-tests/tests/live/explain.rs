//! What is explained is what is done: answers against their decisions, the access log and the
//! replicas that gave them.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde_json::Value;
use weir_integration_tests::backend::{Backend, ok};
use weir_integration_tests::client::{RawClient, get};
use weir_integration_tests::weir::Weir;
use weir_integration_tests::{place, wait};

use crate::Scene;

fn replicas(count: usize) -> Vec<Backend> {
    (0..count).map(|n| Backend::scripted(move |peer, _| peer.send(ok(&format!("replica {n}"))))).collect()
}

/// Lines of the access log by request id.
fn lines(log: &std::path::Path, count: usize) -> BTreeMap<String, Value> {
    let text = wait::until("all lines", || {
        std::fs::read_to_string(log).ok().filter(|text| text.ends_with('\n') && text.lines().count() >= count)
    });
    let line = |line: &str| {
        let value: Value = serde_json::from_str(line).unwrap();
        (value["request_id"].as_str().unwrap_or_default().to_owned(), value)
    };
    text.lines().map(line).collect()
}

/// The way of a request, as its answer names it.
fn decision(weir: &Weir, fields: &weir_integration_tests::message::Fields) -> Value {
    let id = fields.get("x-weir-decision").expect("each answer names its decision").to_owned();
    assert!(id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
    wait::until("the decision", || {
        let answer = weir.admin_get(&format!("/api/v1/decisions/{id}"));
        (answer.status == 200).then(|| serde_json::from_str(&answer.text()).unwrap())
    })
}

#[test]
fn each_decision_names_the_endpoint_that_answered() {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("access.log");
    for policy in ["round_robin", "least_request", "random", "ewma", "maglev", "ring_hash"] {
        let _ = std::fs::remove_file(&log);
        let replicas = replicas(3);
        let mut scene = Scene::to(replicas[0].address());
        scene.endpoints.extend(replicas[1..].iter().map(Backend::address));
        scene = scene.listener("headers: {decision: 1.0}");
        let yaml = format!("access_log: {{path: \"{}\"}}\n{}    balance: {policy}\n", log.display(), scene.yaml());
        let weir = Weir::start(&yaml);
        let addresses: Vec<SocketAddr> = replicas.iter().map(Backend::address).collect();
        let mut client = RawClient::connect(scene.web);
        let mut answers = Vec::new();
        for n in 0..30 {
            client.send(get(&format!("/{n}?secret=1")));
            answers.push((n, client.response().unwrap()));
        }
        let lines = lines(&log, answers.len());
        for (n, answer) in answers {
            let told = decision(&weir, &answer.fields);
            let id = answer.fields.get("x-request-id").unwrap();
            let text = answer.text();
            let replica: usize = text.trim().strip_prefix("replica ").unwrap().parse().unwrap();
            let endpoint = addresses[replica].to_string();
            assert_eq!(told["served"]["endpoint"], endpoint, "{policy}: {told:#}");
            assert_eq!(told["pick"]["endpoint"], endpoint, "{policy}: {told:#}");
            assert_eq!(told["served"]["request_id"], *id, "{told:#}");
            assert_eq!(told["served"]["status"], 200);
            assert_eq!(lines[id]["endpoint"], endpoint, "{policy}: {}", lines[id]);
            assert_eq!(told["request"]["target"], format!("/{n}?secret=1"));
            let picked: Vec<&Value> =
                told["cluster"]["endpoints"].as_array().unwrap().iter().filter(|one| one["picked"] == true).collect();
            assert!(picked.len() == 1 && picked[0]["address"] == endpoint, "{told:#}");
        }
    }
}

/// The attempt that failed and the one that was the answer are told apart.
#[test]
fn a_decision_tells_each_attempt() {
    let replica = Backend::text("here");
    let nobody = place::address();
    let mut scene = Scene::to(replica.address());
    scene.endpoints.push(nobody);
    let weir = scene.listener("headers: {decision: 1.0}").cluster("balance: round_robin");
    let (web, weir) = (weir.web, weir.start());
    let told = (0..10)
        .map(|_| decision(&weir, &RawClient::once(web, &get("/")).unwrap().fields))
        .find(|told| told["served"]["attempts"] == 2)
        .expect("some request meets nobody first");
    assert_eq!(told["served"]["earlier"][0]["endpoint"], nobody.to_string(), "{told:#}");
    assert_eq!(told["served"]["endpoint"], replica.address().to_string(), "{told:#}");
}

#[test]
fn refusals_have_decisions_and_credentials_are_not_kept() {
    let scene = Scene::to(place::address()).listener("headers: {decision: 1.0}");
    let (web, weir) = (scene.web, scene.start());
    let request = "GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer hidden-one\r\nCookie: sid=hidden-two\r\n\r\n";
    let answer = RawClient::once(web, request).unwrap();
    assert_eq!(answer.status, 503, "{answer:?}");
    let told = decision(&weir, &answer.fields);
    assert_eq!(told["served"]["reason"], "connect_refused", "{told:#}");
    assert_eq!(told["refused"]["status"], 503);
    assert!(!told.to_string().contains("hidden-"), "{told:#}");
    let id = told["served"]["decision"].as_str().unwrap();
    let said = weir.command(&["explain", id]);
    let text = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(said.status.success() && text.contains("connect_refused") && text.contains(id), "{text}");
    let said = weir.command(&["explain", "00000000000000000000000000000000"]);
    assert_eq!(said.status.code(), Some(1));
}

#[test]
fn who_is_not_sampled_is_told_nothing() {
    let replica = Backend::text("here");
    let scene = Scene::to(replica.address());
    let (web, _weir) = (scene.web, scene.start());
    let answer = RawClient::once(web, &get("/")).unwrap();
    assert_eq!(answer.fields.get("x-weir-decision"), None);
}

/// A described request on the live snapshot: whoever is out is shown with its evidence.
#[test]
fn a_described_request_is_explained_on_what_is_in_force() {
    let replicas = replicas(2);
    let mut scene = Scene::to(replicas[0].address());
    scene.endpoints.push(replicas[1].address());
    let weir = scene.start();
    let drained = replicas[1].address().to_string();
    assert!(weir.command(&["drain", &format!("main/{drained}")]).status.success());
    let url = format!("http://{}/orders?x=1", scene.web);
    let said = weir.command(&["explain", "GET", &url, "--seed", "7", "-H", "x-a: b", "--format", "json"]);
    let told: Value = serde_json::from_slice(&said.stdout).unwrap_or_else(|_| panic!("{said:?}"));
    assert_eq!((told["listener"].as_str(), told["seed"].as_u64()), (Some("web"), Some(7)), "{told:#}");
    assert_eq!(told["pick"]["endpoint"], replicas[0].address().to_string());
    let out = told["cluster"]["endpoints"].as_array().unwrap().iter().find(|one| one["address"] == drained).unwrap();
    assert_eq!((out["status"].as_str(), out["why_not"].as_str()), (Some("draining"), Some("it is being drained")));
    assert!(out["reason"].as_str().is_some_and(|reason| reason.contains("drained")), "{out}");
    assert!(replicas.iter().all(|replica| replica.requests().is_empty()), "nothing is sent");
    for (arguments, start) in [
        (
            vec!["explain", "GET", "http://a/", "--listener", "wep"],
            "weir: there is no http listener \"wep\"; did you mean web?",
        ),
        (
            vec!["explain", "GET", "http://a/", "--user", "1"],
            "weir: the route that takes this request leads to no release",
        ),
        (vec!["explain", "GET"], "weir: what?"),
        (vec!["explain", "GET", "http://a/", "--zone", "az-a"], "weir: --zone is for files"),
    ] {
        let said = weir.command(&arguments);
        let text = String::from_utf8_lossy(&said.stderr).into_owned();
        assert!(said.status.code() == Some(2) && text.starts_with(start), "{arguments:?}: {text}");
    }
    let answer = weir.admin_get("/api/v1/explain?method=GET");
    let problem: Value = serde_json::from_str(&answer.text()).unwrap();
    assert_eq!((answer.status, problem["parameter"].as_str()), (400, Some("url")), "{problem}");
}

/// Of a release: the decision, the access log, a description of the same request and the replica
/// that answered say the same, for every user.
#[test]
fn a_release_s_decision_is_that_of_the_log_and_of_the_replica() {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("access.log");
    let versions = ["v1", "v2"].map(Backend::text);
    let web = place::address();
    let yaml = format!(
        "access_log: {{path: \"{}\"}}
listeners: [{{name: web, bind: '{web}', release: orders, headers: {{decision: 1}}}}]
clusters:
  - {{name: v1, endpoints: ['{}']}}
  - {{name: v2, endpoints: ['{}']}}
releases:
  - name: orders
    key: [{{header: x-user-id}}, {{cookie: uid}}]
    stable: v1
    canaries: [{{cluster: v2, weight: 50, first: [{{users: [ann]}}], never: [{{header: {{x-no: {{present: true}}}}}}]}}]
",
        log.display(),
        versions[0].address(),
        versions[1].address()
    );
    let weir = Weir::start(&yaml);
    let users = (0..30).map(|n| format!("X-User-Id: {n}")).chain([
        "X-User-Id: ann".into(),
        "Cookie: uid=ann".into(),
        "X-User-Id: ann\r\nX-No: 1".into(),
        "X-Nobody: 1".into(),
    ]);
    let ask = |fields: String| {
        let answer = RawClient::once(web, &format!("GET /orders HTTP/1.1\r\nHost: shop.example\r\n{fields}\r\n\r\n"));
        (fields, answer.unwrap())
    };
    let answers: Vec<_> = users.map(ask).collect();
    let lines = lines(&log, answers.len());
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for (fields, answer) in &answers {
        let told = decision(&weir, &answer.fields);
        let (release, line) = (&told["release"], &lines[answer.fields.get("x-request-id").unwrap()]);
        assert_eq!(release["cluster"], answer.text().trim(), "{fields}: {told:#}");
        assert_eq!(line["cluster"], release["cluster"], "{fields}: {line}");
        assert_eq!(line["endpoint"], told["pick"]["endpoint"], "{fields}: {line}");
        for (of_line, of_decision) in [
            ("release", "name"),
            ("release_version", "assigned"),
            ("bucket", "bucket"),
            ("why", "why"),
            ("moved_by_health", "moved_by_health"),
        ] {
            assert_eq!(line[of_line], release[of_decision], "{fields}: {line}\n{told:#}");
        }
        let url = format!("http://{web}/orders");
        let mut arguments = vec!["explain", "GET", &url, "--format", "json"];
        fields.split("\r\n").for_each(|field| arguments.extend(["-H", field]));
        let described: Value = serde_json::from_slice(&weir.command(&arguments).stdout).unwrap();
        assert_eq!(&described["release"], release, "{fields}");
        *seen.entry(release["why"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    // Whom a canary's first list takes and its never list too is as if in neither.
    assert_eq!((seen["first_list"], seen["unattributed"]), (2, 1), "{seen:?}");
    assert!(seen["bucket"] > 3 && seen["stable"] > 3, "{seen:?}");
}
