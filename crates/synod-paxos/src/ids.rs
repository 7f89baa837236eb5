//! Who speaks: members, their lives, and the ballots they own.

use std::fmt;

/// A member of the cluster. Never reused: a member that lost its disk comes back under a new id.
///
/// Zero names nobody; it is the owner of [`Ballot::ZERO`] only.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Ord, PartialOrd, Hash)]
pub struct ReplicaId(u64);

impl ReplicaId {
    /// The id with this number.
    #[must_use]
    pub const fn new(id: u64) -> Self {
        Self(id)
    }

    /// The number, for codecs and for people (etcd prints it in hexadecimal).
    #[must_use]
    pub const fn as_u64(self) -> u64 {
        self.0
    }
}

impl fmt::Display for ReplicaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.0)
    }
}

/// The life of a member's disk: drawn at random when its data folder is made, and kept in it.
///
/// A member that speaks under a known id with another incarnation has lost its promises.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Ord, PartialOrd, Hash)]
pub struct Incarnation(u64);

impl Incarnation {
    /// The incarnation with this number.
    #[must_use]
    pub const fn new(incarnation: u64) -> Self {
        Self(incarnation)
    }

    /// The number, for codecs.
    #[must_use]
    pub const fn as_u64(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// The sender of a message, as the transport has established it.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Ord, PartialOrd, Hash)]
pub struct Peer {
    /// Its id.
    pub id: ReplicaId,
    /// The life of its disk.
    pub incarnation: Incarnation,
}

/// A ballot: totally ordered, owned by the member in it, never used twice.
///
/// *Paxos Made Simple* §2.2 calls it a proposal number. The round is durable before the ballot is
/// spoken, so that a restarted member cannot use one again.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Ord, PartialOrd, Hash)]
pub struct Ballot {
    /// Compared first. Ends up as etcd's `raft_term`.
    pub round: u64,
    /// The member that may lead in this ballot; breaks ties.
    pub replica: ReplicaId,
}

impl Ballot {
    /// Below every ballot that a member can use.
    pub const ZERO: Self = Self { round: 0, replica: ReplicaId::new(0) };

    /// The first ballot of `replica` above this one.
    ///
    /// The round saturates at `u64::MAX`; a member refuses ballots near it (see
    /// [`Ballot::ROUND_MAX`]), so that nobody can use them all up.
    #[must_use]
    pub const fn next_of(self, replica: ReplicaId) -> Self {
        Self { round: self.round.saturating_add(1), replica }
    }

    /// The highest round a member takes from a peer. At a thousand elections a second it lasts for
    /// 35,000 years.
    pub const ROUND_MAX: u64 = 1 << 50;
}

impl fmt::Display for Ballot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.round, self.replica)
    }
}
