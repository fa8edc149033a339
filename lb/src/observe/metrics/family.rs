//! Samples of one metric, in the prometheus crate's form.

use prometheus::core::Desc;
use prometheus::proto;
use weir_core::load::Histogram;

use super::table::Metric;

/// Gathers the samples of one metric.
pub(super) struct Family {
    metric: Metric,
    samples: Vec<proto::Metric>,
}

impl Family {
    pub(super) fn new(metric: &Metric) -> Self {
        Self { metric: *metric, samples: Vec::new() }
    }

    /// One sample of a counter or gauge; `labels` in the order of the table.
    pub(super) fn add(&mut self, labels: &[&str], value: f64) {
        let mut sample = self.labelled(labels);
        if self.metric.kind == proto::MetricType::COUNTER {
            let mut counter = proto::Counter::default();
            counter.set_value(value);
            sample.set_counter(counter);
        } else {
            let mut gauge = proto::Gauge::default();
            gauge.set_value(value);
            sample.set_gauge(gauge);
        }
        self.samples.push(sample);
    }

    /// One sample that is a whole number.
    pub(super) fn count(&mut self, labels: &[&str], value: u64) {
        // Exact to 2^53, as every number in this format.
        self.add(labels, value as f64);
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
        let buckets = Histogram::BOUNDS.iter().zip(counts).map(|(&bound, count)| {
            cumulative += count;
            let mut bucket = proto::Bucket::default();
            bucket.set_upper_bound(bound);
            bucket.set_cumulative_count(cumulative);
            bucket
        });
        let mut histogram = proto::Histogram::default();
        histogram.set_bucket(buckets.collect());
        histogram.set_sample_count(counts.iter().sum());
        histogram.set_sample_sum(seconds);
        let mut sample = self.labelled(labels);
        sample.set_histogram(histogram);
        self.samples.push(sample);
    }

    pub(super) fn finish(self) -> proto::MetricFamily {
        let mut family = proto::MetricFamily::default();
        family.set_name(self.metric.name.to_owned());
        family.set_help(self.metric.help.to_owned());
        family.set_field_type(self.metric.kind);
        family.set_metric(self.samples);
        family
    }

    fn labelled(&self, values: &[&str]) -> proto::Metric {
        debug_assert_eq!(self.metric.labels.len(), values.len(), "{}", self.metric.name);
        let pairs = self.metric.labels.iter().zip(values).map(|(name, value)| {
            let mut pair = proto::LabelPair::default();
            pair.set_name((*name).to_owned());
            pair.set_value((*value).to_owned());
            pair
        });
        let mut sample = proto::Metric::default();
        sample.set_label(pairs.collect());
        sample
    }
}

/// What a registry wants to know of a collector beforehand.
pub(super) fn describe(metrics: &[Metric]) -> Result<Vec<Desc>, prometheus::Error> {
    metrics
        .iter()
        .map(|metric| {
            let labels = metric.labels.iter().map(|label| (*label).to_owned()).collect();
            Desc::new(metric.name.to_owned(), metric.help.to_owned(), labels, Default::default())
        })
        .collect()
}
