//! Where the admin API is served: its sockets, which come and go with the configuration, and the
//! connections on them.

use std::cell::Cell;
use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::{Notify, oneshot, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep, timeout};
use weir_config::model::Address;

use super::access::{Caller, From};
use super::{Admin, HEAD_MAX, Service, UPGRADE};
use crate::env::{Env, Stream as _};
use crate::tls::Acceptor;

/// Connections served at once; for one more the oldest has to go, those that work on nothing first.
const CONNECTIONS_MAX: usize = 64;
/// From the start of waiting for a request to the end of its head.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// A connection takes no more requests after this long,
const CONNECTION_AGE: Duration = Duration::from_secs(120);
/// and is cut this long after that, if its client does not read.
const CONNECTION_GRACE: Duration = Duration::from_secs(30);
/// Requests under way are waited for so long when doors are to wait,
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// those who were let in and have not asked yet so long,
const SILENT_MAX: Duration = Duration::from_millis(200);
/// and all are looked at so often.
const QUIET_PAUSE: Duration = Duration::from_millis(2);
/// Of a door that is closed: whoever was let in has so long for a first request.
const FIRST_REQUEST_MAX: Duration = Duration::from_secs(5);
/// After an accept that failed, mostly for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What of the admin address is to be served from now on, or no longer.
#[derive(Debug)]
pub(crate) enum Door<R> {
    /// This socket, which was reserved for the address.
    Open(Address, R),
    /// The one of this address no longer; its connections end when they are idle.
    Close(Address),
    /// All of them wait, with whoever knocks; told once no request is under way, or some take too long.
    Pause(oneshot::Sender<()>),
    /// They do not wait any more.
    Resume,
    /// None any longer: another process serves it.
    CloseAll,
}

/// A request until its answer begins, or a connection until its first request, as counted.
struct Counted<'c>(&'c Cell<usize>);

/// What a connection works on, and what counts it until it has asked for something.
type Conversation<'s, 'c> = (Work, &'s Cell<Option<Counted<'c>>>);

impl<'c> Counted<'c> {
    fn begin(count: &'c Cell<usize>) -> Self {
        count.set(count.get() + 1);
        Self(count)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get().saturating_sub(1));
    }
}

/// The connections there are, over all doors.
#[derive(Default)]
pub(super) struct Connections {
    tasks: JoinSet<()>,
    by_age: VecDeque<(AbortHandle, Work)>,
}

/// What a connection works on.
#[derive(Clone, Debug, Default)]
struct Work(Rc<Cell<u32>>);

impl Work {
    fn begin(&self) -> Working {
        self.0.set(self.0.get() + 1);
        Working(self.clone())
    }

    fn is_under_way(&self) -> bool {
        self.0.get() > 0
    }
}

/// A request that is worked on, until this is dropped.
#[derive(Debug)]
pub(super) struct Working(Work);

impl Drop for Working {
    fn drop(&mut self) {
        let Self(Work(requests)) = self;
        requests.set(requests.get().saturating_sub(1));
    }
}

impl Connections {
    fn add(&mut self, connection: impl Future<Output = ()> + 'static, work: Work) {
        while self.tasks.try_join_next().is_some() {}
        self.by_age.retain(|(connection, _)| !connection.is_finished());
        // Idle ones must not keep out whoever asks whether we live; nor may whoever has no leave, and so
        // is never worked for, cut off those who have it.
        let idle = self.by_age.iter().position(|(_, work)| !work.is_under_way());
        if self.by_age.len() >= CONNECTIONS_MAX
            && let Some((out, _)) = self.by_age.remove(idle.unwrap_or_default())
        {
            out.abort();
        }
        self.by_age.push_back((self.tasks.spawn_local(connection), work));
    }
}

