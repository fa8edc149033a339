//! The OpenMetrics text format, 1.0: the same samples as in Prometheus' text, and with them the
//! traces that stand for a bucket (exemplars).
//!
//! Names and label values are those of the other format, `le` as well: a series must not change its
//! identity with what a scraper says it reads.

use std::collections::BTreeSet;

use super::family::FamilyText;

/// Adds the exposition of these.
pub(super) fn render(families: &[FamilyText], out: &mut String) {
    let names: BTreeSet<&str> = families.iter().map(|family| family.name.as_str()).collect();
    for family in families.iter().filter(|family| !family.samples.is_empty()) {
        head(out, family, &names);
        out.push_str(&family.samples);
    }
    out.push_str("# EOF\n");
}

/// What a family is. A counter's is called as its samples are without `_total`; where another family
/// has that name already, it stays as it is and its type is not told.
fn head(out: &mut String, family: &FamilyText, names: &BTreeSet<&str>) {
    let short = family.name.strip_suffix("_total").filter(|short| !names.contains(short));
    let (name, kind) = match family.kind {
        "counter" => short.map_or((family.name.as_str(), "unknown"), |short| (short, "counter")),
        kind => (family.name.as_str(), kind),
    };
    // Our help has nothing to escape: one line, no quotes, no backslash.
    for part in ["# HELP ", name, " ", &family.help, "\n# TYPE ", name, " ", kind, "\n"] {
        out.push_str(part);
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use weir_core::load::Histogram;

    use super::super::super::exemplars::Exemplar;
    use super::super::family::{Family, Row};
    use super::super::{Format, table};
    use super::*;

    #[test]
    fn a_bucket_shows_its_trace() {
        let (histogram, took) = (Histogram::default(), Duration::from_millis(7));
        histogram.observe(took);
        let at = SystemTime::UNIX_EPOCH + Duration::from_millis(1_795_410_000_123);
        let mut row = Row::default();
        row[Histogram::bucket(took)] = Some(Exemplar { trace: "a".repeat(32), took, at });
        let mut duration = Family::new(&table::DURATION);
        duration.histogram_with(&["web", "sh\"op"], [&histogram].into_iter(), Some(&row));
        let mut tunnels = Family::new(&table::TUNNELS);
        tunnels.count(&["web"], 1);
        let mut tunnelled = Family::new(&table::TUNNELLED);
        tunnelled.count(&["web"], 2);
        let mut panics = Family::new(&table::PANICS);
        panics.count(&[], 3);
        let mut text = String::new();
        render(&[duration, tunnels, tunnelled, panics].map(Family::finish), &mut text);
        let line = "weir_request_duration_seconds_bucket{listener=\"web\",cluster=\"sh\\\"op\",le=\"0.01\"} 1 \
                    # {trace_id=\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"} 0.007 1795410000.123\n";
        for part in [
            line,
            "# TYPE weir_request_duration_seconds histogram\n",
            "le=\"+Inf\"} 1\n",
            "weir_request_duration_seconds_count{listener=\"web\",cluster=\"sh\\\"op\"} 1\n",
            "# TYPE weir_tunnels gauge\nweir_tunnels{listener=\"web\"} 1\n",
            "# TYPE weir_tunnels_total unknown\nweir_tunnels_total{listener=\"web\"} 2\n",
            "# TYPE weir_panics counter\nweir_panics_total 3\n",
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
        assert!(text.ends_with("\n# EOF\n"));
        assert_eq!(text.matches(" # {").count(), 1);
    }

    #[test]
    fn who_takes_openmetrics_gets_it() {
        let prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.1";
        assert_eq!(Format::wanted(Some(prometheus)), Format::OpenMetrics);
        for accept in [None, Some("*/*"), Some("text/plain"), Some("application/openmetrics-text; q=0.0")] {
            assert_eq!(Format::wanted(accept), Format::Text, "{accept:?}");
        }
    }
}
