//! The loop in a small world: real files, virtual time, no sockets.

use std::path::PathBuf;

use weir_config::model::{Rule, ZoneName};
use weir_core::availability::Tier;
use weir_core::control::drills::DrillWish;
use weir_core::control::orders::DrainScope;
use weir_core::drill::{self, Trouble};

use super::testing::{List, Manner, World};
use super::*;

const ONE: &str = "\
listeners: [{name: web, bind: '127.0.0.1:80', cluster: app}]
clusters: [{name: app, endpoints: ['10.0.0.1:80', '10.0.0.2:80']}]
";
const TWO: &str = "\
listeners: [{name: web, bind: '127.0.0.1:81', cluster: app}]
clusters: [{name: app, endpoints: ['10.0.0.1:80', {address: '10.0.0.2:80', weight: 5}]}]
";
const CHECKED: &str = "\
listeners: [{name: web, bind: '127.0.0.1:80', cluster: app}]
clusters:
  - name: app
    endpoints: {az-a: ['10.0.0.1:80'], az-b: ['10.0.0.2:80']}
    health_checks:
      - {interval: 5s, timeout: 1s, unhealthy_threshold: 3, healthy_threshold: 2, http_health_check: {path: /up}}
";

pub(super) struct Stage {
    _directory: tempfile::TempDir,
    pub(super) file: PathBuf,
    pub(super) world: World,
    sockets: List,
    pub(super) handle: Handle,
    metrics: ControlMetrics,
}

impl Stage {
    pub(super) fn write(&self, text: &str) {
        std::fs::write(&self.file, text).unwrap();
    }

    pub(super) async fn reload(&self) -> ReloadOutcome {
        self.handle.reload(Trigger::Api).await
    }

    pub(super) fn told(&self, kind: Kind) -> Vec<String> {
        let events = self.handle.journal().read(Some(0), 1000).events;
        events.iter().filter(|event| event.kind == kind).map(|event| event.message.clone()).collect()
    }

    fn tier(&self) -> Tier {
        self.handle.snapshot().clusters[0].available.tier
    }
}

/// Plays `story` on a loop that began with `text`. The file is not watched: what happens when it
/// changes is asked for.
pub(super) async fn play(text: &str, prepare: impl FnOnce(&World), story: impl AsyncFnOnce(&Stage)) {
    play_in(text, prepare, |_| {}, story).await;
}

/// The same on a loop that was arranged before it began.
pub(super) async fn play_in(
    text: &str,
    prepare: impl FnOnce(&World),
    arrange: impl FnOnce(&mut Shell<World, List>),
    story: impl AsyncFnOnce(&Stage),
) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("weir.yaml");
    std::fs::write(&file, text).unwrap();
    let (world, sockets, source) = (World::new(), List::default(), Source::new(&file));
    prepare(&world);
    let text = source.read().unwrap();
    let config = source.load(&text).unwrap().config;
    let clock = world.clone();
    let metrics = ControlMetrics::new().unwrap();
    let (control, journal) = (Control::new(1, world.dice("")), Journal::new(move || clock.wall()));
    let begun =
        Shell::begin(world.clone(), sockets.clone(), control, First { source, text, config }, journal, metrics.clone());
    let mut shell = begun.unwrap_or_else(|rejection| panic!("{}", rejection.text));
    let stage = Stage { _directory: directory, file, world, sockets, handle: shell.handle(), metrics };
    arrange(&mut shell);
    shell.open_first();
    let played = async {
        tokio::select! {
            biased;
            () = shell.serve() => {}
            () = story(&stage) => {}
        }
    };
    tokio::task::LocalSet::new().run_until(played).await;
}

