//! Who a request's user is, and what goes before the weight.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use weir_integration_tests::client::RawClient;
use weir_integration_tests::message::Response;

use super::{Live, Owned, Shop, at, bucket, by_rule, owner, request, users};

/// The first user whose bucket is in this range.
fn somebody(salt: &str, range: std::ops::Range<u16>) -> String {
    users(100_000).find(|user| range.contains(&bucket(salt, user))).expect("so many fill each bucket")
}

#[test]
fn employees_come_before_any_weight_and_never_lists_before_them() {
    let mut shop = Shop::new();
    shop.listener = "trusted_proxies: [127.0.0.0/8]";
    let release = "
key: {header: x-user-id}
stable: v1
never: [{header: {x-robot: {present: true}}}]
canaries:
  - cluster: v2
    weight: 5
    first:
      - {header: {x-employee: \"true\"}}
      - {cookie: {beta: \"1\"}}
      - {cidr: 10.0.0.0/8}
      - {users: [1001, \"ann\"]}
      - {users: file:beta.txt}
    never: [{users: [eve]}, {header: {x-opted-out: {present: true}}}]
";
    let live =
        shop.start_with(release, &[], |at| fs::write(at.join("beta.txt"), "# testers\n\nbob\n carol \n").unwrap());
    let (inside, outside) = (somebody("orders", 0..500), somebody("orders", 500..10_000));
    let user = |id: &str| format!("X-User-Id: {id}\r\n");
    let cases = [
        (String::new(), "v1"),
        (user(&inside), "v2"),
        (user(&outside), "v1"),
        (user(&outside) + "X-Employee: true\r\n", "v2"),
        (user(&outside) + "X-Employee: false\r\n", "v1"),
        ("X-Employee: true\r\n".into(), "v2"),
        (user(&outside) + "Cookie: a=b; beta=1; c=d\r\n", "v2"),
        (user(&outside) + "Cookie: beta=0\r\n", "v1"),
        (user(&outside) + "X-Forwarded-For: 10.1.2.3\r\n", "v2"),
        (user(&outside) + "X-Forwarded-For: 11.1.2.3\r\n", "v1"),
        (user("1001"), "v2"),
        (user("ann"), "v2"),
        (user("bob"), "v2"),
        (user("carol"), "v2"),
        // The canary's own list: in neither way.
        (user("eve") + "X-Employee: true\r\n", "v1"),
        (user(&inside) + "X-Opted-Out: yes\r\n", "v1"),
        // The release's list goes before everything.
        (user(&inside) + "X-Robot: 1\r\n", "v1"),
        (user("ann") + "X-Robot: 1\r\nX-Employee: true\r\n", "v1"),
    ];
    for (fields, version) in &cases {
        assert_eq!(live.version(fields), *version, "{fields:?}");
    }
    // At 0 per cent nobody comes by chance; lists hold.
    live.edit(&release.replace("weight: 5", "weight: 0"));
    for (fields, version) in &cases {
        let version = if *fields == user(&inside) { "v1" } else { version };
        assert_eq!(live.version(fields), version, "at 0: {fields:?}");
    }
}

#[test]
fn nothing_is_nobody_and_all_is_everybody() {
    let live = Shop::new().start(&at("0", ""));
    let versions = live.versions(users(1_000));
    assert!(versions.values().all(|version| version == "v1"), "{versions:?}");
    live.edit(&at("100", ""));
    let versions = live.versions(users(1_000));
    assert!(versions.values().all(|version| version == "v2"), "{versions:?}");
    assert_eq!(live.version(""), "v1", "without an id there is no bucket");
    // A hundredth of a per cent is one bucket of them.
    live.edit(&at("0.01", ""));
    let first = somebody("orders", 0..1);
    assert_eq!(live.version(&format!("X-User-Id: {first}\r\n")), "v2", "{first}");
    assert_eq!(live.versions(users(1_000)), by_rule("orders", &[("v2", 0, 1)], users(1_000)));
}

#[test]
fn canaries_own_buckets_wherever_they_begin() {
    let live = Shop::new().start(&at("0", ""));
    let two = |v2: &str, v3: &str| {
        format!("key: {{header: x-user-id}}\nstable: v1\ncanaries: [{{cluster: v2, {v2}}}, {{cluster: v3, {v3}}}]")
    };
    let cases: [(String, Owned<'_>); 4] = [
        (two("from: 0, weight: 50", "from: 5000, weight: 50"), &[("v2", 0, 5_000), ("v3", 5_000, 5_000)]),
        (two("from: 9000, weight: 30", "from: 2500, weight: 12.25"), &[("v2", 9_000, 3_000), ("v3", 2_500, 1_225)]),
        (two("from: 100, weight: 0", "from: 9999, weight: 0.02"), &[("v3", 9_999, 2)]),
        (
            "key: {header: x-user-id}\nstable: v1\ncanaries: [{cluster: v3, from: 9990, weight: 99.9}]".into(),
            &[("v3", 9_990, 9_990)],
        ),
    ];
    for (release, owned) in cases {
        live.edit(&release);
        assert_eq!(live.versions(users(1_500)), by_rule("orders", owned, users(1_500)), "{release}");
    }
    // Who would have two versions has the one from before.
    live.edit_in_vain(&two("from: 0, weight: 50", "from: 4999, weight: 1"));
    assert_eq!(live.versions(users(200)), by_rule("orders", &[("v3", 9_990, 9_990)], users(200)));
}

/// The answer to a request with these fields.
fn answer(live: &Live, fields: &str) -> Response {
    RawClient::once(live.shop.web, &request("/orders", fields)).unwrap()
}

#[test]
fn whoever_has_no_id_is_stables_or_is_handed_one() {
    let live = Shop::new().start(&at("50", ""));
    for _ in 0..20 {
        let answer = answer(&live, "");
        assert_eq!((answer.text().as_str(), answer.fields.get("set-cookie")), ("v1", None));
    }
    live.edit(&at("50", "anonymous: {sticky_cookie: {name: seat, ttl: 1h, path: /orders}}"));
    let mut versions = std::collections::BTreeMap::new();
    for _ in 0..60 {
        let first = answer(&live, "Cookie: theme=dark\r\n");
        let cookie = first.fields.get("set-cookie").expect("an id").to_owned();
        for part in ["Path=/orders", "Max-Age=3600"] {
            assert!(cookie.contains(part), "{cookie}");
        }
        let pair = cookie.split(';').next().unwrap();
        let id = pair.strip_prefix("seat=").unwrap_or_else(|| panic!("{cookie}"));
        assert_eq!(first.text(), owner(&[("v2", 0, 5_000)], bucket("orders", id)));
        let again = answer(&live, &format!("Cookie: theme=dark; {pair}\r\n"));
        assert_eq!((again.text(), again.fields.get("set-cookie")), (first.text(), None), "it keeps both");
        *versions.entry(first.text()).or_insert(0) += 1;
    }
    assert_eq!(versions.len(), 2, "{versions:?}");
    // The replicas were told of the cookies that were there, and only of those.
    for replica in &live.shop.versions {
        let cookies =
            replica.executed().into_iter().filter_map(|executed| executed.fields.get("cookie").map(str::to_owned));
        assert!(cookies.into_iter().all(|cookie| cookie.starts_with("theme=dark")), "the request is as it came");
    }
    // Whoever has an id needs no other.
    let known = answer(&live, "X-User-Id: user-1\r\n");
    assert_eq!(known.text(), owner(&[("v2", 0, 5_000)], bucket("orders", "user-1")));
    assert_eq!(known.fields.get("set-cookie"), None);
}

#[test]
fn a_cookie_of_the_service_and_ours_go_out_together() {
    let backend = weir_integration_tests::backend::Backend::fixed(
        "HTTP/1.1 200 OK\r\nSet-Cookie: session=1; Path=/\r\nSet-Cookie: theme=dark\r\nContent-Length: 0\r\n\r\n",
    );
    let shop = Shop::new();
    let config = shop.config(&at("0", "anonymous: sticky_cookie"));
    let its = shop.versions[0].address().to_string();
    let weir = weir_integration_tests::weir::Weir::start(&config.replace(&its, &backend.address().to_string()));
    let live = Live { weir, shop };
    let cookies = answer(&live, "").fields.all("set-cookie").into_iter().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(cookies.len(), 3, "{cookies:?}");
    for cookie in ["session=1; Path=/", "theme=dark"] {
        assert!(cookies.iter().any(|other| other == cookie), "{cookies:?}");
    }
    // 400 days.
    let ours = cookies.iter().find(|cookie| cookie.starts_with("weir-id=")).unwrap_or_else(|| panic!("{cookies:?}"));
    assert!(ours.contains("Max-Age=34560000") && ours.contains("Path=/"), "{ours}");
}

/// Which version gets whoever has this bucket's owner at half and half.
fn half(id: &str) -> &'static str {
    owner(&[("v2", 0, 5_000)], bucket("orders", id))
}

#[test]
fn an_id_has_one_form() {
    let release = |canonical: &str| format!("{}{canonical}\n", at("50", ""));
    let live = Shop::new().start(&release(""));
    let asked = |id: &str| live.version(&format!("X-User-Id: {id}\r\n"));
    // Blanks around a header's value are never part of it; case is.
    let differ = users(1_000).find(|user| half(user) != half(&user.to_uppercase())).unwrap();
    assert_eq!(asked(&format!("  {differ} \t")), half(&differ));
    assert_eq!(asked(&differ.to_uppercase()), half(&differ.to_uppercase()));
    live.edit(&release("canonical: {case: lower}"));
    assert_eq!(asked(&differ.to_uppercase()), half(&differ));
    // A query's value may have blanks of its own.
    let of_query = |canonical: &str| release(canonical).replace("header: x-user-id", "query: uid");
    let padded = |user: &str| format!(" {user} ");
    let differ = users(1_000).find(|user| half(user) != half(&padded(user))).unwrap();
    for (canonical, id) in [("", differ.clone()), ("canonical: {trim: false}", padded(&differ))] {
        live.edit(&of_query(canonical));
        let target = format!("/orders?a=b&uid=%20{differ}%20");
        assert_eq!(live.version_of(&request(&target, "")), half(&id), "{canonical:?}");
    }
}

#[test]
fn the_first_key_that_is_there_decides() {
    let live = Shop::new().start(&at("50", "").replace(
        "key: {header: x-user-id}",
        "key: [{header: x-user-id}, {cookie: uid}, {query: uid}, {path_segment: 2}]",
    ));
    // One of each version at each place, so that a wrong place shows.
    let (a, b) =
        (users(100).find(|user| half(user) == "v1").unwrap(), users(100).find(|user| half(user) == "v2").unwrap());
    for (one, other, version) in [(&a, &b, "v1"), (&b, &a, "v2")] {
        let header = format!("X-User-Id: {one}\r\n");
        let cookie = |id: &str| format!("Cookie: x=y; uid={id}\r\n");
        for (target, fields) in [
            (format!("/orders/{other}?uid={other}"), header + &cookie(other)),
            (format!("/orders/{other}?uid={other}"), cookie(one)),
            (format!("/orders/{other}?uid={other}"), format!("X-User-Id: \r\n{}", cookie(one))),
            (format!("/orders/{other}?a=b&uid={one}"), String::new()),
            (format!("/orders/{one}"), String::new()),
            (format!("/orders/{one}/items?uid="), String::new()),
            (format!("/orders/%75{}", &one[1..]), String::new()),
        ] {
            assert_eq!(live.version_of(&request(&target, &fields)), version, "{target} {fields:?}");
        }
    }
    assert_eq!(live.version_of(&request("/orders", "")), "v1", "nowhere");
    live.edit(&at("50", "").replace("header: x-user-id", "path_segment: 3"));
    assert_eq!(live.version_of(&request(&format!("/a/b/{b}"), "")), "v2");
}

#[test]
fn the_client_may_be_its_address() {
    let mut shop = Shop::new();
    shop.listener = "trusted_proxies: [127.0.0.0/8]";
    let live = shop.start(&at("50", "").replace("{header: x-user-id}", "source_address"));
    for last in 1..40 {
        for client in [format!("192.0.2.{last}"), format!("2001:db8::{last}")] {
            let fields = format!("X-Forwarded-For: {client}\r\n");
            assert_eq!(live.version(&fields), half(&client), "{client}");
        }
    }
}

/// Runs openssl in `directory` with this input; what it wrote.
fn openssl(directory: &Path, arguments: &[&str], input: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let mut child = Command::new("openssl")
        .args(arguments)
        .current_dir(directory)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("cannot start openssl ({error}); `make test` installs it"));
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "openssl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// RFC 4648, section 5, without padding.
fn base64url(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let digits = |part: &[u8]| {
        let bits = part.iter().chain([0; 3].iter()).take(3).fold(0_usize, |bits, byte| bits << 8 | usize::from(*byte));
        let digits = [18, 12, 6, 0].map(|shift| char::from(DIGITS[bits >> shift & 63]));
        digits.into_iter().take(part.len() + 1).collect::<String>()
    };
    bytes.chunks(3).map(digits).collect()
}

/// A token with this claim, signed with the key in `directory`.
fn token(directory: &Path, key: &str, claims: &str) -> String {
    let signed = format!("{}.{}", base64url(br#"{"alg":"RS256","typ":"JWT"}"#), base64url(claims.as_bytes()));
    let signature = openssl(directory, &["dgst", "-sha256", "-sign", key], signed.as_bytes());
    format!("{signed}.{}", base64url(&signature))
}

#[test]
fn a_token_says_who_it_is_and_a_forged_one_nothing() {
    let keys = tempfile::tempdir().unwrap();
    let keys = keys.path();
    for key in ["ours.pem", "theirs.pem"] {
        openssl(
            keys,
            &["genpkey", "-quiet", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", key],
            b"",
        );
    }
    let public = openssl(keys, &["pkey", "-in", "ours.pem", "-pubout"], b"");
    let release = |jwt: &str| at("50", "").replace("header: x-user-id", &format!("jwt: {jwt}"));
    let trusting = release("{claim: sub}");
    let live = Shop::new().start_with(&trusting, &[], |at| fs::write(at.join("jwt.pem"), &public).unwrap());
    let of_v2: Vec<String> = users(20).filter(|user| half(user) == "v2").take(3).collect();
    let claims = |user: &str| format!(r#"{{"iss":"shop","sub":"{user}","uid":1001,"exp":1300819380}}"#);
    let bearer = |token: &str| format!("Authorization: Bearer {token}\r\n");
    for user in &of_v2 {
        // Who the user was does not end with the token.
        let (ours, theirs) = (token(keys, "ours.pem", &claims(user)), token(keys, "theirs.pem", &claims(user)));
        live.edit(&format!("{trusting}\nnever: [{{users: [{user}-not]}}]"));
        assert_eq!((live.version(&bearer(&ours)), live.version(&bearer(&theirs))), ("v2".into(), "v2".into()));
        live.edit(&release("{key_file: jwt.pem, algorithm: RS256}"));
        assert_eq!((live.version(&bearer(&ours)), live.version(&bearer(&theirs))), ("v2".into(), "v1".into()));
        let (head, _) = ours.rsplit_once('.').unwrap();
        let none = format!("{}.{}.", base64url(br#"{"alg":"none"}"#), base64url(claims(user).as_bytes()));
        for forged in [&format!("{head}.AAAA"), head, &none, "", "x.y.z"] {
            assert_eq!(live.version(&bearer(forged)), "v1", "{forged}");
        }
    }
    // Another claim, a number; from a cookie.
    live.edit(&release("{claim: uid, cookie: token, key_file: jwt.pem}"));
    let ours = token(keys, "ours.pem", &claims("x"));
    assert_eq!(live.version(&format!("Cookie: token={ours}\r\n")), half("1001"));
    live.edit(&release("{header: x-token, key_file: jwt.pem}"));
    let ours = token(keys, "ours.pem", &claims(&of_v2[0]));
    assert_eq!(live.version(&format!("X-Token: {ours}\r\n")), "v2", "Bearer is not needed");
}
