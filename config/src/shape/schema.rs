//! The shape as a JSON Schema, for editors and for whoever generates configs.

use serde_json::{Map, Value, json};

use super::{CONFIG, Integer, Key, Kind, List, Need, Number, Object, Rule, Words};

/// The JSON Schema (draft 2020-12) of a config.
///
/// What it takes is a little more than what [`crate::parse`] takes: it knows no references, no
/// sums and no ports.
#[must_use]
pub fn schema() -> Value {
    let mut schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "https://weir.invalid/config.schema.json",
    });
    let mut definitions = Map::new();
    for object in objects() {
        if object.title != CONFIG.title {
            definitions.insert(object.title.to_owned(), of_object(object));
        }
    }
    if let (Value::Object(schema), Value::Object(root)) = (&mut schema, of_object(&CONFIG)) {
        schema.extend(root);
        schema.insert("$defs".to_owned(), Value::Object(definitions));
    }
    schema
}

/// Every object of the table, the config first.
pub(crate) fn objects() -> Vec<&'static Object> {
    fn visit(kind: &Kind, found: &mut Vec<&'static Object>) {
        match kind {
            Kind::Object(object) => add(object, found),
            Kind::List(list) => visit(&list.of, found),
            Kind::Map(_, of) => visit(of, found),
            Kind::Any(kinds) => kinds.iter().for_each(|kind| visit(kind, found)),
            _ => {}
        }
    }
    fn add(object: &'static Object, found: &mut Vec<&'static Object>) {
        if !found.iter().any(|other| other.title == object.title) {
            found.push(object);
            object.keys.iter().for_each(|key| visit(&key.kind, found));
        }
    }
    let mut found = Vec::new();
    add(&CONFIG, &mut found);
    found
}

fn of_object(object: &Object) -> Value {
    let properties: Map<_, _> = object.keys.iter().map(|key| (key.name.to_owned(), of_key(key))).collect();
    let required: Vec<_> =
        object.keys.iter().filter(|key| matches!(key.need, Need::Required(_))).map(|key| key.name).collect();
    let mut schema = json!({
        "title": object.title,
        "description": object.doc,
        "type": if object.may_be_empty() { json!(["object", "null"]) } else { json!("object") },
        "additionalProperties": false,
        "properties": properties,
    });
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    let choices: Vec<Value> = object
        .choices
        .iter()
        .map(|choice| {
            let each = choice.of.iter().map(|name| json!({ "required": [name] }));
            match choice.needed {
                Some(_) => json!({ "oneOf": each.collect::<Vec<_>>() }),
                None => json!({ "not": { "required": choice.of } }),
            }
        })
        .collect();
    if !choices.is_empty() {
        schema["allOf"] = json!(choices);
    }
    schema
}

fn of_key(key: &Key) -> Value {
    let mut schema = of_kind(&key.kind);
    let mut describe = |name: &str, value: Value| {
        if let Value::Object(schema) = &mut schema {
            schema.insert(name.to_owned(), value);
        }
    };
    match key.need {
        Need::Optional(otherwise) => describe("description", json!(format!("{} Default: {otherwise}.", key.doc))),
        Need::Required(_) => describe("description", json!(key.doc)),
        Need::Default(yaml) => {
            describe("description", json!(key.doc));
            if let Some(value) = plain(yaml) {
                describe("default", value);
            }
        }
    }
    if let Some(value) = plain(key.example) {
        describe("examples", json!([value]));
    }
    schema
}

/// A default or an example of the table as JSON. The table is constant and tested.
pub(super) fn plain(yaml: &str) -> Option<Value> {
    fn convert(node: &crate::yaml::Node) -> Value {
        use crate::yaml::Value as Yaml;
        match &node.value {
            Yaml::Null | Yaml::Broken => Value::Null,
            Yaml::Bool(value) => json!(value),
            Yaml::Integer(value) => json!(i64::try_from(*value).unwrap_or(i64::MAX)),
            Yaml::Float(value) => json!(value),
            Yaml::Text(text) => json!(text.text),
            Yaml::List(items) => items.iter().map(convert).collect(),
            Yaml::Map(entries) => {
                entries.iter().map(|(key, value)| (key.text.clone(), convert(value))).collect::<Map<_, _>>().into()
            }
        }
    }
    crate::yaml::read(yaml).ok().map(|node| convert(&node))
}

