//! The listener's side: handshakes with clients.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use rustls::server::{NoServerSessionStorage, ProducesTickets, ServerSessionMemoryCache, StoresServerSessions};
use rustls::{HandshakeKind, ProtocolVersion, ServerConfig, ServerConnection, server};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio_rustls::{LazyConfigAcceptor, TlsStream};
use weir_config::model::{ClientCertificates, ServerTls, Tickets};
use weir_core::tls::{Handshake, Unshaken};

use super::choose::Choice;
use super::secure::{self, Secure};
use super::tickets::{self, Binding, Shared};
use super::trouble::{self, Trouble};

/// TLS as one listener speaks it.
#[derive(Debug)]
pub(crate) struct Acceptor {
    wanted: ServerTls,
    config: Arc<ServerConfig>,
    sessions: Sessions,
    /// Handshakes under way over all workers; the same count over reloads.
    under_way: Arc<AtomicU32>,
}

/// What lets clients go on where they left off; kept while the same is asked of them.
#[derive(Clone, Debug)]
struct Sessions {
    binding: Binding,
    own: Option<Arc<dyn ProducesTickets>>,
    storage: Arc<dyn StoresServerSessions>,
}

/// Sessions remembered for clients that take no tickets.
const SESSIONS_MAX: usize = 4096;

/// The first byte of a handshake record.
const HANDSHAKE: u8 = 22;

/// Why a client is not let in.
#[derive(Debug)]
pub(crate) struct Refusal<S> {
    /// In which class.
    pub(crate) why: Unshaken,
    /// In words.
    pub(crate) words: String,
    /// The connection, where it can still be answered plainly; and what was read of it.
    pub(crate) plain: Option<(S, u8)>,
}

/// A connection that came about.
#[derive(Debug)]
pub(crate) struct Accepted<S> {
    pub(crate) stream: Box<TlsStream<S>>,
    pub(crate) secure: Secure,
    pub(crate) handshake: Handshake,
}

impl<S> Accepted<S> {
    /// Whose certificate the client showed, if it did: its subject, or the first of its names.
    pub(crate) fn subject(&self) -> Option<Arc<str>> {
        let TlsStream::Server(stream) = &*self.stream else { return None };
        let chain = stream.get_ref().1.peer_certificates()?;
        chain.first().map(|certificate| secure::whose(certificate).into())
    }
}

/// A handshake under way, in the count of those.
#[derive(Debug)]
pub(crate) struct UnderWay(Arc<AtomicU32>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

impl Acceptor {
    /// What `wanted` comes to: the one `before` if nothing changed, else a new one with its sessions.
    ///
    /// # Errors
    /// In words, what cannot be used.
    pub(super) fn new(wanted: &ServerTls, before: Option<&Arc<Self>>) -> Result<Arc<Self>, String> {
        if let Some(same) = before.filter(|before| before.wanted == *wanted) {
            return Ok(Arc::clone(same));
        }
        let binding = tickets::binding(wanted.clients.as_ref());
        let sessions = match before.map(|before| &before.sessions).filter(|sessions| sessions.binding == binding) {
            Some(sessions) => sessions.clone(),
            None => Sessions { binding, own: None, storage: ServerSessionMemoryCache::new(SESSIONS_MAX) },
        };
        let under_way = before.map(|before| Arc::clone(&before.under_way)).unwrap_or_default();
        let (config, sessions) = configure(wanted, sessions)?;
        Ok(Arc::new(Self { wanted: wanted.clone(), config: Arc::new(config), sessions, under_way }))
    }

    /// How long a handshake may take.
    pub(crate) const fn timeout(&self) -> Duration {
        self.wanted.handshake_timeout
    }

    /// The right to one more handshake, unless as many are under way as may.
    pub(crate) fn begin(&self) -> Option<UnderWay> {
        let most = self.wanted.max_handshakes;
        let room = |now: u32| (now < most).then_some(now + 1);
        self.under_way.fetch_update(Relaxed, Relaxed, room).ok().map(|_| UnderWay(Arc::clone(&self.under_way)))
    }

    /// Shakes hands on `stream`, of which `early` has been read already; how long that may take is the
    /// caller's to keep.
    ///
    /// # Errors
    /// Why there is no TLS; the client has been told, as far as TLS has words for it.
    pub(crate) async fn accept<S>(&self, mut stream: S, early: &[u8]) -> Result<Accepted<S>, Refusal<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let broken = |error: io::Error| Refusal::of(&error);
        let mut hello = server::Acceptor::default();
        let mut first = [0];
        let mut early = early;
        if early.is_empty() && stream.read(&mut first).await.map_err(broken)? > 0 {
            early = &first;
        }
        match early.first() {
            None => return Err(Refusal::silent()),
            Some(&first) if first != HANDSHAKE => return Err(Refusal::not_tls(stream, first)),
            Some(_) => {}
        }
        // It takes only so much at a time.
        while !early.is_empty() {
            hello.read_tls(&mut early).map_err(broken)?;
        }
        let start = LazyConfigAcceptor::new(hello, stream).await.map_err(broken)?;
        let stream = start.into_stream(Arc::clone(&self.config)).await.map_err(broken)?;
        let connection = stream.get_ref().1;
        let forward = self.wanted.clients.as_ref().is_some_and(|clients| clients.forward);
        let (secure, handshake) = (Secure::of(connection, forward), kind(connection));
        Ok(Accepted { stream: Box::new(TlsStream::from(stream)), secure, handshake })
    }
}

