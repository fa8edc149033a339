//! What goes on over upgrades: counters that never fall, sockets of workers that are no more.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use weir_integration_tests::backend::Backend;
use weir_integration_tests::client::RawClient;
use weir_integration_tests::pace::Pace;
use weir_integration_tests::weir::Weir;
use weir_integration_tests::{place, wait};

/// Scrapes without a pause until told to end: how often, and which counter ever fell.
struct Scraper {
    end: Arc<AtomicBool>,
    thread: JoinHandle<(usize, Vec<String>)>,
}

impl Scraper {
    fn start(admin: SocketAddr) -> Self {
        let end = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&end);
        let thread = thread::spawn(move || {
            let (mut seen, mut fell, mut scrapes) = (HashMap::<String, f64>::new(), Vec::new(), 0);
            while !ended.load(Ordering::Relaxed) {
                let request = format!("GET /metrics HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n");
                let answer =
                    RawClient::once(admin, &request).unwrap_or_else(|broken| panic!("scrape {scrapes}: {broken}"));
                assert_eq!(answer.status, 200, "scrape {scrapes}");
                scrapes += 1;
                for (series, value) in counters(&answer.text()) {
                    let before = seen.insert(series.clone(), value).unwrap_or(0.0);
                    if value < before {
                        fell.push(format!("scrape {scrapes}: {series} from {before} to {value}"));
                    }
                }
            }
            (scrapes, fell)
        });
        Self { end, thread }
    }

    fn finish(self) -> (usize, Vec<String>) {
        self.end.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

/// Series that must not fall: counters, and the parts of histograms. What the process itself has spent
/// is the process's own.
fn counters(scrape: &str) -> Vec<(String, f64)> {
    let mut kinds = HashMap::new();
    let mut all = Vec::new();
    for line in scrape.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            kinds.insert(name.to_owned(), kind.to_owned());
        } else if let Some((series, value)) = line.rsplit_once(' ').filter(|_| !line.starts_with('#')) {
            let name = series.split('{').next().unwrap();
            let family = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
            let kind = kinds.get(name).or_else(|| kinds.get(family)).map(String::as_str);
            if matches!(kind, Some("counter" | "histogram")) && !name.starts_with("process_") {
                all.push((series.to_owned(), value.parse().unwrap()));
            }
        }
    }
    assert!(all.len() > 100, "{} counters", all.len());
    all
}

#[test]
fn counters_never_fall_over_upgrades_and_come_to_the_right_sum() {
    let (good, gone, web) = (Backend::text("hello"), place::address(), place::address());
    let yaml = |workers: u32| {
        format!(
            "workers: {workers}\nlisteners:\n  - {{name: web, bind: '{web}', release: r}}\n\
             releases:\n  - {{name: r, key: {{header: x-user-id}}, stable: main, canaries: [{{cluster: also, weight: 50}}]}}\n\
             clusters:\n  - name: main\n    endpoints: ['{}', '{gone}']\n    \
             health_checks: [{{interval: 200ms, timeout: 1s, http_health_check: {{path: /}}}}]\n  \
             - {{name: also, endpoints: ['{}']}}\n",
            good.address(),
            good.address()
        )
    };
    let mut weir = Weir::start(&yaml(3));
    let scraper = Scraper::start(weir.admin());
    let load = Pace::start(web, 200, |nth| {
        format!("GET / HTTP/1.1\r\nHost: a\r\nX-User-Id: user-{}\r\nConnection: close\r\n\r\n", nth % 97).into_bytes()
    });
    load.more(50);
    // Checks and states, which are control's to count.
    wait::until_true("a probe that failed", || weir.metric("weir_health_checks_total", &["result=\"failed\""]) > 0.0);
    let failed = weir.metric("weir_health_checks_total", &["result=\"failed\""]);
    for workers in [1, 4, 2] {
        weir.replace(&yaml(workers));
        weir.upgrade().unwrap();
        load.more(50);
    }
    let report = load.finish();
    report.assert_no_error();
    assert_eq!(weir.exit_code(wait::PATIENCE), 0);
    let sent = report.total() as f64;
    wait::until_true("the right sum", || weir.metric("weir_requests_total", &["listener=\"web\"", "2xx"]) == sent);
    for (metric, labels) in [
        ("weir_listener_connections_total", vec!["listener=\"web\""]),
        ("weir_upstream_requests_total", vec![]),
        ("weir_cluster_requests_total", vec![]),
        ("weir_release_requests_total", vec!["2xx"]),
        ("weir_request_duration_seconds_count", vec!["listener=\"web\""]),
    ] {
        assert_eq!(weir.metric(metric, &labels), sent, "{metric}");
    }
    assert!(weir.metric("weir_health_checks_total", &["result=\"failed\""]) >= failed);
    let (scrapes, fell) = scraper.finish();
    assert!(scrapes > 10 && fell.is_empty(), "of {scrapes} scrapes:\n{}", fell.join("\n"));
}

