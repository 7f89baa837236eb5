//! Requests that `etcdctl` cannot express, sent as they are to both clusters.
//!
//! Counting only, bounds on revisions, compares on ranges, nested transactions: enumerated in small
//! worlds of a few keys, where every combination meets data that it can be wrong about. They are
//! drawn from a fixed seed, so a difference comes back with its number.

use anyhow::Context;
use bytes::Bytes;
use synod_etcd::proto::etcdserverpb::compare::TargetUnion;
use synod_etcd::proto::etcdserverpb::kv_client::KvClient;
use synod_etcd::proto::etcdserverpb::request_op::Request;
use synod_etcd::proto::etcdserverpb::{
    Compare, DeleteRangeRequest, PutRequest, RangeRequest, RequestOp, ResponseHeader, TxnRequest,
};
use tonic::Status;
use tonic::transport::Channel;

use crate::cluster::MEMBERS;
use crate::compare::Side;

/// How many requests are drawn.
const COUNT: u64 = 600;

/// A request of the store.
#[derive(Clone, Debug)]
enum Call {
    Range(RangeRequest),
    Put(PutRequest),
    Delete(DeleteRangeRequest),
    Txn(TxnRequest),
}

/// Sends the requests to both sides; tells how many there were, and each difference as text.
pub async fn compare(etcd: &mut Side, synod: &mut Side) -> anyhow::Result<(u64, Vec<String>)> {
    let mut differences = Vec::new();
    for number in 0..COUNT {
        let member = usize::try_from(number)? % MEMBERS;
        let (now, also_now) = tokio::try_join!(etcd.settle(member), synod.settle(member))?;
        if now != also_now {
            differences.push(format!("before request {number}: etcd is at {now}, not {also_now}"));
            return Ok((number, differences));
        }
        let call = Chance::new(number).call(now);
        let calls = (send(etcd.client(member), &call), send(synod.client(member), &call));
        let (etcd, synod) = tokio::try_join!(calls.0, calls.1)?;
        if etcd != synod {
            let text = format!("request {number}: {call:?}\n  etcd:  {etcd}\n  synod: {synod}");
            differences.push(format!("DIFFERS at member {}, {text}", member + 1));
        }
    }
    Ok((COUNT, differences))
}

/// The answer as text, without what differs between clusters.
async fn send(mut client: KvClient<Channel>, call: &Call) -> anyhow::Result<String> {
    Ok(match call.clone() {
        Call::Range(request) => text(client.range(request).await, |answer| &mut answer.header)?,
        Call::Put(request) => text(client.put(request).await, |answer| &mut answer.header)?,
        Call::Delete(request) => {
            text(client.delete_range(request).await, |answer| &mut answer.header)?
        }
        Call::Txn(request) => text(client.txn(request).await, |answer| &mut answer.header)?,
    })
}

fn text<T: std::fmt::Debug>(
    answer: Result<tonic::Response<T>, Status>,
    header: impl Fn(&mut T) -> &mut Option<ResponseHeader>,
) -> anyhow::Result<String> {
    match answer {
        Ok(answer) => {
            let mut answer = answer.into_inner();
            let header = header(&mut answer).as_mut().context("an answer without a header")?;
            (header.cluster_id, header.member_id, header.raft_term) = (0, 0, 0);
            Ok(format!("{answer:?}"))
        }
        Err(status) => Ok(format!("{:?}: {}", status.code(), status.message())),
    }
}

/// Draws requests: the same ones from the same number.
#[derive(Debug)]
struct Chance(u64);

impl Chance {
    const fn new(number: u64) -> Self {
        Self(number.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5eed)
    }