impl<S> Refusal<S> {
    fn of(error: &io::Error) -> Self {
        let Trouble { why, words } = trouble::of_client(error);
        Self { why, words, plain: None }
    }

    fn silent() -> Self {
        Self { why: Unshaken::Closed, words: "it closed the connection without a word".into(), plain: None }
    }

    fn not_tls(stream: S, first: u8) -> Self {
        let words = format!("what came is no TLS: it begins with byte {first:#04x}");
        Self { why: Unshaken::NotTls, words, plain: Some((stream, first)) }
    }
}

fn kind(connection: &ServerConnection) -> Handshake {
    let old = connection.protocol_version() == Some(ProtocolVersion::TLSv1_2);
    match (old, connection.handshake_kind()) {
        (true, Some(HandshakeKind::Resumed)) => Handshake::Resumed12,
        (true, _) => Handshake::Full12,
        (false, Some(HandshakeKind::Resumed)) => Handshake::Resumed13,
        (false, _) => Handshake::Full13,
    }
}

fn configure(wanted: &ServerTls, mut sessions: Sessions) -> Result<(ServerConfig, Sessions), String> {
    let builder = ServerConfig::builder_with_provider(super::provider())
        .with_protocol_versions(super::versions(wanted.min_version))
        .map_err(|error| error.to_string())?;
    let builder = match &wanted.clients {
        None => builder.with_no_client_auth(),
        Some(clients) => builder.with_client_cert_verifier(verifier(clients)?),
    };
    let mut config = builder.with_cert_resolver(Arc::new(Choice::new(&wanted.certificates)?));
    config.alpn_protocols = wanted.alpn.iter().map(|protocol| protocol.clone().into_bytes()).collect();
    match &wanted.tickets {
        Tickets::Off => {
            config.send_tls13_tickets = 0;
            config.session_storage = Arc::new(NoServerSessionStorage {});
        }
        Tickets::Own => {
            let own = match sessions.own.take() {
                Some(own) => own,
                None => rustls::crypto::aws_lc_rs::Ticketer::new().map_err(|error| error.to_string())?,
            };
            config.ticketer = Arc::clone(&own);
            config.session_storage = Arc::clone(&sessions.storage);
            sessions.own = Some(own);
        }
        Tickets::Shared(keys) => {
            config.ticketer =
                Shared::producer(keys, &sessions.binding).map_err(|why| format!("{}: {why}", keys.file))?;
            config.session_storage = Arc::clone(&sessions.storage);
        }
    }
    Ok((config, sessions))
}

fn verifier(clients: &ClientCertificates) -> Result<Arc<dyn server::danger::ClientCertVerifier>, String> {
    let roots = Arc::new(super::roots(&clients.authorities)?);
    let builder = server::WebPkiClientVerifier::builder_with_provider(roots, super::provider());
    let builder = if clients.required { builder } else { builder.allow_unauthenticated() };
    builder.build().map_err(|error| format!("{} cannot be used: {error}", clients.authorities.file))
}

#[cfg(test)]
mod tests;
