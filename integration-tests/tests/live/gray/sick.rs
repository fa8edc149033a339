//! A version that is down: who serves its users meanwhile, and that they are its users still.

use weir_integration_tests::client::RawClient;
use weir_integration_tests::wait;

use super::{Live, Owned, Shop, at, by_rule, of_user, users};

const CHECKS: &str = "
health_checks:
  - {interval: 100ms, fast_interval: 50ms, down_interval: 50ms, unhealthy_threshold: 1, healthy_threshold: 1, http_health_check: {path: /healthz}}
slow_start: off";

const USERS: usize = 200;
const HALF: Owned<'static> = &[("v2", 0, 5_000)];

fn shop() -> Shop {
    let mut shop = Shop::new();
    shop.cluster = CHECKS;
    shop
}

/// Waits until the only endpoint of version `nth` is in this state.
fn becomes(live: &Live, nth: usize, word: &str) {
    wait::until_true(&format!("v{} to be {word}", nth + 1), || {
        live.weir.json("/api/v1/status")["clusters"][nth]["endpoints"][0]["status"] == word
    });
}

/// v2's users are served by stable while it is sick in this way, and by v2 again after it.
fn moves_and_comes_back(spoil: impl FnOnce(&mut Live), heal: impl FnOnce(&mut Live)) {
    let mut live = shop().start(&at("50", ""));
    let wanted = by_rule("orders", HALF, users(USERS));
    let its = wanted.values().filter(|version| *version == "v2").count();
    becomes(&live, 1, "healthy");
    assert_eq!(live.versions(users(USERS)), wanted);
    spoil(&mut live);
    becomes(&live, 1, "unhealthy");
    let versions = live.versions(users(USERS));
    assert!(versions.values().all(|version| version == "v1"), "{versions:?}");
    heal(&mut live);
    becomes(&live, 1, "healthy");
    assert_eq!(live.versions(users(USERS)), wanted, "nobody was given another bucket");
    wait::until_true("the moved ones counted", || {
        live.weir.metric("weir_release_moved_total", &["release=\"orders\"", "version=\"v2\""]) as usize == its
    });
}

#[test]
fn the_users_of_a_dead_version_are_stables_guests() {
    moves_and_comes_back(|live| live.shop.versions[1].kill(), |live| live.shop.versions[1].revive());
}

#[test]
fn the_users_of_a_version_that_fails_its_checks_are_stables_guests() {
    // It still answers, and panic would ask it.
    moves_and_comes_back(
        |live| live.shop.versions[1].probes_pass(false),
        |live| live.shop.versions[1].probes_pass(true),
    );
}

#[test]
fn or_they_are_refused_if_that_is_wished() {
    let mut live = shop().start(&at("50", "on_unhealthy: error"));
    becomes(&live, 1, "healthy");
    live.shop.versions[1].kill();
    becomes(&live, 1, "unhealthy");
    for (user, version) in by_rule("orders", HALF, users(USERS)) {
        let answer = RawClient::once(live.shop.web, &of_user(&user)).unwrap();
        let wanted = if version == "v2" { (503, Some("no_healthy_endpoint")) } else { (200, None) };
        assert_eq!((answer.status, answer.reason()), wanted, "{user}");
    }
}

#[test]
fn a_sick_stable_moves_nobody() {
    let mut live = shop().start(&at("50", ""));
    becomes(&live, 0, "healthy");
    live.shop.versions[0].kill();
    becomes(&live, 0, "unhealthy");
    for (user, version) in by_rule("orders", HALF, users(USERS)) {
        let answer = RawClient::once(live.shop.web, &of_user(&user)).unwrap();
        let wanted = if version == "v2" { (200, None) } else { (503, Some("no_healthy_endpoint")) };
        assert_eq!((answer.status, answer.reason()), wanted, "{user}");
    }
    // With nobody left, canaries' users are not sent from one dead version to another.
    live.shop.versions[1].probes_pass(false);
    becomes(&live, 1, "unhealthy");
    let moved =
        live.versions(by_rule("orders", HALF, users(USERS)).into_iter().filter(|(_, v)| v == "v2").map(|(u, _)| u));
    assert!(moved.values().all(|version| version == "v2"), "{moved:?}");
}
