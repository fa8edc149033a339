//! SRV records' weights and priorities, as ours.

use std::collections::BTreeSet;

use weir_config::model::{Source, Weight};

/// One SRV record (RFC 2782).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SrvRecord {
    /// Lower ones are asked first.
    pub priority: u16,
    /// The share among those of the same priority.
    pub weight: u16,
    /// Where the service listens.
    pub port: u16,
    /// The host, whose addresses are looked up.
    pub target: String,
}

/// The largest priority of ours.
const PRIORITY_MAX: u8 = 15;

/// Weight and priority of each record for endpoints of `source`, in order.
///
/// The distinct priorities become 0, 1, 2 and so on from the source's own; beyond 15 they are one.
/// Weights are taken as they are, shrunk in proportion if one exceeds 10 000. As the RFC wants it,
/// a weight of 0 beside others has a very small share (a hundredth of the largest), and where all
/// are 0, all are alike. A source of weight 0 gets no traffic, whatever its records say.
#[must_use]
pub fn srv_shares(records: &[SrvRecord], source: &Source) -> Vec<(Weight, u8)> {
    let priorities: BTreeSet<u16> = records.iter().map(|record| record.priority).collect();
    let rank = |priority| priorities.range(..priority).count();
    records
        .iter()
        .map(|record| {
            let peers = || records.iter().filter(|peer| peer.priority == record.priority).map(|peer| peer.weight);
            let largest = peers().max().unwrap_or(0);
            let weight = if source.weight.get() == 0 { 0 } else { share(record.weight, largest, peers().min()) };
            let priority = u8::try_from(rank(record.priority)).unwrap_or(PRIORITY_MAX);
            // A share is at most the largest weight.
            let weight = Weight::new(weight).unwrap_or(Weight::ONE);
            (weight, source.priority.saturating_add(priority).min(PRIORITY_MAX))
        })
        .collect()
}

/// The share of `weight` among peers whose weights reach from `least` to `largest`.
fn share(weight: u16, largest: u16, least: Option<u16>) -> u64 {
    let (weight, largest, most) = (u64::from(weight), u64::from(largest), u64::from(Weight::MAX));
    let scaled = match (largest, least) {
        (0, _) => return 1,
        // Room below the others for those that have none.
        (_, Some(0)) if largest < 100 => weight * 100,
        _ if largest > most => weight * most / largest,
        _ => weight,
    };
    scaled.clamp(1, most)
}

#[cfg(test)]
mod tests {
    use weir_config::model::SourceKind;

    use super::*;

    fn shares(records: &[(u16, u16)], weight: u64, priority: u8) -> Vec<(u16, u8)> {
        let record = |&(priority, weight): &(u16, u16)| SrvRecord { priority, weight, port: 1, target: "a.".into() };
        let records: Vec<SrvRecord> = records.iter().map(record).collect();
        let weight = Weight::new(weight).unwrap();
        let source = Source { kind: SourceKind::Srv("a".into()), zone: None, weight, priority };
        srv_shares(&records, &source).into_iter().map(|(weight, priority)| (weight.get(), priority)).collect()
    }

    #[test]
    fn weights_and_priorities_become_ours() {
        for (records, expected) in [
            (vec![(10, 60), (10, 40), (20, 5)], vec![(60, 0), (40, 0), (5, 1)]),
            // All 0: alike. One 0: hardly anything.
            (vec![(0, 0), (0, 0)], vec![(1, 0), (1, 0)]),
            (vec![(0, 0), (0, 5)], vec![(1, 0), (500, 0)]),
            (vec![(0, 0), (0, 200)], vec![(1, 0), (200, 0)]),
            // The largest weight of theirs is larger than ours.
            (vec![(0, 65_535), (0, 6_553), (0, 1)], vec![(10_000, 0), (999, 0), (1, 0)]),
            (vec![(65_535, 1), (0, 1)], vec![(1, 1), (1, 0)]),
            (vec![], vec![]),
        ] {
            assert_eq!(shares(&records, 1, 0), expected, "{records:?}");
        }
        assert_eq!(shares(&[(1, 7), (2, 7)], 0, 3), [(0, 3), (0, 4)]);
        let many: Vec<(u16, u16)> = (0..300).map(|n| (n, 1)).collect();
        assert_eq!(shares(&many, 1, 1).into_iter().map(|(_, priority)| priority).max(), Some(15));
    }
}
