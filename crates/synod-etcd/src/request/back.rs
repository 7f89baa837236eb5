//! From a command of the store to the message that asks for it: what a client sends.

use bytes::Bytes;
use synod_kv::{
    Assign, Bounds, Compare, Comparison, DeleteRange, KeyRange, Op, Put, Range, Revision, Sort,
    SortOrder, SortTarget, Target, Txn,
};

use super::{Compaction, Read};
use crate::proto::etcdserverpb as pb;

impl From<Read> for pb::RangeRequest {
    fn from(Read { range, serializable }: Read) -> Self {
        let Range { keys, limit, revision, sort, keys_only, count_only, bounds } = range;
        let Bounds { min_mod, max_mod, min_create, max_create } = bounds;
        let (key, range_end) = key_and_end(keys);
        let (sort_order, sort_target) = sort_numbers(sort);
        Self {
            key,
            range_end,
            // A limit beyond what the message can say cuts off nothing either.
            limit: limit.and_then(|limit| i64::try_from(limit.get()).ok()).unwrap_or(0),
            revision: or_zero(revision),
            sort_order,
            sort_target,
            serializable,
            keys_only,
            count_only,
            min_mod_revision: or_zero(min_mod),
            max_mod_revision: or_zero(max_mod),
            min_create_revision: or_zero(min_create),
            max_create_revision: or_zero(max_create),
        }
    }
}

impl From<Put> for pb::PutRequest {
    fn from(Put { key, value, lease, prev_kv }: Put) -> Self {
        let (value, ignore_value) = match value {
            Assign::Set(value) => (value, false),
            Assign::Keep => (Bytes::new(), true),
        };
        let (lease, ignore_lease) = match lease {
            Assign::Set(lease) => (lease, false),
            Assign::Keep => (0, true),
        };
        Self { key: key.as_bytes().clone(), value, lease, prev_kv, ignore_value, ignore_lease }
    }
}

impl From<DeleteRange> for pb::DeleteRangeRequest {
    fn from(DeleteRange { keys, prev_kv }: DeleteRange) -> Self {
        let (key, range_end) = key_and_end(keys);
        Self { key, range_end, prev_kv }
    }
}

impl From<Compaction> for pb::CompactionRequest {
    fn from(Compaction { compact, physical }: Compaction) -> Self {
        Self { revision: compact.revision.as_i64(), physical }
    }
}

impl From<&Txn> for pb::TxnRequest {
    fn from(txn: &Txn) -> Self {
        Self {
            compare: txn.compares().iter().cloned().map(pb::Compare::from).collect(),
            success: txn.success().iter().cloned().map(pb::RequestOp::from).collect(),
            failure: txn.failure().iter().cloned().map(pb::RequestOp::from).collect(),
        }
    }
}

impl From<Op> for pb::RequestOp {
    fn from(op: Op) -> Self {
        use pb::request_op::Request;
        let request = match op {
            Op::Range(range) => Request::RequestRange(Read { range, serializable: false }.into()),
            Op::Put(put) => Request::RequestPut(put.into()),
            Op::DeleteRange(delete) => Request::RequestDeleteRange(delete.into()),
            Op::Txn(txn) => Request::RequestTxn((&txn).into()),
        };
        Self { request: Some(request) }
    }
}

impl From<Compare> for pb::Compare {
    fn from(Compare { keys, comparison, target }: Compare) -> Self {
        use pb::compare::{CompareResult, CompareTarget, TargetUnion};
        let (key, range_end) = key_and_end(keys);
        let result = match comparison {
            Comparison::Equal => CompareResult::Equal,
            Comparison::Greater => CompareResult::Greater,
            Comparison::Less => CompareResult::Less,
            Comparison::NotEqual => CompareResult::NotEqual,
        };
        let (target, union) = match target {
            Target::Version(version) => (CompareTarget::Version, TargetUnion::Version(version)),
            Target::Create(create) => (CompareTarget::Create, TargetUnion::CreateRevision(create)),
            Target::Mod(modified) => (CompareTarget::Mod, TargetUnion::ModRevision(modified)),
            Target::Value(value) => (CompareTarget::Value, TargetUnion::Value(value)),
            Target::Lease(lease) => (CompareTarget::Lease, TargetUnion::Lease(lease)),
        };
        Self {
            result: result.into(),
            target: target.into(),
            key,
            target_union: Some(union),
            range_end,
        }
    }
}

fn key_and_end(keys: KeyRange) -> (Bytes, Bytes) {
    match keys {
        KeyRange::Single(key) => (key.as_bytes().clone(), Bytes::new()),
        KeyRange::Between { start, end } => (start.as_bytes().clone(), end.as_bytes().clone()),
        KeyRange::From(start) => (start.as_bytes().clone(), Bytes::from_static(&[0])),
    }
}

fn sort_numbers(Sort { order, target }: Sort) -> (i32, i32) {
    use pb::range_request as range;
    let order = match order {
        SortOrder::None => range::SortOrder::None,
        SortOrder::Ascend => range::SortOrder::Ascend,
        SortOrder::Descend => range::SortOrder::Descend,
    };
    let target = match target {
        SortTarget::Key => range::SortTarget::Key,
        SortTarget::Version => range::SortTarget::Version,
        SortTarget::Create => range::SortTarget::Create,
        SortTarget::Mod => range::SortTarget::Mod,
        SortTarget::Value => range::SortTarget::Value,
    };
    (order.into(), target.into())
}

fn or_zero(revision: Option<Revision>) -> i64 {
    revision.map_or(0, Revision::as_i64)
}
