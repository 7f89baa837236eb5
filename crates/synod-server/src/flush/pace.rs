//! How fast dead rows are reclaimed: in slices, with pauses between them.
//!
//! Reclaiming shares the disk with the log, and its index with everybody. So a slice is small, its
//! size follows from how long the last ones took, and the pause after it is at least as long as it
//! took: the disk belongs to others for half of the time or more, the more so the slower it is.

use std::time::{Duration, Instant};

use crate::config::SpaceConfig;

/// The bounds of slices, as configured.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Pace {
    /// The most rows of a slice.
    rows_max: usize,
    /// The least pause after one.
    pause_min: Duration,
}

/// When the next slice may begin, and how large it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Slices {
    pace: Pace,
    rows: usize,
    not_before: Instant,
}

/// A slice that takes longer is halved, one that takes a quarter of it may grow.
const SLICE_TIME: Duration = Duration::from_millis(20);
/// Slices do not get smaller than this, or than what is configured: each costs a sync.
const ROWS_MIN: usize = 128;
/// A stall of the disk does not end reclaiming.
const PAUSE_MAX: Duration = Duration::from_secs(1);

impl Pace {
    /// As configured.
    pub(crate) fn of(config: &SpaceConfig) -> Self {
        let rows_max = usize::try_from(config.compaction_batch).unwrap_or(usize::MAX);
        Self { rows_max, pause_min: config.compaction_pause }
    }

    /// The slices of a flusher that begins now.
    pub(crate) fn slices(self, now: Instant) -> Slices {
        Slices { pace: self, rows: ROWS_MIN.min(self.rows_max), not_before: now }
    }
}

impl Slices {
    /// How many rows may be reclaimed now: none during a pause.
    pub(crate) fn rows(&self, now: Instant) -> usize {
        if now < self.not_before { 0 } else { self.rows }
    }

    /// How long the pause lasts from now.
    pub(crate) fn pause(&self, now: Instant) -> Duration {
        self.not_before.saturating_duration_since(now)
    }

    /// A slice was reclaimed, which took so long and ended now.
    pub(crate) fn took(&mut self, took: Duration, now: Instant) {
        let least = ROWS_MIN.min(self.pace.rows_max);
        if took > SLICE_TIME {
            self.rows = (self.rows / 2).max(least);
        } else if took < SLICE_TIME / 4 {
            self.rows = (self.rows * 2).min(self.pace.rows_max);
        }
        self.not_before = now + took.max(self.pace.pause_min).min(PAUSE_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn slices(rows_max: usize) -> (Slices, Instant) {
        let now = Instant::now();
        (Pace { rows_max, pause_min: 10 * MS }.slices(now), now)
    }

    #[test]
    fn the_pause_is_as_long_as_the_slice_within_bounds() {
        let (mut slices, now) = slices(1000);
        assert!(slices.rows(now) > 0);
        for (took, pause) in [(MS, 10 * MS), (300 * MS, 300 * MS), (9000 * MS, 1000 * MS)] {
            slices.took(took, now);
            assert_eq!(slices.pause(now), pause);
            assert_eq!(slices.rows(now + pause - MS / 2), 0);
            assert!(slices.rows(now + pause) > 0);
        }
    }

    #[test]
    fn slices_grow_on_a_fast_disk_and_shrink_on_a_slow_one() {
        let (mut slices, now) = slices(1000);
        let mut sizes = Vec::new();
        for took in [1, 1, 1, 1, 10, 30, 30, 30, 30].map(|ms| ms * MS) {
            slices.took(took, now);
            sizes.push(slices.rows(now + PAUSE_MAX));
        }
        assert_eq!(sizes, [256, 512, 1000, 1000, 1000, 500, 250, 128, 128]);
    }

    #[test]
    fn one_row_at_a_time_is_possible() {
        let (mut slices, now) = slices(1);
        slices.took(MS, now);
        assert_eq!(slices.rows(now + PAUSE_MAX), 1);
        slices.took(99 * MS, now);
        assert_eq!(slices.rows(now + PAUSE_MAX), 1);
    }
}
