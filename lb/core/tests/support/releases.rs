//! Releases made by hand.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use weir_config::model::*;
use weir_core::load::Shards;
use weir_core::release::{self, Asked};
use weir_core::route::{Headers, RequestView};

/// A release called `orders`: salt `s`, stable `v1`, key `x-user-id`, these canaries.
pub(crate) fn orders(canaries: Vec<Canary>) -> Release {
    Release {
        name: ReleaseName::new("orders").expect("a name"),
        key: vec![IdKey::Header("x-user-id".into())],
        canonical: Canonical { trim: true, lower: false },
        salt: "s".into(),
        stable: cluster_name("v1"),
        canaries,
        never: Vec::new(),
        anonymous: Anonymous::Stable,
        on_unhealthy: OnUnhealthy::Stable,
        judge: JudgeRules { min_requests: 200, confidence: 95.0, error_margin: 1.0, latency_margin: 25.0 },
        mirror: None,
        line: 1,
    }
}

pub(crate) fn cluster_name(name: &str) -> ClusterName {
    ClusterName::new(name).expect("a name")
}

/// A canary without lists; `from` and `weight` in buckets.
pub(crate) fn canary(cluster: &str, from: u16, weight: u16) -> Canary {
    Canary {
        cluster: cluster_name(cluster),
        from: Bucket::new(from).expect("a bucket"),
        weight: Share::of_buckets(weight).expect("a share"),
        first: Vec::new(),
        never: Vec::new(),
        rollout: None,
    }
}

/// As workers see it: its clusters are the first of the snapshot, in order, weights as they are
/// wished.
pub(crate) fn made_release(config: Release) -> release::Release {
    let weights: Vec<Option<Share>> = config.canaries.iter().map(|canary| Some(canary.weight)).collect();
    made_release_at(config, &weights)
}

/// The same with these weights in force.
pub(crate) fn made_release_at(config: Release, weights: &[Option<Share>]) -> release::Release {
    let versions = config.canaries.len() + 1;
    let loads = (0..versions).map(|_| Arc::new(Shards::new(1))).collect();
    release::Release::new(Arc::new(config), (0..versions).collect(), weights, loads, Arc::new(Shards::new(1)), None)
}

/// Header fields of a request, by lower-case name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fields(pub(crate) BTreeMap<String, String>);

impl Headers for Fields {
    fn get(&self, name: &str) -> Option<&[u8]> {
        self.0.get(name).map(String::as_bytes)
    }
}

impl Fields {
    pub(crate) fn of(fields: &[(&str, &str)]) -> Self {
        Self(fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }

    /// A GET with these fields, for `target` from `client`.
    pub(crate) fn get<'a>(&'a self, target: &'a str, client: &str) -> Asked<'a> {
        let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
        let view = RequestView { method: "GET", host: "shop.example", path, headers: self };
        Asked { view, query, client: client.parse::<IpAddr>().expect("an address") }
    }
}

pub(crate) fn users(ids: &[&str]) -> Rule {
    Rule::Users(Arc::new(Users::new(ids.iter().map(|id| id.as_bytes()), None)))
}

pub(crate) fn segment(at: u16) -> IdKey {
    IdKey::PathSegment(NonZeroU16::new(at).expect("not 0"))
}

pub(crate) fn handing_out() -> Anonymous {
    Anonymous::Cookie(IdCookie { name: "weir-id".into(), ttl: Duration::from_secs(60), path: "/".into() })
}
