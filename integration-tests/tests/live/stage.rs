//! A stage for trouble: replicas with moods, in zones or not, and Weir before them.

use std::fmt::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use serde_json::Value;
use weir_integration_tests::pace::Report;
use weir_integration_tests::replica::{Replica, Totals};
use weir_integration_tests::weir::Weir;
use weir_integration_tests::{place, wait};

/// What is to be played; [`Stage::start`] begins.
#[derive(Default)]
pub(crate) struct Stage {
    replicas: Vec<Replica>,
    /// Zone and address of each endpoint, in the order of the configuration.
    endpoints: Vec<(Option<&'static str>, String)>,
    /// Of each endpoint, if any has another than 0.
    priorities: Vec<u8>,
    totals: Totals,
    top: String,
    listener: String,
    route: String,
    cluster: String,
}

impl Stage {
    /// So many replicas, `r1` and so on, in no zone.
    pub(crate) fn of(count: usize) -> Self {
        (0..count).fold(Self::default(), |stage, _| stage.replica(None, place_of_its_own()))
    }

    /// So many replicas in each of these zones: `az-a-1` and so on.
    pub(crate) fn zones(zones: &[(&'static str, usize)]) -> Self {
        let all = zones.iter().flat_map(|(zone, count)| std::iter::repeat_n(*zone, *count));
        all.fold(Self::default(), |stage, zone| stage.replica(Some(zone), place_of_its_own()))
    }

    /// One more replica, on this listener.
    pub(crate) fn replica(mut self, zone: Option<&'static str>, listener: TcpListener) -> Self {
        let before = self.endpoints.iter().filter(|(its, _)| *its == zone).count() + 1;
        let name = zone.map_or_else(|| format!("r{before}"), |zone| format!("{zone}-{before}"));
        let replica = Replica::on(&name, listener, &self.totals);
        self.endpoints.push((zone, replica.address().to_string()));
        self.replicas.push(replica);
        self
    }

    /// One more endpoint, which is no replica of ours.
    pub(crate) fn endpoint(mut self, address: impl ToString) -> Self {
        self.endpoints.push((None, address.to_string()));
        self
    }

    /// The priority of each endpoint.
    pub(crate) fn priorities(mut self, priorities: &[u8]) -> Self {
        self.priorities = priorities.to_vec();
        self
    }

    /// Lines of the top level.
    pub(crate) fn top(mut self, lines: &str) -> Self {
        let _ = writeln!(self.top, "{lines}");
        self
    }

    /// A key of the listener, in flow style.
    pub(crate) fn listener(mut self, key: &str) -> Self {
        let _ = writeln!(self.listener, "    {key}");
        self
    }

    /// A key of the only route, in flow style.
    pub(crate) fn route(mut self, key: &str) -> Self {
        let _ = writeln!(self.route, "        {key}");
        self
    }

    /// A key of the cluster, in flow style.
    pub(crate) fn cluster(mut self, key: &str) -> Self {
        let _ = writeln!(self.cluster, "    {key}");
        self
    }

    fn yaml(&self, web: SocketAddr) -> String {
        let mut endpoints = String::new();
        let mut last = None;
        for (nth, (zone, address)) in self.endpoints.iter().enumerate() {
            match zone {
                None if !self.priorities.is_empty() => {
                    let priority = self.priorities[nth];
                    let _ = writeln!(endpoints, "      - {{address: \"{address}\", priority: {priority}}}");
                }
                Some(zone) if last != Some(zone) => {
                    let _ = write!(endpoints, "      {zone}:\n        - \"{address}\"\n");
                }
                Some(_) => _ = writeln!(endpoints, "        - \"{address}\""),
                None => _ = writeln!(endpoints, "      - \"{address}\""),
            }
            last = zone.as_ref();
        }
        let Self { top, listener, route, cluster, .. } = self;
        format!(
            "{top}listeners:\n  - name: web\n    bind: {web}\n    protocol: http\n{listener}    routes:\n      \
             - match: {{}}\n        cluster: shop\n{route}clusters:\n  - name: shop\n    endpoints:\n{endpoints}{cluster}"
        )
    }

    /// Begins.
    pub(crate) fn start(self) -> Live {
        let web = place::address();
        let yaml = self.yaml(web);
        let weir = Weir::start(&yaml);
        let addresses = self.endpoints.into_iter().map(|(_, address)| address).collect();
        Live { weir, web, yaml, replicas: self.replicas, addresses, totals: self.totals }
    }
}

fn place_of_its_own() -> TcpListener {
    TcpListener::bind(place::address()).unwrap()
}

/// What is being played.
pub(crate) struct Live {
    pub(crate) weir: Weir,
    pub(crate) web: SocketAddr,
    pub(crate) yaml: String,
    pub(crate) replicas: Vec<Replica>,
    /// Of all endpoints, in the order of the configuration: first the replicas.
    pub(crate) addresses: Vec<String>,
    pub(crate) totals: Totals,
}

impl Live {
    /// What `GET /api/v1/status` says of the cluster.
    pub(crate) fn cluster(&self) -> Value {
        self.weir.json("/api/v1/status")["clusters"][0].clone()
    }

    /// The word for the state of endpoint `nth`.
    pub(crate) fn word(&self, nth: usize) -> String {
        let cluster = self.cluster();
        let endpoints = cluster["endpoints"].as_array().unwrap();
        let its = endpoints.iter().find(|endpoint| endpoint["address"] == self.addresses[nth]);
        its.unwrap_or_else(|| panic!("{} in {cluster}", self.addresses[nth]))["status"].as_str().unwrap().to_owned()
    }

    /// Waits until endpoint `nth` is in this state; how long that took from `since`.
    pub(crate) fn becomes(&self, nth: usize, word: &str, since: Instant) -> Duration {
        wait::until(&format!("{} {word}", self.addresses[nth]), || {
            // The journal, for a state may be over before it is looked at.
            self.changes(nth).into_iter().any(|to| to == word).then(|| since.elapsed())
        })
    }

    /// Waits until endpoint `nth` is in this state now.
    pub(crate) fn is_now(&self, nth: usize, word: &str) {
        wait::until_true(&format!("{} to be {word} now", self.addresses[nth]), || self.word(nth) == word);
    }

    /// The states endpoint `nth` went to, oldest first.
    pub(crate) fn changes(&self, nth: usize) -> Vec<String> {
        let events = self.weir.events("endpoint_transition");
        let its = events.iter().filter(|event| event["fields"]["endpoint"] == self.addresses[nth]);
        its.map(|event| event["fields"]["to"].as_str().unwrap_or_default().to_owned()).collect()
    }

    /// All that the journal says, a line an event.
    pub(crate) fn journal(&self) -> String {
        let answer = self.weir.json("/api/v1/events?since=0&limit=1000");
        let events = answer["events"].as_array().unwrap();
        let line = |event: &Value| {
            let word = |key: &str| event[key].as_str().unwrap_or_default().to_owned();
            format!("{} {} {}\n", word("time"), word("kind"), word("message"))
        };
        events.iter().map(line).collect()
    }

    /// Panics if another endpoint than these was ever taken out.
    pub(crate) fn nobody_ejected_but(&self, these: &[usize]) {
        for nth in (0..self.addresses.len()).filter(|nth| !these.contains(nth)) {
            let changes = self.changes(nth);
            let out = changes.iter().any(|to| to == "ejected" || to == "unhealthy");
            assert!(!out, "{} was taken out: {changes:?}\n{}", self.addresses[nth], self.journal());
        }
    }

    /// Runs a command of `weir` that must succeed; what it said.
    pub(crate) fn says(&self, arguments: &[&str]) -> String {
        let output = self.weir.command(arguments);
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "weir {arguments:?}: {said}");
        said
    }

    /// The requests all replicas executed, as ids.
    pub(crate) fn executed(&self) -> Vec<String> {
        self.replicas.iter().flat_map(Replica::executed).map(|executed| executed.id).collect()
    }

    /// Requests whose head any replica got.
    pub(crate) fn begun(&self) -> usize {
        self.replicas.iter().map(Replica::begun).sum()
    }
}

/// Prints what a client saw: for whoever runs tests with `--nocapture`, and reads them when they fail.
pub(crate) fn figure(scenario: &str, report: &Report, ejected: Option<Duration>) {
    let ejected = ejected.map_or_else(|| "-".to_owned(), |time| format!("{time:.2?}"));
    println!(
        "figure | {scenario} | {} | {} {:?} | {ejected} | {:.1?} |",
        report.total(),
        report.failed().len(),
        report.kinds(),
        report.quantile(0.99)
    );
}
