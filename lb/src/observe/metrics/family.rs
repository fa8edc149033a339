//! Samples of one metric, written straight into the text of a scrape.
//!
//! A thousand endpoints have some fifteen thousand series: objects for each, sorted and encoded
//! afterwards, take several times as long as their text.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::SystemTime;

use prometheus::proto::{MetricFamily, MetricType};
use weir_core::load::Histogram;

use super::super::exemplars::Exemplar;
use super::table::Metric;

/// Exemplars of a histogram, one for each bucket.
pub(super) type Row = [Option<Exemplar>; Histogram::BOUNDS.len() + 1];
/// By listener and cluster.
pub(super) type Exemplars = BTreeMap<(String, String), Row>;

/// Gathers the samples of one metric.
pub(super) struct Family {
    metric: Metric,
    text: String,
}

/// What came of a [`Family`]: its part of a scrape.
pub(super) struct FamilyText {
    pub(super) name: String,
    pub(super) help: String,
    pub(super) kind: &'static str,
    pub(super) samples: String,
}

impl Family {
    pub(super) fn new(metric: &Metric) -> Self {
        Self { metric: *metric, text: String::new() }
    }

    /// One sample of a counter or gauge; `labels` in the order of the table.
    pub(super) fn add(&mut self, labels: &[&str], value: f64) {
        self.begin("", labels);
        self.end(value);
    }

    /// One sample that is a whole number.
    pub(super) fn count(&mut self, labels: &[&str], value: u64) {
        self.begin("", labels);
        self.end(value);
    }

    /// One histogram: the sum of `parts`, one a worker.
    pub(super) fn histogram<'a>(&mut self, labels: &[&str], parts: impl Iterator<Item = &'a Histogram>) {
        self.histogram_with(labels, parts, None);
    }

    /// The same with what stands for its buckets.
    pub(super) fn histogram_with<'a>(
        &mut self,
        labels: &[&str],
        parts: impl Iterator<Item = &'a Histogram>,
        row: Option<&Row>,
    ) {
        let mut counts = [0u64; Histogram::BOUNDS.len() + 1];
        // Whole numbers: sums of parts must not depend on how they are parted.
        let mut nanos = 0u64;
        for part in parts {
            for (sum, count) in counts.iter_mut().zip(part.buckets()) {
                *sum += count;
            }
            nanos = nanos.wrapping_add(part.sum_nanos());
        }
        let mut cumulative = 0;
        for (at, count) in counts.into_iter().enumerate() {
            cumulative += count;
            match Histogram::BOUNDS.get(at) {
                Some(bound) => self.bucket(labels, bound, cumulative),
                None => self.bucket(labels, "+Inf", cumulative),
            }
            if let Some(exemplar) = row.and_then(|row| row[at].as_ref()) {
                self.example(exemplar);
            }
        }
        let all = cumulative;
        self.begin("_sum", labels);
        self.end(nanos as f64 / 1e9);
        self.begin("_count", labels);
        self.end(all);
    }

    pub(super) fn finish(self) -> FamilyText {
        let Metric { name, help, kind, .. } = self.metric;
        FamilyText { name: name.to_owned(), help: help.to_owned(), kind: word(kind), samples: self.text }
    }

    fn bucket(&mut self, labels: &[&str], bound: impl std::fmt::Display, count: u64) {
        self.begin("_bucket", labels);
        if self.text.ends_with('}') {
            self.text.pop();
            self.text.push(',');
        } else {
            self.text.push('{');
        }
        // Writing to a string cannot fail, here and below.
        let _ = write!(self.text, "le=\"{bound}\"}}");
        self.end(count);
    }

    /// Puts an exemplar on the line that was written last.
    fn example(&mut self, exemplar: &Exemplar) {
        let Exemplar { trace, took, at } = exemplar;
        let at = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let (took, seconds, millis) = (took.as_secs_f64(), at.as_secs(), at.subsec_millis());
        self.text.pop();
        let _ = writeln!(self.text, " # {{trace_id=\"{trace}\"}} {took} {seconds}.{millis:03}");
    }

    /// The name and its labels, as far as the value.
    fn begin(&mut self, suffix: &str, values: &[&str]) {
        debug_assert_eq!(self.metric.labels.len(), values.len(), "{}", self.metric.name);
        self.text.push_str(self.metric.name);
        self.text.push_str(suffix);
        let mut before = '{';
        for (name, value) in self.metric.labels.iter().zip(values) {
            self.text.push(before);
            before = ',';
            self.text.push_str(name);
            self.text.push_str("=\"");
            escape(value, &mut self.text);
            self.text.push('"');
        }
        if before == ',' {
            self.text.push('}');
        }
    }

    fn end(&mut self, value: impl std::fmt::Display) {
        let _ = writeln!(self.text, " {value}");
    }
}

