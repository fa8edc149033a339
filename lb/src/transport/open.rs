//! Opening a connection to an endpoint: the one way that requests, sessions, copies and probes take.

use std::fmt;
use std::sync::Arc;

use tokio::io::AsyncWriteExt;
use weir_config::model::{self, Address, Connect, ProxyOut};
use weir_core::health::{ProbeFailure, ProbeResult};
use weir_core::reason::Reason;
use weir_core::tls::Untrusted;

use super::Transport;
use crate::env::{Env, Stream, Unconnected};
use crate::proxy::{self, Ends};
use crate::tls::{Book, Connector, Use};

/// How connections to the endpoints of one cluster are opened.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Way<'a> {
    /// Sockets.
    pub(crate) connect: &'a Connect,
    /// What is said first of where it comes from, if that is said; without ends it is our own.
    pub(crate) proxy: Option<(ProxyOut, Option<Ends>)>,
    /// TLS, if the cluster has it.
    pub(crate) tls: Option<&'a Connector>,
    /// The name that the endpoint was found by, if it was.
    pub(crate) host: Option<&'a str>,
    /// What the connection is for.
    pub(crate) for_what: Use,
    /// The id of the request that needs it, if one does and has one: for log lines.
    pub(crate) request: Option<&'a str>,
}

/// Why there is no connection. Nothing of what was to be asked has been sent.
#[derive(Debug)]
pub(crate) enum Unopened {
    /// No socket.
    Unconnected(Unconnected),
    /// No TLS on it.
    Untrusted(Untrusted, String),
}

/// The TLS of `cluster`, if it has any.
///
/// # Errors
/// When it has, and `book` does not know it: then nothing is sent in the clear.
pub(crate) fn connector(book: &Book, cluster: &model::Cluster) -> Result<Option<Arc<Connector>>, Unopened> {
    match (&cluster.tls, book.connector(&cluster.name)) {
        (None, _) => Ok(None),
        (Some(_), Some(connector)) => Ok(Some(Arc::clone(connector))),
        (Some(_), None) => Err(Unopened::Untrusted(Untrusted::Closed, "its cluster is no more".into())),
    }
}

/// Opens a connection to `to`; how long that may take is the caller's to keep.
///
/// # Errors
/// Why there is none.
pub(crate) async fn open<E: Env>(env: &E, to: &Address, way: Way<'_>) -> Result<Transport<E::Stream>, Unopened> {
    let stream = connect(env, to, way).await?;
    secure(stream, to, way).await
}

/// The first half of [`open`]: a socket, and what is said first of where it comes from.
///
/// # Errors
/// Why there is none.
pub(crate) async fn connect<E: Env>(env: &E, to: &Address, way: Way<'_>) -> Result<E::Stream, Unconnected> {
    let mut stream = env.connect(to, way.connect).await.map_err(|error| Unconnected::from(&error))?;
    if let Some((version, ends)) = way.proxy {
        // In one write: there are receivers that look at the first segment only.
        let said = stream.write_all(&proxy::header(version, ends)).await;
        said.map_err(|error| Unconnected::from(&error))?;
    }
    Ok(stream)
}

/// The second half of [`open`]: TLS, if the cluster has it.
///
/// # Errors
/// Why there is none.
pub(crate) async fn secure<S: Stream>(stream: S, to: &Address, way: Way<'_>) -> Result<Transport<S>, Unopened> {
    let Some(tls) = way.tls else { return Ok(Transport::Plain(stream)) };
    let secured = tls.connect(stream, to, way.host, way.for_what).await;
    secured.map(Transport::Tls).map_err(|distrust| {
        tracing::debug!(endpoint = %to, request_id = way.request, cause = distrust.words, "{}", distrust.why);
        Unopened::Untrusted(distrust.why, distrust.words)
    })
}

impl Unopened {
    /// What it is in the access log and in answers.
    pub(crate) const fn reason(&self) -> Reason {
        match self {
            Self::Unconnected(why) => why.reason(),
            Self::Untrusted(..) => Reason::UpstreamTls,
        }
    }

    /// What it is to a probe.
    pub(crate) const fn probed(&self) -> ProbeResult {
        match self {
            Self::Unconnected(why) => why.probed(),
            Self::Untrusted(why, _) => ProbeResult::Failed(ProbeFailure::Tls(*why)),
        }
    }
}

impl From<Unconnected> for Unopened {
    fn from(why: Unconnected) -> Self {
        Self::Unconnected(why)
    }
}

impl fmt::Display for Unopened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unconnected(why) => f.write_str(why.reason().meaning().help),
            Self::Untrusted(why, words) => write!(f, "{why}: {words}"),
        }
    }
}
