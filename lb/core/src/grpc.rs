//! What gRPC says beside HTTP: its statuses, its deadline, and how they read as HTTP ones.
//!
//! A call is an HTTP request whose answer is 200 whatever became of it; what became of it stands
//! in `grpc-status`, after the messages. The meanings are those of gRPC's "Status codes and their
//! use", the forms those of its "gRPC over HTTP2".

use std::fmt::{self, Write as _};
use std::time::Duration;

use crate::reason::Reason;

/// A gRPC status, 0 to 16.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Code(u8);

impl Code {
    /// How many there are.
    pub const COUNT: usize = Self::NAMES.len();

    /// It was done.
    pub const OK: Self = Self(0);
    /// By who asked.
    pub const CANCELLED: Self = Self(1);
    /// No other fits; also what is no status.
    pub const UNKNOWN: Self = Self(2);
    /// Too late.
    pub const DEADLINE_EXCEEDED: Self = Self(4);
    /// Not for this one.
    pub const PERMISSION_DENIED: Self = Self(7);
    /// Too much of something.
    pub const RESOURCE_EXHAUSTED: Self = Self(8);
    /// Nobody does that here.
    pub const UNIMPLEMENTED: Self = Self(12);
    /// Something that must hold does not.
    pub const INTERNAL: Self = Self(13);
    /// Not now; perhaps later, or elsewhere.
    pub const UNAVAILABLE: Self = Self(14);

    /// The words in the configuration (after `grpc-`) and in documents, in order.
    const NAMES: [&str; 17] = [
        "ok",
        "cancelled",
        "unknown",
        "invalid-argument",
        "deadline-exceeded",
        "not-found",
        "already-exists",
        "permission-denied",
        "resource-exhausted",
        "failed-precondition",
        "aborted",
        "out-of-range",
        "unimplemented",
        "internal",
        "unavailable",
        "data-loss",
        "unauthenticated",
    ];

    /// All of them, in order.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..=16).map(Self)
    }

    /// What `grpc-status` says. Anything else than a status is `UNKNOWN`.
    #[must_use]
    pub fn parse(text: &[u8]) -> Self {
        match *text {
            [digit @ b'0'..=b'9'] => Self(digit - b'0'),
            [b'1', digit @ b'0'..=b'6'] => Self(10 + digit - b'0'),
            _ => Self::UNKNOWN,
        }
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0
    }

    /// Its word: `deadline-exceeded`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        Self::NAMES[self.0 as usize]
    }

    /// The HTTP status that says as much: as services that speak both translate it (and Envoy,
    /// before it judges an endpoint).
    #[must_use]
    pub const fn as_http(self) -> u16 {
        match self.0 {
            0 => 200,
            1 => 499,
            3 | 9 | 11 => 400,
            4 => 504,
            5 => 404,
            6 | 10 => 409,
            7 => 403,
            8 => 429,
            12 => 501,
            14 => 503,
            16 => 401,
            _ => 500,
        }
    }

    /// What a call ends in that we answer ourselves.
    #[must_use]
    pub const fn of(reason: Reason) -> Self {
        match reason {
            Reason::UpstreamTimeout | Reason::PerTryTimeout | Reason::BodyTimeout | Reason::HeaderTimeout => {
                Self::DEADLINE_EXCEEDED
            }
            Reason::ClientGone => Self::CANCELLED,
            Reason::AccessDenied => Self::PERMISSION_DENIED,
            Reason::RateLimited | Reason::BodyTooLarge | Reason::HeaderTooLarge | Reason::UriTooLong => {
                Self::RESOURCE_EXHAUSTED
            }
            Reason::NoRoute | Reason::MethodNotSupported => Self::UNIMPLEMENTED,
            Reason::BadRequest
            | Reason::AmbiguousFraming
            | Reason::BadHost
            | Reason::BadChunk
            | Reason::BadVersion
            | Reason::UnknownTransferEncoding
            | Reason::UnknownExpectation
            | Reason::UpstreamProtocol
            | Reason::Internal => Self::INTERNAL,
            _ => Self::UNAVAILABLE,
        }
    }

    /// What an HTTP status says to whoever made a call (gRPC's "HTTP to gRPC status code mapping").
    #[must_use]
    pub const fn of_http(status: u16) -> Self {
        match status {
            400 => Self::INTERNAL,
            401 => Self(16),
            403 => Self::PERMISSION_DENIED,
            404 => Self::UNIMPLEMENTED,
            429 | 502..=504 => Self::UNAVAILABLE,
            _ => Self::UNKNOWN,
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.0, self.as_str())
    }
}

/// Whether a message of this content type belongs to a call: `application/grpc` and what stands
/// beside it (`+proto`, `;`), but not `application/grpc-web`, which is none.
#[must_use]
pub fn is_call(content_type: &[u8]) -> bool {
    const KIND: &[u8] = b"application/grpc";
    match content_type.split_at_checked(KIND.len()) {
        Some((kind, rest)) => kind.eq_ignore_ascii_case(KIND) && matches!(rest, [] | [b'+' | b';' | b' ' | b'\t', ..]),
        None => false,
    }
}

