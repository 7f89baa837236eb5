//! What waits for one stream.
//!
//! The hub puts in, the stream takes out, and neither waits for the other. Events are shared with
//! other streams; what a stream is charged for is the place it takes in the queue, and each block
//! once.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;
use synod_etcd::watch::Block;
use synod_kv::Revision;
use tokio::sync::Semaphore;
use tonic::Status;

/// One thing to tell.
#[derive(Clone, Debug)]
pub(super) enum Outgoing {
    Events(Events),
    Answer(Answer),
}

/// The events of one revision for one watch, or for several that are told the same.
#[derive(Clone, Debug)]
pub(super) struct Events {
    pub(super) watch_id: i64,
    /// The other watches. Those whose events may come in several messages stand alone.
    pub(super) others: Vec<i64>,
    pub(super) revision: Revision,
    pub(super) block: Arc<Block>,
    /// They may come in several messages.
    pub(super) fragment: bool,
    /// What they are charged for.
    pub(super) bytes: usize,
}

/// Anything else.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Answer {
    pub(super) watch_id: i64,
    pub(super) revision: Revision,
    pub(super) kind: AnswerKind,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum AnswerKind {
    Created,
    /// There will be no such watch, for this reason.
    Refused(Box<str>),
    /// Cancelled as asked.
    Canceled,
    /// Cancelled: what it wants next is compacted, and this is the compact revision.
    Compacted(Revision),
    Progress,
}

/// What is taken at once: one answer, or events that go into one message of each of their watches.
#[derive(Debug)]
pub(super) enum Taken {
    Events(Events, Vec<Events>),
    Answer(Answer),
}

/// How many answers may wait, with requests that have none yet, before a stream's requests are
/// not read on.
pub(super) const ANSWERS_MAX: usize = 64;
/// A place in the queue.
pub(super) const ENTRY_BYTES: usize = 64;
/// One more watch in such a place.
pub(super) const OTHER_BYTES: usize = 16;
/// Events of several revisions share a message up to this size. Clients of some languages take no
/// more than 4 MiB.
const MESSAGE_BYTES_MAX: usize = 1 << 20;
/// A stream that is not in the hub, or no more.
const NOWHERE: usize = usize::MAX;

/// What is counted, for all streams of a member.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    pub(crate) watches: AtomicUsize,
    pub(crate) streams: AtomicUsize,
    pub(crate) slow: AtomicUsize,
    put: Passed,
    taken: Passed,
}

/// What was put into outlets, or taken from them: other threads do the one than the other, and
/// what both write often they would take out of each other's caches.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Passed {
    events: AtomicUsize,
    bytes: AtomicUsize,
}

impl Figures {
    /// Events that wait in outlets.
    pub(crate) fn pending(&self) -> usize {
        let taken = self.taken.events.load(Ordering::Relaxed);
        self.put.events.load(Ordering::Relaxed).saturating_sub(taken)
    }

    /// Events taken from outlets.
    pub(crate) fn sent(&self) -> usize {
        self.taken.events.load(Ordering::Relaxed)
    }

    /// Bytes that wait in outlets.
    pub(super) fn bytes(&self) -> usize {
        let taken = self.taken.bytes.load(Ordering::Relaxed);
        self.put.bytes.load(Ordering::Relaxed).saturating_sub(taken)
    }
}

