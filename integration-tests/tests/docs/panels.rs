//! One panel of a dashboard, of each type that `deploy/grafana/source` uses.

use serde_json::{Value, json};

use crate::dashboards::{flag, kind, list, pairs, text};

/// The panel without its id and place.
pub(crate) fn panel(source: &Value) -> Value {
    let kind = kind(source);
    let mut defaults = json!({
        "unit": source["unit"].as_str().unwrap_or("short"),
        "color": {"mode": if matches!(kind, "timeseries" | "heatmap") { "palette-classic" } else { "thresholds" }},
        "thresholds": thresholds(&source["thresholds"]),
        "mappings": mappings(source),
        "custom": custom(source)
    });
    for key in ["min", "max", "decimals"] {
        if !source[key].is_null() {
            defaults[key] = source[key].clone();
        }
    }
    let mut panel = json!({
        "type": kind,
        "title": text(source, "title"),
        "description": text(source, "about"),
        "datasource": {"type": "prometheus", "uid": "${datasource}"},
        "targets": targets(source),
        "fieldConfig": {"defaults": defaults, "overrides": overrides(source)},
        "options": options(source)
    });
    if kind == "table" {
        panel["transformations"] = transformations(source);
    }
    panel
}

/// The queries of `show`: a legend for each, or of a table with several the letter of its column.
fn targets(source: &Value) -> Vec<Value> {
    let now = kind(source) == "table" || (matches!(kind(source), "stat" | "bargauge") && !flag(source, "graph"));
    let format = match kind(source) {
        "table" => "table",
        "heatmap" => "heatmap",
        _ => "time_series",
    };
    let one = |(at, (legend, expr)): (u8, (&String, &Value))| {
        json!({
            "refId": char::from(b'A' + at).to_string(),
            "datasource": {"type": "prometheus", "uid": "${datasource}"},
            "editorMode": "code",
            "expr": expr.as_str().expect("a query is a text"),
            "legendFormat": legend,
            "instant": now,
            "range": !now,
            "format": format
        })
    };
    (0..).zip(pairs(source, "show")).map(one).collect()
}

/// `{green: null, red: 5}`: from which value on it has which color.
fn thresholds(steps: &Value) -> Value {
    let steps: Vec<Value> = match steps.as_object() {
        Some(steps) => steps.iter().map(|(color, value)| json!({"color": color, "value": value})).collect(),
        None => vec![json!({"color": "green", "value": null})],
    };
    json!({"mode": "absolute", "steps": steps})
}

/// `map`: words for numbers.
fn mappings(source: &Value) -> Value {
    let words: &[(&str, &str, &str)] = match source["map"].as_str() {
        None => return json!([]),
        Some("yes_no") => &[("0", "no", "red"), ("1", "yes", "green")],
        Some("no_yes") => &[("0", "no", "green"), ("1", "yes", "red")],
        Some("taken_refused") => &[("0", "refused", "red"), ("1", "accepted", "green")],
        Some("breaker") => &[("0", "closed", "green"), ("0.5", "half open", "orange"), ("1", "open", "red")],
        Some("states") => &[
            ("1", "healthy", "green"),
            ("2", "probation", "yellow"),
            ("3", "draining", "blue"),
            ("4", "unknown", "#808080"),
            ("5", "ejected", "orange"),
            ("6", "unhealthy", "red"),
        ],
        Some(other) => panic!("no map {other}"),
    };
    let mut options = json!({});
    for (index, (number, word, color)) in words.iter().enumerate() {
        options[number] = json!({"text": word, "color": color, "index": index});
    }
    json!([{"type": "value", "options": options}])
}

/// How it is drawn, by type.
fn custom(source: &Value) -> Value {
    match kind(source) {
        "timeseries" => json!({
            "drawStyle": "line",
            "lineInterpolation": "linear",
            "lineWidth": 1,
            "fillOpacity": if flag(source, "stack") { 40 } else { 10 },
            "showPoints": "never",
            "spanNulls": false,
            "axisSoftMin": 0,
            "stacking": {"mode": if flag(source, "stack") { "normal" } else { "none" }, "group": "A"},
            "thresholdsStyle": {"mode": if source["thresholds"].is_null() { "off" } else { "dashed" }}
        }),
        "state-timeline" => json!({"lineWidth": 0, "fillOpacity": 80}),
        "table" => json!({"align": "auto", "cellOptions": {"type": "auto"}, "filterable": true}),
        "heatmap" => json!({"scaleDistribution": {"type": "linear"}}),
        _ => json!({}),
    }
}

