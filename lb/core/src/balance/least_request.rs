//! The better of two distinct draws by weight ("power of two choices", Mitzenmacher 2001).

use super::random::Draw;
use super::{Choice, Why};
use crate::dice::Dice;
use crate::load::EndpointLoad;

pub(super) fn pick(draw: &Draw, choice: &Choice<'_>, dice: &mut Dice) -> Option<(usize, Why)> {
    let first = draw.one(choice, None, dice)?;
    let second = match (choice.usable.len(), first) {
        // Of two, the other one: no need to draw until it comes.
        (2, _) => Some(1 - first).filter(|&other| choice.untried(other)),
        _ => draw.one(choice, Some(first), dice),
    };
    let Some(second) = second else {
        return Some((first, Why::Only));
    };
    let (better, worse) = if second_is_better(choice, first, second, dice) { (second, first) } else { (first, second) };
    Some((better, Why::LeastOfTwo { over: choice.index(worse) }))
}

/// Compares `(active + 1) / weight`, in whole numbers; a tie is tossed.
fn second_is_better(choice: &Choice<'_>, first: usize, second: usize, dice: &mut Dice) -> bool {
    let [(queue, weight), (other_queue, other_weight)] = [first, second].map(|place| {
        let member = choice.member(place);
        (u128::from(EndpointLoad::active(&member.load)) + 1, u128::from(member.weight.get()))
    });
    let (cost, other_cost) = (queue * other_weight, other_queue * weight);
    other_cost < cost || (other_cost == cost && dice.below(2) == 1)
}
