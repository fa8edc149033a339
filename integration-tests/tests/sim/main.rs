//! Simulated systems: the whole server with its probes, among replicas and users on one thread, in
//! virtual time. Each scenario is a story told from a seed; the same seed tells the same story.

#![allow(clippy::unwrap_used, reason = "a panic here is a failed test")]

mod all_sick_then_well;
mod backend_flaps;
mod crowd;
mod reload_during_probe_storm;
mod retry_storm;
mod slow_one_of_ten;
mod town;
mod world;
mod zone_goes_dark;

/// Tells a story for several seeds, each of them twice.
fn for_seeds<T: PartialEq + std::fmt::Debug>(seeds: std::ops::Range<u64>, story: impl Fn(u64) -> T) {
    for seed in seeds {
        let first = story(seed);
        let second = story(seed);
        assert!(first == second, "seed {seed} told two stories:\n{first:#?}\n{second:#?}");
    }
}
