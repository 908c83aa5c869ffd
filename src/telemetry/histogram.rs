//! A histogram of durations that many threads may observe without a lock or an allocation.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::{MetricType, TypedMetric};

/// Counts durations in buckets. The crate's own histogram holds a lock while it looks for the bucket.
#[derive(Debug)]
pub(crate) struct DurationHistogram<const N: usize> {
    /// Upper bounds in nanoseconds, ascending.
    bounds: &'static [u64; N],
    /// Of each bucket, and of what is above the last bound.
    counts: [AtomicU64; N],
    above: AtomicU64,
    sum_nanos: AtomicU64,
}

impl<const N: usize> DurationHistogram<N> {
    pub(crate) fn new(bounds: &'static [u64; N]) -> Self {
        Self {
            bounds,
            counts: std::array::from_fn(|_| AtomicU64::new(0)),
            above: AtomicU64::new(0),
            sum_nanos: AtomicU64::new(0),
        }
    }

    pub(crate) fn observe(&self, duration: Duration) {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let at = self.bounds.partition_point(|bound| *bound < nanos);
        self.counts
            .get(at)
            .unwrap_or(&self.above)
            .fetch_add(1, Ordering::Relaxed);
        self.sum_nanos.fetch_add(nanos, Ordering::Relaxed);
    }

    /// Whether nothing was observed yet.
    pub(crate) fn is_empty(&self) -> bool {
        self.sum_nanos.load(Ordering::Relaxed) == 0
    }
}

impl<const N: usize> EncodeMetric for DurationHistogram<N> {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), fmt::Error> {
        let mut buckets: Vec<(f64, u64)> = self
            .bounds
            .iter()
            .zip(&self.counts)
            .map(|(bound, count)| {
                (
                    Duration::from_nanos(*bound).as_secs_f64(),
                    count.load(Ordering::Relaxed),
                )
            })
            .collect();
        // The crate writes this bound as `+Inf`.
        buckets.push((f64::INFINITY, self.above.load(Ordering::Relaxed)));
        let count = buckets.iter().map(|(_, count)| count).sum();
        let sum = Duration::from_nanos(self.sum_nanos.load(Ordering::Relaxed)).as_secs_f64();
        encoder.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

impl<const N: usize> TypedMetric for DurationHistogram<N> {
    const TYPE: MetricType = MetricType::Histogram;
}
