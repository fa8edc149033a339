//! What a cluster's policies cannot do together: keys without effect, rules that can never fire.
//!
//! Only about what is written: a default that has nothing to do is nobody's mistake.

mod rules;
mod zones;

use super::Fields;
use crate::mistake::Mistake;
use crate::model::{Address, Balance, Cluster, Family, PanicMode, SourceKind, ZoneName};
use crate::report::{Path, Report};
use crate::yaml::{Node, Span, Value};

/// Fewer local ports than this are soon used up: one that was closed rests for a minute.
const FEW_PORTS: usize = 100;

/// Warns of what the cluster that `fields` came to cannot do, for an instance that stands in `zone`.
pub(super) fn warn(
    cluster: &Cluster,
    fields: &Fields<'_>,
    zone: Option<&ZoneName>,
    path: &Path<'_>,
    report: &mut Report,
) {
    let mut lint = Lint { cluster, fields, path, report };
    lint.hash();
    lint.sticky();
    lint.outlier();
    lint.breaker();
    lint.retry_budget();
    lint.panic();
    lint.zone_aware(zone);
    lint.overprovisioning();
    lint.sockets();
    lint.local_addresses();
    lint.source_ports();
    lint.resolve();
}

/// A cluster, and the text it came from.
struct Lint<'a> {
    cluster: &'a Cluster,
    fields: &'a Fields<'a>,
    path: &'a Path<'a>,
    report: &'a mut Report,
}

