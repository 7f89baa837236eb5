//! A connection and those of its streams that have no task of their own.
//!
//! The HTTP/2 library wants a task for each stream beside the connection's. For a stream that now
//! and then has a few bytes to say, that is two wake-ups and two turns for each of them; and a
//! thousand such streams of one connection are a thousand and one. Watches are such streams: the
//! connection takes them on, and polls those that have something to say before it sends.
//!
//! Everything else goes on to have its own task: answers that take long to make, or work that
//! several cores share.
//!
//! Many connections that have something to say at once are woken a few at a time: see [`muster`].

use std::cell::Cell;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use hyper::rt::Executor;
use parking_lot::Mutex;
use slab::Slab;

/// The streams of a connection, as the HTTP/2 library sees them: where to put the next one. Cheap
/// to clone.
#[derive(Clone, Debug)]
pub(super) struct Crew(Arc<Shared>);

/// The streams that the connection polls, and what is needed for that.
pub(super) struct Hands {
    crew: Crew,
    hands: Slab<Hand>,
    /// Wakes the connection itself.
    bell: Arc<Bell>,
    waker: Waker,
    /// Who is polled in this turn. Kept for its memory.
    turn: Vec<usize>,
}

/// A stream with a task of its own, until it is dropped.
#[derive(Debug)]
pub(super) struct Elsewhere(Arc<Shared>);

/// A stream that the connection polls.
struct Hand {
    stream: Stream,
    bell: Arc<Bell>,
    waker: Waker,
}

type Stream = Pin<Box<dyn Future<Output = ()> + Send>>;

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// The next stream is taken on.
    takes_next: AtomicBool,
    /// Streams with tasks of their own.
    elsewhere: AtomicUsize,
}

#[derive(Default)]
struct State {
    /// The connection's task.
    task: Option<Waker>,
    /// The task runs or was woken: it will look at the rest of this.
    is_awake: bool,
    /// It is among those that are to be woken: see [`muster`].
    is_mustered: bool,
    /// The connection itself was woken.
    is_rung: bool,
    /// Streams that were woken.
    ready: Vec<usize>,
    /// Streams that are new.
    hired: Vec<Stream>,
}

/// Wakes one of a crew.
struct Bell {
    crew: Arc<Shared>,
    /// Which stream; none for the connection.
    at: Option<usize>,
    is_rung: AtomicBool,
}

/// So many streams are polled before the connection sends what they said.
const TURN_MAX: usize = 256;
/// So often is what was woken meanwhile polled before others than this connection have a turn.
const ROUNDS_MAX: usize = 4;

thread_local! {
    /// While bells are rung by [`muster`]: whose tasks are to be woken.
    static MUSTERED: Cell<Option<Vec<Crew>>> = const { Cell::new(None) };
}

/// Wakes streams, but not yet the connections that have taken them on: these are returned, each
/// once, to be woken by [`Crew::set_out`].
///
/// A thousand connections woken at once would all stand before whatever else comes in meanwhile,
/// such as the next write, whose events could have gone with those before.
pub(super) fn muster(wakers: impl Iterator<Item = Waker>) -> Vec<Crew> {
    MUSTERED.set(Some(Vec::new()));
    wakers.for_each(Waker::wake);
    MUSTERED.take().unwrap_or_default()
}

impl Crew {
    pub(super) fn new() -> Self {
        Self(Arc::default())
    }

    /// The next stream is polled by the connection.
    pub(super) fn take_next(&self) {
        self.0.takes_next.store(true, Ordering::Relaxed);
    }

    /// A stream has a task of its own until this is dropped.
    pub(super) fn elsewhere(&self) -> Elsewhere {
        self.0.elsewhere.fetch_add(1, Ordering::Relaxed);
        Elsewhere(Arc::clone(&self.0))
    }

