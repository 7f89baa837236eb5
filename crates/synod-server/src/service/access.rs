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

use bytes::Bytes;
use synod_etcd::{EtcdError, Limits, Refusal};
use synod_kv::{
    ApplyError, AuthError, Caller as StoreCaller, Command, Identity, KeyRange, LeaseIds, Need,
    Range, Response as StoreResponse,
};
use synod_replica::{Handle, ReadError};
use tokio::time::timeout;
use tonic::{Code, Request, Status};

use super::gate::{self, Requirement};
use super::{Context, refusal};
use crate::auth::WallTime;
use crate::credentials::Credentials;
use crate::machine::KvMachine;
use crate::metrics::Metrics;
use crate::server::FatalReason;
use crate::watch;

/// Who asks. Made from a request, by [`Context::caller`] alone. It is never a member: what members
/// propose on their own goes by [`Context::propose_own`].
#[derive(Clone, Debug)]
pub(super) struct Caller(Credentials);

impl Context {
    /// Who asks, unless it is to be refused at the door: who asks for a leader, with the metadata
    /// `hasleader`, is while none is known.
    pub(super) fn caller<T>(&self, request: &Request<T>) -> Result<Caller, Refusal> {
        if asks_for_leader(request) && self.leadership.leader() == 0 {
            return Err(EtcdError::NoLeader.into());
        }
        Ok(Caller(Credentials::of(request)))
    }

    /// Waits until a stream must end whatever its client does, and tells why: the member stops;
    /// or there was no leader for long, and the client asked for one.
    pub(super) async fn stream_ends(&self, asks_for_leader: bool) -> Refusal {
        tokio::select! {
            () = self.stopping.cancelled() => EtcdError::Stopped.into(),
            () = self.leader_is_lost(), if asks_for_leader => EtcdError::NoLeader.into(),
        }
    }

    /// Waits until no leader was known for long.
    pub(super) async fn leader_is_lost(&self) {
        let mut known = self.leadership.watch();
        loop {
            // The sender is in the context, which is here.
            let _ = known.wait_for(|known| !known).await;
            let patience = self.config.without_leader_after();
            if timeout(patience, known.wait_for(|known| *known)).await.is_err() {
                return;
            }
        }
    }

    /// Sends a command through the log, unless there is no room for it. When its turn comes the
    /// caller must have what [`Command::needs`] says.
    pub(super) async fn propose(
        &self,
        caller: &Caller,
        command: &Command,
    ) -> Result<StoreResponse, Refusal> {
        Ok(self.propose_within(caller, command, None).await??)
    }

    /// The same for a command whose answer may take so much memory, and what the log says of it.
    pub(super) async fn propose_within(
        &self,
        caller: &Caller,
        command: &Command,
        answer_bytes_max: Option<u64>,
    ) -> Result<Result<StoreResponse, ApplyError>, Refusal> {
        self.find_room(caller, command).await?;
        let who = self.who(caller).await?;
        match self.propose_as(&who, command, answer_bytes_max).await? {
            // Auth was enabled while the command was on its way, or before and this member had not
            // learned of it: it has now, and the refused command changed nothing.
            Err(ApplyError::Auth(AuthError::UserEmpty)) if caller.0 != Credentials::None => {
                let who = self.who(caller).await?;
                self.propose_as(&who, command, answer_bytes_max).await
            }
            answer => Ok(answer),
        }
    }

    async fn propose_as(
        &self,
        who: &StoreCaller,
        command: &Command,
        answer_bytes_max: Option<u64>,
    ) -> Result<Result<StoreResponse, ApplyError>, Refusal> {
        let payload = match answer_bytes_max {
            Some(bytes_max) => command.encode_within(who, bytes_max),
            None => command.encode_for(who),
        };
        propose_encoded(&self.handle, &self.metrics, payload).await
    }

    /// Sends a command of this member's own through the log: nobody asked for it.
    pub(crate) async fn propose_own(&self, command: &Command) -> Result<StoreResponse, Refusal> {
        Ok(self.propose_as(&StoreCaller::Internal, command, None).await??)
    }

