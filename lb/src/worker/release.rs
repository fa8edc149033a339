//! Which version of a release a request gets, and what is counted of it.
//!
//! The rule is [`weir_core::release`]'s; here it is given a request, and its counts.

use std::io::Write;
use std::sync::Arc;

use tokio::time::Instant;
use weir_config::model::{Anonymous, Bucket, IdCookie};
use weir_core::explain::{self, Heard};
use weir_core::reason::Side;
use weir_core::release::load::ArmLoad;
use weir_core::release::{self, Decided, Handed, Release, Why};

use super::affinity;
use super::forward::Inbound;
use super::story::Story;
use super::tunnel::Wish;
use super::{Worker, World};
use crate::env::Env;
use crate::observe::access;

/// What a release decided for a request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gray {
    /// The release's index in the snapshot.
    pub(crate) release: usize,
    pub(crate) decided: Decided,
    /// A copy of it goes elsewhere too.
    pub(crate) mirrored: bool,
}

/// Step 6: the version. Whoever is handed an id is handed it with the answer.
pub(crate) fn decide<E: Env>(worker: &Worker<E>, world: &World, at: usize, inbound: &mut Inbound<'_, E::Stream>) {
    let release = &world.snapshot.releases[at];
    let asked = affinity::asked(&inbound.heads.request, inbound.client_address());
    let mut dice = worker.dice.borrow_mut();
    let clusters = &world.snapshot.clusters;
    let (decided, heard) = match inbound.story.kept {
        None => (release::decide(release, clusters, &asked, &mut dice, &mut ()), None),
        Some(_) => {
            let mut heard = Heard::default();
            (release::decide(release, clusters, &asked, &mut dice, &mut heard), Some(heard))
        }
    };
    if let (Some(handed), Anonymous::Cookie(cookie)) = (decided.assigned.handed, &release.config.anonymous) {
        hand_out(&mut inbound.story.fields, cookie, handed);
    }
    let mirror = release.config.mirror.as_ref();
    // Of a tunnel there is nothing to copy.
    let mirror = mirror.filter(|_| inbound.wish == Wish::Answer);
    let mirrored = mirror.filter(|mirror| release::is_mirrored(mirror, asked.view.method, &mut dice));
    if let Some(mirror) = mirrored {
        inbound.upload.keep(mirror.body_bytes as usize);
    }
    let mirrored = mirrored.is_some();
    if let (Some(kept), Some(heard)) = (&mut inbound.story.kept, heard) {
        let release = Arc::clone(release);
        kept.gray = Some(explain::Gray { index: at, release, heard, decided, mirrored });
    }
    inbound.story.gray = Some(Gray { release: at, decided, mirrored });
}

fn hand_out(out: &mut Vec<u8>, cookie: &IdCookie, Handed(id): Handed) {
    let IdCookie { name, path, ttl } = cookie;
    // Hexadecimal digits are text, and writing to a Vec cannot fail.
    let id = std::str::from_utf8(&id).unwrap_or_default();
    let _ = write!(out, "Set-Cookie: {name}={id}; Path={path}; Max-Age={}; HttpOnly; SameSite=Lax\r\n", ttl.as_secs());
}

/// What the access line says of a release.
pub(crate) fn line(release: &Release, decided: Decided) -> access::Gray<'_> {
    let (config, assigned) = (&release.config, decided.assigned);
    access::Gray {
        release: config.name.as_str(),
        version: config.cluster(assigned.version).map_or("", |cluster| cluster.as_str()),
        bucket: assigned.bucket.map(Bucket::get),
        why: assigned.why.as_str(),
        moved_by_health: decided.moved_by_health(),
    }
}

/// Counts a request that is over.
pub(crate) fn settle<E: Env>(worker: &Worker<E>, world: &World, story: &Story, now: Instant) {
    let Some(Gray { release, decided, .. }) = story.gray else { return };
    count(worker.index, &world.snapshot.releases[release], decided, story, now);
}

/// Counts a request or a session that is over, and that `release` decided on.
pub(crate) fn count(worker: usize, release: &Release, decided: Decided, story: &Story, now: Instant) {
    let assigned = decided.assigned;
    if decided.moved_by_health() {
        // Says nothing of the version it was served by, and nothing good of its own.
        release.loads[assigned.version].of(worker).moved.add(1);
        return;
    }
    let failed = story.is_failure() || story.reason.is_some_and(|reason| reason.meaning().side != Side::Downstream);
    let load = release.loads[decided.version].of(worker);
    load.requests[story.class()].add(1);
    load.why[assigned.why as usize].add(1);
    load.errors.add(u64::from(failed));
    load.duration.observe(now - story.began);
    let Some(bucket) = assigned.bucket else { return };
    let buckets = release.buckets.of(worker);
    buckets.requests[usize::from(bucket.get())].add(1);
    buckets.errors[usize::from(bucket.get())].add(u64::from(failed));
    match (assigned.why, release.cohort(bucket)) {
        (Why::Bucket, _) => compare(&load.arm, story, failed),
        (Why::Stable, Some(canary)) => compare(&release.loads[canary + 1].of(worker).cohort, story, failed),
        _ => {}
    }
}

/// Counts a request to one side of a comparison.
fn compare(arm: &ArmLoad, story: &Story, failed: bool) {
    arm.requests.add(1);
    arm.errors.add(u64::from(failed));
    if let Some(answered) = story.answered.filter(|_| !failed) {
        arm.latency.observe(answered - story.began);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn an_id_is_handed_out_for_long() {
        let cookie = IdCookie { name: "weir-id".into(), ttl: Duration::from_secs(90), path: "/".into() };
        let mut out = Vec::new();
        hand_out(&mut out, &cookie, Handed(*b"0123456789abcdef"));
        let wanted = "Set-Cookie: weir-id=0123456789abcdef; Path=/; Max-Age=90; HttpOnly; SameSite=Lax\r\n";
        assert_eq!(String::from_utf8(out).unwrap(), wanted);
    }
}
