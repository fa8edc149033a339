//! Which of the counts of [`crate::load`] are counters, and what they are called.

use super::{Counters, Name};
use crate::attempt::Class;
use crate::load::{ClusterLoad, Count, EndpointLoad, FineHistogram, Histogram, LaneLoad, ListenerLoad};
use crate::reason::Reason;
use crate::release::Why;
use crate::release::load::{ArmLoad, BucketLoads, MirrorLoad, VersionLoad};
use crate::retry::Denied;
use crate::tls::{Handshake, Unshaken};

/// Gets each counter.
type See<'s, 'a> = &'s mut dyn FnMut(Name, &'a Count);

fn words<'a>(see: See<'_, 'a>, name: &'static str, counts: impl Iterator<Item = (&'static str, &'a Count)>) {
    counts.for_each(|(word, count)| see(Name::Word(name, word), count));
}

fn numbers<'a>(see: See<'_, 'a>, name: &'static str, counts: impl IntoIterator<Item = &'a Count>) {
    counts.into_iter().enumerate().for_each(|(at, count)| see(Name::Number(name, at), count));
}

fn histogram<'a>(see: See<'_, 'a>, name: &'static str, histogram: &'a Histogram) {
    // The last part is the sum, which must not become another bucket should there be more of them.
    for (at, count) in histogram.parts().enumerate() {
        let name = if at <= Histogram::BOUNDS.len() { Name::Number(name, at) } else { Name::Word(name, "nanos") };
        see(name, count);
    }
}

fn fine<'a>(see: See<'_, 'a>, name: &'static str, histogram: &'a FineHistogram) {
    numbers(see, name, histogram.parts());
}

impl Counters for EndpointLoad {
    fn counters<'a>(&'a self, see: &mut dyn FnMut(Name, &'a Count)) {
        let Self {
            in_flight: _,
            requests,
            answers,
            connects,
            connections: _,
            reuses,
            classes,
            latency: _,
            failures,
            bytes_sent,
            bytes_received,
        } = self;
        see(Name::One("requests"), requests);
        numbers(see, "answers", answers);
        see(Name::One("connects"), connects);
        see(Name::One("reuses"), reuses);
        words(see, "classes", Class::ALL.into_iter().map(|class| (class.as_str(), &classes[class.index()])));
        words(see, "failures", Reason::ALL.into_iter().map(|reason| (reason.as_str(), &failures[reason])));
        see(Name::One("bytes_sent"), bytes_sent);
        see(Name::One("bytes_received"), bytes_received);
    }
}

impl Counters for ClusterLoad {
    fn counters<'a>(&'a self, see: &mut dyn FnMut(Name, &'a Count)) {
        let Self { requests, in_flight: _, retries, saved, denied, panicked, latency } = self;
        see(Name::One("requests"), requests);
        see(Name::One("retries"), retries);
        see(Name::One("saved"), saved);
        words(see, "denied", Denied::ALL.into_iter().map(Denied::as_str).zip(denied));
        see(Name::One("panicked"), panicked);
        histogram(see, "latency", latency);
    }
}

impl Counters for ListenerLoad {
    fn counters<'a>(&'a self, see: &mut dyn FnMut(Name, &'a Count)) {
        let Self {
            accepted,
            open: _,
            rejected,
            bytes_received,
            bytes_sent,
            datagrams_received,
            datagrams_sent,
            reasons,
            shaking: _,
            shaken,
            unshaken,
            tunnels: _,
            tunnelled,
        } = self;
        see(Name::One("accepted"), accepted);
        see(Name::One("rejected"), rejected);
        see(Name::One("bytes_received"), bytes_received);
        see(Name::One("bytes_sent"), bytes_sent);
        see(Name::One("datagrams_received"), datagrams_received);
        see(Name::One("datagrams_sent"), datagrams_sent);
        words(see, "reasons", Reason::ALL.into_iter().map(|reason| (reason.as_str(), &reasons[reason])));
        for handshake in Handshake::ALL {
            let name = match handshake.kind() {
                "full" => "shaken_full",
                _ => "shaken_resumed",
            };
            see(Name::Word(name, handshake.version()), &shaken[handshake as usize]);
        }
        words(see, "unshaken", Unshaken::ALL.into_iter().map(|why| (why.as_str(), &unshaken[why as usize])));
        see(Name::One("tunnelled"), tunnelled);
    }
}

impl Counters for LaneLoad {
    fn counters<'a>(&'a self, see: &mut dyn FnMut(Name, &'a Count)) {
        let Self { in_flight: _, requests, duration, first_byte, calls } = self;
        numbers(see, "requests", requests);
        histogram(see, "duration", duration);
        histogram(see, "first_byte", first_byte);
        numbers(see, "calls", calls);
    }
}

impl Counters for VersionLoad {
    fn counters<'a>(&'a self, see: &mut dyn FnMut(Name, &'a Count)) {
        let Self { requests, why, errors, moved, duration, arm, cohort } = self;
        numbers(see, "requests", requests);
        words(see, "why", Why::ALL.into_iter().map(Why::as_str).zip(why));
        see(Name::One("errors"), errors);
        see(Name::One("moved"), moved);
        histogram(see, "duration", duration);
        let ArmLoad { requests, errors, latency } = arm;
        see(Name::One("arm_requests"), requests);
        see(Name::One("arm_errors"), errors);
        fine(see, "arm_latency", latency);
        let ArmLoad { requests, errors, latency } = cohort;
        see(Name::One("cohort_requests"), requests);
        see(Name::One("cohort_errors"), errors);
        fine(see, "cohort_latency", latency);
    }
}

impl Counters for BucketLoads {
    fn counters<'a>(&'a self, see: &mut dyn FnMut(Name, &'a Count)) {
        numbers(see, "requests", self.requests.iter());
        numbers(see, "errors", self.errors.iter());
    }
}

impl Counters for MirrorLoad {
    fn counters<'a>(&'a self, see: &mut dyn FnMut(Name, &'a Count)) {
        let Self { copies, differed, dropped } = self;
        numbers(see, "copies", copies);
        see(Name::One("differed"), differed);
        see(Name::One("dropped"), dropped);
    }
}

impl Counters for Histogram {
    fn counters<'a>(&'a self, see: &mut dyn FnMut(Name, &'a Count)) {
        histogram(see, "took", self);
    }
}
