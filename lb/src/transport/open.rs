//! Opening a connection to an endpoint: the one way that requests, sessions, copies and probes take.

use std::fmt;
use std::io;

use tokio::io::AsyncWriteExt;
use weir_config::model::{Address, Connect, ProxyOut};
use weir_core::health::ProbeResult;
use weir_core::reason::Reason;

use super::Transport;
use crate::env::{Env, Unconnected};
use crate::proxy::{self, Ends};

/// How connections to the endpoints of one cluster are opened.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Way<'a> {
    /// Sockets.
    pub(crate) connect: &'a Connect,
    /// What is said first of where it comes from, if that is said; without ends it is our own.
    pub(crate) proxy: Option<(ProxyOut, Option<Ends>)>,
}

/// Why there is no connection. Nothing of what was to be asked has been sent.
#[derive(Debug)]
pub(crate) enum Unopened {
    /// No socket.
    Unconnected(Unconnected),
}

/// Opens a connection to `to`; how long that may take is the caller's to keep.
///
/// # Errors
/// Why there is none.
pub(crate) async fn open<E: Env>(env: &E, to: &Address, way: Way<'_>) -> Result<Transport<E::Stream>, Unopened> {
    let mut stream = env.connect(to, way.connect).await?;
    if let Some((version, ends)) = way.proxy {
        // In one write: there are receivers that look at the first segment only.
        stream.write_all(&proxy::header(version, ends)).await?;
    }
    Ok(Transport::Plain(stream))
}

impl Unopened {
    /// What it is in the access log and in answers.
    pub(crate) const fn reason(&self) -> Reason {
        match self {
            Self::Unconnected(why) => why.reason(),
        }
    }

    /// What it is to a probe.
    pub(crate) const fn probed(&self) -> ProbeResult {
        match self {
            Self::Unconnected(why) => why.probed(),
        }
    }
}

impl From<io::Error> for Unopened {
    fn from(error: io::Error) -> Self {
        Self::Unconnected(Unconnected::from(&error))
    }
}

impl fmt::Display for Unopened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unconnected(why) => write!(f, "{}", why.reason().meaning().help),
        }
    }
}
