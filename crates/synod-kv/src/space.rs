//! What counts against a space quota.
//!
//! **Space in use** is, on every member the same:
//!
//! * of each key that exists, its length and that of its value,
//! * of each older version and each deletion that reads at the compact revision or history from
//!   there on may still need, likewise,
//! * [`VERSION_SPACE`] for each of these, and [`LEASE_SPACE`] for each lease.
//!
//! History counts, as it takes space on disk like all else; a compaction frees it at once, though
//! the rows go later, in slices. What the engine takes on disk does not count: that differs between
//! members, and depends on what each has reclaimed.

use crate::command::{Assign, Command, Put};
use crate::row::live_bytes;
use crate::txn::{Op, Txn};

/// What a version takes beside its key and value: its row's own fields and its place in the index.
pub const VERSION_SPACE: u64 = 128;

/// What a lease takes.
pub const LEASE_SPACE: u64 = 64;

impl Command {
    /// How much space the command may take, at most; 0 if it takes none. Deletions take some as
    /// well, but are the way to free more, so they count as none.
    #[must_use]
    pub fn space(&self) -> u64 {
        match self {
            Self::Put(put) => of_put(put),
            Self::Txn(txn) => of_txn(txn),
            Self::LeaseGrant(_) => LEASE_SPACE,
            Self::DeleteRange(_)
            | Self::Compact(_)
            | Self::LeaseRevoke { .. }
            | Self::LeaseKeepAlive { .. }
            | Self::LeaseExpire(_)
            | Self::Auth(_)
            | Self::Alarm(_)
            | Self::SpaceReport(_) => 0,
        }
    }
}

fn of_put(put: &Put) -> u64 {
    let value: &[u8] = match &put.value {
        Assign::Set(value) => value,
        Assign::Keep => &[],
    };
    VERSION_SPACE + live_bytes(put.key.as_bytes(), value)
}

/// That of the branch which takes more, as in etcd: which one is taken, only apply knows.
fn of_txn(txn: &Txn) -> u64 {
    let branch = |ops: &[Op]| -> u64 {
        ops.iter()
            .map(|op| match op {
                Op::Put(put) => of_put(put),
                Op::Txn(nested) => of_txn(nested),
                Op::Range(_) | Op::DeleteRange(_) => 0,
            })
            .sum()
    };
    branch(txn.success()).max(branch(txn.failure()))
}
