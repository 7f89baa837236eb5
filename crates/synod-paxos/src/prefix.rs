//! What is known of the chosen part of the log, in three numbers.

use crate::ids::Ballot;
use crate::slot::Slot;
use crate::time::LogTime;
use crate::value::Value;

/// A summary of a prefix of the log in which every slot is chosen.
///
/// It outlives the values: a member whose log was trimmed still knows the last barrier, without
/// which it could not tell dead values from living ones, and where the log's time stands.
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
    /// Adds the value chosen for the slot at its end.
    pub fn extend(&mut self, value: &Value) {
        self.end = self.end.next();
        self.fold(value);
    }

    /// Notes what a value of the prefix says, without moving the end.
    pub(crate) fn fold(&mut self, value: &Value) {
        match value {
            Value::Noop => {}
            Value::Barrier(ballot) => self.barrier = self.barrier.max(*ballot),
            Value::Batch(batch) => self.time = self.time.max(batch.stamp),
        }
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
