//! One POST to whoever gathers spans, on a connection that is kept for the next.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, RETRY_AFTER, USER_AGENT};
use http::{Request, Response};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use weir_config::model::{Address, Connect, Family, Otlp, OtlpEndpoint, Resolve, Source, SourceKind, Weight};

use super::verdict::Said;
use crate::env::{Env, Lookup, Unconnected};
use crate::tls::{self, Connector, Use};
use crate::transport::{self, Way};

/// An answer's body that is read.
const ANSWER_MAX: usize = 64 * 1024;
/// Addresses of a name that are tried.
const ADDRESSES_MAX: usize = 4;

/// Where a POST failed, for metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Resolve,
    Connect,
    Tls,
    Exchange,
    Timeout,
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) step: Step,
    pub(super) words: String,
}

impl Failed {
    fn new(step: Step, why: impl ToString) -> Self {
        Self { step, words: why.to_string() }
    }
}

/// Sends, and keeps the connection.
pub(super) struct Poster<E: Env> {
    env: E,
    connect: Connect,
    /// Made when it is needed first: it reads every authority of the system.
    tls: Option<Arc<Connector>>,
    kept: Option<(OtlpEndpoint, SendRequest<Full<Bytes>>)>,
}

impl<E: Env> Poster<E> {
    pub(super) fn new(env: E) -> Self {
        let connect = Connect {
            timeout: Duration::from_secs(5),
            keepalive: Some(Duration::from_secs(30)),
            user_timeout: None,
            local_addresses: Vec::new(),
            source_ports: None,
        };
        Self { env, connect, tls: None, kept: None }
    }

    /// What was said to `body`, and the answer's own body. How long that may take is the caller's to
    /// keep; a connection that was given up in the middle is not used again.
    pub(super) async fn post(&mut self, otlp: &Otlp, body: Bytes) -> Result<(Said, Bytes), Failed> {
        if let Some((to, mut sender)) = self.kept.take()
            && to == otlp.endpoint
            && sender.ready().await.is_ok()
        {
            match sender.try_send_request(request(otlp, body.clone())?).await {
                Ok(answer) => return self.read(otlp, sender, answer).await,
                // It had idled, and been closed: that says nothing of the receiver.
                Err(error) if error.message().is_some() => {}
                Err(error) => return Err(Failed::new(Step::Exchange, error.into_error())),
            }
        }
        let mut sender = self.open(&otlp.endpoint).await?;
        let answer = sender.send_request(request(otlp, body)?).await;
        let answer = answer.map_err(|error| Failed::new(Step::Exchange, error))?;
        self.read(otlp, sender, answer).await
    }

    async fn read(
        &mut self,
        otlp: &Otlp,
        sender: SendRequest<Full<Bytes>>,
        answer: Response<Incoming>,
    ) -> Result<(Said, Bytes), Failed> {
        let (head, body) = answer.into_parts();
        let seconds = head.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
        let said = Said { status: head.status.as_u16(), retry_after: seconds.map(Duration::from_secs) };
        // One that is too long, or breaks off, says no more than its status.
        let body = Limited::new(body, ANSWER_MAX).collect().await;
        if body.is_ok() {
            self.kept = Some((otlp.endpoint.clone(), sender));
        }
        Ok((said, body.map(http_body_util::Collected::to_bytes).unwrap_or_default()))
    }

    async fn open(&mut self, to: &OtlpEndpoint) -> Result<SendRequest<Full<Bytes>>, Failed> {
        let tls = if to.secure { Some(self.tls()?) } else { None };
        // All that failed is told: who has two addresses may have meant either.
        let mut failed: Option<Failed> = None;
        let mut note = |step, words: String| {
            failed = Some(match failed.take() {
                None => Failed { step, words },
                Some(first) => Failed { step: first.step, words: format!("{}; {words}", first.words) },
            });
        };
        for address in self.addresses(to).await? {
            let name = to.host.parse::<IpAddr>().is_err().then_some(to.host.as_str());
            let way = Way {
                connect: &self.connect,
                proxy: None,
                tls: tls.as_deref(),
                host: name,
                for_what: Use::Http,
                request: None,
            };
            match tokio::time::timeout(self.connect.timeout, transport::open(&self.env, &address.into(), way)).await {
                Ok(Ok(stream)) => {
                    let shaken = http1::handshake(TokioIo::new(stream)).await;
                    let (sender, connection) = shaken.map_err(|error| Failed::new(Step::Exchange, error))?;
                    // It ends with the sender; what goes wrong on it, the sender is told.
                    tokio::task::spawn_local(async move { drop(connection.await) });
                    return Ok(sender);
                }
                Ok(Err(transport::Unopened::Untrusted(why, words))) => {
                    note(Step::Tls, format!("{address}: {why}: {words}"));
                }
                Ok(Err(transport::Unopened::Unconnected(why))) => {
                    note(Step::Connect, format!("{address}: {}", words(why)));
                }
                Err(_) => note(Step::Connect, format!("{address}: no connection in time")),
            }
        }
        Err(failed.unwrap_or_else(|| Failed::new(Step::Resolve, "no address")))
    }

    fn tls(&mut self) -> Result<Arc<Connector>, Failed> {
        if self.tls.is_none() {
            self.tls = Some(tls::to_server().map_err(|why| Failed::new(Step::Tls, why))?);
        }
        self.tls.clone().ok_or_else(|| Failed::new(Step::Tls, "no TLS"))
    }

    async fn addresses(&self, to: &OtlpEndpoint) -> Result<Vec<SocketAddr>, Failed> {
        if let Ok(address) = to.host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(address, to.port)]);
        }
        let kind = SourceKind::Name { host: to.host.as_str().into(), port: to.port };
        let source = Source { kind, zone: None, weight: Weight::ONE, priority: 0 };
        let resolve = Resolve {
            servers: Vec::new(),
            family: Family::Both,
            timeout: Duration::from_secs(5),
            min_ttl: Duration::from_secs(1),
            max_ttl: Duration::from_secs(1),
            max_stale: None,
            confirm_removal: 1,
        };
        let answer = self.env.lookup(&Lookup { source, resolve }).await;
        let told = answer.result.map_err(|failure| Failed::new(Step::Resolve, format!("{}: {failure}", to.host)))?;
        let ip = |address: &Address| address.ip();
        Ok(told.endpoints.iter().filter_map(|endpoint| ip(&endpoint.address)).take(ADDRESSES_MAX).collect())
    }
}

const fn words(why: Unconnected) -> &'static str {
    match why {
        Unconnected::Refused => "nobody listens there",
        Unconnected::Busy => "too many wait there already",
        Unconnected::TimedOut => "no answer",
        Unconnected::Reset => "the connection was reset",
        Unconnected::Unreachable => "there is no way there",
        Unconnected::Local => "this host has no descriptor or port left",
        Unconnected::Forbidden => "this host does not allow it",
        Unconnected::Unexpected => "the system does not know how",
    }
}

fn request(otlp: &Otlp, body: Bytes) -> Result<Request<Full<Bytes>>, Failed> {
    let mut request = Request::post(&otlp.endpoint.path)
        .header(HOST, otlp.endpoint.authority())
        .header(CONTENT_TYPE, "application/x-protobuf")
        .header(USER_AGENT, concat!("weir/", env!("CARGO_PKG_VERSION")));
    for (name, value) in &otlp.headers {
        request = request.header(name, value);
    }
    // The configuration holds nothing that could not be sent.
    request.body(Full::new(body)).map_err(|error| Failed::new(Step::Exchange, error))
}
