//! A request as a person describes it, and the way it would take.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use http::Uri;
use weir_config::model::{self, ClusterName, IdKey, Protocol, Share};
use weir_config::release::JwtFrom;
use weir_config::words;
use weir_core::balance::Cursors;
use weir_core::dice::Dice;
use weir_core::explain::{self, Asking, Explanation};
use weir_core::release::Asked;
use weir_core::route::{Headers, RequestView};
use weir_core::snapshot::Snapshot;
use weir_core::time::Moment;
use weir_core::trust::{self, Chain};

use super::words::id_key;

/// A request to explain.
#[derive(Clone, Debug)]
pub struct Ask {
    /// As it is sent.
    pub method: String,
    /// Whole, or from the path on.
    pub url: String,
    /// Header fields, in order.
    pub headers: Vec<(String, String)>,
    /// Who connects. Default 127.0.0.1.
    pub client: Option<IpAddr>,
    /// An id, to be put where the release looks first.
    pub user: Option<String>,
    /// The name of a listener. Default the one that serves the URL's port, or the only one.
    pub listener: Option<String>,
    /// As if these canaries had these weights.
    pub at_weights: Vec<(ClusterName, Share)>,
    /// Of the dice.
    pub seed: u64,
}

/// What is wrong with what is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrongAsk {
    /// The parameter it is about, as the API calls it.
    pub parameter: &'static str,
    /// What is wrong.
    pub detail: String,
    /// What to do instead.
    pub remedy: String,
}

impl fmt::Display for WrongAsk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.detail, self.remedy)
    }
}

fn wrong(parameter: &'static str, detail: impl Into<String>, remedy: impl Into<String>) -> WrongAsk {
    WrongAsk { parameter, detail: detail.into(), remedy: remedy.into() }
}

/// A canary's weight as in `orders-v2=20`.
///
/// # Errors
/// How to write it.
pub fn at_weight(text: &str) -> Result<(ClusterName, Share), WrongAsk> {
    let remedy = "write it as in orders-v2=20: a canary's cluster and per cent";
    let wrong = |why: String| wrong("at_weight", why, remedy);
    let (name, percent) = text.split_once('=').ok_or_else(|| wrong(format!("{text:?} is no weight")))?;
    let name = ClusterName::new(name).map_err(|_| wrong(format!("{name:?} is no name of a cluster")))?;
    let share = percent.trim_end_matches('%').trim().parse().ok().and_then(Share::of_percent);
    let share =
        share.ok_or_else(|| wrong(format!("{percent:?} is not 0 to 100 per cent with two decimals at most")))?;
    Ok((name, share))
}

/// A request that has gone its way.
pub(super) struct Walked {
    /// The index of its listener.
    pub(super) listener: usize,
    pub(super) request: Fictional,
    /// As release and cluster see it.
    pub(super) client: IpAddr,
    pub(super) way: Explanation,
    /// What was done to the request.
    pub(super) notes: Vec<String>,
}

/// A request as its listener would get it.
#[derive(Clone, Debug)]
pub(super) struct Fictional {
    pub(super) method: String,
    pub(super) host: String,
    pub(super) path: String,
    pub(super) query: Option<String>,
    fields: Vec<(String, String)>,
}

impl Headers for Fictional {
    fn get(&self, name: &str) -> Option<&[u8]> {
        self.fields.iter().find(|(its, _)| its.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_bytes())
    }
}

impl Ask {
    pub(super) fn way(&self, snapshot: &Snapshot, now: Moment) -> Result<Walked, WrongAsk> {
        let uri: Uri = self.url.parse().map_err(|error| {
            wrong("url", format!("{:?} is no URL: {error}", self.url), "write it as in http://shop.example/orders?x=1")
        })?;
        let mut request = self.request(&uri)?;
        let index = self.listener(snapshot, &uri)?;
        let listener = &snapshot.listeners[index];
        let mut peer = self.client.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let mut notes = Vec::new();
        if let Some(user) = &self.user {
            let route = listener.routes.find(&request.view());
            let release = route.and_then(|route| listener.targets[route].release).map(|at| &snapshot.releases[at]);
            let release = release.ok_or_else(|| {
                let detail = "the route that takes this request leads to no release, so nobody asks for an id";
                wrong("user", detail, "leave the user out, or say another URL")
            })?;
            notes.extend(request.ask_as(user, &release.config, &mut peer)?);
        }
        let chain = Chain::of(&listener.config).field();
        let told = request.fields.iter().filter(|(name, _)| name.eq_ignore_ascii_case(chain));
        let client = trust::client(&listener.config, peer, told.map(|(_, value)| value.as_bytes()));
        let asking = Asking {
            listener: index,
            asked: Asked { view: request.view(), query: request.query.as_deref(), client },
            at_weights: &self.at_weights,
            cursors: &Cursors::new(),
            dice: Dice::new(self.seed),
            worker: 0,
            now,
            secure: uri.scheme_str() == Some("https"),
        };
        let way = explain::explain(snapshot, &asking)
            .map_err(|error| wrong("at_weight", error.to_string(), "say another canary or another weight"))?;
        Ok(Walked { listener: index, request, client, way, notes })
    }

