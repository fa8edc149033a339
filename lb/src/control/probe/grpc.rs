//! The gRPC probe: what `grpc.health.v1.Health/Check` says of a service.
//!
//! Two messages of one field each are no reason for a protobuf library; both are written out here.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method, Request, header};
use weir_config::model::{Address, GrpcCheck};
use weir_core::grpc::{self, Code};
use weir_core::health::{ProbeFailure, ProbeResult, Serving};

use super::http2::{self, USER_AGENT};
use crate::env::Stream;

const PATH: &str = "/grpc.health.v1.Health/Check";

/// Calls the service's health check, and judges what it says.
pub(super) async fn ask<S: Stream>(
    stream: &mut S,
    check: &GrpcCheck,
    address: &Address,
    secure: bool,
    timeout: Duration,
) -> ProbeResult {
    let judged = async {
        // What the grammar of the configuration lets in is an authority.
        let request = request(check, address, secure, timeout).ok_or(ProbeFailure::Protocol)?;
        let answer =
            http2::exchange(stream, request, Some(question(&check.service)), |status| status == 200, |_| false);
        judge(&answer.await?)
    };
    judged.await.map_or_else(ProbeResult::Failed, |()| ProbeResult::Passed)
}

fn request(check: &GrpcCheck, address: &Address, secure: bool, timeout: Duration) -> Option<Request<()>> {
    let mut request = Request::new(());
    *request.method_mut() = Method::POST;
    *request.uri_mut() = http2::uri(check.authority.as_deref(), address, PATH, secure)?;
    let (number, unit) = grpc::timeout_text(timeout);
    let timeout = format!("{number}{}", char::from(unit));
    let headers = request.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(header::TE, HeaderValue::from_static("trailers"));
    headers.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
    headers.insert("grpc-timeout", HeaderValue::from_str(&timeout).ok()?);
    Some(request)
}

/// `HealthCheckRequest { string service = 1; }`, with the five bytes before every message of gRPC:
/// not compressed, and its length.
fn question(service: &str) -> Bytes {
    let mut message = BytesMut::new();
    if !service.is_empty() {
        message.put_u8(1 << 3 | 2);
        let mut rest = service.len();
        while rest >= 0x80 {
            message.put_u8(rest as u8 | 0x80);
            rest >>= 7;
        }
        message.put_u8(rest as u8);
        message.put_slice(service.as_bytes());
    }
    let mut framed = BytesMut::with_capacity(5 + message.len());
    framed.put_u8(0);
    framed.put_u32(message.len() as u32);
    framed.put_slice(&message);
    framed.freeze()
}

fn judge(answer: &http2::Answer) -> Result<(), ProbeFailure> {
    if answer.status != 200 {
        return Err(ProbeFailure::Status(answer.status));
    }
    let is_call = answer.headers.get(header::CONTENT_TYPE).is_some_and(|kind| grpc::is_call(kind.as_bytes()));
    let code = |fields: &HeaderMap| fields.get("grpc-status").map(|code| Code::parse(code.as_bytes()));
    // Where there is no message the status stands in the head.
    let code = code(&answer.headers).or_else(|| code(&answer.trailers));
    match code {
        Some(Code::OK) if is_call => match serving(&answer.body).ok_or(ProbeFailure::Protocol)? {
            Serving::Serving => Ok(()),
            not => Err(ProbeFailure::NotServing(not)),
        },
        Some(code) if is_call => Err(ProbeFailure::Called(code)),
        _ => Err(ProbeFailure::Protocol),
    }
}

/// `HealthCheckResponse { ServingStatus status = 1; }`; nothing if it is none.
fn serving(body: &[u8]) -> Option<Serving> {
    let (head, message) = body.split_at_checked(5)?;
    let [0, length @ ..] = head else { return None };
    let length = u32::from_be_bytes(length.try_into().ok()?) as usize;
    // One message, all of it.
    let mut rest = if message.len() == length { message } else { return None };
    let mut status = 0;
    while !rest.is_empty() {
        let tag = varint(&mut rest)?;
        match (tag >> 3, tag & 7) {
            (1, 0) => status = varint(&mut rest)?,
            // What a later version may add.
            (_, 0) => _ = varint(&mut rest)?,
            (_, 1) => rest = rest.get(8..)?,
            (_, 5) => rest = rest.get(4..)?,
            (_, 2) => {
                let length = usize::try_from(varint(&mut rest)?).ok()?;
                rest = rest.get(length..)?;
            }
            _ => return None,
        }
    }
    Some(match status {
        1 => Serving::Serving,
        2 => Serving::NotServing,
        3 => Serving::ServiceUnknown,
        _ => Serving::Unknown,
    })
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_are_messages() {
        assert_eq!(&question("")[..], [0, 0, 0, 0, 0]);
        assert_eq!(&question("ab")[..], [0, 0, 0, 0, 4, 10, 2, b'a', b'b']);
        let long = question(&"x".repeat(300));
        assert_eq!(&long[..8], [0, 0, 0, 1, 47, 10, 0xac, 2]);
    }

    #[test]
    fn answers_are_read_however_they_are_put() {
        for (message, expected) in [
            (&[8, 1][..], Some(Serving::Serving)),
            (&[8, 2], Some(Serving::NotServing)),
            (&[8, 3], Some(Serving::ServiceUnknown)),
            (&[8, 0], Some(Serving::Unknown)),
            (&[], Some(Serving::Unknown)),
            (&[8, 0x81, 0], Some(Serving::Serving)),
            (&[18, 1, b'x', 8, 1], Some(Serving::Serving)),
            (&[8, 1, 21, 0, 0, 0, 0, 25, 0, 0, 0, 0, 0, 0, 0, 0], Some(Serving::Serving)),
            (&[8], None),
            (&[18, 9, 8, 1], None),
            (&[11], None),
            (&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1], None),
        ] {
            let mut body = vec![0];
            body.extend((message.len() as u32).to_be_bytes());
            body.extend(message);
            assert_eq!(serving(&body), expected, "{message:?}");
        }
        assert_eq!(serving(&[1, 0, 0, 0, 2, 8, 1]), None, "compressed");
        assert_eq!(serving(&[0, 0, 0, 0, 2, 8, 1, 0]), None, "more than one");
        assert_eq!(serving(&[0, 0, 0, 0, 9, 8, 1]), None, "cut");
    }
}
