//! Samples of one metric, written straight into the text of a scrape.
//!
//! A thousand endpoints have some fifteen thousand series: objects for each, sorted and encoded
//! afterwards, would take ten times as long as their text.

use std::fmt::Write as _;

use prometheus::proto::MetricType;
use weir_core::load::Histogram;

use super::table::Metric;

/// Gathers the samples of one metric.
pub(super) struct Family {
    metric: Metric,
    text: String,
}

/// What came of a [`Family`]: its part of the scrape's text. Empty without samples.
pub(super) type FamilyText = String;

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
        let mut counts = [0u64; Histogram::BOUNDS.len() + 1];
        let mut seconds = 0.0;
        for part in parts {
            for (sum, count) in counts.iter_mut().zip(part.buckets()) {
                *sum += count;
            }
            seconds += part.sum_seconds();
        }
        let mut cumulative = 0;
        for (&bound, count) in Histogram::BOUNDS.iter().zip(counts) {
            cumulative += count;
            self.bucket(labels, bound, cumulative);
        }
        let all = counts.iter().sum::<u64>();
        self.bucket(labels, "+Inf", all);
        self.begin("_sum", labels);
        self.end(seconds);
        self.begin("_count", labels);
        self.end(all);
    }

    pub(super) fn finish(self) -> FamilyText {
        let Metric { name, help, kind, .. } = self.metric;
        if self.text.is_empty() {
            return self.text;
        }
        let kind = match kind {
            MetricType::COUNTER => "counter",
            MetricType::HISTOGRAM => "histogram",
            _ => "gauge",
        };
        format!("# HELP {name} {help}\n# TYPE {name} {kind}\n{}", self.text)
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

    #[test]
    fn labels_are_escaped_and_numbers_are_exact() {
        let mut family = Family::new(&table::BUILD_INFO);
        family.add(&["a \"b\"\\\n", ""], 0.95);
        family.count(&["", "c"], u64::MAX);
        let text = family.finish();
        let samples: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(
            samples,
            [
                r#"weir_build_info{version="a \"b\"\\\n",revision=""} 0.95"#,
                r#"weir_build_info{version="",revision="c"} 18446744073709551615"#,
            ]
        );
        assert_eq!(Family::new(&table::BUILD_INFO).finish(), "", "a name without a sample says nothing");
    }

    #[test]
    fn a_histogram_has_all_its_parts() {
        let part = Histogram::default();
        part.observe(std::time::Duration::from_millis(3));
        part.observe(std::time::Duration::from_secs(60));
        let mut family = Family::new(&table::CLUSTER_LATENCY);
        family.histogram(&["shop"], [&part, &part].into_iter());
        let text = family.finish();
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
