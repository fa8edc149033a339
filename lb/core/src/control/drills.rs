//! Rehearsals from their order to their report. What they do to a request is in [`crate::drill`].
//!
//! Each has an end from the beginning. What clients saw of the clusters it touches is reported
//! for a minute before, for its time, and for a while after.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use weir_config::model::{ClusterName, HeaderMatch, RouteMatch};
use weir_config::words;

use super::notice::Notice;
use super::orders::{Done, Refused};
use super::tally::{Reading, Stretch};
use super::{Control, Effect};
use crate::drill::{self, Drill, Scope, Trouble};
use crate::snapshot::Kept;
use crate::time::Moment;

/// How long a rehearsal takes unless told otherwise.
pub const DRILL_DEFAULT: Duration = Duration::from_secs(60);
/// And at the most.
pub const DRILL_MAX: Duration = Duration::from_secs(24 * 3600);
/// How long is looked on after its end, unless told otherwise; zero is not at all.
pub const AFTER_DEFAULT: Duration = Duration::from_secs(30);
/// And at the most.
pub const AFTER_MAX: Duration = Duration::from_secs(600);
/// So many rehearsals may be without their report at once.
pub const DRILLS_MAX: usize = 32;
/// So many reports are kept.
pub const REPORTS_MAX: usize = 32;

/// A rehearsal an operator wants.
#[derive(Clone, Debug, PartialEq)]
pub struct DrillWish {
    /// What shall go wrong.
    pub trouble: Trouble,
    /// Where.
    pub scope: Scope,
    /// For how many: of 10 000.
    pub share: u16,
    /// Only for requests with this header.
    pub header: Option<HeaderMatch>,
    /// For how long.
    pub lasts: Duration,
    /// How long is looked on after its end.
    pub after: Duration,
    /// Who wants it, for the record.
    pub by: Arc<str>,
}

/// One rehearsal, as far as it has come.
#[derive(Clone, Debug)]
pub struct DrillView {
    /// What is rehearsed.
    pub drill: Arc<Drill>,
    /// Who ordered it.
    pub by: Arc<str>,
    /// Where it stands.
    pub stage: Stage,
    /// What clients saw so far, of each cluster it touches.
    pub clusters: Vec<ClusterReport>,
}

/// Where a rehearsal stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Its trouble is made.
    Running,
    /// It is over, and looked on.
    After {
        /// When it ended.
        ended: Moment,
        /// Who ended it; `None`: its time was up.
        by: Option<Arc<str>>,
        /// When its report is made.
        until: Moment,
    },
    /// Its report is made.
    Reported {
        /// When it ended.
        ended: Moment,
        /// Who ended it; `None`: its time was up.
        by: Option<Arc<str>>,
    },
}

impl Stage {
    /// The word in the API.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::After { .. } => "after",
            Self::Reported { .. } => "reported",
        }
    }
}

/// What clients saw of one cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterReport {
    /// Which.
    pub cluster: ClusterName,
    /// In the minute before, or as much of it as is known.
    pub before: Stretch,
    /// While trouble was made.
    pub during: Stretch,
    /// Since then.
    pub after: Option<Stretch>,
}

impl fmt::Display for ClusterReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let errors = |stretch: &Stretch| format!("{} of {}", stretch.errors, stretch.requests);
        let p99 = |stretch: &Stretch| stretch.p99.map_or_else(|| "none".to_owned(), |time| format!("{time:.1?}"));
        write!(f, "cluster {}: errors {} before, {} during", self.cluster, errors(&self.before), errors(&self.during))?;
        if let Some(after) = &self.after {
            write!(f, ", {} after", errors(after))?;
        }
        write!(f, "; p99 {} before, {} during", p99(&self.before), p99(&self.during))?;
        self.after.iter().try_for_each(|after| write!(f, ", {} after", p99(after)))
    }
}

/// What people hear of rehearsals.
#[derive(Clone, Debug, PartialEq)]
pub enum DrillNotice {
    /// One began.
    Began {
        /// What is rehearsed.
        drill: Arc<Drill>,
        /// Who ordered it.
        by: Arc<str>,
    },
    /// Its trouble is no longer made.
    Ended {
        /// What was rehearsed.
        drill: Arc<Drill>,
        /// How long.
        lasted: Duration,
        /// Who ended it; `None`: its time was up.
        by: Option<Arc<str>>,
    },
    /// Its report.
    Reported {
        /// What was rehearsed.
        drill: Arc<Drill>,
        /// What clients saw.
        clusters: Vec<ClusterReport>,
    },
}

