//! Endpoints that do not answer as they should, by the step at which they fail. Those of a cluster
//! that fail alike are one finding.

use std::collections::BTreeMap;

use weir_core::health::{Inconclusive, ProbeFailure, ProbeResult};
use weir_core::tls::Untrusted;

use super::{Area, Says, listed, shown};
use crate::doctor::facts::{Endpoint, Facts, Step};
use crate::doctor::report::{Finding, Severity};
use crate::env::Unconnected;

const ENDPOINTS: Area = Area("endpoints");

/// What is wrong with one endpoint.
struct Wrong {
    severity: Severity,
    code: &'static str,
    /// Goes after the endpoints: `connection refused`.
    what: String,
    evidence: String,
    /// `HOST`, `PORT` and `ADDRESS` stand for the first endpoint's.
    fix: String,
}

/// `exhausted`: this host can dial nobody, and that is told already.
pub(super) fn judge(facts: &Facts, exhausted: bool) -> Vec<Finding> {
    type Kind<'f> = (&'f str, &'static str, String);
    let mut alike: BTreeMap<Kind<'_>, Vec<(&Endpoint, Wrong)>> = BTreeMap::new();
    for endpoint in &facts.endpoints {
        let Some(wrong) = wrong(endpoint) else { continue };
        let full = facts
            .sockets
            .queues
            .iter()
            .any(|queue| queue.waiting > queue.room && queue.address.to_string() == endpoint.address);
        // Its accept queue says why; and what this host lacks it lacks for all.
        let told = (full && matches!(wrong.code, "filtered" | "hangs")) || (exhausted && wrong.code == "dial_local");
        if !told {
            alike.entry((&endpoint.cluster, wrong.code, wrong.what.clone())).or_default().push((endpoint, wrong));
        }
    }
    let mut found: Vec<Finding> = alike
        .into_iter()
        .map(|((cluster, code, what), them)| {
            let addresses: Vec<&str> = them.iter().map(|(endpoint, _)| endpoint.address.as_str()).collect();
            let all = facts.endpoints.iter().filter(|endpoint| endpoint.cluster == cluster).count();
            one(cluster, code, &what, &addresses, all, them)
        })
        .collect();
    if facts.unexamined > 0 {
        found.push(ENDPOINTS.warning(
            "unexamined",
            Says {
                cause: format!("{} endpoints were not looked at", facts.unexamined),
                evidence: "the time of one look was over, or there are more than it goes to".into(),
                effect: "nothing is said of them here".into(),
                fix: "mend what is found first: dials that hang take the time of the others; `weir status` has the health of all".into(),
            },
        ));
    }
    found
}

fn one(
    cluster: &str,
    code: &'static str,
    what: &str,
    addresses: &[&str],
    all: usize,
    them: Vec<(&Endpoint, Wrong)>,
) -> Finding {
    let of = format!("{} of {all} endpoints of cluster {cluster}", addresses.len());
    let which = match addresses {
        [only] => format!("{only} of cluster {cluster}"),
        _ => format!("{of} ({})", listed(addresses)),
    };
    let (severity, evidence, fix) = match them.into_iter().next() {
        Some((endpoint, Wrong { severity, evidence, fix, .. })) => {
            let (host, port) = endpoint.address.rsplit_once(':').unwrap_or((&endpoint.address, ""));
            let host = host.trim_matches(['[', ']']);
            let fix = fix.replace("ADDRESS", &endpoint.address).replace("HOST", host).replace("PORT", port);
            (severity, if addresses.len() > 1 { format!("{}: {evidence}", endpoint.address) } else { evidence }, fix)
        }
        None => (Severity::Warning, String::new(), String::new()),
    };
    let effect = match severity {
        Severity::Warning => "under load it will be too late: time-outs, then ejections".to_owned(),
        Severity::Bad if addresses.len() == all => format!("cluster {cluster} has nobody else: its requests fail"),
        Severity::Bad => format!("{of} get no traffic; the others take their share"),
    };
    let says = Says { cause: format!("{which}: {what}"), evidence, effect, fix };
    ENDPOINTS.finding(severity, code, says)
}