#[test]
fn fewer_workers_take_what_comes_to_all_sockets() {
    let echo = UdpSocket::bind("127.0.0.1:0").unwrap();
    let (dns, web, udp) = (echo.local_addr().unwrap(), place::address(), place::address());
    thread::spawn(move || {
        let mut buffer = [0; 1500];
        while let Ok((length, from)) = echo.recv_from(&mut buffer) {
            if echo.send_to(&buffer[..length], from).is_err() {
                return;
            }
        }
    });
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let good = tcp.local_addr().unwrap();
    thread::spawn(move || {
        for stream in tcp.incoming().flatten() {
            thread::spawn(move || std::io::copy(&mut &stream, &mut &stream));
        }
    });
    let yaml = |workers: u32| {
        format!(
            "workers: {workers}\nlisteners:\n  - {{name: web, bind: '{web}', protocol: tcp, cluster: tcp}}\n  \
             - {{name: udp, bind: '{udp}', protocol: udp, cluster: udp, udp: {{idle: 1s}}}}\n\
             clusters:\n  - {{name: tcp, endpoints: ['{good}']}}\n  - {{name: udp, endpoints: ['{dns}']}}\n"
        )
    };
    let mut weir = Weir::start(&yaml(5));
    // The kernel gives each the socket of one worker, of which there are five.
    let clients: Vec<UdpSocket> = (0..40)
        .map(|_| {
            let client = UdpSocket::bind("127.0.0.1:0").unwrap();
            client.connect(udp).unwrap();
            client.set_read_timeout(Some(wait::PATIENCE)).unwrap();
            client
        })
        .collect();
    let all_answered = move |clients: &[UdpSocket], word: &str| {
        clients.iter().for_each(|client| _ = client.send(word.as_bytes()).unwrap());
        for (nth, client) in clients.iter().enumerate() {
            let mut buffer = [0; 16];
            let length = client.recv(&mut buffer).unwrap_or_else(|error| panic!("client {nth}, {word}: {error}"));
            assert_eq!(&buffer[..length], word.as_bytes());
        }
    };
    let session = move |word: &str| {
        let mut session = TcpStream::connect(web).unwrap();
        session.set_read_timeout(Some(wait::PATIENCE)).unwrap();
        session.write_all(word.as_bytes()).unwrap();
        session.shutdown(std::net::Shutdown::Write).unwrap();
        let mut heard = String::new();
        session.read_to_string(&mut heard).unwrap();
        assert_eq!(heard, word);
    };
    all_answered(&clients, "before");
    for workers in [1, 2] {
        weir.replace(&yaml(workers));
        // While it happens, and afterwards: nobody's datagram lies in a socket that nobody reads.
        let during = {
            let end = Arc::new(AtomicBool::new(false));
            let ended = Arc::clone(&end);
            let clients: Vec<UdpSocket> = clients.iter().map(|client| client.try_clone().unwrap()).collect();
            let thread = thread::spawn(move || {
                while !ended.load(Ordering::Relaxed) {
                    all_answered(&clients, "during");
                    session("during");
                }
            });
            (end, thread)
        };
        weir.upgrade().unwrap();
        during.0.store(true, Ordering::Relaxed);
        during.1.join().unwrap();
        all_answered(&clients, "after");
        (0..20).for_each(|_| session("after"));
    }
}
