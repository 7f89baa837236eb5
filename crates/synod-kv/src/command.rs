//! What a client may ask the store: commands that write, and ranges.
//!
//! "Parse, don't validate": a value of these types is well-formed by construction, so that apply
//! has no malformed request to answer.

use std::num::NonZeroU64;

use bytes::Bytes;

use crate::alarm::{AlarmChange, SpaceReport};
use crate::auth::AuthCommand;
use crate::key::{Key, KeyRange};
use crate::lease::{LeaseExpire, LeaseGrant, LeaseIds};
use crate::revision::Revision;
use crate::txn::Txn;

/// A command of the log: changes the store, or may.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Command {
    /// Stores a value.
    Put(Put),
    /// Deletes keys.
    DeleteRange(DeleteRange),
    /// Compares, then does one of two lists of operations, all in one revision.
    Txn(Txn),
    /// Forgets history.
    Compact(Compact),
    /// Makes a lease.
    LeaseGrant(LeaseGrant),
    /// Ends a lease, due or not, and deletes its keys.
    LeaseRevoke {
        /// The lease.
        id: i64,
    },
    /// Starts the time of leases anew.
    LeaseKeepAlive {
        /// The leases, in any order.
        ids: LeaseIds,
    },
    /// Ends those leases that are due. Proposed by the leader, never by a client.
    LeaseExpire(LeaseExpire),
    /// Changes users, roles or permissions.
    Auth(AuthCommand),
    /// Raises or clears an alarm by hand.
    Alarm(AlarmChange),
    /// Raises or clears a member's alarm about space, as it finds it. Proposed by members, never by
    /// a client.
    SpaceReport(SpaceReport),
}

/// Stores a value under a key.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Put {
    /// The key.
    pub key: Key,
    /// The value; [`Assign::Keep`] is etcd's `ignore_value`.
    pub value: Assign<Bytes>,
    /// The lease to attach, 0 for none; [`Assign::Keep`] is etcd's `ignore_lease`.
    pub lease: Assign<i64>,
    /// Whether to answer what the key held before.
    pub prev_kv: bool,
}

/// A field to set, or to keep as the key has it. Keeping fails if there is no such key.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Assign<T> {
    /// The new value.
    Set(T),
    /// The old value stays.
    Keep,
}

/// Deletes all keys of a range. Deleting none changes nothing and makes no revision.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DeleteRange {
    /// The keys to delete.
    pub keys: KeyRange,
    /// Whether to answer what was deleted.
    pub prev_kv: bool,
}

/// Forgets what no read at `revision` or later can see.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Compact {
    /// Reads below it fail from now on; it is itself still readable.
    pub revision: Revision,
}

/// Reads the keys of a range.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Range {
    /// The keys to read.
    pub keys: KeyRange,
    /// At most so many keys in the answer, counted after filter and sort.
    pub limit: Option<NonZeroU64>,
    /// The revision to read at; none, or one below 1, is the current one.
    pub revision: Option<Revision>,
    /// In which order.
    pub sort: Sort,
    /// Leave the values out.
    pub keys_only: bool,
    /// Only count the keys.
    pub count_only: bool,
    /// Only keys within these revisions. `count` does not heed them, as in etcd.
    pub bounds: Bounds,
}

/// In which order a range answers.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Sort {
    /// Up or down.
    pub order: SortOrder,
    /// By what.
    pub target: SortTarget,
}

/// Up or down.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum SortOrder {
    /// As they come: by key upward, or upward by another target if one is given.
    #[default]
    None,
    /// Lowest first.
    Ascend,
    /// Highest first.
    Descend,
}

/// What a range is sorted by. Equal ones stay in the order of their keys.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum SortTarget {
    /// The key.
    #[default]
    Key,
    /// How often it was put since its creation.
    Version,
    /// The revision that created it.
    Create,
    /// The revision that changed it last.
    Mod,
    /// The value.
    Value,
}

/// Which revisions of creation and change a range lets through; both ends belong to it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Bounds {
    /// The lowest revision of the last change.
    pub min_mod: Option<Revision>,
    /// The highest revision of the last change.
    pub max_mod: Option<Revision>,
    /// The lowest revision of creation.
    pub min_create: Option<Revision>,
    /// The highest revision of creation.
    pub max_create: Option<Revision>,
}

impl Put {
    /// Stores a value under a key, without lease.
    #[must_use]
    pub const fn new(key: Key, value: Bytes) -> Self {
        Self { key, value: Assign::Set(value), lease: Assign::Set(0), prev_kv: false }
    }

    /// Whether the put is an error without a key that exists.
    pub(crate) const fn needs_key(&self) -> bool {
        matches!(self.value, Assign::Keep) || matches!(self.lease, Assign::Keep)
    }
}

impl DeleteRange {
    /// Deletes the keys of a range.
    #[must_use]
    pub const fn new(keys: KeyRange) -> Self {
        Self { keys, prev_kv: false }
    }
}

impl Range {
    /// All keys of a range, at the current revision, by key.
    #[must_use]
    pub fn new(keys: KeyRange) -> Self {
        Self {
            keys,
            limit: None,
            revision: None,
            sort: Sort::default(),
            keys_only: false,
            count_only: false,
            bounds: Bounds::default(),
        }
    }

    /// The same at a revision.
    #[must_use]
    pub const fn at(mut self, revision: Revision) -> Self {
        self.revision = Some(revision);
        self
    }

    /// The same with at most so many keys; 0 for all.
    #[must_use]
    pub const fn limited(mut self, limit: u64) -> Self {
        self.limit = NonZeroU64::new(limit);
        self
    }

    /// The revision it names, unless that means the current one.
    #[must_use]
    pub fn past_revision(&self) -> Option<Revision> {
        self.revision.filter(|revision| *revision > Revision::ZERO)
    }
}

impl Bounds {
    /// Whether every key passes.
    #[must_use]
    pub fn is_open(&self) -> bool {
        *self == Self::default()
    }

    /// Whether a key of these revisions passes.
    #[must_use]
    pub fn admit(&self, create: Revision, modified: Revision) -> bool {
        self.min_mod.is_none_or(|min| modified >= min)
            && self.max_mod.is_none_or(|max| modified <= max)
            && self.min_create.is_none_or(|min| create >= min)
            && self.max_create.is_none_or(|max| create <= max)
    }
}
