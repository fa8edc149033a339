//! The manifests: built by kustomize, rendered by Helm, held against Kubernetes' JSON schemas, and
//! looked at as a whole: do ports, labels, volumes, probes and the configuration fit together?
//!
//! There is no cluster here: nothing is applied.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::{assert_command_exists, extra, succeeds};
use crate::{read, root};

/// Kubernetes versions: the oldest that has all of it, and the newest whose schemas are here.
const VERSIONS: [&str; 2] = ["1.27", "1.37"];

fn helper(arguments: &[&str], input: &str) -> Value {
    let script = root().join("integration-tests/tests/docs/deploy/kube.py");
    let mut child = Command::new(extra("python3"))
        .arg(script)
        .args(arguments)
        .current_dir(root())
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("python3");
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The documents of a text, each valid in all of [`VERSIONS`].
fn documents(text: &str) -> Vec<Value> {
    let arguments: Vec<&str> = ["validate"].into_iter().chain(VERSIONS).collect();
    helper(&arguments, text).as_array().unwrap().clone()
}

/// What kustomize makes of a directory.
fn built(directory: &str) -> Vec<Value> {
    documents(&succeeds(&extra("kubectl"), &["kustomize", directory], &root()))
}

const CHART: &str = "deploy/helm/weir";

/// What Helm makes of the chart: its files by template, or why it refuses the values.
fn rendered(values: &Value) -> Result<Vec<(String, String)>, String> {
    let answer = helper(&["render", CHART, &values.to_string()], "");
    match (&answer["files"], &answer["error"]) {
        (Value::Object(files), _) => {
            Ok(files.iter().map(|(name, text)| (name.clone(), text.as_str().unwrap().to_owned())).collect())
        }
        (_, Value::String(error)) => Err(error.clone()),
        _ => panic!("{answer}"),
    }
}

/// The manifests among rendered files.
fn manifests(files: &[(String, String)]) -> Vec<Value> {
    let yaml = files.iter().filter(|(name, _)| name.ends_with(".yaml")).map(|(_, text)| text.as_str());
    documents(&yaml.collect::<Vec<_>>().join("\n---\n"))
}

fn of_kind<'d>(documents: &'d [Value], kind: &str) -> Vec<&'d Value> {
    documents.iter().filter(|document| document["kind"] == kind).collect()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

/// Whether labels have all that a selector asks for; an empty selector has forgotten something.
fn selects(selector: &Value, labels: &Value) -> bool {
    let wanted = selector.as_object().unwrap_or_else(|| panic!("no selector: {selector}"));
    !wanted.is_empty() && wanted.iter().all(|(key, value)| labels[key] == *value)
}

/// Everything that has to fit in a set of manifests with one Deployment; how many Pods it asks for.
fn assert_coherent(documents: &[Value]) -> u64 {
    let deployment = of_kind(documents, "Deployment")[0];
    let (pod, labels) =
        (&deployment["spec"]["template"]["spec"], &deployment["spec"]["template"]["metadata"]["labels"]);
    let container = &pod["containers"][0];
    let config = config_of(documents);

    // Who selects Pods selects these.
    assert!(selects(&deployment["spec"]["selector"]["matchLabels"], labels));
    for service in of_kind(documents, "Service") {
        assert!(selects(&service["spec"]["selector"], labels), "{service:#}");
        for port in list(&service["spec"]["ports"]) {
            let known = list(&container["ports"]).iter().any(|known| known["name"] == port["targetPort"]);
            assert!(known, "{} is sent to no port of the Pod", port["name"]);
        }
    }
    for budget in of_kind(documents, "PodDisruptionBudget") {
        assert!(selects(&budget["spec"]["selector"]["matchLabels"], labels));
    }
    for policy in of_kind(documents, "NetworkPolicy") {
        assert!(selects(&policy["spec"]["podSelector"]["matchLabels"], labels));
    }
    for spread in list(&pod["topologySpreadConstraints"]) {
        assert!(selects(&spread["labelSelector"]["matchLabels"], labels));
    }
    assert_eq!(of_kind(documents, "ServiceAccount")[0]["metadata"]["name"], pod["serviceAccountName"]);

    // What the kubelet asks is answered there, and each port is somebody's.
    let admin = &list(&container["ports"]).iter().find(|port| port["name"] == "admin").unwrap()["containerPort"];
    assert!(config.contains(&format!("0.0.0.0:{admin}")), "the admin address is another than the probes'");
    for (probe, path) in [("startupProbe", "/livez"), ("livenessProbe", "/livez"), ("readinessProbe", "/readyz")] {
        assert_eq!(container[probe]["httpGet"], json!({"path": path, "port": "admin"}));
    }
    for port in list(&container["ports"]) {
        assert!(config.contains(&format!(":{}", port["containerPort"])), "no listener for {port}");
    }

    // The drain is longer than a Service needs to look away, and shorter than the kubelet's patience.
    let grace = pod["terminationGracePeriodSeconds"].as_u64().unwrap();
    let shutdown = valid(&config).shutdown;
    assert!(grace > (shutdown.delay + shutdown.timeout).as_secs(), "killed while it drains");
    assert!(shutdown.delay.as_secs() >= 5, "Services go on sending for a while");

    // Each mount is a volume; no file by subPath, which would never be updated.
    for mount in list(&container["volumeMounts"]) {
        assert!(list(&pod["volumes"]).iter().any(|volume| volume["name"] == mount["name"]), "{mount}");
        assert!(mount["subPath"].is_null(), "{mount}");
    }
    let words: Vec<&str> =
        ["weir"].into_iter().chain(list(&container["args"]).iter().filter_map(Value::as_str)).collect();
    assert_command_exists(&words);
    for document in documents.iter().filter(|document| document["kind"] == "Pod") {
        assert_restricted(&document["spec"]);
        let args = list(&document["spec"]["containers"][0]["args"]);
        assert_command_exists(&["weir"].into_iter().chain(args.iter().filter_map(Value::as_str)).collect::<Vec<_>>());
    }
    assert_restricted(pod);
    deployment["spec"]["replicas"].as_u64().unwrap_or(0)
}

