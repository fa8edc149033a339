//! Who asks, and which version they get.

mod support;

use std::sync::Arc;

use proptest::prelude::*;
use support::{
    Fields, canary, cluster, handing_out, made, made_release, made_release_at, members, orders, segment, users,
};
use weir_config::model::{Bucket, Canary, HeaderTest, IdKey, OnUnhealthy, Release, Rule, Share};
use weir_core::dice::Dice;
use weir_core::endpoint::Status;
use weir_core::release::{self, Asked, Assigned, List, Recorder, Why};

fn assign(release: &release::Release, asked: &Asked<'_>) -> Assigned {
    release::assign(release, asked, &mut Dice::new(1), &mut ())
}

/// The bucket of what a key chain finds.
fn bucket_by(key: Vec<IdKey>, fields: &[(&str, &str)], target: &str) -> Option<Bucket> {
    let release = made_release(Release { key, ..orders(Vec::new()) });
    assign(&release, &Fields::of(fields).get(target, "192.0.2.7")).bucket
}

fn bucket(id: &str) -> Option<Bucket> {
    Some(Bucket::of("s", id.as_bytes()))
}

#[test]
fn the_first_key_that_is_there_and_not_empty() {
    let keys = || vec![IdKey::Header("x-user-id".into()), IdKey::Cookie("uid".into()), IdKey::Query("uid".into())];
    type Row<'t> = (&'t [(&'t str, &'t str)], &'t str, Option<Bucket>);
    let table: [Row<'_>; 7] = [
        (&[("x-user-id", "42"), ("cookie", "uid=43")], "/?uid=44", bucket("42")),
        (&[("x-user-id", " 42\t")], "/", bucket("42")),
        (&[("x-user-id", "  "), ("cookie", "a=b; uid=43")], "/?uid=44", bucket("43")),
        (&[("cookie", "uid=")], "/?a=1&uid=ann%40example.com", bucket("ann@example.com")),
        (&[], "/?uid=%zz%4", bucket("%zz%4")),
        (&[], "/?vid=1", None),
        (&[], "/", None),
    ];
    for (fields, target, wanted) in table {
        assert_eq!(bucket_by(keys(), fields, target), wanted, "{fields:?} {target}");
    }
}

#[test]
fn keys_of_the_path_and_the_client() {
    for (at, path, wanted) in [
        (2, "/users/42/orders", bucket("42")),
        (2, "/users/4%32", bucket("42")),
        (2, "/users/", None),
        (3, "/users/42", None),
        (1, "*", None),
    ] {
        assert_eq!(bucket_by(vec![segment(at)], &[], path), wanted, "{at} {path}");
    }
    assert_eq!(bucket_by(vec![IdKey::SourceAddress], &[], "/"), bucket("192.0.2.7"));
    let release = made_release(Release { key: vec![IdKey::SourceAddress], ..orders(Vec::new()) });
    let fields = Fields::default();
    assert_eq!(assign(&release, &fields.get("/", "::ffff:192.0.2.7")).bucket, bucket("192.0.2.7"));
    assert_eq!(assign(&release, &fields.get("/", "2001:db8::1")).bucket, bucket("2001:db8::1"));
}

#[test]
fn case_counts_unless_told_otherwise() {
    let fields = Fields::of(&[("x-user-id", "Ann@Example.com")]);
    let mut config = orders(Vec::new());
    let found = |config: &Release| assign(&made_release(config.clone()), &fields.get("/", "::1")).bucket;
    assert_eq!(found(&config), bucket("Ann@Example.com"));
    config.canonical.lower = true;
    assert_eq!(found(&config), bucket("ann@example.com"));
    config.canonical.trim = false;
    let blank = Fields::of(&[("x-user-id", " 42")]);
    assert_eq!(assign(&made_release(config), &blank.get("/", "::1")).bucket, bucket(" 42"));
}

