//! `weir explain`: the way of one request.

mod render;

use std::net::IpAddr;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::SystemTime;

use clap::Args;
use serde_json::Value;
use weir_config::Config;
use weir_config::model::ZoneName;
use weir_core::control::{Control, Event};
use weir_core::dice::Dice;
use weir_core::time::Moment;

use super::client::{Client, ClientError, Parameters};
use super::paint::{Paint, harmless_but_colours};
use super::{Format, Instance, diff, emit, failed, usage};
use crate::control::explain::{self, Ask, Explained, Witness};

/// `weir explain`.
#[derive(Debug, Args)]
pub(super) struct Explain {
    /// Of a file; of the running instance; or the name of a request that was served
    #[arg(value_name = "CONFIG METHOD URL | METHOD URL | ID", required = true, num_args = 1..=3)]
    what: Vec<String>,
    /// A header field of the request, as in 'x-user-id: 42'; may be repeated
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE", value_parser = header)]
    headers: Vec<(String, String)>,
    /// A user's id, put where the release looks first
    #[arg(long, value_name = "ID")]
    user: Option<String>,
    /// Who connects [default: 127.0.0.1]
    #[arg(long, value_name = "IP")]
    client: Option<IpAddr>,
    /// The listener that gets it; without, the one on the URL's port, or the only one
    #[arg(long, value_name = "NAME")]
    listener: Option<String>,
    /// As if a canary had this weight, as in orders-v2=20; may be repeated
    #[arg(long = "at-weight", value_name = "CLUSTER=PERCENT")]
    at_weights: Vec<String>,
    /// Of a file: as if the instance stood in this zone
    #[arg(long, value_name = "NAME")]
    zone: Option<String>,
    /// The same chance as another explanation, which tells its seed
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,
    #[command(flatten)]
    instance: Instance,
    /// Form of the explanation
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once(':').ok_or("write it as in 'x-user-id: 42'")?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}

impl Explain {
    pub(super) fn run(self) -> ExitCode {
        match &*self.what {
            [config, method, url] => self.of_file(config, method, url),
            [id] if is_id(id) => self.of_instance(&format!("/api/v1/decisions/{id}"), &Parameters::none()),
            [method, url] if is_method(method) => match self.parameters(method, url) {
                Ok(parameters) => self.of_instance("/api/v1/explain", &parameters),
                Err(wrong) => usage(&wrong),
            },
            _ => usage(
                "what? CONFIG METHOD URL tells of a file, METHOD URL of the running instance, and the ID in an \
                 answer's X-Weir-Decision of a request that was served",
            ),
        }
    }

    fn of_file(&self, config: &str, method: &str, url: &str) -> ExitCode {
        let mut config = match diff::read(Path::new(config)) {
            Ok(config) => config,
            Err(wrong) => {
                eprint!("{wrong}");
                return ExitCode::FAILURE;
            }
        };
        if let Some(zone) = &self.zone {
            match ZoneName::new(zone) {
                Ok(zone) => config.zone = Some(zone),
                Err(_) => return usage(&format!("{zone:?} is no name of a zone")),
            }
        }
        let at_weights = self.at_weights.iter().map(|text| explain::at_weight(text)).collect();
        let ask = Ask {
            method: method.to_owned(),
            url: url.to_owned(),
            headers: self.headers.clone(),
            client: self.client,
            user: self.user.clone(),
            listener: self.listener.clone(),
            at_weights: match at_weights {
                Ok(at_weights) => at_weights,
                Err(wrong) => return usage(&wrong.to_string()),
            },
            seed: self.seed.unwrap_or_else(chance),
        };
        match of_config(config, &ask) {
            Some(Ok(explained)) => self.print(serde_json::to_value(&explained).unwrap_or_default()),
            Some(Err(wrong)) => usage(&wrong.to_string()),
            None => failed("the configuration gave no snapshot"),
        }
    }

    fn parameters(&self, method: &str, url: &str) -> Result<Parameters, String> {
        if self.zone.is_some() {
            return Err("--zone is for files: a running instance stands where it stands".into());
        }
        let mut parameters = Parameters::none();
        parameters.add("method", method);
        parameters.add("url", url);
        for (name, value) in &self.headers {
            parameters.add("header", format!("{name}:{value}"));
        }
        parameters.add_if("client", self.client.map(|client| client.to_string()));
        parameters.add_if("user", self.user.as_ref());
        parameters.add_if("listener", self.listener.as_ref());
        self.at_weights.iter().for_each(|weight| parameters.add("at_weight", weight));
        parameters.add_if("seed", self.seed.map(|seed| seed.to_string()));
        Ok(parameters)
    }

    fn of_instance(&self, path: &str, parameters: &Parameters) -> ExitCode {
        let answer = Client::new(&self.instance).and_then(|client| client.ask_about(path, parameters));
        match answer {
            Ok(value) => self.print(value),
            Err(error) => error.exit(),
        }
    }

    fn print(&self, value: Value) -> ExitCode {
        match self.format {
            Format::Json => emit(&format!("{value:#}\n")),
            Format::Text => match serde_json::from_value::<Explained>(value) {
                Ok(explained) => emit(&harmless_but_colours(&render::text(&explained, Paint::for_stdout()))),
                Err(error) => ClientError::answer(&error).exit(),
            },
        }
    }
}

