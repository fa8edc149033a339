//! HTTP/2 by hand: what may come as frames, and what reaches the other side.

mod abuse;
mod conformance;
mod endpoints;
mod translation;

use weir_integration_tests::http2::Raw;

/// A request's usual fields.
const GET: [(&str, &str); 4] =
    [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "shop.example")];
const POST: [(&str, &str); 4] =
    [(":method", "POST"), (":scheme", "http"), (":path", "/"), (":authority", "shop.example")];

/// These fields and more.
fn and<'f>(fields: &[(&'f str, &'f str)], more: &[(&'f str, &'f str)]) -> Vec<(&'f str, &'f str)> {
    [fields, more].concat()
}

/// Whether a request is still answered on that connection.
fn is_served(raw: &mut Raw, stream: u32) -> bool {
    raw.headers(stream, &GET, true);
    raw.message(stream).status() == Some(200)
}
