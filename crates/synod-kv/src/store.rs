//! The writer's side: applies the commands of the log, one after the other.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};

use crate::alarms::{self, ALARMS_END, ALARMS_START};
use crate::auth::row::{AUTH_END, AUTH_START};
use crate::command::Command;
use crate::counts::Counts;
use crate::engine::{Engine, EngineView};
use crate::error::{Stop, StorageError};
use crate::execute::Execution;
use crate::flusher::Flusher;
use crate::reader::Reader;
use crate::response::{ApplyError, Reply, Response};
use crate::revision::Revision;
use crate::row::{self, META_KEY, Meta, ROWS_END, Row};
use crate::snapshot::Arrived;
use crate::state::State;
use crate::tail::Hold;

/// The key-value store, owned by the thread that applies the log.
///
/// Slots apply in order: [`Store::apply`] for each command of a slot, then
/// [`Store::slot_applied`] once. A slot without commands is only the latter.
#[derive(Debug)]
pub struct Store<E> {
    shared: Arc<Shared<E>>,
    /// The engine failed in the middle of a command: the state is no longer to be trusted.
    failed: bool,
}

/// What the store shares with its readers and its flusher.
#[derive(Debug)]
pub(crate) struct Shared<E> {
    pub(crate) state: RwLock<State>,
    /// Whether the state says that auth is enabled: asked by every request, without a lock.
    pub(crate) auth_enabled: AtomicBool,
    pub(crate) engine: E,
    pub(crate) hold: Hold,
    /// Of ranges in the past, for readers.
    pub(crate) counts: Mutex<Counts>,
    /// Held while the engine is written to: for a flush, or for a state that takes the place of
    /// this one.
    pub(crate) flushing: Mutex<()>,
    /// Which snapshot is put away beside the state: the last that was begun. Held while something
    /// is put away.
    pub(crate) arriving: Mutex<u64>,
    /// The state before that, to be dropped by whoever has time for it.
    pub(crate) former: Mutex<Option<State>>,
}

/// How many bytes of rows may wait for the engine before [`Store::must_wait`] says so.
pub const OVERLAY_BYTES_MAX: usize = 64 << 20;

/// How many bytes of rows are read at once when a store is opened.
const LOAD_BYTES: usize = 256 << 10;

impl<E: Engine> Store<E> {
    /// Opens what the engine holds: the state after its last batch. The log replays from
    /// [`Store::applied_slot`] on. The flusher is the one that may write to the engine.
    ///
    /// # Errors
    /// If the engine fails, or holds what no store wrote.
    pub fn open(engine: E) -> Result<(Self, Flusher<E>), StorageError<E::Error>> {
        engine.sweep().map_err(StorageError::Engine)?;
        let view = engine.view().map_err(StorageError::Engine)?;
        let state = load(&*view)?;
        drop(view);
        let shared = Arc::new(Shared {
            auth_enabled: AtomicBool::new(state.auth.is_enabled()),
            state: RwLock::new(state),
            engine,
            hold: Hold::default(),
            counts: Mutex::default(),
            flushing: Mutex::default(),
            arriving: Mutex::default(),
            former: Mutex::default(),
        });
        Ok((Self { shared: Arc::clone(&shared), failed: false }, Flusher::new(shared)))
    }

    /// Applies one command of a slot. `slot` is [`Store::applied_slot`], `time_ms` the log time
    /// of the slot's batch.
    ///
    /// # Errors
    /// If the engine fails: then the member stops, and the store must not be used again.
    ///
    /// # Panics
    /// If it is not the turn of `slot`, or the store has failed before.
    pub fn apply(
        &mut self,
        slot: u64,
        time_ms: u64,
        command: &Bytes,
    ) -> Result<Reply, StorageError<E::Error>> {
        self.apply_for(true, slot, time_ms, command)
    }

    /// The same for a command whose answer nobody here waits for. It leaves out the keys and values
    /// that were asked for, which need not be read then; what it does is the same.
    ///
    /// # Errors
    /// As [`Store::apply`].
    ///
    /// # Panics
    /// As [`Store::apply`].
    pub fn apply_unasked(
        &mut self,
        slot: u64,
        time_ms: u64,
        command: &Bytes,
    ) -> Result<Reply, StorageError<E::Error>> {
        self.apply_for(false, slot, time_ms, command)
    }

    fn apply_for(
        &mut self,
        is_asked: bool,
        slot: u64,
        time_ms: u64,
        command: &Bytes,
    ) -> Result<Reply, StorageError<E::Error>> {
        assert!(!self.failed, "a store whose engine failed applies nothing");
        let decoded = Command::decode_bounded(command);
        let mut state = self.shared.state.write();
        assert_eq!(slot, state.meta.applied_slot, "slots apply in order");
        state.meta.time_ms = state.meta.time_ms.max(time_ms);
        let outcome = match &decoded {
            Ok((caller, answer_bytes_max, command)) => {
                let engine = &self.shared.engine;
                let (state, answer_bytes_max) = (&mut state, *answer_bytes_max);
                Execution { state, engine, answer_bytes_max, is_asked }.command(caller, command)
            }
            Err(error) => Err(Stop::Refused(ApplyError::Malformed(*error))),
        };
        if matches!(outcome, Ok(Response::Auth)) {
            self.shared.auth_enabled.store(state.auth.is_enabled(), Ordering::Release);
        }
        let result = match outcome {
            Ok(response) => Ok(response),
            Err(Stop::Refused(error)) => {
                state.refuse(&error);
                Err(error)
            }
            Err(Stop::Storage(error)) => {
                self.failed = true;
                return Err(error);
            }
        };
        state.finish_command();
        Ok(Reply { revision: state.meta.revision, result })
    }

