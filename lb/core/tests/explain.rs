//! What is explained is what is done, and explaining it changes nothing.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod support;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use support::*;
use weir_config::model::*;
use weir_core::balance::told::{Step, Told};
use weir_core::balance::{Ask, Cursors, Refusal, Tried, Why, pick, pick_told};
use weir_core::dice::Dice;
use weir_core::endpoint::{ClusterId, Status};
use weir_core::explain::{Asking, WrongWeight, explain, shares};
use weir_core::live::Trial;
use weir_core::load::EndpointLoad;
use weir_core::reason::Reason;
use weir_core::release::{self, Asked, Decided};
use weir_core::route::{Headers, RequestView, Verdict};
use weir_core::snapshot::{self, Breaker, Kept, Snapshot};
use weir_core::time::Moment;
use weir_core::{hash, retry};

const NOW: Moment = Moment::from_nanos(7_000_000_000);

/// A request, owned.
#[derive(Clone, Debug)]
struct Request {
    method: &'static str,
    host: &'static str,
    path: String,
    query: Option<String>,
    fields: BTreeMap<&'static str, String>,
    client: IpAddr,
}

impl Headers for Request {
    fn get(&self, name: &str) -> Option<&[u8]> {
        self.fields.get(name).map(|value| value.as_bytes())
    }
}

impl Request {
    fn asked(&self) -> Asked<'_> {
        let view = RequestView { method: self.method, host: self.host, path: &self.path, headers: self };
        Asked { view, query: self.query.as_deref(), client: self.client }
    }
}

/// Makes worlds and requests by chance.
struct Maker(Dice);

impl Maker {
    fn below(&mut self, sides: usize) -> usize {
        self.0.below(sides as u64) as usize
    }

    fn one_in(&mut self, many: usize) -> bool {
        self.below(many) == 0
    }

    fn of<T: Clone>(&mut self, list: &[T]) -> T {
        list[self.below(list.len())].clone()
    }

    fn matches(&mut self) -> RouteMatch {
        let host = |name: &str| HostPattern::Exact(name.into());
        let hosts = [vec![], vec![], vec![host("a.example")], vec![HostPattern::Wildcard(".example".into())]];
        let paths = [PathMatch::Any, PathMatch::Prefix("/a".into()), PathMatch::Exact("/a/7".into())];
        let methods = [vec![], vec![], vec!["POST".to_owned()]];
        let header = HeaderMatch { name: "x-beta".into(), test: HeaderTest::Present };
        RouteMatch {
            hosts: self.of(&hosts),
            path: self.of(&paths),
            methods: self.of(&methods),
            headers: if self.one_in(4) { vec![header] } else { vec![] },
            sni: vec![],
        }
    }

    fn listener(&mut self) -> Listener {
        let mut routes = Vec::new();
        for _ in 0..=self.below(4) {
            let matches = self.matches();
            let target = self.of(&["stable", "gray", "gray"]);
            let mut route = route(matches, target);
            if target == "gray" {
                route.target = Target::Release(ReleaseName::new("gray").unwrap());
            }
            route.retry.attempts = NonZeroU16::new(1 + self.below(3) as u16).unwrap();
            routes.push(route);
        }
        listener("web", routes)
    }

    fn rules(&mut self) -> Vec<Rule> {
        let users = Users::new([&b"7"[..], b"8"], None);
        let all = [
            Rule::Header { name: "x-beta".into(), test: HeaderTest::Present },
            Rule::Cookie { name: "beta".into(), value: Some("1".into()) },
            Rule::Networks(vec!["10.0.0.0/8".parse().unwrap()]),
            Rule::Users(Arc::new(users)),
        ];
        (0..self.below(3)).map(|_| self.of(&all)).collect()
    }

