//! Whether an edit did what was wanted, and nothing else.

use super::{Place, Refusal, entry, lost, refuse};
use crate::model::Share;
use crate::report::Path;
use crate::yaml::{self, Node, Span, Text, Value};

/// Reads `new` and holds it against `old`.
///
/// # Errors
/// The first thing that is different besides the `wanted` weights, or a weight that is not as
/// wanted; the place is one of the old text.
pub(super) fn only_weights_differ(old: &Node, new: &str, wanted: &[(Place, Share)]) -> Result<(), Refusal> {
    let Ok(mut new) = yaml::read(new) else { return Err(lost(old.mark())) };
    let mut old = old.clone();
    for (place, weight) in wanted {
        let canary = place.of(&new).ok_or_else(|| lost(old.mark()))?;
        let number = entry(canary, "weight").and_then(|(_, value)| match &value.value {
            Value::Integer(number) => Some(*number as f64),
            Value::Float(number) => Some(*number),
            _ => None,
        });
        if number.and_then(Share::of_percent) != Some(*weight) {
            return Err(lost(place.of(&old).unwrap_or(&old).mark()));
        }
    }
    for (place, _) in wanted {
        for tree in [&mut old, &mut new] {
            if let Some(Value::Map(entries)) = place.of_mut(tree).map(|canary| &mut canary.value) {
                entries.retain(|(key, _)| key.text != "weight");
            }
        }
    }
    match first_difference(&old, &new, &Path::Root) {
        None => Ok(()),
        Some((span, path)) => {
            let message =
                format!("the new weight would change {path} too, for both have it from one place of the file");
            Err(refuse("weight_shared", span, message, "write it out in both places, without the anchor (`&`)"))
        }
    }
}

/// Where two trees first differ in what they say.
fn first_difference(old: &Node, new: &Node, path: &Path<'_>) -> Option<(Span, String)> {
    let here = || Some((old.mark(), path.to_text()));
    match (&old.value, &new.value) {
        (Value::List(old), Value::List(new)) if old.len() == new.len() => {
            let mut pairs = old.iter().zip(new).enumerate();
            pairs.find_map(|(at, (old, new))| first_difference(old, new, &path.item(at)))
        }
        (Value::Map(old), Value::Map(new)) if old.len() == new.len() => {
            let mut pairs = old.iter().zip(new);
            pairs.find_map(|((key, old), (new_key, new))| match key.text == new_key.text {
                true => first_difference(old, new, &path.key(&key.text)),
                false => here(),
            })
        }
        (old, new) => {
            if same_scalar(old, new) {
                None
            } else {
                here()
            }
        }
    }
}

fn same_scalar(old: &Value, new: &Value) -> bool {
    match (old, new) {
        (Value::Null, Value::Null) | (Value::Broken, Value::Broken) => true,
        (Value::Bool(old), Value::Bool(new)) => old == new,
        (Value::Integer(old), Value::Integer(new)) => old == new,
        // By bits: not-a-number is itself here.
        (Value::Float(old), Value::Float(new)) => old.to_bits() == new.to_bits(),
        (Value::Text(Text { text: old, .. }), Value::Text(Text { text: new, .. })) => old == new,
        _ => false,
    }
}
