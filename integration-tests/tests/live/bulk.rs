//! Much over TCP: whole, in both directions, at the pace of whoever reads, and nothing left behind.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::Duration;

use weir_integration_tests::weir::Weir;
use weir_integration_tests::{place, wait};

use crate::tcp::{Peer, connect, is_reset, noise, reset, sum};

const MIB: usize = 1024 * 1024;

/// `WEIR_TEST_BULK_MIB=1024` makes it a gibibyte.
fn much() -> usize {
    let asked = std::env::var("WEIR_TEST_BULK_MIB").ok().and_then(|text| text.parse().ok());
    asked.unwrap_or(256) * MIB
}

fn front(peer: &Peer) -> (Weir, std::net::SocketAddr) {
    let at = place::address();
    let weir = Weir::start(&format!(
        "workers: 1\nlisteners: [{{name: db, bind: '{at}', protocol: tcp, cluster: main}}]\n\
         clusters: [{{name: main, endpoints: ['{}']}}]\n",
        peer.address
    ));
    (weir, at)
}

/// What it has open before anything comes, once its worker has all that it keeps for good.
fn idle(weir: &Weir) -> (usize, usize) {
    let (mut last, mut still) = (descriptors(weir), 0);
    wait::until("nothing more is opened", || {
        let now = descriptors(weir);
        still = if now == last { still + 1 } else { 0 };
        last = now;
        (still == 10).then_some(now)
    })
}

/// What it has open: pipes, and sockets that are no listeners of its.
fn descriptors(weir: &Weir) -> (usize, usize) {
    let all = fs::read_dir(format!("/proc/{}/fd", weir.pid())).unwrap();
    let links: Vec<String> =
        all.flatten().filter_map(|file| Some(fs::read_link(file.path()).ok()?.to_str()?.to_owned())).collect();
    let count = |kind: &str| links.iter().filter(|link| link.starts_with(kind)).count();
    (count("pipe:"), count("socket:"))
}

/// Once nothing but what idles is open, for what waits for the sockets of a moment ago.
fn settled(weir: &Weir, before: (usize, usize)) {
    const PIPES_KEPT: usize = 2 * 32;
    wait::until_true("all sessions' descriptors are closed", || {
        let (pipes, sockets) = descriptors(weir);
        sockets <= before.1 && pipes <= before.0 + PIPES_KEPT
    });
}

/// Hears everything, and says as much, at once.
fn both_ways(stream: TcpStream, total: usize) -> (u64, (u64, usize)) {
    let mut other = stream.try_clone().unwrap();
    let says = thread::spawn(move || noise(&mut other, total));
    let heard = sum(&mut { stream });
    (says.join().unwrap(), heard)
}

#[test]
fn a_great_deal_arrives_whole_in_both_directions_and_leaves_nothing_open() {
    let total = much();
    let (tell, told) = std::sync::mpsc::channel();
    let peer = Peer::new(move |stream| tell.send(both_ways(stream, total)).unwrap());
    let (weir, at) = front(&peer);
    let before = idle(&weir);
    let (said, heard) = both_ways(connect(at), total);
    let (theirs, they_heard) = told.recv_timeout(wait::PATIENCE).unwrap();
    assert_eq!((heard, they_heard), ((theirs, total), (said, total)));
    assert!(descriptors(&weir).0 > before.0, "it was spliced");
    settled(&weir, before);
}

#[test]
fn readers_that_are_slow_or_gone_leave_nothing_open() {
    const TOTAL: usize = 8 * MIB;
    let peer = Peer::new(|mut stream| {
        let mut asked = [0];
        if stream.read_exact(&mut asked).is_ok() {
            let _ = stream.write_all(&vec![7; TOTAL]);
            let _ = stream.shutdown(Shutdown::Write);
            let _ = stream.read(&mut asked);
        }
    });
    let (weir, at) = front(&peer);
    let before = idle(&weir);
    let asks = |count: usize| {
        let mut streams: Vec<TcpStream> = (0..count).map(|_| connect(at)).collect();
        streams.iter_mut().for_each(|stream| stream.write_all(b"?").unwrap());
        streams
    };
    let slow = asks(20);
    wait::until_true("their pipes are full", || {
        let (pipes, _) = descriptors(&weir);
        pipes >= before.0 + 2 * 20
    });
    let quick: Vec<_> = asks(4)
        .into_iter()
        .map(|mut stream| thread::spawn(move || std::io::copy(&mut stream, &mut std::io::sink()).unwrap()))
        .collect();
    for quick in quick {
        assert_eq!(quick.join().unwrap(), TOTAL as u64, "the slow are in nobody's way");
    }
    for (nth, mut stream) in slow.into_iter().enumerate() {
        if nth % 2 == 0 {
            reset(stream);
            continue;
        }
        let mut piece = vec![0; TOTAL / 64];
        for _ in 0..4 {
            stream.read_exact(&mut piece).unwrap();
            thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(std::io::copy(&mut stream, &mut std::io::sink()).unwrap() as usize, TOTAL - TOTAL / 16);
    }
    settled(&weir, before);
}

#[test]
fn a_reset_in_the_middle_of_much_is_a_reset() {
    let peer = Peer::new(|mut stream| {
        let _ = stream.write_all(&vec![7; MIB]);
        reset(stream);
    });
    let (weir, at) = front(&peer);
    let before = idle(&weir);
    for _ in 0..10 {
        assert!(is_reset(&mut connect(at)), "nobody may take it for the whole");
    }
    settled(&weir, before);
}

#[test]
fn a_thousand_sessions_outlive_reloads() {
    let peer = Peer::echo("hi");
    let (weir, at) = front(&peer);
    let (mut sessions, mut hi) = (Vec::new(), [0; 2]);
    for _ in 0..20 {
        // No more at once than the endpoint's queue of connections holds.
        let mut some: Vec<TcpStream> = (0..50).map(|_| connect(at)).collect();
        some.iter_mut().for_each(|session| session.read_exact(&mut hi).unwrap());
        sessions.append(&mut some);
    }
    let config = fs::read_to_string(weir.config()).unwrap();
    let config = config.split_once('\n').unwrap().1.to_owned();
    for nth in 1..=10 {
        weir.replace(&config.replace("name: main,", &format!("name: main, connect: {{timeout: 1{nth}s}},")));
        let _ = weir.wait_event("config_applied", nth);
    }
    for session in &mut sessions {
        session.write_all(b"ok").unwrap();
        session.read_exact(&mut hi).unwrap();
        assert_eq!(&hi, b"ok");
    }
}
