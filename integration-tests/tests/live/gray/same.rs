//! The same user, the same version: on every instance and connection, after restarts and reloads.

use std::collections::BTreeMap;

use weir_integration_tests::place;
use weir_integration_tests::weir::Weir;

use super::{Live, Shop, ask, by_rule, of_user, users};

const USERS: usize = 1_500;

const RELEASE: &str = "
key: {header: x-user-id}
salt: orders-2026-11
stable: v1
canaries:
  - {cluster: v2, from: 0, weight: 20}
  - {cluster: v3, from: 9500, weight: 5}
";

const OWNED: super::Owned<'static> = &[("v2", 0, 2_000), ("v3", 9_500, 500)];

/// As [`Live::versions`], but so many requests of different users at once, before any answer.
fn pipelined(live: &Live, at_once: usize) -> BTreeMap<String, String> {
    let mut client = live.connect();
    let all: Vec<String> = users(USERS).collect();
    let mut versions = BTreeMap::new();
    for some in all.chunks(at_once) {
        client.send(some.iter().map(|user| of_user(user)).collect::<String>());
        for user in some {
            let answer = client.response().unwrap();
            assert_eq!(answer.status, 200, "{:?}", answer.reason());
            versions.insert(user.clone(), answer.text());
        }
    }
    versions
}

#[test]
fn everywhere_and_always_as_published() {
    let wanted = by_rule("orders-2026-11", OWNED, users(USERS));
    let mut one = Shop::new().start(RELEASE);
    assert_eq!(one.versions(users(USERS)), wanted, "kept-open connection");
    assert_eq!(pipelined(&one, 40), wanted, "pipelined");

    let elsewhere = place::address();
    let config = one.shop.config(RELEASE).replace(&one.shop.web.to_string(), &elsewhere.to_string());
    let another = Weir::start(&config);
    let here = std::mem::replace(&mut one.shop.web, elsewhere);
    assert_eq!(one.versions(users(USERS)), wanted, "another instance");
    one.shop.web = here;
    drop(another);

    one.weir.restart();
    assert_eq!(one.versions(users(USERS)), wanted, "after a restart");

    // Neither what else is changed nor the order of canaries matters.
    one.edit(&format!("{RELEASE}on_unhealthy: error"));
    assert_eq!(one.versions(users(USERS)), wanted, "after a reload");
    let lines: Vec<&str> = RELEASE.trim().lines().collect();
    let (v2, v3) = (lines[4], lines[5]);
    one.edit(&RELEASE.replace(&format!("{v2}\n{v3}"), &format!("{v3}\n{v2}")));
    assert_eq!(pipelined(&one, 7), wanted, "canaries in another order");
}

#[test]
fn another_salt_is_another_draw() {
    let live = Shop::new().start(RELEASE);
    let before = live.versions(users(USERS));
    // The salt is the release's name unless told.
    live.edit(&RELEASE.replace("salt: orders-2026-11\n", ""));
    let after = live.versions(users(USERS));
    assert_eq!(after, by_rule("orders", OWNED, users(USERS)));
    assert_ne!(after, before);
}

#[test]
fn a_connection_is_nobodys() {
    let live = Shop::new().start(RELEASE);
    let wanted = by_rule("orders-2026-11", OWNED, users(USERS));
    let of = |version: &str| wanted.iter().find(|(_, its)| *its == version).unwrap().0.clone();
    let three = ["v1", "v2", "v3"].map(of);
    let mut client = live.connect();
    for user in three.iter().cycle().take(60) {
        assert_eq!(ask(&mut client, user), wanted[user], "{user}");
    }
    assert_eq!(live.version(""), "v1", "and who has no id is stable's");
}
