//! The writer's side: applies the commands of the log, one after the other.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use parking_lot::RwLock;

use crate::alarms::{self, ALARMS_END, ALARMS_START};
use crate::auth::row::{AUTH_END, AUTH_START};
use crate::command::Command;
use crate::engine::Engine;
use crate::error::{Stop, StorageError};
use crate::execute::Execution;
use crate::flusher::Flusher;
use crate::reader::Reader;
use crate::response::{ApplyError, Reply, Response};
use crate::revision::{Position, Revision};
use crate::row::{self, LEASES_START, META_KEY, Meta, ROWS_END, Row, row_key};
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
}

/// How many bytes of rows may wait for the engine before [`Store::must_wait`] says so.
pub const OVERLAY_BYTES_MAX: usize = 64 << 20;

/// How many rows are read at once when a store is opened.
const LOAD_ROWS: usize = 1024;

impl<E: Engine> Store<E> {
    /// Opens what the engine holds: the state after its last batch. The log replays from
    /// [`Store::applied_slot`] on. The flusher is the one that may write to the engine.
    ///
    /// # Errors
    /// If the engine fails, or holds what no store wrote.
    pub fn open(engine: E) -> Result<(Self, Flusher<E>), StorageError<E::Error>> {
        let state = load(&engine)?;
        let shared = Arc::new(Shared {
            auth_enabled: AtomicBool::new(state.auth.is_enabled()),
            state: RwLock::new(state),
            engine,
            hold: Hold::default(),
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
        assert!(!self.failed, "a store whose engine failed applies nothing");
        let decoded = Command::decode(command);
        let mut state = self.shared.state.write();
        assert_eq!(slot, state.meta.applied_slot, "slots apply in order");
        state.meta.time_ms = state.meta.time_ms.max(time_ms);
        let outcome = match &decoded {
            Ok((caller, command)) => {
                let engine = &self.shared.engine;
                Execution { state: &mut state, engine }.command(caller, command)
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

/// Builds leases and index from the rows of the engine.
fn load<E: Engine>(engine: &E) -> Result<State, StorageError<E::Error>> {
    let meta = match engine.get(&META_KEY).map_err(StorageError::Engine)? {
        Some(bytes) => Meta::decode(&bytes)?,
        None => Meta::EMPTY,
    };
    let mut state = State::new(meta);
    for_each(engine, Bytes::from_static(AUTH_START), AUTH_END, |key, bytes| {
        Ok(state.auth.load(key, bytes)?)
    })?;
    let (from, to) = (Bytes::from_static(ALARMS_START), ALARMS_END);
    for_each(engine, from, to, |key, bytes| {
        state.alarms.set(&alarms::decode_alarm(key, bytes)?);
        Ok(())
    })?;
    // Leases come before keys, so that keys find what they are attached to.
    for_each(engine, Bytes::from_static(LEASES_START), &META_KEY, |key, bytes| {
        let (id, terms) = row::decode_lease(key, bytes)?;
        state.leases.set(id, terms);
        Ok(())
    })?;
    for_each(engine, row_key(Position::default()), ROWS_END, |key, bytes| {
        let row = Row::decode(key, bytes)?;
        let revision = row.version.at.revision;
        if revision > meta.revision {
            return Err(StorageError::RowAhead { row: revision, revision: meta.revision });
        }
        state.load(&row);
        Ok(())
    })?;
    state.loaded();
    let (keys, attached) = (state.leased_keys(), state.leases.attached());
    if keys != attached {
        return Err(StorageError::MissingLease { keys, attached });
    }
    Ok(state)
}

/// Visits the pairs of the engine from a key up to another.
fn for_each<E: Engine>(
    engine: &E,
    mut from: Bytes,
    to: &[u8],
    mut visit: impl FnMut(&Bytes, &Bytes) -> Result<(), StorageError<E::Error>>,
) -> Result<(), StorageError<E::Error>> {
    loop {
        let rows = engine.scan(&from, to, LOAD_ROWS).map_err(StorageError::Engine)?;
        for (key, bytes) in &rows {
            visit(key, bytes)?;
        }
        match rows.last() {
            Some((last, _)) if rows.len() == LOAD_ROWS => {
                from = [last.as_ref(), &[0]].concat().into();
            }
            _ => return Ok(()),
        }
    }
}
