//! What an attempt must have ended in to be made again.

use std::ops::RangeInclusive;

use super::{Wrong, http};
use crate::nearest::nearest;

/// One of the things that are tried again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RetryCondition {
    /// No connection.
    ConnectFailure,
    /// The connection ended before the first byte of an answer.
    Reset,
    /// The attempt took longer than its own timeout.
    Timeout,
    /// An answer with one of these statuses.
    Statuses(RangeInclusive<u16>),
    /// A gRPC answer with this `grpc-status` and without a message.
    Grpc(u8),
}

use RetryCondition::{ConnectFailure, Grpc, Reset, Statuses, Timeout};

/// The words: ours, and what others call the same.
const WORDS: [(&str, RetryCondition); 15] = [
    ("connect-failure", ConnectFailure),
    ("reset-before-response", Reset),
    ("timeout", Timeout),
    ("gateway-error", Statuses(502..=504)),
    ("grpc-cancelled", Grpc(1)),
    ("grpc-unknown", Grpc(2)),
    ("grpc-deadline-exceeded", Grpc(4)),
    ("grpc-resource-exhausted", Grpc(8)),
    ("grpc-aborted", Grpc(10)),
    ("grpc-internal", Grpc(13)),
    ("grpc-unavailable", Grpc(14)),
    ("grpc-data-loss", Grpc(15)),
    ("refused", ConnectFailure),
    ("reset", Reset),
    ("per-try-timeout", Timeout),
];

/// The word of a `grpc-status` that may be listed.
pub(crate) fn grpc_word(code: u8) -> Option<&'static str> {
    WORDS.iter().find(|(_, condition)| *condition == Grpc(code)).map(|(word, _)| *word)
}

/// A word, with `_` as good as `-`; or statuses that are failures: `503`, `502-504`, `5xx`.
pub(crate) fn retry_condition(text: &str) -> Result<RetryCondition, Wrong> {
    let word = text.to_ascii_lowercase().replace('_', "-");
    if let Some((_, condition)) = WORDS.iter().find(|(known, _)| *known == word) {
        return Ok(condition.clone());
    }
    if !word.starts_with(|c: char| c.is_ascii_digit()) {
        const KNOWN: &str = "known: connect-failure, reset-before-response, timeout, gateway-error, 5xx, a status, grpc-unavailable and its like";
        let wrong = Wrong::new("unknown_word", format!("{text:?} is nothing that can be tried again"));
        return Err(match nearest(&word, WORDS.iter().map(|(known, _)| *known)) {
            Some(near) => wrong.hint(format!("did you mean `{near}`? {KNOWN}")),
            None => wrong.hint(KNOWN),
        });
    }
    let statuses = http::statuses(text)?;
    if *statuses.start() < 400 {
        let message = format!("an answer {} is no failure that could be tried again", statuses.start());
        return Err(Wrong::new("bad_retry_status", message).hint("statuses from 400 to 599, as in 503 or 5xx"));
    }
    Ok(Statuses(statuses))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions() {
        let table = [
            ("connect-failure", Ok(ConnectFailure)),
            ("connect_failure", Ok(ConnectFailure)),
            ("Refused", Ok(ConnectFailure)),
            ("reset", Ok(Reset)),
            ("reset_before_response", Ok(Reset)),
            ("per_try_timeout", Ok(Timeout)),
            ("gateway-error", Ok(Statuses(502..=504))),
            ("503", Ok(Statuses(503..=503))),
            ("grpc-unavailable", Ok(Grpc(14))),
            ("GRPC_Resource_Exhausted", Ok(Grpc(8))),
            ("grpc-ok", Err("unknown_word")),
            ("429", Ok(Statuses(429..=429))),
            ("5xx", Ok(Statuses(500..=599))),
            ("502-504", Ok(Statuses(502..=504))),
            ("200", Err("bad_retry_status")),
            ("3xx", Err("bad_retry_status")),
            ("5yx", Err("bad_status")),
            ("600", Err("bad_status")),
            ("resets", Err("unknown_word")),
            ("", Err("unknown_word")),
        ];
        for (text, expected) in table {
            assert_eq!(retry_condition(text).map_err(|wrong| wrong.code), expected, "{text}");
        }
    }
}
