//! Replicas whose mood the story changes, and a crowd that asks at its own pace, whatever became
//! of those who asked before.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{sleep, sleep_until};
use turmoil::net::{TcpListener, TcpStream};

use crate::town::{Answer, Book, User, WEB};

const PORT: u16 = 8080;

/// How a replica treats its requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    /// 200, with its name.
    Well,
    /// This status.
    Status(u16),
    /// 200, so much later.
    Slow(Duration),
}

/// A replica in the hands of the story.
#[derive(Clone, Debug)]
pub(crate) struct Moody {
    pub(crate) name: &'static str,
    pub(crate) address: SocketAddr,
    mood: Rc<Cell<Mood>>,
    requests: Rc<Cell<usize>>,
}

impl Moody {
    /// One that is well, and answers after 5 ms.
    pub(crate) fn new(sim: &mut turmoil::Sim<'_>, name: &'static str) -> Self {
        let mood = Rc::new(Cell::new(Mood::Well));
        let requests = Rc::new(Cell::new(0));
        let (its, count) = (Rc::clone(&mood), Rc::clone(&requests));
        sim.host(name, move || {
            let (its, count) = (Rc::clone(&its), Rc::clone(&count));
            async move {
                let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT)).await?;
                while let Ok((stream, _)) = listener.accept().await {
                    tokio::task::spawn_local(serve(stream, name, Rc::clone(&its), Rc::clone(&count)));
                }
                Ok(())
            }
        });
        let address = SocketAddr::new(sim.lookup(name), PORT);
        Self { name, address, mood, requests }
    }

    /// From now on it does this.
    pub(crate) fn set(&self, mood: Mood) {
        self.mood.set(mood);
    }

    /// The requests it got, probes not among them.
    pub(crate) fn requests(&self) -> usize {
        self.requests.get()
    }
}

async fn serve(mut stream: TcpStream, name: &'static str, mood: Rc<Cell<Mood>>, requests: Rc<Cell<usize>>) {
    let mut request = Vec::new();
    // Requests here have no bodies and are never pipelined.
    while stream.read_buf(&mut request).await.is_ok_and(|got| got > 0) {
        if !request.ends_with(b"\r\n\r\n") {
            continue;
        }
        if !request.starts_with(b"GET /healthz ") {
            requests.set(requests.get() + 1);
        }
        request.clear();
        let mood = mood.get();
        sleep(if let Mood::Slow(time) = mood { time } else { Duration::from_millis(5) }).await;
        let status = if let Mood::Status(status) = mood { status } else { 200 };
        let answer = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n{name}", name.len());
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// One request: when it began, how long it took, what came of it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sight {
    pub(crate) at: f64,
    pub(crate) took: f64,
    pub(crate) answer: Answer,
}

/// What a crowd saw.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sights(Rc<RefCell<Vec<Sight>>>);

impl Sights {
    /// Those who asked in this time, in seconds.
    pub(crate) fn between(&self, from: f64, to: f64) -> Vec<Sight> {
        self.0.borrow().iter().filter(|sight| (from..to).contains(&sight.at)).cloned().collect()
    }

    /// All of them.
    pub(crate) fn all(&self) -> Vec<Sight> {
        self.between(0.0, f64::MAX)
    }

    /// What went wrong, how often.
    pub(crate) fn errors(&self) -> BTreeMap<String, usize> {
        let mut errors = BTreeMap::new();
        for error in self.0.borrow().iter().filter_map(|sight| sight.answer.as_ref().err()) {
            *errors.entry(error.clone()).or_default() += 1;
        }
        errors
    }
}

/// Who answered at all.
pub(crate) fn names(sights: &[Sight]) -> Vec<&str> {
    let mut names: Vec<&str> = sights.iter().filter_map(|sight| sight.answer.as_deref().ok()).collect();
    names.sort_unstable();
    names.dedup();
    names
}

fn now() -> f64 {
    turmoil::sim_elapsed().unwrap_or_default().as_secs_f64()
}

/// A crowd that asks so many times a second, from the one time to the other.
pub(crate) fn crowd(
    sim: &mut turmoil::Sim<'_>,
    book: &Book,
    per_second: u32,
    from: Duration,
    until: Duration,
) -> Sights {
    let sights = Sights::default();
    let (seen, book) = (sights.clone(), book.clone());
    sim.client("crowd", async move {
        let users: Rc<RefCell<Vec<User>>> = Rc::default();
        let begun = tokio::time::Instant::now();
        let mut under_way = Vec::new();
        for nth in 0.. {
            let due = from + Duration::from_secs(1) * nth / per_second;
            if due >= until {
                break;
            }
            sleep_until(begun + due).await;
            let (users, seen, book) = (Rc::clone(&users), seen.clone(), book.clone());
            under_way.push(tokio::task::spawn_local(async move {
                let at = now();
                let mut user = users.borrow_mut().pop().unwrap_or_default();
                let answer = user.ask().await;
                if let Err(error) = &answer {
                    book.note(error);
                }
                seen.0.borrow_mut().push(Sight { at, took: now() - at, answer });
                users.borrow_mut().push(user);
            }));
        }
        for one in under_way {
            one.await?;
        }
        Ok(())
    });
    sights
}

/// A cluster `shop` with these replicas by zone; keys of its route and of itself in flow style.
pub(crate) fn shop(zones: &[(&str, &[Moody])], route: &[&str], cluster: &[&str]) -> String {
    let mut yaml = format!(
        "admin: off\nlisteners:\n  - name: web\n    bind: 0.0.0.0:{WEB}\n    protocol: http\n    routes:\n      \
         - match: {{}}\n        cluster: shop\n"
    );
    for key in route {
        let _ = writeln!(yaml, "        {key}");
    }
    yaml.push_str("clusters:\n  - name: shop\n    endpoints:\n");
    for (zone, replicas) in zones {
        let list: Vec<String> = replicas.iter().map(|replica| format!("\"{}\"", replica.address)).collect();
        let _ = writeln!(yaml, "      {zone}: [{}]", list.join(", "));
    }
    for key in cluster {
        let _ = writeln!(yaml, "    {key}");
    }
    yaml
}

/// Something that happens to the world at its time.
pub(crate) type Happening<'a> = (Duration, Box<dyn FnOnce(&mut turmoil::Sim<'_>) + 'a>);

/// Runs the world to its end; `events` happen at their times, in order.
pub(crate) fn play(sim: &mut turmoil::Sim<'_>, events: Vec<Happening<'_>>) {
    let mut events = events.into_iter().peekable();
    while !sim.step().unwrap() {
        while let Some((_, event)) = events.next_if(|(at, _)| sim.elapsed() >= *at) {
            event(sim);
        }
    }
}