impl fmt::Display for DrillNotice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Began { drill, by } => {
                let lasts = words::shown(drill.until.since(drill.began));
                write!(f, "drill {} by {by} for {lasts}: {drill}", drill.id)
            }
            Self::Ended { drill, lasted, by } => {
                write!(f, "drill {} ended after {lasted:.1?}, ", drill.id)?;
                match by {
                    Some(by) => write!(f, "by {by}: {drill}"),
                    None => write!(f, "its time was up: {drill}"),
                }
            }
            Self::Reported { drill, clusters } => {
                write!(f, "report of drill {} ({drill})", drill.id)?;
                let few = clusters.iter().take(3);
                few.clone()
                    .enumerate()
                    .try_for_each(|(at, cluster)| write!(f, "{}{cluster}", if at == 0 { ": " } else { "; and " }))?;
                match clusters.len() - few.len() {
                    0 => Ok(()),
                    more => write!(f, "; and {more} more"),
                }
            }
        }
    }
}

#[derive(Debug)]
struct Rehearsal {
    drill: Arc<Drill>,
    by: Arc<str>,
    after: Duration,
    stage: Stage,
    touched: Vec<Touched>,
    /// What the route it is about takes, if it is about one.
    takes: Option<RouteMatch>,
}

/// A cluster that a rehearsal concerns, with its counts at the turning points.
#[derive(Debug)]
struct Touched {
    cluster: ClusterName,
    kept: Kept,
    before: Stretch,
    began: Reading,
    ended: Option<Reading>,
    /// Once the report is made.
    after: Option<Stretch>,
}

/// Rehearsals, the newest last.
#[derive(Debug, Default)]
pub(super) struct Drills {
    all: VecDeque<Rehearsal>,
    given: u64,
}

impl Drills {
    /// Those whose trouble is made now.
    pub(super) fn in_force(&self) -> Vec<Arc<Drill>> {
        let running = self.all.iter().filter(|one| one.stage == Stage::Running);
        running.map(|one| Arc::clone(&one.drill)).collect()
    }

    pub(super) fn next_due(&self) -> Option<Moment> {
        self.all.iter().filter_map(Rehearsal::due).min()
    }

    fn unreported(&self) -> usize {
        self.all.iter().filter(|one| one.due().is_some()).count()
    }

    fn forget(&mut self) {
        while self.all.len() - self.unreported() > REPORTS_MAX
            && let Some(at) = self.all.iter().position(|one| one.due().is_none())
        {
            self.all.remove(at);
        }
    }
}

impl Rehearsal {
    /// When it goes on to its next stage.
    fn due(&self) -> Option<Moment> {
        match self.stage {
            Stage::Running => Some(self.drill.until),
            Stage::After { until, .. } => Some(until),
            Stage::Reported { .. } => None,
        }
    }
}

