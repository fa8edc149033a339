//! What there is at this address, for whoever looks around: the [`table`](super::routes) as JSON.

use serde_json::{Map, Value, json};

use super::routes::{ROUTES, Route, Who};

/// The answer of `GET /api/v1`.
pub(super) fn all() -> Value {
    json!({ "version": env!("CARGO_PKG_VERSION"), "endpoints": ROUTES.iter().map(one).collect::<Vec<_>>() })
}

fn one(route: &Route) -> Value {
    let parameters: Map<String, Value> =
        route.parameters.iter().map(|&(name, means)| (name.to_owned(), means.into())).collect();
    let who = match route.who {
        Who::Anybody => "anybody",
        Who::Reader => "reader",
        Who::Changer => "changer",
    };
    json!({ "method": route.method, "path": route.path, "who": who, "meaning": route.what, "parameters": parameters })
}
