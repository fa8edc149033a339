//! The table of what is answered, held against what is.

use std::collections::{BTreeMap, BTreeSet};

use super::super::access::Wish;
use super::super::admit::wish;
use super::super::index::{ENDPOINTS, Endpoint, Needs, all};
use super::play;

/// These look or listen for seconds; that they are there, their refusals show.
const SLOW: [&str; 3] = ["/api/v1/doctor", "/api/v1/stream", "/debug/pprof/profile"];

/// An address that is one of this form.
fn concrete(endpoint: &Endpoint) -> String {
    endpoint.path.replace("NAME", "apps").replace("ID", "1")
}

#[tokio::test]
async fn the_table_says_what_is_answered() {
    play(async |stage| {
        stage.handle.reload(crate::control::Trigger::Api).await;
        let mut methods: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
        for endpoint in ENDPOINTS {
            let path = concrete(endpoint);
            methods.entry(path.clone()).or_default().insert(endpoint.method);
            if SLOW.contains(&&*path) && endpoint.method == "GET" {
                continue;
            }
            let heard = stage.ask(endpoint.method, &path).await;
            let nothing = heard.body.contains("There is nothing at this address");
            let of_its_own = path.ends_with("/drills/1") && endpoint.method == "GET";
            assert!(heard.status != 405 && (!nothing || of_its_own), "{} {path}: {}", endpoint.method, heard.body);
        }
        for (path, methods) in methods {
            let refused = stage.ask("PUT", &path).await;
            let get = if methods.contains("GET") { &["get", "head"][..] } else { &[] };
            let others = methods.iter().filter(|method| **method != "GET").map(|method| method.to_lowercase());
            let mut allowed: Vec<String> = get.iter().map(|method| (*method).to_owned()).chain(others).collect();
            allowed.sort_by_key(|method| ["get", "head", "post", "delete"].iter().position(|known| known == method));
            let line = format!("allow: {}", allowed.join(", "));
            // No request was decided here yet.
            let none_kept = refused.status == 404 && path.contains("/decisions/");
            let refuses = refused.status == 405 && refused.head.contains(&line);
            assert!(refuses || none_kept, "{path}: {line}\n{}", refused.head);
        }
    })
    .await;
}

#[tokio::test]
async fn parameters_are_those_that_are_known() {
    play(async |stage| {
        for endpoint in ENDPOINTS {
            let path = concrete(endpoint);
            if SLOW[..2].contains(&&*path) {
                continue;
            }
            let kind = if (endpoint.method, endpoint.path) == ("POST", "/api/v1/drills") { "&kind=reset" } else { "" };
            let heard = stage.ask(endpoint.method, &format!("{path}?{}=1{kind}", "q".repeat(20))).await;
            if heard.status != 400 {
                continue;
            }
            let remedy = heard.json()["remedy"].as_str().unwrap_or_default().to_owned();
            let known: BTreeSet<&str> = remedy.trim_start_matches("there are: ").split(", ").collect();
            // Which of these a drill takes goes by its kind.
            let by_kind = |name: &&str| !kind.is_empty() && ["delay", "status"].contains(name);
            let told = endpoint.parameters.iter().map(|(name, _)| *name).filter(|name| !by_kind(name));
            let told: BTreeSet<&str> = told.collect();
            assert_eq!(known, told, "{} {path}", endpoint.method);
        }
    })
    .await;
}

#[test]
fn the_table_says_who_may_ask() {
    for endpoint in ENDPOINTS {
        let head =
            http::Request::builder().method(endpoint.method).uri(concrete(endpoint)).body(()).unwrap().into_parts().0;
        let needs = match wish(&head) {
            Wish::Probe | Wish::Page => Needs::Nothing,
            Wish::Read => Needs::Read,
            Wish::Change => Needs::Change,
        };
        assert_eq!(needs, endpoint.needs, "{} {}", endpoint.method, endpoint.path);
        assert!(endpoint.meaning.ends_with('.'), "{}", endpoint.meaning);
    }
}

#[test]
fn the_index_has_words_without_links() {
    let index = all();
    let doctor = index["endpoints"].as_array().unwrap().iter().find(|one| one["path"] == "/api/v1/doctor").unwrap();
    assert_eq!(doctor["meaning"], "The instance looks at itself and its host, for some seconds: doctor.md.");
    assert!(!index.to_string().contains("]("), "{index}");
}
