//! How endpoints are connected to: from which address and port, over which kind of socket, with
//! which options; and whose fault it is when this host cannot.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};
use socket2::SockRef;
use weir_integration_tests::backend::{Backend, ok};
use weir_integration_tests::client::{RawClient, get};
use weir_integration_tests::place;
use weir_integration_tests::replica::{Mood, Replica};

use crate::stage::Stage;
use crate::{Front, Scene};

#[test]
fn an_endpoint_may_be_a_unix_socket() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("app.sock");
    let listener = UnixListener::bind(&path).unwrap();
    thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            thread::spawn(move || {
                let mut bytes = Vec::new();
                let mut buffer = [0; 4096];
                while let Ok(got @ 1..) = stream.read(&mut buffer) {
                    bytes.extend_from_slice(&buffer[..got]);
                    if bytes.ends_with(b"\r\n\r\n") {
                        bytes.clear();
                        let _ = stream.write_all(&ok("over a unix socket"));
                    }
                }
            });
        }
    });
    let live = Stage::default().endpoint(format!("unix:{}", path.display())).start();
    let mut client = RawClient::connect(live.web);
    for _ in 0..3 {
        client.send(get("/"));
        assert_eq!(client.response().unwrap().text(), "over a unix socket");
    }
    assert_eq!(live.addresses, [format!("unix:{}", path.display())]);
    assert_eq!(live.cluster()["endpoints"][0]["address"], live.addresses[0].as_str());
    // One that is not there is said to refuse.
    let live = Stage::default().endpoint(format!("unix:{}", directory.path().join("none.sock").display())).start();
    let answer = RawClient::once(live.web, &get("/")).unwrap();
    assert_eq!(answer.status, 503, "{:?}", answer.reason());
    assert!(matches!(answer.reason(), Some("connect_refused" | "connect_failed")), "{:?}", answer.reason());
}

/// A listener that closes each connection after one answer and writes down who came.
fn visitors() -> (SocketAddr, Arc<Mutex<Vec<SocketAddr>>>) {
    let listener = TcpListener::bind(place::address()).unwrap();
    let address = listener.local_addr().unwrap();
    let seen: Arc<Mutex<Vec<SocketAddr>>> = Arc::default();
    let ours = Arc::clone(&seen);
    thread::spawn(move || {
        while let Ok((mut stream, from)) = listener.accept() {
            ours.lock().unwrap().push(from);
            let mut buffer = [0; 4096];
            let _ = stream.read(&mut buffer);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok");
        }
    });
    (address, seen)
}

#[test]
fn connections_leave_from_the_addresses_and_ports_that_are_configured() {
    let (address, seen) = visitors();
    let (one, other) = (place::ip(), place::ip());
    let live = Stage::default()
        .endpoint(address)
        .cluster(&format!("connect: {{local_address: [{one}, {other}], source_ports: \"21000-21999\"}}"))
        .start();
    for _ in 0..12 {
        assert_eq!(RawClient::once(live.web, &get("/")).unwrap().text(), "ok");
    }
    let seen = seen.lock().unwrap();
    let from: Vec<IpAddr> = seen.iter().map(SocketAddr::ip).collect();
    assert!(from.iter().all(|ip| [one, other].contains(ip)), "{seen:?}");
    assert!(from.contains(&one) && from.contains(&other), "both are used: {seen:?}");
    assert!(seen.iter().all(|from| (21_000..22_000).contains(&from.port())), "{seen:?}");
}

#[test]
fn d8_d9_ports_that_are_used_up_are_our_fault_and_never_the_endpoints() {
    // Two ports, both held by requests that take long: the third has none.
    let replica = Replica::new("r1");
    replica.set(Mood::Slow(Duration::from_secs(3)));
    let address = replica.address();
    let live = Stage::default()
        .endpoint(address)
        .cluster("connect: {source_ports: \"22000-22001\"}")
        .cluster("outlier_detection: {base_ejection_time: 30s}")
        // One pool of connections: what idles there can be used again.
        .top("workers: 1")
        .start();
    let mut busy: Vec<RawClient> = (0..2).map(|_| RawClient::connect(live.web)).collect();
    for client in &mut busy {
        client.send(get("/"));
    }
    weir_integration_tests::wait::until_true("both ports in use", || replica.under_way().now() == 2);
    for _ in 0..10 {
        let answer = RawClient::once(live.web, &get("/")).unwrap();
        assert_eq!((answer.status, answer.reason()), (503, Some("connect_local")));
    }
    for client in &mut busy {
        assert_eq!(client.response().unwrap().status, 200);
    }
    live.nobody_ejected_but(&[]);
    replica.set(Mood::Well);
    assert_eq!(RawClient::once(live.web, &get("/")).unwrap().status, 200);
    let ours = live.weir.metric("weir_upstream_errors_total", &["reason=\"connect_local\""]);
    assert!(ours >= 10.0, "shown as what it is: {ours}");
}

#[test]
fn keepalive_and_user_timeout_are_as_configured() {
    let front = Front::with(Backend::text("x"), |scene: Scene| {
        scene.cluster("connect: {keepalive: 17s, user_timeout: 9s}").top("workers: 1")
    });
    let _client = {
        let mut client = front.connect();
        client.send(get("/"));
        assert_eq!(client.response().unwrap().status, 200);
        client
    };
    let socket = upstream_socket(front.weir.pid(), front.backend.address());
    let socket = SockRef::from(&socket);
    assert!(socket.keepalive().unwrap());
    assert_eq!(socket.tcp_keepalive_time().unwrap(), Duration::from_secs(17));
    assert_eq!(socket.tcp_user_timeout().unwrap(), Some(Duration::from_secs(9)));
}

/// The socket of process `pid` that is connected to `peer`, as a second handle of ours.
fn upstream_socket(pid: u32, peer: SocketAddr) -> std::os::fd::OwnedFd {
    let process = Pid::from_raw(pid.try_into().unwrap()).unwrap();
    let door = pidfd_open(process, PidfdFlags::empty()).expect("the process runs");
    for entry in std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap() {
        let number = entry.unwrap().file_name().to_string_lossy().parse().unwrap();
        let Ok(fd) = pidfd_getfd(door.as_fd(), number, PidfdGetfdFlags::empty()) else { continue };
        let connected = SockRef::from(&fd).peer_addr().ok().and_then(|address| address.as_socket());
        if connected == Some(peer) {
            return fd;
        }
    }
    panic!("no socket to {peer}");
}
