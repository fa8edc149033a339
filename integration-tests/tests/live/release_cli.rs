//! The release owner's commands against a running instance: the file is edited in place, obeyed at
//! once, and nothing is written that would not be taken.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Output;

use serde_json::Value;
use weir_integration_tests::backend::Backend;
use weir_integration_tests::client::RawClient;
use weir_integration_tests::place;
use weir_integration_tests::weir::Weir;

/// One route by a release, before versions that say their name.
struct Shop {
    weir: Weir,
    web: SocketAddr,
    _backends: [Backend; 3],
}

/// A way of writing a file that no program would keep by accident.
fn config(web: SocketAddr, backends: &[Backend; 3]) -> String {
    let [v1, v2, v3] = backends.each_ref().map(Backend::address);
    format!(
        "# the shop\n\
         listeners: [{{name: web, bind: {web}, routes: [{{match: {{}}, release: orders}}]}}]\n\
         releases:\n\
         \x20 - name:   orders     # by user\n\
         \x20   key: {{header: x-user-id}}\n\
         \x20   stable: v1\n\
         \x20   canaries:\n\
         \x20     - cluster: v2\n\
         \x20       weight: 5      # five of a hundred\n\
         \x20       from:   0\n\n\
         \x20     - {{cluster: 'v3', from: 5000}}\n\
         clusters:\n\
         - {{name: v1, endpoints: ['{v1}']}}\n\
         - {{name: v2, endpoints: ['{v2}']}}\n\
         - {{name: v3, endpoints: ['{v3}']}}\n"
    )
}

impl Shop {
    fn open() -> Self {
        let backends = [Backend::text("v1"), Backend::text("v2"), Backend::text("v3")];
        let web = place::address();
        let weir = Weir::start(&config(web, &backends));
        Self { weir, web, _backends: backends }
    }

    fn version(&self, user: &str) -> String {
        let request = format!("GET / HTTP/1.1\r\nHost: shop\r\nX-User-Id: {user}\r\nConnection: close\r\n\r\n");
        RawClient::once(self.web, &request).unwrap().text()
    }

    /// How many of a thousand users get this version.
    fn users_of(&self, version: &str) -> usize {
        (0..1_000).filter(|user| self.version(&format!("user-{user}")) == version).count()
    }

    fn text(&self) -> String {
        fs::read_to_string(self.weir.config()).unwrap()
    }
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", said(output)))
}

#[test]
fn a_weight_is_set_and_in_force_when_the_command_returns() {
    let shop = Shop::open();
    let before = shop.text();
    fs::set_permissions(shop.weir.config(), fs::Permissions::from_mode(0o640)).unwrap();

    let up = shop.weir.command(&["release", "set", "orders", "v2=20"]);
    let told = said(&up);
    assert!(up.status.success(), "{told}");
    assert!(
        told.contains("15 % of users, buckets 500-1999, move from v1 to v2") && told.contains("in force"),
        "{told}"
    );
    assert_eq!(shop.text(), before.replace("weight: 5 ", "weight: 20 "), "every other byte stays");
    assert_eq!(fs::metadata(shop.weir.config()).unwrap().permissions().mode() & 0o777, 0o640);
    assert!((150..250).contains(&shop.users_of("v2")));

    let all = shop.weir.command(&["release", "set", "orders", "v2=0", "v3=50"]);
    assert!(all.status.success(), "{}", said(&all));
    let (down, put_in) = ("weight: 0 ", "{cluster: 'v3', from: 5000, weight: 50}");
    assert_eq!(shop.text(), before.replace("weight: 5 ", down).replace("{cluster: 'v3', from: 5000}", put_in));
    assert_eq!(shop.users_of("v2"), 0, "weight 0 is nobody");
    assert!((450..550).contains(&shop.users_of("v3")));

    let back = shop.weir.command(&["release", "set", "orders", "v3=0%", "--format", "json"]);
    let told = json(&back);
    assert_eq!((&told["result"], &told["instance"]["verdict"]), (&"written".into(), &"in_force".into()), "{told}");
    assert_eq!(told["moves"][0]["expels"], true, "{told}");
    assert_eq!(shop.users_of("v1"), 1_000);
    let again = json(&shop.weir.command(&["release", "set", "orders", "v3=0", "--format", "json"]));
    assert_eq!(again["result"], "unchanged", "{again}");
}

