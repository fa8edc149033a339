//! The loop with sources: names in a small world and virtual time, files on a real disk.

use std::path::Path;
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::{Instant, sleep, timeout};
use weir_config::model::{Source, SourceKind, Weight};
use weir_core::availability::Tier;
use weir_core::discovery::{Answer, FailureKind};
use weir_core::reason::Reason;

use super::file::follow;
use crate::control::tests::{Stage, play};
use crate::control::{Kind, Phase};

const NAMED: &str = "\
listeners: [{name: web, bind: '127.0.0.1:80', cluster: app}]
clusters: [{name: app, endpoints: ['app.internal:80']}]
";

fn usable(stage: &Stage) -> Vec<String> {
    let snapshot = stage.handle.snapshot();
    let cluster = &snapshot.clusters[0];
    cluster.available.usable().map(|at| cluster.members[at as usize].key.address.to_string()).collect()
}

/// Waits, in virtual time, until the cluster uses exactly these; says for how long.
async fn used(stage: &Stage, addresses: &[&str]) -> Duration {
    let began = Instant::now();
    while usable(stage) != addresses {
        assert!(began.elapsed() < Duration::from_secs(3600), "never used: {addresses:?}, but {:?}", usable(stage));
        sleep(Duration::from_millis(10)).await;
    }
    began.elapsed()
}

