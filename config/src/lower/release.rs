//! Releases, and references to them.

mod buckets;
mod identity;
mod rollout;
mod rules;

use std::collections::HashMap;
use std::sync::Arc;

use super::cluster::Clusters;
use super::listener::scalar;
use super::reference::References;
use super::{Fields, Names};
use crate::files::Files;
use crate::mistake::Mistake;
use crate::model::{Canary, ClusterName, Mirror, OnUnhealthy, Release, ReleaseName, Share};
use crate::report::{Path, Report};
use crate::shape;
use crate::yaml::{Node, Span};

use buckets::Draft;

/// Most canaries of a release.
const MAX_CANARIES: usize = 100;

/// The releases of a file: those that came out well, and the names of all.
pub(super) struct Releases<'a> {
    good: Vec<Release>,
    names: References<'a>,
}

impl Releases<'_> {
    pub(super) fn into_releases(self) -> Vec<Arc<Release>> {
        self.good.into_iter().map(Arc::new).collect()
    }

    /// The release of this name, if it came out well.
    pub(super) fn get(&self, name: &str) -> Option<&Release> {
        self.good.iter().find(|release| release.name.as_str() == name)
    }

    /// The release that `node` names; reported if there is none.
    pub(super) fn resolve(
        &self,
        node: &Node,
        clusters: &Clusters<'_>,
        path: &Path<'_>,
        report: &mut Report,
    ) -> Option<ReleaseName> {
        if let Some(text) = scalar(node)
            && !self.names.has(text)
            && clusters.has(text)
        {
            let mistake = Mistake::error("unknown_release", node.span, format!("{text:?} is a cluster, not a release"));
            report.push(mistake.hint(format!("write `cluster: {text}`")), path);
            return None;
        }
        self.names.resolve(node, path, report).and_then(|name| ReleaseName::new(name).ok())
    }
}

pub(super) fn warn_unused(releases: &Releases<'_>, report: &mut Report) {
    let root = Path::Root.key("releases");
    for (name, span, at) in releases.names.unused() {
        let message = format!("no route gives anything to the release {name:?}, so it divides nobody");
        let mistake = Mistake::warning("unused_release", span, message);
        let hint = format!("in a route, write `release: {name}` instead of `cluster: …`");
        report.push(mistake.hint(hint), &root.item(at).key("name"));
    }
}

pub(super) fn lower_all<'a>(
    fields: &Fields<'a>,
    clusters: &Clusters<'_>,
    files: &Files<'_>,
    report: &mut Report,
) -> Releases<'a> {
    let mut releases = Releases { good: Vec::new(), names: References::new("release", "unknown_release") };
    let (root, mut names) = (Path::Root.key("releases"), Names::default());
    for (at, node) in fields.items("releases").iter().enumerate() {
        let path = root.item(at);
        let Some(fields) = Fields::of(node, &shape::RELEASE) else {
            continue;
        };
        names.claim(fields.get("name"), "releases", &path, report);
        releases.names.enter(fields.get("name"), at);
        let context = Context { clusters, files };
        releases.good.extend(lower(&fields, node.mark().line, context, &path, report));
    }
    releases
}

/// What a release may lead to.
#[derive(Clone, Copy)]
struct Context<'a> {
    clusters: &'a Clusters<'a>,
    files: &'a Files<'a>,
}

fn lower(
    fields: &Fields<'_>,
    line: u32,
    context: Context<'_>,
    path: &Path<'_>,
    report: &mut Report,
) -> Option<Release> {
    let canonical = identity::canonical(fields);
    let rules = rules::Reader { canonical, files: context.files };
    let key = identity::keys(fields, context.files, path, report);
    let stable = fields.get("stable").and_then(|node| context.clusters.resolve(node, &path.key("stable"), report));
    let canaries = canaries(fields, stable.as_ref(), rules, context, path, report);
    let mirror = mirror(fields, context, path, report);
    let never = rules.lower_all(fields, "never", path, report);
    let name = fields.text("name")?;
    let release = Release {
        key,
        canonical,
        salt: fields.text("salt").unwrap_or_else(|| name.clone()),
        stable: stable?,
        canaries,
        never,
        anonymous: identity::anonymous(fields),
        on_unhealthy: match fields.word("on_unhealthy") {
            Some("error") => OnUnhealthy::Error,
            _ => OnUnhealthy::Stable,
        },
        judge: rollout::judge(fields),
        mirror,
        line,
        name: ReleaseName::new(&name).ok()?,
    };
    if !report.has_errors() {
        warn_mirror(&release, fields, path, report);
    }
    Some(release)
}