impl Passed {
    fn add(&self, events: usize, bytes: usize) {
        self.events.fetch_add(events, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    fn take_back(&self, events: usize, bytes: usize) {
        self.events.fetch_sub(events, Ordering::Relaxed);
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// A stream's queue.
#[derive(Debug)]
pub(super) struct Outlet {
    state: Mutex<State>,
    /// The stream's place in the hub.
    slot: AtomicUsize,
    /// One for each request that may be sent to the hub before others are answered.
    pub(super) permits: Semaphore,
    figures: Arc<Figures>,
}

#[derive(Debug, Default)]
struct State {
    queue: VecDeque<Outgoing>,
    bytes: usize,
    waker: Option<Waker>,
    /// The hub wants to know when there is room for so many bytes to come.
    room_wanted: Option<usize>,
    ended: Option<Status>,
}

impl Outlet {
    pub(super) fn new(figures: Arc<Figures>) -> Self {
        Self {
            state: Mutex::default(),
            slot: AtomicUsize::new(NOWHERE),
            permits: Semaphore::new(ANSWERS_MAX),
            figures,
        }
    }

    /// The stream's place in the hub, if it is there.
    pub(super) fn slot(&self) -> Option<usize> {
        Some(self.slot.load(Ordering::Relaxed)).filter(|slot| *slot != NOWHERE)
    }

    /// Only the hub's task sets it, and only it reads it.
    pub(super) fn set_slot(&self, slot: Option<usize>) {
        self.slot.store(slot.unwrap_or(NOWHERE), Ordering::Relaxed);
    }

    /// How many bytes wait.
    pub(super) fn bytes(&self) -> usize {
        self.state.lock().bytes
    }

    /// Puts in; who is to be woken for it.
    pub(super) fn put(&self, all: &mut Vec<Outgoing>) -> Option<Waker> {
        let (mut events, mut bytes) = (0, 0);
        for one in all.iter() {
            if let Outgoing::Events(one) = one {
                events += one.count();
                bytes += one.bytes;
            }
        }
        self.figures.put.add(events, bytes);
        let mut state = self.state.lock();
        state.bytes += bytes;
        state.queue.extend(all.drain(..));
        state.waker.take()
    }

    /// Whether no more than `low` bytes wait; if not, [`Outlet::take`] says when it is so.
    pub(super) fn has_room_or_tells(&self, low: usize) -> bool {
        let mut state = self.state.lock();
        let has_room = state.bytes <= low;
        state.room_wanted = (!has_room).then_some(low);
        has_room
    }

    /// The stream ends with this status, at once.
    pub(super) fn end(&self, status: Status) {
        let waker = {
            let mut state = self.state.lock();
            state.ended.get_or_insert(status);
            state.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Takes what goes into the next message. `room` is set if there is room that the hub waits
    /// for.
    pub(super) fn take(
        &self,
        context: &Context<'_>,
        room: &mut bool,
    ) -> Poll<Result<Taken, Status>> {
        let mut state = self.state.lock();
        if let Some(status) = &state.ended {
            return Poll::Ready(Err(status.clone()));
        }
        let (first, more) = match state.queue.pop_front() {
            None => {
                if !state.waker.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
                    state.waker = Some(context.waker().clone());
                }
                return Poll::Pending;
            }
            Some(Outgoing::Answer(answer)) => {
                drop(state);
                if answer.kind.answers_a_request() {
                    self.permits.add_permits(1);
                }
                return Poll::Ready(Ok(Taken::Answer(answer)));
            }
            Some(Outgoing::Events(first)) => {
                let more = state.take_with(&first);
                (first, more)
            }
        };
        let bytes = first.bytes + more.iter().map(|one| one.bytes).sum::<usize>();
        state.bytes -= bytes;
        if state.room_wanted.is_some_and(|low| state.bytes <= low) {
            state.room_wanted = None;
            *room = true;
        }
        drop(state);
        let count = first.count() + more.iter().map(Events::count).sum::<usize>();
        self.figures.taken.add(count, bytes);
        Poll::Ready(Ok(Taken::Events(first, more)))
    }
}

impl Events {
    /// How many there are, each counted for each watch that is told of it.
    fn count(&self) -> usize {
        self.block.events() * (1 + self.others.len())
    }

    /// Whether those of a later revision may go into the same messages.
    fn may_share_with(&self, next: &Self) -> bool {
        !self.fragment && self.watch_id == next.watch_id && self.others == next.others
    }
}

impl State {
    /// Those behind these events that may share their message.
    fn take_with(&mut self, first: &Events) -> Vec<Events> {
        let mut length = first.block.len();
        let mut events = Vec::new();
        while let Some(Outgoing::Events(next)) = self.queue.front()
            && first.may_share_with(next)
            && length + next.block.len() <= MESSAGE_BYTES_MAX
        {
            length += next.block.len();
            if let Some(Outgoing::Events(next)) = self.queue.pop_front() {
                events.push(next);
            }
        }
        // A burst is over: its memory goes back.
        if self.queue.is_empty() && self.queue.capacity() > ANSWERS_MAX {
            self.queue = VecDeque::new();
        }
        events
    }
}

impl AnswerKind {
    /// Whether the client asked for it: then it may ask for more.
    const fn answers_a_request(&self) -> bool {
        match self {
            Self::Created | Self::Refused(_) | Self::Canceled => true,
            Self::Compacted(_) | Self::Progress => false,
        }
    }
}

impl Drop for Outlet {
    fn drop(&mut self) {
        let state = self.state.get_mut();
        let events = state.queue.iter().map(|one| match one {
            Outgoing::Events(one) => one.count(),
            Outgoing::Answer(_) => 0,
        });
        self.figures.put.take_back(events.sum(), state.bytes);
    }
}
