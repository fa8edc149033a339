//! What people and scripts type: weights set in the file, and who would move said before.

use std::fs;

use weir_integration_tests::pace::Pace;

use super::{Live, Owned, Shop, at, bucket, by_rule, of_user, users};
use crate::stage::figure;

const USERS: usize = 300;
const FIVE: Owned<'static> = &[("v2", 0, 500)];
const TWENTY: Owned<'static> = &[("v2", 0, 2_000)];

/// With a comment that must survive.
fn release() -> String {
    at("5", "")
        .replace("canaries: [{cluster: v2, weight: 5}]", "canaries:\n  - cluster: v2\n    weight: 5   # since Monday")
}

fn file(live: &Live) -> String {
    fs::read_to_string(live.weir.config()).unwrap()
}

#[test]
fn a_weight_is_set_in_the_file_and_in_force_when_the_command_ends() {
    let live = Shop::new().start(&release());
    let load = Pace::start(live.shop.web, 200, |nth| of_user(&format!("user-{}", nth % USERS as u64)).into_bytes());
    load.more(USERS);
    let before = file(&live);
    let said = live.says(&["release", "set", "orders", "v2=20", "--dry-run"]);
    assert!(said.contains("20"), "{said}");
    assert_eq!(file(&live), before, "a dry run writes nothing");
    assert_eq!(live.versions(users(USERS)), by_rule("orders", FIVE, users(USERS)));

    live.says(&["release", "set", "orders", "v2=20"]);
    assert_eq!(live.versions(users(USERS)), by_rule("orders", TWENTY, users(USERS)), "in force at once");
    assert_eq!(file(&live), before.replace("weight: 5 ", "weight: 20 "), "and nothing else is changed");

    for wrong in [["nobody", "v2=20"], ["orders", "v4=20"], ["orders", "v2=101"], ["orders", "v1=5"]] {
        let (held, output) = (file(&live), live.weir.command(&["release", "set", wrong[0], wrong[1]]));
        assert!(!output.status.success(), "{wrong:?}");
        assert_eq!(file(&live), held, "{wrong:?} writes nothing");
    }
    for weight in ["100", "0", "0.5", "5"] {
        live.says(&["release", "set", "orders", &format!("v2={weight}")]);
        let share = (weight.parse::<f64>().unwrap() * 100.0) as u16;
        let owned = [("v2", 0, share)];
        assert_eq!(live.versions(users(USERS)), by_rule("orders", &owned, users(USERS)), "{weight}");
    }
    assert_eq!(file(&live), before, "there and back");
    let report = load.finish();
    report.assert_no_error();
    figure("weir release set, eight times", &report, None);
}

#[test]
fn who_would_move_is_said_before() {
    let live = Shop::new().start(&at("5", ""));
    let candidate = live.weir.directory().join("candidate.yaml");
    fs::write(&candidate, live.weir.with_admin(&live.shop.config(&at("20", "")))).unwrap();
    let ids = live.weir.directory().join("ids.txt");
    fs::write(&ids, users(USERS).collect::<Vec<_>>().join("\n")).unwrap();
    let [from, to, ids] = [live.weir.config(), candidate, ids].map(|path| path.to_str().unwrap().to_owned());
    let output = live.weir.command(&["diff", &from, &to, "--users", &ids, "--format", "json"]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    let moving: Vec<String> = users(USERS).filter(|user| (500..2_000).contains(&bucket("orders", user))).collect();
    for user in users(USERS) {
        let told = said.contains(&format!("\"{user}\""));
        assert_eq!(told, moving.contains(&user), "{user} of bucket {}: {said}", bucket("orders", &user));
    }
    // And then they do.
    let before = live.versions(users(USERS));
    live.edit(&at("20", ""));
    let after = live.versions(users(USERS));
    let moved: Vec<String> = users(USERS).filter(|user| before[user] != after[user]).collect();
    assert_eq!(moved, moving);
}