    /// Wakes the connection for its streams, if it has not looked after them since they were
    /// woken; how many streams they are.
    pub(super) fn set_out(&self) -> usize {
        let mut state = self.0.state.lock();
        state.is_mustered = false;
        let streams = state.ready.len();
        if streams > 0 && !state.is_awake {
            state.is_awake = true;
            let task = state.task.clone();
            drop(state);
            task.into_iter().for_each(Waker::wake);
        }
        streams
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        self.0.elsewhere.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for Hands {
    /// A stream that was never polled holds on to the crew, and would keep both for ever.
    fn drop(&mut self) {
        let hired = std::mem::take(&mut self.crew.0.state.lock().hired);
        drop(hired);
    }
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Crew {
    fn execute(&self, stream: F) {
        if self.0.takes_next.swap(false, Ordering::Relaxed) {
            // Only the connection begins streams: it is awake.
            self.0.state.lock().hired.push(Box::pin(stream));
        } else {
            tokio::spawn(stream);
        }
    }
}

impl Hands {
    pub(super) fn new(crew: Crew) -> Self {
        let bell =
            Arc::new(Bell { crew: Arc::clone(&crew.0), at: None, is_rung: AtomicBool::new(false) });
        let waker = Waker::from(Arc::clone(&bell));
        // It is polled for the first time without being woken.
        crew.0.state.lock().is_rung = true;
        Self { crew, hands: Slab::new(), bell, waker, turn: Vec::new() }
    }

    /// Polls whoever was woken: streams first, so that the connection finds what they say.
    pub(super) fn poll<C: Future>(
        &mut self,
        mut connection: Pin<&mut C>,
        context: &Context<'_>,
    ) -> Poll<C::Output> {
        self.wake_up(context.waker());
        for _ in 0..ROUNDS_MAX {
            let is_rung = self.begin_turn();
            self.poll_streams();
            if is_rung {
                self.bell.is_rung.swap(false, Ordering::AcqRel);
                let polled = connection.as_mut().poll(&mut Context::from_waker(&self.waker));
                if polled.is_ready() {
                    return polled;
                }
            }
            if self.has_no_more_to_do() {
                return Poll::Pending;
            }
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }

    /// Whether no stream has a task of its own.
    pub(super) fn have_all_streams(&self) -> bool {
        self.crew.0.elsewhere.load(Ordering::Relaxed) == 0
    }

    /// The connection is polled in the next turn, whether or not it was woken.
    pub(super) fn ring(&self) {
        self.crew.0.state.lock().is_rung = true;
    }

    fn wake_up(&self, task: &Waker) {
        let mut state = self.crew.0.state.lock();
        state.is_awake = true;
        if !state.task.as_ref().is_some_and(|known| known.will_wake(task)) {
            state.task = Some(task.clone());
        }
    }

    /// Decides who is polled; whether the connection is.
    fn begin_turn(&mut self) -> bool {
        let mut state = self.crew.0.state.lock();
        let count = state.ready.len().min(TURN_MAX);
        self.turn.extend(state.ready.drain(..count));
        for stream in std::mem::take(&mut state.hired) {
            let entry = self.hands.vacant_entry();
            let (at, crew) = (entry.key(), Arc::clone(&self.crew.0));
            let bell = Arc::new(Bell { crew, at: Some(at), is_rung: AtomicBool::new(false) });
            let waker = Waker::from(Arc::clone(&bell));
            entry.insert(Hand { stream, bell, waker });
            self.turn.push(at);
        }
        std::mem::take(&mut state.is_rung)
    }

    fn poll_streams(&mut self) {
        for at in self.turn.drain(..) {
            // The bell of a stream that has ended may ring, and its place may be taken.
            let Some(Hand { stream, bell, waker }) = self.hands.get_mut(at) else { continue };
            // Before it is polled: what comes from here on rings again.
            bell.is_rung.swap(false, Ordering::AcqRel);
            if stream.as_mut().poll(&mut Context::from_waker(waker)).is_ready() {
                self.hands.remove(at);
            }
        }
        if self.turn.capacity() > TURN_MAX {
            self.turn = Vec::new();
        }
    }

    /// Whether nobody was woken meanwhile. Then the task is to be woken by who is next.
    fn has_no_more_to_do(&self) -> bool {
        let mut state = self.crew.0.state.lock();
        let is_done = state.ready.is_empty() && state.hired.is_empty() && !state.is_rung;
        if is_done {
            state.is_awake = false;
            state.ready.shrink_to(IDLE_STREAMS);
        }
        is_done
    }
}

/// What a connection that has nothing to do keeps room for.
const IDLE_STREAMS: usize = 64;

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.is_rung.swap(true, Ordering::AcqRel) {
            return;
        }
        let mut state = self.crew.state.lock();
        match self.at {
            Some(at) => state.ready.push(at),
            None => state.is_rung = true,
        }
        if state.is_awake {
            return;
        }
        if let Some(mut mustered) = MUSTERED.take() {
            if !std::mem::replace(&mut state.is_mustered, true) {
                mustered.push(Crew(Arc::clone(&self.crew)));
            }
            MUSTERED.set(Some(mustered));
            return;
        }
        state.is_awake = true;
        let task = state.task.clone();
        drop(state);
        task.into_iter().for_each(Waker::wake);
    }
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State").field("ready", &self.ready.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
