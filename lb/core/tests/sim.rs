//! Seeded lives: whole clusters lived through against a shadow model that knows only the rules.
//!
//! `WEIR_SEED=n cargo test -p weir-core --test sim` lives one life again; a failure names its seed.

mod sim {
    pub(crate) mod life;
    pub(crate) mod shadow;
    pub(crate) mod story;
    pub(crate) mod traffic;
    pub(crate) mod wishes;
}
mod support;

use sim::life;

const STEPS: usize = 1000;

#[test]
fn a_thousand_lives() {
    if let Some(seed) = std::env::var("WEIR_SEED").ok().and_then(|seed| seed.parse().ok()) {
        let story = life::live(seed, STEPS);
        eprintln!("seed {seed}: {story:?}");
        return;
    }
    // Lives are independent: two halves of them side by side.
    std::thread::scope(|scope| {
        for half in 0..2 {
            scope.spawn(move || {
                for seed in (0..1000).filter(|seed| seed % 2 == half) {
                    life::live(seed, STEPS);
                }
            });
        }
    });
}

#[test]
fn the_same_seed_tells_the_same_story() {
    let stories: Vec<_> = (0..20).map(|seed| life::live(seed, STEPS)).collect();
    for (seed, story) in (0..).zip(&stories) {
        assert_eq!(life::live(seed, STEPS), *story, "seed {seed}");
    }
    assert!(stories.windows(2).all(|two| two[0] != two[1]), "another seed tells another story");
    let transitions: usize = stories.iter().map(|story| story.transitions).sum();
    let ejections: usize = stories.iter().map(|story| story.ejections).sum();
    assert!(transitions > 500, "something happens in these lives: {transitions} transitions");
    assert!(ejections > 50, "traffic shows something in them: {ejections} ejections");
}
