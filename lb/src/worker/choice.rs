//! Step 8: which endpoint gets an attempt, be it of a request or of a session.
//!
//! The policy is [`weir_core::balance`]'s; here it is asked again where what it picked has no
//! connection left to give, or stands in the zone that just failed.

use weir_core::balance::told::Told;
use weir_core::balance::{self, Ask, Pick, Refusal, Tried};
use weir_core::explain;
use weir_core::limits::Permit;
use weir_core::live::TrialPermit;
use weir_core::snapshot::{Cluster, Member};
use weir_core::time::Moment;

use super::Worker;
use crate::env::Env;

/// An endpoint, with room at it.
pub(crate) struct Chosen<'w> {
    pub(crate) member: &'w Member,
    /// Its index among the cluster's members.
    pub(crate) index: usize,
    /// Of what the endpoint may have under way.
    pub(crate) room: Permit,
    pub(crate) trial: Option<TrialPermit>,
    /// How it was picked, if that is kept.
    pub(crate) told: Option<Box<explain::Picked>>,
}

/// What is gone by.
pub(crate) struct Choice<'w> {
    pub(crate) cluster: &'w Cluster,
    /// The hash key, if the cluster hashes: which of the keys it is, and the hash.
    pub(crate) hash: Option<(usize, u64)>,
    /// The endpoint that a cookie names.
    pub(crate) session: Option<u64>,
    /// It may be the trial of an endpoint on probation.
    pub(crate) may_try: bool,
    /// A connection that idles in the pool will do.
    pub(crate) reuses: bool,
    /// How it comes about is kept.
    pub(crate) kept: bool,
    pub(crate) now: Moment,
}

/// Endpoints looked at to find one that has not as many connections as it may.
const CONNECTION_DRAWS: usize = 16;
/// Endpoints looked at to find one in another zone.
const ZONE_DRAWS: usize = 4;

impl<'w> Choice<'w> {
    /// An endpoint that has not been tried, with room at it; if it can be had, one at which no
    /// connection has to be waited for.
    pub(crate) fn pick<E: Env>(&self, worker: &Worker<E>, tried: &Tried) -> Result<Chosen<'w>, Refusal> {
        let chosen = self.pick_any(worker, tried)?;
        if self.has_connection(worker, chosen.member) {
            return Ok(chosen);
        }
        let mut avoiding = tried.clone();
        avoiding.push(chosen.index);
        for _ in 0..CONNECTION_DRAWS {
            match self.pick_any(worker, &avoiding) {
                Ok(other) if other.trial.is_none() && self.has_connection(worker, other.member) => return Ok(other),
                Ok(other) => avoiding.push(other.index),
                Err(_) => break,
            }
        }
        Ok(chosen)
    }

    /// Another endpoint than those tried, and if it can be had, in another zone than the one that
    /// just failed: it may not be the endpoint that is at fault.
    pub(crate) fn pick_elsewhere<E: Env>(
        &self,
        worker: &Worker<E>,
        tried: &Tried,
        failed: usize,
    ) -> Option<Chosen<'w>> {
        let zone = self.cluster.members[failed].zone.as_ref();
        let mut avoiding = tried.clone();
        let mut spare = None;
        for _ in 0..ZONE_DRAWS {
            match self.pick(worker, &avoiding) {
                Ok(chosen) if zone.is_some() && chosen.member.zone.as_ref() == zone => {
                    avoiding.push(chosen.index);
                    spare.get_or_insert(chosen);
                }
                Ok(chosen) => return Some(chosen),
                Err(_) => break,
            }
        }
        spare
    }

    fn pick_any<E: Env>(&self, worker: &Worker<E>, tried: &Tried) -> Result<Chosen<'w>, Refusal> {
        let (mut cursors, mut dice) = (worker.cursors.borrow_mut(), worker.dice.borrow_mut());
        let ask = Ask {
            tried,
            hash: self.hash.map(|(_, hash)| hash),
            sticky: self.session,
            may_try: self.may_try,
            worker: worker.index,
            now: self.now,
        };
        loop {
            let mut told = None;
            let picked = if self.kept {
                let mut hears = Told::listening();
                let picked = balance::pick_told(self.cluster, &ask, &mut cursors, &mut dice, &mut hears);
                told = Some(Box::new(explain::Picked::of(self.hash, hears, &picked)));
                picked
            } else {
                balance::pick(self.cluster, &ask, &mut cursors, &mut dice)
            };
            let Pick { member, index, trial, .. } = picked?;
            // Between being picked and taking room another worker may have taken the last; then
            // the endpoint is full, and is not picked again.
            if let Some(room) = member.live.requests.take() {
                return Ok(Chosen { member, index, room, trial, told });
            }
        }
    }

    /// Whether nobody has to wait there for a connection.
    fn has_connection<E: Env>(&self, worker: &Worker<E>, member: &Member) -> bool {
        !member.live.connections.is_full() || (self.reuses && worker.pool.borrow().has(member.id))
    }
}