    fn release(&mut self) -> Release {
        let keys = [
            IdKey::Header("x-user".into()),
            IdKey::Cookie("uid".into()),
            IdKey::Query("u".into()),
            IdKey::PathSegment(NonZeroU16::new(2).unwrap()),
            IdKey::SourceAddress,
        ];
        let cookie = IdCookie { name: "weir-id".into(), ttl: Duration::from_secs(60), path: "/".into() };
        let canary = |maker: &mut Self, cluster: &str, from: u16| Canary {
            cluster: ClusterName::new(cluster).unwrap(),
            from: Bucket::new(from).unwrap(),
            weight: Share::of_buckets(maker.below(5_001) as u16).unwrap(),
            first: maker.rules(),
            never: maker.rules(),
            rollout: None,
        };
        Release {
            name: ReleaseName::new("gray").unwrap(),
            key: (0..=self.below(2)).map(|_| self.of(&keys)).collect(),
            canonical: Canonical { trim: true, lower: false },
            salt: "salt".into(),
            stable: ClusterName::new("stable").unwrap(),
            canaries: vec![canary(self, "one", 0), canary(self, "two", 5_000)],
            never: self.rules(),
            anonymous: if self.one_in(2) { Anonymous::Stable } else { Anonymous::Cookie(cookie) },
            on_unhealthy: if self.one_in(3) { OnUnhealthy::Error } else { OnUnhealthy::Stable },
            judge: JudgeRules { min_requests: 200, confidence: 95.0, error_margin: 1.0, latency_margin: 25.0 },
            mirror: None,
            line: 1,
        }
    }

    fn cluster(&mut self, name: &str) -> Cluster {
        let mut config = cluster(name, Vec::new(), Vec::new());
        config.balance = self.of(&[
            Balance::RoundRobin,
            Balance::LeastRequest,
            Balance::Random,
            Balance::Ewma,
            Balance::RingHash,
            Balance::Maglev,
        ]);
        config.hash.keys = vec![HashKey::Header("x-user".into())];
        config.hash.table_size = 251;
        config.hash.minimum_ring_size = 64;
        config.hash.bounded_load = if self.one_in(2) { Some(125) } else { None };
        config.panic =
            Panic { mode: self.of(&[PanicMode::Off, PanicMode::AllHosts, PanicMode::LeastBad]), threshold: 60 };
        if self.one_in(3) {
            config.sticky = Some(Sticky { cookie: "sid".into(), ttl: None, path: "/".into() });
        }
        config
    }

    fn member(&mut self, n: usize) -> snapshot::Member {
        let statuses = [
            Status::Healthy,
            Status::Healthy,
            Status::Healthy,
            Status::Healthy,
            Status::Unknown,
            Status::Unhealthy,
            Status::Ejected,
            Status::Probation,
            Status::Draining,
        ];
        let mut member = member(n, self.of(&statuses));
        member.weight = Weight::new(self.of(&[0, 1, 1, 1, 2, 5])).unwrap();
        member.permille = self.of(&[1000, 1000, 500]);
        member.priority = self.of(&[0, 0, 0, 1]);
        member.zone = self.of(&[None, Some("az-1"), Some("az-2")]).map(|zone| ZoneName::new(zone).unwrap());
        let shard = member.load.of(0);
        shard.in_flight.add(self.below(3) as u64);
        if self.one_in(2) {
            shard.latency.observe(NOW, Duration::from_millis(1 + self.below(5) as u64));
        }
        if self.one_in(8) {
            member.live.requests.set_most(Some(0));
        }
        member
    }

    fn snapshot(&mut self) -> Snapshot {
        let mut wanted =
            config(vec![self.listener()], vec![self.cluster("stable"), self.cluster("one"), self.cluster("two")]);
        wanted.releases = vec![Arc::new(self.release())];
        let mut life = Life::of(wanted);
        let given = life.publish().expect("a first snapshot");
        let zone = ZoneName::new("az-1").unwrap();
        let cluster = |(at, old): (usize, &Arc<snapshot::Cluster>)| {
            let members: Vec<_> = (0..self.below(7)).map(|n| self.member(n)).collect();
            let breaker = match self.below(12) {
                0 => Breaker::Open { until: NOW },
                1 => Breaker::HalfOpen(Arc::new(Trial::new(1, self.below(2) as u32))),
                _ => Breaker::Closed,
            };
            let kept = Kept::new(ClusterId(at as u32), 2);
            let zone = Some(&zone).filter(|_| self.one_in(2));
            Arc::new(snapshot::Cluster::new(&kept, Arc::clone(&old.config), members, 1, breaker, zone, None))
        };
        let clusters = given.clusters.iter().enumerate().map(cluster).collect();
        Snapshot {
            generation: 1,
            at: NOW,
            config: Arc::clone(&given.config),
            listeners: given.listeners.clone(),
            clusters,
            releases: given.releases.clone(),
            drills: Vec::new(),
        }
    }

