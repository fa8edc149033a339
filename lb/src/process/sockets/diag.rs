//! The kernel's own form of what it tells of a TCP socket: `inet_diag_msg` of
//! `linux/inet_diag.h`, then attributes, of which `tcp_info` of `linux/tcp.h` is read.
//!
//! Only bytes here; who asks for them is [`super`]. Nothing is trusted: what is too short is
//! passed over, and fields that an older kernel does not have are 0.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use super::{Socket, State, TcpInfo};

/// The kind of message that asks, and that answers.
pub(super) const SOCK_DIAG_BY_FAMILY: u16 = 20;
/// The other kinds that come back.
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
/// A request, and one for everything there is.
const NLM_F_REQUEST_DUMP: u16 = 0x1 | 0x300;
/// The attribute with `tcp_info`, in answers and (as a bit) in requests.
const INET_DIAG_INFO: u16 = 2;
const IPPROTO_TCP: u8 = 6;

const HEADER: usize = 16;
/// Of `inet_diag_req_v2`.
const REQUEST: usize = 56;
/// Of `inet_diag_msg`.
const ANSWER: usize = 72;

/// A question for every TCP socket of a family that is in one of `states`.
pub(super) fn question(family: u8, states: u32) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER + REQUEST);
    bytes.extend_from_slice(&((HEADER + REQUEST) as u32).to_ne_bytes());
    bytes.extend_from_slice(&SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    bytes.extend_from_slice(&NLM_F_REQUEST_DUMP.to_ne_bytes());
    // Number and sender: nobody else speaks on this socket.
    bytes.extend_from_slice(&[0; 8]);
    bytes.extend_from_slice(&[family, IPPROTO_TCP, 1 << (INET_DIAG_INFO - 1), 0]);
    bytes.extend_from_slice(&states.to_ne_bytes());
    // The identity of one socket: any.
    bytes.resize(HEADER + REQUEST, 0);
    bytes
}

/// What a batch of messages comes to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Batch {
    /// More follows.
    More,
    /// That was all.
    Done,
    /// The kernel says no, with this error.
    Refused(i32),
}

/// Reads the messages in `bytes`, and tells `each` of the sockets.
pub(super) fn read(mut bytes: &[u8], each: &mut impl FnMut(Socket)) -> Batch {
    while let Some(length) = u32_at(bytes, 0).and_then(|length| usize::try_from(length).ok()) {
        let Some(message) = bytes.get(HEADER..length) else { break };
        match u16_at(bytes, 4) {
            Some(NLMSG_DONE) => return Batch::Done,
            Some(NLMSG_ERROR) => {
                return Batch::Refused(u32_at(message, 0).map_or(0, |code| (code as i32).wrapping_neg()));
            }
            Some(SOCK_DIAG_BY_FAMILY) => {
                if let Some(socket) = socket(message) {
                    each(socket);
                }
            }
            _ => {}
        }
        bytes = bytes.get(aligned(length)..).unwrap_or_default();
    }
    Batch::More
}

fn socket(message: &[u8]) -> Option<Socket> {
    let fixed = message.get(..ANSWER)?;
    let family = fixed[0];
    let state = State::ALL.into_iter().find(|state| *state as u8 == fixed[1])?;
    Some(Socket {
        state,
        local: SocketAddr::new(ip(family, &fixed[8..24])?, u16::from_be_bytes([fixed[4], fixed[5]])),
        remote: SocketAddr::new(ip(family, &fixed[24..40])?, u16::from_be_bytes([fixed[6], fixed[7]])),
        cookie: u64::from(u32_at(fixed, 44)?) | u64::from(u32_at(fixed, 48)?) << 32,
        waiting: u32_at(fixed, 56)?,
        room: u32_at(fixed, 60)?,
        inode: u32_at(fixed, 68)?,
        info: info(message.get(ANSWER..).unwrap_or_default()),
    })
}

fn ip(family: u8, bytes: &[u8]) -> Option<IpAddr> {
    match family {
        super::INET => bytes.first_chunk::<4>().map(|bytes| IpAddr::from(*bytes)),
        super::INET6 => bytes.first_chunk::<16>().map(|bytes| Ipv6Addr::from(*bytes).to_canonical()),
        _ => None,
    }
}

