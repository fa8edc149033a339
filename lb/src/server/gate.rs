//! The listeners' sockets: reserved before a configuration comes into force, handed to workers
//! after. What stays in the configuration keeps its socket, whatever else changes.

mod admin;
mod handed;

use std::collections::BTreeSet;
use std::io;
use std::num::NonZeroUsize;
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::mpsc::UnboundedSender;
use weir_config::model::{Address, Config, ListenerName, Protocol};
use weir_core::snapshot::Snapshot;

use super::cannot_bind;
use crate::control::{BoundListener, ReserveError, Sockets};
use crate::env::{Env, ReservedDatagrams};
use crate::observe::access::{AccessLog, AccessRemote};
use crate::process::handover;
use crate::process::ports;
use crate::spans;
use crate::worker::Order;
pub(super) use admin::AdminGate;
pub(crate) use handed::Handed;
use handed::Inherited;

/// Holds the list of what is served; the sockets themselves are the workers'.
pub(crate) struct Gate<E: Env> {
    env: E,
    workers: Vec<UnboundedSender<Order<E::Reserved>>>,
    served: Vec<Served>,
    /// Addresses given up, perhaps a moment ago: a worker may not have closed its socket yet.
    retired: BTreeSet<(Kind, Address)>,
    handed: Rc<Handed>,
    access: Option<AccessRemote>,
    admin: AdminGate<E::Reserved>,
    spans: spans::Remote,
}

/// What a socket takes. A port of one kind has nothing to do with the same port of the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Streams,
    Datagrams,
}

impl Kind {
    const fn of(protocol: Protocol) -> Self {
        match protocol {
            Protocol::Http | Protocol::Tcp => Self::Streams,
            Protocol::Udp => Self::Datagrams,
        }
    }

    const fn handed(self) -> handover::Kind {
        match self {
            Self::Streams => handover::Kind::Streams,
            Self::Datagrams => handover::Kind::Datagrams,
        }
    }

    const fn port(self) -> ports::Kind {
        match self {
            Self::Streams => ports::Kind::Tcp,
            Self::Datagrams => ports::Kind::Udp,
        }
    }
}

/// An address with a socket in every worker.
#[derive(Clone, Debug)]
struct Served {
    kind: Kind,
    /// The listener whose it is now.
    listener: ListenerName,
    /// The listener it was opened for: the name workers know the socket by.
    opened_for: ListenerName,
    configured: Address,
    actual: Address,
}

impl Served {
    /// Whether this is the socket for `address` of `listener`. Only "any port" is the
    /// listener's own; every other address is one socket, whoever has it.
    fn is(&self, kind: Kind, listener: &ListenerName, address: &Address) -> bool {
        let any_port = address.ip().is_some_and(|address| address.port() == 0);
        self.kind == kind && self.configured == *address && (!any_port || self.listener == *listener)
    }
}

/// Sockets bound for a configuration that is not in force yet.
pub(crate) struct Reservation<R> {
    fresh: Vec<(Served, Bound<R>)>,
    admin: admin::Fresh<R>,
}

/// One socket for each worker.
enum Bound<R> {
    Streams(Vec<R>),
    Datagrams(Vec<ReservedDatagrams>),
}

impl<E: Env> Gate<E> {
    pub(crate) fn new(
        env: E,
        workers: Vec<UnboundedSender<Order<E::Reserved>>>,
        access: Option<AccessRemote>,
        admin: AdminGate<E::Reserved>,
        spans: spans::Remote,
        handed: Rc<Handed>,
    ) -> Self {
        Self { env, workers, served: Vec::new(), retired: BTreeSet::new(), handed, access, admin, spans }
    }