    /// Renews leases, together with those that others ask for at the same time. For each of them,
    /// the TTL that begins anew, or 0 if it is over or unknown.
    pub(super) async fn renew(&self, caller: &Caller, ids: &LeaseIds) -> Result<Vec<i64>, Refusal> {
        let user_empty = Some(EtcdError::UserEmpty);
        match self.renew_as(&self.who(caller).await?, ids).await {
            // As for any command: this member has learned now that auth is enabled.
            Err(refusal) if refusal.etcd() == user_empty && caller.0 != Credentials::None => {
                self.renew_as(&self.who(caller).await?, ids).await
            }
            answer => answer,
        }
    }

    async fn renew_as(&self, who: &StoreCaller, ids: &LeaseIds) -> Result<Vec<i64>, Refusal> {
        self.renewals.renew(who.clone(), ids.as_slice().to_vec()).await
    }

    /// Refuses what takes more space than there is. The space in use that is known here may be
    /// that of a moment ago, before a compaction that the client has seen: so it is looked at anew.
    /// Who may not do it anyway is told that, and does not raise an alarm.
    async fn find_room(&self, caller: &Caller, command: &Command) -> Result<(), Refusal> {
        let wanted = command.space();
        if self.space.admit(wanted).is_ok() {
            return Ok(());
        }
        self.linearize(caller).await?;
        let Err(no_room) = self.space.admit(wanted) else { return Ok(()) };
        self.permit(caller, &command.needs()).await?;
        self.space.refused(no_room);
        Err(Refusal::new(EtcdError::NoSpace).with_detail(no_room.to_string()))
    }

    /// Checks, in the state this member has now, that the caller has what is needed: for answers
    /// that come neither from the log nor from the reader.
    pub(super) async fn permit(&self, caller: &Caller, needs: &[Need]) -> Result<(), Refusal> {
        Ok(self.reader.permit(&self.who(caller).await?, needs)?)
    }

