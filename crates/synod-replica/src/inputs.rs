//! What comes in to a member's driver: two bounded queues, one from peers and one from clients.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender, TrySendError};
use synod_paxos::{Message, Peer, ReplicaId, Slot};
use tokio::sync::oneshot;

use crate::bell::Bell;
use crate::client::{
    BoxedReadClient, ProposeClient, ProposeError, ReadClient, ReadError, TransferError,
};
use crate::machine::StateMachine;

/// From peers. It may be dropped.
pub(crate) enum Input {
    Message(Peer, Message),
    Unreachable(ReplicaId),
}

/// From clients.
pub(crate) enum Request<M: StateMachine> {
    Propose { payload: Bytes, timeout: Duration, reply: OneReply<M::Reply> },
    Read { timeout: Duration, client: OneQuery<M> },
    Look(Box<dyn FnOnce(&M) + Send>),
    Transfer { to: Option<ReplicaId>, done: oneshot::Sender<Result<(), TransferError>> },
    Shutdown,
}

/// Waits for the reply to a command. Who dropped the other end gets no answer.
pub(crate) struct OneReply<R>(pub(crate) oneshot::Sender<Result<R, ProposeError>>);

impl<R> ProposeClient<R> for OneReply<R> {
    fn is_there(&self) -> bool {
        !self.0.is_closed()
    }

    fn answer(self, outcome: Result<R, ProposeError>) {
        let _ = self.0.send(outcome);
    }
}

/// Waits to read.
pub(crate) enum OneQuery<M> {
    /// Reads by itself, elsewhere.
    Linearize(oneshot::Sender<Result<Slot, ReadError>>),
    /// Reads here.
    Query(BoxedReadClient<M>),
}

impl<M> ReadClient<M> for OneQuery<M> {
    fn is_there(&self) -> bool {
        match self {
            Self::Linearize(client) => !client.is_closed(),
            Self::Query(_) => true,
        }
    }

    fn answer(self, machine: &M, granted: Result<Slot, ReadError>) {
        match self {
            Self::Linearize(client) => {
                let _ = client.send(granted);
            }
            Self::Query(client) => client(machine, granted),
        }
    }
}

/// Makes both queues, each with so many items and so many bytes at most.
pub(crate) fn queues<M: StateMachine>(
    items_max: usize,
    bytes_max: usize,
    bell: &Bell,
) -> (Senders<M>, Inputs<M>) {
    let (messages, messages_waiting) = queue(items_max, bytes_max, bell);
    let (requests, requests_waiting) = queue(items_max, bytes_max, bell);
    let inputs = Inputs { messages: messages_waiting, requests: requests_waiting };
    (Senders { messages, requests }, inputs)
}

/// The driver's end.
pub(crate) struct Inputs<M: StateMachine> {
    pub(crate) messages: QueueReceiver<Input>,
    pub(crate) requests: QueueReceiver<Request<M>>,
}

/// The handles' end.
pub(crate) struct Senders<M: StateMachine> {
    pub(crate) messages: QueueSender<Input>,
    pub(crate) requests: QueueSender<Request<M>>,
}

impl<M: StateMachine> Clone for Senders<M> {
    fn clone(&self) -> Self {
        Self { messages: self.messages.clone(), requests: self.requests.clone() }
    }
}

fn queue<T>(items_max: usize, bytes_max: usize, bell: &Bell) -> (QueueSender<T>, QueueReceiver<T>) {
    let (sender, receiver) = crossbeam_channel::bounded(items_max);
    let bytes = Arc::new(AtomicUsize::new(0));
    let sender = QueueSender { sender, bytes: Arc::clone(&bytes), bytes_max, bell: bell.clone() };
    (sender, QueueReceiver { receiver, bytes })
}

/// Puts things into a queue that is bounded in number and in bytes.
pub(crate) struct QueueSender<T> {
    sender: Sender<(usize, T)>,
    bytes: Arc<AtomicUsize>,
    bytes_max: usize,
    bell: Bell,
}

impl<T> Clone for QueueSender<T> {
    fn clone(&self) -> Self {
        Self {
            sender: self.sender.clone(),
            bytes: Arc::clone(&self.bytes),
            bytes_max: self.bytes_max,
            bell: self.bell.clone(),
        }
    }
}

/// Why a queue did not take something.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Refused {
    Full,
    Closed,
}

impl<T> QueueSender<T> {
    /// Puts it in without waiting. An empty queue takes anything, however large.
    pub(crate) fn offer(&self, bytes: usize, item: T) -> Result<(), Refused> {
        // Relaxed: the count guards nothing but itself; the channel orders the items.
        let before = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        let fits = before == 0 || before.saturating_add(bytes) <= self.bytes_max;
        let refused = if fits {
            match self.sender.try_send((bytes, item)) {
                Ok(()) => {
                    self.bell.ring();
                    return Ok(());
                }
                Err(TrySendError::Full(_)) => Refused::Full,
                Err(TrySendError::Disconnected(_)) => Refused::Closed,
            }
        } else {
            Refused::Full
        };
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        Err(refused)
    }

    /// Puts it in, waiting for a place; false if nobody takes things any more.
    pub(crate) fn wait_for_place(&self, item: T) -> bool {
        let taken = self.sender.send((0, item)).is_ok();
        self.bell.ring();
        taken
    }
}

/// Takes things out of a queue.
pub(crate) struct QueueReceiver<T> {
    receiver: Receiver<(usize, T)>,
    bytes: Arc<AtomicUsize>,
}

impl<T> QueueReceiver<T> {
    pub(crate) fn next(&self) -> Option<T> {
        let (bytes, item) = self.receiver.try_recv().ok()?;
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        Some(item)
    }

    pub(crate) fn len(&self) -> usize {
        self.receiver.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_is_bounded_in_number_and_in_bytes() {
        let (sender, receiver) = queue(3, 100, &Bell::default());
        assert_eq!(sender.offer(500, 'a'), Ok(()), "an empty queue takes anything");
        assert_eq!(sender.offer(1, 'b'), Err(Refused::Full));
        assert_eq!(receiver.next(), Some('a'));
        for item in ['c', 'd', 'e'] {
            assert_eq!(sender.offer(10, item), Ok(()));
        }
        assert_eq!(sender.offer(10, 'f'), Err(Refused::Full));
        assert_eq!(receiver.next(), Some('c'));
        assert_eq!(sender.offer(81, 'g'), Err(Refused::Full));
        assert_eq!(sender.offer(80, 'h'), Ok(()));
        drop(receiver);
        assert_eq!(sender.offer(0, 'i'), Err(Refused::Closed));
    }
}
