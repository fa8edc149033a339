//! What an edit moves: exactly the buckets it names, at the next request, and nobody's request
//! fails for it.

use std::fs;
use std::time::Duration;

use rustix::process::Signal;
use weir_integration_tests::pace::{Pace, Report};
use weir_integration_tests::replica::Mood;
use weir_integration_tests::wait;

use super::{Live, Owned, Shop, ask, at, bucket, by_rule, of_user, owner, users};
use crate::stage::figure;

const USERS: usize = 500;

/// Open-loop load of all users in turn, on connections that stay open.
fn load(live: &Live) -> Pace {
    Pace::start(live.shop.web, 250, |nth| of_user(&user(nth)).into_bytes())
}

fn user(nth: u64) -> String {
    format!("user-{}", nth % USERS as u64)
}

/// An edit under load: who owned what before and after, and when it was made.
struct Edit {
    before: Vec<(&'static str, u16, u16)>,
    after: Vec<(&'static str, u16, u16)>,
    begun: Duration,
    done: Duration,
}

/// Makes an edit under load, with a while before and after it.
fn edit(live: &Live, load: &Pace, release: &str, before: Owned<'static>, after: Owned<'static>) -> Edit {
    load.more(USERS);
    let begun = load.elapsed();
    live.edit(release);
    let done = load.elapsed();
    load.more(USERS);
    Edit { before: before.to_vec(), after: after.to_vec(), begun, done }
}

/// Each request that had ended before an edit obeyed the old file, each that began after it the
/// new one, and those between one of both.
fn obeyed(report: &Report, edits: &[Edit]) {
    for shot in &report.shots {
        let version = shot.by().unwrap_or_else(|| panic!("{}: {report}", shot.kind()));
        let bucket = bucket("orders", &user(shot.nth));
        let (from, to) = (shot.at, shot.at + shot.took);
        // The files that were in force at some moment of it.
        let first = edits.iter().rposition(|edit| edit.done <= from);
        let mut may = vec![first.map_or(&edits[0].before, |at| &edits[at].after)];
        may.extend(edits.iter().filter(|edit| edit.begun < to && edit.done > from).map(|edit| &edit.after));
        let may: Vec<&str> = may.into_iter().map(|owned| owner(owned, bucket)).collect();
        assert!(
            may.contains(&version),
            "{} of bucket {bucket} got {version}, not {may:?}, at {from:?}",
            user(shot.nth)
        );
    }
}

#[test]
fn raising_and_lowering_a_weight_moves_exactly_its_buckets() {
    let live = Shop::new().start(&at("5", ""));
    let (five, twenty): (Owned<'_>, Owned<'_>) = (&[("v2", 0, 500)], &[("v2", 0, 2_000)]);
    let load = load(&live);
    let up = edit(&live, &load, &at("20", ""), five, twenty);
    let at_twenty = live.versions(users(USERS));
    // What is no release changes nothing, and says so.
    for bad in ["120", "-1", "20.001", "x"] {
        live.edit_in_vain(&at(bad, ""));
    }
    live.edit_in_vain(&at("20", "").replace("v2", "v4"));
    live.edit_in_vain(&at("20", "").replace("v2", "v1"));
    assert_eq!(live.versions(users(USERS)), at_twenty, "a bad edit moves nobody");
    let down = edit(&live, &load, &at("5", ""), twenty, five);
    let at_five = live.versions(users(USERS));
    let report = load.finish();
    report.assert_no_error();
    obeyed(&report, &[up, down]);
    figure("canary 5 -> 20 -> 5 %", &report, None);
    let (few, more) = (by_rule("orders", five, users(USERS)), by_rule("orders", twenty, users(USERS)));
    assert_eq!((&at_five, &at_twenty), (&few, &more));
    // In and out go the same: those of buckets 500 to 1999.
    let moved: Vec<u16> =
        users(USERS).filter(|user| few[user] != more[user]).map(|user| bucket("orders", &user)).collect();
    assert!(moved.len() > 40 && moved.iter().all(|bucket| (500..2_000).contains(bucket)), "{moved:?}");
}

#[test]
fn a_canary_that_grows_leaves_the_others_alone() {
    let release = |v2: u32, v3: u32| {
        let canaries = format!("{{cluster: v2, from: 0, weight: {v2}}}, {{cluster: v3, from: 6000, weight: {v3}}}");
        format!("key: {{header: x-user-id}}\nstable: v1\ncanaries: [{canaries}]")
    };
    let live = Shop::new().start(&release(10, 10));
    let load = load(&live);
    let (one, two): (Owned<'_>, Owned<'_>) =
        (&[("v2", 0, 1_000), ("v3", 6_000, 1_000)], &[("v2", 0, 6_000), ("v3", 6_000, 1_000)]);
    let three: Owned<'_> = &[("v2", 0, 6_000), ("v3", 6_000, 4_000)];
    let edits = [
        edit(&live, &load, &release(60, 10), one, two),
        edit(&live, &load, &release(60, 40), two, three),
        edit(&live, &load, &release(10, 10), three, one),
    ];
    let report = load.finish();
    report.assert_no_error();
    obeyed(&report, &edits);
    let of_v3 = |owned| {
        let all = by_rule("orders", owned, users(USERS));
        all.into_iter().filter(|(_, version)| version == "v3").map(|(user, _)| user).collect::<Vec<_>>()
    };
    assert_eq!(of_v3(one), of_v3(two), "the other canary's users are as they were");
}

#[test]
fn requests_under_way_finish_where_they_are() {
    let live = Shop::new().start(&at("0", ""));
    let [v1, v2] = [&live.shop.versions[0], &live.shop.versions[1]];
    v1.set(Mood::Slow(Duration::from_secs(2)));
    let mut clients: Vec<_> = users(20).map(|user| (live.connect(), user)).collect();
    for (client, user) in &mut clients {
        client.send(of_user(user));
    }
    wait::until_true("all of them at v1", || v1.begun() == clients.len());
    live.edit(&at("100", ""));
    for (client, user) in &mut clients {
        // The next one on the same connection is asked for before the slow one is answered.
        client.send(of_user(user));
    }
    assert_eq!(v2.begun(), 0, "they wait their turn");
    for (client, user) in &mut clients {
        let answer = client.response().unwrap();
        assert_eq!((answer.status, answer.text().as_str()), (200, "v1"), "{user}");
        let next = client.response().unwrap();
        assert_eq!((next.status, next.text().as_str()), (200, "v2"), "{user}");
    }
}

#[test]
fn a_list_of_users_is_read_again() {
    let release = at("0, first: [{users: file:beta.txt}]", "");
    let live = Shop::new().start_with(&release, &[], |at| fs::write(at.join("beta.txt"), "user-1\nuser-2\n").unwrap());
    let load = load(&live);
    let testers = || -> Vec<String> {
        let versions = live.versions(users(20));
        versions.into_iter().filter(|(_, version)| version == "v2").map(|(user, _)| user).collect()
    };
    assert_eq!(testers(), ["user-1", "user-2"]);
    let list = live.weir.directory().join("beta.txt");
    fs::write(&list, "# without the second\nuser-1\nuser-3\n").unwrap();
    live.weir.signal(Signal::HUP);
    let _ = live.weir.wait_event("config_applied", 1);
    assert_eq!(testers(), ["user-1", "user-3"]);
    // A list that is gone is a mistake of the config, and changes nothing.
    fs::remove_file(&list).unwrap();
    live.weir.signal(Signal::HUP);
    let event = live.weir.wait_event("config_rejected", 1);
    assert!(event.to_string().contains("beta.txt"), "{event}");
    assert_eq!(testers(), ["user-1", "user-3"]);
    let output = live.weir.command(&["check", live.weir.config().to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    load.finish().assert_no_error();
}

#[test]
fn a_route_may_come_to_a_release_and_leave_it() {
    let shop = Shop::new();
    let release = at("100", "");
    let with = shop.config(&release);
    let without = with.replace("    release: orders\n", "    cluster: v3\n");
    assert_ne!(with, without);
    let live = shop.start(&release);
    let load = load(&live);
    let mut client = live.connect();
    for (nth, (config, version)) in [(&without, "v3"), (&with, "v2"), (&without, "v3")].into_iter().enumerate() {
        live.weir.replace(config);
        let _ = live.weir.wait_event("config_applied", nth + 1);
        assert_eq!(ask(&mut client, "user-1"), version);
    }
    load.finish().assert_no_error();
}
