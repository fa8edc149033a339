//! The table against one that forgets nothing, and single flows by table.

use std::collections::BTreeMap;

use proptest::prelude::*;
use weir_config::model;

use super::*;

fn key(client: u16) -> FlowKey {
    FlowKey { client: ([10, 0, 0, 1], client).into(), local: [127, 0, 0, 1].into() }
}

fn at(millis: u64) -> Moment {
    Moment::from(Duration::from_millis(millis))
}

fn rules(idle: u64, responses: u32) -> UdpFlows {
    UdpFlows { idle: Duration::from_millis(idle), responses: NonZeroU32::new(responses), ..UdpFlows::default() }
}

#[test]
fn who_may_open_a_flow() {
    let flows = UdpFlows { max_flows: NonZeroU32::new(2).unwrap(), ..UdpFlows::default() };
    let nets = |net: &str| vec![net.parse().unwrap()];
    let access = Access::new(&model::Access { allow: nets("10.0.0.0/8"), deny: nets("10.6.6.6/32") });
    let two = NonZeroU32::new(2).unwrap();
    let limit = model::RateLimit {
        requests: two,
        per: Duration::from_secs(1),
        burst: two,
        key: model::RateKey::ClientAddress,
        max_keys: 16,
    };
    let limiter = Limiter::new(&limit, None, 7);
    for (client, open, expected) in [
        ("10.0.0.1", 0, Ok(())),
        ("10.0.0.1", 2, Err(Reason::TooManyFlows)),
        ("10.6.6.6", 0, Err(Reason::AccessDenied)),
        ("::ffff:10.0.0.1", 1, Ok(())),
        ("10.0.0.1", 0, Err(Reason::RateLimited)),
        ("10.0.0.2", 0, Ok(())),
        // Who is kept out learns nothing of how full it is.
        ("192.0.2.1", 2, Err(Reason::AccessDenied)),
    ] {
        let told = may_open(client.parse().unwrap(), &[(&access, Some(&limiter))], &flows, open, at(0));
        assert_eq!(told, expected, "{client} {open}");
    }
}

/// What is heard of one flow.
#[derive(Clone, Copy, Debug)]
enum Heard {
    Asked(u64),
    Answered(u64),
    Lost,
}

#[test]
fn a_flow_is_complete_when_each_question_is_answered() {
    use Heard::{Answered as A, Asked as Q, Lost};
    let told = |responses: u32, story: &[Heard]| {
        let (mut table, rules) = (Table::default(), rules(1000, responses));
        let (id, _) = table.insert(key(1), at(0), ());
        let mut complete = false;
        for heard in story {
            complete = match *heard {
                Q(datagrams) => {
                    table.asked(id, datagrams, at(1), &rules);
                    false
                }
                A(datagrams) => table.answered(id, datagrams, at(1), &rules).unwrap().complete,
                Lost => {
                    table.get_mut(id).unwrap().lose();
                    false
                }
            };
        }
        (complete, table.get(id).unwrap().silence())
    };
    let late = Some(Reason::UpstreamTimeout);
    type Case<'a> = (u32, &'a [Heard], (bool, Option<Reason>));
    let cases: [Case<'_>; 12] = [
        (1, &[Q(1)], (false, late)),
        (1, &[Q(1), A(1)], (true, None)),
        // A resolver that asks for A and AAAA from one port.
        (1, &[Q(2), A(1)], (false, None)),
        (1, &[Q(1), Q(1), A(1), A(1)], (true, None)),
        (1, &[Q(2), A(2)], (true, None)),
        (2, &[Q(1), A(1)], (false, None)),
        (2, &[Q(1), A(1), A(1)], (true, None)),
        // One was lost on its way, but the endpoint answers.
        (1, &[Q(3), A(2)], (false, None)),
        (1, &[Q(1), A(1), Q(1)], (false, late)),
        // Nothing is expected of one that is gone.
        (1, &[Q(1), Lost], (false, None)),
        (0, &[Q(1)], (false, None)),
        (0, &[Q(1), A(5), Q(1)], (false, None)),
    ];
    for (responses, story, expected) in cases {
        assert_eq!(told(responses, story), expected, "{responses} {story:?}");
    }
}

