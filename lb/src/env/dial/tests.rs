//! Real sockets on loopback, and what the kernel says of them.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;

use socket2::SockRef;

use super::super::unconnected::{Fault, Unconnected};
use super::*;

fn plain() -> Connect {
    Connect {
        timeout: Duration::from_secs(1),
        keepalive: Some(Duration::from_secs(30)),
        user_timeout: None,
        local_addresses: Vec::new(),
        source_ports: None,
    }
}

fn listener(on: &str) -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind(on).unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// A port nobody holds now, and the one after it. Another process may take them; nothing here
/// fails for it.
fn free_port() -> u16 {
    listener("127.0.0.1:0").1.port()
}

#[tokio::test]
async fn a_connection_has_the_options_that_were_asked_for() {
    let (_listener, to) = listener("127.0.0.1:0");
    let how = Connect { user_timeout: Some(Duration::from_millis(4500)), ..plain() };
    let stream = tcp(to, &how, &Turn::default()).await.unwrap();
    let socket = SockRef::from(&stream);
    assert!(socket.keepalive().unwrap() && socket.tcp_nodelay().unwrap());
    assert_eq!(socket.tcp_keepalive_time().unwrap(), Duration::from_secs(30));
    assert_eq!(socket.tcp_keepalive_interval().unwrap(), Duration::from_secs(5));
    assert_eq!(socket.tcp_keepalive_retries().unwrap(), KEEPALIVE_PROBES);
    assert_eq!(socket.tcp_user_timeout().unwrap(), how.user_timeout);

    let off = tcp(to, &Connect { keepalive: None, ..plain() }, &Turn::default()).await.unwrap();
    assert!(!SockRef::from(&off).keepalive().unwrap());
    // Less than the kernel can count, and more.
    for idle in [Duration::from_millis(10), Duration::from_secs(1_000_000)] {
        let how = Connect { keepalive: Some(idle), ..plain() };
        assert!(tcp(to, &how, &Turn::default()).await.is_ok(), "{idle:?}");
    }
}

#[tokio::test]
async fn d8_local_addresses_take_turns_and_share_their_ports() {
    let (_listener, to) = listener("127.0.0.1:0");
    let (_other, elsewhere) = listener("127.0.0.1:0");
    let addresses = ["127.0.0.2", "::1", "127.0.0.3"].map(|address| address.parse().unwrap());
    let how = Connect { local_addresses: addresses.to_vec(), ..plain() };
    let (turn, mut kept) = (Turn::default(), Vec::new());
    for expected in ["127.0.0.2", "127.0.0.3", "127.0.0.2"] {
        let stream = tcp(to, &how, &turn).await.unwrap();
        assert_eq!(stream.local_addr().unwrap().ip().to_string(), expected);
        let no_port = nix::sys::socket::getsockopt(&stream, sockopt::IpBindAddressNoPort).unwrap();
        assert!(no_port, "the port is chosen when it is known where to");
        kept.push(stream);
    }
    // None of that family: the system chooses.
    let six = Connect { local_addresses: vec!["::1".parse().unwrap()], ..plain() };
    assert_eq!(tcp(elsewhere, &six, &turn).await.unwrap().local_addr().unwrap().ip().to_string(), "127.0.0.1");
}

#[tokio::test]
async fn d8_source_ports_take_turns_and_running_out_of_them_is_ours() {
    let (_one, to) = listener("127.0.0.1:0");
    let (_two, elsewhere) = listener("127.0.0.1:0");
    let first = free_port();
    let how = Connect {
        local_addresses: vec!["127.0.0.4".parse().unwrap()],
        source_ports: Some(first..=first.saturating_add(1)),
        ..plain()
    };
    let (turn, mut kept) = (Turn::default(), Vec::new());
    let mut ports = Vec::new();
    for _ in 0..2 {
        let stream = tcp(to, &how, &turn).await.unwrap();
        assert_eq!(stream.local_addr().unwrap().ip().to_string(), "127.0.0.4");
        ports.push(stream.local_addr().unwrap().port());
        kept.push(stream);
    }
    ports.sort_unstable();
    assert_eq!(ports, [first, first.saturating_add(1)]);
    let error = tcp(to, &how, &turn).await.unwrap_err();
    assert_eq!((error.raw_os_error(), Unconnected::from(&error).fault()), (Some(99), Fault::Ours));
    // To somewhere else the same ports are free.
    kept.push(tcp(elsewhere, &how, &turn).await.unwrap());
    // A port somebody listens on is passed over.
    drop(kept.pop());
    let (_taken, taken) = listener("127.0.0.5:0");
    let how = Connect {
        local_addresses: vec![taken.ip()],
        source_ports: Some(taken.port()..=taken.port().saturating_add(1)),
        ..plain()
    };
    let error = tcp(to, &Connect { source_ports: Some(taken.port()..=taken.port()), ..how.clone() }, &turn).await;
    assert_eq!(error.unwrap_err().raw_os_error(), Some(99));
    if taken.port() < u16::MAX {
        let stream = tcp(to, &how, &turn).await.unwrap();
        assert_eq!(stream.local_addr().unwrap().port(), taken.port() + 1);
    }
}

#[tokio::test]
async fn an_address_of_another_host_is_passed_over() {
    let (_listener, to) = listener("127.0.0.1:0");
    let addresses = ["192.0.2.1", "127.0.0.6"].map(|address| address.parse().unwrap());
    let how = Connect { local_addresses: addresses.to_vec(), ..plain() };
    let turn = Turn::default();
    for _ in 0..3 {
        assert_eq!(tcp(to, &how, &turn).await.unwrap().local_addr().unwrap().ip().to_string(), "127.0.0.6");
    }
    let none = Connect { local_addresses: addresses[..1].to_vec(), ..plain() };
    let error = tcp(to, &none, &turn).await.unwrap_err();
    assert_eq!(Unconnected::from(&error), Unconnected::Local);
}

#[tokio::test]
async fn unix_sockets_are_connected_to_and_tell_what_is_wrong() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("app.sock");
    let gone = unix(&path).await.unwrap_err();
    assert_eq!(Unconnected::from(&gone), Unconnected::Refused);

    let listener = UnixListener::bind(&path).unwrap();
    unix(&path).await.unwrap();
    // Nobody accepts, and at last its queue is full: its fault, not a lack of ours.
    SockRef::from(&listener).listen(1).unwrap();
    let mut waiting = Vec::new();
    let full = loop {
        match unix(&path).await {
            Ok(stream) => waiting.push(stream),
            Err(error) => break error,
        }
        assert!(waiting.len() < 100, "a backlog of 1 fills");
    };
    let full = Unconnected::from(&full);
    assert_eq!((full, full.fault(), full.worth_a_retry()), (Unconnected::Busy, Fault::Endpoint, true));
    drop(listener);
    let dead = unix(&path).await.unwrap_err();
    assert_eq!(Unconnected::from(&dead), Unconnected::Refused);

    if !rustix::process::geteuid().is_root() {
        let _listener = UnixListener::bind(directory.path().join("secret.sock")).unwrap();
        let locked = directory.path().join("secret.sock");
        std::fs::set_permissions(&locked, std::fs::Permissions::from_mode(0o000)).unwrap();
        assert_eq!(Unconnected::from(&unix(&locked).await.unwrap_err()), Unconnected::Forbidden);
    }
}

#[tokio::test]
async fn a_closed_port_refuses() {
    let to = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let error = tcp(to, &plain(), &Turn::default()).await.unwrap_err();
    assert_eq!(Unconnected::from(&error), Unconnected::Refused);
}
