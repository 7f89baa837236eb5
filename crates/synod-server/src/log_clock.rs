//! The log's time as this member reckons it between batches.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// The highest stamp applied here, and what has passed since.
///
/// While somebody leads, this is at most what the leader would stamp now: a batch is stamped
/// before it is applied. What it is good for can bear that it is a little behind.
#[derive(Debug)]
pub(crate) struct LogClock(Mutex<Anchor>);

#[derive(Clone, Copy, Debug)]
struct Anchor {
    time_ms: u64,
    at: Instant,
}

impl LogClock {
    /// A clock that stands at this log time now.
    pub(crate) fn new(time_ms: u64) -> Self {
        Self(Mutex::new(Anchor { time_ms, at: Instant::now() }))
    }

    /// A batch with this stamp, or a later one, was applied. Stamps come in order.
    pub(crate) fn stamped(&self, time_ms: u64) {
        let mut anchor = self.0.lock();
        if time_ms > anchor.time_ms {
            *anchor = Anchor { time_ms, at: Instant::now() };
        }
    }

    /// There is another leader, or none: what has passed since the last stamp may not count.
    pub(crate) fn restart(&self) {
        self.0.lock().at = Instant::now();
    }

    /// The log's time now, in milliseconds.
    pub(crate) fn time_ms(&self) -> u64 {
        let Anchor { time_ms, at } = *self.0.lock();
        time_ms.saturating_add(u64::try_from(at.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    /// How long until a log time.
    pub(crate) fn until(&self, time_ms: u64) -> Duration {
        Duration::from_millis(time_ms.saturating_sub(self.time_ms()))
    }
}
