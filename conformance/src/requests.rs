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

/// The end of a range that has none.
const FROM_KEY: &[u8] = b"\0";

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
    let oldest = etcd.settle(0).await?;
    let mut before = None;
    for number in 0..COUNT {
        let member = usize::try_from(number)? % MEMBERS;
        let (now, also_now) = tokio::try_join!(etcd.settle(member), synod.settle(member))?;
        if now != also_now {
            differences.push(format!("etcd is at {now}, not {also_now}, after {before:?}"));
            return Ok((number, differences));
        }
        let call = Chance::new(number, Revisions { oldest, now }).call();
        let calls =
            (send(etcd.client(member), call.clone()), send(synod.client(member), call.clone()));
        let (etcd, synod) = tokio::try_join!(calls.0, calls.1)?;
        if etcd != synod && !both_refuse(&call, &etcd, &synod) {
            let text = format!("request {number}: {call:?}\n  etcd:  {etcd}\n  synod: {synod}");
            differences.push(format!("DIFFERS at member {}, {text}", member + 1));
        }
        before = Some(call);
    }
    Ok((COUNT, differences))
}

/// A transaction with several faults may be refused for any of them.
fn both_refuse(call: &Call, etcd: &str, synod: &str) -> bool {
    let refused = |answer: &str| answer.starts_with("InvalidArgument: ");
    matches!(call, Call::Txn(_)) && refused(etcd) && refused(synod)
}

/// The answer as text, without what differs between clusters.
async fn send(mut client: KvClient<Channel>, call: Call) -> anyhow::Result<String> {
    Ok(match call {
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

/// The revisions that requests speak of.
#[derive(Clone, Copy, Debug)]
struct Revisions {
    /// The store's revision when the requests began: nothing from it on is compacted.
    oldest: i64,
    /// The store's revision.
    now: i64,
}

/// Draws requests: the same ones from the same number.
#[derive(Debug)]
struct Chance {
    state: u64,
    revisions: Revisions,
}

impl Chance {
    const fn new(number: u64, revisions: Revisions) -> Self {
        Self { state: number.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5eed, revisions }
    }

    /// A number below `bound`.
    fn below(&mut self, bound: u32) -> u32 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
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

    fn call(&mut self) -> Call {
        match self.below(8) {
            0..=2 => {
                let revision = self.any_revision();
                Call::Range(self.range(revision))
            }
            3 | 4 => Call::Put(self.put()),
            5 => Call::Delete(self.delete()),
            _ => Call::Txn(self.txn(2)),
        }
    }

    fn key(&mut self) -> Bytes {
        Bytes::from(format!("q/{}", self.below(6)))
    }

    /// The end of a range; often none, sometimes everything, sometimes before its beginning.
    fn end(&mut self) -> Bytes {
        match self.below(5) {
            0 | 1 => Bytes::new(),
            2 => Bytes::from_static(FROM_KEY),
            3 => Bytes::from_static(b"q0"),
            _ => self.key(),
        }
    }

    /// No revision, one not far in the past, or rarely one in the future or compacted.
    fn any_revision(&mut self) -> i64 {
        match self.below(8) {
            0 => self.revisions.now + i64::from(self.below(3)),
            1 => (self.revisions.oldest - i64::from(self.below(3))).max(1),
            _ => self.readable_revision(),
        }
    }

    /// No revision, or one that can be read.
    fn readable_revision(&mut self) -> i64 {
        let past = self.revisions.now - i64::from(self.below(12));
        if self.one_in(2) { 0 } else { past.max(self.revisions.oldest) }
    }

    fn range(&mut self, revision: i64) -> RangeRequest {
        RangeRequest {
            key: self.key(),
            range_end: self.end(),
            limit: i64::from(self.below(4)),
            revision,
            sort_order: self.choice(3),
            sort_target: self.choice(5),
            serializable: self.one_in(4),
            keys_only: self.one_in(4),
            count_only: self.one_in(4),
            min_mod_revision: self.bound(),
            max_mod_revision: self.bound(),
            min_create_revision: self.bound(),
            max_create_revision: self.bound(),
        }
    }

    fn bound(&mut self) -> i64 {
        let near = self.revisions.now - i64::from(self.below(20));
        if self.one_in(4) { near.max(0) } else { 0 }
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

    /// A transaction without what [`LEFT_OUT`](crate::normal::LEFT_OUT) tells.
    fn txn(&mut self, depth: u32) -> TxnRequest {
        TxnRequest {
            compare: (0..self.below(3)).map(|_| self.compare()).collect(),
            success: (0..self.below(4)).map(|_| self.op(depth)).collect(),
            failure: (0..self.below(4)).map(|_| self.op(depth)).collect(),
        }
    }

    fn op(&mut self, depth: u32) -> RequestOp {
        let request = match self.below(if depth == 0 { 4 } else { 5 }) {
            0 => {
                let revision = self.readable_revision();
                Request::RequestRange(self.range(revision))
            }
            1 | 2 => Request::RequestPut(self.put()),
            3 => {
                let mut delete = self.delete();
                if delete.range_end == FROM_KEY {
                    delete.range_end = Bytes::new();
                }
                Request::RequestDeleteRange(delete)
            }
            _ => Request::RequestTxn(self.txn(depth - 1)),
        };
        RequestOp { request: Some(request) }
    }

    fn compare(&mut self) -> Compare {
        let near = (self.revisions.now - i64::from(self.below(8))).max(0);
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
        let text =
            |number| format!("{:?}", Chance::new(number, Revisions { oldest: 20, now: 50 }).call());
        let all: Vec<String> = (0..COUNT).map(text).collect();
        assert!((0..COUNT).map(text).eq(all.iter().cloned()));
        for kind in ["Range(", "Put(", "Delete(", "Txn(", "RequestTxn(", "count_only: true"] {
            assert!(all.iter().any(|text| text.contains(kind)), "none of {kind}");
        }
    }
}
