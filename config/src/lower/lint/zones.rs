//! Zones that nobody stands in.

use std::collections::BTreeSet;

use super::{Lint, push};
use crate::mistake::Mistake;
use crate::model::{SourceKind, ZoneName};
use crate::nearest::nearest;
use crate::yaml::Value;

impl Lint<'_> {
    pub(super) fn zone_aware(&mut self, own: Option<&ZoneName>) {
        let policy = &self.cluster.zone_aware;
        if !policy.enabled {
            return;
        }
        let Some(own) = own else {
            let hint = "say at the top of the file where it stands, as in `zone: ${WEIR_ZONE}`";
            return self.no_effect(&["zone_aware"], "the zone of this instance is not told", hint);
        };
        if let Some(count) = self.count()
            && count < policy.min_endpoints as usize
        {
            let least = policy.min_endpoints;
            let message =
                format!("no zone is ever preferred: the cluster has {count} endpoints, and the least is {least}");
            return self.say(&["zone_aware"], "never_fires", message, "lower `min_endpoints`, or remove this");
        }
        let zones = self.zones();
        if !zones.contains(own) && !self.may_be_anywhere() {
            let message = format!("no endpoint stands in {own}, the zone of this instance");
            let told: Vec<&str> = zones.iter().map(ZoneName::as_str).collect();
            let hint =
                format!("zones of this cluster: {}", if told.is_empty() { "none".into() } else { told.join(", ") });
            self.say(&["zone_aware"], "zone_without_endpoints", message, &hint);
        }
        self.shares(own, &zones);
    }

    /// Instances may well stand where no endpoint does, so a share for such a zone is no error.
    fn shares(&mut self, own: &ZoneName, zones: &BTreeSet<ZoneName>) {
        let shares = &self.cluster.zone_aware.shares;
        if shares.is_empty() {
            return;
        }
        if !shares.iter().any(|(zone, share)| zone == own && *share > 0) {
            let message = format!("{own}, the zone of this instance, has no share: all it gets would stay in the zone");
            let hint = format!("give it one, as in {own}: 1");
            self.say(&["zone_aware", "shares"], "no_share", message, &hint);
        }
        let Some(Value::Map(entries)) = self.fields.get("zone_aware").map(|node| &node.value) else {
            return;
        };
        let Some((_, node)) = entries.iter().find(|(key, _)| key.text == "shares") else {
            return;
        };
        let Value::Map(entries) = &node.value else {
            return;
        };
        for (key, _) in entries {
            let known = zones.iter().map(ZoneName::as_str).chain([own.as_str()]);
            if known.clone().any(|zone| zone == key.text) || self.may_be_anywhere() {
                continue;
            }
            let mistake = Mistake::warning("unknown_zone", key.span, format!("no endpoint stands in {:?}", key.text));
            let free = known.filter(|zone| entries.iter().all(|(other, _)| other.text != *zone));
            let mistake = match nearest(&key.text, free) {
                Some(near) => mistake.hint(format!("did you mean `{near}`?")),
                None => mistake.hint("its share counts, but nothing can be passed on to it"),
            };
            push(self.path, &["zone_aware", "shares", &key.text], mistake, self.report);
        }
    }

    /// The zones that endpoints are said to stand in.
    fn zones(&self) -> BTreeSet<ZoneName> {
        let fixed = self.cluster.endpoints.iter().filter_map(|endpoint| endpoint.zone.clone());
        fixed.chain(self.cluster.sources.iter().filter_map(|source| source.zone.clone())).collect()
    }

    /// A file may name zones of its own.
    fn may_be_anywhere(&self) -> bool {
        self.cluster.sources.iter().any(|source| matches!(source.kind, SourceKind::File(_)))
    }
}