/// The strictest of the Pod Security Standards, and no token of the API server.
fn assert_restricted(pod: &Value) {
    assert_eq!(pod["automountServiceAccountToken"], false);
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
    for container in list(&pod["containers"]) {
        let context = &container["securityContext"];
        assert_eq!(context["allowPrivilegeEscalation"], false);
        assert_eq!(context["readOnlyRootFilesystem"], true);
        assert_eq!(context["capabilities"], json!({"drop": ["ALL"]}));
    }
}

/// The text of the ConfigMap.
fn config_of(documents: &[Value]) -> String {
    let map = of_kind(documents, "ConfigMap")[0];
    map["data"]["weir.yaml"].as_str().expect("the ConfigMap holds weir.yaml").to_owned()
}

/// A configuration of a Pod, read with the Secret's files at hand.
fn valid(config: &str) -> weir_config::model::Config {
    assert!(config.contains("token_file: /etc/weir-admin/"), "no token: who reaches the Pod would be trusted");
    let token = |name: &str| Ok(format!("a-token-of-its-own-for-{name}").into_bytes());
    let source = weir_config::Source { name: "weir.yaml", env: &|_| None, files: &token };
    weir_config::parse(config, &source).unwrap_or_else(|mistakes| panic!("{mistakes:#?}")).config
}

#[test]
fn kustomize_builds_what_kubernetes_takes() {
    assert_eq!(assert_coherent(&built("deploy/kubernetes/base")), 3);
    let production = built("deploy/kubernetes/overlays/production");
    assert_eq!(assert_coherent(&production), 4);
    assert!(config_of(&production).contains("orders-v2"), "the overlay's configuration replaces the base's");
    let service = of_kind(&production, "Service").into_iter().find(|it| it["metadata"]["name"] == "weir").unwrap();
    assert_eq!(service["spec"]["externalTrafficPolicy"], "Local");
    for document in production.iter().filter(|document| document["kind"] != "Namespace") {
        assert_eq!(document["metadata"]["namespace"], "edge", "{document:#}");
    }
}

