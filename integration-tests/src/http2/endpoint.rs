//! An endpoint that speaks HTTP/2 by a test's script.

use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use socket2::SockRef;

use super::{Message, Raw};
use crate::place;

/// A scripted endpoint. Stops when dropped.
#[derive(Debug)]
pub struct Endpoint {
    address: SocketAddr,
    listener: TcpListener,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    stopped: AtomicBool,
    connections: AtomicUsize,
    streams: Mutex<Vec<TcpStream>>,
}

impl Endpoint {
    /// Runs `script` for each connection with its number, on a thread of its own; the connection
    /// closes when it returns. `with`: our SETTINGS.
    ///
    /// # Panics
    /// When no port is free.
    pub fn new(with: &'static [(u16, u32)], script: impl Fn(&mut Raw, usize) + Send + Sync + 'static) -> Self {
        let address = place::address();
        let listener = TcpListener::bind(address).unwrap_or_else(|error| panic!("cannot bind {address}: {error}"));
        let (shared, script) = (Arc::new(Shared::default()), Arc::new(script));
        let (ours, accepting) = (Arc::clone(&shared), listener.try_clone().expect("a second handle"));
        thread::spawn(move || {
            while let Ok((stream, _)) = accepting.accept() {
                if ours.stopped.load(Ordering::SeqCst) {
                    return;
                }
                let nth = ours.connections.fetch_add(1, Ordering::SeqCst);
                if let Ok(handle) = stream.try_clone() {
                    ours.streams.lock().unwrap_or_else(PoisonError::into_inner).push(handle);
                }
                let script = Arc::clone(&script);
                thread::spawn(move || {
                    let handle = stream.try_clone();
                    if let Ok(mut raw) = Raw::server(stream, with) {
                        script(&mut raw, nth);
                    }
                    if let Ok(handle) = handle {
                        let _ = handle.shutdown(Shutdown::Write);
                    }
                });
            }
        });
        Self { address, listener, shared }
    }

    /// Answers each request by `answer`, one after the other.
    pub fn scripted(answer: impl Fn(&mut Raw, u32, &Message) + Send + Sync + 'static) -> Self {
        Self::new(&[], move |raw, _| {
            while let Ok((stream, request)) = raw.request() {
                answer(raw, stream, &request);
            }
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Connections accepted so far.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        let _ = SockRef::from(&self.listener).shutdown(Shutdown::Both);
        for stream in self.shared.streams.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}