    fn reserve_one(
        &self,
        kind: Kind,
        listener: &ListenerName,
        address: &Address,
        reserved: &Reservation<E::Reserved>,
    ) -> Result<(Served, Bound<E::Reserved>), ReserveError> {
        let fresh = reserved.fresh.iter().map(|(served, _)| served);
        let ours = self.served.iter().chain(fresh).map(|served| (served.kind, &served.actual));
        let ours = ours.chain(self.retired.iter().map(|(kind, actual)| (*kind, actual)));
        let mut ours = ours.chain(self.admin.ours().map(|actual| (Kind::Streams, actual)));
        let beside_ours = ours.any(|(its, ours)| its == kind && overlap(ours, address));
        let bound = match self.inherit(kind, listener, address) {
            Some(inherited) => inherited,
            None => self.bind(kind, address, beside_ours),
        };
        match bound {
            Ok((actual, sockets)) => {
                let (listener, configured) = (listener.clone(), address.clone());
                let served = Served { kind, opened_for: listener.clone(), listener, configured, actual };
                Ok((served, sockets))
            }
            Err(error) => {
                Err(ReserveError::address(listener.clone(), address.clone(), cannot_bind(kind.port(), address, &error)))
            }
        }
    }

    /// The sockets of this address that another process left.
    fn inherit(
        &self,
        kind: Kind,
        listener: &ListenerName,
        address: &Address,
    ) -> Option<io::Result<(Address, Bound<E::Reserved>)>> {
        let inherited = self.handed.take(kind.handed(), Some(listener), address, self.workers.len())?;
        Some(inherited.and_then(|Inherited { sockets, theirs }| match kind {
            Kind::Streams => {
                let sockets = self.env.adopt(sockets, theirs)?;
                let first = sockets.first().ok_or(io::ErrorKind::NotConnected)?;
                Ok((self.env.bound_addr(first)?, Bound::Streams(sockets)))
            }
            Kind::Datagrams => {
                let sockets = sockets.into_iter().map(ReservedDatagrams::adopt).collect::<io::Result<Vec<_>>>()?;
                let first = sockets.first().ok_or(io::ErrorKind::NotConnected)?;
                Ok((first.local_addr()?.into(), Bound::Datagrams(sockets)))
            }
        }))
    }

    fn bind(&self, kind: Kind, address: &Address, beside_ours: bool) -> io::Result<(Address, Bound<E::Reserved>)> {
        let workers = NonZeroUsize::new(self.workers.len()).unwrap_or(NonZeroUsize::MIN);
        match kind {
            Kind::Streams => {
                let sockets = self.env.reserve(address, workers, beside_ours)?;
                let actual =
                    sockets.first().map_or_else(|| Ok(address.clone()), |socket| self.env.bound_addr(socket))?;
                Ok((actual, Bound::Streams(sockets)))
            }
            Kind::Datagrams => {
                // The configuration has no Unix sockets for UDP.
                let address = address.ip().ok_or(io::ErrorKind::Unsupported)?;
                let sockets = self.env.reserve_datagrams(address, workers, beside_ours)?;
                let actual = sockets.first().map_or(Ok(address), ReservedDatagrams::local_addr)?;
                Ok((actual.into(), Bound::Datagrams(sockets)))
            }
        }
    }

    /// Hands each worker its socket, or sockets.
    fn hand_out(&self, served: &Served, sockets: Bound<E::Reserved>) {
        let (name, configured) = (&served.opened_for, &served.configured);
        if let Bound::Streams(sockets) = &sockets {
            let shared = sockets.iter().map(|socket| self.env.share(socket)).collect();
            self.handed.lend(served.kind.handed(), Some(name), configured, shared);
        }
        match sockets {
            Bound::Streams(sockets) => {
                for (worker, socket) in self.workers.iter().cycle().zip(sockets) {
                    // Here and not in the worker: whoever is told of the reload may connect at once.
                    if let Err(error) = self.env.admit(&socket) {
                        tracing::error!(listener = %served.listener, address = %served.actual, %error, "cannot listen");
                    }
                    // A worker that is gone serves nothing.
                    let _ = worker.send(Order::Open(name.clone(), configured.clone(), socket));
                }
            }
            Bound::Datagrams(sockets) => {
                for (worker, socket) in self.workers.iter().cycle().zip(sockets) {
                    let _ = worker.send(Order::OpenDatagrams(name.clone(), configured.clone(), socket));
                }
            }
        }
    }

