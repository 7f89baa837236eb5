//! Transactions: comparisons, then one of two lists of operations.

use bytes::Bytes;

use crate::command::{DeleteRange, Put, Range};
use crate::conflict::{self, DuplicateKey};
use crate::key::KeyRange;

/// Compares, then does `success` if all comparisons hold, else `failure`: all in one revision.
///
/// Invariants, checked by [`Txn::new`]:
///
/// * No key is put twice, or put and deleted, on one path, as etcd checks it.
/// * Transactions nest at most [`Txn::DEPTH_MAX`] deep.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Txn {
    compares: Vec<Compare>,
    success: Vec<Op>,
    failure: Vec<Op>,
    depth: usize,
}

/// One operation of a transaction.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Op {
    /// Reads; sees the writes of the operations before it.
    Range(Range),
    /// Stores.
    Put(Put),
    /// Deletes.
    DeleteRange(DeleteRange),
    /// A transaction within. Its comparisons are made on the state before the outermost one.
    Txn(Txn),
}

/// A condition on a key, or on every key of a range.
///
/// Without any such key, versions, revisions and lease count as 0 and a value never compares.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Compare {
    /// The keys to compare.
    pub keys: KeyRange,
    /// How what the key has must stand to the target.
    pub comparison: Comparison,
    /// What to compare, and with what.
    pub target: Target,
}

/// How what the key has must stand to what is given.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Comparison {
    /// The same.
    Equal,
    /// Above it.
    Greater,
    /// Below it.
    Less,
    /// Something else.
    NotEqual,
}

/// What of a key is compared, and with what.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Target {
    /// How often it was put since its creation.
    Version(i64),
    /// The revision that created it.
    Create(i64),
    /// The revision that changed it last.
    Mod(i64),
    /// Its value.
    Value(Bytes),
    /// Its lease.
    Lease(i64),
}

/// Why a transaction is refused before anything happens.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum TxnError {
    /// It would change one key twice.
    #[error("duplicate key given in txn request: a key changes once per transaction")]
    DuplicateKey,
    /// It nests too deep.
    #[error("transactions nest {depth} deep, at most {} are allowed", Txn::DEPTH_MAX)]
    TooDeep {
        /// How deep it is.
        depth: usize,
    },
}

impl Txn {
    /// How deep transactions may nest; one without another inside is 1 deep.
    pub const DEPTH_MAX: usize = 32;

    /// A transaction of these parts.
    ///
    /// # Errors
    /// If it would change a key twice, or nests too deep.
    pub fn new(
        compares: Vec<Compare>,
        success: Vec<Op>,
        failure: Vec<Op>,
    ) -> Result<Self, TxnError> {
        let nested = nested(&success).chain(nested(&failure));
        let depth = 1 + nested.map(|txn| txn.depth).max().unwrap_or(0);
        if depth > Self::DEPTH_MAX {
            return Err(TxnError::TooDeep { depth });
        }
        for branch in [&success, &failure] {
            conflict::check(branch).map_err(|DuplicateKey| TxnError::DuplicateKey)?;
        }
        Ok(Self { compares, success, failure, depth })
    }

    /// The conditions.
    #[must_use]
    pub fn compares(&self) -> &[Compare] {
        &self.compares
    }

    /// What is done if all conditions hold.
    #[must_use]
    pub fn success(&self) -> &[Op] {
        &self.success
    }

    /// What is done if one does not.
    #[must_use]
    pub fn failure(&self) -> &[Op] {
        &self.failure
    }

    /// One of the two lists.
    pub(crate) fn branch(&self, succeeded: bool) -> &[Op] {
        if succeeded { &self.success } else { &self.failure }
    }

    /// How many operations count against etcd's limit of operations per transaction: the longest
    /// of its three lists, and those of the longest transaction within.
    #[must_use]
    pub fn op_count(&self) -> usize {
        let own = self.compares.len().max(self.success.len()).max(self.failure.len());
        let nested = nested(&self.success).chain(nested(&self.failure));
        own + nested.map(Self::op_count).max().unwrap_or(0)
    }

    /// Whether neither branch can change anything: such a transaction needs no log.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.success.iter().chain(&self.failure).all(|op| match op {
            Op::Range(_) => true,
            Op::Put(_) | Op::DeleteRange(_) => false,
            Op::Txn(txn) => txn.is_read_only(),
        })
    }
}

/// The transactions among these operations.
fn nested(ops: &[Op]) -> impl Iterator<Item = &Txn> {
    ops.iter().filter_map(|op| match op {
        Op::Txn(txn) => Some(txn),
        _ => None,
    })
}