#[test]
fn never_then_first_then_bucket_then_stable() {
    let employee = Rule::Header { name: "x-employee".into(), test: HeaderTest::Exact("true".into()) };
    let office = Rule::Networks(vec!["10.0.0.0/8".parse().unwrap()]);
    let beta = |value: Option<&str>| Rule::Cookie { name: "beta".into(), value: value.map(Into::into) };
    let v2 = Canary { first: vec![employee, users(&["ann"])], never: vec![users(&["eve"])], ..canary("v2", 0, 5_000) };
    let v3 = Canary { first: vec![beta(Some("3")), office], ..canary("v3", 5_000, 0) };
    let release = made_release(Release { never: vec![users(&["bob"]), beta(Some("no"))], ..orders(vec![v2, v3]) });

    let id_in = |version| (0..).map(|n| format!("u{n}")).find(|id| release.owner(bucket(id).unwrap()) == version);
    let (of_v2, of_v1) = (id_in(1).unwrap(), id_in(0).unwrap());
    type Row<'t> = (&'t [(&'t str, &'t str)], &'t str, usize, Why);
    let table: [Row<'_>; 12] = [
        (&[("x-user-id", &of_v2)], "::1", 1, Why::Bucket),
        (&[("x-user-id", &of_v1)], "::1", 0, Why::Stable),
        (&[], "::1", 0, Why::Unattributed),
        (&[("x-user-id", &of_v1), ("x-employee", "true")], "::1", 1, Why::First),
        (&[("x-user-id", &of_v1), ("x-employee", "yes")], "::1", 0, Why::Stable),
        (&[("x-employee", "true")], "::1", 1, Why::First),
        (&[("x-user-id", "ann")], "::1", 1, Why::First),
        (&[("x-user-id", "bob"), ("x-employee", "true")], "::1", 0, Why::Never),
        (&[("x-user-id", &of_v2), ("cookie", "beta=no")], "::1", 0, Why::Never),
        // Weight 0 is 0, but who is first is first; the first canary in the file comes before.
        (&[("x-user-id", &of_v1), ("cookie", "beta=3")], "::1", 2, Why::First),
        (&[("x-user-id", &of_v1)], "::ffff:10.1.2.3", 2, Why::First),
        (&[("x-employee", "true")], "10.1.2.3", 1, Why::First),
    ];
    for (fields, client, version, why) in table {
        let assigned = assign(&release, &Fields::of(fields).get("/", client));
        assert_eq!((assigned.version, assigned.why), (version, why), "{fields:?} {client}");
    }

    let eve = assign(&release, &Fields::of(&[("x-user-id", "eve"), ("x-employee", "true")]).get("/", "::1"));
    assert_eq!(eve.version, 0, "never comes before first");
    let config = (*release.config).clone();
    let closed = made_release_at(config, &[None, Some(Share::NONE)]);
    for fields in [[("x-user-id", &*of_v2)], [("x-employee", "true")]] {
        assert_eq!(assign(&closed, &Fields::of(&fields).get("/", "::1")).version, 0, "nobody is in a closed canary");
    }
}

#[test]
fn whoever_has_no_id_may_be_handed_one() {
    let config = Release { anonymous: handing_out(), ..orders(vec![canary("v2", 0, 5_000)]) };
    let release = made_release(config);
    let mut dice = Dice::new(7);
    let mut versions = [0; 2];
    for _ in 0..200 {
        let first = release::assign(&release, &Fields::default().get("/", "::1"), &mut dice, &mut ());
        let id = String::from_utf8(first.handed.expect("an id").0.to_vec()).unwrap();
        assert_eq!(first.bucket, bucket(&id));
        let cookie = format!("weir-id={id}");
        let again = assign(&release, &Fields::of(&[("cookie", &cookie)]).get("/", "::1"));
        assert_eq!((again.version, again.bucket, again.handed), (first.version, first.bucket, None), "and keeps it");
        versions[first.version] += 1;
    }
    assert!(versions.iter().all(|count| (60..140).contains(count)), "{versions:?}");
    let known = assign(&release, &Fields::of(&[("x-user-id", "42"), ("cookie", "weir-id=1")]).get("/", "::1"));
    assert_eq!((known.bucket, known.handed), (bucket("42"), None));
}

