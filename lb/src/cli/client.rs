//! Asks a running instance over its admin address.

mod reach;

use std::io;
use std::process::ExitCode;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, HOST, USER_AGENT};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{sleep, timeout};

use super::Instance;
pub(super) use reach::Credentials;
use reach::{Reach, Wire};

/// Where an instance is asked unless told otherwise.
pub(super) const DEFAULT_ADMIN: &str = "127.0.0.1:9900";

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// For a whole answer; a reload may take its time.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// Largest answer: the status of some ten thousand endpoints.
const BODY_MAX: usize = 64 << 20;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum ClientError {
    #[error("no instance answers at {address}: {why}; is `weir run` up? --admin or WEIR_ADMIN_ADDR says where to ask")]
    Connect { address: String, why: String },
    #[error("{0} does not answer as weir's admin address does: {1}")]
    Answer(String, String),
    #[error("{0}")]
    Wrong(String),
    #[error("{address} says: {status}: {detail}")]
    Refused { address: String, status: StatusCode, detail: String },
    #[error("cannot start: {0}")]
    Runtime(io::Error),
}

impl ClientError {
    /// An answer that cannot be read.
    pub(super) fn answer(error: &serde_json::Error) -> Self {
        Self::Answer("the instance".into(), error.to_string())
    }

    /// Says it, with the exit code that goes with it.
    pub(super) fn exit(&self) -> ExitCode {
        match self {
            Self::Wrong(_) => super::usage(&self.to_string()),
            _ => super::failed(&self.to_string()),
        }
    }
}

/// Parameters of an order, for the part of a URL after `?`.
pub(super) struct Parameters(String);

impl Parameters {
    /// None yet.
    pub(super) const fn none() -> Self {
        Self(String::new())
    }

    /// With the name of who asks, if the environment tells it.
    pub(super) fn by_me() -> Self {
        let mut parameters = Self(String::new());
        let me = ["SUDO_USER", "USER", "LOGNAME"].into_iter().find_map(|name| std::env::var(name).ok());
        parameters.add_if("by", me.filter(|me| !me.is_empty()));
        parameters
    }

    pub(super) fn add(&mut self, name: &'static str, value: impl AsRef<str>) {
        if !self.0.is_empty() {
            self.0.push('&');
        }
        self.0.push_str(name);
        self.0.push('=');
        for byte in value.as_ref().bytes() {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => self.0.push(byte.into()),
                _ => self.0.push_str(&format!("%{byte:02X}")),
            }
        }
    }

    pub(super) fn add_if(&mut self, name: &'static str, value: Option<impl AsRef<str>>) {
        if let Some(value) = value {
            self.add(name, value);
        }
    }

    #[cfg(test)]
    pub(super) fn without_me(self) -> String {
        self.0.split('&').filter(|pair| !pair.starts_with("by=")).collect::<Vec<_>>().join("&")
    }
}

/// Signals that ask a command to end.
pub(super) struct Interrupts([Signal; 3]);

/// An answer: its status and its body.
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) body: Bytes,
}

/// Why it is refused, as the answer says.
fn detail(reply: &Reply) -> String {
    let problem: Option<Value> = serde_json::from_slice(&reply.body).ok();
    let detail = problem.as_ref().and_then(|problem| problem["detail"].as_str());
    detail.unwrap_or("(no reason given)").to_owned()
}

/// An error with what it comes from: a refused certificate is known by that alone.
fn with_causes(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| {
        let cause = cause.to_string();
        if text.ends_with(&cause) { text } else { format!("{text}: {cause}") }
    })
}

/// Asks one instance, as often as wanted.
pub(super) struct Client {
    runtime: tokio::runtime::Runtime,
    name: String,
    reach: Reach,
    /// For everything about one answer, instead of what is usual.
    patience: Option<Duration>,
}

impl Client {
    /// For this instance.
    pub(super) fn new(instance: &Instance) -> Result<Self, ClientError> {
        Self::at(&instance.admin, &instance.credentials)
    }

    /// For the instance whose admin address is `name`, with these in hand.
    pub(super) fn at(name: &str, credentials: &Credentials) -> Result<Self, ClientError> {
        let reach = Reach::new(name, credentials).map_err(ClientError::Wrong)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(ClientError::Runtime)?;
        Ok(Self { runtime, name: name.to_owned(), reach, patience: None })
    }

    /// The same; no answer takes longer.
    pub(super) fn within(self, patience: Duration) -> Self {
        Self { patience: Some(patience), ..self }
    }

    /// Reads `path`, whatever the answer is.
    pub(super) fn look(&self, path: &str) -> Result<Reply, ClientError> {
        self.ask(Method::GET, path)
    }