    fn request(&mut self, snapshot: &Snapshot) -> Request {
        let mut fields = BTreeMap::new();
        if self.one_in(2) {
            fields.insert("x-user", self.below(10_000).to_string());
        }
        if self.one_in(4) {
            fields.insert("x-beta", String::new());
        }
        let sid = snapshot
            .clusters
            .iter()
            .find_map(|cluster| cluster.members.first())
            .map_or(0, |one| hash::sticky(&one.key));
        let cookies =
            [String::new(), "uid=7; beta=1".into(), "weir-id=0123456789abcdef".into(), format!("sid={sid:016x}")];
        fields.insert("cookie", self.of(&cookies));
        Request {
            method: self.of(&["GET", "POST"]),
            host: self.of(&["a.example", "b.example", "c"]),
            path: self.of(&["/", "/a", "/a/7", "/b/8"]).into(),
            query: self.of(&[None, Some("u=%37".to_owned())]),
            fields,
            client: self.of(&["10.1.2.3", "192.0.2.1"]).parse().unwrap(),
        }
    }
}

/// What came of a request.
#[derive(Clone, Debug, PartialEq)]
struct Way {
    route: Option<usize>,
    decided: Option<Decided>,
    cluster: Option<usize>,
    picked: Option<Result<(usize, Why), Refusal>>,
}

/// The way a worker sends it.
fn sent(snapshot: &Snapshot, request: &Request, cursors: &mut Cursors, dice: &mut Dice) -> Way {
    let asked = request.asked();
    let listener = &snapshot.listeners[0];
    let mut way = Way { route: listener.routes.find(&asked.view), decided: None, cluster: None, picked: None };
    let Some(route) = way.route else { return way };
    let target = &listener.targets[route];
    way.decided =
        target.release.map(|at| release::decide(&snapshot.releases[at], &snapshot.clusters, &asked, dice, &mut ()));
    let index = target.to[way.decided.map_or(0, |decided| decided.version)].0;
    way.cluster = Some(index);
    let cluster = &snapshot.clusters[index];
    let _permit = match &cluster.breaker {
        Breaker::Closed => None,
        Breaker::Open { .. } => return way,
        Breaker::HalfOpen(trial) => match trial.take() {
            Some(permit) => Some(permit),
            None => return way,
        },
    };
    let policy = &listener.config.routes[route].retry;
    let repeatable = request.method == "GET";
    let ask = Ask {
        tried: &Tried::new(),
        hash: cluster
            .config
            .balance
            .hashes()
            .then(|| hash::key_of(&cluster.config.hash.keys, &asked.view, asked.query, asked.client))
            .flatten(),
        sticky: cluster.config.sticky.as_ref().and_then(|sticky| hash::session(sticky, request)),
        may_try: !cluster.available.trials.is_empty() && retry::may_be_trial(policy, repeatable, dice),
        worker: 0,
        now: NOW,
    };
    way.picked = Some(pick(cluster, &ask, cursors, dice).map(|picked| (picked.index, picked.why)));
    way
}

/// All that a worker could change.
fn state(snapshot: &Snapshot, cursors: &Cursors) -> String {
    let trials = |cluster: &Arc<snapshot::Cluster>| {
        let members = cluster.members.iter();
        members
            .map(|one| (one.trial.as_ref().map(|trial| trial.under_way()), EndpointLoad::active(&one.load)))
            .collect::<Vec<_>>()
    };
    format!("{:?} {cursors:?}", snapshot.clusters.iter().map(trials).collect::<Vec<_>>())
}

