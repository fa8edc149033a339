//! The better of two distinct draws by weight ("power of two choices", Mitzenmacher 2001).
//!
//! By requests under way (`least_request`) or by the time they take (`ewma`: peak EWMA, as in
//! Finagle and Linkerd). What one worker has not seen of an endpoint it takes to be as with the
//! other draw, so a new endpoint is asked at once.

use super::random::Draw;
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

pub(super) fn pick(by: By, draw: &Draw, choice: &Choice<'_>, ask: &Ask<'_>, dice: &mut Dice) -> Option<(usize, Why)> {
    let first = draw.one(choice, None, dice)?;
    let second = match (choice.usable.len(), first) {
        // Of two, the other one: no need to draw until it comes.
        (2, _) => Some(1 - first).filter(|&other| choice.fits(other)),
        _ => draw.one(choice, Some(first), dice),
    };
    let Some(second) = second else {
        return Some((first, Why::Only));
    };
    let second_is_better = match by {
        By::Requests => has_less_to_do(choice, ask, first, second, dice),
        By::Latency => is_quicker(choice, ask, first, second, dice),
    };
    let (better, worse) = if second_is_better { (second, first) } else { (first, second) };
    Some((better, Why::LeastOfTwo { over: choice.index(worse) }))
}

/// Whether the second has less to do for its weight than the first. In whole numbers.
fn has_less_to_do(choice: &Choice<'_>, ask: &Ask<'_>, first: usize, second: usize, dice: &mut Dice) -> bool {
    let [(queue, weight), (other_queue, other_weight)] = [first, second].map(|place| {
        let member = choice.member(place);
        (u128::from(EndpointLoad::active(&member.load)) + 1, u128::from(member.capacity()))
    });
    let (cost, other_cost) = (queue * other_weight, other_queue * weight);
    if cost != other_cost {
        return other_cost < cost;
    }
    let [latency, other] = latencies(choice, ask, first, second);
    if other * CLEARLY < latency {
        true
    } else if latency * CLEARLY < other {
        false
    } else {
        dice.below(2) == 1
    }
}

/// Whether a request is likely to be answered sooner by the second than by the first.
fn is_quicker(choice: &Choice<'_>, ask: &Ask<'_>, first: usize, second: usize, dice: &mut Dice) -> bool {
    let [latency, other] = latencies(choice, ask, first, second);
    let cost = |place: usize, latency: f64| {
        let member = choice.member(place);
        latency * (EndpointLoad::active(&member.load) + 1) as f64 / member.capacity() as f64
    };
    let (cost, other_cost) = (cost(first, latency), cost(second, other));
    other_cost < cost || (other_cost == cost && dice.below(2) == 1)
}

fn latencies(choice: &Choice<'_>, ask: &Ask<'_>, first: usize, second: usize) -> [f64; 2] {
    let [one, other] = [first, second].map(|place| choice.member(place).load.of(ask.worker).latency.read(ask.now));
    match (one, other) {
        (Some(one), Some(other)) => [one, other],
        (Some(known), None) | (None, Some(known)) => [known; 2],
        (None, None) => [1.0; 2],
    }
}