#[tokio::test(start_paused = true)]
async fn d1_a_change_of_address_is_in_force_within_its_ttl_and_a_second() {
    let tells = |stage: &Stage, end: u32, ttl| {
        let address = format!("10.0.0.{end}:80");
        stage.world.tells("app.internal:80", &[&address], ttl);
        address
    };
    play(
        NAMED,
        |world| world.tells("app.internal:80", &["10.0.0.1:80"], 1),
        async |stage| {
            used(stage, &["10.0.0.1:80"]).await;
            assert_eq!(stage.handle.phase(), Phase::Serving);
            let mut end = 1;
            for ttl in [1, 5, 30, 60] {
                // Told with this TTL from now on, and then, at the worst moment, changed.
                end += 1;
                let address = tells(stage, end, ttl);
                used(stage, &[&address]).await;
                end += 1;
                let address = tells(stage, end, ttl);
                let took = used(stage, &[&address]).await;
                assert!(took <= Duration::from_secs(ttl + 1), "TTL {ttl} s: {took:?}");
            }
        },
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn d2_an_unresolvable_name_stops_nobody_and_is_told_with_its_trace() {
    play(
        NAMED,
        |_| {},
        async |stage| {
            sleep(Duration::from_secs(3)).await;
            assert_eq!(stage.handle.phase(), Phase::Serving);
            assert_eq!(stage.handle.snapshot().clusters[0].available.tier, Tier::Nobody(Reason::Unresolved));
            let told = stage.told(Kind::Discovery);
            assert!(told[0].starts_with("app.internal:80 of app cannot be had: there is no such name"), "{told:?}");
            assert_eq!(told.len(), 1, "once, however often it is looked at");
            stage.world.tells("app.internal:80", &["10.0.0.1:80", "10.0.0.2:80"], 5);
            used(stage, &["10.0.0.1:80", "10.0.0.2:80"]).await;
            let events = stage.handle.journal().read(Some(0), 1000).events;
            let last = events.iter().rfind(|event| event.kind == Kind::Discovery).expect("it was told");
            let fields = serde_json::to_value(&**last).unwrap();
            let found = serde_json::to_string(&fields).unwrap();
            for part in ["\"what\":\"resolved\"", "\"endpoints\":2", "\"ttl_seconds\":5.0", "\"trace\":{"] {
                assert!(found.contains(part), "{part} in {found}");
            }
        },
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_reload_keeps_what_was_found() {
    play(
        NAMED,
        |world| world.tells("app.internal:80", &["10.0.0.1:80"], 60),
        async |stage| {
            used(stage, &["10.0.0.1:80"]).await;
            stage.write(&NAMED.replace("name: app,", "name: app, pool: {max_idle: 3},"));
            stage.reload().await;
            assert_eq!(usable(stage), ["10.0.0.1:80"]);
            stage.write(&NAMED.replace("app.internal:80", "10.9.9.9:80"));
            stage.reload().await;
            assert_eq!(usable(stage), ["10.9.9.9:80"]);
        },
    )
    .await;
}

/// Real files need real time; it is bounded, and only waited for if something is broken.
async fn next(heard: &mut UnboundedReceiver<Answer>) -> Answer {
    timeout(Duration::from_secs(20), heard.recv()).await.expect("it must be told").unwrap()
}

fn shown(answer: &Answer) -> Vec<(String, u16, u8)> {
    let told = answer.result.as_ref().unwrap_or_else(|failure| panic!("{failure}"));
    told.endpoints.iter().map(|e| (e.address.to_string(), e.weight.get(), e.priority)).collect()
}

/// Runs `story` while the file is followed.
async fn following(path: &Path, source: Source, story: impl AsyncFnOnce(&mut UnboundedReceiver<Answer>)) {
    let (tell, mut heard) = unbounded_channel();
    tokio::select! {
        biased;
        () = follow(path, &source, |answer| _ = tell.send(answer)) => unreachable!("follows for ever"),
        () = story(&mut heard) => {}
    }
}

#[tokio::test]
async fn a_file_is_followed_through_its_changes_and_its_mistakes() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("endpoints.yaml");
    let kind = SourceKind::File(path.clone());
    let source = Source { kind, zone: None, weight: Weight::new(3).unwrap(), priority: 1 };
    following(&path, source, async |heard| {
        assert_eq!(next(heard).await.result.unwrap_err().kind, FailureKind::Unreadable);
        std::fs::write(&path, "['10.0.0.1:80', {address: '10.0.0.2:80', weight: 5, priority: 2}]\n").unwrap();
        let answer = next(heard).await;
        assert_eq!(shown(&answer), [("10.0.0.1:80".into(), 3, 1), ("10.0.0.2:80".into(), 5, 3)]);
        assert_eq!(answer.result.unwrap().ttl, None);
        std::fs::write(&path, "['10.0.0.1']\n").unwrap();
        let failure = next(heard).await.result.unwrap_err();
        assert_eq!(failure.kind, FailureKind::Invalid);
        assert!(
            failure.to_string().ends_with("endpoints.yaml:1:2: error[missing_port]: 10.0.0.1 has no port"),
            "{failure}"
        );
        assert!(failure.detail.contains("1 | ['10.0.0.1']\n  |  ^^^^^^^^^^"), "{}", failure.detail);
        // The same text, in a new file, says nothing new.
        let other = directory.path().join("other");
        std::fs::write(&other, "['10.0.0.1']\n").unwrap();
        std::fs::rename(&other, &path).unwrap();
        std::fs::write(&path, "['10.0.0.3:80']\n").unwrap();
        assert_eq!(shown(&next(heard).await).len(), 1);
        // Whoever empties the list means it.
        std::fs::write(&path, "[]\n").unwrap();
        assert_eq!(shown(&next(heard).await), []);
    })
    .await;
}

#[tokio::test]
async fn a_list_in_a_file_beside_the_configuration_is_in_force_until_a_better_one_comes() {
    let text = NAMED.replace("app.internal:80", "file:endpoints.yaml");
    play(
        &text,
        |_| {},
        async |stage| {
            let path = stage.file.with_file_name("endpoints.yaml");
            let becomes = async |text: &str, expected: &[&str]| {
                std::fs::write(&path, text).unwrap();
                timeout(Duration::from_secs(20), used(stage, expected)).await.expect("it must be in force");
            };
            becomes("['10.0.0.1:80', '10.0.0.2:80']", &["10.0.0.1:80", "10.0.0.2:80"]).await;
            std::fs::write(&path, "[10.0.0.1:80, what]").unwrap();
            let refused =
                || stage.told(Kind::Discovery).into_iter().find(|told| told.contains("the file has mistakes"));
            timeout(Duration::from_secs(20), async {
                while refused().is_none() {
                    sleep(Duration::from_millis(20)).await;
                }
            })
            .await
            .expect("the mistake must be told");
            assert!(!refused().unwrap().contains('\n'));
            assert_eq!(usable(stage), ["10.0.0.1:80", "10.0.0.2:80"]);
            becomes("['10.0.0.2:80', '10.0.0.3:80']", &["10.0.0.2:80", "10.0.0.3:80"]).await;
        },
    )
    .await;
}