/// The first step that failed, or else one that was slow.
fn wrong(endpoint: &Endpoint) -> Option<Wrong> {
    let dial = endpoint.dial.as_ref();
    if let Some((step, why)) = dial.and_then(|step| Some((step, step.failed?))) {
        return Some(undialled(step, why));
    }
    if let Some((step, (why, words))) = endpoint.tls.as_ref().and_then(|step| Some((step, step.failed.as_ref()?))) {
        return Some(untrusted(endpoint, step, *why, words));
    }
    let failed = endpoint.checks.iter().find_map(|(kind, step)| Some((*kind, step, step.failed?)));
    if let Some(wrong) = failed.and_then(|(kind, step, result)| unhealthy(endpoint, kind, step, result)) {
        return Some(wrong);
    }
    let dial = dial.filter(|step| step.took > step.limit / 2).map(|step| ("dial", step.took, step.limit));
    let tls = endpoint.tls.as_ref().filter(|step| step.took > step.limit / 2);
    let check = endpoint.checks.iter().find(|(_, step)| step.took > step.limit / 2);
    let slow = dial
        .or_else(|| tls.map(|step| ("TLS handshake", step.took, step.limit)))
        .or_else(|| check.map(|(_, step)| ("health check", step.took, step.limit)));
    slow.map(|(what, took, limit)| Wrong {
        severity: Severity::Warning,
        code: "slow",
        what: format!("{what} near its time-out"),
        evidence: format!("{} of the {} that it may take", shown(took), shown(limit)),
        fix: "look at the load of the endpoint and at the way there (`ping HOST`), or allow more: `connect: {timeout: ...}`, \
              `timeout` of the health check"
            .into(),
    })
}

fn undialled(step: &Step<Unconnected>, why: Unconnected) -> Wrong {
    let after = shown(step.took);
    let (code, what, evidence, fix) = match why {
        Unconnected::Refused => (
            "refused",
            "connection refused: nothing listens there",
            format!("`connection refused` after {after}: the host is up and answers"),
            "start the service, or correct the address; on that host `ss -ltnp 'sport = :PORT'` shows who listens, and on \
             which address",
        ),
        Unconnected::TimedOut => (
            "filtered",
            "no answer to a dial: a packet filter drops it, or the host is down",
            format!("neither accepted nor refused within {after} (`connect: {{timeout: ...}}`): no packet came back"),
            "`ping HOST` (is the host up?), `mtr -n -T -P PORT HOST` (where do packets end?); then the security group, or \
             `nft list ruleset | grep drop` on both hosts",
        ),
        Unconnected::Reset => (
            "reset",
            "connection reset at once",
            format!("reset after {after}"),
            "something between resets it (`reject with tcp reset`, a proxy without a backend): `mtr -n -T -P PORT HOST`",
        ),
        Unconnected::Busy => (
            "busy",
            "queue of waiting connections full",
            format!("the system says so after {after}"),
            "its process does not accept: restart it if it hangs, or give it a longer `listen` backlog",
        ),
        Unconnected::Unreachable => (
            "unreachable",
            "no way there: the host or the network is down",
            format!("`no route to host`, or the network is down, after {after}"),
            "`ip route get HOST`; is the host up, and on this network (`ip neigh show HOST`)?",
        ),
        Unconnected::Local => (
            "dial_local",
            "not dialled: this host has no descriptor or local port left, or no address of its own to dial from",
            format!("the system says so after {after}"),
            "`ip -brief addr` (has this host an address of the endpoint's family?); `ls /proc/$(pidof weir)/fd | wc -l` \
             against `ulimit -n`; `ss -tan | grep -cF 'ADDRESS'` against `sysctl net.ipv4.ip_local_port_range`",
        ),
        Unconnected::Forbidden => (
            "forbidden",
            "not dialled: this host forbids it",
            format!("`operation not permitted` or `permission denied` after {after}"),
            "`nft list ruleset` (chains of `hook output`), SELinux (`ausearch -m avc -ts recent`); of a Unix socket: its rights",
        ),
        Unconnected::Unexpected => (
            "dial_failed",
            "no dial possible from here",
            format!(
                "the system says that it cannot be done, after {after}: no such address family, or none of our own fits"
            ),
            "`connect: {local_address: ...}` must be of this host, and of the same family as the endpoint (`ip -brief addr`)",
        ),
    };
    Wrong { severity: Severity::Bad, code, what: what.into(), evidence, fix: fix.into() }
}

