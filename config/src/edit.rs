//! Weights of a release changed in the text of a config, and nothing else of it.
//!
//! The file is its operator's: comments, order, quotes and line ends stay as they are. So the text
//! is not written anew from the tree; the bytes of a weight are exchanged where they stand, and a
//! canary without one is given one in its own style. Then both texts are read and held against each
//! other: if anything but the wanted weights came out different, the edit is refused. So an edit
//! needs to know of YAML only what people write; the rest is noticed.
//!
//! Whether the config is valid before and after is not looked at here: that is [`crate::parse`].

mod compare;
mod lines;
mod splice;

pub use lines::{Sort, unified};

use crate::Source;
use crate::expand;
use crate::mistake::{Mistake, Mistakes};
use crate::model::Share;
use crate::nearest::nearest;
use crate::report::{Path, Report};
use crate::yaml::{self, Key, Node, Span, Text, Value};

/// Sets the weights of canaries of `release`, each named by its cluster.
///
/// ```
/// # use weir_config::{Source, no_files, edit::set_weights, model::Share};
/// let text = "
/// releases:
///   - name: orders                  # users by id
///     stable: orders-v1
///     canaries: [{cluster: orders-v2, weight: 5}]
/// ";
/// let source = Source { name: "weir.yaml", env: &|_| None, files: &no_files };
/// let ten = Share::of_percent(10.0).unwrap();
/// let new = set_weights(text, &source, "orders", &[("orders-v2", ten)]).unwrap();
/// assert_eq!(new, text.replace("weight: 5", "weight: 10"));
/// ```
///
/// # Errors
/// Why the text cannot be changed so, with the place and what to do instead.
pub fn set_weights(
    text: &str,
    source: &Source<'_>,
    release: &str,
    changes: &[(&str, Share)],
) -> Result<String, Mistakes> {
    edit(text, source, release, changes).map_err(|mistake| Mistakes::new(source.name, text, vec![*mistake]))
}

/// Boxed, for it is large and rare.
type Refusal = Box<Mistake>;

fn edit(text: &str, source: &Source<'_>, release: &str, changes: &[(&str, Share)]) -> Result<String, Refusal> {
    let tree = yaml::read(text)?;
    let mut named = tree.clone();
    // Only to know names by what they mean; what is wrong with a variable is not ours to say.
    expand::expand(&mut named, source.env, &Path::Root, &mut Report::default());
    let mut wanted: Vec<(Place, Share)> = Vec::with_capacity(changes.len());
    for (cluster, weight) in changes {
        let place = find(&named, release, cluster)?;
        if wanted.iter().any(|(before, _)| *before == place) {
            let message = format!("{cluster} is given two weights at once");
            return Err(refuse("duplicate_weight", named.mark(), message, "give each canary one weight"));
        }
        wanted.push((place, *weight));
    }
    let mut splices = Vec::with_capacity(wanted.len());
    for (place, weight) in &wanted {
        let canary = place.of(&tree).ok_or_else(|| lost(tree.mark()))?;
        splices.extend(splice::splice(text, canary, *weight)?);
    }
    let new = splice::apply(text, splices);
    compare::only_weights_differ(&tree, &new, &wanted)?;
    Ok(new)
}

/// Which canary of which release, by index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    release: usize,
    canary: usize,
}

impl Place {
    fn of(self, tree: &Node) -> Option<&Node> {
        let release = items(&entry(tree, "releases")?.1).get(self.release)?;
        items(&entry(release, "canaries")?.1).get(self.canary)
    }

    fn of_mut(self, tree: &mut Node) -> Option<&mut Node> {
        let release = items_mut(entry_mut(tree, "releases")?).get_mut(self.release)?;
        items_mut(entry_mut(release, "canaries")?).get_mut(self.canary)
    }
}

/// Where the canary of that cluster is, in the release of that name.
fn find(tree: &Node, release: &str, cluster: &str) -> Result<Place, Refusal> {
    let Some((key, releases)) = entry(tree, "releases") else {
        let message = format!("there is no release {release:?}: this file has no releases");
        return Err(refuse("unknown_release", tree.mark(), message, "name another file with --config"));
    };
    let at = only(items(releases), "name", release, key.span, "release")?;
    let node = &items(releases)[at];
    let (mark, canaries) = match entry(node, "canaries") {
        Some((key, canaries)) => (key.span, items(canaries)),
        None => (node.mark(), &[][..]),
    };
    if let Some((_, stable)) = entry(node, "stable")
        && text_of(stable) == Some(cluster)
    {
        let message = format!("{cluster} is the stable cluster of release {release}; it has no weight of its own");
        let remedy = "its users are those whom no canary has: set the canaries' weights";
        return Err(refuse("stable_has_no_weight", stable.span, message, remedy));
    }
    Ok(Place { release: at, canary: only(canaries, "cluster", cluster, mark, "canary")? })
}

/// The one item that is called so.
fn only(items: &[Node], key: &str, name: &str, mark: Span, noun: &str) -> Result<usize, Refusal> {
    let names = || items.iter().filter_map(|item| text_of(&entry(item, key)?.1));
    let mut found =
        (0..items.len()).filter(|at| entry(&items[*at], key).and_then(|(_, its)| text_of(its)) == Some(name));
    match (found.next(), found.next()) {
        (Some(at), None) => Ok(at),
        (Some(at), Some(_)) => {
            let message = format!("there is more than one {noun} {name:?}");
            Err(refuse("ambiguous", items[at].mark(), message, "give each a name of its own"))
        }
        (None, _) => {
            let remedy = match (nearest(name, names()), names().next()) {
                (Some(near), _) => format!("did you mean `{near}`?"),
                (None, Some(_)) => format!("there are: {}", names().collect::<Vec<_>>().join(", ")),
                (None, None) => "there is none at all".to_owned(),
            };
            let code = if noun == "release" { "unknown_release" } else { "unknown_canary" };
            Err(refuse(code, mark, format!("there is no {noun} {name:?} here"), &remedy))
        }
    }
}

fn refuse(code: &'static str, span: Span, message: impl Into<String>, remedy: &str) -> Refusal {
    Box::new(Mistake::error(code, span, message).hint(remedy))
}

/// What is said when a way of writing is none that we know.
fn lost(span: Span) -> Refusal {
    let message = "the weight cannot be changed here without touching something else";
    refuse("cannot_edit", span, message, "change it by hand")
}

/// One or several: a list, or the thing itself.
fn items(node: &Node) -> &[Node] {
    match &node.value {
        Value::List(items) => items,
        Value::Null => &[],
        _ => std::slice::from_ref(node),
    }
}

fn items_mut(node: &mut Node) -> &mut [Node] {
    if let Value::Null = node.value {
        return &mut [];
    }
    if !matches!(node.value, Value::List(_)) {
        return std::slice::from_mut(node);
    }
    match &mut node.value {
        Value::List(items) => items,
        _ => &mut [],
    }
}

fn entry<'a>(node: &'a Node, name: &str) -> Option<&'a (Key, Node)> {
    match &node.value {
        Value::Map(entries) => entries.iter().find(|(key, _)| key.text == name),
        _ => None,
    }
}

fn entry_mut<'a>(node: &'a mut Node, name: &str) -> Option<&'a mut Node> {
    match &mut node.value {
        Value::Map(entries) => entries.iter_mut().find(|(key, _)| key.text == name).map(|(_, value)| value),
        _ => None,
    }
}

fn text_of(node: &Node) -> Option<&str> {
    match &node.value {
        Value::Text(Text { text, .. }) => Some(text),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
