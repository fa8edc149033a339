//! The demo's control endpoint: kill, revive, slow and fail replicas by `curl`.
//!
//! On loopback and a port of the system's choice; it exists in the demo alone.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::task::spawn_local;
use tokio::time::sleep;

use super::replica::{Replica, Selector, Shop};

/// Longest delay an order may ask for.
const SLOW_MAX_MS: u64 = 60_000;
/// The delay of an order that names none.
const SLOW_DEFAULT_MS: u64 = 500;

const USAGE: &str = "\
GET  /                                  what there is, and how it is
POST /kill?zone=az-b                    a whole zone dies
POST /kill?replica=shop-v1-1            one replica dies
POST /slow?replica=shop-v1-1&ms=500     its answers take 500 ms longer
POST /fail?cluster=shop-v2&percent=5    so many of its answers are 500
POST /revive                            all come back, as fast as at first (or ?zone=, ?replica=, ?cluster=)
";

/// Opens the endpoint; its address, and the future that serves it for ever.
pub(super) async fn open(shop: Rc<Shop>) -> io::Result<(SocketAddr, impl Future<Output = ()>)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    Ok((address, serve(listener, shop)))
}

async fn serve(listener: TcpListener, shop: Rc<Shop>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            sleep(Duration::from_millis(50)).await;
            continue;
        };
        let shop = Rc::clone(&shop);
        spawn_local(async move {
            let service = service_fn(|request: Request<_>| {
                let shop = Rc::clone(&shop);
                async move {
                    let (status, text) =
                        obey(&shop, request.method(), request.uri().path(), request.uri().query()).await;
                    let mut response = Response::new(Full::new(Bytes::from(text)));
                    *response.status_mut() = status;
                    Ok::<_, Infallible>(response)
                }
            });
            let connection =
                http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service);
            // A connection that breaks is its client's affair.
            let _ = connection.await;
        });
    }
}

/// What an order asks for.
#[derive(Debug, PartialEq, Eq)]
enum Order {
    Kill,
    Revive,
    Slow(Duration),
    Fail(u64),
}

async fn obey(shop: &Shop, method: &Method, path: &str, query: Option<&str>) -> (StatusCode, String) {
    if path == "/" && method == Method::GET {
        return (StatusCode::OK, format!("{}\n{USAGE}", shop.describe()));
    }
    let (order, selector) = match parse(path, query.unwrap_or_default()) {
        Ok(parsed) => parsed,
        Err((status, text)) => return (status, format!("{text}\n{USAGE}")),
    };
    if method != Method::POST {
        return (StatusCode::METHOD_NOT_ALLOWED, format!("What changes something is a POST.\n{USAGE}"));
    }
    let chosen = shop.select(&selector);
    if chosen.is_empty() {
        return (StatusCode::NOT_FOUND, format!("No replica is meant by that. There are:\n{}", shop.describe()));
    }
    let mut report = String::new();
    for replica in chosen {
        // Writing to a string cannot fail.
        let _ = writeln!(report, "{}: {}", replica.name(), carry_out(&order, &replica).await);
    }
    (StatusCode::OK, report)
}

async fn carry_out(order: &Order, replica: &Rc<Replica>) -> String {
    match order {
        Order::Kill => {
            replica.kill();
            "killed".into()
        }
        Order::Revive => match replica.revive().await {
            Ok(()) => "up".into(),
            Err(error) => format!("cannot come back: {error}; try again"),
        },
        Order::Slow(delay) => {
            replica.slow(*delay);
            format!("slowed by {} ms", delay.as_millis())
        }
        Order::Fail(percent) => {
            replica.fail(*percent);
            format!("fails {percent} %")
        }
    }
}

