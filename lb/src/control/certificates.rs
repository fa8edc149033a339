//! What people are told of certificates: which came into force, and which will not be valid for much
//! longer.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use serde_json::json;
use weir_config::model::{Certificate, Config};

use crate::observe::journal::{Journal, Kind, Level, rfc3339, timestamp};

/// How near a certificate's end is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Nearness {
    Far,
    TwoWeeks,
    ThreeDays,
    Expired,
}

impl Nearness {
    const DAY: Duration = Duration::from_secs(24 * 60 * 60);

    fn of(until: SystemTime, now: SystemTime) -> Self {
        match until.duration_since(now) {
            Err(_) => Self::Expired,
            Ok(left) if left < Self::DAY * 3 => Self::ThreeDays,
            Ok(left) if left < Self::DAY * 14 => Self::TwoWeeks,
            Ok(_) => Self::Far,
        }
    }

    const fn level(self) -> Level {
        match self {
            Self::Far | Self::TwoWeeks => Level::Info,
            Self::ThreeDays => Level::Warn,
            Self::Expired => Level::Error,
        }
    }
}

/// A certificate in use: whose it is, and which.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Used {
    /// `listener web`, `cluster shop` or `admin`.
    whose: String,
    file: String,
    until: SystemTime,
}

/// What was told of the certificates in force.
#[derive(Debug, Default)]
pub(super) struct Told(BTreeMap<Used, Nearness>);

impl Told {
    /// Tells of each certificate of `config` whose end came nearer since it was last told of; once for
    /// each step.
    pub(super) fn look(&mut self, config: &Config, now: SystemTime, journal: &Journal) {
        let mut next = BTreeMap::new();
        for (used, certificate) in all(config) {
            let near = Nearness::of(used.until, now);
            let before = self.0.get(&used).copied().unwrap_or(Nearness::Far);
            if near > before && !next.contains_key(&used) {
                journal.record(Kind::Certificate, near.level(), ending(&used, near, now), fields(&used, certificate));
            }
            next.insert(used, near.max(before));
        }
        self.0 = next;
    }
}

/// A certificate that is not valid for much longer, or not any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ending {
    /// In words: whose it is, which, and when.
    pub words: String,
    /// How much that matters now.
    pub level: Level,
}

/// The certificates of `config` that end within two weeks, or have ended.
#[must_use]
pub fn endings(config: &Config, now: SystemTime) -> Vec<Ending> {
    let near = |used: Used| match Nearness::of(used.until, now) {
        Nearness::Far => None,
        near => Some(Ending { words: ending(&used, near, now), level: near.level() }),
    };
    let mut endings: Vec<Ending> = Vec::new();
    for ending in all(config).filter_map(|(used, _)| near(used)) {
        // One file may serve several names of a listener.
        if !endings.contains(&ending) {
            endings.push(ending);
        }
    }
    endings
}

/// Tells which certificates came into force with `config` that `before` had not.
pub(super) fn tell_new(before: &Config, config: &Config, journal: &Journal) {
    let had: Vec<_> = all(before).map(|(used, certificate)| (used.whose, certificate.chain.first())).collect();
    let mut told: Vec<Used> = Vec::new();
    for (used, certificate) in all(config) {
        let new = !had.iter().any(|(whose, der)| *whose == used.whose && *der == certificate.chain.first());
        if new && !told.contains(&used) {
            let names = certificate.names.join(", ");
            let message = format!("{}: {} for {names} is valid until {}", used.whose, used.file, day(used.until));
            journal.record(Kind::Certificate, Level::Info, message, fields(&used, certificate));
            told.push(used);
        }
    }
}

/// All that `config` shows to clients and endpoints.
fn all(config: &Config) -> impl Iterator<Item = (Used, &Certificate)> {
    let listeners = config.listeners.iter().flat_map(|listener| {
        let certificates = listener.tls.iter().flat_map(|tls| &tls.certificates);
        certificates.map(move |certificate| (format!("listener {}", listener.name), &**certificate))
    });
    let clusters = config.clusters.iter().filter_map(|cluster| {
        let certificate = cluster.tls.as_ref()?.certificate.as_ref()?;
        Some((format!("cluster {}", cluster.name), &**certificate))
    });
    let admin = config.admin.iter().filter_map(|admin| admin.tls.as_ref()).flat_map(|tls| &tls.certificates);
    let admin = admin.map(|certificate| ("admin".to_owned(), &**certificate));
    listeners.chain(clusters).chain(admin).map(|(whose, certificate)| {
        let used = Used { whose, file: certificate.file.clone(), until: certificate.not_after };
        (used, certificate)
    })
}

