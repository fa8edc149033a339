//! The grammar's words for those who read them elsewhere: on a command line, in a URL.

use std::time::Duration;

use crate::grammar;
use crate::units::Address;

/// A duration as in the file: `500ms`, `2s`, `1m30s`; zero to a day.
///
/// # Errors
/// What is wrong with the text, and how to write it.
pub fn duration(text: &str) -> Result<Duration, String> {
    grammar::duration(text).map_err(|wrong| said(&wrong))
}

/// A duration as an operator would write it.
#[must_use]
pub fn shown(duration: Duration) -> String {
    crate::diff::shown(&duration)
}

/// What a route takes, as in `GET shop.example /orders/* x-canary="1"`.
#[must_use]
pub fn matches(matches: &crate::model::RouteMatch) -> String {
    crate::diff::shown_match(matches)
}

/// Where an endpoint listens: an IP address with a port, or `unix:` and a path.
///
/// # Errors
/// How to write it.
pub fn address(text: &str) -> Result<Address, String> {
    match text.strip_prefix("unix:") {
        Some(path) if path.starts_with('/') => Ok(Address::Unix(std::path::Path::new(path).into())),
        Some(_) => Err(format!("{text:?}: a Unix socket is told by its absolute path, as in unix:/run/app.sock")),
        None => text
            .parse()
            .map(Address::Ip)
            .map_err(|_| format!("{text:?} is no address; write an IP address and a port, as in 10.0.1.11:8080")),
    }
}

/// Which of the `known` words was probably meant by `word`, if one is close enough to be a slip.
#[must_use]
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    crate::nearest::nearest(word, known)
}

fn said(wrong: &grammar::Wrong) -> String {
    match &wrong.hint {
        Some(hint) => format!("{}; {hint}", wrong.message),
        None => wrong.message.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_those_of_the_file() {
        assert_eq!(duration("1m30s").map(shown).as_deref(), Ok("1m30s"));
        assert_eq!(
            duration("30").unwrap_err(),
            "30 has no unit, so it is no duration; write 30s for seconds or 30ms for milliseconds"
        );
        for text in ["10.0.0.1:80", "[::1]:80", "unix:/run/app.sock"] {
            assert_eq!(address(text).map(|address| address.to_string()).as_deref(), Ok(text));
        }
        assert!(address("app:80").is_err() && address("unix:app").is_err());
        assert_eq!(nearest("az-c", ["az-a", "zone-b"]), Some("az-a"));
    }
}