fn of_kind(kind: &Kind) -> Value {
    match kind {
        Kind::Bool => with_variable(json!({ "type": "boolean" })),
        Kind::Integer(Integer { min, max, .. }) if *max == u64::MAX => {
            with_variable(json!({ "type": "integer", "minimum": min }))
        }
        Kind::Integer(Integer { min, max, .. }) => {
            with_variable(json!({ "type": "integer", "minimum": min, "maximum": max }))
        }
        Kind::Number(number) => with_variable(of_number(number)),
        Kind::Duration { .. } => json!({
            "type": "string",
            "pattern": r"^([0-9]+(\.[0-9]{1,6})?(h|m|s|ms|us))+$|\$\{",
        }),
        Kind::Ttl => json!({ "type": "string", "pattern": r"^([0-9]+(\.[0-9]{1,6})?(d|h|m|s|ms|us))+$|\$\{" }),
        Kind::Size { zero, .. } => json!({ "anyOf": [
            { "type": "integer", "minimum": u8::from(!zero) },
            { "type": "string", "pattern": r"^[0-9]+ *(B|kB|[KMG]i?B)?$|\$\{" },
        ] }),
        Kind::Text(rule) => of_text(rule),
        Kind::Word(words) => of_words(words),
        Kind::Object(object) => json!({ "$ref": format!("#/$defs/{}", object.title) }),
        Kind::List(list) => of_list(list),
        Kind::Map(rule, of) => {
            let mut schema = json!({ "type": "object", "additionalProperties": of_kind(of) });
            if let Some(pattern) = rule.pattern {
                schema["propertyNames"] = json!({ "pattern": pattern });
            }
            schema
        }
        Kind::Any(kinds) => json!({ "anyOf": kinds.iter().map(of_kind).collect::<Vec<_>>() }),
    }
}

/// `${VAR}` may stand where a number or a boolean does.
fn with_variable(schema: Value) -> Value {
    json!({ "anyOf": [schema, { "type": "string", "pattern": r"\$\{" }] })
}

fn of_number(number: &Number) -> Value {
    let (no_min, no_max) = number.without;
    json!({
        "type": "number",
        (if no_min { "exclusiveMinimum" } else { "minimum" }): number.min,
        (if no_max { "exclusiveMaximum" } else { "maximum" }): number.max,
    })
}

fn of_text(rule: &Rule) -> Value {
    let mut schema =
        json!({ "type": if rule.loose { json!(["string", "number", "boolean"]) } else { json!("string") } });
    if let Some(pattern) = rule.pattern {
        schema["pattern"] = json!(pattern);
    }
    schema
}

/// `anyOf` of constants rather than `enum`, so that each word has its line.
fn of_words(words: &Words) -> Value {
    let known = words.known.iter().flat_map(|(word, doc)| {
        let constant = |value: Value| json!({ "const": value, "description": doc });
        let boolean = match *word {
            "on" => Some(json!(true)),
            "off" => Some(json!(false)),
            _ => None,
        };
        // A version such as 1.2 is a number to YAML.
        let number = word.parse::<f64>().ok().map(|number| json!(number));
        std::iter::once(constant(json!(word))).chain(boolean.or(number).map(constant))
    });
    let variable = json!({ "type": "string", "pattern": r"\$\{" });
    json!({ "anyOf": known.chain([variable]).collect::<Vec<_>>() })
}

