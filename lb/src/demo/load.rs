//! The demo's users: a steady load, and one line on the terminal whenever their luck changes.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::Empty;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::spawn_local;
use tokio::time::{MissedTickBehavior, interval, timeout};

/// Between two requests: 50 a second.
const PACE: Duration = Duration::from_millis(20);
/// A user's patience.
const PATIENCE: Duration = Duration::from_secs(5);
/// So many users come, each again and again.
const USERS: u64 = 1_000;
/// Requests between two looks at how it goes: five seconds of them.
const LOOK_EVERY: u64 = 250;

/// What came of the requests since the last look.
#[derive(Debug, Default, PartialEq, Eq)]
struct Luck {
    served: u64,
    failed: BTreeMap<String, u64>,
}

/// Sends requests to `listen` for ever.
pub(super) async fn run(listen: SocketAddr) {
    let mut pace = interval(PACE);
    pace.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut connection = None;
    let mut luck = Luck::default();
    let mut was_bad = false;
    // The server may not listen yet: its first answer starts the count.
    let mut is_open = false;
    for n in 0u64.. {
        pace.tick().await;
        let outcome = timeout(PATIENCE, ask(&mut connection, listen, n % USERS)).await;
        match outcome.unwrap_or_else(|_| Err("no answer in time".into())) {
            Ok(StatusCode::OK) => {
                is_open = true;
                luck.served += 1;
            }
            _ if !is_open => {}
            Ok(status) => *luck.failed.entry(status.as_str().to_owned()).or_default() += 1,
            Err(error) => {
                connection = None;
                *luck.failed.entry(error).or_default() += 1;
            }
        }
        if n % LOOK_EVERY == LOOK_EVERY - 1 {
            let is_bad = !luck.failed.is_empty();
            if is_bad || was_bad {
                // A closed terminal is no reason to stop.
                let _ = writeln!(io::stdout(), "{}", luck.tell());
            }
            was_bad = is_bad;
            luck = Luck::default();
        }
    }
}

impl Luck {
    fn tell(&self) -> String {
        let failed: Vec<String> = self.failed.iter().map(|(what, n)| format!("{n} × {what}")).collect();
        let failed =
            if failed.is_empty() { "none failed".to_owned() } else { format!("failed: {}", failed.join(", ")) };
        format!("load: {} served in the last 5 s, {failed}", self.served)
    }
}

/// One request over the kept-open connection, made anew when it is gone.
async fn ask(
    connection: &mut Option<SendRequest<Empty<Bytes>>>,
    listen: SocketAddr,
    user: u64,
) -> Result<StatusCode, String> {
    let usable = connection.take().filter(|sender| !sender.is_closed());
    let sender = match usable {
        Some(sender) => sender,
        None => connect(listen).await?,
    };
    let sender = connection.insert(sender);
    sender.ready().await.map_err(|_| "connection closed".to_owned())?;
    let request = Request::get("/cart").header("host", "shop.example").header("x-user-id", user);
    let request = request.body(Empty::new());
    let request = request.map_err(|error| error.to_string())?;
    let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
    let status = response.status();
    let mut body = response.into_body();
    while let Some(frame) = http_body_util::BodyExt::frame(&mut body).await {
        frame.map_err(|error| error.to_string())?;
    }
    Ok(status)
}

async fn connect(listen: SocketAddr) -> Result<SendRequest<Empty<Bytes>>, String> {
    let stream = TcpStream::connect(listen).await.map_err(|error| error.kind().to_string())?;
    let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    // It ends with its sender; what broke it, the sender tells.
    spawn_local(async move {
        let _ = connection.await;
    });
    Ok(sender)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn luck_is_told_in_one_line() {
        let mut luck = Luck { served: 250, failed: BTreeMap::new() };
        assert_eq!(luck.tell(), "load: 250 served in the last 5 s, none failed");
        luck.failed.insert("503".into(), 3);
        assert_eq!(luck.tell(), "load: 250 served in the last 5 s, failed: 3 × 503");
    }
}
