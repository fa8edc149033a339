//! Tables in documents that are made from the code they describe.

use std::fmt::Write as _;

use serde_json::Value;
use weir_config::model::Bucket;
use weir_core::reason::{Reason, Side};
use weir_integration_tests::client::{RawClient, get};
use weir_integration_tests::weir::Weir;
use weir_integration_tests::{place, wait};

use crate::markdown::{blocks, expect_marked, marked};
use crate::read;

#[test]
fn the_table_of_metrics_is_the_codes() {
    expect_marked("docs/metrics.md", "metrics", &weir::observe::metrics::table::markdown());
}

#[test]
fn the_table_of_the_admin_api_is_the_codes() {
    expect_marked("docs/operations.md", "admin-api", &weir::admin::index::markdown());
}

#[test]
fn the_table_of_reasons_is_the_codes() {
    let mut table = "| reason | status | whose | what it says |\n|---|---|---|---|\n".to_owned();
    for reason in Reason::ALL {
        let meaning = reason.meaning();
        let status = match meaning.status {
            0 => "connection closed".to_owned(),
            status => status.to_string(),
        };
        let side = match meaning.side {
            Side::Downstream => "client",
            Side::Upstream => "endpoint",
            Side::Here => "Weir",
        };
        let _ = writeln!(table, "| `{}` | {status} | {side} | {} |", meaning.name, meaning.help);
    }
    expect_marked("docs/reasons.md", "reasons", &table);
}

#[test]
fn the_advice_about_reasons_is_the_codes() {
    expect_marked("docs/reasons.md", "advice", &Reason::markdown());
}

#[test]
fn the_tables_of_keys_are_the_schemas() {
    let schema = weir_config::schema();
    expect_marked("docs/configuration.md", "keys: top", &keys(&schema));
    let page = read("docs/configuration.md");
    let definitions = schema["$defs"].as_object().expect("the schema has definitions");
    for (name, definition) in definitions {
        let some = definition["properties"].as_object().is_some_and(|keys| !keys.is_empty());
        // Explained where they are used: one key, or the same keys elsewhere.
        let elsewhere =
            ["header_test", "cookie_test", "status_range", "zoned_endpoint", "own_certificate", "rate_key", "hex"];
        let told_elsewhere = elsewhere.contains(&name.as_str());
        if some && !told_elsewhere {
            expect_marked("docs/configuration.md", &format!("keys: {name}"), &keys(definition));
        }
    }
    for line in page.lines().filter_map(|line| line.strip_prefix("<!-- begin keys: ")) {
        let name = line.trim_end_matches(" -->");
        assert!(name == "top" || definitions.contains_key(name), "no such thing as {name}");
        assert!(marked(&page, &format!("keys: {name}")).is_some(), "{name} does not end");
    }
}

/// Made with another implementation of XXH64, and never to be made anew: other teams compute it too.
#[test]
fn the_published_buckets_come_out() {
    let page = read("docs/gray-release.md");
    let (_, rest) = page.split_once("| salt | id | bucket |\n|---|---|---|\n").expect("a table of buckets");
    let mut seen = 0;
    for row in rest.lines().take_while(|line| line.starts_with('|')) {
        let quoted: Vec<&str> = row.split('`').collect();
        let [_, salt, _, id, rest] = quoted[..] else { panic!("not a salt, an id and a bucket: {row}") };
        let bucket = rest.trim_matches(|c: char| !c.is_ascii_digit()).rsplit(' ').next();
        assert_eq!(bucket, Some(&*Bucket::of(salt, id.as_bytes()).to_string()), "{row}");
        seen += 1;
    }
    assert!(seen >= 6, "only {seen} rows: are they still found?");
}

/// The keys of one object: default and meaning.
fn keys(object: &Value) -> String {
    let required: Vec<&str> = object["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let mut table = "| key | default | meaning |\n|---|---|---|\n".to_owned();
    for (name, key) in object["properties"].as_object().into_iter().flatten() {
        let text = key["description"].as_str().unwrap_or_default();
        let (meaning, told) = text.split_once(" Default: ").unwrap_or((text, ""));
        let default = match &key["default"] {
            _ if required.contains(&name.as_str()) => "**required**".to_owned(),
            Value::Null => told.trim_end_matches('.').to_owned(),
            Value::String(text) => format!("`{text}`"),
            other => format!("`{}`", other.to_string().replace('"', "")),
        };
        let _ = writeln!(table, "| `{name}` | {default} | {} |", meaning.replace('|', "\\|"));
    }
    table
}

#[test]
fn the_access_line_on_the_page_is_a_real_one() {
    let page = std::path::Path::new("docs/operations.md");
    let shown =
        blocks(page).into_iter().find(|block| block.word("access-line").is_some()).expect("the page has a line");
    let keys = |line: &str| -> Vec<String> {
        let value: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        value.as_object().into_iter().flatten().map(|(key, _)| key.clone()).collect()
    };
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("access.log");
    let (web, first, second) = (place::address(), place::refusing(), place::refusing());
    let _weir = Weir::spawn(&format!(
        "access_log: {}\nlisteners: [{{name: web, bind: '{web}', cluster: shop}}]\n\
         clusters: [{{name: shop, endpoints: ['{first}', '{second}']}}]\n",
        log.display()
    ));
    wait::until_true("the listener", || RawClient::try_connect(web).is_ok());
    RawClient::once(web, &get("/x")).unwrap();
    let line = wait::until("a line in the access log", || {
        let text = std::fs::read_to_string(&log).ok()?;
        text.lines().next().map(str::to_owned)
    });
    assert_eq!(keys(&shown.text), keys(&line), "shown\n{}really\n{line}", shown.text);
}
