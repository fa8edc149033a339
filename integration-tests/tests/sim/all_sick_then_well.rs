//! Every replica fails every request, as after a bad release; then the release is taken back.

use std::time::Duration;

use crate::crowd::{Mood, Moody, crowd, names, play, shop};
use crate::for_seeds;
use crate::town::{Book, ConfigFile, network, weir};

const SICK: Duration = Duration::from_secs(5);
const WELL: Duration = Duration::from_secs(15);
const END: Duration = Duration::from_secs(35);
const NAMES: [&str; 6] = ["r0", "r1", "r2", "r3", "r4", "r5"];

fn story(seed: u64) -> String {
    let mut sim = network(seed, 60);
    let replicas = NAMES.map(|name| Moody::new(&mut sim, name));
    let yaml = shop(
        &[("az-a", &replicas)],
        &["timeout: 1s"],
        &["outlier_detection: {base_ejection_time: 3s}", "slow_start: {window: 2s}"],
    );
    let (file, book) = (ConfigFile::new(&yaml), Book::default());
    weir(&mut sim, seed, &file, &book);
    let sights = crowd(&mut sim, &book, 60, Duration::from_secs(1), END);
    play(
        &mut sim,
        vec![
            (SICK, Box::new(|_| replicas.iter().for_each(|replica| replica.set(Mood::Status(500))))),
            (WELL, Box::new(|_| replicas.iter().for_each(|replica| replica.set(Mood::Well)))),
        ],
    );

    let story = book.story();
    let (sick, well) = (SICK.as_secs_f64(), WELL.as_secs_f64());
    for sight in sights.all() {
        let is_sick = (sick - 0.1..well + 0.1).contains(&sight.at);
        match &sight.answer {
            Ok(_) => {}
            // What the replicas answered, never that there is nobody: somebody is always asked.
            Err(error) => assert!(is_sick && error.starts_with("500"), "{error} at {:.2} s\n{story}", sight.at),
        }
    }
    // 34 % of six is two: never more are out at once.
    let mut out = std::collections::BTreeSet::new();
    for (at, who, _, to) in book.transitions() {
        if to == "ejected" {
            out.insert(who);
        } else {
            out.remove(&who);
        }
        assert!(out.len() <= 2, "{} out at {at:.2} s\n{story}", out.len());
    }
    assert!(out.is_empty(), "all are back: {out:?}\n{story}");
    assert_eq!(names(&sights.between(END.as_secs_f64() - 3.0, f64::MAX)), NAMES, "{story}");
    story
}

#[test]
fn all_are_sick_then_well_and_nobody_waits_for_an_ejection_to_end() {
    for_seeds(1..5, story);
}
