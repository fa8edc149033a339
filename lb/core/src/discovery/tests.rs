//! Tables and a property of the state machine.

use proptest::prelude::*;
use weir_config::model::Weight;

use super::*;

const RULES: Rules = Rules {
    timeout: Some(Duration::from_secs(2)),
    min_ttl: Duration::from_secs(1),
    max_ttl: Duration::from_secs(300),
    max_stale: Some(Duration::from_secs(600)),
    confirm_removal: 2,
};

fn address(n: u8) -> Address {
    SocketAddr::from(([10, 0, 0, n], 80)).into()
}

fn endpoint(n: u8) -> Endpoint {
    Endpoint { address: address(n), zone: None, weight: Weight::ONE, priority: 0 }
}

fn told(numbers: &[u8], ttl: u64) -> Answer {
    let endpoints = numbers.iter().map(|&n| endpoint(n)).collect();
    let told = Told { endpoints, ttl: Some(Duration::from_secs(ttl)), silent: Silent::None };
    Answer { result: Ok(told), trace: Arc::default() }
}

fn failed(kind: FailureKind) -> Answer {
    Answer { result: Err(Failure { kind, detail: String::new() }), trace: Arc::default() }
}

/// A source and its clock.
struct Life {
    discovery: Discovery,
    now: Moment,
    draw: u64,
    looks: u64,
}

impl Life {
    fn new(rules: Rules) -> Self {
        Self { discovery: Discovery::new(Moment::ZERO, rules), now: Moment::ZERO, draw: 0, looks: 0 }
    }

    /// Waits for the next look and answers it at once. Gives what changed, and how long it waited.
    fn next(&mut self, answer: Answer) -> (Change, Duration) {
        let at = self.discovery.next_look().expect("a look is planned").max(self.now);
        let waited = at.since(self.now);
        self.now = at;
        let number = self.look().expect("it is time to look");
        (self.discovery.hear(self.now, number, answer, self.draw), waited)
    }

    /// Looks, if it is time to; gives the number.
    fn look(&mut self) -> Option<u64> {
        self.looks += 1;
        self.discovery.look(self.now, self.looks).then_some(self.looks)
    }

    /// Numbers of the endpoints in force, and whether each is told.
    fn in_force(&self) -> Vec<(u8, bool)> {
        let number = |address: &Address| match address.ip().expect("an IP address").ip() {
            IpAddr::V4(ip) => ip.octets()[3],
            IpAddr::V6(_) => 0,
        };
        self.discovery.endpoints().map(|(endpoint, told)| (number(&endpoint.address), told)).collect()
    }
}

#[test]
fn d1_a_name_is_always_looked_at_again_and_a_new_address_is_used_at_once() {
    for ttl in [1, 2, 5, 10, 30, 60, 300] {
        let mut life = Life::new(RULES);
        life.draw = u64::MAX;
        life.next(told(&[1], ttl));
        let (change, waited) = life.next(told(&[2], ttl));
        assert_eq!((&*change.added, &*change.missing), (&[address(2)][..], &[address(1)][..]), "TTL {ttl}");
        assert_eq!(life.in_force(), [(1, false), (2, true)]);
        assert!(waited <= Duration::from_secs(ttl) + LATE_MAX, "TTL {ttl}: {waited:?}");
    }
}

#[test]
fn the_ttl_is_clamped_and_jittered() {
    let wait = |ttl, draw| {
        let mut life = Life::new(RULES);
        life.draw = draw;
        life.next(told(&[1], ttl));
        life.next(told(&[1], ttl)).1.as_millis()
    };
    for (ttl, earliest, latest) in
        [(0, 1000, 1099), (1, 1000, 1099), (4, 3600, 4399), (60, 54_000, 60_499), (300, 270_000, 300_499)]
    {
        assert_eq!((wait(ttl, 0), wait(ttl, u64::MAX)), (earliest, latest), "TTL {ttl}");
    }
    assert_eq!(wait(1_000_000, 0), 270_000, "no longer than the longest");
}

