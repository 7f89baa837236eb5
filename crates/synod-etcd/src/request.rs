//! From a client's message to a command of the store, or a refusal.
//!
//! The checks are etcd's, with etcd's errors; what passes cannot be malformed any more. Requests
//! are taken apart field by field, so that a new field cannot be forgotten. The way back (`From`)
//! is what a client needs; it cannot fail.
//!
//! Stricter than etcd in one place: a number that stands for no comparison or no target is
//! refused, where etcd takes such a comparison for true.

use std::num::NonZeroU64;

use bytes::Bytes;
use synod_kv::{
    Assign, Bounds, Compact, Compare, Comparison, DeleteRange, Key, KeyRange, Op, Put, Range,
    Revision, Sort, SortOrder, SortTarget, Target, Txn,
};
use tonic::Code;

use crate::error::EtcdError;
use crate::proto::etcdserverpb as pb;
use crate::refusal::Refusal;

/// A range, and how fresh its answer must be.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Read {
    /// What to read.
    pub range: Range,
    /// Whether this member's own state will do, which may be behind.
    pub serializable: bool,
}

/// A compaction, and when to answer it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Compaction {
    /// What to forget.
    pub compact: Compact,
    /// Whether to answer only once the space is reclaimed.
    pub physical: bool,
}

/// Understands a range.
///
/// # Errors
/// If it has no key, or asks for an order that does not exist.
pub fn range(request: pb::RangeRequest) -> Result<Read, Refusal> {
    let pb::RangeRequest {
        key,
        range_end,
        limit,
        revision,
        sort_order,
        sort_target,
        serializable,
        keys_only,
        count_only,
        min_mod_revision,
        max_mod_revision,
        min_create_revision,
        max_create_revision,
    } = request;
    let range = Range {
        keys: KeyRange::new(key, range_end)?,
        // As in etcd, a limit below zero is none.
        limit: u64::try_from(limit).ok().and_then(NonZeroU64::new),
        revision: Some(Revision::new(revision)).filter(|revision| *revision > Revision::ZERO),
        sort: sort(sort_order, sort_target)?,
        keys_only,
        count_only,
        bounds: Bounds {
            min_mod: Revision::named(min_mod_revision),
            max_mod: Revision::named(max_mod_revision),
            min_create: Revision::named(min_create_revision),
            max_create: Revision::named(max_create_revision),
        },
    };
    Ok(Read { range, serializable })
}

/// Understands a range that is to be answered in pieces.
///
/// # Errors
/// As for a range, and if it asks for an order or bounds, which etcd does not answer so.
pub fn range_stream(request: pb::RangeRequest) -> Result<Read, Refusal> {
    let read = range(request)?;
    let refuse = |text| Err(Refusal::own(Code::Unimplemented, text));
    // etcd lets a target without an order pass, and then sorts each piece for itself.
    if read.range.is_sorted() {
        return refuse("RangeStream does not support custom sort orders");
    }
    if !read.range.bounds.is_open() {
        return refuse("RangeStream does not support revision filters");
    }
    Ok(read)
}

/// Understands a put.
///
/// # Errors
/// If it has no key, or gives what it also says to keep.
pub fn put(request: pb::PutRequest) -> Result<Put, Refusal> {
    let pb::PutRequest { key, value, lease, prev_kv, ignore_value, ignore_lease } = request;
    let key = Key::new(key)?;
    if ignore_value && !value.is_empty() {
        return Err(EtcdError::ValueProvided.into());
    }
    if ignore_lease && lease != 0 {
        return Err(EtcdError::LeaseProvided.into());
    }
    let value = if ignore_value { Assign::Keep } else { Assign::Set(value) };
    let lease = if ignore_lease { Assign::Keep } else { Assign::Set(lease) };
    Ok(Put { key, value, lease, prev_kv })
}

/// Understands a delete.
///
/// # Errors
/// If it has no key.
pub fn delete_range(request: pb::DeleteRangeRequest) -> Result<DeleteRange, Refusal> {
    let pb::DeleteRangeRequest { key, range_end, prev_kv } = request;
    Ok(DeleteRange { keys: KeyRange::new(key, range_end)?, prev_kv })
}

/// Understands a compaction. Whether its revision can be compacted, only the store knows.
#[must_use]
pub const fn compaction(request: pb::CompactionRequest) -> Compaction {
    let pb::CompactionRequest { revision, physical } = request;
    Compaction { compact: Compact { revision: Revision::new(revision) }, physical }
}

/// Understands a transaction of at most `ops_max` operations.
///
/// # Errors
/// If it is too large or nests too deep, changes a key twice, or one of its parts is malformed.
pub fn txn(request: pb::TxnRequest, ops_max: usize) -> Result<Txn, Refusal> {
    nested_txn(request, ops_max, 1)
}

