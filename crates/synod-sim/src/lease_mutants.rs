//! Wrong variants of what members do about leases, to prove that the checkers can fail.
//!
//! They live in what surrounds the store here, as nothing in the store would let them in.

/// A wrong variant.
#[cfg_attr(
    not(feature = "mutants"),
    expect(unreachable_pub, reason = "public with the feature only")
)]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LeaseMutant {
    /// Leases are granted and end by the clock of the member instead of the log's time.
    LocalClock,
    /// What a leader takes for due is ended, whether it is or not: one that was held up, or is no
    /// leader any more, revokes what was renewed since.
    StaleLeaderRevokes,
    /// A new leader gives all leases their time anew.
    ResetByNewLeader,
}

impl LeaseMutant {
    /// All of them.
    #[cfg(feature = "mutants")]
    pub const ALL: [Self; 3] = [Self::LocalClock, Self::StaleLeaderRevokes, Self::ResetByNewLeader];
}
