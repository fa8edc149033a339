//! Both directions, over pipes in memory and over real sockets.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::Waker;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use super::super::pipes::Pipes;
use super::*;
use crate::env::Socket;
use crate::http1::wire::Scratch;
use crate::worker::budget::Budget;

impl Stream for DuplexStream {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn abort_on_close(&self) {}
}

/// A session between two sides.
struct Between<S> {
    client: Wire<S>,
    endpoint: Wire<S>,
    both: Both,
    scratch: Scratch,
    pipes: Pipes,
}

impl Between<DuplexStream> {
    /// Between two pipes that hold `room` bytes each way, and its two peers.
    fn new(room: usize) -> (Self, DuplexStream, DuplexStream) {
        let ((client, ours), (theirs, endpoint)) = (duplex(room), duplex(room));
        (Self::of(ours, theirs), client, endpoint)
    }
}

impl<S: Stream> Between<S> {
    fn of(client: S, endpoint: S) -> Self {
        Self {
            both: Both::new(client.splices() && endpoint.splices()),
            client: Wire::new(client),
            endpoint: Wire::new(endpoint),
            scratch: Scratch::new(),
            pipes: Pipes::new(Budget::new(1000, 1)),
        }
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Reason>> {
        let tools = Tools { scratch: &self.scratch, pipes: &self.pipes };
        self.both.poll(&mut self.client, &mut self.endpoint, tools, context)
    }

    async fn run(&mut self) -> Result<(), Reason> {
        poll_fn(|context| self.poll(context)).await
    }
}

#[tokio::test]
async fn each_direction_ends_by_itself() {
    for client_first in [true, false] {
        let (mut between, client, endpoint) = Between::new(64);
        let (mut first, mut second) = if client_first { (client, endpoint) } else { (endpoint, client) };
        let peers = async {
            let mut heard = Vec::new();
            first.write_all(b"a question").await.unwrap();
            first.shutdown().await.unwrap();
            second.read_to_end(&mut heard).await.unwrap();
            assert_eq!(heard, b"a question");
            second.write_all(b"an answer").await.unwrap();
            second.shutdown().await.unwrap();
            heard.clear();
            first.read_to_end(&mut heard).await.unwrap();
            assert_eq!(heard, b"an answer");
        };
        let (ended, ()) = tokio::join!(between.run(), peers);
        assert_eq!(ended, Ok(()));
    }
}

#[tokio::test]
async fn nothing_is_read_that_the_other_side_does_not_take() {
    let (mut between, mut client, _endpoint) = Between::new(1024);
    let mut sent = 0;
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..1000 {
        if let Poll::Ready(count) = Pin::new(&mut client).poll_write_flat(&mut context) {
            sent += count;
        }
        assert!(between.poll(&mut context).is_pending());
    }
    // Two pipes and one outbox that was filled by one read.
    assert!(sent <= 3 * 1024, "{sent}");
}

trait WriteFlat {
    fn poll_write_flat(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<usize>;
}

impl WriteFlat for DuplexStream {
    fn poll_write_flat(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<usize> {
        tokio::io::AsyncWrite::poll_write(self, context, &[7; 512]).map(Result::unwrap)
    }
}

#[tokio::test]
async fn what_was_read_ahead_goes_first() {
    let (mut between, mut client, mut endpoint) = Between::new(64);
    between.client.inbox.push(b"early ");
    client.write_all(b"late").await.unwrap();
    client.shutdown().await.unwrap();
    endpoint.shutdown().await.unwrap();
    assert_eq!(between.run().await, Ok(()));
    let mut heard = Vec::new();
    endpoint.read_to_end(&mut heard).await.unwrap();
    assert_eq!(heard, b"early late");
}

#[tokio::test]
async fn last_words_of_a_side_that_stopped_reading_are_passed_on() {
    let (mut between, mut client, mut endpoint) = Between::new(64);
    endpoint.write_all(b"too many clients").await.unwrap();
    // All of it closes, with what the client says unread: writing to it fails.
    drop(endpoint);
    client.write_all(b"hello").await.unwrap();
    assert_eq!(between.run().await, Err(Reason::UpstreamCut));
    drop(between);
    let mut heard = Vec::new();
    client.read_to_end(&mut heard).await.unwrap();
    assert_eq!(heard, b"too many clients");
}

/// Two ends of one connection over the loopback.
async fn connection() -> (Socket, tokio::net::TcpStream) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (theirs, ours) = tokio::join!(tokio::net::TcpStream::connect(address), listener.accept());
    (Socket::Tcp(ours.unwrap().0), theirs.unwrap())
}

/// So many bytes that nobody could make up, in pieces.
fn told(seed: u64, length: usize) -> Vec<u8> {
    let mut dice = weir_core::dice::Dice::new(seed);
    (0..length / 8).flat_map(|_| dice.roll().to_le_bytes()).collect()
}

const MUCH: usize = 8 << 20;

#[tokio::test]
async fn bulk_goes_through_pipes_in_both_directions_at_once_and_comes_whole() {
    let ((ours, client), (theirs, endpoint)) = (connection().await, connection().await);
    let mut between = Between::of(ours, theirs);
    let side = async |mut socket: tokio::net::TcpStream, seed: u64| {
        let (mut reads, mut writes) = socket.split();
        let says = told(seed, MUCH);
        let speak = async {
            writes.write_all(&says).await.unwrap();
            writes.shutdown().await.unwrap();
        };
        let mut heard = Vec::new();
        let (read, ()) = tokio::join!(reads.read_to_end(&mut heard), speak);
        read.unwrap();
        heard
    };
    let (ended, at_client, at_endpoint) = tokio::join!(between.run(), side(client, 1), side(endpoint, 2));
    assert_eq!(ended, Ok(()));
    assert!(at_client == told(2, MUCH) && at_endpoint == told(1, MUCH));
    let counts = [&between.client, &between.endpoint].map(|wire| (wire.received, wire.sent));
    assert_eq!(counts, [(MUCH as u64, MUCH as u64); 2]);
    assert!((1..=2).contains(&between.pipes.free()), "pipes were used, and given back");
}

#[tokio::test]
async fn a_reader_that_stops_is_waited_for_and_one_that_goes_ends_it() {
    let ((ours, mut client), (theirs, mut endpoint)) = (connection().await, connection().await);
    let mut between = Between::of(ours, theirs);
    let says = told(3, MUCH);
    let speak = async {
        // It fails once the endpoint has gone.
        let _ = client.write_all(&says).await;
        client
    };
    let listen = async {
        let mut heard = vec![0; MUCH / 4];
        for _ in 0..3 {
            tokio::task::yield_now().await;
            let at = heard.len() / 4;
            endpoint.read_exact(&mut heard[..at]).await.unwrap();
        }
        drop(endpoint);
    };
    let (ended, _client, ()) = tokio::join!(between.run(), speak, listen);
    assert!(matches!(ended, Err(Reason::UpstreamCut | Reason::ClientGone)), "{ended:?}");
}

#[tokio::test]
async fn over_unix_sockets_too() {
    let (ours, mut client) = connection().await;
    let (theirs, mut endpoint) = tokio::net::UnixStream::pair().unwrap();
    let mut between = Between::of(ours, Socket::Unix(theirs));
    let says = told(4, MUCH);
    let speak = async {
        client.write_all(&says).await.unwrap();
        client.shutdown().await.unwrap();
        let mut heard = Vec::new();
        client.read_to_end(&mut heard).await.unwrap();
        heard
    };
    let echo = async {
        let mut heard = Vec::new();
        endpoint.read_to_end(&mut heard).await.unwrap();
        endpoint.write_all(&heard).await.unwrap();
        endpoint.shutdown().await.unwrap();
    };
    let (ended, heard, ()) = tokio::join!(between.run(), speak, echo);
    assert_eq!(ended, Ok(()));
    assert!(heard == told(4, MUCH));
}
