//! Durations and sizes.

use std::time::Duration;

use super::Wrong;

/// Longest duration: a day. What is longer is a slip of the keyboard.
pub(crate) const MAX_DURATION: Duration = Duration::from_secs(DAY);
/// Longest time for which something is kept elsewhere: 400 days, after which browsers forget a cookie
/// whatever it says.
const MAX_TTL: Duration = Duration::from_secs(400 * DAY);
const DAY: u64 = 24 * 3600;

/// The first is of times to live only.
const UNITS: [(&str, u64); 6] =
    [("d", DAY * 1_000_000), ("h", 3_600_000_000), ("m", 60_000_000), ("s", 1_000_000), ("ms", 1_000), ("us", 1)];

/// A duration: numbers with units `h`, `m`, `s`, `ms` and `us`, the larger first: `500ms`, `2s`,
/// `1.5s`, `1m30s`. Zero is let through; the caller knows whether it means something.
pub(crate) fn duration(text: &str) -> Result<Duration, Wrong> {
    let duration = amount(text, &UNITS[1..], "a number and a unit (h, m, s, ms, us), as in 500ms, 2s, 1m30s")?;
    if duration > MAX_DURATION {
        return Err(Wrong::new("duration_too_long", format!("{text} is longer than a day"))
            .hint("24h is the longest duration; was another unit meant?"));
    }
    Ok(duration)
}

/// A duration as above that may have days too, up to [`MAX_TTL`].
pub(crate) fn ttl(text: &str) -> Result<Duration, Wrong> {
    let duration = amount(text, &UNITS, "a number and a unit (d, h, m, s), as in 30d or 12h")?;
    if duration > MAX_TTL {
        return Err(Wrong::new("duration_too_long", format!("{text} is longer than 400 days"))
            .hint("400d is the most that browsers keep"));
    }
    Ok(duration)
}

/// Numbers with some of `units`, the larger first.
fn amount(text: &str, units: &[(&str, u64)], how: &str) -> Result<Duration, Wrong> {
    let bad = || Wrong::new("bad_duration", format!("{text:?} is no duration")).hint(how);
    if text.starts_with('-') {
        return Err(Wrong::new("negative_duration", format!("{text} is less than nothing; a duration is positive")));
    }
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        return Err(missing_unit(text));
    }
    let (mut rest, mut micros, mut next_unit) = (text, 0u64, 0);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(bad)?;
        let letters = rest[digits..].find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len() - digits);
        let (number, unit) = (&rest[..digits], &rest[digits..digits + letters]);
        let at = units[next_unit..].iter().position(|(name, _)| *name == unit).ok_or_else(bad)? + next_unit;
        let part = scale(number, units[at].1).ok_or_else(bad)?;
        micros = micros.saturating_add(part);
        next_unit = at + 1;
        rest = &rest[digits + letters..];
    }
    if text.is_empty() {
        return Err(bad());
    }
    Ok(Duration::from_micros(micros))
}

/// What to say about a number where a duration belongs.
pub(crate) fn missing_unit(number: &str) -> Wrong {
    Wrong::new("missing_unit", format!("{number} has no unit, so it is no duration"))
        .hint(format!("write {number}s for seconds or {number}ms for milliseconds"))
}

/// `number`, which may have a fraction, times `unit`, if it is a number and fits.
fn scale(number: &str, unit: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    if fraction.is_empty() || fraction.len() > 6 {
        return None;
    }
    let whole: u64 = whole.parse().ok()?;
    let numerator: u64 = fraction.parse().ok()?;
    let part = u128::from(numerator) * u128::from(unit) / 10u128.pow(fraction.len() as u32);
    // A number too large for 64 bits is still a number: it ends as "too long".
    Some(whole.saturating_mul(unit).saturating_add(part as u64))
}

const SIZES: [(&str, u64); 7] = [
    ("B", 1),
    ("KB", 1_000),
    ("KiB", 1 << 10),
    ("MB", 1_000_000),
    ("MiB", 1 << 20),
    ("GB", 1_000_000_000),
    ("GiB", 1 << 30),
];

