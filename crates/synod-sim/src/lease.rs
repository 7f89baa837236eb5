//! What is asked about leases, and answered, in the terms of the checkers.

use std::fmt;

use bytes::Bytes;
use synod_kv::{ApplyError, Command, LeaseExpire, LeaseGrant, LeaseIds, LeaseStatus, Response};
use synod_paxos::Slot;

/// One request about leases.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum LeaseOperation {
    /// Makes a lease of so many seconds.
    Grant { id: i64, ttl: i64 },
    /// Starts its time anew.
    KeepAlive { id: i64 },
    /// Ends it, due or not.
    Revoke { id: i64 },
    /// Ends those that are due. Asked by a leader, in this ballot.
    Expire { ids: Vec<i64>, by: (u64, u64) },
    /// How long it lives, and which keys it has.
    Status { id: i64, local: bool },
}

/// What became of it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum LeaseOutcome {
    /// It lives so many seconds from now on.
    Granted(i64),
    /// The same, anew; 0 if there is none, or it is over.
    Renewed(i64),
    /// It ended, and so many keys with it.
    Revoked(u64),
    /// These ended, and so many keys with them.
    Expired(Vec<i64>, u64),
    /// This is how it stands.
    Status(Option<Terms>, Moment),
    /// There is one already.
    RefusedExists,
    /// There is none, or it is over.
    RefusedNotFound,
}

/// A lease at some moment.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Terms {
    pub(crate) ttl: i64,
    pub(crate) remaining_ms: u64,
    pub(crate) keys: Vec<u64>,
}

/// A moment of the log: all slots below are applied, and this is its time.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Moment {
    pub(crate) end: Slot,
    pub(crate) time_ms: u64,
}

impl LeaseOperation {
    /// The command to replicate, if it is one.
    pub(crate) fn command(&self) -> Option<Command> {
        let several = |ids: &[i64]| LeaseIds::new(ids.to_vec()).expect("there are a few leases");
        Some(match self {
            Self::Grant { id, ttl } => {
                Command::LeaseGrant(LeaseGrant { id: *id, ttl: *ttl, ttl_min: 1 })
            }
            Self::KeepAlive { id } => Command::LeaseKeepAlive { ids: several(&[*id]) },
            Self::Revoke { id } => Command::LeaseRevoke { id: *id },
            Self::Expire { ids, by } => {
                Command::LeaseExpire(LeaseExpire { ids: several(ids), by: *by })
            }
            Self::Status { .. } => return None,
        })
    }
}

impl LeaseOutcome {
    /// What the store's answer to a command says, if it is one about leases.
    pub(crate) fn of_result(result: &Result<Response, ApplyError>) -> Option<Self> {
        Some(match result {
            Ok(Response::LeaseGrant(granted)) => Self::Granted(granted.ttl),
            Ok(Response::LeaseKeepAlive(renewed)) => {
                Self::Renewed(renewed.ttls.first().copied().unwrap_or(0))
            }
            Ok(Response::LeaseRevoke(revoked)) => Self::Revoked(revoked.deleted),
            Ok(Response::LeaseExpire(it)) => Self::Expired(it.expired.clone(), it.deleted),
            Err(ApplyError::LeaseExists { .. }) => Self::RefusedExists,
            Err(ApplyError::LeaseNotFound { .. }) => Self::RefusedNotFound,
            _ => return None,
        })
    }

    /// What a lease is found to be; none if its keys are not those of clients here.
    pub(crate) fn of_status(status: Option<&LeaseStatus>, at: Moment) -> Option<Self> {
        let Some(status) = status else { return Some(Self::Status(None, at)) };
        let keys: Option<Vec<u64>> = status.keys.iter().map(key_number).collect();
        let terms =
            Terms { ttl: status.granted_ttl, remaining_ms: status.remaining_ms, keys: keys? };
        Some(Self::Status(Some(terms), at))
    }

    /// How many keys it deleted.
    pub(crate) const fn deleted(&self) -> u64 {
        match self {
            Self::Revoked(deleted) | Self::Expired(_, deleted) => *deleted,
            _ => 0,
        }
    }
}

/// The number in the name of a key.
pub(crate) fn key_number(name: &Bytes) -> Option<u64> {
    std::str::from_utf8(name).ok()?.strip_prefix("key-")?.parse().ok()
}

impl fmt::Display for LeaseOperation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Grant { id, ttl } => write!(f, "grant lease {id} for {ttl} s"),
            Self::KeepAlive { id } => write!(f, "keep lease {id} alive"),
            Self::Revoke { id } => write!(f, "revoke lease {id}"),
            Self::Expire { ids, by } => write!(f, "leader {}.{}: expire {ids:?}", by.0, by.1),
            Self::Status { id, local: false } => write!(f, "look at lease {id}"),
            Self::Status { id, local: true } => write!(f, "look at lease {id} locally"),
        }
    }
}
