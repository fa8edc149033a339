//! A name server in the test, on UDP and TCP of one port, whose answers the test switches. It knows
//! of DNS what it must to be asked by a resolver, and nothing else.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use socket2::SockRef;

use crate::place;

/// What stands behind a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Data {
    /// An IPv4 address.
    A(Ipv4Addr),
    /// An IPv6 address.
    Aaaa(Ipv6Addr),
    /// Another name.
    Cname(String),
    /// A service.
    Srv {
        /// Lower is asked first.
        priority: u16,
        /// Share among those of one priority.
        weight: u16,
        /// The port.
        port: u16,
        /// The host.
        target: String,
    },
}

impl Data {
    const fn kind(&self) -> u16 {
        match self {
            Self::A(_) => 1,
            Self::Cname(_) => 5,
            Self::Aaaa(_) => 28,
            Self::Srv { .. } => 33,
        }
    }
}

/// One record.
#[derive(Clone, Debug)]
pub struct Record {
    /// Whose.
    pub name: String,
    /// In seconds.
    pub ttl: u32,
    /// What.
    pub data: Data,
}

/// What is answered when a name is asked for.
#[derive(Clone, Debug, Default)]
pub struct Reply {
    /// 0 no error, 2 SERVFAIL, 3 NXDOMAIN, 5 REFUSED.
    pub rcode: u8,
    /// Sent are those of the type asked for, and CNAMEs.
    pub records: Vec<Record>,
    /// So much later.
    pub delay: Duration,
    /// Over UDP only the announcement that it is too long.
    pub truncated: bool,
    /// Nothing at all.
    pub silent: bool,
}

/// One question that came.
#[derive(Clone, Debug)]
pub struct Query {
    /// In lower case, without the last dot.
    pub name: String,
    /// 1 A, 28 AAAA, 33 SRV.
    pub kind: u16,
    /// Over TCP.
    pub tcp: bool,
    /// When.
    pub at: Instant,
}

#[derive(Debug, Default)]
struct Shared {
    stopped: AtomicBool,
    replies: Mutex<BTreeMap<String, Reply>>,
    queries: Mutex<Vec<Query>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A name server. Stops when dropped.
#[derive(Debug)]
pub struct Dns {
    address: SocketAddr,
    udp: UdpSocket,
    tcp: TcpListener,
    shared: Arc<Shared>,
}

impl Dns {
    /// Starts one that knows no name.
    ///
    /// # Panics
    /// When no port is free.
    #[must_use]
    #[allow(clippy::new_without_default, reason = "it takes a port: no value to have by default")]
    pub fn new() -> Self {
        let address = place::address();
        let tcp = TcpListener::bind(address).expect("a free port");
        let udp = UdpSocket::bind(address).expect("a free port");
        let shared = Arc::new(Shared::default());
        let (ours, socket) = (Arc::clone(&shared), udp.try_clone().expect("a second handle"));
        thread::spawn(move || serve_udp(&socket, &ours));
        let (ours, listener) = (Arc::clone(&shared), tcp.try_clone().expect("a second handle"));
        thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                let ours = Arc::clone(&ours);
                thread::spawn(move || serve_tcp(stream, &ours));
            }
        });
        Self { address, udp, tcp, shared }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on `name` has this reply.
    pub fn set(&self, name: &str, reply: Reply) {
        lock(&self.shared.replies).insert(name.to_ascii_lowercase(), reply);
    }

    /// From now on `name` has these IPv4 addresses.
    pub fn set_a(&self, name: &str, ttl: u32, addresses: &[Ipv4Addr]) {
        let record = |ip: &Ipv4Addr| Record { name: name.to_owned(), ttl, data: Data::A(*ip) };
        self.set(name, Reply { records: addresses.iter().map(record).collect(), ..Reply::default() });
    }

    /// From now on `name` has this response code and nothing else.
    pub fn fail(&self, name: &str, rcode: u8) {
        self.set(name, Reply { rcode, ..Reply::default() });
    }

    /// What was asked about `name` so far.
    #[must_use]
    pub fn queries(&self, name: &str) -> Vec<Query> {
        lock(&self.shared.queries).iter().filter(|query| query.name == name).cloned().collect()
    }
}

impl Drop for Dns {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        let _ = SockRef::from(&self.tcp).shutdown(Shutdown::Both);
        // A UDP socket wakes by a packet only.
        let _ = self.udp.send_to(&[], self.address);
    }
}

fn serve_udp(socket: &UdpSocket, shared: &Arc<Shared>) {
    let mut buffer = [0; 4096];
    while let Ok((got, from)) = socket.recv_from(&mut buffer) {
        if shared.stopped.load(Ordering::SeqCst) {
            return;
        }
        let Some((reply, delay)) = shared.answer(&buffer[..got], false) else { continue };
        if delay.is_zero() {
            let _ = socket.send_to(&reply, from);
        } else if let Ok(socket) = socket.try_clone() {
            thread::spawn(move || {
                thread::sleep(delay);
                let _ = socket.send_to(&reply, from);
            });
        }
    }
}