#[test]
fn stable_serves_a_canarys_users_while_it_is_the_only_one_that_can() {
    use Status::{Ejected, Healthy, Probation, Unhealthy, Unknown};
    let serves = |on_unhealthy, stable: &[Status], canary_is: &[Status]| {
        let release = made_release(Release { on_unhealthy, ..orders(vec![canary("v2", 0, 10_000)]) });
        let made = |name, of| Arc::new(made(cluster(name, Vec::new(), Vec::new()), members(of), None));
        let clusters = [made("v1", stable), made("v2", canary_is)];
        let fields = Fields::of(&[("x-user-id", "42")]);
        let decided = release::decide(&release, &clusters, &fields.get("/", "::1"), &mut Dice::new(1), &mut ());
        assert_eq!(decided.assigned.version, 1, "nobody is given another bucket");
        decided.version
    };
    for (stable, canary_is, version) in [
        (&[Healthy][..], &[Healthy, Unhealthy][..], 1),
        (&[Healthy], &[Unknown], 1),
        (&[Healthy], &[], 0),
        // In panic: nobody of it is well, somebody of stable is.
        (&[Healthy], &[Unhealthy, Unhealthy], 0),
        (&[Healthy], &[Ejected, Unhealthy], 0),
        // Its users are who brings it back.
        (&[Healthy], &[Probation, Unhealthy], 1),
        (&[Unhealthy], &[Unhealthy], 1),
        (&[], &[Unhealthy], 1),
    ] {
        assert_eq!(serves(OnUnhealthy::Stable, stable, canary_is), version, "{stable:?}, {canary_is:?}");
        assert_eq!(serves(OnUnhealthy::Error, stable, canary_is), 1);
    }
}

#[test]
fn a_recorder_hears_every_step() {
    #[derive(Default)]
    struct Heard(Vec<String>);
    impl Recorder for Heard {
        fn key(&mut self, at: usize, found: Option<&[u8]>) {
            self.0.push(format!("key {at}: {:?}", found.map(String::from_utf8_lossy)));
        }
        fn rule(&mut self, list: List, at: usize, took: bool) {
            self.0.push(format!("{list:?} {at}: {took}"));
        }
    }
    let v2 = Canary { first: vec![users(&["ann"]), users(&["bob"])], ..canary("v2", 0, 0) };
    let key = vec![IdKey::Cookie("uid".into()), IdKey::Header("x-user-id".into())];
    let release = made_release(Release { key, never: vec![users(&["eve"])], ..orders(vec![v2]) });
    let mut heard = Heard::default();
    let fields = Fields::of(&[("x-user-id", "bob")]);
    release::assign(&release, &fields.get("/", "::1"), &mut Dice::new(1), &mut heard);
    let wanted = ["key 0: None", "key 1: Some(\"bob\")", "NeverAny 0: false", "First(0) 0: false", "First(0) 1: true"];
    assert_eq!(heard.0, wanted);
}

/// Canaries that do not overlap, by where they begin and how much of the room after it they take.
fn canaries() -> impl Strategy<Value = Vec<Canary>> {
    proptest::collection::btree_map(0..10_000_u16, 0.0..=1.0, 0..5).prop_map(|places| {
        let starts: Vec<u16> = places.keys().copied().collect();
        let canary = |(at, (&from, part)): (usize, (&u16, &f64))| {
            let next = starts.get(at + 1).map_or_else(|| u32::from(starts[0]) + 10_000, |&next| u32::from(next));
            canary(&format!("v{}", at + 2), from, (f64::from(next - u32::from(from)) * part) as u16)
        };
        places.iter().enumerate().map(canary).collect()
    })
}

proptest! {
    #[test]
    fn cohorts_are_stables_and_as_large_as_their_canary(canaries in canaries()) {
        let release = made_release(orders(canaries.clone()));
        let given: u32 = canaries.iter().map(|canary| u32::from(canary.weight.buckets())).sum();
        let stable = 10_000 - given;
        for (at, canary) in canaries.iter().enumerate() {
            let cohort: Vec<Bucket> = Bucket::all().filter(|bucket| release.cohort(*bucket) == Some(at)).collect();
            prop_assert!(cohort.iter().all(|bucket| release.owner(*bucket) == 0));
            let own = u32::from(canary.weight.buckets());
            let wanted = if given <= stable { own } else { stable * own / given };
            prop_assert_eq!(cohort.len() as u32, wanted);
            prop_assert_eq!(Bucket::all().filter(|bucket| release.owner(*bucket) == at + 1).count() as u32, own);
        }
    }

    #[test]
    fn a_share_of_everybody_is_everybody(from in 0..10_000_u16, id in "[a-z0-9]{1,12}") {
        let fields = Fields::of(&[("x-user-id", &id)]);
        let version = |weight| {
            assign(&made_release(orders(vec![canary("v2", from, weight)])), &fields.get("/", "::1")).version
        };
        prop_assert_eq!((version(0), version(10_000)), (0, 1));
    }
}