#[test]
fn the_first_answer_is_told_apart() {
    let (mut table, rules) = (Table::default(), rules(1000, 0));
    let (id, _) = table.insert(key(1), at(0), ());
    let first = |table: &mut Table<()>| table.answered(id, 1, at(0), &rules).unwrap().first;
    assert!(first(&mut table));
    assert!(!first(&mut table));
    table.get_mut(id).unwrap().lose();
    assert!(first(&mut table), "of another endpoint");
}

#[test]
fn an_id_is_never_another_flows() {
    let mut table = Table::default();
    let (old, _) = table.insert(key(1), at(0), 'a');
    assert_eq!(table.remove(old).unwrap().with, 'a');
    let (new, before) = table.insert(key(2), at(0), 'b');
    assert!(before.is_none() && table.get(old).is_none() && table.remove(old).is_none());
    assert_eq!(table.answered(old, 1, at(0), &rules(1, 0)), None);
    let (newer, before) = table.insert(key(2), at(0), 'c');
    assert_eq!((before.unwrap().with, table.len()), ('b', 1));
    assert_eq!((table.find(&key(2)), table.find(&key(1))), (Some(newer), None));
    assert!(table.get(new).is_none());
}

#[derive(Clone, Debug)]
enum Event {
    Asked(u16),
    Answered(u16),
    Ended(u16),
    Tick,
}

fn events() -> impl Strategy<Value = Vec<(u64, Event)>> {
    let event = prop_oneof![
        4 => (0u16..12).prop_map(Event::Asked),
        2 => (0u16..12).prop_map(Event::Answered),
        1 => (0u16..12).prop_map(Event::Ended),
        2 => Just(Event::Tick),
    ];
    prop::collection::vec((0u64..40, event), 0..200)
}

proptest! {
    #[test]
    fn no_flow_ends_early_and_none_late(events in events(), idle in 1u64..300) {
        let rules = rules(idle, 0);
        let grain = rules.idle / Table::<()>::GRAIN;
        let mut table = Table::default();
        // When each was last heard of.
        let mut known: BTreeMap<u16, Moment> = BTreeMap::new();
        let mut millis = 0;
        for (pause, event) in events {
            millis += pause;
            let now = at(millis);
            match event {
                Event::Asked(client) => {
                    let id = table.find(&key(client)).unwrap_or_else(|| table.insert(key(client), now, client).0);
                    table.asked(id, 1, now, &rules);
                    known.insert(client, now);
                }
                Event::Answered(client) => {
                    let id = table.find(&key(client));
                    prop_assert_eq!(id.is_some(), known.contains_key(&client));
                    if let Some(id) = id {
                        prop_assert!(table.answered(id, 1, now, &rules).is_some());
                        known.insert(client, now);
                    }
                }
                Event::Ended(client) => {
                    let removed = table.find(&key(client)).and_then(|id| table.remove(id));
                    prop_assert_eq!(removed.map(|flow| flow.with), known.remove(&client).map(|_| client));
                }
                Event::Tick => {
                    while let Some(flow) = table.expire(now, &rules) {
                        let last = known.remove(&flow.with).expect("it is known");
                        prop_assert!(last + rules.idle <= now, "{last:?} is early at {now:?}");
                    }
                    for last in known.values() {
                        prop_assert!(*last + rules.idle + grain > now, "{last:?} is late at {now:?}");
                    }
                }
            }
            prop_assert_eq!(table.len(), known.len());
            let mut listed: Vec<u16> = table.list(|_| true).iter().map(|id| table.get(*id).unwrap().with).collect();
            listed.sort_unstable();
            prop_assert_eq!(listed, known.keys().copied().collect::<Vec<_>>());
        }
    }
}
