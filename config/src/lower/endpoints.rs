//! The endpoints of a cluster and where more are found; and files of endpoints.

use std::collections::HashMap;

use super::Fields;
use super::listener::scalar;
use crate::grammar::{self, Place};
use crate::mistake::Mistake;
use crate::model::{Endpoint, Source, SourceKind, Weight, ZoneName};
use crate::report::{Path, Report};
use crate::shape;
use crate::yaml::{Node, Span, Value};

/// What a list of endpoints comes to.
#[derive(Default)]
pub(super) struct Endpoints {
    pub(super) fixed: Vec<Endpoint>,
    pub(super) sources: Vec<Source>,
    seen: HashMap<Place, Span>,
    /// There are some that could not be read.
    incomplete: bool,
}

/// The endpoints of a cluster.
pub(super) fn lower(fields: &Fields<'_>, path: &Path<'_>, report: &mut Report) -> Endpoints {
    let mut endpoints = Endpoints::default();
    let Some(node) = fields.get("endpoints") else {
        return endpoints;
    };
    let path = path.key("endpoints");
    endpoints.take_all(node, &path, report);
    if !endpoints.incomplete {
        check_usable(&endpoints, fields, node, &path, report);
    }
    endpoints
}

/// The endpoints of a file of their own, which the caller has held against its shape.
pub(super) fn lower_file(root: &Node, report: &mut Report) -> Vec<Endpoint> {
    let mut endpoints = Endpoints::default();
    endpoints.take_all(root, &Path::Root, report);
    endpoints.fixed
}

fn check_usable(endpoints: &Endpoints, fields: &Fields<'_>, node: &Node, path: &Path<'_>, report: &mut Report) {
    let Endpoints { fixed, sources, .. } = endpoints;
    let name = fields.text("name").map_or_else(|| "this cluster".to_owned(), |name| format!("the cluster {name:?}"));
    // Files and SRV records bring weights of their own.
    let open = |source: &Source| source.weight.get() > 0 || !matches!(source.kind, SourceKind::Name { .. });
    if sources.iter().any(open) {
        return;
    }
    if fixed.is_empty() && sources.is_empty() {
        let mistake = Mistake::error("empty_cluster", node.mark(), format!("{name} has no endpoint"));
        report.push(mistake.hint("give at least one, or remove the cluster"), path);
    } else if fixed.iter().all(|endpoint| endpoint.weight.get() == 0) {
        let mistake =
            Mistake::error("all_weights_zero", node.mark(), format!("every endpoint of {name} has the weight 0"));
        report.push(mistake.hint("with a weight of 0 an endpoint takes no traffic; one must be over 0"), path);
    }
}

impl Endpoints {
    /// Those of a plain list, or of lists by zone.
    fn take_all(&mut self, node: &Node, path: &Path<'_>, report: &mut Report) {
        match &node.value {
            Value::List(items) => self.take(items, None, path, report),
            Value::Map(zones) => {
                for (key, node) in zones {
                    match &node.value {
                        Value::List(items) => {
                            self.take(items, ZoneName::new(&key.text).ok(), &path.key(&key.text), report);
                        }
                        _ => self.incomplete = true,
                    }
                }
            }
            _ => self.incomplete = true,
        }
    }

    fn take(&mut self, items: &[Node], zone: Option<ZoneName>, path: &Path<'_>, report: &mut Report) {
        for (at, node) in items.iter().enumerate() {
            let path = path.item(at);
            let Some(entry) = Entry::of(node, zone.clone()) else {
                self.incomplete = true;
                continue;
            };
            if let Some(first) = self.seen.get(&entry.place) {
                report.push(entry.again(*first), &path);
                continue;
            }
            self.seen.insert(entry.place.clone(), entry.span);
            let Entry { place, weight, priority, zone, .. } = entry;
            match place {
                Place::Fixed(address) => self.fixed.push(Endpoint { address, zone, weight, priority }),
                Place::Found(kind) => self.sources.push(Source { kind, zone, weight, priority }),
            }
        }
    }
}

/// One entry of the list.
struct Entry {
    place: Place,
    /// Where its address stands.
    span: Span,
    weight: Weight,
    priority: u8,
    zone: Option<ZoneName>,
}

impl Entry {
    fn of(node: &Node, zone: Option<ZoneName>) -> Option<Self> {
        if let Some(text) = scalar(node) {
            let place = grammar::endpoint_address(text).ok()?;
            return Some(Self { place, span: node.span, weight: Weight::ONE, priority: 0, zone });
        }
        let object = if zone.is_some() { &shape::ZONED_ENDPOINT } else { &shape::ENDPOINT };
        let fields = Fields::of(node, object)?;
        let address = fields.get("address")?;
        let place = grammar::endpoint_address(scalar(address)?).ok()?;
        // A weight that could not be read says nothing about the sum.
        let weight = match fields.get("weight") {
            Some(_) => fields.integer("weight")?,
            None => fields.number("weight"),
        };
        let own = if zone.is_none() { fields.text("zone").and_then(|zone| ZoneName::new(&zone).ok()) } else { None };
        Some(Self {
            place,
            span: address.span,
            weight: Weight::new(weight).unwrap_or(Weight::ONE),
            // The table keeps the number within its type.
            priority: fields.number("priority") as u8,
            zone: zone.or(own),
        })
    }

    /// What to say if it was there before.
    fn again(&self, first: Span) -> Mistake {
        let (message, hint) = match &self.place {
            Place::Fixed(address) => {
                (format!("the endpoint {address} is in this cluster twice"), "for a larger share give it a weight")
            }
            Place::Found(kind) => (
                format!("{kind} is in this cluster twice"),
                "what is found there is an endpoint once; for a larger share give it a weight",
            ),
        };
        Mistake::error("duplicate_endpoint", self.span, message).hint(hint).related(first, "first given here")
    }
}
