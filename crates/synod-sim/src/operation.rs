//! What clients ask of the store and what they get back, in the terms of the checkers.
//!
//! Keys are numbers, and so are values: each value is written by one operation only, so that
//! whoever reads it knows who wrote it.

use std::fmt;

use bytes::Bytes;
use synod_kv::{
    ApplyError, Assign, Command, Compact, Compare, Comparison, DeleteRange, Key, KeyRange,
    KeyValue, Op, OpResponse, Put, Range, RangeResponse, Reply, Response, Revision, Target, Txn,
};

use crate::lease::{LeaseOperation, LeaseOutcome, key_number};

/// One request of a client, or of a leader about leases.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Operation {
    /// Stores a value, padded to some length, under a lease if that is not 0.
    Put { key: u64, value: u64, padding: usize, lease: i64 },
    /// Deletes a key.
    Delete { key: u64 },
    /// Stores a value if the key was last changed at a revision; reads the key otherwise.
    Swap { key: u64, expected: i64, value: u64 },
    /// Forgets the history below a revision.
    Compact { revision: i64 },
    /// Reads one key, or all.
    Read { key: Option<u64>, at: Option<i64>, local: bool },
    /// Something about leases.
    Lease(LeaseOperation),
}

/// A key as it was at some revision.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Item {
    pub(crate) key: u64,
    pub(crate) value: u64,
    pub(crate) created: i64,
    pub(crate) modified: i64,
    pub(crate) version: i64,
    pub(crate) lease: i64,
}

/// What the store answered.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Answer {
    /// The revision in its header.
    pub(crate) revision: i64,
    /// What became of the operation.
    pub(crate) outcome: Outcome,
}

/// What became of an operation.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Outcome {
    /// The value is stored.
    Stored,
    /// So many keys are deleted.
    Deleted(u64),
    /// The key had changed at another revision, and holds this.
    Unswapped(Option<Item>),
    /// What was read.
    Items(Vec<Item>),
    /// History is forgotten.
    Compacted,
    /// It names history that is forgotten.
    RefusedCompacted,
    /// It names a revision that is not there yet.
    RefusedFuture,
    /// Something about leases.
    Lease(LeaseOutcome),
    /// Something that no operation here can cause.
    Unexpected(String),
}

impl Operation {
    /// Whether it goes through the log.
    pub(crate) const fn is_write(&self) -> bool {
        !matches!(self, Self::Read { .. } | Self::Lease(LeaseOperation::Status { .. }))
    }

    /// Whether it is answered from whatever the member holds.
    pub(crate) const fn is_local(&self) -> bool {
        use LeaseOperation::Status;
        matches!(self, Self::Read { local: true, .. } | Self::Lease(Status { local: true, .. }))
    }

    /// The command to replicate, behind the number of the operation.
    pub(crate) fn payload(&self, number: u64) -> Option<Bytes> {
        let command = match self {
            Self::Put { key, value, padding, lease } => {
                Command::Put(Put { lease: Assign::Set(*lease), ..put(*key, *value, *padding) })
            }
            Self::Delete { key } => Command::DeleteRange(DeleteRange::new(single(*key))),
            Self::Swap { key, expected, value } => Command::Txn(swap(*key, *expected, *value)),
            Self::Compact { revision } => {
                Command::Compact(Compact { revision: Revision::new(*revision) })
            }
            Self::Lease(lease) => lease.command()?,
            Self::Read { .. } => return None,
        };
        Some([&number.to_le_bytes()[..], &command.encode()].concat().into())
    }

    /// The range to read.
    pub(crate) fn range(&self) -> Option<Range> {
        let Self::Read { key, at, .. } = self else { return None };
        let range = Range::new(key.map_or_else(KeyRange::all, single));
        Some(match at {
            Some(revision) => range.at(Revision::new(*revision)),
            None => range,
        })
    }
}

/// Takes a payload apart into the number of its operation and the command.
pub(crate) fn split_payload(payload: &Bytes) -> Option<(u64, Bytes)> {
    let (number, _) = payload.split_first_chunk::<8>()?;
    Some((u64::from_le_bytes(*number), payload.slice(8..)))
}

fn key_name(key: u64) -> Key {
    Key::new(Bytes::from(format!("key-{key:03}"))).expect("the name is not empty")
}

fn single(key: u64) -> KeyRange {
    KeyRange::Single(key_name(key))
}