fn canaries(
    release: &Fields<'_>,
    stable: Option<&ClusterName>,
    rules: rules::Reader<'_>,
    context: Context<'_>,
    path: &Path<'_>,
    report: &mut Report,
) -> Vec<Canary> {
    let items = release.items("canaries");
    let path = path.key("canaries");
    if let Some(first_too_many) = items.get(MAX_CANARIES) {
        let message = format!("there are {} canaries; a release has at most {MAX_CANARIES}", items.len());
        let mistake = Mistake::error("too_many_canaries", first_too_many.mark(), message);
        report.push(mistake.hint("a version nobody gets any more can be removed"), &path.item(MAX_CANARIES));
        return Vec::new();
    }
    let (mut seen, mut drafts, mut canaries) = (HashMap::new(), Vec::new(), Vec::new());
    for (at, node) in items.iter().enumerate() {
        let path = path.item(at);
        let Some(fields) = Fields::of(node, &shape::CANARY) else {
            continue;
        };
        let named = fields.get("cluster");
        let cluster = named.and_then(|node| context.clusters.resolve(node, &path.key("cluster"), report));
        let is_version = match (named, &cluster) {
            (Some(node), Some(cluster)) => check_cluster(node, cluster, stable, &mut seen, &path, report),
            _ => true,
        };
        let draft = Draft::of(&fields, node, at, cluster.as_ref(), &path, report);
        let rollout = rollout::lower(&fields, draft.share, &path, report);
        let (first, never) =
            (rules.lower_all(&fields, "first", &path, report), rules.lower_all(&fields, "never", &path, report));
        if let Some(cluster) = cluster {
            let (from, weight) = (draft.from.unwrap_or_default(), draft.share.unwrap_or_default());
            canaries.push(Canary { cluster, from, weight, first, never, rollout });
        }
        // What is no version owns no buckets.
        drafts.extend(is_version.then_some(draft));
    }
    buckets::check(&drafts, &path, report);
    canaries
}

/// A cluster is one version of a release; says whether it is.
fn check_cluster(
    node: &Node,
    cluster: &ClusterName,
    stable: Option<&ClusterName>,
    seen: &mut HashMap<ClusterName, Span>,
    path: &Path<'_>,
    report: &mut Report,
) -> bool {
    let path = path.key("cluster");
    if stable == Some(cluster) {
        let message = format!("{cluster} is the stable cluster, so it cannot be a canary too");
        let mistake = Mistake::error("canary_is_stable", node.span, message);
        report.push(mistake.hint("remove this canary: stable has every user that no canary has"), &path);
        return false;
    }
    if let Some(first) = seen.get(cluster) {
        let message = format!("{cluster} is a canary of this release twice");
        let mistake = Mistake::error("duplicate_canary", node.span, message);
        let hint = "one canary has one range of buckets; for more users give it a larger `weight`";
        report.push(mistake.hint(hint).related(*first, "first given here"), &path);
        return false;
    }
    seen.insert(cluster.clone(), node.span);
    true
}

fn mirror(release: &Fields<'_>, context: Context<'_>, path: &Path<'_>, report: &mut Report) -> Option<Mirror> {
    let fields = Fields::of(release.get("mirror")?, &shape::MIRROR)?;
    let path = path.key("mirror");
    let share = share(&fields, "percent", &path, report);
    let cluster = context.clusters.resolve(fields.get("cluster")?, &path.key("cluster"), report)?;
    Some(Mirror {
        cluster,
        share: share.unwrap_or_default(),
        unsafe_methods: fields.bool("unsafe_methods"),
        max_concurrent: fields.count("max_concurrent").get(),
        timeout: fields.duration("timeout"),
        // The table keeps the number within its type.
        body_bytes: fields.number("body_bytes") as u32,
    })
}

fn warn_mirror(release: &Release, fields: &Fields<'_>, path: &Path<'_>, report: &mut Report) {
    let Some(Mirror { cluster, .. }) = &release.mirror else {
        return;
    };
    if release.clusters().any(|own| own == cluster)
        && let Some(node) = fields.get("mirror")
    {
        let message = format!("{cluster} serves users of this release itself, so it gets some of their requests twice");
        let mistake = Mistake::warning("mirror_of_itself", node.mark(), message);
        let hint = "copies are for a cluster that serves nobody yet";
        report.push(mistake.hint(hint), &path.key("mirror").key("cluster"));
    }
}

/// A number in per cent as whole buckets; reported if it is none. Without the key its default.
fn share(fields: &Fields<'_>, name: &'static str, path: &Path<'_>, report: &mut Report) -> Option<Share> {
    let Some(node) = fields.get(name) else {
        return Share::of_percent(fields.decimal(name));
    };
    whole_buckets(fields.decimal_if(name)?, node, &path.key(name), report)
}

fn whole_buckets(percent: f64, node: &Node, path: &Path<'_>, report: &mut Report) -> Option<Share> {
    let share = Share::of_percent(percent);
    if share.is_none() {
        let message = format!("{percent} is finer than a bucket, which is 0.01 per cent of the users");
        let (low, high) = ((percent * 100.0).floor() / 100.0, (percent * 100.0).ceil() / 100.0);
        let mistake = Mistake::error("too_fine", node.mark(), message);
        report.push(mistake.hint(format!("two decimals at most: {low} or {high}")), path);
    }
    share
}