    /// A number below `bound`.
    fn below(&mut self, bound: u32) -> u32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        u32::try_from(mixed % u64::from(bound)).expect("the remainder is below a u32")
    }

    fn one_in(&mut self, bound: u32) -> bool {
        self.below(bound) == 0
    }

    fn choice(&mut self, bound: i32) -> i32 {
        i32::try_from(self.below(bound.unsigned_abs())).expect("below an i32")
    }

    fn call(&mut self, revision: i64) -> Call {
        match self.below(8) {
            0..=2 => Call::Range(self.range(revision)),
            3 | 4 => Call::Put(self.put()),
            5 => Call::Delete(self.delete()),
            _ => Call::Txn(self.txn(revision, 2)),
        }
    }

    fn key(&mut self) -> Bytes {
        Bytes::from(format!("q/{}", self.below(6)))
    }

    /// The end of a range; often none, sometimes everything, sometimes before its beginning.
    fn end(&mut self) -> Bytes {
        match self.below(5) {
            0 | 1 => Bytes::new(),
            2 => Bytes::from_static(b"\0"),
            3 => Bytes::from_static(b"q0"),
            _ => self.key(),
        }
    }

    /// No revision, one not far in the past, or rarely one in the future.
    fn past(&mut self, revision: i64) -> i64 {
        match self.below(8) {
            0..=3 => 0,
            4 => revision + i64::from(self.below(3)),
            _ => (revision - i64::from(self.below(12))).max(1),
        }
    }

    fn range(&mut self, revision: i64) -> RangeRequest {
        RangeRequest {
            key: self.key(),
            range_end: self.end(),
            limit: i64::from(self.below(4)),
            revision: self.past(revision),
            sort_order: self.choice(3),
            sort_target: self.choice(5),
            serializable: self.one_in(4),
            keys_only: self.one_in(4),
            count_only: self.one_in(4),
            min_mod_revision: self.bound(revision),
            max_mod_revision: self.bound(revision),
            min_create_revision: self.bound(revision),
            max_create_revision: self.bound(revision),
        }
    }

    fn bound(&mut self, revision: i64) -> i64 {
        if self.one_in(4) { (revision - i64::from(self.below(20))).max(0) } else { 0 }
    }

    fn put(&mut self) -> PutRequest {
        let ignore_value = self.one_in(6);
        let value = if ignore_value && !self.one_in(4) {
            Bytes::new()
        } else {
            Bytes::from(format!("v{}", self.below(4)))
        };
        PutRequest {
            key: if self.one_in(20) { Bytes::new() } else { self.key() },
            value,
            lease: if self.one_in(20) { 77 } else { 0 },
            prev_kv: self.one_in(2),
            ignore_value,
            ignore_lease: self.one_in(8),
        }
    }

    fn delete(&mut self) -> DeleteRangeRequest {
        DeleteRangeRequest { key: self.key(), range_end: self.end(), prev_kv: self.one_in(2) }
    }

    fn txn(&mut self, revision: i64, depth: u32) -> TxnRequest {
        TxnRequest {
            compare: (0..self.below(3)).map(|_| self.compare(revision)).collect(),
            success: (0..self.below(4)).map(|_| self.op(revision, depth)).collect(),
            failure: (0..self.below(4)).map(|_| self.op(revision, depth)).collect(),
        }
    }

    fn op(&mut self, revision: i64, depth: u32) -> RequestOp {
        let request = match self.below(if depth == 0 { 4 } else { 5 }) {
            0 => Request::RequestRange(self.range(revision)),
            1 | 2 => Request::RequestPut(self.put()),
            3 => Request::RequestDeleteRange(self.delete()),
            _ => Request::RequestTxn(self.txn(revision, depth - 1)),
        };
        RequestOp { request: Some(request) }
    }

    fn compare(&mut self, revision: i64) -> Compare {
        let near = (revision - i64::from(self.below(8))).max(0);
        let (target, target_union) = match self.below(5) {
            0 => (0, TargetUnion::Version(i64::from(self.below(4)))),
            1 => (1, TargetUnion::CreateRevision(near * i64::from(self.below(2)))),
            2 => (2, TargetUnion::ModRevision(near)),
            3 => (3, TargetUnion::Value(Bytes::from(format!("v{}", self.below(4))))),
            _ => (4, TargetUnion::Lease(i64::from(self.below(2)))),
        };
        Compare {
            result: self.choice(4),
            target,
            key: self.key(),
            range_end: self.end(),
            target_union: (!self.one_in(6)).then_some(target_union),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_number_draws_the_same_request() {
        let text = |number| format!("{:?}", Chance::new(number).call(50));
        let all: Vec<String> = (0..COUNT).map(text).collect();
        assert!((0..COUNT).map(text).eq(all.iter().cloned()));
        for kind in ["Range(", "Put(", "Delete(", "Txn(", "RequestTxn(", "count_only: true"] {
            assert!(all.iter().any(|text| text.contains(kind)), "none of {kind}");
        }
    }
}
