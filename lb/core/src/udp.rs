//! UDP flows: which datagrams belong together, and when that is over.
//!
//! UDP has no connections, so the table makes them: a [`Flow`] is what goes between one address of
//! a client and one of ours, until nothing was heard for a while or all that was asked for was
//! answered. Pure: told what was heard and when, it says what to do; sockets are the worker's, who
//! keeps them in [`Flow::with`].

#[expect(clippy::disallowed_types, reason = "asked for one key at a time, in no order")]
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::time::Duration;

use weir_config::model::UdpFlows;

use crate::access::Access;
use crate::rate::Limiter;
use crate::reason::Reason;
use crate::route::Headers;
use crate::time::Moment;

/// Who talks, and to which of our addresses. Our port is the listener's, so this is the 5-tuple.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FlowKey {
    /// The client's address.
    pub client: SocketAddr,
    /// The address it sent to: what answers must come from.
    pub local: IpAddr,
}

/// Names a flow of one table for as long as it lives; never another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FlowId {
    at: u32,
    /// Rises with each flow that has the place.
    life: u32,
}

/// Whether a client that is not known yet may open a flow, by the access lists and limits of its
/// listener and route, of which it takes what it needs.
///
/// # Errors
/// Why its datagram is dropped. `open` are the flows of the listener over all workers.
pub fn may_open(
    client: IpAddr,
    gates: &[(&Access, Option<&Limiter>)],
    flows: &UdpFlows,
    open: u64,
    now: Moment,
) -> Result<(), Reason> {
    if gates.iter().any(|(access, _)| !access.admits(client)) {
        return Err(Reason::AccessDenied);
    }
    if open >= u64::from(flows.max_flows.get()) {
        return Err(Reason::TooManyFlows);
    }
    let mut limits = gates.iter().filter_map(|(_, limit)| *limit);
    limits.try_for_each(|limit| limit.take(client, &NoHeaders, now)).map_err(|_| Reason::RateLimited)
}

struct NoHeaders;

impl Headers for NoHeaders {
    fn get(&self, _name: &str) -> Option<&[u8]> {
        None
    }
}

/// What one flow is, and what its worker keeps with it.
#[derive(Debug)]
pub struct Flow<T> {
    /// Who talks.
    pub key: FlowKey,
    /// The worker's.
    pub with: T,
    /// Answers that are still to come, where it is known how many there are.
    owed: u64,
    /// Nothing was answered since the client's latest datagram.
    waits: bool,
    answers: u64,
}

/// What the answer of an endpoint comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answered {
    /// It is the first of this flow, or of this endpoint.
    pub first: bool,
    /// All that was asked for is answered: the flow is over.
    pub complete: bool,
}

impl<T> Flow<T> {
    const fn new(key: FlowKey, with: T) -> Self {
        Self { key, with, owed: 0, waits: false, answers: 0 }
    }

    /// The client asked `datagrams` times, and `responses` are expected to each.
    fn asked(&mut self, datagrams: u64, responses: Option<NonZeroU32>) {
        let each = responses.map_or(0, |each| u64::from(each.get()));
        self.owed = self.owed.saturating_add(datagrams.saturating_mul(each));
        self.waits = true;
    }

    fn answered(&mut self, datagrams: u64, responses: Option<NonZeroU32>) -> Answered {
        let first = self.answers == 0;
        self.answers = self.answers.saturating_add(datagrams);
        self.owed = self.owed.saturating_sub(datagrams);
        self.waits = false;
        Answered { first, complete: responses.is_some() && self.owed == 0 }
    }

    /// Its endpoint is gone: what was asked of it will not be answered.
    pub const fn lose(&mut self) {
        self.owed = 0;
        self.answers = 0;
        self.waits = false;
    }

    /// What to say of a flow that ends because nothing was heard for too long. Only where answers
    /// are expected is silence a failure.
    #[must_use]
    pub const fn silence(&self) -> Option<Reason> {
        if self.owed > 0 && self.waits { Some(Reason::UpstreamTimeout) } else { None }
    }
}

/// The flows of one socket, oldest first.
///
/// The order is that of a datagram within the last [`Self::GRAIN`]th of the idle time: moving a
/// flow to the end with each datagram would touch two others each time, for nothing.
#[derive(Debug)]
pub struct Table<T> {
    #[expect(clippy::disallowed_types, reason = "asked for one key at a time, in no order")]
    by_key: HashMap<FlowKey, u32>,
    places: Vec<Place<T>>,
    /// Places that are free.
    free: Vec<u32>,
    oldest: u32,
    newest: u32,
}

#[derive(Debug)]
struct Place<T> {
    life: u32,
    flow: Option<Flow<T>>,
    /// When it was last put at the end of the order.
    placed: Moment,
    older: u32,
    newer: u32,
}

/// No place.
const NONE: u32 = u32::MAX;

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { by_key: Default::default(), places: Vec::new(), free: Vec::new(), oldest: NONE, newest: NONE }
    }
}