/// A size in bytes: a plain number, or one with `KB`, `MB`, `GB` (powers of 1000) or `KiB`,
/// `MiB`, `GiB` (powers of 1024).
pub(crate) fn size(text: &str) -> Result<u64, Wrong> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = (&text[..digits], text[digits..].trim_start());
    if text.starts_with('-') {
        return Err(Wrong::new("negative_size", format!("{text} is less than nothing; a size is not negative")));
    }
    let bad = || {
        Wrong::new("bad_size", format!("{text:?} is no size"))
            .hint("a number of bytes, or one with KB, MB, GB (1000s) or KiB, MiB, GiB (1024s), as in 64KiB")
    };
    if number.is_empty() {
        return Err(bad());
    }
    let factor = match SIZES.iter().find(|(name, _)| *name == unit || (unit == "kB" && *name == "KB")) {
        Some((_, factor)) => *factor,
        None if unit.is_empty() => 1,
        None => return Err(unclear_unit(number, unit).unwrap_or_else(bad)),
    };
    let too_large = || Wrong::new("size_too_large", format!("{text} is more than a 64-bit number of bytes"));
    number.parse::<u64>().ok().and_then(|n| n.checked_mul(factor)).ok_or_else(too_large)
}

/// `8k`, `8m`: a thousand or 1024? We do not guess.
fn unclear_unit(number: &str, unit: &str) -> Option<Wrong> {
    let letter = match unit.to_ascii_lowercase().as_str() {
        "k" | "kb" | "kib" => 'K',
        "m" | "mb" | "mib" => 'M',
        "g" | "gb" | "gib" => 'G',
        _ => return None,
    };
    Some(
        Wrong::new("bad_size", format!("the unit {unit:?} may mean 1000s or 1024s"))
            .hint(format!("write {number}{letter}iB (1024s) or {number}{letter}B (1000s)")),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        let table: [(&str, Result<u64, &str>); 25] = [
            ("500ms", Ok(500_000)),
            ("2s", Ok(2_000_000)),
            ("1m30s", Ok(90_000_000)),
            ("1h", Ok(3_600_000_000)),
            ("1h2m3s4ms5us", Ok(3_723_004_005)),
            ("1.5s", Ok(1_500_000)),
            ("0.25s", Ok(250_000)),
            ("0s", Ok(0)),
            ("24h", Ok(86_400_000_000)),
            ("24h1us", Err("duration_too_long")),
            ("99999999999999999999s", Err("bad_duration")),
            ("9999999999999999999s", Err("duration_too_long")),
            ("5", Err("missing_unit")),
            ("1.5", Err("missing_unit")),
            ("-1s", Err("negative_duration")),
            ("", Err("bad_duration")),
            ("s", Err("bad_duration")),
            ("1", Err("missing_unit")),
            ("1 s", Err("bad_duration")),
            ("1s1m", Err("bad_duration")),
            ("1s1s", Err("bad_duration")),
            ("1d", Err("bad_duration")),
            ("1S", Err("bad_duration")),
            ("1..5s", Err("bad_duration")),
            ("1s2", Err("bad_duration")),
        ];
        for (text, expected) in table {
            let found = duration(text).map(|d| d.as_micros() as u64).map_err(|wrong| wrong.code);
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn sizes() {
        let table: [(&str, Result<u64, &str>); 15] = [
            ("0", Ok(0)),
            ("1024", Ok(1024)),
            ("64KiB", Ok(65_536)),
            ("64 KiB", Ok(65_536)),
            ("1MB", Ok(1_000_000)),
            ("1kB", Ok(1_000)),
            ("7B", Ok(7)),
            ("2GiB", Ok(2 << 30)),
            ("8k", Err("bad_size")),
            ("8kb", Err("bad_size")),
            ("8 m", Err("bad_size")),
            ("many", Err("bad_size")),
            ("", Err("bad_size")),
            ("-1", Err("negative_size")),
            ("99999999999GiB", Err("size_too_large")),
        ];
        for (text, expected) in table {
            assert_eq!(size(text).map_err(|wrong| wrong.code), expected, "{text}");
        }
    }
}