    fn request(&self, uri: &Uri) -> Result<Fictional, WrongAsk> {
        let is_token = |text: &str| http::Method::from_bytes(text.as_bytes()).is_ok();
        if !is_token(&self.method) {
            return Err(wrong("method", format!("{:?} is no method", self.method), "say GET, POST or the like"));
        }
        if !matches!(uri.scheme_str(), None | Some("http" | "https")) {
            let detail = format!("{:?} is neither http nor https", self.url);
            return Err(wrong("url", detail, "write it as in http://shop.example/orders?x=1"));
        }
        let mut fields = self.headers.clone();
        for (name, value) in &fields {
            if http::HeaderName::from_bytes(name.as_bytes()).is_err() || http::HeaderValue::from_str(value).is_err() {
                let detail = format!("\"{name}: {value}\" is no header field");
                return Err(wrong("header", detail, "write it as in 'x-user-id: 42'"));
            }
        }
        let given = fields.iter().find(|(name, _)| name.eq_ignore_ascii_case("host")).map(|(_, host)| host.clone());
        let authority = given.or_else(|| uri.authority().map(ToString::to_string)).unwrap_or_default();
        let host = match authority.parse::<http::uri::Authority>() {
            Ok(authority) => authority.host().to_owned(),
            Err(_) => authority.clone(),
        };
        if !fields.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            fields.push(("host".into(), authority));
        }
        let path = if uri.path().is_empty() { "/" } else { uri.path() };
        let query = uri.query().map(str::to_owned);
        Ok(Fictional { method: self.method.clone(), host, path: path.to_owned(), query, fields })
    }

    /// The index of the listener that would get the request.
    fn listener(&self, snapshot: &Snapshot, uri: &Uri) -> Result<usize, WrongAsk> {
        let http = |listener: &model::Listener| listener.protocol == Protocol::Http;
        let serving: Vec<(usize, &model::Listener)> = snapshot
            .listeners
            .iter()
            .map(|listener| &*listener.config)
            .enumerate()
            .filter(|(_, one)| http(one))
            .collect();
        let names = || serving.iter().map(|(_, listener)| listener.name.as_str());
        if let Some(name) = &self.listener {
            let found = serving.iter().find(|(_, listener)| listener.name.as_str() == name).map(|(at, _)| *at);
            return found.ok_or_else(|| {
                let remedy = match words::nearest(name, names()) {
                    Some(nearest) => format!("did you mean {nearest}?"),
                    None => format!("there are: {}", names().collect::<Vec<_>>().join(", ")),
                };
                wrong("listener", format!("there is no http listener {name:?}"), remedy)
            });
        }
        let usual = if uri.scheme_str() == Some("https") { 443 } else { 80 };
        let port = uri.authority().map(|authority| authority.port_u16().unwrap_or(usual));
        let on_port = |listener: &model::Listener| {
            listener.bind.iter().any(|bind| bind.ip().is_some_and(|bind| Some(bind.port()) == port))
        };
        let mut by_port = serving.iter().filter(|(_, listener)| on_port(listener));
        match (by_port.next(), by_port.next(), &*serving) {
            (Some((at, _)), None, _) | (None, _, [(at, _)]) => Ok(*at),
            _ => {
                let addressed = |(_, listener): &(usize, &model::Listener)| {
                    let addresses: Vec<String> = listener.bind.iter().map(ToString::to_string).collect();
                    format!("{} ({})", listener.name, addresses.join(", "))
                };
                let all: Vec<String> = serving.iter().map(addressed).collect();
                let detail = match &*all {
                    [] => "there is no http listener".to_owned(),
                    all => format!("which listener gets it? There are: {}", all.join("; ")),
                };
                Err(wrong("listener", detail, "name it with listener, or say its port in the URL"))
            }
        }
    }
}

