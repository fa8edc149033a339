//! Where a user's id is found, its form, and what is done without one.

use std::num::NonZeroU16;
use std::path::PathBuf;
use std::sync::Arc;

use crate::files::Files;
use crate::lower::Fields;
use crate::lower::listener::scalar;
use crate::mistake::Mistake;
use crate::model::{Anonymous, Canonical, IdCookie, IdKey};
use crate::release::jwt::{Algorithm, JwtFrom, JwtKey, Signed};
use crate::report::{Path, Report};
use crate::shape;
use crate::yaml::Node;

pub(super) fn canonical(release: &Fields<'_>) -> Canonical {
    let fields = release.object("canonical", &shape::CANONICAL);
    Canonical { trim: fields.bool("trim"), lower: fields.word("case") == Some("lower") }
}

pub(super) fn anonymous(release: &Fields<'_>) -> Anonymous {
    let object = release.object("anonymous", &shape::ANONYMOUS);
    let (word, given) = (release.word("anonymous"), object.get("sticky_cookie"));
    if word != Some("sticky_cookie") && given.is_none() {
        return Anonymous::Stable;
    }
    let fields = object.object("sticky_cookie", &shape::ID_COOKIE);
    let text = |name| fields.text(name).or_else(|| fields.default_text(name).map(str::to_owned)).unwrap_or_default();
    Anonymous::Cookie(IdCookie { name: text("name"), ttl: fields.ttl("ttl"), path: text("path") })
}

pub(super) fn keys(release: &Fields<'_>, files: &Files<'_>, path: &Path<'_>, report: &mut Report) -> Vec<IdKey> {
    let path = path.key("key");
    let items = release.items("key").iter().enumerate();
    let keys: Vec<(&Node, IdKey)> =
        items.filter_map(|(at, node)| Some((node, key(node, files, &path.item(at), report)?))).collect();
    for (at, (node, key)) in keys.iter().enumerate() {
        if let Some((first, _)) = keys[..at].iter().find(|(_, other)| other == key) {
            let mistake = Mistake::error("duplicate_key_source", node.mark(), "this key is in the list twice")
                .hint("the first place that has an id is taken; remove this one")
                .related(first.mark(), "first given here");
            report.push(mistake, &path.item(at));
        }
    }
    if !report.has_errors()
        && let Some(at) = keys.iter().position(|(_, key)| *key == IdKey::SourceAddress)
        && let Some((after, _)) = keys.get(at + 1)
    {
        let message = "every client has an address, so this key is never looked at";
        let mistake = Mistake::warning("never_fires", after.mark(), message);
        report.push(mistake.hint("put `source_address` last"), &path.item(at + 1));
    }
    keys.into_iter().map(|(_, key)| key).collect()
}

fn key(node: &Node, files: &Files<'_>, path: &Path<'_>, report: &mut Report) -> Option<IdKey> {
    if scalar(node).is_some() {
        // The table knows one word, and has refused all others.
        return Some(IdKey::SourceAddress);
    }
    let fields = Fields::of(node, &shape::ID_KEY)?;
    let header = fields.text("header").map(|name| IdKey::Header(name.to_ascii_lowercase()));
    let cookie = fields.text("cookie").map(IdKey::Cookie);
    let query = fields.text("query").map(IdKey::Query);
    let segment = fields.integer("path_segment");
    // The table keeps the number within its type.
    let segment = segment.and_then(|at| NonZeroU16::new(at as u16)).map(IdKey::PathSegment);
    let token = fields.get("jwt").and_then(|node| jwt(node, files, &path.key("jwt"), report)).map(IdKey::Jwt);
    header.or(cookie).or(query).or(segment).or(token)
}

fn jwt(node: &Node, files: &Files<'_>, path: &Path<'_>, report: &mut Report) -> Option<JwtKey> {
    let fields = Fields::of(node, &shape::JWT)?;
    let text = |name| fields.text(name).or_else(|| fields.default_text(name).map(str::to_owned)).unwrap_or_default();
    let header = text("header").to_ascii_lowercase();
    let from = fields.text("cookie").map_or(JwtFrom::Header(header), JwtFrom::Cookie);
    let signed = signed(&fields, files, path, report);
    if signed.is_none() && fields.get("key_file").is_some() {
        // Reported; what is left of it would be another key.
        return None;
    }
    if !report.has_errors()
        && signed.is_none()
        && let Some(node) = fields.get("algorithm")
    {
        let message = "`algorithm` has no effect: without `key_file` no signature is looked at";
        let mistake = Mistake::warning("no_effect", node.mark(), message);
        report.push(mistake.hint("give the key that tokens are signed with"), &path.key("algorithm"));
    }
    Some(JwtKey { claim: text("claim"), from, signed })
}

fn signed(fields: &Fields<'_>, files: &Files<'_>, path: &Path<'_>, report: &mut Report) -> Option<Arc<Signed>> {
    let (node, name) = (fields.get("key_file")?, fields.text("key_file")?);
    let path = path.key("key_file");
    let algorithm = fields.word("algorithm").and_then(Algorithm::named);
    match files.read(&name).and_then(|bytes| Signed::new(&bytes, PathBuf::from(&name), algorithm)) {
        Ok(signed) => {
            if signed.is_weak() {
                let algorithm = signed.algorithm().as_str();
                let message =
                    format!("the secret in {name} is shorter than the hash of {algorithm}: it may be guessed");
                let mistake = Mistake::warning("weak_secret", node.mark(), message);
                report.push(mistake.hint("RFC 7518 asks for one as long: `openssl rand -base64 64`"), &path);
            }
            Some(Arc::new(signed))
        }
        Err(wrong) => {
            report.wrong(node.mark(), &path, wrong);
            None
        }
    }
}