fn of_list(list: &List) -> Value {
    let item = of_kind(&list.of);
    let mut schema = json!({ "type": "array", "items": item });
    if list.empty.is_some() {
        schema["minItems"] = json!(1);
    }
    if list.or_one { json!({ "anyOf": [item, schema] }) } else { schema }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Path, Report};

    const EXAMPLES: [&str; 3] = [
        include_str!("../../examples/minimal.yaml"),
        include_str!("../../examples/zones.yaml"),
        include_str!("../../examples/full.yaml"),
    ];

    #[test]
    fn the_schema_is_one_and_takes_every_example() {
        let schema = schema();
        jsonschema::draft202012::meta::validate(&schema).unwrap();
        let validator = jsonschema::draft202012::new(&schema).unwrap();
        for text in EXAMPLES {
            let example = plain(text).unwrap();
            let errors: Vec<_> = validator.iter_errors(&example).map(|error| error.to_string()).collect();
            assert!(errors.is_empty(), "{errors:#?}");
        }
    }

    /// An editor that marks what Weir takes is worse than none.
    #[test]
    fn the_schema_takes_what_the_parser_takes() {
        let validator = jsonschema::draft202012::new(&schema()).unwrap();
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mistakes");
        let mut seen = 0;
        for entry in folder.read_dir().unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if name.starts_with("warning_") && name.ends_with(".yaml") {
                let config = plain(&std::fs::read_to_string(&path).unwrap()).unwrap();
                let errors: Vec<_> = validator.iter_errors(&config).map(|error| error.to_string()).collect();
                assert!(errors.is_empty(), "{name}: {errors:#?}");
                seen += 1;
            }
        }
        assert!(seen > 30, "{seen}");
        let mut shorts = plain(EXAMPLES[0]).unwrap();
        let cluster = &mut shorts["clusters"][0];
        for (key, value) in [
            ("outlier_detection", json!(false)),
            ("slow_start", json!("1m")),
            ("zone_aware", json!(true)),
            ("panic", json!("all_hosts")),
            ("hash", json!({"key": "source_address", "bounded_load": "off"})),
            ("endpoints", json!(["unix:/run/a", "a.internal:80", "srv:_a._tcp.b", "file:c.yaml", "[fe80::1%2]:80"])),
        ] {
            cluster[key] = value;
        }
        let errors: Vec<_> = validator.iter_errors(&shorts).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{errors:#?}");
    }

    #[test]
    fn the_schema_refuses_what_an_editor_should_mark() {
        let validator = jsonschema::draft202012::new(&schema()).unwrap();
        let example = plain(EXAMPLES[0]).unwrap();
        let edits: [(&str, Value); 17] = [
            ("/colour", json!("blue")),
            ("/workers", json!(0)),
            ("/workers", json!("4")),
            ("/access_log", json!({"path": "-", "sample": 2})),
            ("/listeners/0/timeouts", json!({"idle": 60})),
            ("/listeners/0/routes", json!([{"cluster": "shop"}])),
            ("/clusters/0/balance", json!("fastest")),
            ("/clusters/0/endpoints", json!(["10.0.0.1"])),
            ("/clusters/0/outlier_detection", json!("on")),
            ("/clusters/0/outlier_detection", json!({"confidence": 1})),
            ("/clusters/0/outlier_detection", json!({"failure_percentage": {"threshold": 0}})),
            ("/clusters/0/outlier_detection", json!({"failure_percentage": [{"window": "5m"}]})),
            ("/clusters/0/hash", json!({"key": [{"header": "a", "cookie": "b"}]})),
            ("/clusters/0/circuit_breaker", json!({"max_requests": 0})),
            ("/clusters/0/slow_start", json!(30)),
            ("/clusters/0/connect", json!({"source_ports": 20000})),
            ("/clusters/0/overprovisioning", json!(72)),
        ];
        for (place, value) in edits {
            let mut edited = example.clone();
            let (parent, key) = place.rsplit_once('/').unwrap();
            edited.pointer_mut(parent).unwrap()[key] = value;
            assert!(!validator.is_valid(&edited), "{place} is taken");
        }
    }

    #[test]
    fn the_parser_takes_every_default_and_example_of_the_table() {
        for object in objects() {
            for key in object.keys {
                let default = match key.need {
                    Need::Default(yaml) => Some(yaml),
                    Need::Required(_) | Need::Optional(_) => None,
                };
                for yaml in default.into_iter().chain([key.example]) {
                    let node = crate::yaml::read(yaml).unwrap();
                    let mut report = Report::default();
                    crate::check::check(&node, &key.kind, &Path::Root, &mut report);
                    let list = report.into_list();
                    assert!(list.is_empty(), "{}.{}: {yaml}: {list:?}", object.title, key.name);
                }
            }
        }
    }

    #[test]
    fn the_table_is_well_formed() {
        for object in objects() {
            for (at, key) in object.keys.iter().enumerate() {
                assert!(object.keys[..at].iter().all(|other| other.name != key.name), "{}", key.name);
                assert!(!object.later.contains(&key.name), "{} is planned and there", key.name);
                assert!(key.doc.ends_with('.') && !key.doc.contains('\n'), "{}", key.doc);
            }
            for choice in object.choices {
                assert!(choice.of.iter().all(|name| object.key(name).is_some()), "{}", object.title);
            }
        }
    }
}