/// The way of a request through what a file alone says.
fn of_config(config: Config, ask: &Ask) -> Option<Result<Explained, explain::WrongAsk>> {
    let mut control = Control::new(1, Dice::new(ask.seed));
    control.step(Moment::ZERO, Event::Configured(Arc::new(config)), &mut Vec::new());
    let snapshot = control.publish(Moment::ZERO)?;
    let witness = Witness { control: &control, now: Moment::ZERO, wall: SystemTime::UNIX_EPOCH };
    Some(explain::explain(&snapshot, ask, witness).map(|mut explained| {
        // How long something has been so is for an instance to say.
        for endpoint in explained.cluster.iter_mut().flat_map(|cluster| &mut cluster.endpoints) {
            (endpoint.since, endpoint.since_seconds) = (None, None);
        }
        explained.notes.push("this is what the file alone says: nothing is probed, and no name is resolved".into());
        explained
    }))
}

fn is_id(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn is_method(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphabetic() || byte == b'-')
}

/// A seed that is short enough to be typed.
fn chance() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(std::process::id()) >> 32
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = "\
listeners:
  - name: web
    bind: '127.0.0.1:80'
    routes:
      - {name: orders, match: {host: shop.example, path_prefix: /orders}, cluster: orders}
      - {match: {method: POST}, cluster: sick}
  - {name: other, bind: '127.0.0.1:81', cluster: orders}
clusters:
  - {name: orders, balance: maglev, hash: {key: {header: x-user}}, endpoints: ['10.0.0.1:80', '10.0.0.2:80']}
  - {name: sick, endpoints: [{address: '10.0.0.3:80', weight: 0}, '10.0.0.4:80'], health_checks: [{tcp_health_check: {}}]}
";

    fn ask(method: &str, url: &str) -> Ask {
        Ask {
            method: method.into(),
            url: url.into(),
            headers: Vec::new(),
            client: None,
            user: None,
            listener: None,
            at_weights: Vec::new(),
            seed: 1,
        }
    }

    fn told(ask: &Ask) -> Result<Explained, String> {
        let config = weir_config::parse_str(CONFIG).unwrap().config;
        of_config(config, ask).unwrap().map_err(|wrong| wrong.to_string())
    }

    #[test]
    fn the_listener_is_found_by_port() {
        assert_eq!(told(&ask("GET", "http://shop.example/orders")).unwrap().listener, "web");
        assert_eq!(told(&ask("GET", "http://shop.example:81/orders")).unwrap().listener, "other");
        let named = Ask { listener: Some("other".into()), ..ask("GET", "http://shop.example/") };
        assert_eq!(told(&named).unwrap().listener, "other");
        let wrong = told(&ask("GET", "/orders")).unwrap_err();
        assert!(
            wrong.starts_with("which listener gets it? There are: web (127.0.0.1:80); other (127.0.0.1:81)"),
            "{wrong}"
        );
        let wrong = told(&Ask { listener: Some("wep".into()), ..ask("GET", "/") }).unwrap_err();
        assert_eq!(wrong, "there is no http listener \"wep\"; did you mean web?");
    }

    #[test]
    fn mistakes_are_named() {
        for (asked, start) in [
            (ask("GE T", "http://shop.example/"), "\"GE T\" is no method"),
            (ask("GET", "ftp://shop.example/"), "\"ftp://shop.example/\" is neither http nor https"),
            (ask("GET", "http://shop.example/ x"), "\"http://shop.example/ x\" is no URL"),
            (
                Ask { headers: vec![("a b".into(), "c".into())], ..ask("GET", "http://shop.example/") },
                "\"a b: c\" is no header field",
            ),
            (
                Ask { user: Some("42".into()), ..ask("GET", "http://shop.example/orders") },
                "the route that takes this request leads to no release",
            ),
            (
                Ask { at_weights: vec![explain::at_weight("orders=5").unwrap()], ..ask("GET", "http://shop.example/") },
                "no release has a canary orders",
            ),
        ] {
            let wrong = told(&asked).unwrap_err();
            assert!(wrong.starts_with(start), "{wrong}");
        }
    }

    #[test]
    fn a_way_reads_as_sections() {
        let with_key =
            Ask { headers: vec![("X-User".into(), "42".into())], ..ask("GET", "http://shop.example/orders?x=1") };
        let text = render::text(&told(&with_key).unwrap(), Paint::plain());
        let hash = format!("{:016x}", weir_core::hash::of(b"42"));
        assert!(text.contains(&hash), "{text}");
        for line in [
            "GET shop.example/orders?x=1  from 127.0.0.1 · generation 1 · seed 1",
            "listener web",
            "  yes  orders  line 5  shop.example /orders/*  takes it -> cluster orders",
            "cluster orders",
        ] {
            assert!(text.lines().any(|its| its == line), "{line}\n\n{text}");
        }
        let text = render::text(&told(&ask("POST", "http://shop.example/")).unwrap(), Paint::plain());
        assert!(text.contains("  no   orders  line 5  shop.example /orders/*  the path does not match\n"), "{text}");
        assert!(text.contains("its weight is 0"), "{text}");
        assert!(text.contains("1 of 2 endpoints have not been judged yet") || text.contains("2 of 2"), "{text}");
        let text = render::text(&told(&ask("GET", "http://other.example/")).unwrap(), Paint::plain());
        assert!(
            text.contains("answered by us  404 no_route: No route of this listener matches the request."),
            "{text}"
        );
    }
}
