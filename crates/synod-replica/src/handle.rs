//! How the rest of a process speaks to its member.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use synod_paxos::{Message, Peer, ReplicaId, Slot, Withdrawal};
use tokio::sync::oneshot;

use crate::client::{ProposeError, ReadError, TransferError};
use crate::codec::{DecodeError, decode_message, message_size};
use crate::inputs::{Input, OneQuery, OneReply, QueueSender, Refused, Request, Senders};
use crate::machine::StateMachine;
use crate::status::{SharedStatus, Status};

/// How current a query's answer must be.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Guarantee {
    /// As if the query ran at one moment between question and answer, after every write that was
    /// answered before: a quorum confirms it.
    Linearizable,
    /// From what this member has applied, which may be old.
    Serializable,
}

/// What is asked of a member at most.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) payload_bytes_max: usize,
    pub(crate) timeout: Duration,
}

/// A member of this process. Clones speak to the same one.
pub struct Handle<M: StateMachine> {
    me: Peer,
    senders: Senders<M>,
    limits: Limits,
    status: Arc<SharedStatus>,
}

impl<M: StateMachine> Clone for Handle<M> {
    fn clone(&self) -> Self {
        Self {
            me: self.me,
            senders: self.senders.clone(),
            limits: self.limits,
            status: Arc::clone(&self.status),
        }
    }
}

impl<M: StateMachine> std::fmt::Debug for Handle<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handle").field("me", &self.me).finish_non_exhaustive()
    }
}

impl<M: StateMachine> Handle<M> {
    pub(crate) const fn new(
        me: Peer,
        senders: Senders<M>,
        limits: Limits,
        status: Arc<SharedStatus>,
    ) -> Self {
        Self { me, senders, limits, status }
    }

    /// Who the member is.
    #[must_use]
    pub const fn me(&self) -> Peer {
        self.me
    }

    /// The same member, with another time-out for what is asked through this handle.
    #[must_use]
    pub fn with_timeout(&self, timeout: Duration) -> Self {
        let limits = Limits { timeout, ..self.limits };
        Self { limits, ..self.clone() }
    }

    // From the transport.

    /// Takes a peer's frame. Decodes it on the caller's thread.
    ///
    /// # Errors
    /// If it is no frame; the connection is not worth keeping then.
    pub fn deliver_frame(&self, from: Peer, frame: Bytes) -> Result<(), DecodeError> {
        let bytes = frame.len();
        self.offer_input(bytes, Input::Message(from, decode_message(frame)?));
        Ok(())
    }

    /// Takes a peer's message. Drops it if too much waits.
    pub fn deliver(&self, from: Peer, message: Message) {
        self.offer_input(message_size(&message), Input::Message(from, message));
    }

    /// A peer's process is gone: its connection closed, and a new one was refused.
    pub fn unreachable(&self, peer: ReplicaId) {
        self.offer_input(0, Input::Unreachable(peer));
    }

    // From clients.

    /// Proposes a command, and waits for the machine's reply on this member.
    ///
    /// # Errors
    /// If there is no reply in time; the error says whether the command may apply yet.
    pub async fn propose(&self, payload: Bytes) -> Result<M::Reply, ProposeError> {
        unanswered_propose(self.start_propose(payload)?.await)
    }

    /// [`Handle::propose`] outside of async code.
    ///
    /// # Errors
    /// The same.
    ///
    /// # Panics
    /// In async code.
    pub fn propose_blocking(&self, payload: Bytes) -> Result<M::Reply, ProposeError> {
        unanswered_propose(self.start_propose(payload)?.blocking_recv())
    }

    /// Waits until this member has applied all that was answered before the call, on any member,
    /// and returns its applied watermark: what the caller reads from then on is linearizable.
    ///
    /// # Errors
    /// If no leader confirms it in time.
    pub async fn linearize(&self) -> Result<Slot, ReadError> {
        let (client, granted) = oneshot::channel();
        self.start_read(OneQuery::Linearize(client))?;
        granted.await.unwrap_or(Err(ReadError::Stopping))
    }

    /// [`Handle::linearize`] outside of async code.
    ///
    /// # Errors
    /// The same.
    ///
    /// # Panics
    /// In async code.
    pub fn linearize_blocking(&self) -> Result<Slot, ReadError> {
        let (client, granted) = oneshot::channel();
        self.start_read(OneQuery::Linearize(client))?;
        granted.blocking_recv().unwrap_or(Err(ReadError::Stopping))
    }