impl<T> Table<T> {
    /// A flow ends late by no more than this part of its idle time (and its worker's pause between
    /// two looks); never early.
    pub const GRAIN: u32 = 32;

    /// How many flows there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_key.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }

    /// The flow of `key`.
    #[must_use]
    pub fn find(&self, key: &FlowKey) -> Option<FlowId> {
        let &at = self.by_key.get(key)?;
        Some(FlowId { at, life: self.places[at as usize].life })
    }

    /// A new flow; the one that had its key, if any, is returned. Nothing was asked yet.
    pub fn insert(&mut self, key: FlowKey, now: Moment, with: T) -> (FlowId, Option<Flow<T>>) {
        let before = self.find(&key).and_then(|id| self.remove(id));
        let at = self.free.pop().unwrap_or_else(|| {
            // As many places as descriptors, which are far fewer.
            let at = self.places.len() as u32;
            self.places.push(Place { life: 0, flow: None, placed: now, older: NONE, newer: NONE });
            at
        });
        let place = &mut self.places[at as usize];
        place.flow = Some(Flow::new(key, with));
        let id = FlowId { at, life: place.life };
        self.by_key.insert(key, at);
        self.append(at, now);
        (id, before)
    }

    /// The flow, if it is not over.
    #[must_use]
    pub fn get(&self, id: FlowId) -> Option<&Flow<T>> {
        self.places.get(id.at as usize).filter(|place| place.life == id.life)?.flow.as_ref()
    }

    /// The same, to be changed.
    pub fn get_mut(&mut self, id: FlowId) -> Option<&mut Flow<T>> {
        self.places.get_mut(id.at as usize).filter(|place| place.life == id.life)?.flow.as_mut()
    }

    /// The client sent `datagrams`.
    pub fn asked(&mut self, id: FlowId, datagrams: u64, now: Moment, rules: &UdpFlows) {
        if let Some(flow) = self.touch(id, now, rules.idle) {
            flow.asked(datagrams, rules.responses);
        }
    }

    /// The endpoint sent `datagrams`; `None` if the flow is over already.
    pub fn answered(&mut self, id: FlowId, datagrams: u64, now: Moment, rules: &UdpFlows) -> Option<Answered> {
        self.touch(id, now, rules.idle).map(|flow| flow.answered(datagrams, rules.responses))
    }

    /// Ends a flow.
    pub fn remove(&mut self, id: FlowId) -> Option<Flow<T>> {
        self.get(id)?;
        self.unlink(id.at);
        let place = &mut self.places[id.at as usize];
        let flow = place.flow.take()?;
        place.life = place.life.wrapping_add(1);
        self.free.push(id.at);
        self.by_key.remove(&flow.key);
        Some(flow)
    }

    /// Ends one flow of which nothing was heard for the idle time, if there is one: to be called
    /// until there is none.
    pub fn expire(&mut self, now: Moment, rules: &UdpFlows) -> Option<Flow<T>> {
        let place = self.places.get(self.oldest as usize)?;
        // Heard of at the most a grain after it was placed: by then it is over for certain.
        let over = place.placed + rules.idle + rules.idle / Self::GRAIN;
        if over > now {
            return None;
        }
        let id = FlowId { at: self.oldest, life: place.life };
        self.remove(id)
    }

    /// The flows that `wanted` says, oldest first.
    pub fn list(&self, mut wanted: impl FnMut(&Flow<T>) -> bool) -> Vec<FlowId> {
        let mut found = Vec::new();
        let mut at = self.oldest;
        while let Some(place) = self.places.get(at as usize) {
            if place.flow.as_ref().is_some_and(&mut wanted) {
                found.push(FlowId { at, life: place.life });
            }
            at = place.newer;
        }
        found
    }

    fn touch(&mut self, id: FlowId, now: Moment, idle: Duration) -> Option<&mut Flow<T>> {
        let place = self.places.get_mut(id.at as usize).filter(|place| place.life == id.life)?;
        place.flow.as_ref()?;
        // Strictly within the grain: what `expire` relies on.
        if now.since(place.placed) >= idle / Self::GRAIN {
            self.unlink(id.at);
            self.append(id.at, now);
        }
        self.places[id.at as usize].flow.as_mut()
    }

    fn append(&mut self, at: u32, now: Moment) {
        let newest = self.newest;
        let place = &mut self.places[at as usize];
        (place.placed, place.older, place.newer) = (now, newest, NONE);
        match self.places.get_mut(newest as usize) {
            Some(before) => before.newer = at,
            None => self.oldest = at,
        }
        self.newest = at;
    }

    fn unlink(&mut self, at: u32) {
        let Place { older, newer, .. } = self.places[at as usize];
        match self.places.get_mut(older as usize) {
            Some(place) => place.newer = newer,
            None => self.oldest = newer,
        }
        match self.places.get_mut(newer as usize) {
            Some(place) => place.older = older,
            None => self.newest = older,
        }
    }
}

#[cfg(test)]
mod tests;