impl Admin {
    /// Serves what comes through `doors`, until their other end is dropped. Must run where tasks can
    /// be spawned locally.
    pub(crate) async fn serve<E: Env>(self, env: E, mut doors: UnboundedReceiver<Door<E::Reserved>>) {
        let service = Rc::new(Service::new(env, self));
        // Dropped with this future.
        let (mut tasks, mut open) = (JoinSet::new(), HashMap::<Address, AbortHandle>::new());
        let (pause, paused) = watch::channel(false);
        let watched = Rc::clone(&service);
        tasks.spawn_local(async move { watched.watch().await });
        while let Some(door) = doors.recv().await {
            while tasks.try_join_next().is_some() {}
            match door {
                Door::Open(address, reserved) => {
                    let accept = Rc::clone(&service).accept(address.clone(), reserved, paused.clone());
                    let task = tasks.spawn_local(accept);
                    open.insert(address, task);
                }
                Door::Close(address) => {
                    if let Some(task) = open.remove(&address) {
                        task.abort();
                    }
                }
                Door::Pause(done) => {
                    pause.send_replace(true);
                    let service = Rc::clone(&service);
                    tasks.spawn_local(async move {
                        let _ = timeout(PAUSE_MAX, service.quiet()).await;
                        // Whoever asked may have given up.
                        let _ = done.send(());
                    });
                }
                Door::Resume => _ = pause.send_replace(false),
                Door::CloseAll => open.drain().for_each(|(_, task)| task.abort()),
            }
        }
    }
}

impl<E: Env> Service<E> {
    /// Waits until no request is under way, but for those that wait for another process themselves; and
    /// for a moment until all who were let in have asked.
    async fn quiet(&self) {
        let began = Instant::now();
        while self.under_way.get() > 0 || (self.silent.get() > 0 && began.elapsed() < SILENT_MAX) {
            sleep(QUIET_PAUSE).await;
        }
    }

    async fn accept(self: Rc<Self>, address: Address, reserved: E::Reserved, mut paused: watch::Receiver<bool>) {
        let listener = match self.env.listen(reserved).await {
            Ok(listener) => listener,
            Err(error) => return tracing::error!(%error, %address, "the admin address cannot be served"),
        };
        // Its other end is dropped only with everything.
        while paused.wait_for(|paused| !paused).await.is_ok() {
            // Dropped with this future, and for a pause: its connections see that and take no more requests.
            let (_open, closed) = watch::channel(());
            tokio::select! {
                // A connection that is there already waits.
                biased;
                _ = paused.wait_for(|paused| *paused) => {}
                () = self.accept_all(&listener, &address, closed) => {}
            }
        }
    }

