//! Tracing.

use std::time::Duration;

use super::{Fields, at_least, in_order, route};
use crate::grammar;
use crate::model::{FollowParent, Otlp, Tracing};
use crate::report::{Path, Report};
use crate::shape;

/// A batch more often would be one span each.
const INTERVAL_MIN: Duration = Duration::from_millis(100);

pub(super) fn lower(root: &Fields<'_>, report: &mut Report) -> Option<Tracing> {
    let fields = Fields::of(root.get("tracing")?, &shape::TRACING)?;
    let path = Path::Root.key("tracing");
    let otlp = fields.get("otlp").and_then(|node| Fields::of(node, &shape::OTLP));
    Some(Tracing {
        otlp: otlp.and_then(|otlp| lower_otlp(&otlp, &path.key("otlp"), report)),
        ratio: fields.decimal("ratio"),
        parent: match fields.word("parent") {
            Some("always") => FollowParent::Always,
            Some("never") => FollowParent::Never,
            _ => FollowParent::Trusted,
        },
        service_name: fields
            .text("service_name")
            .or_else(|| fields.default_text("service_name").map(str::to_owned))
            .unwrap_or_default(),
    })
}

fn lower_otlp(fields: &Fields<'_>, path: &Path<'_>, report: &mut Report) -> Option<Otlp> {
    at_least(fields, "interval", INTERVAL_MIN, path, report);
    in_order(fields, ("batch", "queue"), path, report);
    Some(Otlp {
        endpoint: fields.text("endpoint").and_then(|url| grammar::otlp_endpoint(&url).ok())?,
        headers: route::header_values(fields.entries("headers")),
        timeout: fields.duration("timeout"),
        // The table keeps both within their type.
        queue: fields.number("queue") as u32,
        batch: fields.number("batch") as u32,
        interval: fields.duration("interval"),
    })
}