fn serve_tcp(mut stream: TcpStream, shared: &Shared) {
    let mut length = [0; 2];
    while stream.read_exact(&mut length).is_ok() {
        let mut query = vec![0; usize::from(u16::from_be_bytes(length))];
        if stream.read_exact(&mut query).is_err() {
            return;
        }
        let Some((reply, delay)) = shared.answer(&query, true) else { continue };
        thread::sleep(delay);
        let length = u16::try_from(reply.len()).expect("replies of tests are short");
        let framed = [&length.to_be_bytes()[..], &reply].concat();
        if stream.write_all(&framed).is_err() {
            return;
        }
    }
}

impl Shared {
    /// The reply's bytes, and how much later they are sent; `None`: not at all.
    fn answer(&self, query: &[u8], tcp: bool) -> Option<(Vec<u8>, Duration)> {
        let (name, kind, question) = read_question(query)?;
        lock(&self.queries).push(Query { name: name.clone(), kind, tcp, at: Instant::now() });
        let reply = lock(&self.replies).get(&name).cloned();
        let reply = reply.unwrap_or_else(|| Reply { rcode: 3, ..Reply::default() });
        if reply.silent {
            return None;
        }
        let truncated = reply.truncated && !tcp;
        let fits = |record: &&Record| !truncated && (record.data.kind() == kind || record.data.kind() == 5);
        let records: Vec<&Record> = reply.records.iter().filter(fits).collect();
        let mut bytes = query[..2].to_vec();
        // A response, authoritative, perhaps truncated, with recursion as was asked for and offered.
        bytes.push(0x84 | (query[2] & 0x01) | if truncated { 0x02 } else { 0 });
        bytes.push(0x80 | reply.rcode);
        let count = u16::try_from(records.len()).expect("replies of tests are short");
        for count in [1, count, 0, 0] {
            bytes.extend(count.to_be_bytes());
        }
        bytes.extend(question);
        records.iter().for_each(|record| write_record(&mut bytes, record));
        Some((bytes, reply.delay))
    }
}

/// The name in lower case, the type, and the question's bytes as they came.
fn read_question(query: &[u8]) -> Option<(String, u16, &[u8])> {
    let mut at = 12;
    let mut labels = Vec::new();
    loop {
        let length = usize::from(*query.get(at)?);
        at += 1;
        if length == 0 {
            break;
        }
        labels.push(String::from_utf8_lossy(query.get(at..at + length)?).to_ascii_lowercase());
        at += length;
    }
    let kind = u16::from_be_bytes(query.get(at..at + 2)?.try_into().ok()?);
    Some((labels.join("."), kind, query.get(12..at + 4)?))
}

fn write_name(bytes: &mut Vec<u8>, name: &str) {
    for label in name.split('.').filter(|label| !label.is_empty()) {
        bytes.push(u8::try_from(label.len()).expect("a label is short"));
        bytes.extend(label.as_bytes());
    }
    bytes.push(0);
}

fn write_record(bytes: &mut Vec<u8>, record: &Record) {
    write_name(bytes, &record.name);
    bytes.extend(record.data.kind().to_be_bytes());
    bytes.extend(1_u16.to_be_bytes());
    bytes.extend(record.ttl.to_be_bytes());
    let mut data = Vec::new();
    match &record.data {
        Data::A(ip) => data.extend(ip.octets()),
        Data::Aaaa(ip) => data.extend(ip.octets()),
        Data::Cname(name) => write_name(&mut data, name),
        Data::Srv { priority, weight, port, target } => {
            for number in [priority, weight, port] {
                data.extend(number.to_be_bytes());
            }
            write_name(&mut data, target);
        }
    }
    bytes.extend(u16::try_from(data.len()).expect("short").to_be_bytes());
    bytes.extend(data);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_are_answered_as_set() {
        // A query as any resolver sends it: `app.test`, A, recursion desired.
        let query = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x03App\x04test\x00\x00\x01\x00\x01";
        let dns = Dns::new();
        let ask = || {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            socket.set_read_timeout(Some(crate::wait::PATIENCE)).unwrap();
            socket.send_to(query, dns.address()).unwrap();
            let mut buffer = [0; 512];
            let got = socket.recv(&mut buffer).unwrap();
            buffer[..got].to_vec()
        };
        assert_eq!(ask()[3] & 15, 3, "an unknown name is NXDOMAIN");
        dns.set_a("app.test", 7, &[Ipv4Addr::new(127, 1, 2, 3)]);
        let reply = ask();
        assert_eq!((&reply[..2], reply[3] & 15, reply[7]), (&query[..2], 0, 1));
        assert!(reply.ends_with(&[0, 0, 0, 7, 0, 4, 127, 1, 2, 3]), "{reply:?}");
        assert_eq!(dns.queries("app.test").len(), 2);
    }
}