impl FamilyText {
    /// Of what the prometheus crate has gathered.
    pub(super) fn of(family: &MetricFamily) -> Result<Self, prometheus::Error> {
        // It comes with a head of one format; heads are ours to write.
        let mut samples = prometheus::TextEncoder::new().encode_to_string(std::slice::from_ref(family))?;
        let body = samples.match_indices('\n').nth(1).map_or(samples.len(), |(at, _)| at + 1);
        samples.drain(..body);
        let (name, help) = (family.name().to_owned(), family.help().to_owned());
        Ok(Self { name, help, kind: word(family.get_field_type()), samples })
    }

    /// Adds it to a scrape in Prometheus' text format, 0.0.4. A name without samples says nothing.
    pub(super) fn write(&self, text: &mut String) {
        let Self { name, help, kind, samples } = self;
        if !samples.is_empty() {
            let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
            text.push_str(samples);
        }
    }
}

const fn word(kind: MetricType) -> &'static str {
    match kind {
        MetricType::COUNTER => "counter",
        MetricType::HISTOGRAM => "histogram",
        _ => "gauge",
    }
}

/// As the format wants it in quotes. Nearly always there is nothing to do.
fn escape(value: &str, text: &mut String) {
    if !value.bytes().any(|byte| matches!(byte, b'\\' | b'"' | b'\n')) {
        text.push_str(value);
        return;
    }
    for c in value.chars() {
        match c {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            c => text.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::table;
    use super::*;

    fn written(family: Family) -> String {
        let mut text = String::new();
        family.finish().write(&mut text);
        text
    }

    #[test]
    fn labels_are_escaped_and_numbers_are_exact() {
        let mut family = Family::new(&table::BUILD_INFO);
        family.add(&["a \"b\"\\\n", ""], 0.95);
        family.count(&["", "c"], u64::MAX);
        let text = written(family);
        let samples: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(
            samples,
            [
                r#"weir_build_info{version="a \"b\"\\\n",revision=""} 0.95"#,
                r#"weir_build_info{version="",revision="c"} 18446744073709551615"#,
            ]
        );
        assert_eq!(written(Family::new(&table::BUILD_INFO)), "", "a name without a sample says nothing");
    }

    #[test]
    fn a_histogram_has_all_its_parts() {
        let part = Histogram::default();
        part.observe(std::time::Duration::from_millis(3));
        part.observe(std::time::Duration::from_secs(60));
        let mut family = Family::new(&table::CLUSTER_LATENCY);
        family.histogram(&["shop"], [&part, &part].into_iter());
        let text = written(family);
        for line in [
            "# TYPE weir_cluster_answer_seconds histogram",
            "weir_cluster_answer_seconds_bucket{cluster=\"shop\",le=\"0.0025\"} 0",
            "weir_cluster_answer_seconds_bucket{cluster=\"shop\",le=\"0.005\"} 2",
            "weir_cluster_answer_seconds_bucket{cluster=\"shop\",le=\"30\"} 2",
            "weir_cluster_answer_seconds_bucket{cluster=\"shop\",le=\"+Inf\"} 4",
            "weir_cluster_answer_seconds_sum{cluster=\"shop\"} 120.006",
            "weir_cluster_answer_seconds_count{cluster=\"shop\"} 4",
        ] {
            assert!(text.lines().any(|shown| shown == line), "{line}\n{text}");
        }
    }
}
