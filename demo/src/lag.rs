//! Percentiles of measured times. No I/O.

use std::time::Duration;

/// Measured times.
#[derive(Debug, Clone, Default)]
pub struct Times(Vec<Duration>);

impl FromIterator<Duration> for Times {
    fn from_iter<I: IntoIterator<Item = Duration>>(times: I) -> Self {
        let mut times: Vec<Duration> = times.into_iter().collect();
        times.sort();
        Self(times)
    }
}

impl Times {
    /// Returns the number of times.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns whether there are no times.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the longest time.
    pub fn max(&self) -> Option<Duration> {
        self.0.last().copied()
    }

    /// Returns the smallest time that `percent` percent of all do not exceed (nearest rank).
    pub fn percentile(&self, percent: usize) -> Option<Duration> {
        let rank = (self.0.len() * percent).div_ceil(100);
        self.0.get(rank.saturating_sub(1)).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(count: u64) -> Times {
        (1..=count).rev().map(Duration::from_millis).collect()
    }

    #[test]
    fn percentiles_are_of_the_nearest_rank() {
        let hundred = times(100);
        let ms = |percent| hundred.percentile(percent).unwrap().as_millis();
        assert_eq!([ms(0), ms(50), ms(99), ms(100)], [1, 50, 99, 100]);
        assert_eq!(times(3).percentile(50), Some(Duration::from_millis(2)));
        assert_eq!(hundred.max(), Some(Duration::from_millis(100)));
    }

    #[test]
    fn no_times_have_no_percentile() {
        assert_eq!(times(0).percentile(50), None);
        assert_eq!(times(0).max(), None);
    }
}
