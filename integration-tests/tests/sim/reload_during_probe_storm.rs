//! Two hundred endpoints probed ten times a second, while the config changes three times a second.

use std::cell::RefCell;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use tokio::time::sleep;

use crate::for_seeds;
use crate::town::{Answer, Book, ConfigFile, User, network, reload, replica, weir};

const PORTS: std::ops::Range<u16> = 8000..8050;
const RELOADS: usize = 20;

/// All endpoints but every seventh, another seventh each time; weights change too.
fn config(hosts: &[IpAddr], n: usize) -> String {
    let mut yaml = "admin: off\nlisteners:\n  - {name: web, bind: 0.0.0.0:80, protocol: http, cluster: shop}\n\
                    clusters:\n  - name: shop\n    endpoints:\n"
        .to_owned();
    let all = hosts.iter().flat_map(|host| PORTS.map(|port| SocketAddr::new(*host, port)));
    for (at, address) in all.enumerate().filter(|(at, _)| at % 7 != n % 7) {
        yaml.push_str(&format!("      - {{address: \"{address}\", weight: {}}}\n", 1 + (at + n) % 3));
    }
    yaml.push_str(
        "    health_checks:\n      - {timeout: 1s, interval: 100ms, fast_interval: 100ms, http_health_check: {path: /healthz}}\n",
    );
    yaml
}

fn story(seed: u64) -> String {
    let mut sim = network(seed, 60);
    let hosts = ["one", "two", "three", "four"].map(|name| replica(&mut sim, name, PORTS));
    let file = ConfigFile::new(&config(&hosts, 0));
    let book = Book::default();
    weir(&mut sim, seed, &file, &book);

    let answers: Rc<RefCell<Vec<Answer>>> = Rc::default();
    let end = Duration::from_secs(2) + Duration::from_millis(300) * RELOADS as u32;
    for n in 0..2 {
        let answers = Rc::clone(&answers);
        sim.client(format!("user-{n}"), async move {
            let mut user = User::default();
            sleep(Duration::from_secs(1)).await;
            while turmoil::sim_elapsed().unwrap_or_default() < end {
                let answer = user.ask().await;
                answers.borrow_mut().push(answer);
                sleep(Duration::from_millis(10)).await;
            }
            Ok(())
        });
    }
    let operator = book.clone();
    sim.client("operator", async move {
        sleep(Duration::from_secs(1)).await;
        for n in 1..=RELOADS {
            let good = config(&hosts, n);
            // Now and then a slip of the hand.
            if n % 5 == 0 {
                file.write(&good.replace("cluster: shop", "cluster: shpo"));
                assert!(!reload(&operator).await, "a bad file is refused");
            }
            file.write(&good);
            assert!(reload(&operator).await, "a good file is taken");
            operator.note(format!("reload {n}"));
            sleep(Duration::from_millis(300)).await;
        }
        Ok(())
    });
    sim.run().unwrap();

    let story = book.story();
    let answers = answers.borrow();
    let failed: Vec<&String> = answers.iter().filter_map(|answer| answer.as_ref().err()).collect();
    assert!(failed.is_empty() && answers.len() > 500, "{failed:?} of {}\n{story}", answers.len());
    assert!(book.transitions().iter().all(|(_, _, _, to)| to == "healthy"), "nobody was ill\n{story}");
    let count = |kind: &str| {
        book.handle().journal().read(Some(0), usize::MAX).events.iter().filter(|e| e.kind.as_str() == kind).count()
    };
    assert_eq!((count("config_applied"), count("config_rejected")), (RELOADS, RELOADS / 5), "{story}");
    story
}

#[test]
fn reloads_during_a_storm_of_probes_cost_nobody_anything() {
    for_seeds(1..4, story);
}
