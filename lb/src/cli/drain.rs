//! `weir drain` and `weir undrain`: endpoints taken out of service by hand.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde::Deserialize;
use serde_json::Value;
use weir_config::words;

use super::client::{Client, ClientError, Parameters};
use super::paint::{Paint, harmless, harmless_but_colours};
use super::table::{Cell, Table, age};
use super::{Format, Instance, emit, usage};

/// `weir drain`.
#[derive(Debug, Args)]
pub(super) struct Drain {
    #[command(flatten)]
    what: What,
    /// For so long, as in 30s or 10m; without, until `weir undrain`
    #[arg(long = "for", value_name = "DURATION", value_parser = words::duration)]
    lasts: Option<Duration>,
    /// Even if a cluster is left without an endpoint that can be used
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    instance: Instance,
    /// Form of the answer
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// `weir undrain`.
#[derive(Debug, Args)]
pub(super) struct Undrain {
    #[command(flatten)]
    what: What,
    #[command(flatten)]
    instance: Instance,
    /// Form of the answer
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

#[derive(Debug, Args)]
struct What {
    /// An endpoint as `weir status` shows it, CLUSTER/ADDRESS; or the word `zone`
    #[arg(value_name = "ENDPOINT|zone")]
    target: Option<String>,
    /// After `zone`: which
    zone: Option<String>,
    /// Of a zone, the endpoints of this cluster only
    #[arg(long, value_name = "NAME")]
    cluster: Option<String>,
}

/// An answer of `/api/v1/drains`.
#[derive(Debug, Deserialize)]
struct Drains {
    drains: Vec<Drained>,
}

#[derive(Debug, Deserialize)]
struct Drained {
    words: String,
    by: String,
    since: String,
    left_seconds: Option<f64>,
    endpoints: usize,
}

impl Drain {
    pub(super) fn run(self) -> ExitCode {
        if self.what.target.is_none() {
            return match self.list() {
                Ok(code) => code,
                Err(error) => error.exit(),
            };
        }
        let mut parameters = match self.what.parameters() {
            Ok(parameters) => parameters,
            Err(wrong) => return usage(wrong),
        };
        parameters.add_if("for", self.lasts.map(words::shown));
        parameters.add_if("force", self.force.then_some("true"));
        order("/api/v1/drain", parameters, &self.instance, self.format)
    }

    fn list(&self) -> Result<ExitCode, ClientError> {
        let client = Client::new(&self.instance)?;
        Ok(match self.format {
            Format::Json => emit(&format!("{:#}\n", client.get::<Value>("/api/v1/drains")?)),
            Format::Text => emit(&harmless_but_colours(&table(&client.get("/api/v1/drains")?, Paint::for_stdout()))),
        })
    }
}

impl Undrain {
    pub(super) fn run(self) -> ExitCode {
        match self.what.parameters() {
            Ok(parameters) => order("/api/v1/undrain", parameters, &self.instance, self.format),
            Err(wrong) => usage(wrong),
        }
    }
}

impl What {
    fn parameters(&self) -> Result<Parameters, &'static str> {
        let mut parameters = Parameters::by_me();
        match (self.target.as_deref(), &self.zone, &self.cluster) {
            (None, ..) => return Err("what? Name an endpoint, or a zone as in: zone az-b"),
            (Some("zone"), None, _) => return Err("which zone? Name it, as in: zone az-b"),
            (Some("zone"), Some(zone), cluster) => {
                parameters.add("zone", zone);
                parameters.add_if("cluster", cluster.as_ref());
            }
            (Some(_), Some(_), _) => return Err("one endpoint at a time; a whole zone is named as in: zone az-b"),
            (Some(_), None, Some(_)) => return Err("--cluster is for zones; an endpoint is named with its cluster"),
            (Some(endpoint), None, None) => parameters.add("endpoint", endpoint),
        }
        Ok(parameters)
    }
}

fn order(path: &str, parameters: Parameters, instance: &Instance, format: Format) -> ExitCode {
    let answer = Client::new(instance).and_then(|client| client.order(path, &parameters));
    match (answer, format) {
        (Ok(answer), Format::Json) => emit(&format!("{answer:#}\n")),
        (Ok(answer), Format::Text) => emit(&format!("{}\n", harmless(answer["text"].as_str().unwrap_or_default()))),
        (Err(error), _) => error.exit(),
    }
}

fn table(drains: &Drains, paint: Paint) -> String {
    if drains.drains.is_empty() {
        return "nothing is drained\n".into();
    }
    let mut table = Table::new(&["DRAINED", ">ENDPOINTS", "BY", "SINCE", ">LEFT"]);
    for drain in &drains.drains {
        table.row([
            Cell::plain(&drain.words),
            Cell::plain(drain.endpoints),
            Cell::plain(&drain.by),
            Cell::plain(&drain.since),
            Cell::plain(drain.left_seconds.map_or_else(|| "-".into(), |left| age(left.ceil() as u64))),
        ]);
    }
    table.render("", paint)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(target: &[&str], cluster: Option<&str>) -> Result<String, &'static str> {
        let mut words = target.iter().map(|&word| word.to_owned());
        let what = What { target: words.next(), zone: words.next(), cluster: cluster.map(Into::into) };
        what.parameters().map(|parameters| parameters.without_me())
    }

    #[test]
    fn endpoints_and_zones_are_told_apart() {
        for (target, cluster, expected) in [
            (&["shop/10.0.0.1:80"][..], None, Ok("endpoint=shop%2F10.0.0.1%3A80")),
            (&["zone", "az-b"], None, Ok("zone=az-b")),
            (&["zone", "az-b"], Some("shop"), Ok("zone=az-b&cluster=shop")),
            (&[], None, Err("what?")),
            (&["zone"], None, Err("which zone?")),
            (&["shop/10.0.0.1:80"], Some("shop"), Err("--cluster is for zones")),
            (&["shop/10.0.0.1:80", "shop/10.0.0.2:80"], None, Err("one endpoint at a time")),
        ] {
            match (asked(target, cluster), expected) {
                (Ok(said), Ok(expected)) => assert_eq!(said, expected),
                (Err(said), Err(expected)) => assert!(said.starts_with(expected), "{said}"),
                (said, _) => panic!("{target:?}: {said:?}"),
            }
        }
    }

    #[test]
    fn drains_read_as_a_table() {
        let drains = serde_json::from_value(serde_json::json!({"drains": [
            {"words": "zone az-b", "by": "ada", "since": "2026-01-02T03:04:05.678Z", "left_seconds": 599.2, "endpoints": 3},
            {"words": "endpoint shop/10.0.0.1:80", "by": "bob", "since": "noon", "left_seconds": null, "endpoints": 1},
        ]}))
        .unwrap();
        let expected = "\
DRAINED                    ENDPOINTS  BY   SINCE                       LEFT
zone az-b                          3  ada  2026-01-02T03:04:05.678Z  10m00s
endpoint shop/10.0.0.1:80          1  bob  noon                           -
";
        assert_eq!(table(&drains, Paint::plain()), expected);
    }
}
