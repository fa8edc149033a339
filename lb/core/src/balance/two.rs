//! The better of two distinct draws by weight ("power of two choices", Mitzenmacher 2001).
//!
//! By requests under way (`least_request`) or by the time they take (`ewma`: peak EWMA, as in
//! Finagle and Linkerd). What one worker has not seen of an endpoint it takes to be as with the
//! other draw, so a new endpoint is asked at once.

use super::random::Draw;
use super::told::{Cost, Recorder, Step};
use super::{Ask, Choice, Why};
use crate::dice::Dice;
use crate::load::EndpointLoad;

/// What makes one draw better than the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    /// `(active + 1) / weight`; a tie goes to the quicker, if it is so clearly.
    Requests,
    /// `latency × (active + 1) / weight`.
    Latency,
}

/// What lies within this factor is no difference in latency, but chance: whoever is a trifle
/// quicker must not get all requests of a cluster that has little to do.
const CLEARLY: f64 = 1.25;

pub(super) fn pick(
    by: By,
    draw: &Draw,
    choice: &Choice<'_>,
    ask: &Ask<'_>,
    dice: &mut Dice,
    recorder: &mut impl Recorder,
) -> Option<(usize, Why)> {
    let first = draw.one(choice, None, dice, recorder)?;
    let second = match (choice.usable.len(), first) {
        // Of two, the other one: no need to draw until it comes.
        (2, _) => Some(1 - first).filter(|&other| choice.fits(other)),
        _ => draw.one(choice, Some(first), dice, recorder),
    };
    let Some(second) = second else {
        return Some((first, Why::Only));
    };
    let mut costs = [first, second].map(|place| Cost::of(choice, place));
    let better = match by {
        By::Requests => has_less_to_do(&mut costs, choice, ask, [first, second]),
        By::Latency => is_quicker(&mut costs, choice, ask, [first, second]),
    };
    let second_is_better = better.unwrap_or_else(|| dice.below(2) == 1);
    recorder.step(|| {
        let [first, second] = costs;
        Step::Compared { first, second, second_is_better, tie: better.is_none() }
    });
    let (better, worse) = if second_is_better { (second, first) } else { (first, second) };
    Some((better, Why::LeastOfTwo { over: choice.index(worse) }))
}

impl Cost {
    fn of(choice: &Choice<'_>, place: usize) -> Self {
        let member = choice.member(place);
        let (active, capacity) = (EndpointLoad::active(&member.load), member.capacity());
        Self { index: choice.index(place), active, capacity, latency: None }
    }
}

/// Whether the second has less to do for its weight than the first; in whole numbers. `None` if
/// neither has, nor is clearly quicker.
fn has_less_to_do(costs: &mut [Cost; 2], choice: &Choice<'_>, ask: &Ask<'_>, places: [usize; 2]) -> Option<bool> {
    let [(queue, weight), (other_queue, other_weight)] =
        costs.map(|cost| (u128::from(cost.active) + 1, u128::from(cost.capacity)));
    let (cost, other_cost) = (queue * other_weight, other_queue * weight);
    if cost != other_cost {
        return Some(other_cost < cost);
    }
    let [latency, other] = latencies(costs, choice, ask, places);
    if other * CLEARLY < latency {
        Some(true)
    } else if latency * CLEARLY < other {
        Some(false)
    } else {
        None
    }
}

/// Whether a request is likely to be answered sooner by the second than by the first; `None` if
/// that is all the same.
fn is_quicker(costs: &mut [Cost; 2], choice: &Choice<'_>, ask: &Ask<'_>, places: [usize; 2]) -> Option<bool> {
    let latencies = latencies(costs, choice, ask, places);
    let cost = |cost: Cost, latency: f64| latency * (cost.active + 1) as f64 / cost.capacity as f64;
    let (cost, other_cost) = (cost(costs[0], latencies[0]), cost(costs[1], latencies[1]));
    (other_cost != cost).then_some(other_cost < cost)
}

/// What one of them was not asked yet is taken to be as with the other.
fn latencies(costs: &mut [Cost; 2], choice: &Choice<'_>, ask: &Ask<'_>, places: [usize; 2]) -> [f64; 2] {
    let [one, other] = places.map(|place| choice.member(place).load.of(ask.worker).latency.read(ask.now));
    (costs[0].latency, costs[1].latency) = (one, other);
    match (one, other) {
        (Some(one), Some(other)) => [one, other],
        (Some(known), None) | (None, Some(known)) => [known; 2],
        (None, None) => [1.0; 2],
    }
}
