//! Transactions: comparisons, and two lists of operations.

use bytes::Bytes;
use synod_etcd::proto::etcdserverpb as pb;
use synod_etcd::proto::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use synod_etcd::proto::etcdserverpb::request_op::Request;

use crate::kv::{Delete, Get, Put};

/// If all comparisons hold, do one list of operations, else the other; at one revision.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Txn(pb::TxnRequest);

impl Txn {
    /// Compares nothing, does nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Also compares this.
    #[must_use]
    pub fn when(mut self, compare: Compare) -> Self {
        self.0.compare.push(compare.0);
        self
    }

    /// Also does this if all comparisons hold.
    #[must_use]
    pub fn and_then(mut self, op: impl Into<Op>) -> Self {
        self.0.success.push(op.into().0);
        self
    }

    /// Also does this if a comparison does not hold.
    #[must_use]
    pub fn or_else(mut self, op: impl Into<Op>) -> Self {
        self.0.failure.push(op.into().0);
        self
    }
}

impl From<Txn> for pb::TxnRequest {
    fn from(txn: Txn) -> Self {
        txn.0
    }
}

/// An operation of a transaction.
#[derive(Clone, Debug, PartialEq)]
pub struct Op(pb::RequestOp);

impl From<Request> for Op {
    fn from(request: Request) -> Self {
        Self(pb::RequestOp { request: Some(request) })
    }
}

impl From<Get> for Op {
    fn from(get: Get) -> Self {
        Request::RequestRange(get.into()).into()
    }
}

impl From<Put> for Op {
    fn from(put: Put) -> Self {
        Request::RequestPut(put.into()).into()
    }
}

impl From<Delete> for Op {
    fn from(delete: Delete) -> Self {
        Request::RequestDeleteRange(delete.into()).into()
    }
}

impl From<Txn> for Op {
    fn from(txn: Txn) -> Self {
        Request::RequestTxn(txn.into()).into()
    }
}

/// A comparison: `Compare::version("key").equal(0)`.
#[derive(Clone, Debug, PartialEq)]
pub struct Compare(pb::Compare);

/// What is compared of a key; a key that does not exist has zeros.
#[derive(Clone, Debug)]
pub struct Subject<T> {
    key: Bytes,
    union: fn(T) -> TargetUnion,
    target: CompareTarget,
}

impl Compare {
    /// How often the key was written since it was created.
    #[must_use]
    pub fn version(key: impl Into<Bytes>) -> Subject<i64> {
        let (union, target) = (TargetUnion::Version, CompareTarget::Version);
        Subject { key: key.into(), union, target }
    }

    /// The revision that created the key.
    #[must_use]
    pub fn create_revision(key: impl Into<Bytes>) -> Subject<i64> {
        let (union, target) = (TargetUnion::CreateRevision, CompareTarget::Create);
        Subject { key: key.into(), union, target }
    }

    /// The revision that wrote the key last.
    #[must_use]
    pub fn mod_revision(key: impl Into<Bytes>) -> Subject<i64> {
        let (union, target) = (TargetUnion::ModRevision, CompareTarget::Mod);
        Subject { key: key.into(), union, target }
    }

    /// The lease of the key.
    #[must_use]
    pub fn lease(key: impl Into<Bytes>) -> Subject<i64> {
        let (union, target) = (TargetUnion::Lease, CompareTarget::Lease);
        Subject { key: key.into(), union, target }
    }

    /// What the key holds.
    #[must_use]
    pub fn value(key: impl Into<Bytes>) -> Subject<Bytes> {
        let (union, target) = (TargetUnion::Value, CompareTarget::Value);
        Subject { key: key.into(), union, target }
    }
}

impl<T> Subject<T> {
    /// It is this.
    #[must_use]
    pub fn equal(self, other: impl Into<T>) -> Compare {
        self.to(CompareResult::Equal, other.into())
    }

    /// It is not this.
    #[must_use]
    pub fn not_equal(self, other: impl Into<T>) -> Compare {
        self.to(CompareResult::NotEqual, other.into())
    }

    /// It is more.
    #[must_use]
    pub fn greater(self, other: impl Into<T>) -> Compare {
        self.to(CompareResult::Greater, other.into())
    }

    /// It is less.
    #[must_use]
    pub fn less(self, other: impl Into<T>) -> Compare {
        self.to(CompareResult::Less, other.into())
    }

    fn to(self, result: CompareResult, other: T) -> Compare {
        let Self { key, union, target } = self;
        Compare(pb::Compare {
            result: result.into(),
            target: target.into(),
            key,
            range_end: Bytes::new(),
            target_union: Some(union(other)),
        })
    }
}

/// Whether nothing in it writes.
pub(crate) fn only_reads(txn: &pb::TxnRequest) -> bool {
    txn.success.iter().chain(&txn.failure).all(|op| match &op.request {
        Some(Request::RequestRange(_)) | None => true,
        Some(Request::RequestTxn(txn)) => only_reads(txn),
        Some(Request::RequestPut(_) | Request::RequestDeleteRange(_)) => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_within_is_a_write() {
        let reads = Txn::new().when(Compare::version("k").equal(0)).and_then(Get::key("k"));
        assert!(only_reads(&reads.clone().into()));
        let nested = Txn::new().or_else(reads.clone().or_else(Delete::key("k")));
        assert!(!only_reads(&nested.into()));
        assert!(!only_reads(&reads.and_then(Put::new("k", "v")).into()));
    }
}
