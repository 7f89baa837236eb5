//! Positions in the replicated log.

use std::fmt;

/// A position in the log. Slots count from 1; each chooses one value.
///
/// As a watermark a slot is exclusive: every slot *below* it is so.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Ord, PartialOrd, Hash)]
pub struct Slot(u64);

impl Slot {
    /// The first slot; as a watermark: nothing yet.
    pub const FIRST: Self = Self(1);

    /// The slot with this number; zero is taken as the first.
    #[must_use]
    pub const fn new(slot: u64) -> Self {
        if slot == 0 { Self::FIRST } else { Self(slot) }
    }

    /// The number.
    #[must_use]
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    /// The slot after this one.
    ///
    /// # Panics
    /// After 2^64 slots.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.checked_add(1).expect("fewer than 2^64 slots in the life of a cluster"))
    }

    /// How many slots lie between `earlier` and this one; 0 if it is not earlier.
    #[must_use]
    pub const fn distance_from(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// The slot `count` after this one; stays at the highest number there is.
    #[must_use]
    pub const fn plus(self, count: u64) -> Self {
        Self(self.0.saturating_add(count))
    }
}

impl Default for Slot {
    fn default() -> Self {
        Self::FIRST
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}
