//! Leases as commands and answers name them.
//!
//! A lease ends when *log time* reaches its deadline: the log time of its last renewal and its
//! TTL. Log time is the highest stamp applied, so that every member has the same deadlines, a
//! change of leader resets none, and a leader whose clock or queue is late ends none that was
//! renewed: [`Command::LeaseExpire`](crate::Command::LeaseExpire) only *asks*.
//!
//! Ids are any numbers but 0, negative ones too: etcd grants those.

use bytes::Bytes;

use crate::revision::Revision;

/// The longest TTL in seconds; etcd's.
pub const LEASE_TTL_MAX: i64 = 9_000_000_000;

/// How many leases one command may name.
pub const LEASE_IDS_MAX: usize = 4096;

/// Makes a lease.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct LeaseGrant {
    /// Its id; 0 to have one chosen.
    pub id: i64,
    /// How long it lives without renewal, in seconds. Not above [`LEASE_TTL_MAX`].
    pub ttl: i64,
    /// A lower TTL, 0 and below included, is raised to this one. The same for all members as it
    /// comes with the command, whatever their options say.
    pub ttl_min: u32,
}

/// Ends those leases that are due.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LeaseExpire {
    /// The leases. Those that are unknown, or not due in log time, are passed over.
    pub ids: LeaseIds,
    /// Round and replica of the ballot of the leader that proposes it: tells in the log who did.
    pub by: (u64, u64),
}

/// Ids of leases, at most [`LEASE_IDS_MAX`].
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct LeaseIds(Vec<i64>);

/// More leases than a command may name.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{count} leases in a command, at most {LEASE_IDS_MAX} are allowed: send several")]
pub struct TooManyLeases {
    /// How many they are.
    pub count: usize,
}

impl LeaseIds {
    /// These ids.
    ///
    /// # Errors
    /// If they are too many.
    pub fn new(ids: Vec<i64>) -> Result<Self, TooManyLeases> {
        let count = ids.len();
        if count > LEASE_IDS_MAX { Err(TooManyLeases { count }) } else { Ok(Self(ids)) }
    }

    /// The ids.
    #[must_use]
    pub fn as_slice(&self) -> &[i64] {
        &self.0
    }
}

/// The answer to a grant.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct LeaseGrantResponse {
    /// The lease.
    pub id: i64,
    /// The TTL granted, in seconds.
    pub ttl: i64,
}

/// The answer to a revoke.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct LeaseRevokeResponse {
    /// The revision it made, or found if the lease had no keys.
    pub revision: Revision,
    /// How many keys it deleted.
    pub deleted: u64,
}

/// The answer to a keep-alive.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct LeaseKeepAliveResponse {
    /// For each id of the command, in its order, the TTL in seconds that begins anew; 0 if there
    /// is no such lease, or it is over.
    pub ttls: Vec<i64>,
}

/// The answer to an expiry.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct LeaseExpireResponse {
    /// The revision it made, or found if no key went.
    pub revision: Revision,
    /// The leases it ended.
    pub expired: Vec<i64>,
    /// How many keys it deleted.
    pub deleted: u64,
}

/// A lease as [`Reader::lease`](crate::Reader::lease) finds it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct LeaseStatus {
    /// Its id.
    pub id: i64,
    /// The TTL granted, in seconds.
    pub granted_ttl: i64,
    /// Milliseconds until it is due; 0 if it is.
    pub remaining_ms: u64,
    /// Its keys, upward, if asked for.
    pub keys: Vec<Bytes>,
}