#[test]
fn what_is_explained_is_what_is_done() {
    let mut seen: BTreeMap<&str, u32> = BTreeMap::new();
    for seed in 0..10_000 {
        let mut maker = Maker(Dice::new(seed));
        let snapshot = maker.snapshot();
        let (mut cursors, mut dice) = (Cursors::new(), Dice::new(seed ^ 0xfeed));
        for _ in 0..maker.below(3) {
            let earlier = maker.request(&snapshot);
            sent(&snapshot, &earlier, &mut cursors, &mut dice);
        }
        let request = maker.request(&snapshot);
        let asking = Asking {
            listener: 0,
            asked: request.asked(),
            at_weights: &[],
            cursors: &cursors,
            dice: dice.clone(),
            worker: 0,
            secure: false,
            now: NOW,
        };
        let before = state(&snapshot, &cursors);
        let told = explain(&snapshot, &asking).unwrap();
        assert_eq!(state(&snapshot, &cursors), before, "seed {seed}: explaining changes nothing");
        let explained = Way {
            route: told.route,
            decided: told.gray.as_ref().map(|gray| gray.decided),
            cluster: told.cluster,
            picked: told.picked.as_ref().map(|picked| picked.result),
        };
        let done = sent(&snapshot, &request, &mut cursors, &mut dice);
        assert_eq!(explained, done, "seed {seed}: {told:#?}");

        let last = told.routes.last().map(|(at, verdict)| (*at, verdict == &Verdict::Taken));
        assert_eq!(last.filter(|(_, taken)| *taken).map(|(at, _)| at), told.route, "seed {seed}: {:?}", told.routes);
        if let Some(gray) = &told.gray {
            let bucket = gray.heard.id().map(|id| Bucket::of("salt", id));
            let handed = gray.decided.assigned.handed.map(|id| Bucket::of("salt", &id.0));
            assert_eq!(bucket.or(handed), gray.decided.assigned.bucket, "seed {seed}");
        }
        let refusal = explained.picked.and_then(Result::err);
        assert_eq!(told.refused.is_some(), refusal.is_some() || done.picked.is_none(), "seed {seed}");
        let key = match (&done.picked, told.refused) {
            (Some(Ok((_, why))), _) => why.as_str(),
            (_, Some(reason)) => reason.as_str(),
            (_, None) => unreachable!("neither picked nor refused: seed {seed}"),
        };
        *seen.entry(key).or_default() += 1;
        if done.decided.is_some_and(|decided| decided.moved_by_health()) {
            *seen.entry("moved_by_health").or_default() += 1;
        }
    }
    for wanted in [
        "turn",
        "drawn",
        "least_of_two",
        "hash",
        "sticky",
        "trial",
        "only",
        "no_route",
        "breaker_open",
        "moved_by_health",
    ] {
        assert!(seen.get(wanted).is_some_and(|count| *count > 20), "{wanted}: {seen:?}");
    }
}

/// Whoever listens to a pick that is made hears the same, and the pick is the same.
#[test]
fn listening_changes_nothing() {
    for seed in 0..2_000 {
        let mut maker = Maker(Dice::new(seed));
        let snapshot = maker.snapshot();
        let cluster = &snapshot.clusters[0];
        let tried = Tried::new();
        let ask = Ask { may_try: maker.one_in(2), hash: maker.of(&[None, Some(seed)]), ..Ask::new(&tried) };
        let (mut one, mut other) = ((Cursors::new(), Dice::new(seed)), (Cursors::new(), Dice::new(seed)));
        for _ in 0..3 {
            let plain = pick(cluster, &ask, &mut one.0, &mut one.1).map(|picked| (picked.index, picked.why));
            let mut told = Told::listening();
            let heard = pick_told(cluster, &ask, &mut other.0, &mut other.1, &mut told);
            assert_eq!(heard.map(|picked| (picked.index, picked.why)), plain, "seed {seed}: {:?}", told.steps);
            assert_eq!(one.1.clone().roll(), other.1.clone().roll(), "seed {seed}: as much chance");
            assert!(told.steps.len() <= Told::MAX);
            let last = told.steps.iter().rev().find_map(|step| match step {
                Step::Turn { index, fits: true } | Step::Draw { index, fits: true } | Step::Order { index } => {
                    Some(*index)
                }
                _ => None,
            });
            if let (Ok((index, Why::Turn | Why::Drawn)), Some(last)) = (plain, last) {
                assert_eq!(index, last, "seed {seed}: {:?}", told.steps);
            }
        }
    }
}

#[test]
fn shares_are_those_of_the_groups() {
    for seed in 0..500 {
        let snapshot = Maker(Dice::new(seed)).snapshot();
        for cluster in &snapshot.clusters {
            let shares = shares(cluster);
            let sum: f64 = shares.iter().sum();
            let wanted = if cluster.available.groups.is_empty() { 0.0 } else { 1.0 };
            assert!((sum - wanted).abs() < 1e-9, "seed {seed}: {shares:?}");
            for (at, member) in cluster.members.iter().enumerate() {
                assert_eq!(shares[at] > 0.0, cluster.available.why_not(at, member).is_none(), "seed {seed}");
            }
        }
    }
}

