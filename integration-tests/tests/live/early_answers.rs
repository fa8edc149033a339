//! Endpoints that answer before they have read the request.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use weir_integration_tests::backend::Backend;
use weir_integration_tests::client::get;

use crate::Front;

const TOO_LARGE: &str = "HTTP/1.1 413 Content Too Large\r\nContent-Length: 5\r\nConnection: close\r\n\r\nlarge";

#[test]
fn an_answer_reaches_a_client_that_still_sends() {
    let front = Front::new(Backend::raw(|peer| {
        if peer.request_head().is_ok() {
            peer.send(TOO_LARGE);
            peer.half_close();
            peer.hang();
        }
    }));
    let mut client = front.connect();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n");
    let piece = vec![b'x'; 64 * 1024];
    // Goes on sending until the other side has had enough, as most clients do.
    for _ in 0..200 {
        if client.try_send(&piece).is_err() {
            break;
        }
    }
    let answer = client.response().unwrap();
    assert_eq!((answer.status, answer.text().as_str(), answer.reason()), (413, "large", None));
    assert!(answer.closes(), "the rest of the request would be taken for another");
}

#[test]
fn an_answer_comes_before_the_body_is_sent() {
    let front = Front::new(Backend::raw(|peer| {
        if peer.request_head().is_ok() {
            peer.send(TOO_LARGE);
            peer.hang();
        }
    }));
    let mut client = front.connect();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nsome");
    assert_eq!(client.response().unwrap().status, 413);
}

#[test]
fn an_endpoint_that_answers_early_and_reads_on_gets_all_of_the_body() {
    let got_all = Arc::new(AtomicBool::new(false));
    let noted = Arc::clone(&got_all);
    let front = Front::new(Backend::raw(move |peer| {
        let Ok(request) = peer.request_head() else { return };
        // The head of the answer first, its end when the request has ended: a full-duplex exchange.
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfi");
        noted.store(peer.body(request.framing).is_ok_and(|body| body.len() == 200_000), Ordering::SeqCst);
        peer.send("ne");
        let _ = peer.request().map(|_| peer.send(weir_integration_tests::backend::ok("next")));
        peer.hang();
    }));
    let mut client = front.connect();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 200000\r\n\r\n");
    client.head().unwrap();
    client.send(vec![b'x'; 200_000]);
    while client.rest().len() < 4 {
        client.more().unwrap();
    }
    assert_eq!(client.rest(), b"fine");
    assert!(got_all.load(Ordering::SeqCst));
}

#[test]
fn an_early_answer_does_not_spoil_the_next_request() {
    let front = Front::new(Backend::raw(|peer| {
        while let Ok(request) = peer.request_head() {
            if request.method == "POST" {
                peer.send("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n");
                peer.half_close();
                peer.hang();
                return;
            }
            peer.send(weir_integration_tests::backend::ok(&request.target));
        }
    }));
    for _ in 0..3 {
        let mut client = front.connect();
        client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 50\r\n\r\nGET /smuggled HTTP/1.1\r\n");
        assert_eq!(client.response().unwrap().status, 403);
        drop(client);
        assert_eq!(front.ask(&get("/clean")).text(), "/clean");
    }
}
