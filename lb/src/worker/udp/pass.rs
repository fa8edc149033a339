//! The way of a datagram, in both directions.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;
use std::sync::Arc;

use weir_core::reason::Reason;
use weir_core::snapshot::Listener;
use weir_core::time::Moment;
use weir_core::udp::{self, FlowId, FlowKey};

use super::super::tcp::UnderWay;
use super::super::{Worker, World};
use super::open;
use super::session::Upstream;
use super::{Door, Kept, Lost, State};
use crate::env::{Batch, Env, Fault, Received, Unconnected};

/// Endpoints that are tried with one datagram, where the system says at once that one cannot be
/// reached.
const TRIES: usize = 3;
/// Receives from an endpoint's socket at once: what comes in answer to one datagram, and no more
/// than lets others have their turn.
const ANSWERS: usize = 8;

/// In place of our address, where the system does not tell: then it chooses what answers come from.
const UNKNOWN: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// What became of a datagram.
enum Sent {
    Gone,
    /// There was no endpoint at the other end: it may go to another.
    Lost,
}

impl Door {
    /// Takes in what waits in the listening socket.
    pub(super) fn receive<E: Env>(self: &Rc<Self>, worker: &Rc<Worker<E>>) -> io::Result<()> {
        let mut batch = worker.udp.batch()?;
        let count = match batch.receive(&self.socket, usize::MAX) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            received => received?,
        };
        let world = self.follow(worker);
        let Some(listener) = self.listener() else { return Ok(()) };
        let now = worker.env.now();
        for place in 0..count {
            let heard = batch.at(place);
            let load = listener.load.of(worker.index);
            load.bytes_received.add(heard.bytes.len() as u64);
            load.datagrams_received.add(heard.count());
            if let Err(reason) = self.pass(worker, &world, &listener, &batch, &heard, now) {
                load.reasons[reason].add(heard.count());
            }
        }
        Ok(())
    }

    /// Passes on what a client sent.
    fn pass<E: Env>(
        self: &Rc<Self>,
        worker: &Rc<Worker<E>>,
        world: &World,
        listener: &Arc<Listener>,
        batch: &Batch,
        heard: &Received<'_>,
        now: Moment,
    ) -> Result<(), Reason> {
        let local = heard.to.or_else(|| self.address.ip().map(|address| address.ip()));
        let key = FlowKey { client: heard.from, local: local.unwrap_or(UNKNOWN) };
        for _ in 0..TRIES {
            let Some(id) = self.flow(worker, world, listener, key, now)? else { break };
            if let Sent::Gone = self.send(worker, listener, id, batch, heard, now)? {
                break;
            }
        }
        Ok(())
    }

    /// The flow of `key`, with an endpoint; none if there is to be none, of which all is told.
    fn flow<E: Env>(
        self: &Rc<Self>,
        worker: &Rc<Worker<E>>,
        world: &World,
        listener: &Arc<Listener>,
        key: FlowKey,
        now: Moment,
    ) -> Result<Option<FlowId>, Reason> {
        let mut table = self.table.borrow_mut();
        let found = table.find(&key);
        let lost = match found.and_then(|id| table.get(id)).map(|flow| &flow.with.state) {
            Some(State::Open(_)) => return Ok(found),
            Some(State::Lost(lost)) => lost.clone(),
            // As if the socket were closed.
            None if self.closed.get() => return Ok(None),
            None => {
                let load = &listener.load;
                let open = load.sum(|load| &load.open);
                // A sum over gauges that are being written may dip below zero.
                let open = if open > i64::MAX as u64 { 0 } else { open };
                let own = (&listener.access, listener.limit.as_deref());
                // A UDP listener has one route.
                let route = listener.targets.first().map(|target| (&target.access, target.limit.as_deref()));
                let gates = [own, route.unwrap_or((&listener.access, None))];
                udp::may_open(key.client.ip(), &gates, &listener.config.udp, open, now)?;
                Lost::default()
            }
        };
        // Only if somebody failed is there something to remember.
        let remember = found.is_some();
        let (state, told) = match open::open(worker, world, listener, key.client, lost) {
            Ok(open) => (State::Open(Box::new(open)), true),
            Err(lost) if remember || !lost.avoid.is_empty() => (State::Lost(lost), false),
            Err(_) => return Ok(None),
        };
        let id = match found {
            Some(id) => {
                if let Some(flow) = table.get_mut(id) {
                    flow.with.state = state;
                }
                id
            }
            None => {
                listener.load.of(worker.index).accepted.add(1);
                let counted = UnderWay::begin(&listener.load, worker.index, |load| &load.open);
                table.insert(key, now, Kept { state, _counted: counted }).0
            }
        };
        if told {
            self.open.set(self.open.get() + 1);
            if let Some(State::Open(open)) = table.get_mut(id).map(|flow| &mut flow.with.state) {
                open.attend(listen(Rc::clone(worker), Rc::clone(self), id, open.upstream(), open.delay()));
            }
        }
        Ok(told.then_some(id))
    }

    /// Sends what a client sent to the flow's endpoint.
    fn send<E: Env>(
        &self,
        worker: &Worker<E>,
        listener: &Listener,
        id: FlowId,
        batch: &Batch,
        heard: &Received<'_>,
        now: Moment,
    ) -> Result<Sent, Reason> {
        let mut table = self.table.borrow_mut();
        table.asked(id, heard.count(), now, &listener.config.udp);
        let Some(State::Open(open)) = table.get_mut(id).map(|flow| &mut flow.with.state) else {
            return Ok(Sent::Gone);
        };
        if open.is_held() {
            return if open.hold(heard) { Ok(Sent::Gone) } else { Err(Reason::FaultInjected) };
        }
        let Err(error) = batch.send(&open.upstream().socket, heard, None, None) else {
            open.asked(heard.bytes.len(), heard.count());
            return Ok(Sent::Gone);
        };
        drop(table);
        let what = Unconnected::from(&error);
        match what.fault() {
            // No room in its buffer, too long for the way, a packet filter: nobody else is to blame.
            Fault::Ours => Err(Reason::NotSent),
            Fault::Network | Fault::Endpoint => {
                self.lose(worker, id, what.reason());
                Ok(Sent::Lost)
            }
        }
    }

    /// Takes in what waits in a flow's socket; whether the flow goes on.
    fn hear<E: Env>(&self, worker: &Worker<E>, id: FlowId, upstream: &Upstream) -> bool {
        let Ok(mut batch) = worker.udp.batch() else { return true };
        let count = match batch.receive(&upstream.socket, ANSWERS) {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
            Err(error) => {
                self.lose(worker, id, Unconnected::from(&error).reason());
                return false;
            }
        };
        let (Some(listener), now) = (self.listener(), worker.env.now()) else { return false };
        let mut table = self.table.borrow_mut();
        let Some(flow) = table.get_mut(id) else { return false };
        let key = flow.key;
        let State::Open(open) = &mut flow.with.state else { return false };
        let load = listener.load.of(worker.index);
        let mut datagrams = 0;
        for place in 0..count {
            let heard = batch.at(place);
            datagrams += heard.count();
            open.answered(heard.bytes.len(), heard.count());
            match batch.send(
                &self.socket,
                &heard,
                Some(key.client),
                Some(key.local).filter(|local| !local.is_unspecified()),
            ) {
                Ok(()) => {
                    load.bytes_sent.add(heard.bytes.len() as u64);
                    load.datagrams_sent.add(heard.count());
                }
                Err(_) => load.reasons[Reason::NotSent].add(heard.count()),
            }
        }
        let Some(answered) = table.answered(id, datagrams, now, &listener.config.udp) else { return false };
        if answered.first
            && let Some(State::Open(open)) = table.get_mut(id).map(|flow| &mut flow.with.state)
        {
            open.succeeded(worker);
        }
        drop(table);
        if answered.complete {
            self.end(worker, id, None);
        }
        !answered.complete
    }
}

/// Passes on what a flow's endpoint sends, until the flow is over.
async fn listen<E: Env>(
    worker: Rc<Worker<E>>,
    door: Rc<Door>,
    id: FlowId,
    upstream: Rc<Upstream>,
    delay: std::time::Duration,
) {
    if !delay.is_zero() {
        tokio::time::sleep(delay).await;
        if let Some(State::Open(open)) = door.table.borrow_mut().get_mut(id).map(|flow| &mut flow.with.state) {
            open.release();
        }
    }
    while upstream.socket.ready().await.is_ok() && door.hear(&worker, id, &upstream) {}
}