impl Fictional {
    fn view(&self) -> RequestView<'_> {
        RequestView { method: &self.method, host: &self.host, path: &self.path, headers: self }
    }

    /// Puts an id where a release looks first; says where, and what is to be known of that.
    fn ask_as(&mut self, user: &str, release: &model::Release, peer: &mut IpAddr) -> Result<Vec<String>, WrongAsk> {
        let Some(key) = release.key.first() else { return Ok(Vec::new()) };
        let mut notes = vec![format!("the user was put where release {} looks first: {}", release.name, id_key(key))];
        match key {
            IdKey::Header(name) => self.set(name, user.to_owned()),
            IdKey::Cookie(name) => self.set_cookie(name, user),
            IdKey::Query(name) => {
                let pair = format!("{}={}", name, encoded(user));
                self.query = Some(match self.query.take() {
                    Some(query) => format!("{pair}&{query}"),
                    None => pair,
                });
            }
            IdKey::PathSegment(at) => {
                let mut parts: Vec<String> = self.path.split('/').map(str::to_owned).collect();
                let part = parts.get_mut(usize::from(at.get())).ok_or_else(|| {
                    let detail =
                        format!("the user's id is segment {at} of the path, which {:?} does not have", self.path);
                    wrong("user", detail, "say a longer path")
                })?;
                *part = encoded(user);
                self.path = parts.join("/");
            }
            IdKey::Jwt(jwt) => {
                let claims = serde_json::json!({ jwt.claim.clone(): user }).to_string();
                let token = format!("{}.{}.", base64(br#"{"alg":"none"}"#), base64(claims.as_bytes()));
                match &jwt.from {
                    JwtFrom::Header(name) => self.set(name, format!("Bearer {token}")),
                    JwtFrom::Cookie(name) => self.set_cookie(name, &token),
                }
                notes.push(
                    "its token is not signed: a release that verifies tokens finds no id in it; give a real one with -H"
                        .into(),
                );
            }
            IdKey::SourceAddress => {
                *peer = user.parse().map_err(|_| {
                    let detail = format!("the user's id is the client's address, which {user:?} is not");
                    wrong("user", detail, "write an IP address")
                })?;
            }
        }
        Ok(notes)
    }

    fn set(&mut self, name: &str, value: String) {
        self.fields.retain(|(its, _)| !its.eq_ignore_ascii_case(name));
        self.fields.push((name.to_owned(), value));
    }

    /// Before all others: the first of a name counts.
    fn set_cookie(&mut self, name: &str, value: &str) {
        let rest = self.get("cookie").map(|rest| format!("; {}", String::from_utf8_lossy(rest))).unwrap_or_default();
        self.set("cookie", format!("{name}={value}{rest}"));
    }
}

/// Percent-encoded, but for what never has to be.
fn encoded(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(byte.into()),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// URL-safe and without padding (RFC 4648, 5), as in a token.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let bits = chunk.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for at in 0..=chunk.len() {
            out.push(DIGITS[(bits >> (18 - 6 * at) & 63) as usize].into());
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_base64() {
        // RFC 4648, 10.
        for (text, wanted) in
            [("", ""), ("f", "Zg"), ("fo", "Zm8"), ("foo", "Zm9v"), ("foob", "Zm9vYg"), ("\u{ff}?", "w78_")]
        {
            assert_eq!(base64(text.as_bytes()), wanted);
        }
    }

    #[test]
    fn weights_are_read() {
        let share = |text| at_weight(text).map(|(name, share)| format!("{name} {share}")).map_err(|wrong| wrong.detail);
        assert_eq!(share("orders-v2=20").as_deref(), Ok("orders-v2 20"));
        assert_eq!(share("orders-v2=0.25%").as_deref(), Ok("orders-v2 0.25"));
        for nonsense in ["orders-v2", "=20", "orders-v2=", "orders-v2=101", "orders-v2=0.001"] {
            assert!(share(nonsense).is_err(), "{nonsense}");
        }
    }
}