    /// Takes over the state of a snapshot that has arrived, in the place of this one, of which it
    /// is the future. Reads that are under way find what they read in it, or that it is compacted;
    /// none of them goes back. False if another snapshot began to arrive meanwhile.
    ///
    /// # Errors
    /// If the engine fails: then the member stops, and the store must not be used again.
    ///
    /// # Panics
    /// If the snapshot is not the future of this state.
    pub fn install(&mut self, arrived: Arrived) -> Result<bool, StorageError<E::Error>> {
        assert!(!self.failed, "a store whose engine failed installs nothing");
        let _alone = self.shared.flushing.lock();
        let arriving = self.shared.arriving.lock();
        if *arriving != arrived.number {
            return Ok(false);
        }
        let mut state = self.shared.state.write();
        let (from, to) = (state.meta, arrived.state.meta);
        assert!(from.applied_slot < to.applied_slot, "a snapshot goes forward");
        assert!(from.revision <= to.revision, "revisions go forward");
        if let Err(error) = self.shared.engine.switch() {
            self.failed = true;
            return Err(StorageError::Engine(error));
        }
        let former = std::mem::replace(&mut *state, arrived.state);
        self.shared.auth_enabled.store(state.auth.is_enabled(), Ordering::Release);
        drop(state);
        *self.shared.former.lock() = Some(former);
        Ok(true)
    }

    /// Ends a slot: all its commands are applied. `barrier` is what the log wants to be remembered
    /// with the state, see [`Store::barrier`]; its meaning is the log's.
    ///
    /// # Panics
    /// If it is not the turn of `slot`.
    pub fn slot_applied(&mut self, slot: u64, time_ms: u64, barrier: [u64; 2]) {
        self.shared.state.write().finish_slot(slot, time_ms, barrier);
    }

    /// What [`Store::slot_applied`] was told last; zeros before.
    #[must_use]
    pub fn barrier(&self) -> [u64; 2] {
        self.shared.state.read().meta.barrier
    }

    /// The next slot to apply: every slot below it is applied.
    #[must_use]
    pub fn applied_slot(&self) -> u64 {
        self.shared.state.read().meta.applied_slot
    }

    /// The highest log time applied, in milliseconds.
    #[must_use]
    pub fn time_ms(&self) -> u64 {
        self.shared.state.read().meta.time_ms
    }

    /// The log time at which the first lease is due.
    #[must_use]
    pub fn next_lease_due(&self) -> Option<u64> {
        self.shared.state.read().leases.next_due()
    }

    /// The current revision.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.shared.state.read().meta.revision
    }

    /// Folds everything applied; the same on all members at the same applied slot.
    #[must_use]
    pub fn digest(&self) -> u64 {
        self.shared.state.read().meta.digest.as_u64()
    }

    /// The space in use, as a quota counts it. The same on all members at the same applied slot.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        self.shared.state.read().used_bytes()
    }

    /// How many bytes of rows wait for the engine.
    #[must_use]
    pub fn overlay_bytes(&self) -> usize {
        self.shared.state.read().overlay.bytes()
    }

    /// Whether so much waits for the engine that applying must wait too, until a flush.
    #[must_use]
    pub fn must_wait(&self) -> bool {
        self.overlay_bytes() >= OVERLAY_BYTES_MAX
    }

    /// A handle that answers reads, on any thread.
    #[must_use]
    pub fn reader(&self) -> Reader<E> {
        Reader::new(Arc::clone(&self.shared))
    }
}

/// Builds leases and index from the rows of an engine.
pub(crate) fn load<F>(view: &dyn EngineView<F>) -> Result<State, StorageError<F>> {
    let meta = match view.get(&META_KEY).map_err(StorageError::Engine)? {
        Some(bytes) => Meta::decode(&bytes)?,
        None => Meta::EMPTY,
    };
    let mut state = State::new(meta);
    let mut above: Option<Bytes> = None;
    loop {
        let page = view.page(above.as_deref(), LOAD_BYTES).map_err(StorageError::Engine)?;
        for (key, bytes) in page.iter().filter(|(key, _)| key.as_ref() < ROWS_END) {
            load_pair(&mut state, key, bytes)?;
        }
        match page.into_iter().next_back() {
            Some((last, _)) if last.as_ref() < ROWS_END => above = Some(last),
            _ => break,
        }
    }
    state.loaded();
    let (keys, attached) = (state.leased_keys(), state.leases.attached());
    if keys != attached {
        return Err(StorageError::MissingLease { keys, attached });
    }
    Ok(state)
}

/// Takes up one pair. They come by key: leases before keys, so that keys find what they are
/// attached to.
fn load_pair<F>(state: &mut State, key: &Bytes, bytes: &Bytes) -> Result<(), StorageError<F>> {
    match key.as_ref() {
        auth if (AUTH_START..AUTH_END).contains(&auth) => state.auth.load(key, bytes)?,
        alarm if (ALARMS_START..ALARMS_END).contains(&alarm) => {
            state.alarms.set(&alarms::decode_alarm(key, bytes)?);
        }
        [b'l', ..] => {
            let (id, terms) = row::decode_lease(key, bytes)?;
            state.leases.set(id, terms);
        }
        [b'r', ..] => load_row(state, key, bytes)?,
        // The metadata, and what only later releases know.
        _ => {}
    }
    Ok(())
}

fn load_row<F>(state: &mut State, key: &Bytes, bytes: &Bytes) -> Result<(), StorageError<F>> {
    let row = Row::decode(key, bytes)?;
    let (row_revision, revision) = (row.version.at.revision, state.meta.revision);
    if row_revision > revision {
        return Err(StorageError::RowAhead { row: row_revision, revision });
    }
    state.load(&row);
    Ok(())
}