#[test]
fn d4_failures_are_retried_ever_more_seldom_never_in_a_flood() {
    let mut life = Life::new(RULES);
    life.next(failed(FailureKind::NxDomain));
    let waits: Vec<u64> = (0..7).map(|_| life.next(failed(FailureKind::NxDomain)).1.as_secs()).collect();
    assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30]);
    life.next(told(&[1], 60));
    life.next(failed(FailureKind::ServFail));
    assert_eq!(life.next(failed(FailureKind::ServFail)).1, Duration::from_secs(1), "and begin anew after success");
}

#[test]
fn d5_what_was_told_outlives_failures_for_as_long_as_was_asked_for() {
    use FailureKind::{Empty, NxDomain, Refused, ServFail, Timeout, Truncated, Unreachable};
    for kind in [NxDomain, Empty, ServFail, Refused, Timeout, Truncated, Unreachable] {
        let mut life = Life::new(RULES);
        life.next(told(&[1, 2], 30));
        let (change, _) = life.next(failed(kind));
        assert!(change.is_quiet() && change.turn == Some(Turn::Failing), "{kind}");
        let since = life.now;
        assert_eq!(
            (life.discovery.state(), life.discovery.keeps_until()),
            (State::Stale, Some(since + RULES.max_stale.unwrap()))
        );
        let mut gone = Change::default();
        while gone.removed.is_empty() {
            assert_eq!(life.in_force(), [(1, true), (2, true)], "{kind}: nobody is taken out by a failure");
            life.now = life.discovery.due().unwrap();
            gone = match life.look() {
                Some(number) => life.discovery.hear(life.now, number, failed(kind), 0),
                None => life.discovery.pass(life.now, 0),
            };
        }
        assert_eq!(life.now.since(since), RULES.max_stale.unwrap(), "{kind}: to the moment");
        assert_eq!(gone.turn, Some(Turn::GivenUp(RULES.max_stale.unwrap())));
        assert_eq!(life.discovery.state(), State::Unresolved);
        let (back, _) = life.next(told(&[1], 30));
        assert!(matches!(back.turn, Some(Turn::Recovered(_))) && back.added == [address(1)]);
    }
}

#[test]
fn d5_for_ever_and_not_at_all_are_wishes_too() {
    let mut life = Life::new(Rules { max_stale: None, ..RULES });
    life.next(told(&[1], 30));
    (0..1000).for_each(|_| drop(life.next(failed(FailureKind::Timeout))));
    assert_eq!(life.in_force(), [(1, true)]);
    assert_eq!(life.discovery.keeps_until(), None);

    // At once means: as soon as it is confirmed.
    let mut life = Life::new(Rules { max_stale: Some(Duration::ZERO), ..RULES });
    life.next(told(&[1], 30));
    assert!(life.next(failed(FailureKind::Empty)).0.removed.is_empty());
    let (change, waited) = life.next(failed(FailureKind::Empty));
    assert_eq!((&*change.removed, waited), (&[address(1)][..], Duration::from_secs(1)));

    let mut life = Life::new(Rules { max_stale: Some(Duration::ZERO), confirm_removal: 1, ..RULES });
    life.next(told(&[1], 30));
    assert_eq!(life.next(failed(FailureKind::Empty)).0.removed, [address(1)]);
}

#[test]
fn d6_an_address_that_is_not_told_any_more_gets_no_new_work_at_once() {
    let mut life = Life::new(RULES);
    life.next(told(&[1, 2, 3], 30));
    let (change, _) = life.next(told(&[1, 2], 30));
    assert_eq!((&*change.missing, change.removed.len()), (&[address(3)][..], 0));
    assert_eq!(life.in_force(), [(1, true), (2, true), (3, false)]);
    // A failure is no answer: it confirms nothing.
    assert!(life.next(failed(FailureKind::Timeout)).0.removed.is_empty());
    assert_eq!(life.next(told(&[1, 2], 30)).0.removed, [address(3)]);
    assert_eq!(life.in_force(), [(1, true), (2, true)]);
}

#[test]
fn d7_parts_of_a_long_list_in_turn_forget_nobody() {
    let mut life = Life::new(RULES);
    life.next(told(&[1, 2, 3, 4], 30));
    for turn in 0..20 {
        let part: &[u8] = if turn % 2 == 0 { &[1, 2] } else { &[3, 4] };
        let (change, _) = life.next(told(part, 30));
        assert!(change.removed.is_empty() && change.added.is_empty(), "turn {turn}: {change:?}");
        let told: Vec<u8> = life.in_force().into_iter().filter(|&(_, told)| told).map(|(n, _)| n).collect();
        assert_eq!(told, part);
    }
}

