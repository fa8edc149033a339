//! One span in OTLP's form, and what all spans have in common.
//!
//! Field numbers are those of `opentelemetry/proto/trace/v1/trace.proto` and its neighbours.

use std::net::IpAddr;
use std::time::SystemTime;

use weir_core::trace::{Context, SpanId, TraceId};

use super::protobuf as wire;

/// Longer texts are cut: what a client sends must not fill the queue.
const TEXT_MAX: usize = 1024;

/// On which side of a request it stands.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    /// Where it came in.
    Server = 2,
    /// Where it goes out.
    Client = 3,
}

/// Whose child a span is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parent {
    pub(crate) span: SpanId,
    /// It is of another process.
    pub(crate) remote: bool,
}

/// What a span begins with.
#[derive(Debug)]
pub(crate) struct Span<'a> {
    /// Its own.
    pub(crate) context: Context,
    pub(crate) parent: Option<Parent>,
    /// The `tracestate` that came with its parent.
    pub(crate) state: &'a str,
    pub(crate) name: &'a str,
    pub(crate) kind: Kind,
    pub(crate) from: SystemTime,
    pub(crate) to: SystemTime,
    /// Why it failed, if it did.
    pub(crate) error: Option<&'a str>,
}

/// `Span.flags`: whether the parent is of another process is known, and whether it is.
const REMOTE_KNOWN: u32 = 0x100;
const REMOTE: u32 = 0x200;

const STATUS_ERROR: u64 = 2;

impl Span<'_> {
    /// Appends it as field 2 of `ScopeSpans`, with what `more` adds.
    pub(super) fn put(&self, out: &mut Vec<u8>, more: impl FnOnce(&mut Attributes<'_>)) {
        wire::message(out, 2, |out| {
            wire::bytes(out, 1, &self.context.trace.bytes());
            wire::bytes(out, 2, &self.context.span.bytes());
            if !self.state.is_empty() {
                wire::bytes(out, 3, self.state.as_bytes());
            }
            if let Some(parent) = self.parent {
                wire::bytes(out, 4, &parent.span.bytes());
            }
            wire::bytes(out, 5, self.name.as_bytes());
            wire::number(out, 6, self.kind as u64);
            wire::fixed64(out, 7, nanos(self.from));
            wire::fixed64(out, 8, nanos(self.to));
            more(&mut Attributes(out));
            if self.error.is_some() {
                wire::message(out, 15, |out| wire::number(out, 3, STATUS_ERROR));
            }
            let remote = if self.parent.is_some_and(|parent| parent.remote) { REMOTE } else { 0 };
            wire::fixed32(out, 16, u32::from(self.context.flags) | REMOTE_KNOWN | remote);
        });
    }
}

/// What is said of a span: attributes, events, links.
pub(crate) struct Attributes<'o>(&'o mut Vec<u8>);

/// The field of `Span` that attributes stand in.
const OF_SPAN: u32 = 9;

impl Attributes<'_> {
    /// A text; bytes that are none are shown as �.
    pub(crate) fn text(&mut self, key: &str, value: impl AsRef<[u8]>) {
        text(self.0, OF_SPAN, key, value.as_ref());
    }

    /// A text, if there is one.
    pub(crate) fn maybe(&mut self, key: &str, value: Option<impl AsRef<[u8]>>) {
        if let Some(value) = value {
            self.text(key, value);
        }
    }

    /// A whole number.
    pub(crate) fn number(&mut self, key: &str, value: u64) {
        attribute(self.0, OF_SPAN, key, |out| wire::number(out, 3, value));
    }

    /// That something is so.
    pub(crate) fn flag(&mut self, key: &str) {
        attribute(self.0, OF_SPAN, key, |out| wire::number(out, 2, 1));
    }

    /// An address.
    pub(crate) fn address(&mut self, key: &str, value: IpAddr) {
        self.text(key, value.to_string());
    }

    /// Something that happened at a moment.
    pub(crate) fn event(&mut self, at: SystemTime, name: &str, about: Option<(&str, &str)>) {
        wire::message(self.0, 11, |out| {
            wire::fixed64(out, 1, nanos(at));
            wire::bytes(out, 2, name.as_bytes());
            if let Some((key, value)) = about {
                text(out, 3, key, value.as_bytes());
            }
        });
    }

    /// A span of another trace that has to do with it.
    pub(crate) fn link(&mut self, to: &Context) {
        wire::message(self.0, 13, |out| {
            wire::bytes(out, 1, &to.trace.bytes());
            wire::bytes(out, 2, &to.span.bytes());
            wire::fixed32(out, 6, u32::from(to.flags) | REMOTE_KNOWN | REMOTE);
        });
    }
}

fn attribute(out: &mut Vec<u8>, field: u32, key: &str, value: impl FnOnce(&mut Vec<u8>)) {
    wire::message(out, field, |out| {
        wire::bytes(out, 1, key.as_bytes());
        wire::message(out, 2, value);
    });
}

fn text(out: &mut Vec<u8>, field: u32, key: &str, value: &[u8]) {
    let short = &value[..value.len().min(TEXT_MAX)];
    // A letter that is cut through becomes � with all that is no text.
    let short = String::from_utf8_lossy(short);
    attribute(out, field, key, |out| wire::bytes(out, 1, short.as_bytes()));
}

fn nanos(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// Who sends spans: the attributes of `Resource`.
pub(super) fn resource(service: &str, zone: Option<&str>) -> Vec<u8> {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let (host, pid) = (host.trim(), std::process::id());
    let mut out = Vec::new();
    let mut put = |key: &str, value: &str| text(&mut out, 1, key, value.as_bytes());
    put("service.name", service);
    put("service.version", env!("CARGO_PKG_VERSION"));
    put("service.instance.id", &format!("{host}:{pid}"));
    put("host.name", host);
    if let Some(zone) = zone {
        put("cloud.availability_zone", zone);
    }
    attribute(&mut out, 1, "process.pid", |out| wire::number(out, 3, pid.into()));
    out
}

/// The semantic conventions that attributes are named by.
const SCHEMA: &[u8] = b"https://opentelemetry.io/schemas/1.27.0";

/// An `ExportTraceServiceRequest` of spans as [`Span::put`] appends them.
pub(super) fn request(resource: &[u8], spans: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(resource.len() + spans.len() + 256);
    wire::message(&mut out, 1, |out| {
        wire::bytes(out, 1, resource);
        wire::message(out, 2, |out| {
            wire::message(out, 1, |out| {
                wire::bytes(out, 1, b"weir");
                wire::bytes(out, 2, env!("CARGO_PKG_VERSION").as_bytes());
            });
            out.extend_from_slice(spans);
            wire::bytes(out, 3, SCHEMA);
        });
        wire::bytes(out, 3, SCHEMA);
    });
    out
}

/// The id of a trace as people write it.
pub(super) fn hex(trace: TraceId) -> String {
    // Hexadecimal digits are text.
    String::from_utf8_lossy(&trace.hex()).into_owned()
}
