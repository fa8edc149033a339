//! One client connection: bytes out, messages in, strictly read.

use std::io::{self, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use socket2::SockRef;

use crate::message::{Broken, Response, Source};
use crate::wait;

/// A client connection.
#[derive(Debug)]
pub struct RawClient {
    stream: TcpStream,
    source: Source,
}

impl RawClient {
    /// Connects.
    ///
    /// # Panics
    /// When it cannot.
    #[must_use]
    pub fn connect(to: SocketAddr) -> Self {
        Self::try_connect(to).unwrap_or_else(|error| panic!("cannot connect to {to}: {error}"))
    }

    /// Connects.
    ///
    /// # Errors
    /// Those of the system.
    pub fn try_connect(to: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&to, wait::PATIENCE)?;
        stream.set_read_timeout(Some(wait::PATIENCE))?;
        stream.set_write_timeout(Some(wait::PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(Self { source: Source::new(stream.try_clone()?, false), stream })
    }

    /// Connects and sends one request; the answer.
    ///
    /// # Errors
    /// [`Broken`] says how it ended instead.
    pub fn once(to: SocketAddr, request: &str) -> Result<Response, Broken> {
        let mut client = Self::connect(to);
        client.send(request);
        client.response_to(request)
    }

    /// Waits this long for each read instead of [`wait::PATIENCE`].
    pub fn patience(&mut self, patience: Duration) {
        self.stream.set_read_timeout(Some(patience)).expect("a positive time");
    }

    /// Sends these bytes.
    ///
    /// # Panics
    /// When the connection is gone.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes).expect("the connection takes bytes");
    }

    /// Sends these bytes.
    ///
    /// # Errors
    /// Those of the socket.
    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.write_all(bytes.as_ref())
    }

    /// The answer to a request that is not a HEAD.
    ///
    /// # Errors
    /// [`Broken`] says how it ended instead.
    pub fn response(&mut self) -> Result<Response, Broken> {
        self.source.response("GET")
    }

    /// The answer to this request.
    ///
    /// # Errors
    /// [`Broken`] says how it ended instead.
    pub fn response_to(&mut self, request: &str) -> Result<Response, Broken> {
        self.source.response(request.split(' ').next().unwrap_or_default())
    }

    /// The next head alone, interim or final.
    ///
    /// # Errors
    /// [`Broken`] says how it ended instead.
    pub fn head(&mut self) -> Result<crate::message::Head, Broken> {
        self.source.head()
    }

    /// Whether the connection ends now, without another byte; waits for it.
    ///
    /// # Panics
    /// When more bytes come, or nothing happens.
    pub fn expect_end(&mut self) {
        assert!(
            self.source.rest().is_empty(),
            "bytes after the answer: {:?}",
            String::from_utf8_lossy(self.source.rest())
        );
        match self.source.more() {
            Ok(0) => {}
            Ok(_) => panic!("bytes where the connection should end: {:?}", String::from_utf8_lossy(self.source.rest())),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {}
            Err(error) => panic!("the connection should end, but: {error}"),
        }
    }

    /// Bytes received that belong to no answer read so far.
    #[must_use]
    pub fn rest(&self) -> &[u8] {
        self.source.rest()
    }

    /// Receives whatever comes; the number of bytes, 0 at the end.
    ///
    /// # Errors
    /// Those of the socket.
    pub fn more(&mut self) -> io::Result<usize> {
        self.source.more()
    }

    /// Whether the other side has closed while we were not asking.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        let mut byte = [0];
        if self.stream.set_nonblocking(true).is_err() {
            return true;
        }
        let peeked = self.stream.peek(&mut byte);
        let blocking = self.stream.set_nonblocking(false);
        blocking.is_err() || !matches!(peeked, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Ends our direction.
    pub fn half_close(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Resets the connection.
    pub fn abort(self) {
        let _ = SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
    }

    /// Makes the kernel take few bytes for us, so that back-pressure begins early.
    pub fn receive_buffer(&mut self, bytes: usize) {
        let _ = SockRef::from(&self.stream).set_recv_buffer_size(bytes);
    }

    /// Our address.
    ///
    /// # Panics
    /// When the socket is gone.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.stream.local_addr().expect("a socket has an address")
    }
}

/// A GET request for `path` with a host.
#[must_use]
pub fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: shop.example\r\n\r\n")
}