    /// Reads `path`; anything but 200 is an error.
    pub(super) fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        let reply = self.ask(Method::GET, path)?;
        if reply.status != StatusCode::OK {
            return Err(self.refused(&reply));
        }
        self.read(&reply)
    }

    /// Reads `path` with parameters; what is wrong with them is told as such.
    pub(super) fn ask_about(&self, path: &str, parameters: &Parameters) -> Result<Value, ClientError> {
        let reply = self.ask(Method::GET, &format!("{path}?{}", parameters.0))?;
        match reply.status {
            StatusCode::OK => self.read(&reply),
            StatusCode::BAD_REQUEST => Err(ClientError::Wrong(detail(&reply))),
            _ => Err(self.refused(&reply)),
        }
    }

    /// Asks for a change; the answer may be a refusal, with what it says.
    pub(super) fn post(&self, path: &str) -> Result<Reply, ClientError> {
        self.ask(Method::POST, path)
    }

    /// Gives an order; the answer says what became of it.
    pub(super) fn order(&self, path: &str, parameters: &Parameters) -> Result<Value, ClientError> {
        let reply = self.post(&format!("{path}?{}", parameters.0))?;
        match reply.status {
            StatusCode::OK => self.read(&reply),
            // What we say comes from the command line.
            StatusCode::BAD_REQUEST => Err(ClientError::Wrong(detail(&reply))),
            _ => Err(self.refused(&reply)),
        }
    }

    /// From now on signals that would end this process are told by [`Self::pause`].
    pub(super) fn interrupts(&self) -> Result<Interrupts, ClientError> {
        let _inside = self.runtime.enter();
        let signals = || {
            let of = |kind| signal(kind);
            Ok(Interrupts([of(SignalKind::interrupt())?, of(SignalKind::terminate())?, of(SignalKind::hangup())?]))
        };
        signals().map_err(ClientError::Runtime)
    }

    /// Waits; whether a signal came meanwhile.
    pub(super) fn pause(&self, time: Duration, Interrupts([one, two, three]): &mut Interrupts) -> bool {
        self.runtime.block_on(async {
            tokio::select! {
                biased;
                _ = one.recv() => true,
                _ = two.recv() => true,
                _ = three.recv() => true,
                () = sleep(time) => false,
            }
        })
    }

    /// An answer, understood.
    pub(super) fn understand<T: DeserializeOwned>(&self, value: Value) -> Result<T, ClientError> {
        serde_json::from_value(value).map_err(|error| ClientError::Answer(self.name.clone(), error.to_string()))
    }

    /// The body of an answer, understood.
    pub(super) fn read<T: DeserializeOwned>(&self, reply: &Reply) -> Result<T, ClientError> {
        serde_json::from_slice(&reply.body).map_err(|error| ClientError::Answer(self.name.clone(), error.to_string()))
    }

    /// An answer that no instance of ours gives.
    pub(super) fn strange(&self, why: &str) -> ClientError {
        ClientError::Answer(self.name.clone(), why.to_owned())
    }

    /// An answer that is none.
    pub(super) fn refused(&self, reply: &Reply) -> ClientError {
        ClientError::Refused { address: self.name.clone(), status: reply.status, detail: detail(reply) }
    }

    fn ask(&self, method: Method, path: &str) -> Result<Reply, ClientError> {
        self.runtime.block_on(self.exchange(method, path))
    }

    async fn exchange(&self, method: Method, path: &str) -> Result<Reply, ClientError> {
        let unreachable = |why: String| ClientError::Connect { address: self.name.clone(), why };
        let (connect, answer) = (self.patience.unwrap_or(CONNECT_TIMEOUT), self.patience.unwrap_or(ANSWER_TIMEOUT));
        let stream = match timeout(connect, self.reach.connect()).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => {
                return Err(unreachable("connection refused".into()));
            }
            Ok(Err(error)) => return Err(unreachable(error.to_string())),
            Err(_) => return Err(unreachable(format!("no connection within {connect:?}"))),
        };
        match timeout(answer, self.converse(stream, method, path)).await {
            Ok(Ok(reply)) => Ok(reply),
            Ok(Err(error)) => Err(ClientError::Answer(self.name.clone(), with_causes(&*error))),
            Err(_) => Err(ClientError::Answer(self.name.clone(), format!("no answer within {answer:?}"))),
        }
    }

    async fn converse(
        &self,
        stream: Box<dyn Wire>,
        method: Method,
        path: &str,
    ) -> Result<Reply, Box<dyn std::error::Error + Send + Sync>> {
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, &self.reach.host)
            .header(USER_AGENT, concat!("weir/", env!("CARGO_PKG_VERSION")))
            .body(Empty::<Bytes>::new())?;
        if let Some(token) = &self.reach.token {
            request.headers_mut().insert(AUTHORIZATION, token.clone());
        }
        let answered = async {
            let response = sender.send_request(request).await?;
            let status = response.status();
            let body = Limited::new(response.into_body(), BODY_MAX).collect().await?.to_bytes();
            Ok(Reply { status, body })
        };
        tokio::pin!(answered, connection);
        tokio::select! {
            // The connection only moves bytes; if it ends first, the answer says what is missing.
            _ = &mut connection => answered.await,
            answer = &mut answered => answer,
        }
    }
}
