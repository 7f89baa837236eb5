//! What clients saw: each call with when it was sent, when it was answered, and what it said.

use std::time::Instant;

/// A moment of the run, in microseconds from its beginning.
pub type Micros = u64;

/// One call of one client.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Call {
    /// When it was sent.
    pub sent: Micros,
    /// When it was answered or given up.
    pub ended: Micros,
    /// What was asked.
    pub asked: Asked,
    /// What came of it.
    pub outcome: Outcome,
}

/// What a call asks. Every value is written once in a run, so it names its write.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Asked {
    /// Set the key to the value.
    Put {
        /// The key.
        key: String,
        /// The value, unlike that of any other call.
        value: String,
    },
    /// Read the key, linearizably.
    Get {
        /// The key.
        key: String,
    },
}

/// What came of a call.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// The write is at this revision.
    Written {
        /// The revision that the answer carries.
        revision: i64,
    },
    /// The read saw the store as of a revision.
    Seen {
        /// The revision that the answer carries.
        revision: i64,
        /// The key's value and the revision of its last write, if there is one.
        found: Option<(String, i64)>,
    },
    /// The call failed: it may have happened, now or later, or never.
    Unknown {
        /// The error.
        error: String,
    },
}

/// The clock of a run.
#[derive(Clone, Copy, Debug)]
pub struct Clock(Instant);

impl Clock {
    /// Begins now.
    #[must_use]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// The moment it is.
    #[must_use]
    pub fn now(self) -> Micros {
        Micros::try_from(self.0.elapsed().as_micros()).unwrap_or(Micros::MAX)
    }
}
