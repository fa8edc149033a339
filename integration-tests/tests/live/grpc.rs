//! gRPC: calls pass both ways, deadlines and statuses mean what they mean there, and health is what
//! the service says of itself.

mod calls;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::{RecvStream, client, server};
use http::{HeaderMap, Request, Response};
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tonic::Code;
use tonic_health::ServingStatus;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use weir_integration_tests::weir::Weir;
use weir_integration_tests::{place, wait};

use crate::Scene;

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// What an endpoint does with each call.
#[derive(Clone, Copy)]
enum Script {
    /// Says its message back, then this status.
    Ends(&'static str),
    /// This status, and nothing before it.
    Only(&'static str),
    /// Says every piece back as it comes.
    Echoes,
    Hangs,
}

/// A gRPC server made of frames. Ends when dropped.
struct Endpoint {
    address: SocketAddr,
    /// The heads of calls so far.
    heads: Arc<Mutex<Vec<HeaderMap>>>,
    _stop: oneshot::Sender<()>,
}

impl Endpoint {
    fn new(script: Script) -> Self {
        let address = place::address();
        let listener = std::net::TcpListener::bind(address).unwrap();
        listener.set_nonblocking(true).unwrap();
        let heads: Arc<Mutex<Vec<HeaderMap>>> = Arc::default();
        let (stop, stopped) = oneshot::channel();
        let seen = Arc::clone(&heads);
        thread::spawn(move || {
            let serve = async {
                let listener = TcpListener::from_std(listener).unwrap();
                while let Ok((stream, _)) = listener.accept().await {
                    tokio::task::spawn_local(connection(stream, script, Arc::clone(&seen)));
                }
            };
            tokio::task::LocalSet::new().block_on(&runtime(), async {
                tokio::select! {
                    () = serve => {}
                    _ = stopped => {}
                }
            });
        });
        Self { address, heads, _stop: stop }
    }

    fn calls(&self) -> usize {
        self.heads.lock().unwrap().len()
    }
}

async fn connection(stream: TcpStream, script: Script, seen: Arc<Mutex<Vec<HeaderMap>>>) {
    let Ok(mut connection) = server::handshake(stream).await else { return };
    while let Some(Ok((request, respond))) = connection.accept().await {
        let (head, body) = request.into_parts();
        seen.lock().unwrap().push(head.headers);
        tokio::task::spawn_local(call(script, body, respond));
    }
}

async fn call(script: Script, mut body: RecvStream, mut respond: server::SendResponse<Bytes>) {
    let head = || Response::builder().header("content-type", "application/grpc");
    let status = |code: &str| {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", code.parse().unwrap());
        trailers
    };
    match script {
        Script::Only(code) => {
            let _ = respond.send_response(head().header("grpc-status", code).body(()).unwrap(), true);
        }
        Script::Hangs => std::future::pending().await,
        Script::Ends(code) => {
            let mut heard = Vec::new();
            while let Some(Ok(piece)) = body.data().await {
                heard.extend_from_slice(&piece);
            }
            let mut sending = respond.send_response(head().body(()).unwrap(), false).unwrap();
            let _ = sending.send_data(heard.into(), false);
            let _ = sending.send_trailers(status(code));
        }
        Script::Echoes => {
            let mut sending = respond.send_response(head().body(()).unwrap(), false).unwrap();
            while let Some(Ok(piece)) = body.data().await {
                let _ = body.flow_control().release_capacity(piece.len());
                let _ = sending.send_data(piece, false);
            }
            let _ = sending.send_trailers(status("0"));
        }
    }
}

/// What came of a call.
#[derive(Debug)]
struct Answer {
    head: HeaderMap,
    status: u16,
    body: Vec<u8>,
    trailers: HeaderMap,
}

impl Answer {
    fn code(&self) -> &str {
        let code = self.head.get("grpc-status").or_else(|| self.trailers.get("grpc-status"));
        code.unwrap_or_else(|| panic!("no status in {self:?}")).to_str().unwrap()
    }
}

async fn dial(to: SocketAddr) -> client::SendRequest<Bytes> {
    let stream = TcpStream::connect(to).await.unwrap();
    let (send, connection) = client::handshake(stream).await.unwrap();
    tokio::spawn(async move {
        let _ = connection.await;
    });
    send.ready().await.unwrap()
}

fn head(to: SocketAddr, fields: &[(&str, &str)]) -> Request<()> {
    let mut request = Request::post(format!("http://{to}/shop.Cart/Add"));
    for (name, value) in [("content-type", "application/grpc+proto"), ("te", "trailers")].iter().chain(fields) {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap()
}

/// A call with one message.
fn ask(to: SocketAddr, fields: &[(&str, &str)]) -> Answer {
    runtime().block_on(async {
        let (response, mut sending) = dial(to).await.send_request(head(to, fields), false).unwrap();
        sending.send_data(Bytes::from_static(b"\0\0\0\0\x02hi"), true).unwrap();
        answer(response).await
    })
}

async fn answer(response: client::ResponseFuture) -> Answer {
    let (parts, mut stream) = response.await.unwrap().into_parts();
    let mut body = Vec::new();
    while let Some(piece) = stream.data().await {
        body.extend_from_slice(&piece.unwrap());
    }
    let trailers = stream.trailers().await.unwrap().unwrap_or_default();
    Answer { head: parts.headers, status: parts.status.as_u16(), body, trailers }
}

/// A Weir before these endpoints, which speak HTTP/2.
fn front(endpoints: &[SocketAddr], change: impl FnOnce(Scene) -> Scene) -> (Weir, SocketAddr) {
    let mut scene = Scene::to(endpoints[0]).cluster("protocol: h2");
    scene.endpoints = endpoints.to_vec();
    let scene = change(scene);
    (scene.start(), scene.web)
}

#[test]
fn a_call_passes_with_its_trailers() {
    let endpoint = Endpoint::new(Script::Ends("5"));
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("access.log");
    let scene = Scene::to(endpoint.address).cluster("protocol: h2");
    let weir = Weir::start(&format!("access_log: {}\n{}", log.display(), scene.yaml()));
    let answer = ask(scene.web, &[("grpc-timeout", "30S"), ("x-meta", "kept")]);
    assert_eq!((answer.status, answer.code(), &answer.body[..]), (200, "5", &b"\0\0\0\0\x02hi"[..]));
    let head = endpoint.heads.lock().unwrap()[0].clone();
    assert!(head["te"] == "trailers" && head["x-meta"] == "kept", "{head:?}");
    let left = head["grpc-timeout"].to_str().unwrap();
    let micros: u64 = left.strip_suffix('u').expect("microseconds").parse().unwrap();
    assert!((29_000_000..=30_000_000).contains(&micros), "{left}");
    let line = wait::until("its line", || {
        serde_json::from_str::<Value>(std::fs::read_to_string(&log).ok()?.lines().next()?).ok()
    });
    assert_eq!((&line["status"], &line["grpc_status"]), (&200.into(), &5.into()), "{line}");
    assert_eq!(weir.metric("weir_grpc_calls_total", &["cluster=\"main\"", "grpc_status=\"5\""]), 1.0);
    // What a client gets wrong says nothing of the endpoint.
    wait::until_true("its class", || weir.metric("weir_upstream_attempts_total", &["class=\"client_error\""]) == 1.0);
}

#[test]
fn both_sides_stream_at_once() {
    let endpoint = Endpoint::new(Script::Echoes);
    let (_weir, web) = front(&[endpoint.address], |scene| {
        // A conversation is not slow because it is quiet.
        scene.listener("limits: {body_min_rate: 1MiB}")
    });
    runtime().block_on(async {
        let (response, mut sending) = dial(web).await.send_request(head(web, &[]), false).unwrap();
        sending.send_data(Bytes::from_static(b"first"), false).unwrap();
        let (_, mut stream) = response.await.unwrap().into_parts();
        assert_eq!(stream.data().await.unwrap().unwrap(), "first");
        for piece in ["second", "third", "fourth"] {
            tokio::time::sleep(Duration::from_millis(50)).await;
            sending.send_data(Bytes::from_static(piece.as_bytes()), false).unwrap();
            assert_eq!(stream.data().await.unwrap().unwrap(), piece);
        }
        sending.send_data(Bytes::new(), true).unwrap();
        assert!(stream.data().await.is_none());
        assert_eq!(stream.trailers().await.unwrap().unwrap()["grpc-status"], "0");
    });
}

#[test]
fn answers_of_ours_are_statuses() {
    let (_weir, web) = front(&[place::refusing()], |scene| scene.route("retry: off"));
    let answer = ask(web, &[]);
    assert_eq!((answer.status, answer.code(), answer.body.len()), (200, "14", 0));
    assert_eq!(answer.head["content-type"], "application/grpc");
    assert_eq!(answer.head["x-weir-reason"], "connect_refused");
    assert_eq!(answer.head["grpc-message"], "The endpoint refused the connection.");
    let mut scene = Scene::to(place::refusing()).cluster("protocol: h2");
    scene.route.push("timeout: 1s");
    let yaml = scene.yaml().replace("match: {}", "match: {path: /elsewhere}");
    let _weir = Weir::start(&yaml);
    assert_eq!(ask(scene.web, &[]).code(), "12");
}

#[test]
fn a_deadline_ends_a_call() {
    let endpoint = Endpoint::new(Script::Hangs);
    let (_weir, web) = front(&[endpoint.address], |scene| scene.route("retry: off"));
    let began = Instant::now();
    let answer = ask(web, &[("grpc-timeout", "200m")]);
    assert_eq!((answer.status, answer.code()), (200, "4"), "{answer:?}");
    assert!(began.elapsed() >= Duration::from_millis(200) && began.elapsed() < Duration::from_secs(10));
    // While a request still flows, too.
    let code = runtime().block_on(async {
        let fields = [("grpc-timeout", "200m")];
        let (response, mut sending) = dial(web).await.send_request(head(web, &fields), false).unwrap();
        sending.send_data(Bytes::from_static(b"more follows"), false).unwrap();
        let answered = answer_of(response).await;
        drop(sending);
        answered
    });
    assert_eq!(code, "4");
}

async fn answer_of(response: client::ResponseFuture) -> String {
    let response = response.await.unwrap();
    response.headers()["grpc-status"].to_str().unwrap().to_owned()
}

#[test]
fn calls_are_made_again_by_status_where_that_is_listed() {
    let (sick, well) = (Endpoint::new(Script::Only("14")), Endpoint::new(Script::Ends("0")));
    let addresses = [sick.address, well.address];
    let quiet = |scene: Scene| scene.cluster("outlier_detection: off");
    let (_weir, web) = front(&addresses, |scene| quiet(scene).route("retry: {on: [grpc-unavailable]}"));
    let codes: Vec<String> = (0..4).map(|_| ask(web, &[]).code().to_owned()).collect();
    assert_eq!(codes, ["0"; 4]);
    assert!(sick.calls() > 0);
    let (_weir, web) = front(&addresses, quiet);
    let codes: Vec<String> = (0..4).map(|_| ask(web, &[]).code().to_owned()).collect();
    assert!(codes.iter().any(|code| code == "14"), "not listed, not made again: {codes:?}");
}

#[test]
fn who_fails_calls_is_ejected() {
    let (sick, well) = (Endpoint::new(Script::Ends("13")), Endpoint::new(Script::Ends("0")));
    let (weir, web) = front(&[sick.address, well.address], |scene| {
        scene.cluster("outlier_detection: {max_ejection_percent: 50, correlated_percent: 100}")
    });
    wait::until_true("an ejection", || {
        let _ = ask(web, &[]);
        weir.metric("weir_ejections_total", &[]) > 0.0
    });
    assert_eq!(ask(web, &[]).code(), "0");
}

/// tonic's health service, and a hand on what it says.
struct Health {
    address: SocketAddr,
    tell: tokio::sync::mpsc::UnboundedSender<ServingStatus>,
}

impl Health {
    fn new() -> Self {
        let address = place::address();
        let listener = std::net::TcpListener::bind(address).unwrap();
        listener.set_nonblocking(true).unwrap();
        let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
        thread::spawn(move || {
            runtime().block_on(async move {
                let (reporter, service) = tonic_health::server::health_reporter();
                reporter.set_service_status("shop.Cart", ServingStatus::Serving).await;
                let listener = TcpListener::from_std(listener).unwrap();
                let incoming = tonic::transport::server::TcpIncoming::from(listener);
                let serve = tonic::transport::Server::builder().serve_with_incoming(service, incoming);
                let report = async {
                    while let Some(status) = told.recv().await {
                        reporter.set_service_status("shop.Cart", status).await;
                    }
                };
                tokio::select! {
                    _ = serve => {}
                    () = report => {}
                }
            });
        });
        Self { address, tell }
    }
}

#[test]
fn a_service_says_how_it_is() {
    let health = Health::new();
    let scene = Scene::to(health.address)
        .cluster("protocol: h2")
        .cluster("health_checks: [{grpc_health_check: {service: shop.Cart}, interval: 50ms, down_interval: 50ms}]");
    let weir = scene.start();
    let up = |expected: f64| {
        wait::until_true("the verdict", || weir.metric("weir_endpoint_up", &["cluster=\"main\""]) == expected);
    };
    up(1.0);
    health.tell.send(ServingStatus::NotServing).unwrap();
    up(0.0);
    let status = weir.admin_get("/api/v1/status").text();
    assert!(status.contains("the service is NOT_SERVING"), "{status}");
    health.tell.send(ServingStatus::Serving).unwrap();
    up(1.0);
}

#[test]
fn tonic_agrees() {
    let health = Health::new();
    let (_weir, web) = front(&[health.address], |scene| scene);
    runtime().block_on(async {
        let channel = tonic::transport::Channel::from_shared(format!("http://{web}")).unwrap().connect().await.unwrap();
        let mut client = HealthClient::new(channel);
        let ask = |service: &str| HealthCheckRequest { service: service.to_owned() };
        let said = client.check(ask("shop.Cart")).await.unwrap().into_inner();
        assert_eq!(said.status(), tonic_health::pb::health_check_response::ServingStatus::Serving);
        let wrong = client.check(ask("nobody")).await.unwrap_err();
        assert_eq!(wrong.code(), Code::NotFound);
        // A stream of answers.
        let mut watched = client.watch(ask("shop.Cart")).await.unwrap().into_inner();
        let mut next = async || watched.message().await.unwrap().unwrap().status;
        assert_eq!(next().await, 1);
        health.tell.send(ServingStatus::NotServing).unwrap();
        assert_eq!(next().await, 2);
    });
    let (_weir, web) = front(&[place::refusing()], |scene| scene);
    runtime().block_on(async {
        let channel = tonic::transport::Channel::from_shared(format!("http://{web}")).unwrap().connect().await.unwrap();
        let refused = HealthClient::new(channel).check(HealthCheckRequest::default()).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unavailable);
        assert_eq!(refused.message(), "The endpoint refused the connection.");
    });
}