fn options(source: &Value) -> Value {
    let reduce = json!({"calcs": ["lastNotNull"], "fields": "", "values": false});
    match kind(source) {
        "timeseries" => json!({
            "legend": {"displayMode": "table", "placement": "bottom", "showLegend": true, "calcs": ["lastNotNull", "max"]},
            "tooltip": {"mode": "multi", "sort": "desc"}
        }),
        "stat" => json!({
            "reduceOptions": reduce,
            "colorMode": if source["thresholds"].is_null() { "value" } else { "background" },
            "graphMode": if flag(source, "graph") { "area" } else { "none" },
            "textMode": source["text"].as_str().unwrap_or("auto"),
            "justifyMode": "center",
            "orientation": "auto"
        }),
        "bargauge" => json!({
            "reduceOptions": reduce, "orientation": "horizontal", "displayMode": "basic", "valueMode": "color", "showUnfilled": true
        }),
        "table" => {
            json!({"showHeader": true, "cellHeight": "sm", "footer": {"show": false, "reducer": ["sum"], "fields": ""}})
        }
        "state-timeline" => json!({
            "mergeValues": true, "showValue": "never", "rowHeight": 0.9, "alignValue": "left",
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": true},
            "tooltip": {"mode": "single", "sort": "none"}
        }),
        "heatmap" => json!({
            "calculate": false,
            "cellGap": 1,
            "color": {"mode": "scheme", "scheme": "Turbo", "exponent": 0.5, "fill": "dark-orange", "reverse": false, "steps": 64},
            "yAxis": {"axisPlacement": "left", "unit": text(source, "unit"), "reverse": false},
            "rowsFrame": {"layout": "auto"},
            "filterValues": {"le": 1e-9},
            "legend": {"show": true},
            "tooltip": {"show": true, "mode": "single", "yHistogram": true},
            "showValue": "never"
        }),
        other => panic!("no panel {other}"),
    }
}

/// What differs for some series or columns.
fn overrides(source: &Value) -> Vec<Value> {
    let rule = |matcher: &str, what: &str, properties: Value| json!({"matcher": {"id": matcher, "options": what}, "properties": properties});
    let paint = |color: &str| json!([{"id": "color", "value": {"mode": "fixed", "fixedColor": color}}]);
    let mut rules = Vec::new();
    match source["palette"].as_str() {
        None => {}
        Some("status") => {
            let colors = [
                ("1xx", "#808080"),
                ("2xx", "green"),
                ("3xx", "blue"),
                ("4xx", "yellow"),
                ("5xx", "red"),
                ("none", "purple"),
            ];
            rules.extend(colors.map(|(class, color)| rule("byName", class, paint(color))));
        }
        Some("verdict") => rules.extend([
            rule("byRegexp", "/: (promote|advancing|complete)$/", paint("green")),
            rule("byRegexp", "/: (hold|insufficient_data|paused)$/", paint("yellow")),
            rule("byRegexp", "/: (rollback|failed|aborted)$/", paint("red")),
        ]),
        Some(other) => panic!("no palette {other}"),
    }
    if let Some(word) = source["dashed"].as_str() {
        let dashes = json!([
            {"id": "custom.lineStyle", "value": {"fill": "dash", "dash": [10, 10]}},
            {"id": "custom.fillOpacity", "value": 0}
        ]);
        rules.push(rule("byRegexp", &format!("/{word}$/"), dashes));
    }
    if let Some(word) = source["negative"].as_str() {
        rules.push(rule("byRegexp", &format!("/{word}$/"), json!([{"id": "custom.transform", "value": "negative-Y"}])));
    }
    for (column, unit) in pairs(source, "units") {
        rules.push(rule("byName", column, json!([{"id": "unit", "value": unit}])));
    }
    for (column, steps) in pairs(source, "colors") {
        let cell = json!([
            {"id": "thresholds", "value": thresholds(steps)},
            {"id": "custom.cellOptions", "value": {"type": "color-background", "mode": "basic"}}
        ]);
        rules.push(rule("byName", column, cell));
    }
    if let Some(to) = source["link"].as_str() {
        let (_, column) = pairs(source, "columns").next().expect("the first column has the link");
        let url = match to {
            "runbook" => "${runbook}".to_owned(),
            board => format!(
                "/d/weir-{board}?${{__url_time_range}}&var-datasource=${{datasource}}&var-{board}=${{__value.text}}"
            ),
        };
        let link = json!([{"id": "links", "value": [{"title": format!("to the {to}"), "url": url}]}]);
        rules.push(rule("byName", column.as_str().expect("a column has a name"), link));
    }
    rules
}

/// One table of several queries; its columns in order, with names for people.
fn transformations(source: &Value) -> Value {
    let mut organize = json!({"excludeByName": {}, "indexByName": {}, "renameByName": {}});
    for hidden in list(source, "hide") {
        organize["excludeByName"][hidden.as_str().expect("a column")] = json!(true);
    }
    for (at, (column, name)) in pairs(source, "columns").enumerate() {
        organize["indexByName"][column] = json!(at);
        organize["renameByName"][column] = name.clone();
    }
    json!([{"id": "merge", "options": {}}, {"id": "organize", "options": organize}])
}
