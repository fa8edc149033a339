//! Probes over HTTP/2: one connection, one request, and as much of the answer as the verdict needs.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

use bytes::Bytes;
use h2::client::{Builder, SendRequest};
use h2::{RecvStream, client};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, header, uri};
use memchr::memmem;
use weir_config::model::{Address, HttpCheck};
use weir_core::health::{ProbeFailure, ProbeResult};

use crate::env::Stream;

/// Largest head of an answer.
const HEAD_MAX: u32 = 64 << 10;
/// As much of a body as is looked at, and as may come at once.
const BODY_MAX: usize = 64 << 10;

/// Who we are, to whoever reads logs there.
pub(super) const USER_AGENT: &str = concat!("weir/", env!("CARGO_PKG_VERSION"), " (health check)");

/// Sends the request of `check` and judges the answer.
pub(super) async fn ask<S: Stream>(stream: &mut S, check: &HttpCheck, address: &Address, secure: bool) -> ProbeResult {
    let judged = async {
        // What an operator wrote for HTTP/1 and HTTP/2 has no form for, nobody there can answer.
        let request = request(check, address, secure).ok_or(ProbeFailure::Protocol)?;
        let wanted = check.expected_body.as_ref().filter(|_| check.method != "HEAD");
        let is_body_wanted = |status| wanted.is_some() && is_expected(check, status);
        let until = |body: &[u8]| wanted.is_some_and(|text| memmem::find(body, text.as_bytes()).is_some());
        let answer = exchange(stream, request, None, is_body_wanted, until).await?;
        if !is_expected(check, answer.status) {
            return Err(ProbeFailure::Status(answer.status));
        }
        let found = check.expected_body.is_none() || until(&answer.body);
        if found { Ok(()) } else { Err(ProbeFailure::Body) }
    };
    judged.await.map_or_else(ProbeResult::Failed, |()| ProbeResult::Passed)
}

fn is_expected(check: &HttpCheck, status: u16) -> bool {
    check.expected_statuses.iter().any(|range| range.contains(&status))
}

fn request(check: &HttpCheck, address: &Address, secure: bool) -> Option<Request<()>> {
    let given = |name: &str| check.headers.iter().find(|(given, _)| given.eq_ignore_ascii_case(name));
    let host = given("host").map(|(_, host)| host.as_str()).or(check.host.as_deref());
    let mut request = Request::new(());
    *request.method_mut() = Method::from_bytes(check.method.as_bytes()).ok()?;
    *request.uri_mut() = uri(host, address, &check.path, secure)?;
    let headers = request.headers_mut();
    headers.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
    if given("user-agent").is_some() {
        headers.remove(header::USER_AGENT);
    }
    for (name, value) in &check.headers {
        let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
        // Of one connection, or said otherwise.
        if !matches!(name, header::HOST | header::CONNECTION | header::TRANSFER_ENCODING | header::UPGRADE) {
            headers.append(name, HeaderValue::from_str(value).ok()?);
        }
    }
    Some(request)
}

/// Where `path` is at an endpoint that is called `host`, or by its address.
pub(super) fn uri(host: Option<&str>, address: &Address, path: &str, secure: bool) -> Option<Uri> {
    let authority = match (host, address) {
        (Some(host), _) => host.to_owned(),
        (None, Address::Ip(address)) => address.to_string(),
        (None, Address::Unix(_)) => "localhost".to_owned(),
    };
    let scheme = if secure { uri::Scheme::HTTPS } else { uri::Scheme::HTTP };
    Uri::builder().scheme(scheme).authority(authority).path_and_query(path).build().ok()
}

/// What came of a request.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    /// As much as was wanted.
    pub(super) body: Vec<u8>,
    /// Behind all of the body.
    pub(super) trailers: HeaderMap,
}

/// Sends one request on a connection of its own. Its answer's body is read if `wanted` says so of
/// its status, until `enough` of it is there.
pub(super) async fn exchange<S: Stream>(
    stream: &mut S,
    request: Request<()>,
    message: Option<Bytes>,
    wanted: impl Fn(u16) -> bool,
    enough: impl Fn(&[u8]) -> bool,
) -> Result<Answer, ProbeFailure> {
    let mut builder = Builder::new();
    builder.max_header_list_size(HEAD_MAX).initial_window_size(BODY_MAX as u32).enable_push(false);
    let (send, connection) = builder.handshake(stream).await.map_err(|error| broken(&error))?;
    let mut connection = pin!(connection);
    let mut asked = pin!(answer(send, request, message, wanted, enough));
    let mut ended = false;
    poll_fn(|context| {
        loop {
            if let Poll::Ready(answer) = asked.as_mut().poll(context) {
                return Poll::Ready(answer);
            }
            if ended {
                return Poll::Ready(Err(ProbeFailure::Reset));
            }
            // What came with its end is still to be read.
            match connection.as_mut().poll(context) {
                Poll::Ready(_) => ended = true,
                Poll::Pending => return Poll::Pending,
            }
        }
    })
    .await
}

async fn answer(
    send: SendRequest<Bytes>,
    request: Request<()>,
    message: Option<Bytes>,
    wanted: impl Fn(u16) -> bool,
    enough: impl Fn(&[u8]) -> bool,
) -> Result<Answer, ProbeFailure> {
    let asked = async {
        let mut send = send.ready().await?;
        let (response, mut sending) = send.send_request(request, message.is_none())?;
        if let Some(message) = message {
            sending.send_data(message, true)?;
        }
        read(response, wanted, enough).await
    };
    asked.await.map_err(|error| broken(&error))
}

async fn read(
    response: client::ResponseFuture,
    wanted: impl Fn(u16) -> bool,
    enough: impl Fn(&[u8]) -> bool,
) -> Result<Answer, h2::Error> {
    let (parts, mut stream) = response.await?.into_parts();
    let (status, headers) = (parts.status.as_u16(), parts.headers);
    let mut answer = Answer { status, headers, body: Vec::new(), trailers: HeaderMap::new() };
    if wanted(status) && read_body(&mut stream, &mut answer.body, enough).await? {
        answer.trailers = stream.trailers().await?.unwrap_or_default();
    }
    Ok(answer)
}

/// Whether it was read to its end.
async fn read_body(
    stream: &mut RecvStream,
    body: &mut Vec<u8>,
    enough: impl Fn(&[u8]) -> bool,
) -> Result<bool, h2::Error> {
    while let Some(piece) = stream.data().await {
        let piece = piece?;
        body.extend_from_slice(&piece[..piece.len().min(BODY_MAX - body.len())]);
        if body.len() >= BODY_MAX || enough(body) {
            return Ok(false);
        }
        let _ = stream.flow_control().release_capacity(piece.len());
    }
    Ok(true)
}

/// What is no HTTP/2 is not well-formed; whatever else ends a connection ends it.
fn broken(error: &h2::Error) -> ProbeFailure {
    if error.is_io() || error.is_remote() { ProbeFailure::Reset } else { ProbeFailure::Protocol }
}