fn nested_txn(request: pb::TxnRequest, ops_max: usize, depth: usize) -> Result<Txn, Refusal> {
    let pb::TxnRequest { compare: compares, success, failure } = request;
    let ops = compares.len().max(success.len()).max(failure.len());
    // A transaction within has what the ones around it leave. Each of those has an operation, so
    // the limit bounds the depth of this recursion too, whatever the message says.
    let Some(ops_left) = ops_max.checked_sub(ops) else {
        return Err(Refusal::new(EtcdError::TooManyOps).with_detail(format!(
            "the transaction at depth {depth} has {ops} operations, it may have {ops_max}: split it"
        )));
    };
    let branch = |ops: Vec<pb::RequestOp>| {
        ops.into_iter().map(|request| op(request, ops_left, depth)).collect::<Result<Vec<_>, _>>()
    };
    let compares = compares.into_iter().map(compare).collect::<Result<Vec<_>, _>>()?;
    Ok(Txn::new(compares, branch(success)?, branch(failure)?)?)
}

fn op(op: pb::RequestOp, ops_left: usize, depth: usize) -> Result<Op, Refusal> {
    use pb::request_op::Request;
    let pb::RequestOp { request } = op;
    match request {
        // Freshness is the transaction's as a whole.
        Some(Request::RequestRange(request)) => Ok(Op::Range(range(request)?.range)),
        Some(Request::RequestPut(request)) => Ok(Op::Put(put(request)?)),
        Some(Request::RequestDeleteRange(request)) => Ok(Op::DeleteRange(delete_range(request)?)),
        Some(Request::RequestTxn(request)) => {
            Ok(Op::Txn(nested_txn(request, ops_left, depth + 1)?))
        }
        None => Err(Refusal::new(EtcdError::KeyNotFound)
            .with_detail("an operation of the transaction is empty")),
    }
}

fn compare(compare: pb::Compare) -> Result<Compare, Refusal> {
    let pb::Compare { result, target, key, target_union, range_end } = compare;
    let keys = KeyRange::new(key, range_end)?;
    let comparison = comparison(result)?;
    let kind = pb::compare::CompareTarget::try_from(target)
        .map_err(|_| unknown("target of comparison", target, "0 to 4"))?;
    Ok(Compare { keys, comparison, target: self::target(kind, target_union) })
}

fn comparison(result: i32) -> Result<Comparison, Refusal> {
    use pb::compare::CompareResult;
    let result = CompareResult::try_from(result)
        .map_err(|_| unknown("result of comparison", result, "0 to 3"))?;
    Ok(match result {
        CompareResult::Equal => Comparison::Equal,
        CompareResult::Greater => Comparison::Greater,
        CompareResult::Less => Comparison::Less,
        CompareResult::NotEqual => Comparison::NotEqual,
    })
}

/// What is compared, and with what. As in etcd, a value of another kind counts as none, and none
/// as zero or empty.
fn target(kind: pb::compare::CompareTarget, given: Option<pb::compare::TargetUnion>) -> Target {
    use pb::compare::{CompareTarget, TargetUnion};
    match (kind, given) {
        (CompareTarget::Version, Some(TargetUnion::Version(version))) => Target::Version(version),
        (CompareTarget::Version, _) => Target::Version(0),
        (CompareTarget::Create, Some(TargetUnion::CreateRevision(create))) => {
            Target::Create(create)
        }
        (CompareTarget::Create, _) => Target::Create(0),
        (CompareTarget::Mod, Some(TargetUnion::ModRevision(modified))) => Target::Mod(modified),
        (CompareTarget::Mod, _) => Target::Mod(0),
        (CompareTarget::Value, Some(TargetUnion::Value(value))) => Target::Value(value),
        (CompareTarget::Value, _) => Target::Value(Bytes::new()),
        (CompareTarget::Lease, Some(TargetUnion::Lease(lease))) => Target::Lease(lease),
        (CompareTarget::Lease, _) => Target::Lease(0),
    }
}

fn sort(order: i32, target: i32) -> Result<Sort, Refusal> {
    use pb::range_request as range;
    let invalid = |what, value, known| {
        Refusal::new(EtcdError::InvalidSortOption)
            .with_detail(format!("there is no {what} {value}, only {known}"))
    };
    let order = match range::SortOrder::try_from(order) {
        Ok(range::SortOrder::None) => SortOrder::None,
        Ok(range::SortOrder::Ascend) => SortOrder::Ascend,
        Ok(range::SortOrder::Descend) => SortOrder::Descend,
        Err(_) => return Err(invalid("sort order", order, "0 to 2")),
    };
    let target = match range::SortTarget::try_from(target) {
        Ok(range::SortTarget::Key) => SortTarget::Key,
        Ok(range::SortTarget::Version) => SortTarget::Version,
        Ok(range::SortTarget::Create) => SortTarget::Create,
        Ok(range::SortTarget::Mod) => SortTarget::Mod,
        Ok(range::SortTarget::Value) => SortTarget::Value,
        Err(_) => return Err(invalid("sort target", target, "0 to 4")),
    };
    Ok(Sort { order, target })
}

fn unknown(what: &str, value: i32, known: &str) -> Refusal {
    Refusal::own(Code::InvalidArgument, format!("synod: there is no {what} {value}, only {known}"))
}

mod back;
#[cfg(test)]
mod tests;