/// `tcp_info` among the attributes.
fn info(mut attributes: &[u8]) -> Option<TcpInfo> {
    while let (Some(length), Some(kind)) = (u16_at(attributes, 0), u16_at(attributes, 2)) {
        let value = attributes.get(4..usize::from(length))?;
        if kind == INET_DIAG_INFO {
            return Some(tcp_info(value));
        }
        attributes = attributes.get(aligned(usize::from(length))..).unwrap_or_default();
    }
    None
}

fn tcp_info(bytes: &[u8]) -> TcpInfo {
    let number = |at: usize| u32_at(bytes, at).unwrap_or(0);
    TcpInfo {
        lost: number(32),
        heard: Duration::from_millis(number(56).into()),
        rtt: Duration::from_micros(number(68).into()),
        window: number(80),
        retransmitted: number(100),
        segments: number(136),
    }
}

const fn aligned(length: usize) -> usize {
    (length + 3) & !3
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|bytes| u16::from_ne_bytes(*bytes))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message(kind: u16, body: &[u8]) -> Vec<u8> {
        let mut bytes = ((HEADER + body.len()) as u32).to_ne_bytes().to_vec();
        bytes.extend_from_slice(&kind.to_ne_bytes());
        bytes.extend_from_slice(&[0; 10]);
        bytes.extend_from_slice(body);
        bytes
    }

    #[test]
    fn a_socket_with_its_info() {
        let mut body = vec![super::super::INET, 1, 0, 0, 0x1f, 0x90, 0xc0, 0x00];
        body.extend_from_slice(&[10, 0, 0, 1]);
        body.resize(24, 0);
        body.extend_from_slice(&[10, 0, 0, 2]);
        body.resize(44, 0);
        for number in [7u32, 1, 0, 3, 4, 0, 4711] {
            body.extend_from_slice(&number.to_ne_bytes());
        }
        assert_eq!(body.len(), ANSWER);
        let mut info = vec![0u8; 140];
        for (at, number) in [(32, 2u32), (56, 1500), (68, 250), (80, 10), (100, 5), (136, 99)] {
            info[at..at + 4].copy_from_slice(&number.to_ne_bytes());
        }
        body.extend_from_slice(&(4 + info.len() as u16).to_ne_bytes());
        body.extend_from_slice(&INET_DIAG_INFO.to_ne_bytes());
        body.extend_from_slice(&info);
        let mut bytes = message(SOCK_DIAG_BY_FAMILY, &body);
        bytes.extend_from_slice(&message(NLMSG_DONE, &[0; 4]));
        let mut found = Vec::new();
        assert_eq!(read(&bytes, &mut |socket| found.push(socket)), Batch::Done);
        let socket = found.pop().unwrap();
        assert_eq!(
            (socket.local.to_string(), socket.remote.to_string()),
            ("10.0.0.1:8080".into(), "10.0.0.2:49152".into())
        );
        assert_eq!((socket.state, socket.waiting, socket.room), (State::Established, 3, 4));
        assert_eq!((socket.inode, socket.cookie), (4711, 7 | 1 << 32));
        let info = socket.info.unwrap();
        assert_eq!((info.lost, info.window, info.retransmitted, info.segments), (2, 10, 5, 99));
        assert_eq!((info.rtt, info.heard), (Duration::from_micros(250), Duration::from_millis(1500)));
    }

    #[test]
    fn a_refusal_is_told() {
        let bytes = message(NLMSG_ERROR, &(-13i32).to_ne_bytes());
        assert_eq!(read(&bytes, &mut |_| ()), Batch::Refused(13));
    }

    proptest! {
        #[test]
        fn anything_may_come(bytes in proptest::collection::vec(any::<u8>(), 0..400), length in 0u32..400) {
            let mut bytes = bytes;
            if let Some(first) = bytes.first_chunk_mut::<6>() {
                first[..4].copy_from_slice(&length.to_ne_bytes());
                first[4..].copy_from_slice(&SOCK_DIAG_BY_FAMILY.to_ne_bytes());
            }
            read(&bytes, &mut |_| ());
        }
    }
}
