//! From the core's way to the form that is sent and printed.

use std::time::SystemTime;

use weir_config::model::{self, Balance, Share};
use weir_config::release::rule::Range;
use weir_core::availability::{self, WHOLE};
use weir_core::control::{Control, EndpointView};
use weir_core::endpoint::Status;
use weir_core::explain::{Explanation, Gray, Picked, Treated};
use weir_core::load::EndpointLoad;
use weir_core::reason::Reason;
use weir_core::snapshot::{self, Snapshot};

use super::ask::Walked;
use super::shape::*;
use super::{Ask, Witness, words};
use crate::observe::decision::Decision;
use crate::observe::journal::{rfc3339, timestamp};

/// Routes and endpoints of a request that is kept: more would be too much to keep of so many.
const KEPT_MAX: usize = 50;

/// What is told beside a way.
struct Telling<'a> {
    snapshot: &'a Snapshot,
    listener: usize,
    way: &'a Explanation,
    witness: Witness<'a>,
    /// Of routes and endpoints, so many.
    most: usize,
    /// Credentials are left out.
    discreet: bool,
    /// The endpoint it really went to.
    endpoint: Option<usize>,
}

pub(super) fn asked(snapshot: &Snapshot, ask: &Ask, walked: Walked, witness: Witness<'_>) -> Explained {
    let Walked { listener, request, client, way, notes } = walked;
    let endpoint = picked(&way);
    let telling = Telling { snapshot, listener, way: &way, witness, most: usize::MAX, discreet: false, endpoint };
    let target =
        request.query.as_ref().map_or_else(|| request.path.clone(), |query| format!("{}?{query}", request.path));
    let mut explained =
        telling.tell(Request { method: request.method, host: request.host, target, client: client.to_string() });
    explained.seed = Some(ask.seed);
    if way.cluster.is_some_and(|at| snapshot.clusters[at].config.balance == Balance::RoundRobin) {
        explained.notes.push("the turn is that of a worker which begins now; each worker has its own".into());
    }
    explained.notes.splice(0..0, notes);
    explained
}

pub(super) fn decided(decision: &Decision, witness: Witness<'_>) -> Explained {
    let Decision { id, wall, snapshot, listener, request, way, earlier, outcome } = decision;
    let telling = Telling {
        snapshot,
        listener: *listener,
        way,
        witness,
        most: KEPT_MAX,
        discreet: true,
        endpoint: outcome.endpoint,
    };
    let mut explained = telling.tell(Request {
        method: request.method.clone(),
        host: request.host.clone(),
        target: request.target.clone(),
        client: request.client.to_string(),
    });
    let name = |index: usize| telling.member(index).map(|member| member.address().to_string());
    let attempt = |picked: &Picked| {
        let pick = telling.pick(picked);
        Attempt { endpoint: pick.endpoint, why: pick.words }
    };
    explained.served = Some(Served {
        decision: id.to_string(),
        request_id: request.id.clone(),
        at: at(*wall),
        status: outcome.status,
        reason: outcome.reason.map(|reason| reason.as_str().to_owned()),
        took_ms: outcome.took.as_secs_f64() * 1e3,
        attempts: outcome.attempts,
        endpoint: outcome.endpoint.and_then(name),
        earlier: earlier.iter().map(attempt).collect(),
    });
    explained
}

fn at(wall: SystemTime) -> String {
    rfc3339(timestamp(wall))
}

/// The member that is picked.
fn picked(way: &Explanation) -> Option<usize> {
    Some(way.picked.as_ref()?.result.ok()?.0)
}

