//! The table of what is answered, held against what is.

use std::collections::{BTreeMap, BTreeSet};

use super::super::access::Wish;
use super::super::admit::wish;
use super::super::routes::{ROUTES, Route, Who};
use super::play;

/// These look or listen for seconds; that they are there, their refusals show.
const SLOW: [&str; 3] = ["/api/v1/doctor", "/api/v1/stream", "/debug/pprof/profile"];

/// An address that is one of this form.
fn concrete(route: &Route) -> String {
    route.path.replace("NAME", "apps").replace("ID", "1")
}

#[tokio::test]
async fn the_table_says_what_is_answered() {
    play(async |stage| {
        stage.handle.reload(crate::control::Trigger::Api).await;
        let mut methods: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
        for route in ROUTES {
            let path = concrete(route);
            methods.entry(path.clone()).or_default().insert(route.method);
            if SLOW.contains(&&*path) && route.method == "GET" {
                continue;
            }
            let heard = stage.ask(route.method, &path).await;
            let nothing = heard.body.contains("There is nothing at this address");
            let of_its_own = path.ends_with("/drills/1") && route.method == "GET";
            assert!(heard.status != 405 && (!nothing || of_its_own), "{} {path}: {}", route.method, heard.body);
        }
        for (path, methods) in methods {
            let refused = stage.ask("PUT", &path).await;
            let get = if methods.contains("GET") { &["get", "head"][..] } else { &[] };
            let others = methods.iter().filter(|method| **method != "GET").map(|method| method.to_lowercase());
            let mut allowed: Vec<String> = get.iter().map(|method| (*method).to_owned()).chain(others).collect();
            allowed.sort_by_key(|method| ["get", "head", "post", "delete"].iter().position(|known| known == method));
            let line = format!("allow: {}", allowed.join(", "));
            let none_kept = refused.status == 404 && !refused.body.contains("There is nothing at this address");
            let refuses = refused.status == 405 && refused.head.contains(&line);
            assert!(refuses || none_kept, "{path}: {line}\n{}", refused.head);
        }
    })
    .await;
}

#[tokio::test]
async fn parameters_are_those_that_are_known() {
    play(async |stage| {
        for route in ROUTES {
            let path = concrete(route);
            if SLOW[..2].contains(&&*path) {
                continue;
            }
            let kind = if (route.method, route.path) == ("POST", "/api/v1/drills") { "&kind=reset" } else { "" };
            let heard = stage.ask(route.method, &format!("{path}?{}=1{kind}", "q".repeat(20))).await;
            if heard.status != 400 {
                continue;
            }
            let remedy = heard.json()["remedy"].as_str().unwrap_or_default().to_owned();
            let known: BTreeSet<&str> = remedy.trim_start_matches("there are: ").split(", ").collect();
            let told: BTreeSet<&str> = route.parameters.iter().map(|(name, _)| *name).collect();
            assert_eq!(known, told, "{} {path}", route.method);
        }
    })
    .await;
}

#[test]
fn the_table_says_who_may_ask() {
    for route in ROUTES {
        let head = http::Request::builder().method(route.method).uri(concrete(route)).body(()).unwrap().into_parts().0;
        let who = match wish(&head) {
            Wish::Probe | Wish::Page => Who::Anybody,
            Wish::Read => Who::Reader,
            Wish::Change => Who::Changer,
        };
        assert_eq!(who, route.who, "{} {}", route.method, route.path);
        assert!(route.what.ends_with('.'), "{}", route.what);
    }
}
