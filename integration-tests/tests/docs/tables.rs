//! What pages show of the product and the product must do: published buckets, a line of the access log.

use serde_json::Value;
use weir_config::model::Bucket;
use weir_integration_tests::client::{RawClient, get};
use weir_integration_tests::weir::Weir;
use weir_integration_tests::{place, wait};

use crate::markdown::blocks;
use crate::read;

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
