//! The status page, looked at with a real Chromium: `lb/page/test/page.mjs` looks and clicks, and asks
//! for trouble by lines; here is the Weir it looks at, and the trouble.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use weir_integration_tests::pace::{Pace, numbered};
use weir_integration_tests::place;
use weir_integration_tests::replica::{Replica, Totals};
use weir_integration_tests::weir::Weir;

const ZONES: [&str; 3] = ["az-a", "az-b", "az-c"];

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../lb/page")
}

/// Runs npm there; what it said, if it failed.
fn npm(arguments: &[&str]) -> Result<(), String> {
    let output = Command::new("npm").args(arguments).current_dir(directory()).stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("cannot start npm ({error}); `make test` installs it"))?;
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    output.status.success().then_some(()).ok_or(said)
}

/// What the scripts stand on, as the lock file has it; fetched once.
fn install() {
    let lock = directory().join("package-lock.json");
    let had = directory().join("node_modules/.package-lock.json");
    let modified = |path: &Path| path.metadata().and_then(|its| its.modified()).ok();
    if modified(&had).is_none_or(|had| Some(had) < modified(&lock)) {
        npm(&["ci", "--no-audit", "--no-fund", "--prefer-offline"]).unwrap_or_else(|said| panic!("npm ci: {said}"));
    }
}

/// Two versions in three zones: two replicas of the first in each, one of the second.
struct Shop {
    web: SocketAddr,
    replicas: Vec<(&'static str, Replica)>,
}

impl Shop {
    fn open() -> Self {
        let totals = Totals::default();
        let one = |(nth, zone): (usize, &&'static str)| {
            let listener = TcpListener::bind(place::address()).unwrap();
            (*zone, Replica::on(&format!("{zone}-{nth}"), listener, &totals))
        };
        let replicas = [ZONES, ZONES, ZONES].concat().iter().enumerate().map(one).collect();
        Self { web: place::address(), replicas }
    }

    fn yaml(&self) -> String {
        let mut text = format!(
            "listeners:\n  - name: web\n    bind: {}\n    routes:\n      - match: {{}}\n        release: orders\n\
             releases:\n  - name: orders\n    key: {{header: x-id}}\n    stable: shop-v1\n    canaries:\n      \
             - cluster: shop-v2\n        weight: 10\nclusters:\n",
            self.web
        );
        for (cluster, range) in [("shop-v1", 0..6), ("shop-v2", 6..9)] {
            let _ =
                writeln!(text, "  - name: {cluster}\n    zone_aware: off\n    outlier_detection: off\n    endpoints:");
            for zone in ZONES {
                let _ = writeln!(text, "      {zone}:");
                for (_, replica) in self.replicas[range.clone()].iter().filter(|(its, _)| *its == zone) {
                    let _ = writeln!(text, "        - \"{}\"", replica.address());
                }
            }
            text += "    health_checks: [{interval: 200ms, timeout: 500ms, http_health_check: {path: /healthz}}]\n";
        }
        text
    }

    fn of(&mut self, zone: &str) -> impl Iterator<Item = &mut Replica> {
        self.replicas.iter_mut().filter(move |(its, _)| *its == zone).map(|(_, replica)| replica)
    }
}

#[test]
fn a_browser_shows_what_is_and_orders_what_is_confirmed() {
    install();
    let mut shop = Shop::open();
    let yaml = shop.yaml();
    let mut weir = Weir::start(&yaml);
    let _load = Pace::start(shop.web, 60, |nth| numbered("GET", nth, "", b""));
    let mut looker = Command::new("node")
        .args(["test/page.mjs", &format!("http://{}", weir.admin())])
        .current_dir(directory())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("cannot start node ({error}); `make test` installs it"));
    let mut answer = looker.stdin.take().unwrap();
    let mut told = String::new();
    for line in BufReader::new(looker.stdout.take().unwrap()).lines().map_while(Result::ok) {
        println!("{line}");
        let _ = writeln!(told, "{line}");
        match line.strip_prefix("> ") {
            Some("kill az-b") => shop.of("az-b").for_each(Replica::kill),
            Some("revive az-b") => shop.of("az-b").for_each(Replica::revive),
            Some("break the config") => weir.replace(&yaml.replace("stable: shop-v1", "stable: shop-v9")),
            Some("mend the config") => weir.replace(&yaml),
            Some("restart") => weir.restart(),
            Some(order) => panic!("what is {order:?}?"),
            None => continue,
        }
        // Fails only if it is gone; then its output ends.
        let _ = writeln!(answer, "done");
    }
    let output = looker.wait_with_output().unwrap();
    assert!(output.status.success(), "{told}{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn the_page_that_is_committed_is_what_its_sources_are() {
    install();
    let built = tempfile::tempdir().unwrap();
    let out = built.path().display().to_string();
    if let Err(said) = npm(&["run", "build", "--", "--outDir", &out, "--emptyOutDir"]) {
        panic!("npm run build: {said}");
    }
    for name in ["index.html", "app.js", "app.css", "icon.svg"] {
        let read = |folder: &Path| std::fs::read_to_string(folder.join(name)).unwrap();
        let same = read(built.path()) == read(&directory().join("dist"));
        assert!(same, "lb/page/dist/{name} is not what `npm run build` makes of lb/page/src: run it, and commit");
    }
}
