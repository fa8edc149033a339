//! One of ten replicas becomes slower than anybody waits, and after a while is itself again.

use std::time::Duration;

use crate::crowd::{Mood, Moody, crowd, names, play, shop};
use crate::for_seeds;
use crate::town::{Book, ConfigFile, network, weir};

const SLOW: Duration = Duration::from_secs(5);
const WELL: Duration = Duration::from_secs(13);
const END: Duration = Duration::from_secs(30);
const NAMES: [&str; 10] = ["r0", "r1", "r2", "r3", "r4", "r5", "r6", "r7", "r8", "r9"];

fn story(seed: u64) -> String {
    let mut sim = network(seed, 60);
    let replicas = NAMES.map(|name| Moody::new(&mut sim, name));
    let yaml = shop(
        &[("az-a", &replicas)],
        &["timeout: 1s"],
        &["outlier_detection: {base_ejection_time: 5s}", "slow_start: {window: 3s}"],
    );
    let (file, book) = (ConfigFile::new(&yaml), Book::default());
    weir(&mut sim, seed, &file, &book);
    let sights = crowd(&mut sim, &book, 100, Duration::from_secs(1), END);
    let slow = &replicas[4];
    play(
        &mut sim,
        vec![
            (SLOW, Box::new(|_| slow.set(Mood::Slow(Duration::from_secs(3))))),
            (WELL, Box::new(|_| slow.set(Mood::Well))),
        ],
    );

    let story = book.story();
    let all = sights.all();
    assert!(all.len() > 2000, "{} answers\n{story}", all.len());
    assert!(sights.errors().is_empty(), "{:?}\n{story}", sights.errors());
    let changes: Vec<(f64, String)> = book
        .transitions()
        .into_iter()
        .filter(|(_, who, _, _)| *who == slow.address)
        .map(|(at, _, _, to)| (at, to))
        .collect();
    let out = changes.iter().find(|(_, to)| to == "ejected").unwrap_or_else(|| panic!("never out\n{story}"));
    let after = out.0 - SLOW.as_secs_f64();
    assert!((0.0..8.0).contains(&after), "out {after} s after it became slow\n{story}");
    assert_eq!(changes.last().unwrap().1, "healthy", "{story}");
    assert!(changes.iter().any(|(_, to)| to == "probation"), "{story}");
    let others = book.transitions();
    let others = others.iter().filter(|(_, who, _, to)| *who != slow.address && to == "ejected");
    assert_eq!(others.count(), 0, "{story}");
    // While it is out nobody waits for it; at the end it serves again.
    let meanwhile = sights.between(out.0 + 0.5, WELL.as_secs_f64());
    let waited = meanwhile.iter().filter(|sight| sight.took > 0.5).count();
    assert!(waited <= 3, "{waited} waited, a trial or two\n{story}");
    assert!(names(&sights.between(END.as_secs_f64() - 2.0, f64::MAX)).contains(&slow.name), "{story}");
    story
}

#[test]
fn a_slow_one_of_ten_is_out_and_comes_back_and_no_request_fails() {
    for_seeds(1..5, story);
}