/// The time that `grpc-timeout` leaves: at most eight digits and a unit. Nothing if it is none.
#[must_use]
pub fn timeout(text: &[u8]) -> Option<Duration> {
    let (unit, digits) = text.split_last()?;
    if digits.is_empty() || digits.len() > DIGITS || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = digits.iter().fold(0, |number, digit| number * 10 + u64::from(digit - b'0'));
    Some(match unit {
        b'H' => Duration::from_secs(number * 3600),
        b'M' => Duration::from_secs(number * 60),
        b'S' => Duration::from_secs(number),
        b'm' => Duration::from_millis(number),
        b'u' => Duration::from_micros(number),
        b'n' => Duration::from_nanos(number),
        _ => return None,
    })
}

/// Most digits of a `grpc-timeout`.
const DIGITS: usize = 8;

/// The same the other way: number and unit, as exact as eight digits are, and never more time than
/// there is.
#[must_use]
pub const fn timeout_text(left: Duration) -> (u64, u8) {
    const MOST: u128 = 10u128.pow(DIGITS as u32) - 1;
    let micros = left.as_micros();
    // Nothing finer than a microsecond survives a hop. Whatever fits its unit fits 64 bits.
    if micros <= MOST {
        (micros as u64, b'u')
    } else if left.as_millis() <= MOST {
        (left.as_millis() as u64, b'm')
    } else if left.as_secs() as u128 <= MOST {
        (left.as_secs(), b'S')
    } else {
        (MOST as u64, b'M')
    }
}

/// `text` as `grpc-message` carries it: what is not printable ASCII, and `%`, by its bytes.
#[must_use]
pub fn message(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b' '..=b'~' if byte != b'%' => out.push(char::from(byte)),
            // Writing to a String cannot fail.
            _ => _ = write!(out, "%{byte:02X}"),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_read_and_anything_else_is_unknown() {
        for code in Code::all() {
            assert_eq!(Code::parse(code.get().to_string().as_bytes()), code);
        }
        for none in ["", "17", "-1", "00", "1 ", "014", "x"] {
            assert_eq!(Code::parse(none.as_bytes()), Code::UNKNOWN, "{none:?}");
        }
        assert_eq!(Code::UNAVAILABLE.to_string(), "14 (unavailable)");
    }

    #[test]
    fn content_types_of_calls() {
        for (text, expected) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("Application/GRPC; charset=x", true),
            ("application/grpc-web", false),
            ("application/grpc-web+proto", false),
            ("application/grpcx", false),
            ("application/json", false),
            ("", false),
        ] {
            assert_eq!(is_call(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn timeouts_are_read_and_written() {
        for (text, expected) in [
            ("1H", Some(Duration::from_secs(3600))),
            ("99999999S", Some(Duration::from_secs(99_999_999))),
            ("2M", Some(Duration::from_secs(120))),
            ("100m", Some(Duration::from_millis(100))),
            ("5u", Some(Duration::from_micros(5))),
            ("7n", Some(Duration::from_nanos(7))),
            ("0m", Some(Duration::ZERO)),
            ("999999999S", None),
            ("S", None),
            ("1", None),
            ("", None),
            ("-1S", None),
            ("1.5S", None),
            ("1s", None),
            (" 1S", None),
        ] {
            assert_eq!(timeout(text.as_bytes()), expected, "{text:?}");
        }
        for left in [0, 1, 1_000, 99_999_999, 100_000_000, 86_400_000_000, 99_999_999_999_999] {
            let left = Duration::from_micros(left);
            let (number, unit) = timeout_text(left);
            let text = format!("{number}{}", char::from(unit));
            let read = timeout(text.as_bytes()).unwrap();
            assert!(read <= left && left - read <= left / 1000, "{left:?} as {text}");
        }
        assert_eq!(timeout_text(Duration::MAX), (99_999_999, b'M'));
    }

    #[test]
    fn messages_are_escaped() {
        assert_eq!(message("100 % of it\u{e4}\n"), "100 %25 of it%C3%A4%0A");
    }

    #[test]
    fn reasons_of_ours_have_statuses() {
        for (reason, code) in [
            (Reason::UpstreamTimeout, 4),
            (Reason::QueueFull, 14),
            (Reason::ConnectRefused, 14),
            (Reason::NoHealthyEndpoint, 14),
            (Reason::RateLimited, 8),
            (Reason::AccessDenied, 7),
            (Reason::NoRoute, 12),
            (Reason::BadRequest, 13),
            (Reason::Internal, 13),
            (Reason::ClientGone, 1),
        ] {
            assert_eq!(Code::of(reason).get(), code, "{reason:?}");
        }
    }
}
