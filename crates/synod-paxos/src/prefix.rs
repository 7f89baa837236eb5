//! What is known of the chosen part of the log, in three numbers.

use crate::ids::Ballot;
use crate::slot::Slot;
use crate::time::LogTime;
use crate::value::Value;

/// A summary of a prefix of the log in which every slot is chosen.
///
/// It outlives the values, so a state machine keeps it beside its state: without the last barrier
/// nobody could tell void batches from others after a restart, nor where the log's time stands.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Hash)]
pub struct Prefix {
    /// Every slot below is chosen.
    pub end: Slot,
    /// The highest ballot of all barriers in it; [`Ballot::ZERO`] if there is none.
    pub barrier: Ballot,
    /// The highest stamp in it.
    pub time: LogTime,
}

impl Prefix {
    /// Adds the value to apply for the slot at its end.
    pub fn extend(&mut self, value: &Value) {
        self.end = self.end.next();
        match value {
            Value::Noop => {}
            Value::Barrier(ballot) => self.barrier = self.barrier.max(*ballot),
            Value::Batch(batch) => self.time = self.time.max(batch.stamp),
        }
    }

    /// Whether a value chosen for the slot at its end is to be applied as a no-op: a batch that was
    /// first proposed below a barrier that the prefix holds.
    #[must_use]
    pub fn voids(&self, value: &Value) -> bool {
        matches!(value, Value::Batch(batch) if batch.ballot < self.barrier)
    }

    /// What both know together: the longer end, the higher barrier, the later time.
    #[must_use]
    pub fn max(self, other: Self) -> Self {
        Self {
            end: self.end.max(other.end),
            barrier: self.barrier.max(other.barrier),
            time: self.time.max(other.time),
        }
    }
}