/// A release at other weights, for one explanation only.
#[test]
fn as_if_a_canary_had_another_weight() {
    let mut wanted = config(
        vec![listener(
            "web",
            vec![Route { target: Target::Release(ReleaseName::new("gray").unwrap()), ..to("stable") }],
        )],
        ["stable", "one", "two"].map(|name| cluster(name, endpoints(&[1]), vec![])).into(),
    );
    let mut release = Maker(Dice::new(1)).release();
    release.key = vec![IdKey::Header("x-user".into())];
    release.never.clear();
    for canary in &mut release.canaries {
        (canary.first, canary.never, canary.weight) = (vec![], vec![], Share::of_percent(5.0).unwrap());
    }
    wanted.releases = vec![Arc::new(release)];
    let snapshot = Life::of(wanted).publish().unwrap();
    let request = |user: usize| Request {
        method: "GET",
        host: "a",
        path: "/".into(),
        query: None,
        fields: BTreeMap::from([("x-user", user.to_string())]),
        client: "192.0.2.1".parse().unwrap(),
    };
    let version = |user: usize, at_weights: &[(ClusterName, Share)]| {
        let request = request(user);
        let (listener, cursors, dice) = (0, &Cursors::new(), Dice::new(1));
        let asking =
            Asking { listener, asked: request.asked(), at_weights, cursors, dice, worker: 0, secure: false, now: NOW };
        explain(&snapshot, &asking).map(|way| way.gray.unwrap().decided.version)
    };
    let at = |name: &str, percent| [(ClusterName::new(name).unwrap(), Share::of_percent(percent).unwrap())];
    let bucket = |user: usize| Bucket::of("salt", user.to_string().as_bytes()).get();
    for user in 0..2_000 {
        let owner = |at_weights: &[_], one: u16, two: u16| {
            let wanted = match bucket(user) {
                below if below < one => 1,
                from if (5_000..two).contains(&from) => 2,
                _ => 0,
            };
            assert_eq!(version(user, at_weights), Ok(wanted), "user {user}");
        };
        owner(&[], 500, 5_500);
        owner(&at("one", 20.0), 2_000, 5_500);
        owner(&at("one", 0.0), 0, 5_500);
        owner(&[at("one", 50.0), at("two", 50.0)].concat(), 5_000, 10_000);
    }
    let overlap = version(1, &at("one", 60.0)).unwrap_err();
    assert_eq!(overlap.to_string(), "with 60 % one would own buckets of two, from 5000 on; it has room for 50 %");
    let unknown = version(1, &at("stable", 60.0)).unwrap_err();
    assert!(matches!(unknown, WrongWeight::NoCanary { .. }));
    assert_eq!(unknown.to_string(), "no release has a canary stable; there are: one, two");
}

/// "No healthy upstream" and its kin: the way ends with the reason a client would get.
#[test]
fn x1_a_way_that_ends_says_why() {
    let snapshot = |members: Vec<snapshot::Member>, breaker| {
        let given = Life::of(shop(endpoints(&[1]), vec![])).publish().unwrap();
        let kept = Kept::new(ClusterId(1), 1);
        let shop =
            snapshot::Cluster::new(&kept, Arc::clone(&given.clusters[0].config), members, 1, breaker, None, None);
        Snapshot { clusters: vec![Arc::new(shop)], ..copy(&given) }
    };
    let ends = |snapshot: &Snapshot| {
        let request = Maker(Dice::new(1)).request(snapshot);
        let (cursors, dice) = (&Cursors::new(), Dice::new(1));
        let asking = Asking {
            listener: 0,
            asked: request.asked(),
            at_weights: &[],
            cursors,
            dice,
            worker: 0,
            secure: false,
            now: NOW,
        };
        explain(snapshot, &asking).unwrap().refused
    };
    let all = |status| members(&[status; 3]);
    let table = [
        (all(Status::Healthy), Breaker::Closed, None),
        (all(Status::Unhealthy), Breaker::Closed, Some(Reason::NoHealthyEndpoint)),
        (all(Status::Ejected), Breaker::Closed, Some(Reason::AllEjected)),
        (all(Status::Draining), Breaker::Closed, Some(Reason::AllDraining)),
        (vec![], Breaker::Closed, Some(Reason::NoEndpoint)),
        (all(Status::Healthy), Breaker::Open { until: NOW }, Some(Reason::BreakerOpen)),
    ];
    for (members, breaker, reason) in table {
        assert_eq!(ends(&snapshot(members, breaker)), reason);
    }
}

fn copy(of: &Snapshot) -> Snapshot {
    Snapshot {
        generation: of.generation,
        at: of.at,
        config: Arc::clone(&of.config),
        listeners: of.listeners.clone(),
        clusters: of.clusters.clone(),
        releases: of.releases.clone(),
        drills: of.drills.clone(),
    }
}
