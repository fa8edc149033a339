//! A zone loses its network for ten seconds: packets vanish, nothing is refused.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::sleep;

use crate::for_seeds;
use crate::town::{Answer, Book, ConfigFile, User, config, network, replica, weir};

const DARK: Duration = Duration::from_secs(6);
const LIGHT: Duration = Duration::from_secs(16);
const END: Duration = Duration::from_secs(26);
/// Three failing probes, each after 0.5 s of time-out and 0.5 s of pause, the first of them up to
/// an interval late; and a request that was already waiting for its second.
const NOTICED_AFTER: f64 = 1.1 + 3.0 * 1.1 + 1.1;

fn story(seed: u64) -> String {
    let mut sim = network(seed, 60);
    let mut zones: Vec<(&str, Vec<SocketAddr>)> = Vec::new();
    for (zone, names) in [("az-a", ["a1", "a2"]), ("az-b", ["b1", "b2"]), ("az-c", ["c1", "c2"])] {
        let addresses = names.map(|name| SocketAddr::new(replica(&mut sim, name, 8080..8081), 8080));
        zones.push((zone, addresses.to_vec()));
    }
    let dark = zones[1].1.clone();
    let check =
        "{timeout: 500ms, interval: 1s, fast_interval: 500ms, down_interval: 1s, http_health_check: {path: /healthz}}";
    let file = ConfigFile::new(&config(&zones, check));
    let book = Book::default();
    weir(&mut sim, seed, &file, &book);

    let answers: std::rc::Rc<std::cell::RefCell<Vec<(f64, Answer)>>> = std::rc::Rc::default();
    for n in 0..4 {
        let (answers, book) = (std::rc::Rc::clone(&answers), book.clone());
        sim.client(format!("user-{n}"), async move {
            let mut user = User::default();
            // The first probes are spread over one interval: until then nobody asks.
            sleep(Duration::from_secs(2)).await;
            while turmoil::sim_elapsed().unwrap_or_default() < END {
                let begun = turmoil::sim_elapsed().unwrap_or_default().as_secs_f64();
                let answer = user.ask().await;
                if let Err(error) = &answer {
                    book.note(format!("user {n}: {error}"));
                }
                answers.borrow_mut().push((begun, answer));
                sleep(Duration::from_millis(50)).await;
            }
            Ok(())
        });
    }
    let (mut is_dark, mut was_dark) = (false, false);
    while !sim.step().unwrap() {
        if !is_dark && !was_dark && sim.elapsed() >= DARK {
            (is_dark, was_dark) = (true, true);
            sim.partition("weir", "b1");
            sim.partition("weir", "b2");
        }
        if is_dark && sim.elapsed() >= LIGHT {
            is_dark = false;
            sim.repair("weir", "b1");
            sim.repair("weir", "b2");
        }
    }

    let story = book.story();
    let answers = answers.borrow();
    assert!(answers.len() > 400, "{} answers\n{story}", answers.len());
    let dark_at = DARK.as_secs_f64();
    for (begun, answer) in &*answers {
        if let Err(error) = answer {
            let after = begun - dark_at;
            assert!((-1.1..NOTICED_AFTER).contains(&after), "{error} {after:.1} s after the lights went out\n{story}");
            assert!(error.starts_with("504 "), "a silent endpoint is a time-out: {error}\n{story}");
        }
    }
    let late: Vec<&str> =
        answers.iter().filter(|(begun, _)| *begun > 21.0).filter_map(|(_, a)| a.as_deref().ok()).collect();
    assert!(["a1", "a2", "b1", "b2", "c1", "c2"].iter().all(|name| late.contains(name)), "all serve again\n{story}");
    for address in dark {
        let changes: Vec<(f64, String)> = book
            .transitions()
            .into_iter()
            .filter(|(at, who, _, _)| *who == address && *at > dark_at)
            .map(|(at, _, _, to)| (at, to))
            .collect();
        assert_eq!(
            changes.iter().map(|(_, to)| to.as_str()).collect::<Vec<_>>(),
            ["unhealthy", "healthy"],
            "{address}\n{story}"
        );
        assert!(changes[0].0 < dark_at + NOTICED_AFTER, "{address}\n{story}");
        assert!(changes[1].0 > LIGHT.as_secs_f64(), "{address}\n{story}");
    }
    let others =
        book.transitions().into_iter().filter(|(_, who, _, to)| !zones[1].1.contains(who) && to == "unhealthy");
    assert_eq!(others.count(), 0, "{story}");
    story
}

#[test]
fn a_zone_goes_dark_and_the_others_carry_on() {
    for_seeds(1..9, story);
}
