//! How what one process saw is written down for the next: JSON, with a version and a checksum, read strictly.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use weir_config::model::{self, Address, ClusterName, SourceKind, Weight, ZoneName};
use weir_core::control::SourceKey;
use weir_core::control::memory::{BreakerMemory, DrainMemory, EndpointMemory, Memory, SourceMemory, StandingMemory};
use weir_core::control::orders::DrainScope;
use weir_core::endpoint::EndpointKey;
use weir_core::health::Verdict;
use xxhash_rust::xxh64::xxh64;

/// Of the form below.
const VERSION: u32 = 1;

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Head {
    version: u32,
    /// XXH64 of the rest of the file, hexadecimal.
    checksum: String,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Whole {
    endpoints: Vec<Endpoint>,
    breakers: Vec<Breaker>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    sources: Vec<Source>,
    drains: Vec<Drain>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Endpoint {
    cluster: String,
    address: String,
    checks: Vec<(String, u32)>,
    stood_ms: u64,
    why: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    reduced: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    out_ms: Option<u64>,
    times: u32,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Breaker {
    cluster: String,
    left_ms: u64,
    again: u32,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Source {
    cluster: String,
    kind: Looked,
    endpoints: Vec<Told>,
    #[serde(skip_serializing_if = "Option::is_none")]
    failing_ms: Option<u64>,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Looked {
    Name { host: String, port: u16 },
    Srv(String),
    File(PathBuf),
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Told {
    address: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    zone: Option<String>,
    weight: u16,
    priority: u8,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Drain {
    cluster: Option<String>,
    address: Option<String>,
    zone: Option<String>,
    stood_ms: u64,
    left_ms: Option<u64>,
    by: String,
}

/// As text.
pub(crate) fn text(memory: &Memory) -> String {
    let whole = Whole {
        endpoints: memory.endpoints.iter().map(Endpoint::of).collect(),
        breakers: memory.breakers.iter().map(Breaker::of).collect(),
        sources: memory.sources.iter().map(Source::of).collect(),
        drains: memory.drains.iter().map(Drain::of).collect(),
    };
    // Strings and integers always have a form.
    let body = serde_json::to_string(&whole).unwrap_or_default();
    let head = Head { version: VERSION, checksum: format!("{:016x}", xxh64(body.as_bytes(), 0)) };
    format!("{}\n{body}\n", serde_json::to_string(&head).unwrap_or_default())
}

/// From text.
///
/// # Errors
/// Why it cannot be understood.
pub(crate) fn parse(text: &str) -> Result<Memory, String> {
    let words = |error: serde_json::Error| error.to_string();
    let (head, body) = text.split_once('\n').ok_or("it ends in its first line")?;
    let head: Head = serde_json::from_str(head).map_err(words)?;
    if head.version != VERSION {
        return Err(format!("its version is {}, and {VERSION} is known here", head.version));
    }
    let body = body.strip_suffix('\n').unwrap_or(body);
    if head.checksum != format!("{:016x}", xxh64(body.as_bytes(), 0)) {
        return Err("its checksum is another".to_owned());
    }
    let whole: Whole = serde_json::from_str(body).map_err(words)?;
    Ok(Memory {
        endpoints: whole.endpoints.into_iter().map(Endpoint::meant).collect::<Result<_, _>>()?,
        breakers: whole.breakers.into_iter().map(Breaker::meant).collect::<Result<_, _>>()?,
        sources: whole.sources.into_iter().map(Source::meant).collect::<Result<_, _>>()?,
        drains: whole.drains.into_iter().map(Drain::meant).collect::<Result<_, _>>()?,
    })
}

impl Endpoint {
    fn of(memory: &EndpointMemory) -> Self {
        let EndpointMemory { key, checks, stood, why, standing, times } = memory;
        let (reduced, out_ms) = match standing {
            StandingMemory::In => (None, None),
            StandingMemory::Reduced(permille) => (Some(*permille), None),
            StandingMemory::Out(left) => (None, Some(millis(*left))),
        };
        let checks = checks.iter().map(|(verdict, streak)| (word(*verdict).to_owned(), *streak));
        Self {
            cluster: key.cluster.as_str().to_owned(),
            address: key.address.to_string(),
            checks: checks.collect(),
            stood_ms: millis(*stood),
            why: why.to_string(),
            reduced,
            out_ms,
            times: *times,
        }
    }

    fn meant(self) -> Result<EndpointMemory, String> {
        let checks = self.checks.iter().map(|(word, streak)| Ok((verdict(word)?, *streak)));
        Ok(EndpointMemory {
            key: EndpointKey { cluster: cluster(&self.cluster)?, address: address(&self.address)? },
            checks: checks.collect::<Result<_, String>>()?,
            stood: Duration::from_millis(self.stood_ms),
            why: self.why.into(),
            standing: match (self.reduced, self.out_ms) {
                (None, None) => StandingMemory::In,
                (Some(permille), None) => StandingMemory::Reduced(permille),
                (None, Some(left)) => StandingMemory::Out(Duration::from_millis(left)),
                (Some(_), Some(_)) => return Err("an endpoint cannot be out and reduced".to_owned()),
            },
            times: self.times,
        })
    }
}

impl Breaker {
    fn of(memory: &BreakerMemory) -> Self {
        let BreakerMemory { cluster, left, again } = memory;
        Self { cluster: cluster.as_str().to_owned(), left_ms: millis(*left), again: *again }
    }

    fn meant(self) -> Result<BreakerMemory, String> {
        let left = Duration::from_millis(self.left_ms);
        Ok(BreakerMemory { cluster: cluster(&self.cluster)?, left, again: self.again })
    }
}

impl Source {
    fn of(memory: &SourceMemory) -> Self {
        let SourceMemory { key, endpoints, failing } = memory;
        let kind = match &key.kind {
            SourceKind::Name { host, port } => Looked::Name { host: host.to_string(), port: *port },
            SourceKind::Srv(name) => Looked::Srv(name.to_string()),
            // One whose name is no text would be no JSON: it is looked at anew.
            SourceKind::File(path) => Looked::File(path.to_string_lossy().into_owned().into()),
        };
        let told = |endpoint: &model::Endpoint| Told {
            address: endpoint.address.to_string(),
            zone: endpoint.zone.as_ref().map(|zone| zone.as_str().to_owned()),
            weight: endpoint.weight.get(),
            priority: endpoint.priority,
        };
        Self {
            cluster: key.cluster.as_str().to_owned(),
            kind,
            endpoints: endpoints.iter().map(told).collect(),
            failing_ms: failing.map(millis),
        }
    }

    fn meant(self) -> Result<SourceMemory, String> {
        let kind = match self.kind {
            Looked::Name { host, port } => SourceKind::Name { host: host.into(), port },
            Looked::Srv(name) => SourceKind::Srv(name.into()),
            Looked::File(path) => SourceKind::File(path),
        };
        Ok(SourceMemory {
            key: SourceKey { cluster: cluster(&self.cluster)?, kind },
            endpoints: self.endpoints.into_iter().map(Told::meant).collect::<Result<_, _>>()?,
            failing: self.failing_ms.map(Duration::from_millis),
        })
    }
}

impl Told {
    fn meant(self) -> Result<model::Endpoint, String> {
        Ok(model::Endpoint {
            address: address(&self.address)?,
            zone: self.zone.as_deref().map(zone).transpose()?,
            weight: Weight::new(self.weight.into()).ok_or_else(|| format!("{} is no weight", self.weight))?,
            priority: self.priority,
        })
    }
}

impl Drain {
    fn of(memory: &DrainMemory) -> Self {
        let DrainMemory { scope, stood, left, by } = memory;
        let (cluster, address, zone) = match scope {
            DrainScope::Endpoint(key) => (Some(&key.cluster), Some(key.address.to_string()), None),
            DrainScope::Zone(zone, cluster) => (cluster.as_ref(), None, Some(zone.as_str().to_owned())),
        };
        Self {
            cluster: cluster.map(|name| name.as_str().to_owned()),
            address,
            zone,
            stood_ms: millis(*stood),
            left_ms: left.map(millis),
            by: by.to_string(),
        }
    }

    fn meant(self) -> Result<DrainMemory, String> {
        let cluster = self.cluster.as_deref().map(cluster).transpose()?;
        let scope = match (cluster, self.address, self.zone) {
            (Some(cluster), Some(text), None) => {
                DrainScope::Endpoint(EndpointKey { cluster, address: address(&text)? })
            }
            (cluster, None, Some(zone)) => DrainScope::Zone(self::zone(&zone)?, cluster),
            _ => return Err("a drain is of an endpoint or of a zone".to_owned()),
        };
        let (stood, left) = (Duration::from_millis(self.stood_ms), self.left_ms.map(Duration::from_millis));
        Ok(DrainMemory { scope, stood, left, by: self.by.into() })
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

const fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Unknown => "unknown",
        Verdict::Healthy => "healthy",
        Verdict::Unhealthy => "unhealthy",
    }
}

fn verdict(word: &str) -> Result<Verdict, String> {
    match word {
        "unknown" => Ok(Verdict::Unknown),
        "healthy" => Ok(Verdict::Healthy),
        "unhealthy" => Ok(Verdict::Unhealthy),
        _ => Err(format!("{word:?} is no verdict")),
    }
}

fn cluster(name: &str) -> Result<ClusterName, String> {
    ClusterName::new(name).map_err(|error| error.to_string())
}

fn zone(name: &str) -> Result<ZoneName, String> {
    ZoneName::new(name).map_err(|error| error.to_string())
}

fn address(text: &str) -> Result<Address, String> {
    match text.strip_prefix("unix:") {
        Some(path) => Ok(Address::Unix(Path::new(path).into())),
        None => text.parse::<SocketAddr>().map(Address::Ip).map_err(|_| format!("{text:?} is no address")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory() -> Memory {
        let key = |address: &str| EndpointKey {
            cluster: ClusterName::new("shop").unwrap(),
            address: super::address(address).unwrap(),
        };
        let endpoint = |address: &str, standing| EndpointMemory {
            key: key(address),
            checks: vec![(Verdict::Healthy, 1), (Verdict::Unhealthy, 0), (Verdict::Unknown, 0)],
            stood: Duration::from_millis(1234),
            why: "3 of 3 \"probes\" failed\n".into(),
            standing,
            times: 3,
        };
        let drain = |scope| DrainMemory { scope, stood: Duration::ZERO, left: None, by: "alice".into() };
        let zone = || ZoneName::new("az-a").unwrap();
        Memory {
            endpoints: vec![
                endpoint("10.0.0.1:80", StandingMemory::In),
                endpoint("[::1]:80", StandingMemory::Reduced(500)),
                endpoint("unix:/run/a.sock", StandingMemory::Out(Duration::from_secs(7))),
            ],
            breakers: vec![BreakerMemory {
                cluster: ClusterName::new("shop").unwrap(),
                left: Duration::from_secs(1),
                again: 2,
            }],
            sources: [
                SourceKind::Name { host: "be.example".into(), port: 80 },
                SourceKind::Srv("_http._tcp.be.example".into()),
                SourceKind::File("/etc/weir/some \"more\".yaml".into()),
            ]
            .map(|kind| SourceMemory {
                key: SourceKey { cluster: ClusterName::new("shop").unwrap(), kind },
                endpoints: vec![model::Endpoint {
                    address: address("[::1]:80").unwrap(),
                    zone: Some(zone()),
                    weight: Weight::new(7).unwrap(),
                    priority: 1,
                }],
                failing: Some(Duration::from_secs(9)),
            })
            .into(),
            drains: vec![
                drain(DrainScope::Endpoint(key("10.0.0.1:80"))),
                drain(DrainScope::Zone(zone(), None)),
                drain(DrainScope::Zone(zone(), Some(ClusterName::new("shop").unwrap()))),
            ],
        }
    }

    #[test]
    fn what_is_written_is_read() {
        assert_eq!(parse(&text(&memory())).unwrap(), memory());
        assert_eq!(parse(&text(&Memory::default())).unwrap(), Memory::default());
    }

    #[test]
    fn what_was_touched_is_not_believed() {
        let good = text(&memory());
        for (wrong, why) in [
            (good.replace("healthy", "HEALTHY"), "its checksum is another"),
            (good.replace("\"version\":1", "\"version\":2"), "its version is 2, and 1 is known here"),
            (good[..good.len() / 2].to_owned(), "its checksum is another"),
            (String::new(), "it ends in its first line"),
        ] {
            assert_eq!(parse(&wrong).unwrap_err(), why);
        }
    }
}