    /// What is looked at before a call is: whether it is known, and what it needs as a whole. Only
    /// while auth is enabled.
    pub(super) fn admit<'a, B>(
        &'a self,
        request: &hyper::Request<B>,
    ) -> impl Future<Output = Result<(), Refusal>> + Send + use<'a, B> {
        let requirement = gate::requirement(request.uri().path());
        let caller = Caller(Credentials::shown(request.headers(), request.extensions()));
        async move {
            match requirement.map(Requirement::need) {
                None => Err(EtcdError::PermissionDenied.into()),
                Some(None) => Ok(()),
                Some(Some(need)) => self.permit(&caller, &[need]).await,
            }
        }
    }

    /// A token for a user whose password was right at this auth revision.
    pub(super) fn issue_token(
        &self,
        name: &str,
        revision: u64,
        now: WallTime,
    ) -> Result<String, Refusal> {
        let secret = self.reader.token_secret().ok_or(EtcdError::AuthNotEnabled)?;
        let token = self.tokens.issue(&secret, name, revision, now);
        token.map_err(|error| Refusal::own(Code::Unknown, error.to_string()))
    }

    /// Who the caller is to the store. A token that this member cannot read, or that was issued
    /// in a state it has not reached, may be of a moment ago: then it catches up first.
    async fn who(&self, caller: &Caller) -> Result<StoreCaller, Refusal> {
        if caller.0 == Credentials::None || !self.reader.is_auth_enabled() {
            return Ok(StoreCaller::Anonymous);
        }
        let token = match &caller.0 {
            Credentials::None => return Ok(StoreCaller::Anonymous),
            Credentials::Token(token) => token,
            Credentials::Certificate(name) => {
                return Ok(StoreCaller::User(Identity { name: name.clone(), issued: None }));
            }
        };
        let found = self.read_token(token);
        let revision = self.reader.auth_status().revision;
        if let Some(identity) = &found
            && identity.issued.is_none_or(|issued| issued <= revision)
        {
            return Ok(found.map_or(StoreCaller::Anonymous, StoreCaller::User));
        }
        self.linearize(caller).await?;
        match self.read_token(token) {
            Some(identity) => Ok(StoreCaller::User(identity)),
            None if !self.reader.is_auth_enabled() => Ok(StoreCaller::Anonymous),
            None => Err(EtcdError::InvalidAuthToken.into()),
        }
    }

    fn read_token(&self, token: &str) -> Option<Identity> {
        let secret = self.reader.token_secret()?;
        self.tokens.read(&secret, token, WallTime::now())
    }

    /// Waits until what this member reads is current; or, for a read that asks for no more, is no
    /// less than it told before it was started.
    pub(super) async fn catch_up(
        &self,
        caller: &Caller,
        serializable: bool,
    ) -> Result<(), Refusal> {
        if !serializable {
            return self.linearize(caller).await;
        }
        tokio::select! {
            // Nearly always at once: then nothing else is looked at.
            biased;
            () = self.catch_up.awaited() => Ok(()),
            () = self.stopping.cancelled() => Err(EtcdError::Stopped.into()),
        }
    }

    /// Waits until what this member reads is current.
    pub(super) async fn linearize(&self, _: &Caller) -> Result<(), Refusal> {
        match self.handle.linearize().await {
            Ok(_) => Ok(()),
            Err(error) => {
                self.metrics.read_unconfirmed(error == ReadError::TimedOut);
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
            return read(self, &self.who(caller).await?);
        }
        let (context, who) = (Arc::clone(self), self.who(caller).await?);
        self.read_on(move || read(&context, &who)).await?
    }

    /// Goes on with a read that began by [`Context::read`], on a thread for long ones.
    pub(super) async fn read_on<T: Send + 'static>(
        &self,
        read: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Refusal> {
        let permit = self.long_reads.acquire().await.expect("nobody closes the semaphore");
        let answer = tokio::task::spawn_blocking(read).await;
        drop(permit);
        answer.map_err(|error| refusal::failed(&error))
    }

    /// A new stream of watches, which has none yet.
    pub(super) fn watch(self: &Arc<Self>, _: &Caller) -> (watch::Feed, watch::Asker) {
        let context = Arc::clone(self);
        let bytes_max = self.limits.request_bytes_max + Limits::MESSAGE_OVERHEAD_BYTES;
        watch::Feed::open(&self.watches, move || context.stamp(), bytes_max)
    }

    /// Waits until a watch that begins now begins after all that was answered before, by any
    /// member. One that is cut off from the others begins with what it has, as in etcd.
    pub(super) async fn reach_now(&self, caller: &Caller) {
        // Whatever comes of it, the watch begins.
        let _ = timeout(self.config.without_leader_after(), self.linearize(caller)).await;
    }

    /// Checks that the caller may watch a range, as the client sent it: no key is the lowest one,
    /// an end of one zero byte is everything from the key on, and no end is the key alone.
    pub(super) async fn may_watch(
        &self,
        caller: &Caller,
        key: &Bytes,
        range_end: &Bytes,
    ) -> Result<(), Refusal> {
        let key = if key.is_empty() { Bytes::from_static(&[0]) } else { key.clone() };
        let keys = KeyRange::new(key, range_end.clone())?;
        self.permit(caller, &[Need::Read(keys)]).await
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

/// Whether a client wants to be refused, rather than served late, while no leader is known.
pub(super) fn asks_for_leader<T>(request: &Request<T>) -> bool {
    request.metadata().get("hasleader").is_some_and(|value| value == "true")
}

/// Sends a command through the log.
pub(crate) async fn propose(
    handle: &Handle<KvMachine>,
    metrics: &Metrics,
    who: &StoreCaller,
    command: &Command,
) -> Result<Result<StoreResponse, ApplyError>, Refusal> {
    propose_encoded(handle, metrics, command.encode_for(who)).await
}

async fn propose_encoded(
    handle: &Handle<KvMachine>,
    metrics: &Metrics,
    payload: Bytes,
) -> Result<Result<StoreResponse, ApplyError>, Refusal> {
    match handle.propose(payload).await {
        Ok(Ok(reply)) => Ok(reply.result),
        Ok(Err(failed)) => Err(refusal::failed(&failed)),
        Err(error) => {
            metrics.proposals_failed.fetch_add(1, Ordering::Relaxed);
            Err(refusal::of_proposal(error))
        }
    }
}

/// The store answers each command in kind; if not, that is a fault in this program.
pub(crate) fn mismatch(response: &StoreResponse) -> Status {
    Status::internal(format!("synod: the store gave the answer to another command: {response:?}"))
}
