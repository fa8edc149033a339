//! A client and a server of gRPC that know nothing of Weir, and every kind of call between them.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::thread;
use std::time::Duration;

use bytes::{Buf as _, BufMut as _, Bytes};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tonic::body::Body;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::codegen::tokio_stream::{Stream, StreamExt as _, iter};
use tonic::codegen::{BoxFuture, BoxStream, Service, http};
use tonic::metadata::MetadataValue;
use tonic::transport::Channel;
use tonic::{Code, Request, Response, Status, Streaming};
use weir_integration_tests::place;

use super::{front, runtime};

/// Messages are bytes.
#[derive(Clone, Copy, Debug)]
struct Plain;

impl Codec for Plain {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Plain {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, into: &mut EncodeBuf<'_>) -> Result<(), Status> {
        into.put_slice(&item);
        Ok(())
    }
}

impl Decoder for Plain {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining()).to_vec()))
    }
}

/// Bytes of details that a status of ours has: more than a head usually has.
const DETAILS: usize = 20_000;

/// Says messages back: one by one, all at once, or not.
#[derive(Clone, Debug, Default)]
struct Calls {
    /// The last deadline that was told.
    told: Arc<Mutex<Option<String>>>,
}

impl Service<http::Request<Body>> for Calls {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let calls = self.clone();
        Box::pin(async move {
            let mut grpc = tonic::server::Grpc::new(Plain);
            Ok(match request.uri().path() {
                "/t.Calls/Unary" => grpc.unary(calls, request).await,
                _ => grpc.streaming(calls, request).await,
            })
        })
    }
}

impl Service<Request<Vec<u8>>> for Calls {
    type Response = Response<Vec<u8>>;
    type Error = Status;
    type Future = BoxFuture<Self::Response, Status>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Vec<u8>>) -> Self::Future {
        let told = request.metadata().get("grpc-timeout").map(|value| value.to_str().unwrap().to_owned());
        *self.told.lock().unwrap() = told;
        Box::pin(async move {
            let (metadata, _, message) = request.into_parts();
            match &message[..] {
                b"wait" => std::future::pending().await,
                b"fail" => Err(Status::not_found("no \u{fc} such % thing")),
                _ => {
                    let mut response = Response::new(message);
                    if let Some(bytes) = metadata.get_bin("seen-bin") {
                        response.metadata_mut().insert_bin("seen-bin", bytes.clone());
                    }
                    Ok(response)
                }
            }
        })
    }
}

impl Service<Request<Streaming<Vec<u8>>>> for Calls {
    type Response = Response<BoxStream<Vec<u8>>>;
    type Error = Status;
    type Future = BoxFuture<Self::Response, Status>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Streaming<Vec<u8>>>) -> Self::Future {
        let echo = request.into_inner().map(|message| match message {
            Ok(message) if message == b"fail" => {
                Err(Status::with_details(Code::Aborted, "as asked", Bytes::from(vec![7; DETAILS])))
            }
            message => message,
        });
        Box::pin(async { Ok(Response::new(Box::pin(echo) as BoxStream<Vec<u8>>)) })
    }
}

/// Serves calls on a thread of its own.
fn serve(calls: Calls) -> SocketAddr {
    let address = place::address();
    let listener = std::net::TcpListener::bind(address).unwrap();
    listener.set_nonblocking(true).unwrap();
    thread::spawn(move || {
        runtime().block_on(async move {
            let listener = TcpListener::from_std(listener).unwrap();
            let incoming = tonic::transport::server::TcpIncoming::from(listener);
            tonic::transport::Server::builder().serve_with_incoming(calls, incoming).await
        })
    });
    address
}

/// A client, and what it can call.
struct Caller(tonic::client::Grpc<Channel>);

impl Caller {
    async fn new(web: SocketAddr) -> Self {
        let channel = Channel::from_shared(format!("http://{web}")).unwrap().http2_max_header_list_size(64 * 1024);
        Self(tonic::client::Grpc::new(channel.connect().await.unwrap()))
    }

    async fn unary(&mut self, request: Request<Vec<u8>>) -> Result<Response<Vec<u8>>, Status> {
        self.0.ready().await.unwrap();
        self.0.unary(request, PathAndQuery::from_static("/t.Calls/Unary"), Plain).await
    }

    async fn streams(&mut self, messages: impl Stream<Item = Vec<u8>> + Send + 'static) -> Streaming<Vec<u8>> {
        self.0.ready().await.unwrap();
        let path = PathAndQuery::from_static("/t.Calls/Streams");
        self.0.streaming(Request::new(messages), path, Plain).await.unwrap().into_inner()
    }
}

#[test]
fn every_kind_of_call() {
    let calls = Calls::default();
    let (_weir, web) = front(&[serve(calls.clone())], |scene| scene);
    runtime().block_on(async {
        let mut caller = Caller::new(web).await;

        let mut request = Request::new(b"hello".to_vec());
        request.metadata_mut().insert_bin("seen-bin", MetadataValue::from_bytes(&[0, 255, 10]));
        let said = caller.unary(request).await.unwrap();
        assert_eq!(said.metadata().get_bin("seen-bin").unwrap().to_bytes().unwrap(), &[0, 255, 10][..]);
        assert_eq!(said.into_inner(), b"hello");

        let status = caller.unary(Request::new(b"fail".to_vec())).await.unwrap_err();
        assert_eq!((status.code(), status.message()), (Code::NotFound, "no \u{fc} such % thing"));

        let mut request = Request::new(b"wait".to_vec());
        request.set_timeout(Duration::from_millis(300));
        // Whoever of the two finds it out first.
        let late = caller.unary(request).await.unwrap_err();
        assert!(matches!(late.code(), Code::DeadlineExceeded | Code::Cancelled), "{late}");
        let told = calls.told.lock().unwrap().take().expect("a deadline");
        assert!(told.ends_with(['m', 'u', 'n']), "{told}");

        // In turn: nothing is held back till there is more.
        let (say, heard) = mpsc::channel(1);
        let mut answers = caller.streams(Heard(heard)).await;
        for turn in 0..20_u8 {
            say.send(vec![turn]).await.unwrap();
            assert_eq!(answers.message().await.unwrap(), Some(vec![turn]));
        }
        drop(say);
        assert_eq!(answers.message().await.unwrap(), None);

        // Many small ones and large ones at once, and a status with much to say behind them.
        let sizes = (0..5000_usize).map(|nth| if nth % 1000 == 999 { 1_000_000 } else { nth % 7 });
        let messages = sizes.clone().map(|size| vec![b'x'; size]).chain([b"fail".to_vec()]);
        let mut answers = caller.streams(iter(messages)).await;
        for size in sizes {
            assert_eq!(answers.message().await.unwrap().map(|message| message.len()), Some(size));
        }
        let status = answers.message().await.unwrap_err();
        assert_eq!((status.code(), status.message()), (Code::Aborted, "as asked"));
        assert_eq!(status.details().len(), DETAILS);

        // Given up, which burdens nobody else.
        let (_say, heard) = mpsc::channel::<Vec<u8>>(1);
        drop(caller.streams(Heard(heard)).await);
        assert_eq!(caller.unary(Request::new(b"still".to_vec())).await.unwrap().into_inner(), b"still");
    });
}

/// What comes by a channel, as a stream.
struct Heard(mpsc::Receiver<Vec<u8>>);

impl Stream for Heard {
    type Item = Vec<u8>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Vec<u8>>> {
        self.get_mut().0.poll_recv(context)
    }
}
