//! The hub's task, how it is spoken to, and what wakes it.
//!
//! It sleeps until something was applied, a stream asks, or a note of progress is due. Who applies
//! pays for one look at a flag while nobody watches, and else for one wake-up per slot.
//!
//! It runs where streams are served, so that who is told of an event is not one thread further away
//! than the hub. A step that may read from disk, or that tells many, runs on a thread of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use parking_lot::Mutex;
use synod_etcd::watch::WatchCreate;
use synod_etcd::{EtcdError, Refusal};
use synod_kv::{Engine, Reader, StorageError};
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::{self, JoinHandle};
use tokio::time::timeout_at;
use tonic::Status;

use super::hub::{Hub, HubOptions};
use super::outlet::{Figures, Outlet};
use crate::listener::Delivery;
use crate::server::{FatalReason, FatalSink};

/// What a stream asks of the hub.
#[derive(Debug)]
pub(crate) enum Request {
    Create(Box<WatchCreate>),
    /// There is no such watch to make, for this reason: said in turn with other answers.
    Refuse(String),
    Cancel(i64),
    Progress,
}

/// What the hub is told.
#[derive(Debug)]
enum Note {
    Open(Arc<Outlet>),
    Request(Arc<Outlet>, Request),
    /// There is room in a stream's outlet.
    Room(Arc<Outlet>),
    Close(Arc<Outlet>),
    Stop,
}

/// The watches of a member. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Watches {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    /// Bounded: a stream sends its next request when the former ones are answered, but for a few.
    notes: Mutex<Vec<Note>>,
    /// Wakes the hub.
    news: Notify,
    /// Somebody watches.
    is_watched: AtomicBool,
    stopped: AtomicBool,
    figures: Arc<Figures>,
}

/// Starts the task on the runtime this is called in. Streams are woken there, too.
pub(crate) fn start<E: Engine>(
    watches: &Watches,
    reader: Reader<E>,
    options: HubOptions,
    fatal: FatalSink,
) -> JoinHandle<()> {
    let shared = Arc::clone(&watches.shared);
    let hub = Hub::new(reader, options, Arc::clone(&shared.figures));
    let delivery = Delivery::new(Handle::current());
    tokio::spawn(async move {
        if let Err(error) = run(hub, &shared, &delivery).await {
            fatal.tell(FatalReason::Store(error.to_string()));
        }
    })
}

async fn run<E: Engine>(
    mut hub: Hub<E>,
    shared: &Shared,
    delivery: &Delivery,
) -> Result<(), StorageError<E::Error>> {
    loop {
        let mut notes = std::mem::take(&mut *shared.notes.lock()).into_iter();
        while let Some(note) = notes.next() {
            if let Note::Stop = note {
                end(&hub, shared, notes);
                return Ok(());
            }
            take(&mut hub, shared, note);
        }
        let (stepped, result) = step(hub).await;
        hub = stepped;
        let more = match result {
            Ok(more) => more,
            Err(error) => {
                end(&hub, shared, notes);
                return Err(error);
            }
        };
        delivery.wake(hub.take_wakers());
        if hub.is_idle() {
            shared.is_watched.store(false, Ordering::SeqCst);
        }
        if more {
            task::yield_now().await;
            continue;
        }
        match hub.next_due() {
            // Whether it is due or there is news, the next step finds out.
            Some(due) => {
                let _ = timeout_at(due.into(), shared.news.notified()).await;
            }
            None => shared.news.notified().await,
        }
    }
}

/// Does a piece of what there is to do, here or where it may take long; whether there is more.
async fn step<E: Engine>(mut hub: Hub<E>) -> (Hub<E>, Result<bool, StorageError<E::Error>>) {
    let is_long = hub.next_step_is_long();
    let step = move || {
        let result = hub.step(Instant::now());
        (hub, result)
    };
    if !is_long {
        return step();
    }
    match task::spawn_blocking(step).await {
        Ok(stepped) => stepped,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // Only a runtime that ends does not run it, and this task with it.
            Err(_) => std::future::pending().await,
        },
    }
}

/// Ends all streams, also those that the hub has not seen yet: who opens one from now on sees that
/// it is too late.
fn end<E: Engine>(hub: &Hub<E>, shared: &Shared, unread: impl Iterator<Item = Note>) {
    shared.stopped.store(true, Ordering::SeqCst);
    let late = std::mem::take(&mut *shared.notes.lock());
    for note in unread.chain(late) {
        if let Note::Open(outlet) = note {
            outlet.end(stopped());
        }
    }
    hub.end(&stopped());
}

fn take<E: Engine>(hub: &mut Hub<E>, shared: &Shared, note: Note) {
    match note {
        Note::Open(outlet) => hub.open(outlet),
        Note::Close(outlet) => hub.close(&outlet),
        Note::Room(outlet) => {
            if let Some(stream) = outlet.slot() {
                hub.unpark(stream);
            }
        }
        Note::Request(outlet, request) => {
            // A stream may end while it asks.
            let Some(stream) = outlet.slot() else { return };
            match request {
                Request::Create(create) => {
                    // Before the hub looks where history ends: what is applied after that wakes it.
                    shared.is_watched.store(true, Ordering::SeqCst);
                    hub.create(stream, *create);
                }
                Request::Refuse(reason) => hub.refuse(stream, &reason),
                Request::Cancel(id) => hub.cancel(stream, id),
                Request::Progress => hub.ask_progress(stream),
            }
        }
        Note::Stop => unreachable!("the task has ended"),
    }
}

impl Watches {
    /// Something was applied. Called by the thread that applies.
    pub(crate) fn applied(&self) {
        if self.shared.is_watched.load(Ordering::SeqCst) {
            self.shared.news.notify_one();
        }
    }

    /// What is counted.
    pub(crate) fn figures(&self) -> &Figures {
        &self.shared.figures
    }

    /// Ends all streams, and the task.
    pub(crate) fn stop(&self) {
        self.note(Note::Stop);
    }

    /// A new stream.
    pub(super) fn open(&self) -> Arc<Outlet> {
        let outlet = Arc::new(Outlet::new(Arc::clone(&self.shared.figures)));
        self.note(Note::Open(Arc::clone(&outlet)));
        // The task may have ended before it saw the note.
        if self.shared.stopped.load(Ordering::SeqCst) {
            outlet.end(stopped());
        }
        outlet
    }

    /// Asks, when there is a permit for it.
    pub(super) async fn ask(&self, outlet: &Arc<Outlet>, request: Request) {
        let permit = outlet.permits.acquire().await.expect("nobody closes the semaphore");
        permit.forget();
        self.note(Note::Request(Arc::clone(outlet), request));
    }

    pub(super) fn has_room(&self, outlet: &Arc<Outlet>) {
        self.note(Note::Room(Arc::clone(outlet)));
    }

    pub(super) fn close(&self, outlet: &Arc<Outlet>) {
        self.note(Note::Close(Arc::clone(outlet)));
    }

    fn note(&self, note: Note) {
        if self.shared.stopped.load(Ordering::SeqCst) {
            return;
        }
        self.shared.notes.lock().push(note);
        self.shared.news.notify_one();
    }
}

/// What streams end with when the member stops.
fn stopped() -> Status {
    Refusal::new(EtcdError::Stopped).into()
}
