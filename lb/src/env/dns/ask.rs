//! One question, or the two for a host's addresses, and what the answers come to.

use std::io;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use tokio::time::{Instant, timeout, timeout_at};
use weir_config::model::Family;
use weir_core::discovery::{Failure, FailureKind, RECORDS_SHOWN, Silent, Step, usable};

use super::{TTL_MAX, failure, families};

/// Once one family's addresses are known, the other's are waited for no longer than this: there
/// are servers that never answer questions for AAAA.
const LAG_MAX: Duration = Duration::from_millis(500);
/// Aliases followed to an answer.
const CHAIN_MAX: usize = 16;

/// Asks.
#[derive(Clone)]
pub(super) struct Asker {
    pub(super) resolvers: Arc<[TokioResolver]>,
    pub(super) family: Family,
    pub(super) deadline: Instant,
}

/// The answer to one question.
pub(super) struct Heard {
    /// Of the type asked for.
    pub(super) data: Vec<RData>,
    /// The shortest on the way to them.
    pub(super) ttl: Duration,
}

/// The addresses of one host.
pub(super) struct Host {
    pub(super) addresses: Vec<IpAddr>,
    /// The shortest on the way to them.
    pub(super) ttl: Duration,
    /// Which addresses could not be asked for.
    pub(super) silent: Silent,
    /// Why there is no address; only to be looked at if there is none.
    pub(super) failure: Failure,
    pub(super) steps: Vec<Step>,
}

type Question = (Step, Result<Heard, Failure>);

impl Asker {
    /// Asks for records of type `kind`, and follows aliases to them. If a server says that it failed,
    /// others may not.
    pub(super) async fn question(&self, name: Name, kind: RecordType) -> Question {
        let mut question = None;
        for resolver in self.resolvers.iter() {
            let (step, heard) = self.question_to(resolver, name.clone(), kind).await;
            let again = heard.as_ref().is_err_and(|failure| worth_another(failure.kind));
            question = Some((step, heard));
            if !again {
                break;
            }
        }
        question.unwrap_or_else(|| unanswered(FailureKind::Unreachable, &name, kind))
    }

    async fn question_to(&self, resolver: &TokioResolver, name: Name, kind: RecordType) -> Question {
        let looked = timeout_at(self.deadline, resolver.lookup(name.clone(), kind)).await;
        let mut step = Step { asked: format!("{kind} {name}"), records: Vec::new(), failure: None };
        let heard = match looked {
            Ok(Ok(found)) => {
                let head = head(&found);
                step.asked = format!("{kind} {head}");
                on_the_way(head, &found, kind, &mut step)
            }
            Ok(Err(error)) => Err(classified(&error)),
            Err(_) => Err(failure(FailureKind::Timeout, "")),
        };
        step.failure = heard.as_ref().err().map(|failure| failure.kind);
        (step, heard)
    }

    /// Asks for the addresses of a host, of both families at once.
    pub(super) async fn addresses(&self, name: Name) -> Host {
        let (four, six) = match families(self.family) {
            (true, false) => (Some(self.question(name, RecordType::A).await), None),
            (false, _) => (None, Some(self.question(name, RecordType::AAAA).await)),
            (true, true) => {
                let (four, six) = self.both(name).await;
                (Some(four), Some(six))
            }
        };
        host(four, six)
    }

    async fn both(&self, name: Name) -> (Question, Question) {
        let mut four = pin!(self.question(name.clone(), RecordType::A));
        let mut six = pin!(self.question(name.clone(), RecordType::AAAA));
        tokio::select! {
            biased;
            four = &mut four => {
                let six = self.other(&four, six, &name, RecordType::AAAA).await;
                (four, six)
            }
            six = &mut six => {
                let four = self.other(&six, four, &name, RecordType::A).await;
                (four, six)
            }
        }
    }

    /// The other question's end, waited for as long as it is worth.
    async fn other(
        &self,
        first: &Question,
        other: impl Future<Output = Question>,
        name: &Name,
        kind: RecordType,
    ) -> Question {
        if first.1.is_err() {
            return other.await;
        }
        timeout(LAG_MAX, other).await.unwrap_or_else(|_| unanswered(FailureKind::Timeout, name, kind))
    }
}

fn unanswered(why: FailureKind, name: &Name, kind: RecordType) -> Question {
    let step = Step { asked: format!("{kind} {name}"), records: Vec::new(), failure: Some(why) };
    (step, Err(failure(why, "")))
}

/// Whether it is the server that cannot answer: another may.
const fn worth_another(kind: FailureKind) -> bool {
    matches!(kind, FailureKind::ServFail | FailureKind::Refused | FailureKind::BadAnswer | FailureKind::Truncated)
}