    async fn accept_all(self: &Rc<Self>, listener: &E::Listener, address: &Address, closed: watch::Receiver<()>) {
        loop {
            match self.env.accept(listener).await {
                Ok((stream, peer)) => {
                    let (unix, work) = (address.ip().is_none(), Work::default());
                    let (this, closed, its) = (Rc::clone(self), closed.clone(), work.clone());
                    let connection = async move {
                        let silent = Cell::new(Some(Counted::begin(&this.silent)));
                        Rc::clone(&this).meet(stream, (peer, unix), closed, (its, &silent)).await;
                    };
                    self.connections.borrow_mut().add(connection, work);
                }
                Err(error) => {
                    tracing::warn!(%error, %address, "the admin address cannot accept a connection");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Finds out who is there, by TLS where there is some.
    async fn meet(
        self: Rc<Self>,
        stream: E::Stream,
        (peer, unix): (SocketAddr, bool),
        closed: watch::Receiver<()>,
        of: Conversation<'_, '_>,
    ) {
        if unix {
            let (uid, pid) = stream.credentials().map_or((None, None), |(uid, pid)| (Some(uid), pid));
            let caller = Caller { from: From::Unix { uid, pid }, certificate: None };
            return self.converse(stream, caller, closed, of).await;
        }
        let from = From::Ip(peer);
        let Some(acceptor) = self.handle.admin_acceptor() else {
            return self.converse(stream, Caller { from, certificate: None }, closed, of).await;
        };
        match shake(&acceptor, stream).await {
            Ok((stream, certificate)) => self.converse(stream, Caller { from, certificate }, closed, of).await,
            Err(why) => {
                self.handle.refused_admin("tls");
                tracing::debug!(%from, why, "no TLS on the admin address");
            }
        }
    }

    async fn converse<S>(
        self: Rc<Self>,
        stream: S,
        caller: Caller,
        mut closed: watch::Receiver<()>,
        (work, silent): Conversation<'_, '_>,
    ) where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let (this, caller, work, asked) = (&self, &caller, &work, &Notify::new());
        let service = service_fn(move |request| async move {
            // Whoever asks for another process waits for it, and it for whoever else is asking.
            let counts = request.uri().path() != UPGRADE;
            let _under_way = counts.then(|| Counted::begin(&this.under_way));
            silent.take();
            asked.notify_one();
            let working = work.begin();
            let mut answer = this.answer(request, caller).await;
            // A whole answer is on its way now: whoever does not read it is not waited for.
            answer.body_mut().hold(working);
            Ok::<_, Infallible>(answer)
        });
        let mut connection = pin!(
            hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADER_TIMEOUT)
                .max_buf_size(HEAD_MAX)
                .serve_connection(TokioIo::new(stream), service)
        );
        // Whatever ends a connection ends it for its client alone, who knows best what it was.
        tokio::select! {
            _ = connection.as_mut() => return,
            () = sleep(CONNECTION_AGE) => {}
            // Nothing is ever sent: this is its end. Whoever was let in may ask once.
            _ = closed.changed() => tokio::select! {
                _ = connection.as_mut() => return,
                () = asked.notified() => {}
                () = sleep(FIRST_REQUEST_MAX) => {}
            },
        }
        connection.as_mut().graceful_shutdown();
        let _ = timeout(CONNECTION_GRACE, connection).await;
    }
}

/// TLS on `stream`, and the subject of the certificate that its client showed; or why there is none.
async fn shake<S>(
    acceptor: &Acceptor,
    stream: S,
) -> Result<(impl AsyncRead + AsyncWrite + Unpin, Option<Arc<str>>), String>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let Some(_under_way) = acceptor.begin() else {
        return Err("too many handshakes are under way".to_owned());
    };
    match timeout(acceptor.timeout(), acceptor.accept(stream, &[])).await {
        Ok(Ok(accepted)) => {
            let subject = accepted.subject();
            Ok((accepted.stream, subject))
        }
        Ok(Err(refusal)) => Err(refusal.words),
        Err(_) => Err("the handshake took too long".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn who_is_worked_for_is_not_cut_off_by_who_is_not() {
        tokio::task::LocalSet::new()
            .run_until(async {
                let mut connections = Connections::default();
                let mut open = |work: &Work| {
                    let (alive, gone) = oneshot::channel::<()>();
                    let connection = async move {
                        let _alive = alive;
                        std::future::pending::<()>().await;
                    };
                    connections.add(connection, work.clone());
                    gone
                };
                let (busy, idle) = (Work::default(), Work::default());
                let working = busy.begin();
                let mut kept = open(&busy);
                let first = open(&idle);
                for _ in 0..CONNECTIONS_MAX - 2 {
                    drop(open(&idle));
                }
                drop(open(&idle));
                assert!(first.await.is_err(), "the oldest that is idle goes");
                for _ in 0..2 * CONNECTIONS_MAX {
                    drop(open(&idle));
                }
                tokio::task::yield_now().await;
                assert!(kept.try_recv().is_err_and(|error| error == oneshot::error::TryRecvError::Empty));
                drop(working);
                for _ in 0..CONNECTIONS_MAX {
                    drop(open(&idle));
                }
                assert!(kept.await.is_err(), "once its work is done it goes as the others do");
            })
            .await;
    }
}
