//! The index finds what a walk through the file finds.

mod support;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use support::{route, to};
use weir_config::model::*;
use weir_core::route::{Headers, RequestView, RouteTable, Verdict, verdict};

#[derive(Debug)]
struct Fields(Vec<(&'static str, &'static str)>);

impl Headers for Fields {
    fn get(&self, name: &str) -> Option<&[u8]> {
        self.0.iter().find(|(its, _)| its.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_bytes())
    }
}

fn host_pattern() -> impl Strategy<Value = HostPattern> {
    let name = || select(vec!["a.com", "b.a.com", "c.b.a.com", "a.org", "com", "xa.com"]);
    prop_oneof![
        name().prop_map(|name| HostPattern::Exact(name.to_owned())),
        name().prop_map(|name| HostPattern::Wildcard(format!(".{name}"))),
    ]
}

/// Paths of few letters, so that prefixes happen.
fn path() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => vec(select(vec!["/", "/a", "/b", "/ab", "a"]), 0..5).prop_map(|parts| parts.concat()),
        1 => "[/a]{0,6}",
        1 => (60usize..70).prop_map(|depth| "/a".repeat(depth)),
        1 => select(vec!["*", "", "/a-longer-segment/and-another-one/end", "/a-longer-segment/and-another-two"])
            .prop_map(str::to_owned),
    ]
}

fn path_match() -> impl Strategy<Value = PathMatch> {
    prop_oneof![Just(PathMatch::Any), path().prop_map(PathMatch::Exact), path().prop_map(PathMatch::Prefix),]
}

fn header_match() -> impl Strategy<Value = HeaderMatch> {
    let test = prop_oneof![
        Just(HeaderTest::Present),
        Just(HeaderTest::Absent),
        select(vec!["1", "2"]).prop_map(|value| HeaderTest::Exact(value.to_owned())),
    ];
    (select(vec!["x-a", "x-b"]), test).prop_map(|(name, test)| HeaderMatch { name: name.to_owned(), test })
}

fn route_match() -> impl Strategy<Value = RouteMatch> {
    let methods = vec(select(vec!["GET", "POST"]).prop_map(str::to_owned), 0..2);
    (vec(host_pattern(), 0..3), path_match(), methods, vec(header_match(), 0..2))
        .prop_map(|(hosts, path, methods, headers)| RouteMatch { hosts, path, methods, headers, sni: vec![] })
}

