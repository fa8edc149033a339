//! A receiver of traces that reads them with OpenTelemetry's own decoder.

use std::sync::{Arc, Mutex, PoisonError};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;

use crate::backend::{Backend, Peer};
use crate::message::Request;

/// A span that came in.
#[derive(Clone, Debug)]
pub struct Received {
    /// `service.name` of who sent it.
    pub service: String,
    /// The span.
    pub span: Span,
}

impl Received {
    /// An attribute as text; empty without it.
    #[must_use]
    pub fn get(&self, key: &str) -> String {
        text(&self.span.attributes, key)
    }

    /// The id of its trace, as people write it.
    #[must_use]
    pub fn trace(&self) -> String {
        hex(&self.span.trace_id)
    }

    /// Its id, as people write it.
    #[must_use]
    pub fn id(&self) -> String {
        hex(&self.span.span_id)
    }

    /// Its parent's id; empty for the first of a trace.
    #[must_use]
    pub fn parent(&self) -> String {
        hex(&self.span.parent_span_id)
    }

    /// The names of its events.
    #[must_use]
    pub fn events(&self) -> Vec<&str> {
        self.span.events.iter().map(|event| event.name.as_str()).collect()
    }
}

/// A receiver of traces.
#[derive(Debug)]
pub struct Collector {
    backend: Backend,
    taken: Arc<Mutex<Vec<Received>>>,
}

impl Collector {
    /// One that takes all there is.
    #[must_use]
    pub fn new() -> Self {
        Self::answering(|peer, _| {
            peer.send("HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: 0\r\n\r\n");
            true
        })
    }

    /// One that answers so, and takes what it says it has taken; the number counts posts from 0.
    #[must_use]
    pub fn answering(answer: impl Fn(&mut Peer, usize) -> bool + Send + Sync + 'static) -> Self {
        let taken: Arc<Mutex<Vec<Received>>> = Arc::default();
        let (ours, posts) = (Arc::clone(&taken), Mutex::new(0));
        let backend = Backend::scripted(move |peer, request| {
            let nth = {
                let mut posts = posts.lock().unwrap_or_else(PoisonError::into_inner);
                *posts += 1;
                *posts - 1
            };
            let read = read(request);
            if answer(peer, nth) {
                ours.lock().unwrap_or_else(PoisonError::into_inner).extend(read);
            }
        });
        Self { backend, taken }
    }

    /// The URL to post to.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}/v1/traces", self.backend.address())
    }

    /// The posts so far.
    #[must_use]
    pub fn posts(&self) -> Vec<Request> {
        self.backend.requests()
    }

    /// What it has taken so far.
    #[must_use]
    pub fn spans(&self) -> Vec<Received> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The span of a request by the id it was given, and those of its attempts in order, once they
    /// are here.
    #[must_use]
    pub fn request(&self, id: &str) -> Option<(Received, Vec<Received>)> {
        let spans = self.spans();
        let server = spans.iter().find(|span| span.get("weir.request_id") == id)?.clone();
        let mut attempts: Vec<_> = spans.into_iter().filter(|span| span.parent() == server.id()).collect();
        attempts.sort_by_key(|attempt| attempt.span.start_time_unix_nano);
        Some((server, attempts))
    }
}

impl Default for Collector {
    fn default() -> Self {
        Self::new()
    }
}

/// What a post holds.
///
/// # Panics
/// When it is not what OTLP has.
fn read(request: &Request) -> Vec<Received> {
    assert_eq!(request.method, "POST");
    assert_eq!(request.fields.get("content-type"), Some("application/x-protobuf"));
    let message = ExportTraceServiceRequest::decode(&*request.body).expect("an ExportTraceServiceRequest");
    let mut found = Vec::new();
    for of_resource in message.resource_spans {
        let service = text(&of_resource.resource.expect("a resource").attributes, "service.name");
        for of_scope in of_resource.scope_spans {
            assert_eq!(of_scope.scope.expect("a scope").name, "weir");
            found.extend(of_scope.spans.into_iter().map(|span| Received { service: service.clone(), span }));
        }
    }
    found
}

fn text(attributes: &[KeyValue], key: &str) -> String {
    let value = attributes.iter().find(|pair| pair.key == key).and_then(|pair| pair.value.clone()?.value);
    match value {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::BoolValue(flag)) => flag.to_string(),
        Some(other) => format!("{other:?}"),
        None => String::new(),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