#[test]
fn d7_another_order_is_no_change_and_another_weight_is_no_stranger() {
    let mut life = Life::new(RULES);
    life.next(told(&[1, 2, 3], 30));
    let (change, _) = life.next(told(&[3, 1, 2, 1], 30));
    assert_eq!(change, Change::default());
    let mut heavier = told(&[1, 2, 3], 30);
    if let Ok(told) = &mut heavier.result {
        told.endpoints[0].weight = Weight::new(5).unwrap();
    }
    let (change, _) = life.next(heavier);
    assert_eq!(change, Change { altered: true, ..Change::default() });
}

#[test]
fn a_family_that_could_not_be_asked_for_keeps_its_addresses_for_a_while() {
    let six: Address = "[2001:db8::1]:80".parse::<SocketAddr>().unwrap().into();
    let both = |silent| {
        let mut answer = told(&[1], 30);
        let Ok(told) = &mut answer.result else { unreachable!("told") };
        told.silent = silent;
        if silent == Silent::None {
            told.endpoints.push(Endpoint { address: six.clone(), ..endpoint(1) });
        }
        answer
    };
    let mut life = Life::new(RULES);
    life.next(both(Silent::None));
    let without = both(Silent::Of(Family::V6));
    assert_eq!(life.next(without.clone()).0, Change::default());
    let since = life.now;
    loop {
        let (change, _) = life.next(without.clone());
        if change.removed == [six.clone()] {
            break;
        }
        assert_eq!(change, Change::default());
    }
    let kept = life.now.since(since).as_secs();
    assert!((600..640).contains(&kept), "no longer than anything stale: {kept} s");
    // Of the family that was asked for, removal wins as ever.
    assert_eq!(life.next(Answer { result: told(&[2], 30).result, ..without }).0.missing, [address(1)]);
}

#[test]
fn a_look_that_never_comes_back_is_a_failure_and_its_late_answer_is_ignored() {
    let mut life = Life::new(RULES);
    let number = life.look().unwrap();
    assert_eq!(life.look(), None, "one look at a time");
    life.now = life.discovery.due().unwrap();
    assert_eq!(life.now.since(Moment::ZERO), Duration::from_secs(2) + LOST_GRACE);
    assert_eq!(life.discovery.pass(life.now, 0).turn, Some(Turn::Failing));
    assert_eq!(life.discovery.hear(life.now, number, told(&[1], 30), 0), Change::default());
    assert_eq!(life.in_force(), []);
    life.next(told(&[2], 30));
    assert_eq!(life.in_force(), [(2, true)]);
}

#[test]
fn a_file_is_read_once_and_tells_of_its_changes_itself() {
    let path = SourceKind::File("/etc/weir/endpoints.yaml".into());
    let resolve = Resolve {
        servers: vec![],
        family: Family::Both,
        timeout: Duration::from_secs(2),
        min_ttl: RULES.min_ttl,
        max_ttl: RULES.max_ttl,
        max_stale: Some(Duration::ZERO),
        confirm_removal: 2,
    };
    let mut file = Discovery::new(Moment::ZERO, Rules::new(&path, &resolve));
    let number = 7;
    assert!(file.look(Moment::ZERO, number));
    let says = |numbers: &[u8]| {
        let told = Told { endpoints: numbers.iter().map(|&n| endpoint(n)).collect(), ttl: None, silent: Silent::None };
        Answer { result: Ok(told), trace: Arc::default() }
    };
    let hour = |n: u64| Moment::ZERO + Duration::from_secs(3600 * n);
    assert_eq!(file.hear(hour(0), number, says(&[1, 2]), 0).turn, Some(Turn::First));
    assert_eq!(file.due(), None);
    // What is wrong with the file says nothing about the endpoints.
    assert_eq!(file.hear(hour(1), number, failed(FailureKind::Invalid), 0).turn, Some(Turn::Failing));
    assert_eq!((file.due(), file.state(), file.endpoints().count()), (None, State::Stale, 2));
    let change = file.hear(hour(2), number, says(&[2]), 0);
    assert_eq!((&*change.removed, change.turn), (&[address(1)][..], Some(Turn::Recovered(Duration::from_secs(3600)))));
    // Whoever empties the list means it.
    assert_eq!(file.hear(hour(3), number, says(&[]), 0).removed, [address(2)]);
    assert_eq!(file.state(), State::Resolved);
}

