//! The one way from a service to the log and to the store: who calls, then what for.
//!
//! Every method of every service begins with [`Context::caller`] and hands what it got to the
//! calls that reach inward. A service has no other way in.
//!
//! ```text
//!   request ──caller──▶ Caller: what it shows of who it is
//!                          │
//!                          ├─propose──▶ log ──▶ apply: checked as Command::needs says
//!                          ├─read─────▶ Reader: checked in the state that is read
//!                          └─permit───▶ checked now, for what is answered from elsewhere
//! ```
//!
//! Nothing is decided at the door: what a caller may is looked up where its command or read is
//! carried out, in the state of that moment. While auth is disabled nobody is asked anything.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use synod_etcd::{EtcdError, Refusal};
use synod_kv::{
    ApplyError, AuthError, Caller as StoreCaller, Command, Identity, KeyRange, Need, Range,
    Response as StoreResponse,
};
use tonic::{Request, Status};

use super::{Context, refusal};
use crate::credentials::Credentials;
use crate::server::FatalReason;

/// Who asks. Made from a request, by [`Context::caller`] alone. It is never a member: what members
/// propose on their own they propose elsewhere, as `synod_kv::Caller::Internal`.
#[derive(Clone, Debug)]
pub(super) struct Caller(Credentials);

impl Context {
    /// Who asks, unless it is to be refused at the door: who asks for a leader, with the metadata
    /// `hasleader`, is while none is known.
    pub(super) fn caller<T>(&self, request: &Request<T>) -> Result<Caller, Refusal> {
        let asks = request.metadata().get("hasleader").is_some_and(|value| value == "true");
        if asks && self.leadership.leader() == 0 {
            return Err(EtcdError::NoLeader.into());
        }
        Ok(Caller(Credentials::of(request)))
    }

    /// Sends a command through the log. When its turn comes the caller must have what
    /// [`Command::needs`] says.
    pub(super) async fn propose(
        &self,
        caller: &Caller,
        command: &Command,
    ) -> Result<StoreResponse, Refusal> {
        let answer = self.propose_as(&self.who(caller)?, command).await?;
        match answer {
            // Auth was enabled while the command was on its way, or before and this member had not
            // learned of it: it has now, and the refused command changed nothing.
            Err(ApplyError::Auth(AuthError::UserEmpty)) if caller.0 != Credentials::None => {
                self.propose_as(&self.who(caller)?, command).await?
            }
            answer => answer,
        }
        .map_err(Refusal::from)
    }

    async fn propose_as(
        &self,
        who: &StoreCaller,
        command: &Command,
    ) -> Result<Result<StoreResponse, ApplyError>, Refusal> {
        match self.handle.propose(command.encode_for(who)).await {
            Ok(Ok(reply)) => Ok(reply.result),
            Ok(Err(failed)) => Err(refusal::failed(&failed)),
            Err(error) => {
                self.metrics.proposals_failed.fetch_add(1, Ordering::Relaxed);
                Err(refusal::of_proposal(error))
            }
        }
    }

    /// Checks, in the state this member has now, that the caller has what is needed: for answers
    /// that come neither from the log nor from the reader.
    pub(super) fn permit(&self, caller: &Caller, needs: &[Need]) -> Result<(), Refusal> {
        Ok(self.reader.permit(&self.who(caller)?, needs)?)
    }

    /// Who the caller is to the store, as this member knows it now.
    fn who(&self, caller: &Caller) -> Result<StoreCaller, Refusal> {
        match &caller.0 {
            Credentials::None => Ok(StoreCaller::Anonymous),
            _ if !self.reader.auth_status().enabled => Ok(StoreCaller::Anonymous),
            // Nobody issues tokens yet.
            Credentials::Token(_) => Err(EtcdError::InvalidAuthToken.into()),
            Credentials::Certificate(name) => {
                Ok(StoreCaller::User(Identity { name: name.clone(), issued: None }))
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
            self.linearize(&Caller(Credentials::None)).await?;
        }
        // Counting looks at the index only, which is in memory: a slow disk is no failure here.
        let all = Range { count_only: true, ..Range::new(KeyRange::all()) };
        let counted = self.reader.range(&StoreCaller::Internal, &all);
        counted.map(|_| ()).map_err(|error| self.refuse(refusal::of_range(error)))
    }

    /// Reads from the store: here if it is short, else on a thread for such, a few at a time. The
    /// reader is told who asks, and checks it in the state it reads.
    pub(super) async fn read<T: Send + 'static>(
        self: &Arc<Self>,
        caller: &Caller,
        short: bool,
        read: impl FnOnce(&Self, &StoreCaller) -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Refusal> {
        if short {
            return read(self, &self.who(caller)?);
        }
        let permit = self.long_reads.acquire().await.expect("nobody closes the semaphore");
        let (context, who) = (Arc::clone(self), self.who(caller)?);
        let answer = tokio::task::spawn_blocking(move || read(&context, &who)).await;
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
