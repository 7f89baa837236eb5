//! etcd's service KV: reads from the store, writes through the log.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use synod_etcd::proto::etcdserverpb as pb;
use synod_etcd::proto::etcdserverpb::kv_server::Kv;
use synod_etcd::{Refusal, request, response};
use synod_kv::{Command, KeyRange, Op, Range, Response as StoreResponse, Txn};
use tonic::{Request, Response, Status};

use super::{Context, refusal};
use crate::server::FatalReason;

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
        self.0.check_leader(&request)?;
        let request::Read { range, serializable } = request::range(request.into_inner())?;
        if !serializable {
            self.linearize().await?;
        }
        let short = is_short(&range);
        let answer = self
            .read(short, move |context| {
                let range = context.reader.range(&range);
                range.map_err(|error| context.refuse(refusal::of_range(error)))
            })
            .await?;
        Ok(Response::new(response::range(self.0.stamp(), answer)))
    }

    async fn put(&self, request: Request<pb::PutRequest>) -> Answer<pb::PutResponse> {
        self.0.check_leader(&request)?;
        self.0.limits.check_size(request.get_ref())?;
        let put = request::put(request.into_inner())?;
        match self.propose(&Command::Put(put)).await? {
            StoreResponse::Put(put) => Ok(Response::new(response::put(self.0.stamp(), put))),
            other => Err(mismatch(&other)),
        }
    }

    async fn delete_range(
        &self,
        request: Request<pb::DeleteRangeRequest>,
    ) -> Answer<pb::DeleteRangeResponse> {
        self.0.check_leader(&request)?;
        self.0.limits.check_size(request.get_ref())?;
        let delete = request::delete_range(request.into_inner())?;
        match self.propose(&Command::DeleteRange(delete)).await? {
            StoreResponse::DeleteRange(deleted) => {
                Ok(Response::new(response::delete_range(self.0.stamp(), deleted)))
            }
            other => Err(mismatch(&other)),
        }
    }

    async fn txn(&self, request: Request<pb::TxnRequest>) -> Answer<pb::TxnResponse> {
        self.0.check_leader(&request)?;
        self.0.limits.check_size(request.get_ref())?;
        let serializable = is_serializable(request.get_ref());
        let txn = request::txn(request.into_inner(), self.0.limits.txn_ops_max)?;
        if txn.is_read_only() {
            if !serializable {
                self.linearize().await?;
            }
            let answer = self.read_txn(txn).await?;
            return Ok(Response::new(response::txn(self.0.stamp(), answer)));
        }
        match self.propose(&Command::Txn(txn)).await? {
            StoreResponse::Txn(txn) => Ok(Response::new(response::txn(self.0.stamp(), txn))),
            other => Err(mismatch(&other)),
        }
    }

    async fn compact(
        &self,
        request: Request<pb::CompactionRequest>,
    ) -> Answer<pb::CompactionResponse> {
        self.0.check_leader(&request)?;
        let request::Compaction { compact, physical } = request::compaction(request.into_inner());
        let answer = self.propose(&Command::Compact(compact)).await?;
        if physical {
            // The flusher reclaims; without it the member is about to stop anyway.
            self.0.flush.round().await;
        }
        match answer {
            StoreResponse::Compact(done) => {
                Ok(Response::new(response::compact(self.0.stamp(), done)))
            }
            other => Err(mismatch(&other)),
        }
    }
}

impl KvService {
    /// Sends a command through the log.
    async fn propose(&self, command: &Command) -> Result<StoreResponse, Refusal> {
        match self.0.handle.propose(command.encode()).await {
            Ok(Ok(reply)) => reply.result.map_err(Refusal::from),
            Ok(Err(failed)) => Err(refusal::failed(&failed)),
            Err(error) => {
                self.0.metrics.proposals_failed.fetch_add(1, Ordering::Relaxed);
                Err(refusal::of_proposal(error))
            }
        }
    }

    /// Waits until what this member reads is current.
    async fn linearize(&self) -> Result<(), Refusal> {
        match self.0.handle.linearize().await {
            Ok(_) => Ok(()),
            Err(error) => {
                self.0.metrics.reads_failed.fetch_add(1, Ordering::Relaxed);
                Err(refusal::of_read(error))
            }
        }
    }

    async fn read_txn(&self, txn: Txn) -> Result<synod_kv::TxnResponse, Refusal> {
        let short = txn.success().iter().chain(txn.failure()).all(|op| match op {
            Op::Range(range) => is_short(range),
            Op::Put(_) | Op::DeleteRange(_) | Op::Txn(_) => false,
        });
        self.read(short, move |context| {
            let answer = context.reader.txn(&txn);
            answer.map_err(|error| context.refuse(refusal::of_txn(error)))
        })
        .await
    }

    /// Reads from the store: here if it is short, else on a thread for such, a few at a time.
    async fn read<T: Send + 'static>(
        &self,
        short: bool,
        read: impl FnOnce(&Context) -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Refusal> {
        if short {
            return read(&self.0);
        }
        let permit = self.0.long_reads.acquire().await.expect("nobody closes the semaphore");
        let context = Arc::clone(&self.0);
        let answer = tokio::task::spawn_blocking(move || read(&context)).await;
        drop(permit);
        answer.unwrap_or_else(|error| Err(refusal::failed(&error)))
    }
}

impl Context {
    /// The refusal, unless the store has failed: then the member stops.
    fn refuse(&self, refusal: Result<Refusal, String>) -> Refusal {
        refusal.unwrap_or_else(|reason| {
            let reason = FatalReason::Store(reason);
            let refusal = refusal::failed(&reason);
            self.fatal.tell(reason);
            refusal
        })
    }
}

/// Whether it is cheap to answer. Sorting and filtering look at every key, whatever the limit.
fn is_short(range: &Range) -> bool {
    let limited = range.limit.is_some_and(|limit| limit.get() <= SHORT_RANGE_KEYS);
    let plain = range.bounds.is_open() && range.sort == synod_kv::Sort::default();
    matches!(range.keys, KeyRange::Single(_)) || (plain && (limited || range.count_only))
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

/// The store answers each command in kind; if not, that is a fault in this program.
fn mismatch(response: &StoreResponse) -> Status {
    Status::internal(format!("synod: the store gave the answer to another command: {response:?}"))
}
