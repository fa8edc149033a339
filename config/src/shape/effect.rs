//! When a change of a key counts. What a reload changes is told by [`crate::diff`], of two configs;
//! this tells it of keys, for the reference. A test holds the one against the other.

use crate::diff::Touches;

/// What of the traffic a change touches at the most, by the longest path that it stands under.
/// `None`: only a new process takes it.
const RULES: [(&str, Option<Touches>); 20] = [
    ("", Some(Touches::NewRequests)),
    ("admin", Some(Touches::Nothing)),
    ("workers", None),
    ("max_concurrent_probes", Some(Touches::Nothing)),
    ("shutdown", Some(Touches::Nothing)),
    ("access_log", Some(Touches::Nothing)),
    ("tracing.service_name", Some(Touches::Nothing)),
    ("tracing.otlp", Some(Touches::Nothing)),
    ("listeners.name", Some(Touches::NewConnections)),
    ("listeners.bind", Some(Touches::Connections)),
    ("listeners.protocol", Some(Touches::Connections)),
    ("listeners.tls", Some(Touches::NewConnections)),
    ("listeners.proxy_protocol", Some(Touches::NewConnections)),
    ("listeners.http2", Some(Touches::NewConnections)),
    ("listeners.udp", Some(Touches::NewConnections)),
    ("listeners.on_unhealthy", Some(Touches::NewConnections)),
    ("listeners.limits.connections", Some(Touches::NewConnections)),
    ("listeners.limits.connections_per_client", Some(Touches::NewConnections)),
    ("listeners.timeouts.max_session", Some(Touches::NewConnections)),
    ("releases.judge", Some(Touches::Nothing)),
];

/// When a change of the key at `path` counts.
pub(super) fn of(path: &str) -> Option<Touches> {
    let under = |rule: &str| path.strip_prefix(rule).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
    let holds = RULES.into_iter().filter(|(rule, _)| rule.is_empty() || under(rule));
    holds.max_by_key(|(rule, _)| rule.len()).map_or(Some(Touches::NewRequests), |(_, touches)| touches)
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, Value, json};

    use super::*;
    use crate::shape::schema::plain;
    use crate::shape::{CONFIG, Kind, Need, Object};

    /// One object of the table, where it stands in a file.
    struct Place<'p> {
        object: &'static Object,
        path: String,
        /// The whole file around it.
        around: &'p dyn Fn(Value) -> Value,
    }

    /// As little as makes it valid.
    fn least(object: &'static Object) -> Map<String, Value> {
        let mut keys: Vec<&str> =
            object.keys.iter().filter(|key| matches!(key.need, Need::Required(_))).map(|key| key.name).collect();
        keys.extend(object.choices.iter().filter(|choice| choice.needed.is_some()).map(|choice| choice.of[0]));
        if object.title == "listener" {
            keys.push("cluster");
        }
        keys.into_iter().map(|name| (name.to_owned(), plain(object.key(name).unwrap().example).unwrap())).collect()
    }

    fn with(object: &'static Object, name: &str, value: Value) -> Value {
        let mut all = least(object);
        for choice in object.choices.iter().filter(|choice| choice.of.contains(&name)) {
            all.retain(|key, _| !choice.of.contains(&&**key));
        }
        if ["routes", "release"].contains(&name) && object.title == "listener" {
            all.remove("cluster");
        }
        all.insert(name.to_owned(), value);
        Value::Object(all)
    }

    fn file(name: &str, value: Value) -> Value {
        let mut all = json!({
            "listeners": [{"name": "web", "bind": "127.0.0.1:80", "cluster": "shop"}],
            "clusters": [{"name": "shop", "endpoints": ["10.0.0.1:80"]}],
            "releases": [{"name": "orders", "key": {"header": "x-user-id"}, "stable": "orders-v1"}],
        });
        if !name.is_empty() {
            all[name] = value;
        }
        for name in ["shop", "orders-v1", "orders-v2", "orders-next"] {
            let clusters = all["clusters"].as_array_mut().unwrap();
            if clusters.iter().all(|cluster| cluster["name"] != name) {
                clusters.push(json!({"name": name, "endpoints": ["10.0.0.2:80"]}));
            }
        }
        all
    }

    fn parsed(config: &Value) -> Option<crate::Config> {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
        let files = |name: &str| std::fs::read(folder.join(name));
        let source = crate::Source { name: "x", env: &|_| None, files: &files };
        crate::parse(&config.to_string(), &source).ok().map(|good| good.config)
    }

    /// What diffs say of each key: its path, and `None` where only a new process takes it.
    fn visit(place: &Place<'_>, found: &mut Vec<(String, Option<Touches>)>) {
        let whole = |name: &str, value: Value| match place.object.title {
            "config" => file(name, value),
            _ => (place.around)(with(place.object, name, value)),
        };
        let before = match place.object.title {
            "config" => file("", Value::Null),
            _ => (place.around)(Value::Object(least(place.object))),
        };
        for key in place.object.keys {
            let path = if place.path.is_empty() { key.name.to_owned() } else { format!("{}.{}", place.path, key.name) };
            let after = whole(key.name, plain(key.example).unwrap());
            if let (Some(before), Some(after)) = (parsed(&before), parsed(&after)) {
                let changes = crate::diff(&before, &after);
                let restart = changes.iter().any(|change| change.needs_restart);
                if !changes.is_empty() {
                    found.push((path.clone(), (!restart).then(|| changes.touches())));
                }
            }
            within(&key.kind, &|value| value, &mut |object, wrap| {
                let around = |value: Value| whole(key.name, wrap(value));
                visit(&Place { object, path: path.clone(), around: &around }, found);
            });
        }
    }

    type Wrap<'w> = &'w dyn Fn(Value) -> Value;

    fn within(kind: &Kind, wrap: Wrap<'_>, each: &mut dyn FnMut(&'static Object, Wrap<'_>)) {
        match kind {
            Kind::Object(object) => each(object, wrap),
            Kind::List(list) => within(&list.of, &|value| wrap(json!([value])), each),
            Kind::Map(_, of) => within(of, &|value| wrap(json!({"az-a": value})), each),
            Kind::Any(kinds) => kinds.iter().for_each(|kind| within(kind, wrap, each)),
            _ => {}
        }
    }

    #[test]
    fn the_reference_says_what_a_diff_says() {
        let mut found = Vec::new();
        visit(&Place { object: &CONFIG, path: String::new(), around: &|value| value }, &mut found);
        assert!(found.len() > 120, "{}", found.len());
        for (path, told) in found {
            let (said, at_most) = (of(&path), ["listeners", "clusters", "releases"].contains(&&*path));
            let agree = at_most || said == told || path == "listeners.bind";
            assert!(agree, "{path}: the reference says {said:?}, a diff {told:?}");
        }
    }
}
