//! A whole release by hand: from nobody to everybody and back under load, with a version that is
//! worse in every way.

use std::time::Duration;

use weir_integration_tests::pace::Pace;
use weir_integration_tests::replica::{Mood, Replica};

use super::{Shop, at, bucket, of_user, owner};
use crate::stage::figure;

const USERS: u64 = 400;
/// Of a hundred requests to one of v2's two replicas.
const ERRORS: u8 = 10;

#[test]
fn to_everybody_and_back_fails_nobody_by_our_doing() {
    let shop = Shop::new();
    // v2 has a second replica: the one fails now and then, the other is slow.
    let slow = Replica::new("v2");
    slow.set(Mood::Slow(Duration::from_millis(60)));
    shop.versions[1].set(Mood::Status { code: 500, percent: ERRORS, retry_after: None });
    let v2 = format!("\"{}\"", shop.versions[1].address());
    let both = format!("{v2}, \"{}\"", slow.address());
    let config = |weight: &str| shop.config(&at(weight, "")).replace(&v2, &both);
    let weir = weir_integration_tests::weir::Weir::start(&config("0"));
    let load = Pace::start(shop.web, 250, |nth| of_user(&format!("user-{}", nth % USERS)).into_bytes());
    load.more(200);
    // What was in force from when on.
    let mut steps = Vec::new();
    for (nth, weight) in ["1", "5", "25", "50", "100", "50", "5", "0"].into_iter().enumerate() {
        weir.replace(&config(weight));
        let _ = weir.wait_event("config_applied", nth + 1);
        let from = load.elapsed();
        load.more(USERS as usize);
        steps.push((weight.parse::<u16>().unwrap() * 100, from, load.elapsed()));
    }
    let report = load.finish();
    figure("release 0 -> 100 -> 0 % onto a worse version", &report, None);
    let own = shop.versions[1].count().div_ceil(100) * usize::from(ERRORS);
    assert!(report.failed().iter().all(|shot| shot.kind() == "500"), "only what v2 answered: {report}");
    assert!((1..=own).contains(&report.failed().len()), "and all of it is v2's: {own}, {report}");
    for (share, from, to) in steps {
        let step = report.between(from, to);
        for shot in step.shots.iter().filter(|shot| shot.at + shot.took < to) {
            let version = owner(&[("v2", 0, share)], bucket("orders", &format!("user-{}", shot.nth % USERS)));
            let got = shot.by().unwrap_or("v2");
            assert_eq!(got, version, "user-{} at {share}", shot.nth % USERS);
        }
    }
    let all = report.by();
    assert!(all["v2"] > 100 && all["v1"] > 100, "{all:?}");
}