prop_compose! {
    fn request()(
        host in select(vec!["a.com", "A.Com", "b.a.com", "B.A.COM", "c.b.a.com", "xa.com", ".a.com", "x..a.com", "", "com"]),
        path in path(),
        method in select(vec!["GET", "POST", "get"]),
        a in option::of(select(vec!["1", "2", "3"])),
        b in option::of(select(vec!["1", "2", ""])),
    ) -> (&'static str, String, &'static str, Fields) {
        let fields = a.map(|value| ("X-A", value)).into_iter().chain(b.map(|value| ("x-b", value)));
        (host, path, method, Fields(fields.collect()))
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_index_finds_the_first_match(matches in vec(route_match(), 0..30), requests in vec(request(), 1..10)) {
        let routes: Vec<Route> = matches.into_iter().map(|matches| route(matches, "shop")).collect();
        let table = RouteTable::new(&routes);
        for (host, path, method, fields) in &requests {
            let request = RequestView { method, host, path, headers: fields };
            let takes = |route: &Route| verdict(&route.matches, &request) == Verdict::Taken;
            let first = routes.iter().position(takes);
            prop_assert_eq!(table.find(&request), first);
            let story = table.explain(&request);
            let tried = first.map_or(routes.len(), |first| first + 1);
            prop_assert!(story.iter().map(|(at, _)| *at).eq(0..tried));
            for (at, verdict) in &story {
                prop_assert_eq!(*verdict == Verdict::Taken, Some(*at) == first);
            }
        }
    }
}

fn find(matches: RouteMatch, host: &str, path: &str) -> Option<usize> {
    let table = RouteTable::new(&[route(matches, "shop")]);
    table.find(&RequestView { method: "GET", host, path, headers: &Fields(vec![]) })
}

#[test]
fn a_prefix_ends_at_a_segment() {
    for (prefix, takes, leaves) in [
        ("/a", vec!["/a", "/a/", "/a/b"], vec!["/ab", "/", "", "/b/a"]),
        ("/a/", vec!["/a/", "/a/b"], vec!["/a", "/ab"]),
        ("/", vec!["/", "/a", "//"], vec!["", "*"]),
    ] {
        let matches = RouteMatch { path: PathMatch::Prefix(prefix.to_owned()), ..RouteMatch::default() };
        assert!(takes.iter().all(|path| find(matches.clone(), "", path).is_some()), "{prefix}");
        assert!(leaves.iter().all(|path| find(matches.clone(), "", path).is_none()), "{prefix}");
    }
}

#[test]
fn a_wildcard_takes_names_below_it() {
    let hosts = vec![HostPattern::Wildcard(".example.com".to_owned())];
    let matches = RouteMatch { hosts, ..RouteMatch::default() };
    let long = format!("{}.example.com", "X".repeat(400));
    for host in ["a.example.com", "a.b.example.com", "A.EXAMPLE.Com", &long] {
        assert_eq!(find(matches.clone(), host, "/"), Some(0), "{host}");
    }
    for host in ["example.com", ".example.com", "aexample.com", "a.example.com.evil.org", ""] {
        assert_eq!(find(matches.clone(), host, "/"), None, "{host}");
    }
}

#[test]
fn a_dot_at_the_end_makes_no_other_name() {
    let taken_by = |pattern, host| {
        let routes = RouteMatch { hosts: vec![pattern], ..RouteMatch::default() };
        let table = RouteTable::new(&[route(routes.clone(), "shop")]);
        let request = RequestView { method: "GET", host, path: "/", headers: &Fields(vec![]) };
        let found = table.find(&request).is_some();
        assert_eq!(verdict(&routes, &request) == Verdict::Taken, found, "{host}");
        found
    };
    let exact = || HostPattern::Exact("shop.org".to_owned());
    let wildcard = || HostPattern::Wildcard(".shop.org".to_owned());
    assert!(taken_by(exact(), "shop.org.") && taken_by(exact(), "SHOP.org.") && taken_by(wildcard(), "a.shop.org."));
    for host in ["shop.org..", "shop.org.evil.", ".", ""] {
        assert!(!taken_by(exact(), host) && !taken_by(wildcard(), host), "{host}");
    }
}

#[test]
fn the_explanation_names_the_condition() {
    let mut routes = vec![to("shop"); 5];
    routes[0].matches.hosts = vec![HostPattern::Exact("other.org".to_owned())];
    routes[1].matches.path = PathMatch::Exact("/other".to_owned());
    routes[2].matches.methods = vec!["POST".to_owned()];
    routes[3].matches.headers = vec![HeaderMatch { name: "x-canary".to_owned(), test: HeaderTest::Present }];
    let table = RouteTable::new(&routes);
    let request = RequestView { method: "GET", host: "shop.org", path: "/", headers: &Fields(vec![]) };
    let told: Vec<String> = table.explain(&request).into_iter().map(|(_, verdict)| verdict.to_string()).collect();
    assert_eq!(
        told,
        [
            "the host does not match",
            "the path does not match",
            "the method does not match",
            "the header 'x-canary' does not match",
            "takes it"
        ]
    );
}

#[test]
fn a_hostile_host_or_path_is_only_read() {
    let hosts = vec![HostPattern::Wildcard(".example.com".to_owned()), HostPattern::Exact("a.org".to_owned())];
    let path = PathMatch::Prefix("/a/b".to_owned());
    let matches = RouteMatch { hosts, path, ..RouteMatch::default() };
    let (dots, slashes) = (".".repeat(30_000), "/".repeat(30_000));
    assert_eq!(find(matches, &dots, &slashes), None);
}
