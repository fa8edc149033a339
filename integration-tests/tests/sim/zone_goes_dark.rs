//! A zone of three loses its network for ten seconds: packets vanish, nothing is refused. Live
//! traffic alone tells; there are no health checks here.

use std::net::SocketAddr;
use std::time::Duration;

use crate::crowd::{Moody, crowd, names, play, shop};
use crate::for_seeds;
use crate::town::{Book, ConfigFile, network, weir};

const DARK: Duration = Duration::from_secs(8);
const LIGHT: Duration = Duration::from_secs(18);
const END: Duration = Duration::from_secs(35);

fn story(seed: u64) -> String {
    let mut sim = network(seed, 60);
    let mut zone = |names: [&'static str; 3]| names.map(|name| Moody::new(&mut sim, name));
    let (a, b, c) = (zone(["a1", "a2", "a3"]), zone(["b1", "b2", "b3"]), zone(["c1", "c2", "c3"]));
    let yaml = shop(
        &[("az-a", &a), ("az-b", &b), ("az-c", &c)],
        &["timeout: 1s"],
        &["connect: {timeout: 300ms}", "outlier_detection: {base_ejection_time: 4s}", "slow_start: {window: 2s}"],
    );
    let (file, book) = (ConfigFile::new(&yaml), Book::default());
    weir(&mut sim, seed, &file, &book);
    let sights = crowd(&mut sim, &book, 100, Duration::from_secs(1), END);
    let dark = ["b1", "b2", "b3"];
    play(
        &mut sim,
        vec![
            (DARK, Box::new(|sim| dark.iter().for_each(|name| sim.hold("weir", *name)))),
            (LIGHT, Box::new(|sim| dark.iter().for_each(|name| sim.release("weir", *name)))),
        ],
    );

    let story = book.story();
    assert!(sights.all().len() > 3000, "{} answers\n{story}", sights.all().len());
    let dark_at = DARK.as_secs_f64();
    let lost: Vec<SocketAddr> = b.iter().map(|replica| replica.address).collect();
    let mut last = 0.0_f64;
    for address in &lost {
        let changes = book.transitions();
        let its: Vec<(f64, &str)> =
            changes.iter().filter(|(_, who, _, _)| who == address).map(|(at, _, _, to)| (*at, to.as_str())).collect();
        let out = its.iter().find(|(_, to)| *to == "ejected").unwrap_or_else(|| panic!("{address} never out\n{story}"));
        last = last.max(out.0 - dark_at);
        assert!((0.0..10.0).contains(&(out.0 - dark_at)), "{address} out at {:.1} s\n{story}", out.0);
        assert_eq!(its.last().unwrap().1, "healthy", "{address}\n{story}");
    }
    let others = book.transitions();
    let others = others.iter().filter(|(_, who, _, to)| !lost.contains(who) && to == "ejected");
    assert_eq!(others.count(), 0, "{story}");
    // What is lost is what a bounded budget of retries leaves, of a third that fails: little, and
    // nothing once the light is on.
    let failed: Vec<_> = sights.all().into_iter().filter(|sight| sight.answer.is_err()).collect();
    for sight in &failed {
        assert!((dark_at - 1.0..LIGHT.as_secs_f64()).contains(&sight.at), "{sight:?}\n{story}");
    }
    let asked = sights.between(dark_at, LIGHT.as_secs_f64()).len();
    assert!(failed.len() * 100 <= asked, "{} of {asked} failed\n{story}", failed.len());
    println!(
        "figure | simulated: zone of three of nine dark | {} | {} | {last:.2} s | -",
        sights.all().len(),
        failed.len()
    );
    let at_the_end = sights.between(END.as_secs_f64() - 3.0, f64::MAX);
    assert_eq!(names(&at_the_end).len(), 9, "all serve again: {:?}\n{story}", names(&at_the_end));
    story
}

#[test]
fn a_zone_goes_dark_and_the_others_carry_on() {
    for_seeds(1..5, story);
}
