//! The parameters after `?`, and what is wrong with them.

use http::StatusCode;
use weir_config::words;
use weir_core::percent::decoded;

use crate::observe::journal::Asker;

/// Longest name of who gives an order, in bytes.
pub(super) const BY_MAX: usize = 64;

/// Parameters, percent-decoded, in order.
pub(super) struct Query(Vec<(String, String)>);

/// Why a request is refused, for its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    pub(super) status: StatusCode,
    /// The parameter it is about.
    pub(super) parameter: Option<&'static str>,
    pub(super) detail: String,
    /// What to do instead.
    pub(super) remedy: String,
}

impl Wrong {
    pub(super) fn new(parameter: &'static str, detail: impl Into<String>, remedy: impl Into<String>) -> Self {
        let (detail, remedy) = (detail.into(), remedy.into());
        Self { status: StatusCode::BAD_REQUEST, parameter: Some(parameter), detail, remedy }
    }
}

impl Query {
    /// What a request says after `?`.
    pub(super) fn of(uri: &http::Uri) -> Self {
        let pairs = uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
        let pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        Self(pairs.map(|(name, value)| (text(name), text(value))).collect())
    }

    /// A change whose request does not name who asks for it: by what they are known.
    pub(super) fn asked_by(mut self, asker: &Asker) -> Self {
        // On this host people share one address; they say who they are, or are not told apart.
        if asker.who != "loopback" && self.get("by").is_none_or(str::is_empty) {
            self.0.retain(|(name, _)| name != "by");
            let mut who: String = asker.who.chars().filter(|c| !c.is_control()).collect();
            who.truncate(who.floor_char_boundary(BY_MAX));
            self.0.push(("by".to_owned(), who));
        }
        self
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find_map(|(its, value)| (its == name).then_some(&**value))
    }

    /// All of that name, in order.
    pub(super) fn all<'q>(&'q self, name: &'q str) -> impl Iterator<Item = &'q str> {
        self.0.iter().filter(move |(its, _)| its == name).map(|(_, value)| &**value)
    }

    /// Whether a switch is on: there, and not said to be off.
    pub(super) fn is_on(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| !matches!(value, "false" | "0" | "off" | "no"))
    }

    /// The parameter as a whole number, if it is there.
    pub(super) fn number(&self, name: &'static str) -> Result<Option<u64>, Wrong> {
        let number = |value: &str| {
            let wrong =
                |_| Wrong::new(name, format!("{name} is {value:?}, which is no whole number"), "write digits only");
            value.parse().map_err(wrong)
        };
        self.get(name).map(number).transpose()
    }

    /// The parameter as a duration, if it is there.
    pub(super) fn duration(&self, name: &'static str) -> Result<Option<std::time::Duration>, Wrong> {
        let understood =
            |value| words::duration(value).map_err(|why| Wrong::new(name, why, "write it as in 500ms, 30s or 10m"));
        self.get(name).map(understood).transpose()
    }

    /// A change with a parameter that means nothing here, or is there twice, is not what was meant.
    pub(super) fn only(&self, known: &[&'static str]) -> Result<(), Wrong> {
        self.only_or_many(known, &[])
    }

    /// The same, where those of `many` may be there several times.
    pub(super) fn only_or_many(&self, known: &[&'static str], many: &[&'static str]) -> Result<(), Wrong> {
        for (at, (name, _)) in self.0.iter().enumerate() {
            let Some(own) = known.iter().find(|known| *known == name) else {
                let remedy = match words::nearest(name, known.iter().copied()) {
                    Some(nearest) => format!("did you mean {nearest}?"),
                    None => format!("there are: {}", known.join(", ")),
                };
                let detail = format!("there is no parameter {name:?} here");
                return Err(Wrong { status: StatusCode::BAD_REQUEST, parameter: None, detail, remedy });
            };
            if !many.contains(own) && self.0[..at].iter().any(|(before, _)| before == name) {
                return Err(Wrong::new(own, format!("{name} is there twice"), "say it once"));
            }
        }
        Ok(())
    }
}

/// Decoded; what is no text then is shown as such. `+` stays.
fn text(encoded: &str) -> String {
    String::from_utf8_lossy(&decoded(encoded)).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(text: &str) -> Query {
        Query::of(&format!("/x?{text}").parse().unwrap())
    }

    #[test]
    fn parameters_are_decoded() {
        let query = query("endpoint=shop%2F%5B%3A%3A1%5D%3A80&force&by=a%20b+c&bad=%zz%4&%66or=10m&off=false");
        for (name, value) in
            [("endpoint", "shop/[::1]:80"), ("force", ""), ("by", "a b+c"), ("bad", "%zz%4"), ("for", "10m")]
        {
            assert_eq!(query.get(name), Some(value), "{name}");
        }
        assert!(query.is_on("force") && !query.is_on("off") && !query.is_on("none"));
        assert_eq!(query.duration("for").unwrap().map(|time| time.as_secs()), Some(600));
        assert!(Query::of(&"/x?".parse().unwrap()).only(&[]).is_ok());
    }

    #[test]
    fn a_change_is_by_whoever_asks_for_it() {
        let by = |text: &str, who: &str| {
            let asker = Asker { who: who.to_owned(), from: String::new() };
            query(text).asked_by(&asker).get("by").map(str::to_owned)
        };
        assert_eq!(by("", "token admin.token").as_deref(), Some("token admin.token"));
        assert_eq!(by("by=", "uid 1000").as_deref(), Some("uid 1000"));
        assert_eq!(by("by=ann", "uid 1000").as_deref(), Some("ann"));
        assert_eq!(by("", "loopback"), None);
        let long = format!("certificate CN={}", "\u{e4}".repeat(BY_MAX));
        let by = by("", &long).unwrap();
        assert!(by.len() <= BY_MAX && long.starts_with(&by), "{by}");
    }

    #[test]
    fn mistakes_name_the_parameter_and_the_remedy() {
        let known = ["endpoint", "zone", "for"];
        let wrong = query("fro=10m").only(&known).unwrap_err();
        assert_eq!((&*wrong.detail, &*wrong.remedy), ("there is no parameter \"fro\" here", "did you mean for?"));
        assert_eq!(query("for=1s&for=2s").only(&known).unwrap_err().parameter, Some("for"));
        let wrong = query("for=10").duration("for").unwrap_err();
        assert_eq!(wrong.parameter, Some("for"));
        assert!(wrong.detail.contains("10 has no unit"), "{}", wrong.detail);
        assert_eq!(query("since=x").number("since").unwrap_err().parameter, Some("since"));
    }
}