/// What the answers for both families come to.
fn host(four: Option<Question>, six: Option<Question>) -> Host {
    let mut host = Host {
        addresses: Vec::new(),
        ttl: TTL_MAX,
        silent: Silent::None,
        failure: failure(FailureKind::Empty, ""),
        steps: Vec::new(),
    };
    let mut failures = Vec::new();
    for (family, question) in [(Family::V4, four), (Family::V6, six)] {
        let Some((step, heard)) = question else { continue };
        host.steps.push(step);
        match heard {
            Ok(Heard { data, ttl }) => {
                host.addresses.extend(data.iter().filter_map(RData::ip_addr).filter(|&ip| usable(ip)));
                host.ttl = host.ttl.min(ttl);
            }
            Err(failure) => {
                // "There is none" is an answer; anything else leaves the question open.
                if !says_none(failure.kind) {
                    host.silent = if host.silent == Silent::None { Silent::Of(family) } else { Silent::All };
                }
                failures.push(failure);
            }
        }
    }
    // What is open says more than what is not there; and a name without one family may have the other.
    let open = failures.iter().find(|failure| !says_none(failure.kind));
    let found = open.or_else(|| failures.iter().find(|failure| failure.kind == FailureKind::Empty));
    if let Some(failure) = found.or_else(|| failures.first()) {
        host.failure = failure.clone();
    }
    host
}

const fn says_none(kind: FailureKind) -> bool {
    matches!(kind, FailureKind::NxDomain | FailureKind::Empty)
}

/// The name that was asked for, maybe within a search domain. Where an alias led to another
/// question, only that question is known: back along the aliases.
fn head(found: &Lookup) -> Name {
    let mut at = found.query().name();
    for _ in 0..CHAIN_MAX {
        let leads_here = |record: &&Record| matches!(&record.data, RData::CNAME(to) if to.0.eq_ignore_root(at));
        match found.answers().iter().find(leads_here) {
            Some(record) => at = &record.name,
            None => break,
        }
    }
    at.clone()
}

/// Follows aliases from `head` to records of type `kind`, noting every record passed.
fn on_the_way(head: Name, found: &Lookup, kind: RecordType, step: &mut Step) -> Result<Heard, Failure> {
    let mut at = head;
    let mut ttl = TTL_MAX;
    for _ in 0..CHAIN_MAX {
        let here = |record: &&Record| record.name.eq_ignore_root(&at);
        let records = || found.answers().iter().filter(here);
        let mut data = Vec::new();
        for record in records().filter(|record| record.record_type() == kind) {
            note(record, step, &mut ttl);
            data.push(record.data.clone());
        }
        if !data.is_empty() {
            return Ok(Heard { data, ttl });
        }
        let alias = records().find_map(|record| match &record.data {
            RData::CNAME(target) => Some((record, target.0.clone())),
            _ => None,
        });
        let Some((record, target)) = alias else { break };
        note(record, step, &mut ttl);
        at = target;
    }
    Err(failure(FailureKind::Empty, ""))
}

fn note(record: &Record, step: &mut Step, ttl: &mut Duration) {
    *ttl = (*ttl).min(Duration::from_secs(record.ttl.into()));
    if step.records.len() < RECORDS_SHOWN {
        step.records.push(format!("{} {} {} {}", record.name, record.ttl, record.record_type(), record.data));
    }
}

fn classified(error: &NetError) -> Failure {
    let (kind, detail) = match error {
        NetError::Dns(DnsError::NoRecordsFound(none)) if none.response_code == ResponseCode::NXDomain => {
            (FailureKind::NxDomain, String::new())
        }
        NetError::Dns(DnsError::NoRecordsFound(_)) => (FailureKind::Empty, String::new()),
        NetError::Dns(DnsError::ResponseCode(ResponseCode::ServFail)) => (FailureKind::ServFail, String::new()),
        NetError::Dns(DnsError::ResponseCode(ResponseCode::Refused)) => (FailureKind::Refused, String::new()),
        NetError::Timeout => (FailureKind::Timeout, String::new()),
        NetError::Truncated => (FailureKind::Truncated, String::new()),
        NetError::Io(error) if error.kind() == io::ErrorKind::TimedOut => (FailureKind::Timeout, String::new()),
        NetError::Io(error) => (FailureKind::Unreachable, error.to_string()),
        NetError::NoConnections | NetError::Busy => (FailureKind::Unreachable, error.to_string()),
        _ => (FailureKind::BadAnswer, error.to_string()),
    };
    Failure { kind, detail }
}
