//! One of three replicas crashes and comes back, again and again, and health checks alone are to
//! notice.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::sleep;

use crate::for_seeds;
use crate::town::{Answer, Book, ConfigFile, User, config, network, replica, weir};

const FLAPS: u64 = 5;
/// A flap: down for five seconds, up for five.
const PERIOD: Duration = Duration::from_secs(10);
const FIRST: Duration = Duration::from_secs(4);
const END: Duration = Duration::from_secs(FIRST.as_secs() + FLAPS * PERIOD.as_secs() + 4);
/// Three failing probes (a crashed host here does not even refuse: each takes its 0.5 s of time-out
/// and 0.5 s of pause), the first of them up to a pause late; and a request that already waited.
const NOTICED_AFTER: f64 = 0.55 + 3.0 * 0.5 + 2.0 * 0.55 + 1.1;

fn story(seed: u64) -> String {
    let mut sim = network(seed, 90);
    let address = |ip| SocketAddr::new(ip, 8080);
    let steady = ["one", "two"].map(|name| address(replica(&mut sim, name, 8080..8081)));
    let flapping = address(replica(&mut sim, "flapping", 8080..8081));
    let zones = [("az-a", steady.to_vec()), ("az-b", vec![flapping])];
    let check = "{timeout: 500ms, interval: 500ms, fast_interval: 500ms, down_interval: 500ms, http_health_check: {path: /healthz}}";
    let file = ConfigFile::new(&format!("{}    outlier_detection: off\n", config(&zones, check)));
    let book = Book::default();
    weir(&mut sim, seed, &file, &book);

    let answers: Rc<RefCell<Vec<(f64, Answer)>>> = Rc::default();
    let (noted, writer) = (Rc::clone(&answers), book.clone());
    sim.client("user", async move {
        let mut user = User::default();
        sleep(Duration::from_secs(2)).await;
        while turmoil::sim_elapsed().unwrap_or_default() < END {
            let begun = turmoil::sim_elapsed().unwrap_or_default().as_secs_f64();
            let answer = user.ask().await;
            if let Err(error) = &answer {
                writer.note(error);
            }
            noted.borrow_mut().push((begun, answer));
            sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    });
    let mut flaps = 0;
    let mut is_down = false;
    while !sim.step().unwrap() {
        let crash_at = FIRST + PERIOD * flaps;
        if !is_down && u64::from(flaps) < FLAPS && sim.elapsed() >= crash_at {
            is_down = true;
            sim.crash("flapping");
        }
        if is_down && sim.elapsed() >= crash_at + PERIOD / 2 {
            is_down = false;
            flaps += 1;
            sim.bounce("flapping");
        }
    }

    let story = book.story();
    let answers = answers.borrow();
    for (begun, answer) in &*answers {
        if let Err(error) = answer {
            let into_flap = (begun - FIRST.as_secs_f64()).rem_euclid(PERIOD.as_secs_f64());
            assert!(
                *begun >= FIRST.as_secs_f64() && into_flap < NOTICED_AFTER,
                "{error} {into_flap:.2} s into a flap\n{story}"
            );
        }
    }
    let failed = answers.iter().filter(|(_, answer)| answer.is_err()).count();
    // What has not been sent is tried elsewhere: only a request on a connection that was open when
    // the replica crashed can be lost, and there is one such user.
    assert!(failed <= FLAPS as usize, "{failed} failed of {}\n{story}", answers.len());

    let transitions = book.transitions();
    let of_flapping: Vec<&str> = transitions
        .iter()
        .filter(|(at, who, _, _)| *who == flapping && *at >= FIRST.as_secs_f64())
        .map(|(_, _, _, to)| to.as_str())
        .collect();
    assert_eq!(of_flapping, ["unhealthy", "healthy"].repeat(FLAPS as usize), "{story}");
    assert!(transitions.iter().all(|(_, who, _, to)| *who == flapping || to == "healthy"), "{story}");
    story
}

#[test]
fn a_backend_flaps_and_is_out_each_time_it_is_down() {
    for_seeds(1..9, story);
}
