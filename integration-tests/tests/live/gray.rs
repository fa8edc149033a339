//! Gray releases: who gets which version, what an edit moves, and what never moves anybody.
//!
//! Whose a user is is computed here from what the documents publish, so that a test fails when the
//! rule changes, even if all of Weir changes with it.

mod commands;
mod edits;
mod mirror;
mod ramp;
mod rollout;
mod same;
mod sick;
mod upgraded;
mod who;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;

use weir_integration_tests::client::RawClient;
use weir_integration_tests::place;
use weir_integration_tests::replica::Replica;
use weir_integration_tests::weir::Weir;
use xxhash_rust::xxh64::xxh64;

/// The bucket of an id: XXH64 of salt, a zero byte and id, seed 0, modulo 10 000.
fn bucket(salt: &str, id: &str) -> u16 {
    let hashed = [salt.as_bytes(), &[0], id.as_bytes()].concat();
    (xxh64(&hashed, 0) % 10_000) as u16
}

/// Who owns what: version, first bucket, how many from there on.
type Owned<'a> = &'a [(&'a str, u16, u16)];

/// Whose a bucket is: `v1` owns what nobody else does.
fn owner<'a>(owned: &[(&'a str, u16, u16)], bucket: u16) -> &'a str {
    let its = |from: u16, share: u16| (bucket + 10_000 - from) % 10_000 < share;
    owned.iter().find(|(_, from, share)| its(*from, *share)).map_or("v1", |(version, ..)| version)
}

/// `user-0` and so on.
fn users(count: usize) -> impl Iterator<Item = String> + Clone {
    (0..count).map(|nth| format!("user-{nth}"))
}

/// Who would get which version by the published rule.
fn by_rule(salt: &str, owned: Owned<'_>, users: impl Iterator<Item = String>) -> BTreeMap<String, String> {
    users.map(|user| (user.clone(), owner(owned, bucket(salt, &user)).to_owned())).collect()
}

/// A request with these fields, each with its line end.
fn request(target: &str, fields: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: shop.example\r\n{fields}\r\n")
}

/// A request of that user.
fn of_user(user: &str) -> String {
    request("/orders", &format!("X-User-Id: {user}\r\n"))
}

/// A shop with three versions that answer their names, and one release of them.
struct Shop {
    web: SocketAddr,
    /// v1, v2, v3.
    versions: Vec<Replica>,
    /// Lines of the top level.
    top: &'static str,
    /// Keys of the listener, a line each.
    listener: &'static str,
    /// Keys of each cluster, a line each.
    cluster: &'static str,
}

impl Shop {
    fn new() -> Self {
        let versions = ["v1", "v2", "v3"].map(Replica::new).into();
        Self { web: place::address(), versions, top: "", listener: "", cluster: "" }
    }

    /// The config with this release: its keys after its name, `orders`.
    fn config(&self, release: &str) -> String {
        let indented = |text: &str| -> String { text.trim().lines().map(|line| format!("    {line}\n")).collect() };
        let cluster = |replica: &Replica| {
            let Self { cluster, .. } = self;
            format!("  - name: {}\n    endpoints: [\"{}\"]\n{}", replica.name(), replica.address(), indented(cluster))
        };
        format!(
            "{}\nlisteners:\n  - name: web\n    bind: {}\n    protocol: http\n    release: orders\n{}\
             releases:\n  - name: orders\n{}clusters:\n{}",
            self.top,
            self.web,
            indented(self.listener),
            indented(release),
            self.versions.iter().map(cluster).collect::<String>()
        )
    }

    fn start(self, release: &str) -> Live {
        self.start_with(release, &[], |_| {})
    }

    /// The same with further arguments, and with files that `prepare` puts beside the config.
    fn start_with(self, release: &str, arguments: &[&str], prepare: impl FnOnce(&Path)) -> Live {
        let directory = tempfile::tempdir().unwrap();
        prepare(directory.path());
        let config = directory.path().join("weir.yaml");
        let mut weir = Weir::spawn_with(directory, &config, &self.config(release), arguments);
        weir.wait_ready();
        Live { weir, shop: self }
    }
}

/// A shop that is open.
struct Live {
    weir: Weir,
    shop: Shop,
}

impl Live {
    fn connect(&self) -> RawClient {
        RawClient::connect(self.shop.web)
    }

    /// Which version answers a request with these fields.
    fn version(&self, fields: &str) -> String {
        self.version_of(&request("/orders", fields))
    }

    fn version_of(&self, request: &str) -> String {
        let answer = RawClient::once(self.shop.web, request).unwrap_or_else(|broken| panic!("{broken}: {request:?}"));
        assert_eq!(answer.status, 200, "{:?}: {request:?}", answer.reason());
        answer.text()
    }

    /// Which version each of these gets, one request after the other on one connection.
    fn versions(&self, users: impl Iterator<Item = String>) -> BTreeMap<String, String> {
        let mut client = self.connect();
        users.map(|user| (user.clone(), ask(&mut client, &user))).collect()
    }

    /// Changes the release and waits until it is in force.
    fn edit(&self, release: &str) {
        let before = self.weir.events("config_applied").len();
        self.weir.replace(&self.shop.config(release));
        let _ = self.weir.wait_event("config_applied", before + 1);
    }

    /// Changes the release to something that is refused.
    fn edit_in_vain(&self, release: &str) {
        let before = self.weir.events("config_rejected").len();
        self.weir.replace(&self.shop.config(release));
        let _ = self.weir.wait_event("config_rejected", before + 1);
    }

    /// Runs a command of `weir` that must succeed; what it said.
    fn says(&self, arguments: &[&str]) -> String {
        let output = self.weir.command(arguments);
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "weir {arguments:?}: {said}");
        said
    }
}

/// Which version this user gets on a connection that stays open.
fn ask(client: &mut RawClient, user: &str) -> String {
    client.send(of_user(user));
    let answer = client.response().unwrap_or_else(|broken| panic!("{broken}: {user}"));
    assert_eq!(answer.status, 200, "{:?}: {user}", answer.reason());
    answer.text()
}

/// A release by the header `x-user-id`, whose canary v2 has this weight, with further keys, a line
/// each.
fn at(weight: &str, further: &str) -> String {
    format!("key: {{header: x-user-id}}\nstable: v1\ncanaries: [{{cluster: v2, weight: {weight}}}]\n{further}")
}
