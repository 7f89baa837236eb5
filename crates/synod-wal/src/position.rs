//! Where a record is, and whose log it is in.

use std::fmt;

/// A place in the log, counted in bytes since the log began: the segment's number times the
/// segment size, plus the offset in the segment.
///
/// Later records have higher positions, also across a reopening; a position that was given out is
/// given to another record only if the first was never synced.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Position(pub(crate) u64);

impl Position {
    /// Below every record.
    pub const ZERO: Self = Self(0);

    /// The position of a number once given by [`Position::to_u64`].
    pub const fn from_u64(offset: u64) -> Self {
        Self(offset)
    }

    /// The number, to be kept elsewhere.
    pub const fn to_u64(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Whose log it is: 32 bytes that the user packs and compares, and the log only keeps.
///
/// A log opened with another owner than it was created with is refused.
#[derive(Clone, Copy, Eq, Hash, PartialEq)]
pub struct Owner(pub [u8; 32]);

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Owner({self})")
    }
}