    fn tell(&self, order: impl Fn() -> Order<E::Reserved>) {
        for worker in &self.workers {
            // A worker that is gone serves nothing.
            let _ = worker.send(order());
        }
    }
}

impl<E: Env> Sockets for Gate<E> {
    type Reserved = Reservation<E::Reserved>;

    fn reserve(&mut self, config: &Config) -> Result<Self::Reserved, Vec<ReserveError>> {
        let mut reserved = Reservation { fresh: Vec::new(), admin: Vec::new() };
        let mut errors = Vec::new();
        for (kind, listener, address) in wanted(config) {
            if !self.served.iter().any(|served| served.is(kind, listener, address)) {
                match self.reserve_one(kind, listener, address, &reserved) {
                    Ok(fresh) => reserved.fresh.push(fresh),
                    Err(error) => errors.push(error),
                }
            }
        }
        if let Some(log) = config.access_log.as_ref().filter(|_| self.access.is_some())
            && let Err(error) = AccessLog::probe(&log.target)
        {
            errors.push(ReserveError::file(format!("access_log: {error}")));
        }
        let others = self.served.iter().chain(reserved.fresh.iter().map(|(served, _)| served));
        let others: Vec<_> = others.filter(|one| one.kind == Kind::Streams).map(|one| one.actual.clone()).collect();
        match self.admin.reserve(&self.env, config, &others) {
            Ok(fresh) => reserved.admin = fresh,
            Err(more) => errors.extend(more),
        }
        if errors.is_empty() { Ok(reserved) } else { Err(errors) }
    }

    fn open(&mut self, reserved: Self::Reserved, snapshot: &Arc<Snapshot>) {
        let config = &snapshot.config;
        let (kept, gone): (Vec<_>, Vec<_>) = std::mem::take(&mut self.served)
            .into_iter()
            .partition(|served| wanted(config).any(|(kind, listener, address)| served.is(kind, listener, address)));
        self.served = kept;
        for served in &mut self.served {
            let owner = wanted(config).find(|(kind, listener, address)| served.is(*kind, listener, address));
            if let Some((_, listener, _)) = owner {
                served.listener = listener.clone();
            }
        }
        for (served, sockets) in reserved.fresh {
            self.hand_out(&served, sockets);
            self.served.push(served);
        }
        self.admin.open(&self.env, config, reserved.admin);
        self.handed.close_the_rest();
        // New ones first: a listener that moves is at no moment nowhere.
        for served in gone {
            let (name, address) = (&served.opened_for, &served.configured);
            self.handed.take_back(served.kind.handed(), Some(name), address);
            self.tell(|| match served.kind {
                Kind::Streams => Order::Close(name.clone(), address.clone()),
                Kind::Datagrams => Order::CloseDatagrams(name.clone(), address.clone()),
            });
            self.retired.insert((served.kind, served.actual));
        }
        if let Some(access) = &self.access {
            access.retarget(config.access_log.as_ref().map(|log| log.target.clone()));
        }
        self.spans.retarget(config);
    }

    fn bound(&self) -> Vec<BoundListener> {
        let bound = |served: &Served| BoundListener {
            name: served.listener.clone(),
            configured: served.configured.clone(),
            actual: served.actual.clone(),
        };
        self.served.iter().map(bound).collect()
    }
}

fn wanted(config: &Config) -> impl Iterator<Item = (Kind, &ListenerName, &Address)> {
    config.listeners.iter().flat_map(|listener| {
        let kind = Kind::of(listener.protocol);
        listener.bind.iter().map(move |address| (kind, &listener.name, address))
    })
}

/// Whether two sockets' addresses contend for the same port or file.
fn overlap(a: &Address, b: &Address) -> bool {
    let (Address::Ip(a), Address::Ip(b)) = (a, b) else { return a == b };
    a.port() == b.port()
        && a.port() != 0
        && a.is_ipv4() == b.is_ipv4()
        && (a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified())
}