impl Control {
    /// Rehearsals under way and those whose reports are kept, oldest first.
    pub fn drills(&self) -> impl Iterator<Item = DrillView> + '_ {
        self.drills.all.iter().map(|one| self.view_drill(one))
    }

    /// One rehearsal, if it is still known.
    #[must_use]
    pub fn drill(&self, id: u64) -> Option<DrillView> {
        self.drills.all.iter().find(|one| one.drill.id == id).map(|one| self.view_drill(one))
    }

    pub(super) fn begin_drill(&mut self, wish: DrillWish, effects: &mut Vec<Effect>) -> Result<Done, Refused> {
        let DrillWish { trouble, scope, share, header, lasts, after, by } = wish;
        if lasts.is_zero() || lasts > DRILL_MAX {
            return Err(Refused::Time("for", DRILL_MAX));
        }
        if after > AFTER_MAX {
            return Err(Refused::Time("after", AFTER_MAX));
        }
        check(trouble, &scope, share)?;
        let clusters = self.touched_by(&scope)?;
        if self.drills.unreported() >= DRILLS_MAX {
            return Err(Refused::TooMany(DRILLS_MAX, "drills"));
        }
        let warnings =
            if trouble == Trouble::Unreachable && share == 10_000 { self.warn_of(&scope) } else { Vec::new() };
        self.drills.given += 1;
        let (began, until) = (self.now, self.now + lasts);
        let drill = Arc::new(Drill { id: self.drills.given, trouble, scope, share, header, began, until });
        let touched = clusters.into_iter().map(|(cluster, kept)| self.touch(cluster, kept)).collect();
        effects.push(Effect::Notice(Notice::Drill(DrillNotice::Began { drill: Arc::clone(&drill), by: by.clone() })));
        let takes = self.route_of(&drill.scope).cloned();
        let rehearsal = Rehearsal { drill: Arc::clone(&drill), by, after, stage: Stage::Running, touched, takes };
        self.drills.all.push_back(rehearsal);
        self.changed = true;
        Ok(Done::Began(drill, warnings))
    }

    pub(super) fn end_drill(&mut self, id: u64, by: Arc<str>, effects: &mut Vec<Effect>) -> Result<Done, Refused> {
        match self.drills.all.iter().position(|one| one.drill.id == id) {
            // Ending what is over is no mistake: its time may just have been up.
            Some(at) if self.drills.all[at].stage != Stage::Running => {}
            Some(at) => self.end_drill_at(at, Some(by), effects),
            None => {
                let ids: Vec<String> = self.drills.all.iter().map(|one| one.drill.id.to_string()).collect();
                return Err(Refused::unknown("drill", id.to_string(), ids.iter().map(String::as_str).collect()));
            }
        }
        Ok(Done::Ended(id))
    }

    /// Ends the rehearsals whose time is up, and reports those that were looked on long enough.
    pub(super) fn go_on_with_drills(&mut self, effects: &mut Vec<Effect>) {
        while let Some(at) = self.drills.all.iter().position(|one| one.due().is_some_and(|due| due <= self.now)) {
            match self.drills.all[at].stage {
                Stage::Running => self.end_drill_at(at, None, effects),
                _ => self.report_drill_at(at, effects),
            }
        }
        self.drills.forget();
    }

    /// Ends rehearsals on routes that are not what they were: a place in a list is no identity.
    pub(super) fn end_moved_drills(&mut self, effects: &mut Vec<Effect>) {
        for at in 0..self.drills.all.len() {
            let one = &self.drills.all[at];
            if one.stage == Stage::Running && self.route_of(&one.drill.scope) != one.takes.as_ref() {
                self.end_drill_at(at, Some("a reload that changed its route".into()), effects);
            }
        }
    }

    fn route_of(&self, scope: &Scope) -> Option<&RouteMatch> {
        let Scope::Route(listener, Some(at)) = scope else {
            return None;
        };
        let listener = self.listeners.iter().find(|one| one.config.name == *listener)?;
        listener.config.routes.get(*at).map(|route| &route.matches)
    }

    fn end_drill_at(&mut self, at: usize, by: Option<Arc<str>>, effects: &mut Vec<Effect>) {
        let readings = self.readings(at);
        let (now, one) = (self.now, &mut self.drills.all[at]);
        for (touched, reading) in one.touched.iter_mut().zip(readings) {
            touched.ended = Some(reading);
        }
        let (drill, lasted) = (Arc::clone(&one.drill), now.since(one.drill.began));
        one.stage = Stage::After { ended: now, by: by.clone(), until: now + one.after };
        effects.push(Effect::Notice(Notice::Drill(DrillNotice::Ended { drill, lasted, by })));
        self.changed = true;
    }

    fn report_drill_at(&mut self, at: usize, effects: &mut Vec<Effect>) {
        let readings = self.readings(at);
        let one = &mut self.drills.all[at];
        if let Stage::After { ended, by, .. } = &one.stage {
            one.stage = Stage::Reported { ended: *ended, by: by.clone() };
        }
        for (touched, reading) in one.touched.iter_mut().zip(readings) {
            touched.after = touched.ended.as_ref().map(|ended| reading.since(ended));
        }
        let DrillView { drill, clusters, .. } = self.view_drill(&self.drills.all[at]);
        effects.push(Effect::Notice(Notice::Drill(DrillNotice::Reported { drill, clusters })));
    }

    fn readings(&self, at: usize) -> Vec<Reading> {
        self.drills.all[at].touched.iter().map(|touched| self.read(&touched.cluster, &touched.kept)).collect()
    }

    fn touch(&self, cluster: ClusterName, kept: Kept) -> Touched {
        let began = self.read(&cluster, &kept);
        let before = self.read_back(&kept).map(|back| began.since(&back)).unwrap_or_default();
        Touched { cluster, kept, before, began, ended: None, after: None }
    }

    fn view_drill(&self, one: &Rehearsal) -> DrillView {
        let report = |touched: &Touched| {
            let now = self.read(&touched.cluster, &touched.kept);
            ClusterReport {
                cluster: touched.cluster.clone(),
                before: touched.before.clone(),
                during: touched.ended.as_ref().unwrap_or(&now).since(&touched.began),
                after: touched.after.clone().or_else(|| touched.ended.as_ref().map(|ended| now.since(ended))),
            }
        };
        DrillView {
            drill: Arc::clone(&one.drill),
            by: Arc::clone(&one.by),
            stage: one.stage.clone(),
            clusters: one.touched.iter().map(report).collect(),
        }
    }

    /// The clusters a rehearsal there concerns.
    fn touched_by(&self, scope: &Scope) -> Result<Vec<(ClusterName, Kept)>, Refused> {
        let mut indices: Vec<usize> = match scope {
            Scope::Zone(zone) => {
                self.know_zone(zone, None)?;
                let there = self.placed().filter(|known| known.zone.as_ref() == Some(zone));
                there.filter_map(|known| known.place.map(|place| place.cluster)).collect()
            }
            Scope::Cluster(name) => {
                self.know_cluster(name)?;
                self.index_of(name).into_iter().collect()
            }
            Scope::Endpoint(key) => {
                self.know_endpoint(key)?;
                self.index_of(&key.cluster).into_iter().collect()
            }
            Scope::Route(listener, route) => {
                let Some(found) = self.listeners.iter().find(|one| one.config.name == *listener) else {
                    let names = self.listeners.iter().map(|one| one.config.name.as_str()).collect();
                    return Err(Refused::unknown("listener", listener.as_str(), names));
                };
                let routes = &found.config.routes;
                if let Some(at) = route.filter(|at| *at >= routes.len()) {
                    let nearest = Some(format!("listener {listener} has routes 1 to {}", routes.len()));
                    return Err(Refused::Unknown { what: "route", name: format!("{listener}/{}", at + 1), nearest });
                }
                let routes = routes.iter().enumerate().filter(|(at, _)| route.is_none_or(|route| route == *at));
                let targets = routes.flat_map(|(at, _)| &found.targets[at].to);
                targets.map(|(cluster, _)| *cluster).collect()
            }
        };
        indices.sort_unstable();
        indices.dedup();
        let clusters = indices.into_iter().map(|at| &self.clusters[at]);
        Ok(clusters.map(|cluster| (cluster.config.name.clone(), cluster.kept.clone())).collect())
    }

    fn index_of(&self, name: &ClusterName) -> Option<usize> {
        self.clusters.iter().position(|cluster| cluster.config.name == *name)
    }

    fn warn_of(&self, scope: &Scope) -> Vec<String> {
        let bare = self.left_bare(|known| drill::concerns(scope, &known.key, known.zone.as_ref()));
        let warn = |name: &ClusterName| format!("cluster {name} has no other endpoint that can be used");
        bare.iter().map(warn).collect()
    }
}

/// Whether that trouble can be made there.
fn check(trouble: Trouble, scope: &Scope, share: u16) -> Result<(), Refused> {
    let on_route = matches!(scope, Scope::Route(..));
    let sense = match trouble {
        _ if share == 0 => Err("a share of 0 strikes nobody"),
        _ if share > 10_000 => Err("a share is at most 100 %"),
        Trouble::Delay(delay) if delay.is_zero() => Err("a delay of 0 delays nobody"),
        Trouble::Unreachable if on_route => Err("a route has no connections to cut; drill its cluster, or abort"),
        Trouble::Abort(status) if !(200..=599).contains(&status) => Err("a status to abort with is 200 to 599"),
        Trouble::Unreachable | Trouble::Delay(_) | Trouble::Abort(_) | Trouble::Reset => Ok(()),
    };
    sense.map_err(Refused::Senseless)
}