    /// Reads from the machine. The member waits while `read` runs, so it must be quick.
    ///
    /// # Errors
    /// If no leader confirms the read in time.
    pub async fn query<T: Send + 'static>(
        &self,
        guarantee: Guarantee,
        read: impl FnOnce(&M) -> T + Send + 'static,
    ) -> Result<T, ReadError> {
        self.start_query(guarantee, read)?.await.unwrap_or(Err(ReadError::Stopping))
    }

    /// [`Handle::query`] outside of async code.
    ///
    /// # Errors
    /// The same.
    ///
    /// # Panics
    /// In async code.
    pub fn query_blocking<T: Send + 'static>(
        &self,
        guarantee: Guarantee,
        read: impl FnOnce(&M) -> T + Send + 'static,
    ) -> Result<T, ReadError> {
        self.start_query(guarantee, read)?.blocking_recv().unwrap_or(Err(ReadError::Stopping))
    }

    // From operators.

    /// How the member is.
    #[must_use]
    pub fn status(&self) -> Status {
        self.status.get()
    }

    /// How long ago the member's loop last turned. It turns at least at every tick, so a long time
    /// means that it is stuck, or that the machine it applies to is.
    #[must_use]
    pub fn turned_ago(&self) -> Duration {
        self.status.turned_ago()
    }

    /// Hands leadership over, to the most caught-up member if `to` is `None`; returns when this
    /// member leads no more.
    ///
    /// # Errors
    /// If it does not lead, or nobody takes over in time.
    pub async fn transfer_leadership(&self, to: Option<ReplicaId>) -> Result<(), TransferError> {
        let (done, result) = oneshot::channel();
        self.senders.requests.offer(0, Request::Transfer { to, done }).map_err(|refused| {
            match refused {
                Refused::Full => TransferError::Busy,
                Refused::Closed => TransferError::Stopping,
            }
        })?;
        result.await.unwrap_or(Err(TransferError::Stopping))
    }

    /// Asks the member to stop: it hands over if it leads, answers who waits, and ends. Returns
    /// at once; [`Running::join`](crate::runtime::Running::join) waits for the end.
    pub fn shutdown(&self) {
        // A member that is gone already has nothing left to do.
        self.senders.requests.wait_for_place(Request::Shutdown);
    }

    fn offer_input(&self, bytes: usize, input: Input) {
        // Dropped if it does not fit, or if the member is gone: as if the network had lost it.
        let _ = self.senders.messages.offer(bytes, input);
    }

    fn start_propose(&self, payload: Bytes) -> Result<Reply<M>, ProposeError> {
        let (reply, answer) = oneshot::channel();
        let (bytes, max) = (payload.len(), self.limits.payload_bytes_max);
        if bytes > max {
            return Err(ProposeError::TooLarge { bytes, max });
        }
        let reply = OneReply(reply);
        let request = Request::Propose { payload, timeout: self.limits.timeout, reply };
        self.senders.requests.offer(bytes, request).map_err(|refused| match refused {
            Refused::Full => ProposeError::Busy,
            Refused::Closed => ProposeError::Stopping { outcome: Withdrawal::NeverApplied },
        })?;
        Ok(answer)
    }

    fn start_read(&self, client: OneQuery<M>) -> Result<(), ReadError> {
        let timeout = self.limits.timeout;
        offer_read(&self.senders.requests, Request::Read { timeout, client })
    }

    fn start_query<T: Send + 'static>(
        &self,
        guarantee: Guarantee,
        read: impl FnOnce(&M) -> T + Send + 'static,
    ) -> Result<oneshot::Receiver<Result<T, ReadError>>, ReadError> {
        let (client, answer) = oneshot::channel();
        match guarantee {
            Guarantee::Linearizable => {
                self.start_read(OneQuery::Query(Box::new(move |machine, granted| {
                    // Who asked may have gone.
                    let _ = client.send(granted.map(|_| read(machine)));
                })))?;
            }
            Guarantee::Serializable => offer_read(
                &self.senders.requests,
                Request::Look(Box::new(move |machine| {
                    let _ = client.send(Ok(read(machine)));
                })),
            )?,
        }
        Ok(answer)
    }
}

type Reply<M> = oneshot::Receiver<Result<<M as StateMachine>::Reply, ProposeError>>;

/// A member that ends without an answer may have proposed the command.
fn unanswered_propose<R>(
    answer: Result<Result<R, ProposeError>, oneshot::error::RecvError>,
) -> Result<R, ProposeError> {
    answer.unwrap_or(Err(ProposeError::Stopping { outcome: Withdrawal::Unknown }))
}

fn offer_read<M: StateMachine>(
    requests: &QueueSender<Request<M>>,
    request: Request<M>,
) -> Result<(), ReadError> {
    requests.offer(0, request).map_err(|refused| match refused {
        Refused::Full => ReadError::Busy,
        Refused::Closed => ReadError::Stopping,
    })
}
