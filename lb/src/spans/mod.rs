//! Spans: what is told of sampled requests to whoever gathers traces (OTLP over HTTP, protobuf).
//!
//! Workers write spans in the form of the wire ([`span`]) into a buffer of their own and hand it
//! over by the batch ([`queue`]); one thread with a runtime of its own sends them ([`export`],
//! [`post`], what follows an answer: [`verdict`]). Nobody waits for it: what it cannot keep up with
//! is dropped and counted. Which requests are sampled is decided elsewhere (`weir_core::trace`).
//!
//! Why not the OpenTelemetry SDK: it is seventeen crates for what is one message of four levels
//! here; it keeps a span as a tree of owned values and a context in thread-locals, where a worker
//! appends bytes to a buffer; and its queue is one lock for all workers.

mod export;
mod post;
mod protobuf;
mod queue;
mod span;
mod verdict;

pub(crate) use export::Exporter;
pub(crate) use queue::{Remote, SpanWriter, pair};
pub(crate) use span::{Kind, Parent, Span};