fn untrusted(endpoint: &Endpoint, step: &Step<(Untrusted, String)>, why: Untrusted, words: &str) -> Wrong {
    let cluster = &endpoint.cluster;
    let name = endpoint.host.as_deref().map_or_else(String::new, |host| format!(" -servername {host}"));
    let look = format!("`openssl s_client -connect ADDRESS{name} </dev/null`");
    let (what, fix) = match why {
        Untrusted::Expired => (
            "certificate expired".to_owned(),
            format!(
                "renew it at the endpoint: {look} `| openssl x509 -noout -dates`; if it is good, is this host's clock right?"
            ),
        ),
        Untrusted::NotYetValid => (
            "certificate not valid yet".to_owned(),
            format!("is this host's clock right (`timedatectl`)? Else: {look} `| openssl x509 -noout -dates`"),
        ),
        Untrusted::UnknownAuthority => (
            "certificate that nobody we trust vouches for".to_owned(),
            format!(
                "`tls: {{ca: FILE}}` of cluster {cluster}, with its authority; does it send the whole chain? {look}"
            ),
        ),
        Untrusted::NameMismatch => (
            "certificate for another name than the one asked for".to_owned(),
            format!(
                "`tls: {{server_name: NAME}}` of cluster {cluster}, with a name of the certificate; or a certificate with the name asked for"
            ),
        ),
        Untrusted::BadCertificate => ("certificate of no use".to_owned(), look),
        Untrusted::Refused => (
            "TLS handshake broken off by the endpoint".to_owned(),
            format!(
                "if it wants a certificate of ours: `tls: {{certificate: {{cert: ..., key: ...}}}}` of cluster {cluster}; its log says why"
            ),
        ),
        Untrusted::NothingInCommon => (
            "no version or cipher of TLS in common".to_owned(),
            format!("TLS 1.2 or 1.3 at the endpoint; `tls: {{min_version: ...}}` of cluster {cluster}; {look}"),
        ),
        Untrusted::Protocol => (
            "the cluster's protocol (ALPN) is not spoken there".to_owned(),
            format!("`protocol: h1` or `auto` of cluster {cluster}, or HTTP/2 at the endpoint"),
        ),
        Untrusted::NotTls => (
            "no TLS is spoken there".to_owned(),
            format!("take `tls` from cluster {cluster}, or name its TLS port; `curl -v http://ADDRESS/`"),
        ),
        Untrusted::Closed => ("connection closed, or silent, in the TLS handshake".to_owned(), look),
    };
    let evidence = format!("{words} (after {})", shown(step.took));
    Wrong { severity: Severity::Bad, code: why.as_str(), what, evidence, fix }
}

fn unhealthy(endpoint: &Endpoint, kind: &str, step: &Step<ProbeResult>, result: ProbeResult) -> Option<Wrong> {
    let (after, cluster) = (shown(step.took), &endpoint.cluster);
    let curl = "`curl -v http://ADDRESS/...` with the check's path";
    let failure = match result {
        // Told of by this thread's lag, if that lasts.
        ProbeResult::Passed | ProbeResult::Inconclusive(Inconclusive::Late) => return None,
        ProbeResult::Inconclusive(Inconclusive::LocalResource) => {
            return Some(undialled(&retimed(step), Unconnected::Local));
        }
        ProbeResult::Failed(failure) => failure,
    };
    let (code, what, fix) = match failure {
        ProbeFailure::Timeout => (
            "hangs",
            format!("connection taken, but never an answer to the {kind} check"),
            format!(
                "see what its process waits for (a database? a lock? `ss -tnp 'sport = :PORT'` there), and restart it if it hangs; \
                 if it is only slow: `timeout` of the health check of cluster {cluster}"
            ),
        ),
        ProbeFailure::ConnectRefused => return Some(undialled(&retimed(step), Unconnected::Refused)),
        ProbeFailure::ConnectTimeout => return Some(undialled(&retimed(step), Unconnected::TimedOut)),
        ProbeFailure::ConnectFailed => return Some(undialled(&retimed(step), Unconnected::Unreachable)),
        ProbeFailure::Tls(why) => {
            let step = Step { took: step.took, limit: step.limit, failed: None };
            return Some(untrusted(endpoint, &step, why, &why.to_string()));
        }
        ProbeFailure::Reset => (
            "closes",
            format!("connection closed instead of an answer to the {kind} check"),
            format!("does it speak what the check asks, and without TLS as we do? {curl}; its log"),
        ),
        ProbeFailure::Protocol => (
            "protocol",
            format!("the answer to the {kind} check is not understood"),
            format!("is that port another service's, or TLS (`tls: {{}}` of cluster {cluster})? {curl}"),
        ),
        ProbeFailure::Status(_) => (
            "status",
            format!("{failure} to the {kind} check"),
            format!(
                "{curl} shows what is wrong in its own words; if the answer is right: `expected_statuses` of the check"
            ),
        ),
        ProbeFailure::Body => (
            "body",
            "the answer lacks the text that the check expects".to_owned(),
            format!("{curl}; `expected_body` of the check"),
        ),
        ProbeFailure::Unexpected(_) => (
            "unexpected_answer",
            format!("{failure}"),
            format!("`send` and `receive` of the {kind} check of cluster {cluster}; does it want a password first?"),
        ),
        ProbeFailure::Called(_) | ProbeFailure::NotServing(_) => (
            "not_serving",
            format!("the gRPC health check says: {failure}"),
            "`grpc_health_probe -addr=ADDRESS`; `service` of the check; the log of the endpoint".to_owned(),
        ),
    };
    let evidence = format!("the connection stood, then: {failure}, after {after} of {}", shown(step.limit));
    Some(Wrong { severity: Severity::Bad, code, what, evidence, fix })
}

fn retimed(step: &Step<ProbeResult>) -> Step<Unconnected> {
    Step { took: step.took, limit: step.limit, failed: None }
}
