//! A user's id, in its canonical form.

use std::borrow::Cow;

use weir_config::model::{Anonymous, Canonical, IdKey, Release};
use weir_config::release::JwtFrom;

use super::{Asked, Recorder};
use crate::hash;
use crate::percent::decoded;

/// A user's id, and where it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity<'a> {
    id: Cow<'a, [u8]>,
    /// Where it was found.
    pub place: Place,
}

/// Where an id was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// At this place of the release's key chain.
    Key(usize),
    /// In the cookie that we handed out.
    Handed,
}

impl<'a> Identity<'a> {
    pub(super) fn handed(id: [u8; 16]) -> Self {
        Self { id: Cow::Owned(id.to_vec()), place: Place::Handed }
    }

    /// The bytes that are hashed.
    #[must_use]
    pub fn id(&self) -> &[u8] {
        &self.id
    }
}

/// The first of the chain that the request has; what is empty does not count.
pub(super) fn find<'a>(release: &Release, asked: &Asked<'a>, recorder: &mut impl Recorder) -> Option<Identity<'a>> {
    for (at, key) in release.key.iter().enumerate() {
        let id = raw(key, asked).and_then(|id| canonical(release.canonical, id));
        recorder.key(at, id.as_deref());
        if let Some(id) = id {
            return Some(Identity { id, place: Place::Key(at) });
        }
    }
    let Anonymous::Cookie(cookie) = &release.anonymous else { return None };
    let id = hash::cookie(asked.view.headers, &cookie.name).filter(|id| !id.is_empty());
    recorder.key(release.key.len(), id);
    id.map(|id| Identity { id: Cow::Borrowed(id), place: Place::Handed })
}

fn raw<'a>(key: &IdKey, asked: &Asked<'a>) -> Option<Cow<'a, [u8]>> {
    let headers = asked.view.headers;
    match key {
        IdKey::Header(name) => headers.get(name).map(Cow::Borrowed),
        IdKey::Cookie(name) => hash::cookie(headers, name).map(Cow::Borrowed),
        IdKey::Query(name) => hash::parameter(asked.query?, name).map(decoded),
        IdKey::PathSegment(at) => {
            let path = asked.view.path.strip_prefix('/')?;
            path.split('/').nth(usize::from(at.get()) - 1).map(decoded)
        }
        IdKey::Jwt(jwt) => {
            let token = match &jwt.from {
                JwtFrom::Header(name) => bearer(headers.get(name)?),
                JwtFrom::Cookie(name) => hash::cookie(headers, name)?,
            };
            jwt.id(token).map(|id| Cow::Owned(id.into_bytes()))
        }
        IdKey::SourceAddress => Some(Cow::Owned(asked.client.to_canonical().to_string().into_bytes())),
    }
}

/// What follows the scheme, if it is there (RFC 6750, 2.1).
fn bearer(value: &[u8]) -> &[u8] {
    match value.split_at_checked(7) {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case(b"Bearer ") => token.trim_ascii(),
        _ => value.trim_ascii(),
    }
}

fn canonical(form: Canonical, id: Cow<'_, [u8]>) -> Option<Cow<'_, [u8]>> {
    let id = match id {
        Cow::Borrowed(id) => form.of(id),
        Cow::Owned(id) => {
            let changed = match form.of(&id) {
                Cow::Borrowed(same) if same.len() == id.len() => None,
                changed => Some(changed.into_owned()),
            };
            Cow::Owned(changed.unwrap_or(id))
        }
    };
    (!id.is_empty()).then_some(id)
}