#[test]
fn turns_are_told_once_each() {
    use FailureKind::{ServFail, Timeout};
    let mut life = Life::new(RULES);
    for (answer, turn) in [
        (failed(Timeout), Some(Turn::Failing)),
        (failed(Timeout), None),
        (failed(ServFail), Some(Turn::Failing)),
        (told(&[1], 30), Some(Turn::First)),
        (told(&[1], 30), None),
        (failed(Timeout), Some(Turn::Failing)),
        (failed(Timeout), None),
        (told(&[1], 30), Some(Turn::Recovered(Duration::from_secs(3)))),
    ] {
        let words = format!("{answer:?}");
        let (change, _) = life.next(answer);
        match (change.turn, turn) {
            (Some(Turn::Recovered(_)), Some(Turn::Recovered(_))) => {}
            (is, wanted) => assert_eq!(is, wanted, "{words}"),
        }
    }
}

#[test]
fn a_flood_of_addresses_is_cut() {
    let mut life = Life::new(RULES);
    let endpoints =
        (0..5000u16).map(|n| Endpoint { address: SocketAddr::from(([10, 1, 0, 1], n)).into(), ..endpoint(1) });
    let told = Told { endpoints: endpoints.collect(), ttl: None, silent: Silent::None };
    let (change, _) = life.next(Answer { result: Ok(told), trace: Arc::default() });
    assert_eq!((change.added.len(), life.discovery.endpoints().count()), (FOUND_MAX, FOUND_MAX));
}

#[test]
fn addresses_that_lead_nowhere_or_here_are_told_apart() {
    for (address, expected) in [
        ("10.0.0.1", true),
        ("127.0.0.1", true),
        ("0.0.0.0", false),
        ("224.0.0.1", false),
        ("255.255.255.255", false),
        ("2001:db8::1", true),
        ("::", false),
        ("ff02::1", false),
    ] {
        assert_eq!(usable(address.parse().unwrap()), expected, "{address}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    /// Whatever a server says, in whatever order.
    #[test]
    fn what_is_in_force_follows_from_the_answers(
        answers in prop::collection::vec((0u8..4, prop::collection::vec(1u8..9, 0..6), 0u64..1000, any::<u64>()), 1..60),
        confirm in 0u8..4,
        stale in prop::option::of(0u64..700),
    ) {
        let rules = Rules { confirm_removal: confirm, max_stale: stale.map(Duration::from_secs), ..RULES };
        let mut life = Life::new(rules);
        let mut newest: Option<Vec<u8>> = None;
        for (kind, numbers, ttl, draw) in answers {
            life.draw = draw;
            let fails = kind == 0 || numbers.is_empty();
            let before = life.in_force();
            let answer = if fails { failed(FailureKind::Timeout) } else { told(&numbers, ttl) };
            let (change, waited) = life.next(answer);
            prop_assert!(waited <= Duration::from_secs(301));
            let after = life.in_force();
            if fails {
                // All or nothing.
                prop_assert!(after == before || after.is_empty());
            } else {
                newest = Some(numbers);
            }
            // Nobody gets work whom the newest answer lacks; everybody in it does, until it is given up.
            let working: Vec<u8> = after.iter().filter(|(_, told)| *told).map(|(n, _)| *n).collect();
            let mut expected = newest.clone().unwrap_or_default();
            expected.sort_unstable();
            expected.dedup();
            prop_assert!(working == expected || (fails && after.is_empty()));
            if fails && after.is_empty() {
                newest = None;
            }
            // What changed is what differs.
            let set = |list: &[(u8, bool)]| list.iter().map(|(n, _)| address(*n)).collect::<std::collections::BTreeSet<_>>();
            let (was, is) = (set(&before), set(&after));
            prop_assert!(is.difference(&was).eq(change.added.iter()));
            prop_assert!(was.difference(&is).eq(change.removed.iter()));
            // The next look comes, and not in a flood.
            let next = life.discovery.next_look().unwrap().since(life.now);
            prop_assert!(next >= RETRY_MIN);
        }
    }
}
