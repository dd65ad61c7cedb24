//! Durations counted in buckets whose width grows with the duration, so that millions fit into little memory and every
//! quantile is right to within 1/128.

use std::time::Duration;

const BITS: u32 = 7;
const PER_DOUBLING: u64 = 1 << BITS;

/// Counted durations.
#[derive(Clone, Debug, Default)]
pub struct Histogram {
    counts: Vec<u64>,
    n: u64,
    max_ns: u64,
}

impl Histogram {
    /// Counts one duration.
    pub fn record(&mut self, duration: Duration) {
        let ns = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let bucket = bucket_of(ns);
        if self.counts.len() <= bucket {
            self.counts.resize(bucket + 1, 0);
        }
        self.counts[bucket] += 1;
        self.n += 1;
        self.max_ns = self.max_ns.max(ns);
    }

    /// Adds what another has counted.
    pub fn merge(&mut self, other: &Self) {
        if self.counts.len() < other.counts.len() {
            self.counts.resize(other.counts.len(), 0);
        }
        self.counts.iter_mut().zip(&other.counts).for_each(|(own, more)| *own += more);
        self.n += other.n;
        self.max_ns = self.max_ns.max(other.max_ns);
    }

    /// How many were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.n
    }

    /// The longest, exactly; zero when nothing was counted.
    #[must_use]
    pub fn max(&self) -> Duration {
        Duration::from_nanos(self.max_ns)
    }

    /// The duration that a share `q` (0 to 1) of all does not exceed; zero when nothing was counted.
    #[must_use]
    pub fn quantile(&self, q: f64) -> Duration {
        #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let rank = ((self.n as f64 * q.clamp(0.0, 1.0)).ceil() as u64).max(1);
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return Duration::from_nanos(upper_edge(bucket as u64).min(self.max_ns));
            }
        }
        Duration::ZERO
    }
}

/// Below 128 ns a bucket of its own for each; above, 128 for each doubling.
fn bucket_of(ns: u64) -> usize {
    let shift = u64::from((64 - ns.leading_zeros()).saturating_sub(BITS + 1));
    usize::try_from(shift * PER_DOUBLING + (ns >> shift)).unwrap_or(usize::MAX)
}

/// The longest duration of a bucket.
fn upper_edge(bucket: u64) -> u64 {
    let shift = (bucket / PER_DOUBLING).saturating_sub(1);
    let first = bucket - shift * PER_DOUBLING;
    u64::try_from(((u128::from(first) + 1) << shift) - 1).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_duration_lies_in_its_bucket_and_buckets_are_narrow() {
        let doublings = (0..64).flat_map(|e| [(1_u64 << e) - 1, 1 << e, (1 << e) + (1 << e) / 3]);
        for ns in doublings.chain([u64::MAX]) {
            let edge = upper_edge(bucket_of(ns) as u64);
            assert!(edge >= ns, "{ns} is above its bucket's edge {edge}");
            assert!(edge - ns <= ns / 128, "the bucket of {ns} reaches up to {edge}");
            assert_eq!(bucket_of(edge), bucket_of(ns));
            assert!(edge == u64::MAX || bucket_of(edge + 1) == bucket_of(ns) + 1, "a gap above {edge}");
        }
    }

    #[test]
    fn quantiles_of_a_thousand_milliseconds_are_the_milliseconds() {
        let (mut odd, mut all) = (Histogram::default(), Histogram::default());
        for ms in 1..=1000 {
            if ms % 2 == 1 { &mut odd } else { &mut all }.record(Duration::from_millis(ms));
        }
        all.merge(&odd);
        assert_eq!((all.count(), all.max()), (1000, Duration::from_secs(1)));
        for (q, ms) in [(0.0, 1.0), (0.5, 500.0), (0.99, 990.0), (0.999, 999.0), (1.0, 1000.0)] {
            let found = all.quantile(q).as_secs_f64() * 1e3;
            assert!((ms..=ms * (1.0 + 1.0 / 128.0)).contains(&found), "quantile {q} is {found} ms");
        }
    }

    #[test]
    fn an_empty_histogram_answers_zero() {
        assert_eq!(Histogram::default().quantile(0.99), Duration::ZERO);
    }
}