#[tokio::test(start_paused = true)]
async fn a_new_configuration_is_taken() {
    play(
        ONE,
        |_| {},
        async |stage| {
            // Without health checks there is nothing to wait for.
            assert_eq!(stage.handle.phase(), Phase::Serving);
            assert!(matches!(stage.reload().await, ReloadOutcome::Unchanged { .. }));
            stage.write(&format!("# a word\n{ONE}"));
            assert!(matches!(stage.reload().await, ReloadOutcome::Unchanged { .. }));
            assert!(stage.handle.in_force().text.starts_with("# a word"));

            stage.write(TWO);
            let ReloadOutcome::Applied(applied) = stage.reload().await else { panic!("not taken") };
            assert_eq!(applied.generation, stage.handle.snapshot().generation);
            assert!(applied.changes.contains("10.0.0.2:80"), "{}", applied.changes);
            assert_eq!(stage.handle.snapshot().clusters[0].members[1].weight.get(), 5);
            assert_eq!(&*stage.handle.in_force().text, TWO);
            assert_eq!(stage.handle.last_reload().result, "applied");
            assert_eq!(
                stage.told(Kind::ListenerOpened),
                ["listener web accepts on 127.0.0.1:80", "listener web accepts on 127.0.0.1:81"]
            );
            assert_eq!(stage.told(Kind::ListenerClosed), ["listener web no longer accepts on 127.0.0.1:80"]);
            assert_eq!(stage.handle.bound_addr("web").unwrap().port(), 81);
            assert_eq!(stage.handle.phase(), Phase::Serving);
        },
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_refused_configuration_changes_nothing() {
    play(
        ONE,
        |_| {},
        async |stage| {
            let before = stage.handle.snapshot();
            stage.sockets.taken.lock().unwrap().push("127.0.0.1:81".parse().unwrap());
            type Prepare = fn(&Stage);
            let missing: Prepare = |stage| std::fs::remove_file(&stage.file).unwrap();
            let cases: [(Prepare, usize, &str); 4] = [
                (|stage| stage.write("listeners: [}"), 1, "weir.yaml:1:"),
                (|stage| stage.write("listener: []\nclusters: 7\n"), 2, "weir.yaml:"),
                (|stage| stage.write(TWO), 1, "listener web: cannot bind 127.0.0.1:81: the port is taken"),
                (missing, 1, "does not exist"),
            ];
            for (prepare, count, first) in cases {
                prepare(stage);
                let ReloadOutcome::Rejected(rejection) = stage.reload().await else { panic!("taken: {first}") };
                assert!(rejection.first.contains(first), "{}", rejection.first);
                assert!(rejection.count >= count, "{rejection:?}");
                assert_eq!(rejection.json["mistakes"].as_array().unwrap().len(), rejection.count, "{rejection:?}");
                let after = stage.handle.snapshot();
                assert_eq!(after.config, before.config);
                assert_eq!(&*stage.handle.in_force().text, ONE);
            }
            assert_eq!(stage.told(Kind::ConfigRejected).len(), 4);
            assert_eq!(stage.handle.last_reload().result, "rejected");
            let registry = prometheus::Registry::new();
            stage.metrics.register(&registry).unwrap();
            let text = prometheus::TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
            assert!(text.contains("weir_config_reloads_total{result=\"rejected\"} 4\n"), "{text}");
            assert!(text.contains("weir_config_last_reload_successful 0\n"), "{text}");
        },
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn verdicts_follow_the_thresholds() {
    let up = || Manner::Says(vec!["HTTP/1.1 200 OK\r\n\r\n"]);
    let both = |world: &World| ["10.0.0.1:80", "10.0.0.2:80"].map(|address| world.at(address, up()));
    play(
        CHECKED,
        |world| _ = both(world),
        async |stage| {
            let seconds = async |n| sleep(Duration::from_secs(n)).await;
            assert_eq!(stage.tier(), Tier::Unknown);
            seconds(6).await;
            assert_eq!((stage.handle.phase(), stage.tier()), (Phase::Serving, Tier::Healthy));
            assert_eq!(stage.told(Kind::EndpointTransition).len(), 2);
            assert_eq!(stage.told(Kind::Ready).len(), 1);
            assert!(stage.world.heard()[0].starts_with("GET /up HTTP/1.1\r\n"));

            // Three failures: one at the end of an interval, two at the fast one.
            stage.world.at("10.0.0.2:80", Manner::Silent);
            seconds(13).await;
            let told = stage.told(Kind::EndpointTransition);
            assert_eq!(told.len(), 3, "{told:#?}");
            assert!(
                told[2].starts_with("app/10.0.0.2:80 in az-b went from healthy to unhealthy: 3 of 3 probes"),
                "{}",
                told[2]
            );
            assert_eq!(stage.handle.snapshot().clusters[0].available.groups[0].usable, [0]);

            stage.world.at("10.0.0.2:80", up());
            seconds(13).await;
            assert_eq!(stage.handle.snapshot().clusters[0].available.groups[0].usable, [0, 1]);
            let events = stage.handle.journal().read(None, 1).events;
            assert_eq!(events[0].fields["probe"]["streak"], 2);
        },
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_rehearsed_zone_is_gone_for_its_time_and_for_probes_too() {
    let up = || Manner::Says(vec!["HTTP/1.1 200 OK\r\n\r\n"]);
    play(
        CHECKED,
        |world| _ = ["10.0.0.1:80", "10.0.0.2:80"].map(|address| world.at(address, up())),
        async |stage| {
            let seconds = async |n| sleep(Duration::from_secs(n)).await;
            seconds(6).await;
            let zone = ZoneName::new("az-b").unwrap();
            let wish = DrillWish {
                trouble: Trouble::Unreachable,
                scope: drill::Scope::Zone(zone.clone()),
                share: 10_000,
                header: None,
                lasts: Duration::from_secs(20),
                after: Duration::from_secs(5),
                by: "ada".into(),
            };
            let heard = stage.world.heard().len();
            let done = stage.handle.order(Order::Drill(wish)).await;
            assert!(matches!(&done, Ok(Done::Began(_, warnings)) if warnings.is_empty()), "{done:?}");
            assert_eq!(stage.handle.snapshot().drills.len(), 1);
            seconds(15).await;
            assert_eq!(stage.handle.snapshot().clusters[0].available.usable().collect::<Vec<_>>(), [0]);
            let fell = stage.told(Kind::EndpointTransition).pop().unwrap();
            assert!(fell.contains("10.0.0.2:80 in az-b went from healthy to unhealthy"), "{fell}");
            assert!(fell.contains("connection not taken in time"), "{fell}");
            assert!(stage.world.heard().len() > heard, "the other zone is probed as ever");
            seconds(30).await;
            assert_eq!(stage.handle.snapshot().drills.len(), 0);
            assert_eq!(stage.handle.snapshot().clusters[0].available.usable().collect::<Vec<_>>(), [0, 1]);
            let told = stage.told(Kind::Drill);
            assert_eq!(told[0], "drill 1 by ada for 20s: no connection at zone az-b");
            assert!(told[1].starts_with("drill 1 ended after 20.0s, its time was up"), "{told:?}");
            assert!(told[2].starts_with("report of drill 1"), "{told:?}");

            let scope = DrainScope::Zone(zone, None);
            let drain = Order::Drain { scope, lasts: None, force: false, by: "ada".into() };
            let done = stage.handle.order(drain).await;
            assert!(matches!(done, Ok(Done::Drained(_, 1))), "{done:?}");
            let event = stage.handle.journal().read(None, 1).events.remove(0);
            assert_eq!((&event.fields["to"], &event.fields["drain"]["by"]), (&"draining".into(), &"ada".into()));
            assert_eq!(
                stage.told(Kind::Drain),
                ["zone az-b is drained by ada until told otherwise: 1 endpoint given no new work"]
            );
        },
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_rehearsed_delay_delays_probes() {
    let up = Manner::Says(vec!["HTTP/1.1 200 OK\r\n\r\n"]);
    play(
        CHECKED,
        |world| _ = ["10.0.0.1:80", "10.0.0.2:80"].map(|address| world.at(address, up.clone())),
        async |stage| {
            sleep(Duration::from_secs(6)).await;
            let delay = async |millis, seconds| {
                let wish = DrillWish {
                    trouble: Trouble::Delay(Duration::from_millis(millis)),
                    scope: drill::Scope::Cluster(weir_config::model::ClusterName::new("app").unwrap()),
                    share: 10_000,
                    header: None,
                    lasts: Duration::from_secs(seconds),
                    after: Duration::from_secs(1),
                    by: "ada".into(),
                };
                stage.handle.order(Order::Drill(wish)).await.unwrap();
                sleep(Duration::from_secs(seconds - 1)).await;
                let view = |control: &Control| control.endpoints().next().unwrap().checks[0].last.unwrap().1;
                stage.handle.view(view)
            };
            assert_eq!(delay(300, 10).await.took, Duration::from_millis(300));
            assert!(delay(300, 10).await.result.conclusion().unwrap());
            let late = delay(1500, 10).await;
            assert_eq!((late.result.as_str(), late.took), ("timeout", Duration::from_secs(1)));
        },
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn draining_is_not_ready_and_takes_nothing() {
    play(
        ONE,
        |_| {},
        async |stage| {
            stage.reload().await;
            assert_eq!(stage.handle.phase(), Phase::Serving);
            stage.handle.drain_started("SIGTERM");
            stage.handle.drain_started("SIGTERM");
            stage.write(TWO);
            assert!(matches!(stage.reload().await, ReloadOutcome::Rejected(_)));
            stage.handle.drain_finished(2);
            assert_eq!(stage.told(Kind::DrainStarted), ["draining: SIGTERM"]);
            assert_eq!(stage.told(Kind::DrainFinished), ["drained, but not all: 2 requests were cut"]);
            stage.handle.stop().await;
        },
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn only_a_changed_text_is_looked_at() {
    play(
        ONE,
        |_| {},
        async |stage| {
            // Events come more often than changes.
            let look = async || {
                stage.handle.look_at_file().await;
                stage.handle.look_at_file().await;
            };
            look().await;
            std::fs::remove_file(&stage.file).unwrap();
            look().await;
            stage.write(ONE);
            look().await;
            let told = stage.told(Kind::ConfigSource);
            assert_eq!(told.len(), 2, "{told:?}");
            assert!(told[0].contains("does not exist; the configuration in force stays"), "{told:?}");
            assert!(told[1].ends_with("is back, unchanged"), "{told:?}");
            stage.write("nonsense");
            look().await;
            stage.write(TWO);
            look().await;
            stage.reload().await;
            assert_eq!(stage.told(Kind::ConfigRejected).len(), 1);
            assert_eq!(stage.told(Kind::ConfigApplied).len(), 1);
            assert_eq!(stage.told(Kind::ConfigUnchanged).len(), 1);
        },
    )
    .await;
}

const GRAY: &str = "\
listeners: [{name: web, bind: '127.0.0.1:80', release: gray}]
clusters: [{name: app, endpoints: ['10.0.0.1:80']}, {name: next, endpoints: ['10.0.0.2:80']}]
releases:
  - name: gray
    key: {header: x-user-id}
    stable: app
    canaries: [{cluster: next, first: {users: file:lists/beta.txt}}]
";

#[tokio::test(start_paused = true)]
async fn a_list_of_users_beside_the_file_is_a_part_of_it() {
    play(
        ONE,
        |_| {},
        async |stage| {
            let list = stage.file.parent().unwrap().join("lists/beta.txt");
            let users = || {
                let snapshot = stage.handle.snapshot();
                let Rule::Users(users) = &snapshot.config.releases[0].canaries[0].first[0] else { panic!("no users") };
                users.len()
            };
            stage.write(GRAY);
            let ReloadOutcome::Rejected(rejection) = stage.reload().await else { panic!("taken without its list") };
            assert!(rejection.first.ends_with("cannot read lists/beta.txt: it does not exist"), "{}", rejection.first);
            // It is looked for from now on: nobody has to touch the file again.
            std::fs::create_dir(list.parent().unwrap()).unwrap();
            std::fs::write(&list, "1001\n1002\n").unwrap();
            stage.handle.look_at_file().await;
            assert_eq!((stage.handle.last_reload().result, users()), ("applied", 2));

            stage.handle.look_at_file().await;
            assert!(matches!(stage.reload().await, ReloadOutcome::Unchanged { .. }));
            std::fs::write(&list, "1001\n1003\n1004\n").unwrap();
            let ReloadOutcome::Applied(applied) = stage.reload().await else { panic!("not taken") };
            assert!(applied.summary.contains("first: 2 users added"), "{}", applied.summary);
            assert!(applied.summary.contains("first: 1 user removed"), "{}", applied.summary);
            assert_eq!((users(), &*stage.handle.in_force().text), (3, GRAY));

            std::fs::write(&list, "1001\n\0").unwrap();
            stage.handle.look_at_file().await;
            stage.handle.look_at_file().await;
            std::fs::write(&list, "# Another word, the same users.\n1004\n1003\n1001\n").unwrap();
            stage.handle.look_at_file().await;
            assert_eq!(users(), 3);
            std::fs::write(&list, "1\n").unwrap();
            stage.handle.look_at_file().await;
            assert_eq!(users(), 1);
            let rejected = stage.told(Kind::ConfigRejected);
            assert_eq!(rejected.len(), 2, "once for each look that found something new: {rejected:?}");
            assert!(rejected[1].contains("lists/beta.txt, line 2"), "{rejected:?}");
            assert_eq!(stage.told(Kind::ConfigApplied).len(), 3);
            assert_eq!(stage.told(Kind::ConfigUnchanged).len(), 2);

            stage.write(ONE);
            stage.reload().await;
            std::fs::write(&list, "2\n").unwrap();
            stage.handle.look_at_file().await;
            assert_eq!(stage.told(Kind::ConfigUnchanged).len(), 2, "it is no part of the file any more");
        },
    )
    .await;
}

#[tokio::test]
async fn an_address_that_is_taken_stops_the_start() {
    let sockets = List::default();
    sockets.taken.lock().unwrap().push("127.0.0.1:80".parse().unwrap());
    let config = weir_config::parse_str(ONE).unwrap().config;
    let (world, source) = (World::new(), Source::new("weir.yaml".as_ref()));
    let (control, journal) = (Control::new(1, world.dice("")), Journal::new(SystemTime::now));
    let metrics = ControlMetrics::new().unwrap();
    let begun = Shell::begin(world, sockets, control, First { source, text: ONE.into(), config }, journal, metrics);
    assert!(begun.err().unwrap().text.contains("cannot bind 127.0.0.1:80: the port is taken"));
}