impl Telling<'_> {
    fn tell(&self, request: Request) -> Explained {
        let Self { snapshot, way, .. } = *self;
        let routes = self.routes();
        Explained {
            served: None,
            generation: snapshot.generation,
            zone: snapshot.config.zone.as_ref().map(ToString::to_string),
            seed: None,
            request,
            listener: snapshot.listeners[self.listener].config.name.to_string(),
            routes_left_out: way.routes.len() - routes.len(),
            routes,
            release: way.gray.as_ref().map(|gray| self.release(gray)),
            cluster: self.cluster_of().map(|cluster| self.cluster(cluster)),
            pick: way.picked.as_ref().map(|picked| self.pick(picked)),
            limits: self.limits(),
            reply: way.treated.reply.clone().map(|(status, location)| Reply { status, location }),
            rewritten: rewritten(way),
            refused: way.refused.map(refused),
            notes: self.notes(),
        }
    }

    fn limits(&self) -> Vec<Limit> {
        let config = &self.snapshot.listeners[self.listener].config;
        let limit = |limit: &weir_core::explain::Limit| {
            let route = self.way.route.and_then(|at| config.routes.get(at));
            let of = if limit.of_route { route?.rate_limit.as_ref()? } else { config.rate_limit.as_ref()? };
            let name = if limit.of_route { "route" } else { "listener" };
            Some(Limit { of: name.to_owned(), words: words::limit(of), left: limit.left })
        };
        self.way.treated.limits.iter().filter_map(limit).collect()
    }

    fn cluster_of(&self) -> Option<&snapshot::Cluster> {
        self.snapshot.clusters.get(self.way.cluster?).map(|cluster| &**cluster)
    }

    fn member(&self, index: usize) -> Option<&snapshot::Member> {
        self.cluster_of()?.members.get(index)
    }

    fn routes(&self) -> Vec<Route> {
        let config = &self.snapshot.listeners[self.listener].config;
        let tried = &self.way.routes[self.way.routes.len().saturating_sub(self.most)..];
        let route = |(at, verdict): &(usize, weir_core::route::Verdict)| {
            let route = &config.routes[*at];
            Route {
                route: route.name.as_ref().map_or_else(|| (at + 1).to_string(), ToString::to_string),
                line: route.line,
                matches: weir_config::words::matches(&route.matches),
                to: match &route.target {
                    model::Target::Cluster(name) => format!("cluster {name}"),
                    model::Target::Release(name) => format!("release {name}"),
                    model::Target::Reply(model::Reply::Redirect(_)) => "a redirect".to_owned(),
                    model::Target::Reply(model::Reply::Fixed(fixed)) => format!("a fixed answer ({})", fixed.status),
                },
                taken: *verdict == weir_core::route::Verdict::Taken,
                verdict: verdict.to_string(),
            }
        };
        tried.iter().map(route).collect()
    }

    fn release(&self, gray: &Gray) -> Release {
        let config = &*gray.release.config;
        let assigned = gray.decided.assigned;
        let cluster = |version: usize| config.cluster(version).map(ToString::to_string).unwrap_or_default();
        let secret = |at: usize| self.discreet && config.key.get(at).is_some_and(words::is_secret);
        let key = |(at, found): &(usize, Option<Vec<u8>>)| {
            let hidden = |found: &Vec<u8>| if secret(*at) { "(not kept)".into() } else { words::id(found) };
            Key {
                place: match (config.key.get(*at), &config.anonymous) {
                    (Some(key), _) => words::id_key(key),
                    (None, model::Anonymous::Cookie(cookie)) => format!("cookie {}, handed out by us", cookie.name),
                    (None, model::Anonymous::Stable) => "?".into(),
                },
                found: found.as_ref().map(hidden),
            }
        };
        let found = gray.heard.keys.iter().find_map(|(at, found)| found.as_ref().map(|id| (*at, id)));
        let handed = assigned.handed.map(|id| words::id(&id.0));
        let rule = |&(list, at, took): &(_, usize, bool)| {
            let (list, rule) = words::listed(config, list, at);
            Rule { list, rule: rule.map(words::rule).unwrap_or_default(), took }
        };
        let mirror = config.mirror.as_ref().filter(|_| gray.mirrored);
        Release {
            name: config.name.to_string(),
            keys: gray.heard.keys.iter().map(key).collect(),
            id: found.filter(|(at, _)| !secret(*at)).map(|(_, id)| words::id(id)).or(handed),
            handed: assigned.handed.is_some(),
            salt: config.salt.clone(),
            bucket: assigned.bucket.map(model::Bucket::get),
            owner: assigned.bucket.map(|bucket| cluster(gray.release.owner(bucket))),
            versions: self.versions(gray),
            rules: gray.heard.rules.iter().map(rule).collect(),
            why: assigned.why.as_str().to_owned(),
            words: words::why(assigned.why).to_owned(),
            assigned: cluster(assigned.version),
            cluster: cluster(gray.decided.version),
            moved_by_health: gray.decided.moved_by_health(),
            mirrored_to: mirror.map(|mirror| mirror.cluster.to_string()),
        }
    }

    fn versions(&self, gray: &Gray) -> Vec<Version> {
        let release = &*gray.release;
        let in_force = self.snapshot.releases.get(gray.index).map(|release| &*release.ranges).unwrap_or_default();
        let canaries = release.config.canaries.iter().zip(&release.ranges).zip(&release.closed).enumerate();
        let canary = |(at, ((canary, &range), &closed)): (usize, ((&model::Canary, &Range), &bool))| Version {
            cluster: canary.cluster.to_string(),
            percent: range.share.percent(),
            buckets: words::buckets(range),
            closed,
            supposed: in_force.get(at).is_some_and(|before| *before != range),
        };
        let given: u16 = release.ranges.iter().map(|range| range.share.buckets()).sum();
        let rest = Share::of_buckets(Share::ALL.buckets().saturating_sub(given)).unwrap_or_default();
        let stable = Version {
            cluster: release.config.stable.to_string(),
            percent: rest.percent(),
            buckets: if rest == Share::NONE { "none".into() } else { "all others".into() },
            ..Version::default()
        };
        std::iter::once(stable).chain(canaries.map(canary)).collect()
    }

    fn cluster(&self, cluster: &snapshot::Cluster) -> Cluster {
        let shares = weir_core::explain::shares(cluster);
        let endpoint = |(at, member)| self.endpoint(cluster, at, member, shares[at]);
        let shown = |&(at, _): &(usize, _)| at < self.most || Some(at) == self.endpoint;
        let endpoints: Vec<Endpoint> = cluster.members.iter().enumerate().filter(shown).map(endpoint).collect();
        Cluster {
            name: cluster.config.name.to_string(),
            balance: balance(cluster.config.balance).to_owned(),
            using: cluster.available.tier.as_str().to_owned(),
            panic: cluster.available.panic.map(|why| why.to_string()),
            breaker: self.breaker(&cluster.breaker),
            drills: self.snapshot.drills.iter().map(|drill| format!("drill {}: {drill}", drill.id)).collect(),
            levels: cluster.available.levels.iter().map(level).collect(),
            endpoints_left_out: cluster.members.len() - endpoints.len(),
            endpoints,
        }
    }

    fn breaker(&self, breaker: &snapshot::Breaker) -> Breaker {
        let words = match breaker {
            snapshot::Breaker::Closed => "requests flow".into(),
            snapshot::Breaker::Open { until } => {
                format!("no request is let through for another {:.1} s", until.since(self.witness.now).as_secs_f64())
            }
            snapshot::Breaker::HalfOpen(trial) => {
                format!("trials only; {} are under way", trial.under_way())
            }
        };
        Breaker { state: breaker.as_str().to_owned(), words }
    }

    fn endpoint(&self, cluster: &snapshot::Cluster, at: usize, member: &snapshot::Member, share: f64) -> Endpoint {
        let Witness { control, now, wall } = self.witness;
        // Since the snapshot was made it may have become something else; then that is another story.
        let view = view(control, member);
        let since = view.as_ref().map(|view| now.since(view.since));
        Endpoint {
            address: member.address().to_string(),
            zone: member.zone.as_ref().map(ToString::to_string),
            weight: member.weight.get(),
            weight_percent: f64::from(member.permille) / 10.0,
            priority: member.priority,
            status: member.status.as_str().to_owned(),
            reason: view.map(|view| view.evidence.to_string()),
            since: since.and_then(|since| wall.checked_sub(since)).map(self::at),
            since_seconds: since.map(|since| since.as_secs()),
            share_percent: share * 100.0,
            why_not: cluster.available.why_not(at, member).map(|why| why.to_string()).or_else(|| full(member)),
            in_flight: EndpointLoad::active(&member.load),
            picked: Some(at) == self.endpoint,
        }
    }

    fn pick(&self, picked: &Picked) -> Pick {
        let name = |index: usize| self.member(index).map(|member| member.address().to_string());
        let cluster = self.cluster_of();
        let keys = cluster.map(|cluster| &*cluster.config.hash.keys).unwrap_or_default();
        let key = picked.key.and_then(|(at, hash)| {
            let key = keys.get(at)?;
            Some(format!("{}: {hash:016x}", words::hash_key(key)))
        });
        let steps = cluster.map(|cluster| picked.steps.iter().map(|step| words::step(cluster, step)).collect());
        let (endpoint, why, told) = match &picked.result {
            Ok((index, why)) => (name(*index), why.as_str(), why.to_string()),
            Err(refusal) => (None, refusal.reason.as_str(), refusal.reason.meaning().help.to_owned()),
        };
        Pick { endpoint, why: why.to_owned(), words: told, key, steps: steps.unwrap_or_default() }
    }

    fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if let Some(cluster) = self.cluster_of() {
            let unknown = cluster.members.iter().filter(|member| member.status == Status::Unknown).count();
            if unknown > 0 {
                notes.push(format!("{unknown} of {} endpoints have not been judged yet", cluster.members.len()));
            }
            if cluster.members.is_empty() && !cluster.config.sources.is_empty() {
                notes.push("its endpoints are told by names or files that have not been looked at".into());
            }
        }
        notes
    }
}