impl Lint<'_> {
    /// Where the key is, if it is written; keys of inner objects after those of outer ones.
    fn given(&self, keys: &[&'static str]) -> Option<Span> {
        let (first, rest) = keys.split_first()?;
        let mut node = self.fields.get(first)?;
        for key in rest {
            let Value::Map(entries) = &node.value else {
                return None;
            };
            node = &entries.iter().find(|(name, _)| name.text == *key)?.1;
        }
        Some(node.mark())
    }

    /// Warns of a key, if it is written.
    fn say(&mut self, keys: &[&'static str], code: &'static str, message: impl Into<String>, hint: &str) {
        if let Some(span) = self.given(keys) {
            push(self.path, keys, Mistake::warning(code, span, message).hint(hint), self.report);
        }
    }

    fn no_effect(&mut self, keys: &[&'static str], why: &str, hint: &str) {
        let name = keys.last().copied().unwrap_or_default();
        self.say(keys, "no_effect", format!("`{name}` has no effect: {why}"), hint);
    }

    /// How many endpoints take traffic; `None` if that may change by itself.
    fn count(&self) -> Option<usize> {
        let fixed = self.cluster.endpoints.iter().filter(|endpoint| endpoint.weight.get() > 0).count();
        self.cluster.sources.is_empty().then_some(fixed)
    }

    fn hash(&mut self) {
        match self.cluster.balance {
            Balance::RingHash => {
                self.no_effect(&["hash", "table_size"], "it is of maglev, and this is ring_hash", "remove it");
            }
            Balance::Maglev => {
                for key in ["minimum_ring_size", "maximum_ring_size"] {
                    self.no_effect(&["hash", key], "it is of ring_hash, and this is maglev", "remove it");
                }
            }
            _ => self.no_effect(&["hash"], "this `balance` does not hash", "give `balance: maglev` or `ring_hash`"),
        }
        let (hash, count) = (&self.cluster.hash, self.cluster.endpoints.len());
        let (key, size) = match self.cluster.balance {
            Balance::Maglev => ("table_size", hash.table_size),
            Balance::RingHash => ("maximum_ring_size", hash.maximum_ring_size),
            _ => return,
        };
        if (size as usize) < count {
            let message = format!("{count} endpoints share {size} places, so some of them get no request");
            self.say(&["hash", key], "table_too_small", message, "give it about a hundred places for each endpoint");
        }
    }

    fn sticky(&mut self) {
        if self.cluster.sticky.is_some() && self.cluster.balance.hashes() {
            let message = "the cookie wins over the hash: only a session's first request goes by its hash key";
            self.say(&["sticky"], "sticky_and_hash", message, "keep one of `sticky` and the hashing `balance`");
        }
    }

    fn retry_budget(&mut self) {
        let budget = self.cluster.retry_budget;
        let none = |percent: u16, always: u32| percent == 0 && always == 0;
        if none(budget.concurrent_percent, budget.min_concurrent) || none(budget.percent, budget.min_retries) {
            let message = "this budget is always used up: no retry is ever made";
            self.say(&["retry_budget"], "never_fires", message, "to switch retries off, give the routes `retry: off`");
        }
    }

    fn panic(&mut self) {
        if self.cluster.panic.mode == PanicMode::Off {
            self.no_effect(&["panic", "threshold"], "panic is off", "remove it, or give another `mode`");
        } else if self.cluster.panic.threshold == 0 {
            let message = "fewer than 0 per cent are never available, so there is no panic";
            self.say(&["panic", "threshold"], "never_fires", message, "`panic: off` says so");
        }
    }

    fn overprovisioning(&mut self) {
        let levels = |priority: u8| self.cluster.endpoints.iter().any(|endpoint| endpoint.priority != priority);
        let open = self.cluster.sources.iter().any(|source| !matches!(source.kind, SourceKind::Name { .. }));
        let first = self.cluster.endpoints.first().map(|endpoint| endpoint.priority);
        let first = first.or_else(|| self.cluster.sources.first().map(|source| source.priority)).unwrap_or_default();
        let more = levels(first) || open || self.cluster.sources.iter().any(|source| source.priority != first);
        if !more {
            let hint = "give some endpoints `priority: 1`, or remove it";
            self.no_effect(&["overprovisioning"], "all endpoints have the same priority", hint);
        }
    }

    /// Unix sockets have no ports and no TCP.
    fn sockets(&mut self) {
        let is_socket = |address: &Address| matches!(address, Address::Unix(_));
        let mut sockets = self.cluster.endpoints.iter().filter(|endpoint| is_socket(&endpoint.address));
        let Some(one) = sockets.next().map(|endpoint| endpoint.address.clone()) else {
            return;
        };
        for (at, node) in self.fields.items("health_checks").iter().enumerate() {
            if let Some(span) = key_of(node, "port") {
                let message = format!("`port` has no effect on {one}: a socket has none");
                let mistake = Mistake::warning("no_effect", span, message).hint("it is checked over the socket itself");
                let path = self.path.key("health_checks");
                push(&path.item(at), &["port"], mistake, self.report);
            }
        }
        let all = self.cluster.sources.is_empty()
            && self.cluster.endpoints.iter().all(|endpoint| is_socket(&endpoint.address));
        if all {
            for key in ["keepalive", "user_timeout", "local_address", "source_ports"] {
                self.no_effect(&["connect", key], "every endpoint is a Unix socket, which is no TCP", "remove it");
            }
        }
    }

    fn local_addresses(&mut self) {
        let local = &self.cluster.connect.local_addresses;
        let (v4, v6) = (local.iter().any(|ip| ip.is_ipv4()), local.iter().any(|ip| ip.is_ipv6()));
        let addresses: Vec<_> = self.cluster.endpoints.iter().filter_map(|endpoint| endpoint.address.ip()).collect();
        let found = |family| {
            let named = |kind: &SourceKind| !matches!(kind, SourceKind::File(_));
            let may = self.cluster.resolve.family == Family::Both || self.cluster.resolve.family == family;
            self.cluster.sources.iter().any(|source| !named(&source.kind) || may)
        };
        let wants_v4 = addresses.iter().any(|address| address.is_ipv4()) || found(Family::V4);
        let wants_v6 = addresses.iter().any(|address| address.is_ipv6()) || found(Family::V6);
        let mismatch = match (v4, v6) {
            (true, false) if wants_v6 && !wants_v4 => "IPv4, and every endpoint IPv6",
            (false, true) if wants_v4 && !wants_v6 => "IPv6, and every endpoint IPv4",
            _ => return,
        };
        let why = format!("it is {mismatch}");
        self.no_effect(&["connect", "local_address"], &why, "give an address of the endpoints' family");
    }

    fn source_ports(&mut self) {
        let connect = &self.cluster.connect;
        let Some(ports) = &connect.source_ports else {
            return;
        };
        // Every connection to one endpoint needs a pair of local address and port of its own.
        let places = ports.len() * connect.local_addresses.len().max(1);
        let limit = self.cluster.breaker.per_endpoint.max_connections.map_or(0, |limit| limit.get() as usize);
        let hint = "each open connection to an endpoint needs a port of its own, and so does one that was just closed";
        if ports.len() < FEW_PORTS {
            let message = match ports.len() {
                1 => "this is one port only".to_owned(),
                n => format!("these are {n} ports only"),
            };
            self.say(&["connect", "source_ports"], "few_source_ports", message, hint);
        } else if limit > places {
            let message = format!("{places} connections are possible from here, and an endpoint may have {limit}");
            self.say(&["connect", "source_ports"], "few_source_ports", message, hint);
        }
    }

    fn resolve(&mut self) {
        if self.cluster.sources.iter().all(|source| matches!(source.kind, SourceKind::File(_))) {
            self.no_effect(&["resolve"], "no endpoint of this cluster is a name", "remove it");
        }
    }
}

/// Where the value of a key of a map is.
fn key_of(node: &Node, key: &str) -> Option<Span> {
    let Value::Map(entries) = &node.value else {
        return None;
    };
    entries.iter().find(|(name, _)| name.text == key).map(|(_, node)| node.mark())
}

/// Reports what is wrong with the value under these keys.
fn push(path: &Path<'_>, keys: &[&str], mistake: Mistake, report: &mut Report) {
    match keys {
        [] => report.push(mistake, path),
        [first, rest @ ..] => push(&path.key(first), rest, mistake, report),
    }
}