fn ending(used: &Used, near: Nearness, now: SystemTime) -> String {
    let Used { whose, file, until } = used;
    let days = until.duration_since(now).unwrap_or_default().as_secs() / Nearness::DAY.as_secs();
    match near {
        Nearness::Expired => format!("{whose}: {file} has expired on {}", day(*until)),
        _ if days == 0 => format!("{whose}: {file} expires within a day, on {}", day(*until)),
        _ => format!("{whose}: {file} expires in {days} days, on {}", day(*until)),
    }
}

fn fields(used: &Used, certificate: &Certificate) -> serde_json::Value {
    json!({
        "of": used.whose,
        "file": used.file,
        "names": certificate.names,
        "subject": certificate.subject,
        "not_after": rfc3339(timestamp(certificate.not_after)),
    })
}

/// The day, for people.
fn day(time: SystemTime) -> String {
    rfc3339(timestamp(time)).chars().take(10).collect()
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;
    use std::sync::Arc;

    use super::*;
    use crate::tls::testing::{certificate, server};

    const END: Duration = Duration::from_secs(1 << 32);

    fn config(files: &[&str]) -> Config {
        let text = "listeners: [{name: web, bind: '127.0.0.1:80', cluster: app}]\n\
                    clusters: [{name: app, endpoints: ['127.0.0.1:81']}]";
        let mut config = weir_config::parse_str(text).unwrap().config;
        let named =
            |file: &&str| Arc::new(Certificate { file: (*file).into(), ..(*certificate(&["a.example"])).clone() });
        let listener = Arc::make_mut(&mut config.listeners[0]);
        listener.tls = Some(server(files.iter().map(named).collect()));
        config
    }

    fn messages(journal: &Journal) -> Vec<(Level, String)> {
        journal.read(Some(0), 99).events.iter().map(|event| (event.level, event.message.clone())).collect()
    }

    #[test]
    fn each_step_towards_the_end_is_told_once() {
        let now = Rc::new(Cell::new(SystemTime::UNIX_EPOCH));
        let journal = Journal::new({
            let now = Rc::clone(&now);
            move || now.get()
        });
        let (config, mut told) = (config(&["a.pem", "a.pem"]), Told::default());
        let day = Nearness::DAY;
        for before in [day * 30, day * 14, day * 13, day * 4, day * 2, day / 2, Duration::ZERO] {
            now.set(SystemTime::UNIX_EPOCH + END - before);
            told.look(&config, now.get(), &journal);
            told.look(&config, now.get(), &journal);
        }
        now.set(now.get() + day);
        told.look(&config, now.get(), &journal);
        assert_eq!(
            messages(&journal),
            [
                (Level::Info, "listener web: a.pem expires in 13 days, on 2106-02-07".to_owned()),
                (Level::Warn, "listener web: a.pem expires in 2 days, on 2106-02-07".to_owned()),
                (Level::Error, "listener web: a.pem has expired on 2106-02-07".to_owned()),
            ]
        );
    }

    #[test]
    fn what_comes_into_force_is_told() {
        let journal = Journal::new(|| SystemTime::UNIX_EPOCH);
        let before = config(&["a.pem"]);
        let mut after = before.clone();
        tell_new(&before, &after, &journal);
        assert_eq!(messages(&journal), []);
        let fresh = config(&["b.pem"]).listeners[0].tls.clone().unwrap().certificates;
        let listener = Arc::make_mut(&mut after.listeners[0]);
        listener.tls.as_mut().unwrap().certificates.extend(fresh);
        tell_new(&before, &after, &journal);
        let message = "listener web: b.pem for a.example is valid until 2106-02-07".to_owned();
        assert_eq!(messages(&journal), [(Level::Info, message)]);
    }
}
