//! Revisions: the store's own count of changes.

use std::fmt;

/// A state of the store. Each command that changes something makes the next one.
///
/// A fresh store is at revision 1, the first write makes 2. All changes of one transaction share
/// one revision. Revisions never go down, over restarts and changes of leader alike.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Ord, PartialOrd, Hash)]
pub struct Revision(i64);

impl Revision {
    /// The revision of an empty store.
    pub const FIRST: Self = Self(1);

    /// Before any revision. In a request: the current one.
    pub const ZERO: Self = Self(0);

    /// The compact revision of a store that was never compacted. Below zero, as in etcd, where
    /// the first compaction may name revision 0.
    pub const NEVER: Self = Self(-1);

    /// After any revision.
    pub(crate) const MAX: Self = Self(i64::MAX);

    /// The revision with this number.
    #[must_use]
    pub const fn new(revision: i64) -> Self {
        Self(revision)
    }

    /// The revision a request names; none if it leaves the field at 0.
    #[must_use]
    pub const fn named(revision: i64) -> Option<Self> {
        if revision == 0 { None } else { Some(Self(revision)) }
    }

    /// The number.
    #[must_use]
    pub const fn as_i64(self) -> i64 {
        self.0
    }

    /// The revision before this one; before [`Revision::ZERO`] there is only [`Revision::NEVER`].
    #[must_use]
    pub const fn previous(self) -> Self {
        if self.0 <= Self::NEVER.0 { Self::NEVER } else { Self(self.0 - 1) }
    }

    /// The revision after this one.
    ///
    /// # Panics
    /// After 2^63 revisions.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.checked_add(1).expect("fewer than 2^63 revisions in the life of a cluster"))
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Where a change stands in history: its revision, and its place among the changes of that
/// revision. Names the change's row in the engine.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Ord, PartialOrd)]
pub(crate) struct Position {
    /// The revision of the command that made the change.
    pub(crate) revision: Revision,
    /// Counts from 0 within the revision.
    pub(crate) sub: u32,
}

impl Position {
    /// The first position of a revision.
    pub(crate) const fn start_of(revision: Revision) -> Self {
        Self { revision, sub: 0 }
    }
}