/// What control knows of a member, unless that is another status by now.
fn view<'c>(control: &'c Control, member: &snapshot::Member) -> Option<EndpointView<'c>> {
    control.endpoint(&member.key).filter(|view| view.status == member.status)
}

fn full(member: &snapshot::Member) -> Option<String> {
    member.live.requests.is_full().then(|| "it has as many requests under way as it may".to_owned())
}

fn level(level: &availability::Level) -> Level {
    let percent = |part: u32| f64::from(part) * 100.0 / f64::from(WHOLE);
    let zone = |row: &availability::ZoneRow| Zone {
        zone: row.zone.as_ref().map(ToString::to_string),
        percent: percent(row.share),
        usable: row.usable,
        of: row.of,
    };
    Level {
        priority: level.priority,
        percent: f64::from(level.load.percent),
        available: level.count.available,
        of: level.count.of,
        panic: level.load.panic,
        zone_reason: level.zones.state.to_string(),
        zones: level.zones.rows.iter().map(zone).collect(),
    }
}

fn rewritten(way: &Explanation) -> Option<Rewritten> {
    let Treated { target, host, .. } = way.treated.clone();
    (target.is_some() || host.is_some()).then_some(Rewritten { target, host })
}

fn refused(reason: Reason) -> Refused {
    let meaning = reason.meaning();
    Refused { reason: meaning.name.to_owned(), status: meaning.status, words: meaning.help.to_owned() }
}

const fn balance(balance: Balance) -> &'static str {
    match balance {
        Balance::RoundRobin => "round_robin",
        Balance::LeastRequest => "least_request",
        Balance::Random => "random",
        Balance::Ewma => "ewma",
        Balance::RingHash => "ring_hash",
        Balance::Maglev => "maglev",
    }
}
