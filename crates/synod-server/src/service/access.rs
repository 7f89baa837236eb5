//! The one way from a service to the log and to the store: who calls, then what for.
//!
//! Every method of every service begins with [`Context::caller`] and hands what it got to the
//! calls that reach inward. A service has no other way in.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use synod_etcd::{EtcdError, Refusal};
use synod_kv::{Command, KeyRange, Range, Response as StoreResponse};
use tonic::{Request, Status};

use super::{Context, refusal};
use crate::server::FatalReason;

/// Who asks. Made from a request, by [`Context::caller`] alone.
#[derive(Clone, Debug)]
pub(super) struct Caller(());

impl Context {
    /// Who asks, unless it is to be refused at the door: who asks for a leader, with the metadata
    /// `hasleader`, is while none is known.
    pub(super) fn caller<T>(&self, request: &Request<T>) -> Result<Caller, Refusal> {
        let asks = request.metadata().get("hasleader").is_some_and(|value| value == "true");
        if asks && self.leadership.leader() == 0 {
            return Err(EtcdError::NoLeader.into());
        }
        Ok(Caller(()))
    }

    /// Sends a command through the log.
    pub(super) async fn propose(
        &self,
        _: &Caller,
        command: &Command,
    ) -> Result<StoreResponse, Refusal> {
        match self.handle.propose(command.encode()).await {
            Ok(Ok(reply)) => reply.result.map_err(Refusal::from),
            Ok(Err(failed)) => Err(refusal::failed(&failed)),
            Err(error) => {
                self.metrics.proposals_failed.fetch_add(1, Ordering::Relaxed);
                Err(refusal::of_proposal(error))
            }
        }
    }

    /// Waits until what this member reads is current.
    pub(super) async fn linearize(&self, _: &Caller) -> Result<(), Refusal> {
        match self.handle.linearize().await {
            Ok(_) => Ok(()),
            Err(error) => {
                self.metrics.reads_failed.fetch_add(1, Ordering::Relaxed);
                Err(refusal::of_read(error))
            }
        }
    }

    /// Whether a read is answered: one that a quorum confirms, or one from memory alone. Who asks
    /// is not asked, as in etcd: it is how a member is watched, and nothing of the store is told.
    pub(crate) async fn probe_read(&self, serializable: bool) -> Result<(), Refusal> {
        if !serializable {
            self.linearize(&Caller(())).await?;
        }
        // Counting looks at the index only, which is in memory: a slow disk is no failure here.
        let all = Range { count_only: true, ..Range::new(KeyRange::all()) };
        let counted = self.reader.range(&all);
        counted.map(|_| ()).map_err(|error| self.refuse(refusal::of_range(error)))
    }

    /// Reads from the store: here if it is short, else on a thread for such, a few at a time.
    pub(super) async fn read<T: Send + 'static>(
        self: &Arc<Self>,
        _: &Caller,
        short: bool,
        read: impl FnOnce(&Self) -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Refusal> {
        if short {
            return read(self);
        }
        let permit = self.long_reads.acquire().await.expect("nobody closes the semaphore");
        let context = Arc::clone(self);
        let answer = tokio::task::spawn_blocking(move || read(&context)).await;
        drop(permit);
        answer.unwrap_or_else(|error| Err(refusal::failed(&error)))
    }

    /// The refusal, unless the store has failed: then the member stops.
    pub(super) fn refuse(&self, refusal: Result<Refusal, String>) -> Refusal {
        refusal.unwrap_or_else(|reason| {
            let reason = FatalReason::Store(reason);
            let refusal = refusal::failed(&reason);
            self.fatal.tell(reason);
            refusal
        })
    }
}

/// The store answers each command in kind; if not, that is a fault in this program.
pub(super) fn mismatch(response: &StoreResponse) -> Status {
    Status::internal(format!("synod: the store gave the answer to another command: {response:?}"))
}
