//! The OpenMetrics text format, 1.0: the same samples as in Prometheus' text, and with them the
//! traces that stand for a bucket (exemplars).
//!
//! Names and label values are those of the other format, `le` as well: a series must not change its
//! identity with what a scraper says it reads.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::time::SystemTime;

use prometheus::proto::{LabelPair, MetricFamily, MetricType};
use weir_core::load::Histogram;

use super::super::exemplars::Exemplar;
use super::table;

/// Exemplars by listener and cluster, one for each bucket.
type Exemplars = BTreeMap<(String, String), [Option<Exemplar>; Histogram::BOUNDS.len() + 1]>;

/// The exposition of these.
pub(super) fn render(families: &[MetricFamily], exemplars: &Exemplars) -> String {
    let names: BTreeSet<&str> = families.iter().map(MetricFamily::name).collect();
    let mut out = String::with_capacity(1 << 16);
    for family in families {
        head(&mut out, family, &names);
        for metric in family.get_metric() {
            let labels = metric.get_label();
            match family.get_field_type() {
                MetricType::COUNTER => {
                    sample(&mut out, family.name(), "", labels, None, metric.get_counter().get_value())
                }
                MetricType::GAUGE => sample(&mut out, family.name(), "", labels, None, metric.get_gauge().get_value()),
                MetricType::HISTOGRAM => {
                    let row = (family.name() == table::DURATION.name).then(|| row(labels, exemplars)).flatten();
                    histogram(&mut out, family.name(), labels, metric.get_histogram(), row);
                }
                // There are none of these.
                MetricType::SUMMARY | MetricType::UNTYPED => {}
            }
        }
    }
    out.push_str("# EOF\n");
    out
}

/// What a family is. A counter's is called as its samples are without `_total`; where another family
/// has that name already, it stays as it is and its type is not told.
fn head(out: &mut String, family: &MetricFamily, names: &BTreeSet<&str>) {
    let whole = family.name();
    let short = whole.strip_suffix("_total").filter(|short| !names.contains(short));
    let (name, kind) = match family.get_field_type() {
        MetricType::COUNTER => short.map_or((whole, "unknown"), |short| (short, "counter")),
        MetricType::HISTOGRAM => (whole, "histogram"),
        MetricType::GAUGE => (whole, "gauge"),
        MetricType::SUMMARY | MetricType::UNTYPED => (whole, "unknown"),
    };
    out.push_str("# HELP ");
    out.push_str(name);
    out.push(' ');
    escape(out, family.help());
    out.push_str("\n# TYPE ");
    out.push_str(name);
    out.push(' ');
    out.push_str(kind);
    out.push('\n');
}

fn histogram(
    out: &mut String,
    name: &str,
    labels: &[LabelPair],
    histogram: &prometheus::proto::Histogram,
    row: Option<&[Option<Exemplar>; Histogram::BOUNDS.len() + 1]>,
) {
    let bounds = histogram.get_bucket().iter().map(|bucket| (bucket.upper_bound(), bucket.cumulative_count()));
    let infinite = bounds.clone().all(|(bound, _)| bound.is_finite());
    let last = infinite.then_some((f64::INFINITY, histogram.get_sample_count()));
    for (at, (bound, count)) in bounds.chain(last).enumerate() {
        let le = if bound.is_finite() { bound.to_string() } else { "+Inf".to_owned() };
        sample(out, name, "_bucket", labels, Some(&le), count as f64);
        if let Some(Some(exemplar)) = row.and_then(|row| row.get(at)) {
            example(out, exemplar);
        }
    }
    sample(out, name, "_sum", labels, None, histogram.get_sample_sum());
    sample(out, name, "_count", labels, None, histogram.get_sample_count() as f64);
}

fn sample(out: &mut String, name: &str, suffix: &str, labels: &[LabelPair], le: Option<&str>, value: f64) {
    out.push_str(name);
    out.push_str(suffix);
    let pairs = labels.iter().map(|pair| (pair.name(), pair.value())).chain(le.map(|le| ("le", le)));
    let mut open = false;
    for (name, value) in pairs {
        out.push(if open { ',' } else { '{' });
        open = true;
        out.push_str(name);
        out.push_str("=\"");
        escape(out, value);
        out.push('"');
    }
    out.push_str(if open { "} " } else { " " });
    // Writing to a String cannot fail.
    let _ = writeln!(out, "{value}");
}

/// Puts an exemplar on the line that was written last.
fn example(out: &mut String, exemplar: &Exemplar) {
    out.pop();
    let at = exemplar.at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let _ = writeln!(
        out,
        " # {{trace_id=\"{}\"}} {} {}.{:03}",
        exemplar.trace,
        exemplar.took.as_secs_f64(),
        at.as_secs(),
        at.subsec_millis()
    );
}

fn row<'e>(
    labels: &[LabelPair],
    exemplars: &'e Exemplars,
) -> Option<&'e [Option<Exemplar>; Histogram::BOUNDS.len() + 1]> {
    let of = |name: &str| labels.iter().find(|label| label.name() == name).map(|label| label.value().to_owned());
    exemplars.get(&(of("listener")?, of("cluster")?))
}

fn escape(out: &mut String, text: &str) {
    for letter in text.chars() {
        match letter {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            _ => out.push(letter),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::Format;
    use super::super::family::Family;
    use super::*;

    #[test]
    fn a_bucket_shows_its_trace() {
        let histogram = Histogram::default();
        histogram.observe(Duration::from_millis(7));
        let mut duration = Family::new(&table::DURATION);
        duration.histogram(&["web", "sh\"op"], [&histogram].into_iter());
        let mut tunnels = Family::new(&table::TUNNELS);
        tunnels.count(&["web"], 1);
        let mut tunnelled = Family::new(&table::TUNNELLED);
        tunnelled.count(&["web"], 2);
        let mut panics = Family::new(&table::PANICS);
        panics.count(&[], 3);
        let families = [duration, tunnels, tunnelled, panics].map(Family::finish);
        let at = SystemTime::UNIX_EPOCH + Duration::from_millis(1_795_410_000_123);
        let mut row = <[Option<Exemplar>; Histogram::BOUNDS.len() + 1]>::default();
        let took = Duration::from_millis(7);
        row[Histogram::bucket(took)] = Some(Exemplar { trace: "a".repeat(32), took, at });
        let text = render(&families, &[(("web".into(), "sh\"op".into()), row)].into());
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