fn put(key: u64, value: u64, padding: usize) -> Put {
    let mut bytes = value.to_le_bytes().to_vec();
    bytes.resize(8 + padding, b'.');
    Put::new(key_name(key), Bytes::from(bytes))
}

fn swap(key: u64, expected: i64, value: u64) -> Txn {
    let unchanged =
        Compare { keys: single(key), comparison: Comparison::Equal, target: Target::Mod(expected) };
    let success = vec![Op::Put(put(key, value, 0))];
    Txn::new(vec![unchanged], success, vec![Op::Range(Range::new(single(key)))])
        .expect("it changes one key once")
}

impl Answer {
    /// The answer that a reply to a command gives.
    pub(crate) fn of_reply(reply: &Reply) -> Self {
        let outcome = match &reply.result {
            Ok(Response::Put(_)) => Outcome::Stored,
            Ok(Response::DeleteRange(deleted)) => Outcome::Deleted(deleted.deleted),
            Ok(Response::Compact(_)) => Outcome::Compacted,
            Ok(Response::Txn(txn)) => match txn.responses.as_slice() {
                [OpResponse::Put(_)] if txn.succeeded => Outcome::Stored,
                [OpResponse::Range(range)] if !txn.succeeded => unswapped(range),
                other => Outcome::Unexpected(format!("{other:?}")),
            },
            Err(ApplyError::Compacted { .. }) => Outcome::RefusedCompacted,
            Err(ApplyError::FutureRevision { .. }) => Outcome::RefusedFuture,
            other => match LeaseOutcome::of_result(other) {
                Some(lease) => Outcome::Lease(lease),
                None => Outcome::Unexpected(format!("{other:?}")),
            },
        };
        Self { revision: reply.revision.as_i64(), outcome }
    }

    /// The answer that a range gives.
    pub(crate) fn of_range(range: &RangeResponse) -> Self {
        let outcome = match range.kvs.iter().map(item).collect() {
            Some(items) => Outcome::Items(items),
            None => Outcome::Unexpected(format!("{range:?}")),
        };
        Self { revision: range.revision.as_i64(), outcome }
    }
}

fn unswapped(range: &RangeResponse) -> Outcome {
    match range.kvs.as_slice() {
        [] => Outcome::Unswapped(None),
        [kv] if item(kv).is_some() => Outcome::Unswapped(item(kv)),
        other => Outcome::Unexpected(format!("{other:?}")),
    }
}

fn item(kv: &KeyValue) -> Option<Item> {
    let (value, padding) = kv.value.split_first_chunk::<8>()?;
    if padding.iter().any(|byte| *byte != b'.') {
        return None;
    }
    Some(Item {
        key: key_number(&kv.key)?,
        value: u64::from_le_bytes(*value),
        created: kv.create_revision.as_i64(),
        modified: kv.mod_revision.as_i64(),
        version: kv.version,
        lease: kv.lease,
    })
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Put { key, value, lease: 0, .. } => write!(f, "put {key} = {value}"),
            Self::Put { key, value, lease, .. } => {
                write!(f, "put {key} = {value} under lease {lease}")
            }
            Self::Lease(lease) => write!(f, "{lease}"),
            Self::Delete { key } => write!(f, "delete {key}"),
            Self::Swap { key, expected, value } => {
                write!(f, "put {key} = {value} if unchanged since {expected}")
            }
            Self::Compact { revision } => write!(f, "compact {revision}"),
            Self::Read { key, at, local } => {
                f.write_str(if *local { "read locally " } else { "read " })?;
                match key {
                    Some(key) => write!(f, "{key}")?,
                    None => f.write_str("all")?,
                }
                at.map_or(Ok(()), |revision| write!(f, " at {revision}"))
            }
        }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "revision {}: ", self.revision)?;
        match &self.outcome {
            Outcome::Stored => f.write_str("stored"),
            Outcome::Deleted(count) => write!(f, "deleted {count}"),
            Outcome::Unswapped(item) => write!(f, "not swapped, holds {item:?}"),
            Outcome::Items(items) if items.len() == 1 => write!(f, "{:?}", items[0]),
            Outcome::Items(items) => write!(f, "{} keys", items.len()),
            Outcome::Compacted => f.write_str("compacted"),
            Outcome::RefusedCompacted => f.write_str("refused: compacted"),
            Outcome::RefusedFuture => f.write_str("refused: future revision"),
            Outcome::Lease(lease) => write!(f, "{lease:?}"),
            Outcome::Unexpected(what) => write!(f, "unexpected: {what}"),
        }
    }
}