fn parse(path: &str, query: &str) -> Result<(Order, Selector), (StatusCode, String)> {
    let mut selector = Selector::default();
    let (mut delay, mut percent) = (Duration::from_millis(SLOW_DEFAULT_MS), 100);
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        match pair.split_once('=').unwrap_or((pair, "")) {
            ("zone", zone) => selector.zone = Some(zone.to_owned()),
            ("replica", replica) => selector.replica = Some(replica.to_owned()),
            ("cluster", cluster) => selector.cluster = Some(cluster.to_owned()),
            ("percent", text) => match text.parse() {
                Ok(number @ 0..=100) => percent = number,
                _ => return Err((StatusCode::BAD_REQUEST, format!("percent is a number up to 100, not {text:?}."))),
            },
            ("ms", ms) => match ms.parse() {
                Ok(ms @ 0..=SLOW_MAX_MS) => delay = Duration::from_millis(ms),
                _ => {
                    return Err((StatusCode::BAD_REQUEST, format!("ms is a number up to {SLOW_MAX_MS}, not {ms:?}.")));
                }
            },
            (key, _) => return Err((StatusCode::BAD_REQUEST, format!("What is {key:?}?"))),
        }
    }
    match path {
        "/kill" | "/slow" | "/fail" if selector == Selector::default() => {
            Err((StatusCode::BAD_REQUEST, "Which? Name a zone, a cluster or a replica.".into()))
        }
        "/kill" => Ok((Order::Kill, selector)),
        "/slow" => Ok((Order::Slow(delay), selector)),
        "/fail" => Ok((Order::Fail(percent), selector)),
        "/revive" => Ok((Order::Revive, selector)),
        _ => Err((StatusCode::NOT_FOUND, "There is nothing here.".into())),
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpStream;
    use tokio::runtime::{Builder, LocalOptions};

    use super::*;

    #[test]
    fn orders() {
        let zone = |zone: &str| Selector { zone: Some(zone.into()), ..Selector::default() };
        assert_eq!(parse("/kill", "zone=az-b"), Ok((Order::Kill, zone("az-b"))));
        assert_eq!(parse("/slow", "zone=az-b&ms=7"), Ok((Order::Slow(Duration::from_millis(7)), zone("az-b"))));
        let v2 = Selector { cluster: Some("shop-v2".into()), ..Selector::default() };
        assert_eq!(parse("/fail", "cluster=shop-v2&percent=5"), Ok((Order::Fail(5), v2)));
        assert_eq!(parse("/revive", ""), Ok((Order::Revive, Selector::default())));
        for (path, query) in [
            ("/kill", ""),
            ("/slow", "ms=5"),
            ("/slow", "zone=a&ms=-1"),
            ("/kill", "zon=a"),
            ("/fail", "zone=a&percent=101"),
            ("/no", ""),
        ] {
            assert!(parse(path, query).is_err(), "{path}?{query}");
        }
    }

    #[test]
    fn a_killed_replica_refuses_until_it_is_revived() {
        let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default()).unwrap();
        runtime.block_on(async {
            let shop = Shop::open().await.unwrap();
            let list = shop.list();
            assert_eq!(list.len(), 9);
            let first = list[0].address;
            assert!(TcpStream::connect(first).await.is_ok());
            let (status, report) = obey(&shop, &Method::POST, "/kill", Some("zone=az-a")).await;
            assert_eq!((status, report.lines().count()), (StatusCode::OK, 3), "{report}");
            // The task that owns the port is gone once it has been polled.
            while TcpStream::connect(first).await.is_ok() {
                tokio::task::yield_now().await;
            }
            let (status, report) = obey(&shop, &Method::POST, "/revive", None).await;
            assert_eq!((status, report.matches("up").count()), (StatusCode::OK, 9), "{report}");
            assert!(TcpStream::connect(first).await.is_ok());
            assert_eq!(obey(&shop, &Method::GET, "/kill", Some("zone=az-a")).await.0, StatusCode::METHOD_NOT_ALLOWED);
            assert_eq!(obey(&shop, &Method::POST, "/kill", Some("zone=az-x")).await.0, StatusCode::NOT_FOUND);
        });
    }
}
