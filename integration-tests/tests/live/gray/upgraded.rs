//! A rollout and upgrades: it goes on where it was, in one process at a time.

use std::fs;
use std::io::Write as _;
use std::net::TcpStream;

use weir_integration_tests::wait;

use super::Shop;
use super::rollout::{load, reaches, rollout, weight};
use crate::stage::figure;

#[test]
fn a_rollout_goes_on_over_upgrades() {
    let directory = tempfile::tempdir().unwrap();
    let state = directory.path().to_str().unwrap().to_owned();
    let mut live = Shop::new().start_with(&rollout("50", ""), &["--state-dir", &state], |_| {});
    let load = load(&live);
    // The first process lasts for as long as this request is under way.
    let mut lasting = TcpStream::connect(live.shop.web).unwrap();
    lasting.write_all(b"POST /orders HTTP/1.1\r\nHost: shop.example\r\nContent-Length: 5\r\n\r\n").unwrap();
    reaches(&live, 25.0);
    live.says(&["release", "pause", "orders"]);
    live.weir.upgrade().unwrap();
    load.more(300);
    assert!((weight(&live) - 25.0).abs() < 1e-6, "paused is paused, in every process");
    let canary = &live.weir.json("/api/v1/releases")["releases"][0]["canaries"][0].clone();
    assert_eq!(canary["phase"], "paused", "{canary}");

    // Only the new one keeps state: what the old one thinks of it would be "advancing".
    live.says(&["release", "resume", "orders"]);
    let kept = || fs::read_to_string(directory.path().join("releases.json")).unwrap_or_default();
    wait::until_true("what is kept", || kept().contains("advancing"));
    assert!(live.weir.exited().is_none(), "the first has a request under way");
    live.weir.upgrade().unwrap();
    reaches(&live, 50.0);
    wait::until_true("what is kept", || kept().contains("\"weight\": 5000"));
    drop(lasting);
    let report = load.finish();
    figure("a rollout over 2 upgrades", &report, None);
    assert!(report.failed().is_empty(), "{report}\n{}", live.weir.stderr());
    let advanced = live.weir.stderr().matches("step 2 of 3").count();
    assert_eq!(advanced, 1, "told by one process, once:\n{}", live.weir.stderr());
}
