//! The listeners' sockets: reserved before a configuration comes into force, handed to workers
//! after. What stays in the configuration keeps its socket, whatever else changes.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::sync::Arc;

use tokio::sync::mpsc::UnboundedSender;
use weir_config::model::{Address, Config, ListenerName};
use weir_core::snapshot::Snapshot;

use super::cannot_bind;
use crate::control::{BoundListener, ReserveError, Sockets};
use crate::env::Env;
use crate::observe::access::{AccessLog, AccessRemote};
use crate::worker::Order;

/// Holds the list of what is served; the sockets themselves are the workers'.
pub(crate) struct Gate<E: Env> {
    env: E,
    workers: Vec<UnboundedSender<Order<E::Reserved>>>,
    served: Vec<Served>,
    /// Addresses given up, perhaps a moment ago: a worker may not have closed its socket yet.
    retired: BTreeSet<Address>,
    access: Option<AccessRemote>,
}

/// An address with a socket in every worker.
#[derive(Clone, Debug)]
struct Served {
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
    fn is(&self, listener: &ListenerName, address: &Address) -> bool {
        let any_port = address.ip().is_some_and(|address| address.port() == 0);
        self.configured == *address && (!any_port || self.listener == *listener)
    }
}

/// Sockets bound for a configuration that is not in force yet.
pub(crate) struct Reservation<R> {
    fresh: Vec<(Served, Vec<R>)>,
}

impl<E: Env> Gate<E> {
    pub(crate) fn new(env: E, workers: Vec<UnboundedSender<Order<E::Reserved>>>, access: Option<AccessRemote>) -> Self {
        Self { env, workers, served: Vec::new(), retired: BTreeSet::new(), access }
    }

    fn reserve_one(
        &self,
        listener: &ListenerName,
        address: &Address,
        reserved: &Reservation<E::Reserved>,
    ) -> Result<(Served, Vec<E::Reserved>), ReserveError> {
        let fresh = reserved.fresh.iter().map(|(served, _)| served);
        let ours = self.served.iter().chain(fresh).map(|served| &served.actual).chain(&self.retired);
        let beside_ours = ours.into_iter().any(|ours| overlap(ours, address));
        let workers = NonZeroUsize::new(self.workers.len()).unwrap_or(NonZeroUsize::MIN);
        let bound = self.env.reserve(address, workers, beside_ours).and_then(|sockets| {
            let actual = sockets.first().map_or_else(|| Ok(address.clone()), |socket| self.env.bound_addr(socket))?;
            Ok((actual, sockets))
        });
        match bound {
            Ok((actual, sockets)) => {
                let listener = listener.clone();
                let served = Served { opened_for: listener.clone(), listener, configured: address.clone(), actual };
                Ok((served, sockets))
            }
            Err(error) => Err(ReserveError::address(listener.clone(), address.clone(), cannot_bind(address, &error))),
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
        let mut reserved = Reservation { fresh: Vec::new() };
        let mut errors = Vec::new();
        for (listener, address) in wanted(config) {
            if !self.served.iter().any(|served| served.is(listener, address)) {
                match self.reserve_one(listener, address, &reserved) {
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
        if errors.is_empty() { Ok(reserved) } else { Err(errors) }
    }

    fn open(&mut self, reserved: Self::Reserved, snapshot: &Arc<Snapshot>) {
        let config = &snapshot.config;
        let (kept, gone): (Vec<_>, Vec<_>) = std::mem::take(&mut self.served)
            .into_iter()
            .partition(|served| wanted(config).any(|(listener, address)| served.is(listener, address)));
        self.served = kept;
        for served in &mut self.served {
            let owner = wanted(config).find(|(listener, address)| served.is(listener, address));
            if let Some((listener, _)) = owner {
                served.listener = listener.clone();
            }
        }
        for (served, sockets) in reserved.fresh {
            for (worker, socket) in self.workers.iter().zip(sockets) {
                // Here and not in the worker: whoever is told of the reload may connect at once.
                if let Err(error) = self.env.admit(&socket) {
                    tracing::error!(listener = %served.listener, address = %served.actual, %error, "cannot listen");
                }
                // A worker that is gone serves nothing.
                let _ = worker.send(Order::Open(served.opened_for.clone(), served.configured.clone(), socket));
            }
            self.served.push(served);
        }
        // New ones first: a listener that moves is at no moment nowhere.
        for served in gone {
            self.tell(|| Order::Close(served.opened_for.clone(), served.configured.clone()));
            self.retired.insert(served.actual);
        }
        if let Some(access) = &self.access {
            access.retarget(config.access_log.as_ref().map(|log| log.target.clone()));
        }
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

fn wanted(config: &Config) -> impl Iterator<Item = (&ListenerName, &Address)> {
    config.listeners.iter().flat_map(|listener| listener.bind.iter().map(move |address| (&listener.name, address)))
}

/// Whether two sockets' addresses contend for the same port or file.
fn overlap(a: &Address, b: &Address) -> bool {
    let (Address::Ip(a), Address::Ip(b)) = (a, b) else { return a == b };
    a.port() == b.port()
        && a.port() != 0
        && a.is_ipv4() == b.is_ipv4()
        && (a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified())
}
