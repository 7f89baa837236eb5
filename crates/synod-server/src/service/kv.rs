//! etcd's service KV: reads from the store, writes through the log.

use std::sync::Arc;

use synod_etcd::proto::etcdserverpb as pb;
use synod_etcd::proto::etcdserverpb::kv_server::Kv;
use synod_etcd::{request, response};
use synod_kv::{Command, KeyRange, Op, Range, Response as StoreResponse, Txn};
use tonic::codegen::tokio_stream::{self, Empty};
use tonic::{Request, Response, Status};

use super::access::mismatch;
use super::carried::carry;
use super::{Context, range};

/// The service.
#[derive(Clone, Debug)]
pub(super) struct KvService(pub(super) Arc<Context>);

type Answer<T> = Result<Response<T>, Status>;

/// A range with at most so many keys is answered where the request was read; longer ones go to a
/// thread of their own, so that they keep nobody waiting.
const SHORT_RANGE_KEYS: u64 = 256;

#[tonic::async_trait]
impl Kv for KvService {
    async fn range(&self, request: Request<pb::RangeRequest>) -> Answer<pb::RangeResponse> {
        let caller = self.0.caller(&request)?;
        let request::Read { range, serializable } = request::range(request.into_inner())?;
        self.0.catch_up(&caller, serializable).await?;
        let short = is_short(&range);
        let body = range::range(&self.0, &caller, range, short).await?;
        self.0.metrics.operations.range();
        Ok(carry(pb::RangeResponse::default(), body))
    }

    type RangeStreamStream = Empty<Result<pb::RangeStreamResponse, Status>>;

    async fn range_stream(
        &self,
        request: Request<pb::RangeRequest>,
    ) -> Answer<Self::RangeStreamStream> {
        let caller = self.0.caller(&request)?;
        let request::Read { range, serializable } = request::range_stream(request.into_inner())?;
        self.0.catch_up(&caller, serializable).await?;
        let body = range::stream(&self.0, &caller, range).await?;
        self.0.metrics.operations.range();
        Ok(carry(tokio_stream::empty(), body))
    }

    async fn put(&self, request: Request<pb::PutRequest>) -> Answer<pb::PutResponse> {
        let caller = self.0.caller(&request)?;
        self.0.limits.check_size(request.get_ref())?;
        let (_, extensions, request) = request.into_parts();
        let command = Command::Put(request::put(request)?);
        range::write(&self.0, &caller, &extensions, command, |answer| match answer {
            StoreResponse::Put(put) => Ok(response::put(self.0.stamp(), put)),
            other => Err(other),
        })
        .await
    }

    async fn delete_range(
        &self,
        request: Request<pb::DeleteRangeRequest>,
    ) -> Answer<pb::DeleteRangeResponse> {
        let caller = self.0.caller(&request)?;
        self.0.limits.check_size(request.get_ref())?;
        let (_, extensions, request) = request.into_parts();
        let command = Command::DeleteRange(request::delete_range(request)?);
        range::write(&self.0, &caller, &extensions, command, |answer| match answer {
            StoreResponse::DeleteRange(deleted) => {
                Ok(response::delete_range(self.0.stamp(), deleted))
            }
            other => Err(other),
        })
        .await
    }

    async fn txn(&self, request: Request<pb::TxnRequest>) -> Answer<pb::TxnResponse> {
        let caller = self.0.caller(&request)?;
        self.0.limits.check_size(request.get_ref())?;
        let serializable = is_serializable(request.get_ref());
        let (_, extensions, request) = request.into_parts();
        let txn = request::txn(request, self.0.limits.txn_ops_max)?;
        if txn.is_read_only() {
            self.0.catch_up(&caller, serializable).await?;
            let short = is_short_txn(&txn);
            let body = range::txn(&self.0, &caller, txn, short).await?;
            return Ok(carry(pb::TxnResponse::default(), body));
        }
        range::write(&self.0, &caller, &extensions, Command::Txn(txn), |answer| match answer {
            StoreResponse::Txn(txn) => Ok(response::txn(self.0.stamp(), txn)),
            other => Err(other),
        })
        .await
    }

    async fn compact(
        &self,
        request: Request<pb::CompactionRequest>,
    ) -> Answer<pb::CompactionResponse> {
        let caller = self.0.caller(&request)?;
        let request::Compaction { compact, physical } = request::compaction(request.into_inner());
        let answer = self.0.propose(&caller, &Command::Compact(compact)).await?;
        if physical {
            // The flusher reclaims; without it the member is about to stop anyway.
            self.0.flush.reclaimed(compact.revision).await;
        }
        match answer {
            StoreResponse::Compact(done) => {
                Ok(Response::new(response::compact(self.0.stamp(), done)))
            }
            other => Err(mismatch(&other)),
        }
    }
}

/// Whether it is cheap to measure. Sorting and filtering look at every key, whatever the limit; and
/// so does counting in the past.
pub(super) fn is_short(range: &Range) -> bool {
    let limited = range.limit.is_some_and(|limit| limit.get() <= SHORT_RANGE_KEYS);
    let plain = range.bounds.is_open() && range.sort == synod_kv::Sort::default();
    let newest = range.past_revision().is_none();
    matches!(range.keys, KeyRange::Single(_)) || (plain && newest && (limited || range.count_only))
}

fn is_short_txn(txn: &Txn) -> bool {
    let compared = txn.compares().iter().all(|one| matches!(one.keys, KeyRange::Single(_)));
    compared
        && txn.success().iter().chain(txn.failure()).all(|op| match op {
            Op::Range(range) => is_short(range),
            Op::Put(_) | Op::DeleteRange(_) | Op::Txn(_) => false,
        })
}

/// Whether this member's own state will do: as in etcd, if every operation of the two branches is
/// a range that says so.
fn is_serializable(txn: &pb::TxnRequest) -> bool {
    use pb::request_op::Request;
    txn.success
        .iter()
        .chain(&txn.failure)
        .all(|op| matches!(&op.request, Some(Request::RequestRange(range)) if range.serializable))
}