#[test]
fn what_would_not_be_taken_is_not_written() {
    let shop = Shop::open();
    let before = shop.text();
    for (arguments, code, words) in [
        (&["release", "set", "orders", "v2=60", "v3=10"][..], 1, "overlap"),
        (&["release", "set", "oders", "v2=10"], 1, "did you mean `orders`?"),
        (&["release", "set", "orders", "v4=10"], 1, "no canary"),
        (&["release", "set", "orders", "v1=10"], 1, "stable"),
        (&["release", "set", "orders", "v2=x"], 2, "is no weight"),
        (&["release", "set", "orders", "v2"], 2, "CLUSTER=WEIGHT"),
        (&["release", "set", "orders"], 2, "required"),
        (&["release", "set", "orders", "v2=0", "v3=100"], 1, "--allow-move-out"),
        (&["release", "set", "orders", "v2=10", "--config", "/nowhere.yaml"], 1, "does not exist"),
        (&["release", "set", "orders", "v2=10", "--admin", "127.0.0.1:1"], 1, "no instance answers"),
    ] {
        let output = shop.weir.command(arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", said(&output));
        assert!(said(&output).contains(words), "{arguments:?}: {}", said(&output));
        assert_eq!(shop.text(), before, "{arguments:?}");
    }
}

#[test]
fn a_dry_run_shows_and_writes_nothing() {
    let shop = Shop::open();
    let before = shop.text();
    let ids = shop.weir.directory().join("ids.txt");
    fs::write(&ids, (0..1_000).map(|user| format!("user-{user}\n")).collect::<String>()).unwrap();
    let dry = ["release", "set", "orders", "v2=10", "--dry-run", "--users", ids.to_str().unwrap()];
    let output = shop.weir.command(&dry);
    let told = said(&output);
    assert!(output.status.success(), "{told}");
    for words in [
        "-        weight: 5      # five of a hundred",
        "+        weight: 10      # five of a hundred",
        "5 % of users, buckets 500-999, move from v1 to v2",
        "v1 -> v2: 0.0 of 0.0 requests/s",
        "v2 has 1 of 1 endpoints healthy",
        "from v1 to v2: user-",
        "nothing was written",
    ] {
        assert!(told.contains(words), "{words}: {told}");
    }
    assert_eq!(shop.text(), before);
}

#[test]
fn a_file_that_is_not_in_force_is_not_edited_unasked() {
    let shop = Shop::open();
    let broken = shop.text().replace("weight: 5 ", "weight: 500 ");
    fs::write(shop.weir.config(), &broken).unwrap();
    let _ = shop.weir.wait_event("config_rejected", 1);
    let output = shop.weir.command(&["release", "set", "orders", "v2=10"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("is not what is in force"), "{}", said(&output));
    assert_eq!(shop.text(), broken);
    let path = shop.weir.config();
    let output = shop.weir.command(&["release", "set", "orders", "v2=10", "--config", path.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1), "it has mistakes: {}", said(&output));
}

#[test]
fn a_config_map_is_not_written_into() {
    let backends = [Backend::text("v1"), Backend::text("v2"), Backend::text("v3")];
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().to_owned();
    fs::create_dir(root.join("..v1")).unwrap();
    symlink("..v1", root.join("..data")).unwrap();
    symlink("..data/weir.yaml", root.join("weir.yaml")).unwrap();
    let mut weir = Weir::spawn_at(directory, &root.join("weir.yaml"), &config(place::address(), &backends));
    weir.wait_ready();
    let output = weir.command(&["release", "set", "orders", "v2=10"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("change the ConfigMap"), "{}", said(&output));
}

#[test]
fn a_change_is_held_against_what_is_in_force() {
    let shop = Shop::open();
    (0..200).for_each(|user| drop(shop.version(&format!("user-{user}"))));
    let new = shop.weir.directory().join("new.yaml");
    fs::write(&new, shop.text().replace("weight: 5 ", "weight: 1 ").replace("from:   0", "from: 100")).unwrap();
    let admin = shop.weir.admin().to_string();
    let output = shop.weir.command(&["diff", "--admin", &admin, new.to_str().unwrap()]);
    let told = said(&output);
    assert!(output.status.success(), "{told}");
    assert!(told.contains("buckets 0-99, 200-499, move from v2 to v1 (takes users out of a canary)"), "{told}");
    assert!(told.contains("v1 has 1 of 1 endpoints healthy"), "{told}");
    let same = shop.weir.command(&["diff", "--admin", &admin, shop.weir.config().to_str().unwrap()]);
    assert!(said(&same).contains("no change"), "{}", said(&same));
}

#[test]
fn versions_are_shown_and_a_canary_is_given_up_without_the_file() {
    let shop = Shop::open();
    let before = shop.text();
    assert!(shop.users_of("v2") > 0);
    let told = said(&shop.weir.command(&["release", "status", "orders"]));
    for words in ["RELEASE orders", "v1", "95 %", "0-499", "v2: insufficient data"] {
        assert!(told.contains(words), "{words}: {told}");
    }
    let all = json(&shop.weir.command(&["release", "status", "--format", "json"]));
    assert_eq!(all["releases"][0]["versions"][1]["weight"], 5.0, "{all}");
    let unknown = shop.weir.command(&["release", "status", "oders"]);
    assert!(unknown.status.code() == Some(1) && said(&unknown).contains("there are: orders"), "{}", said(&unknown));

    let which = shop.weir.command(&["release", "abort", "orders"]);
    assert!(!which.status.success() && said(&which).contains("v3"), "which of two? {}", said(&which));
    let abort = shop.weir.command(&["release", "abort", "orders", "--canary", "v2"]);
    assert!(abort.status.success(), "{}", said(&abort));
    assert_eq!(shop.users_of("v2"), 0);
    let told = said(&shop.weir.command(&["release", "status"]));
    assert!(told.contains("closed") && told.contains("aborted"), "{told}");
    assert_eq!(shop.text(), before, "the file is not touched");
    let resume = shop.weir.command(&["release", "resume", "orders", "--canary", "v2"]);
    assert!(resume.status.success(), "{}", said(&resume));
    assert!(shop.users_of("v2") > 0);
}