#[test]
fn helm_renders_what_kubernetes_takes() {
    let lint = helper(&["lint", CHART], "");
    let bad: Vec<&Value> =
        list(&lint["messages"]).iter().filter(|message| message["severity"].as_u64() > Some(1)).collect();
    assert!(bad.is_empty() && list(&lint["errors"]).is_empty(), "{lint:#}");

    let files = rendered(&json!({})).unwrap();
    let plain = manifests(&files);
    assert_eq!(assert_coherent(&plain), 3);
    let tokens = &of_kind(&plain, "Secret")[0]["data"];
    assert_ne!(tokens["admin.token"], tokens["read.token"]);
    let notes = &files.iter().find(|(name, _)| name.ends_with("NOTES.txt")).unwrap().1;
    for command in notes.lines().filter_map(|line| line.split("-- /").nth(1)) {
        assert_command_exists(&command.split_whitespace().collect::<Vec<_>>());
    }

    let every = json!({
        "image": {"repository": "registry.example/weir", "tag": "0.2.0", "pullPolicy": "Always"},
        "imagePullSecrets": [{"name": "registry"}],
        "autoscaling": {"enabled": true},
        "ports": [
            {"name": "http", "port": 80, "containerPort": 8080},
            {"name": "dns", "port": 53, "containerPort": 5353, "protocol": "UDP"},
        ],
        "config": {
            "listeners": [
                {"name": "web", "bind": "0.0.0.0:8080", "routes": [{"match": {"path_prefix": "/a"}, "cluster": "shop"}]},
                {"name": "dns", "bind": "0.0.0.0:5353", "protocol": "udp", "cluster": "shop"},
            ],
        },
        "adminSecret": "ours",
        "service": {"type": "LoadBalancer", "externalTrafficPolicy": "Local", "annotations": {"a.example/b": "c"}},
        "networkPolicy": {"enabled": false},
        "tlsSecrets": ["shop-tls"],
        "podAnnotations": {"a.example/b": "true"},
        "nodeSelector": {"kubernetes.io/os": "linux"},
        "tolerations": [{"key": "edge", "operator": "Exists"}],
        "affinity": {"nodeAffinity": {}},
    });
    let every = manifests(&rendered(&every).unwrap());
    assert_coherent(&every);
    assert!(of_kind(&every, "Secret").is_empty() && of_kind(&every, "NetworkPolicy").is_empty());
    assert_eq!(of_kind(&every, "HorizontalPodAutoscaler").len(), 1);
    let text = Value::from(every).to_string();
    for part in ["registry.example/weir:0.2.0", "/etc/weir-tls/shop-tls", "\"UDP\"", "\"secretName\":\"ours\""] {
        assert!(text.contains(part), "{part} is missing");
    }
}

#[test]
fn helm_refuses_what_weir_would_refuse() {
    let listener = json!({"name": "web", "bind": "0.0.0.0:8080", "cluster": "shop", "protokol": "http"});
    for (values, said) in [
        (json!({"replica": 3}), "replica"),
        (json!({"config": {"listners": []}}), "listners"),
        (json!({"config": {"listeners": [listener]}}), "protokol"),
        (json!({"config": {"admin": "off"}}), "admin"),
        (json!({"ports": [{"name": "http", "port": 80, "containerPort": 80}]}), "containerPort"),
    ] {
        let error = rendered(&values).expect_err("it is wrong");
        assert!(error.contains(said), "{values}: {error}");
    }
}

/// A schema without what only people read, and without `admin`, which the chart writes.
fn bare(schema: &Value, names: bool) -> Value {
    const WORDS: [&str; 6] = ["description", "examples", "default", "$schema", "$id", "title"];
    match schema {
        Value::Object(map) => {
            let kept = map.iter().filter(|(key, _)| names || !WORDS.contains(&key.as_str()));
            let inner = |key: &str| !names && matches!(key, "properties" | "$defs");
            Value::Object(kept.map(|(key, value)| (key.clone(), bare(value, inner(key)))).collect())
        }
        Value::Array(items) => items.iter().map(|item| bare(item, false)).collect(),
        other => other.clone(),
    }
}

#[test]
fn the_charts_schema_has_weirs_own_in_it() {
    let path: PathBuf = root().join(CHART).join("values.schema.json");
    let text = fs::read_to_string(&path).unwrap();
    let mut schema: Value = serde_json::from_str(&text).unwrap();
    let mut ours = bare(&weir_config::schema(), false);
    let definitions = ours.as_object_mut().unwrap().remove("$defs").unwrap();
    ours["properties"].as_object_mut().unwrap().remove("admin").expect("the chart's own part");
    schema["properties"]["config"] = ours;
    schema["$defs"] = definitions;
    let anew = format!("{schema:#}\n");
    if anew != text {
        assert!(
            std::env::var_os("UPDATE_EXPECT").is_some(),
            "{} is older than the configuration's schema (UPDATE_EXPECT=1 writes it anew)",
            path.display()
        );
        fs::write(path, anew).unwrap();
    }
    // Each value has a default, and each default is a value that is described.
    let values = read(format!("{CHART}/values.yaml"));
    let top = |line: &str| {
        line.split_once(':')
            .filter(|(key, _)| key.chars().all(char::is_alphanumeric) && !key.is_empty())
            .map(|(key, _)| key.to_owned())
    };
    let mut defaults: Vec<String> = values.lines().filter_map(top).collect();
    let mut described: Vec<String> =
        schema["properties"].as_object().unwrap().keys().filter(|key| *key != "global").cloned().collect();
    defaults.sort();
    described.sort();
    assert_eq!(defaults, described);
}
