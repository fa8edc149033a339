//! Everything fails in a way that may be tried again: what the replicas bear stays within a fifth
//! of what the clients ask for.

use std::time::Duration;

use crate::crowd::{Mood, Moody, crowd, play, shop};
use crate::for_seeds;
use crate::town::{Book, ConfigFile, network, weir};

const SICK: Duration = Duration::from_secs(6);
const WELL: Duration = Duration::from_secs(16);
const END: Duration = Duration::from_secs(26);
const NAMES: [&str; 6] = ["r0", "r1", "r2", "r3", "r4", "r5"];

fn story(seed: u64, mood: Mood) -> String {
    let mut sim = network(seed, 60);
    let replicas = NAMES.map(|name| Moody::new(&mut sim, name));
    let yaml = shop(
        &[("az-a", &replicas)],
        &["timeout: 1s", "retry: {attempts: 5, on: [connect-failure, reset, timeout, 5xx]}"],
        &["outlier_detection: {base_ejection_time: 3s}"],
    );
    let (file, book) = (ConfigFile::new(&yaml), Book::default());
    weir(&mut sim, seed, &file, &book);
    let sights = crowd(&mut sim, &book, 80, Duration::from_secs(1), END);
    let count = || replicas.iter().map(Moody::requests).sum::<usize>();
    let (mut before, mut after) = (0, 0);
    play(
        &mut sim,
        vec![
            (
                SICK,
                Box::new(|_| {
                    replicas.iter().for_each(|replica| replica.set(mood));
                    before = count();
                }),
            ),
            (
                WELL,
                Box::new(|_| {
                    after = count();
                    replicas.iter().for_each(|replica| replica.set(Mood::Well));
                }),
            ),
        ],
    );

    let story = book.story();
    let asked = sights.between(SICK.as_secs_f64(), WELL.as_secs_f64()).len();
    assert!(asked >= 300, "{asked}");
    let load = (after - before) as f64 / asked as f64;
    assert!(load <= 1.2, "{load:.3} times what {asked} clients asked\n{story}");
    // Afterwards everything is as it was.
    let late = sights.between(WELL.as_secs_f64() + 3.0, f64::MAX);
    let failed: Vec<_> = late.iter().filter(|sight| sight.answer.is_err()).collect();
    assert!(failed.is_empty(), "{failed:?}\n{story}");
    story
}

#[test]
fn a_storm_of_errors_is_no_storm() {
    for_seeds(1..4, |seed| story(seed, Mood::Status(503)));
}

#[test]
fn a_storm_of_timeouts_is_no_storm() {
    for_seeds(1..4, |seed| story(seed, Mood::Slow(Duration::from_secs(5))));
}
