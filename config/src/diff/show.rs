//! Values as an operator would write them.

use std::fmt::Display;
use std::time::{Duration, SystemTime};

use super::actions;
use crate::model::{
    AccessLog, CheckKind, HeaderMatch, HeaderTest, HostPattern, LogFormat, LogTarget, PathMatch, RouteMatch, Target,
};

pub(super) fn plain(value: &impl Display) -> String {
    value.to_string()
}

/// An option, with a word for `None`.
pub(super) fn or<T: Display>(none: &'static str) -> impl Fn(&Option<T>) -> String {
    move |value| value.as_ref().map_or_else(|| none.to_owned(), T::to_string)
}

/// As `1m30s`.
pub(crate) fn duration(value: &Duration) -> String {
    let mut rest = value.as_micros();
    let mut out = String::new();
    for (unit, size) in [("h", 3_600_000_000), ("m", 60_000_000), ("s", 1_000_000), ("ms", 1_000), ("us", 1)] {
        if rest >= size {
            out.push_str(&format!("{}{unit}", rest / size));
            rest %= size;
        }
    }
    if out.is_empty() { "0s".to_owned() } else { out }
}

/// A day as `2026-11-05`, in UTC; what no calendar here has is far away.
pub(crate) fn date(time: SystemTime) -> String {
    match jiff::Timestamp::try_from(time) {
        Ok(time) => time.strftime("%Y-%m-%d").to_string(),
        Err(_) => "a time out of mind".to_owned(),
    }
}

/// An optional duration, with a word for `None`.
pub(super) fn duration_or(none: &'static str) -> impl Fn(&Option<Duration>) -> String {
    move |value| value.as_ref().map_or_else(|| none.to_owned(), duration)
}

/// A size, with the largest unit that divides it.
pub(crate) fn size(value: impl Into<u64>) -> String {
    let value = value.into();
    for (unit, factor) in [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)] {
        if value >= factor && value % factor == 0 {
            return format!("{}{unit}", value / factor);
        }
    }
    value.to_string()
}

pub(super) fn size_or_none(value: &Option<u64>) -> String {
    value.map_or_else(|| "none".to_owned(), size)
}

pub(super) const fn on_off(value: bool) -> &'static str {
    if value { "on" } else { "off" }
}

pub(super) fn list<T: Display>(values: &[T]) -> String {
    list_or(values, "none")
}

/// A list, with words for an empty one.
pub(super) fn list_or<T: Display>(values: &[T], empty: &str) -> String {
    if values.is_empty() {
        return empty.to_owned();
    }
    values.iter().map(T::to_string).collect::<Vec<_>>().join(", ")
}

pub(super) fn quoted(value: &Option<String>) -> String {
    value.as_ref().map_or_else(|| "none".to_owned(), |text| format!("{text:?}"))
}

pub(super) fn access_log(value: &Option<AccessLog>) -> String {
    let Some(AccessLog { target, format, sample }) = value else {
        return "off".to_owned();
    };
    let target = match target {
        LogTarget::Stdout => "standard output".to_owned(),
        LogTarget::File(path) => path.display().to_string(),
    };
    let format = match format {
        LogFormat::Json => "json",
        LogFormat::Text => "text",
    };
    format!("{target} ({format}, sample {sample})")
}

pub(super) fn target(value: &Target) -> String {
    match value {
        Target::Cluster(name) => name.to_string(),
        Target::Release(name) => format!("release {name}"),
        Target::Reply(reply) => actions::reply(reply),
    }
}

/// A match as `GET shop.example /orders* x-canary=1`; `everything` if it has no condition.
pub(crate) fn matches(value: &RouteMatch) -> String {
    let RouteMatch { hosts, path, methods, headers, sni } = value;
    let mut parts = Vec::new();
    if !methods.is_empty() {
        parts.push(methods.join("|"));
    }
    if !hosts.is_empty() {
        parts.push(hosts.iter().map(host).collect::<Vec<_>>().join("|"));
    }
    if !sni.is_empty() {
        parts.push(format!("sni {}", sni.iter().map(host).collect::<Vec<_>>().join("|")));
    }
    match path {
        PathMatch::Any => {}
        PathMatch::Exact(path) => parts.push(format!("={path}")),
        PathMatch::Prefix(path) => parts.push(format!("{path}/*")),
    }
    parts.extend(headers.iter().map(|HeaderMatch { name, test }| header(name, test)));
    if parts.is_empty() { "everything".to_owned() } else { parts.join(" ") }
}

fn host(value: &HostPattern) -> String {
    match value {
        HostPattern::Exact(name) => name.clone(),
        HostPattern::Wildcard(suffix) => format!("*{suffix}"),
    }
}

pub(super) fn header(name: &str, test: &HeaderTest) -> String {
    match test {
        HeaderTest::Exact(value) => format!("{name}={value:?}"),
        HeaderTest::Present => format!("{name} present"),
        HeaderTest::Absent => format!("{name} absent"),
    }
}

/// A check by what it asks: `HTTP GET /healthz`, `TCP`.
pub(super) fn check_kind(value: &CheckKind) -> String {
    match value {
        CheckKind::Http(http) => format!("HTTP {} {}", http.method, http.path),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_come_back_as_they_were_written() {
        for text in ["0s", "500ms", "2s", "1m30s", "1h", "1h1ms", "5us"] {
            assert_eq!(duration(&crate::grammar::duration(text).unwrap()), text);
        }
    }

    #[test]
    fn dates() {
        let day = |days: u64| date(SystemTime::UNIX_EPOCH + Duration::from_secs(days * 86_400));
        assert_eq!([day(0), day(11_016), day(47_541)], ["1970-01-01", "2000-02-29", "2100-03-01"]);
        assert_eq!(day(1 << 40), "a time out of mind");
    }

    #[test]
    fn sizes_have_the_largest_unit_that_divides() {
        for (value, text) in [(0u64, "0"), (1023, "1023"), (1024, "1KiB"), (10 << 20, "10MiB"), (3 << 30, "3GiB")] {
            assert_eq!(size(value), text);
        }
    }
}
