//! The readers' side: answers from a consistent revision while the writer goes on.

use std::sync::Arc;

use bytes::Bytes;

use crate::alarm::Alarm;
use crate::auth::AuthError;
use crate::caller::{Caller, Need};
use crate::digest::Digest;
use crate::engine::Engine;
use crate::error::{ReadError, StorageError};
use crate::history::{self, Floor, History, HistoryLimits, Span};
use crate::key::KeyRange;
use crate::lease::LeaseStatus;
use crate::pages::PagesError;
use crate::read::{CHUNK_KEYS, Snapshot, Walk};
use crate::response::KeyValue;
use crate::revision::Revision;
use crate::snapshot::{Arriving, SnapshotOrigin, SnapshotSource, SnapshotView};
use crate::state::State;
use crate::store::Shared;
use crate::tail::Tail;

/// Answers reads, on any thread. Cheap to clone.
#[derive(Debug)]
pub struct Reader<E> {
    pub(crate) shared: Arc<Shared<E>>,
}

/// How large the store is.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Sizes {
    /// Keys that exist.
    pub live_keys: u64,
    /// Keys that exist, or did and are not reclaimed.
    pub keys: u64,
    /// Length of all keys and values that exist. The same on every member.
    pub live_bytes: u64,
    /// The space in use, as a quota counts it: live keys and values, the history that is not
    /// compacted, and a little for each version and lease. The same on every member.
    pub used_bytes: u64,
    /// Leases that are not ended.
    pub leases: u64,
    /// Rows that wait for the engine.
    pub overlay_bytes: u64,
    /// What the engine takes on disk.
    pub disk_bytes: u64,
}

/// A hash over all keys and values of a revision.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct HashKv {
    /// Equal on all members, whatever they have compacted.
    pub hash: u32,
    /// The revision hashed.
    pub hash_revision: Revision,
    /// The current revision.
    pub revision: Revision,
    /// The compact revision, [`Revision::NEVER`] if nothing was compacted.
    pub compact_revision: Revision,
}

/// Why a transaction was not answered here.
#[derive(Debug, thiserror::Error)]
pub enum ReadTxnError<F> {
    /// It may write: it goes through the log.
    #[error("the transaction may write, and a reader cannot")]
    Writes,
    /// It cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError<F>),
    /// The orders it asks for need longer lists than there may be.
    #[error("the orders need lists of more than {bytes_max} bytes")]
    ListTooLarge {
        /// The bound.
        bytes_max: u64,
    },
}

impl<F> From<PagesError<F>> for ReadTxnError<F> {
    fn from(error: PagesError<F>) -> Self {
        match error {
            PagesError::Read(error) => Self::Read(error),
            PagesError::ListTooLarge { bytes_max } => Self::ListTooLarge { bytes_max },
        }
    }
}

impl<E: Engine> Reader<E> {
    pub(crate) const fn new(shared: Arc<Shared<E>>) -> Self {
        Self { shared }
    }

    /// Whether the caller has what is needed, in the state of now. What is answered later, from
    /// a newer state, is for its answerer to ask again.
    ///
    /// # Errors
    /// If the caller has not.
    pub fn permit(&self, caller: &Caller, needs: &[Need]) -> Result<(), AuthError> {
        self.shared.state.read().permit(caller, needs)
    }

    /// Looks at the state.
    pub(crate) fn look<R>(&self, look: impl FnOnce(&State) -> R) -> R {
        look(&self.shared.state.read())
    }

    /// Looks at the store as it is at one moment, at which the caller has what is needed.
    pub(crate) fn open(
        &self,
        caller: &Caller,
        needs: impl FnOnce() -> Vec<Need>,
    ) -> Result<Read<'_, E>, AuthError> {
        let Shared { state, engine, .. } = &*self.shared;
        let current = {
            let state = state.read();
            if state.auth.is_enabled() {
                state.permit(caller, &needs())?;
            }
            state.current()
        };
        Ok(Snapshot::at(state, engine, current))
    }

    /// The current revision.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.shared.state.read().meta.revision
    }

    /// The compact revision: reads below it fail. [`Revision::NEVER`] if nothing was compacted.
    #[must_use]
    pub fn compact_revision(&self) -> Revision {
        self.shared.state.read().meta.compact
    }

    /// The next slot to apply.
    #[must_use]
    pub fn applied_slot(&self) -> u64 {
        self.shared.state.read().meta.applied_slot
    }

    /// A snapshot of what the engine holds, which is everything that was flushed.
    ///
    /// # Errors
    /// If the caller is not root; if the engine fails, or holds what no store wrote.
    pub fn snapshot(
        &self,
        caller: &Caller,
        origin: SnapshotOrigin,
    ) -> Result<SnapshotSource<E::Error>, ReadError<E::Error>> {
        self.permit(caller, &[Need::Root])?;
        Ok(SnapshotSource::open(&self.shared.engine, origin)?)
    }

    /// Everything that the engine holds now, which is everything that was flushed.
    ///
    /// # Errors
    /// If the caller is not root; if the engine fails, or holds what no store wrote.
    pub fn view(&self, caller: &Caller) -> Result<SnapshotView<E::Error>, ReadError<E::Error>> {
        self.permit(caller, &[Need::Root])?;
        Ok(SnapshotView::open(&self.shared.engine)?)
    }

    /// Begins to take a snapshot in, beside what the store holds. One that was begun before is
    /// forgotten.
    ///
    /// # Errors
    /// If the engine fails.
    pub fn receive(&self) -> Result<Arriving<E>, StorageError<E::Error>> {
        Arriving::begin(Arc::clone(&self.shared))
    }

    /// How many bytes of rows wait for the engine.
    #[must_use]
    pub fn overlay_bytes(&self) -> usize {
        self.shared.state.read().overlay.bytes()
    }

    /// The changes from revision `from` on, in order, whole revisions at a time.
    ///
    /// # Errors
    /// If the caller may not read everything; if `from` is below the compact revision; if the
    /// engine fails.
    pub fn history(
        &self,
        caller: &Caller,
        from: Revision,
        limits: HistoryLimits,
    ) -> Result<History, ReadError<E::Error>> {
        self.permit(caller, &[Need::Read(KeyRange::all())])?;
        let span = Span { from, below: None, floor: Floor::Compact };
        history::read(&self.shared, span, limits)
    }

    /// The same, but nothing from revision `below` on.
    ///
    /// # Errors
    /// The same.
    pub fn history_below(
        &self,
        caller: &Caller,
        from: Revision,
        below: Revision,
        limits: HistoryLimits,
    ) -> Result<History, ReadError<E::Error>> {
        self.permit(caller, &[Need::Read(KeyRange::all())])?;
        let span = Span { from, below: Some(below), floor: Floor::Compact };
        history::read(&self.shared, span, limits)
    }

    /// A key as it was just before a revision; none if it was not there.
    ///
    /// # Errors
    /// If the caller may not read everything; if what was then is compacted; if the engine fails.
    pub fn before(
        &self,
        caller: &Caller,
        key: &[u8],
        revision: Revision,
    ) -> Result<Option<KeyValue>, ReadError<E::Error>> {
        self.permit(caller, &[Need::Read(KeyRange::all())])?;
        history::before(&self.shared, key, revision, Floor::Compact)
    }

    /// Follows history from the next revision on, for the member itself: whom it tells what is for
    /// it to check. There is one tail at a time.
    ///
    /// # Panics
    /// If there is another.
    #[must_use]
    pub fn tail(&self) -> Tail<E> {
        Tail::new(Arc::clone(&self.shared))
    }

    /// Hashes all keys and values at a revision; none for the current one.
    ///
    /// # Errors
    /// If the caller is not root; if the revision is compacted or in the future; if the engine
    /// fails.
    pub fn hash_kv(
        &self,
        caller: &Caller,
        revision: Option<Revision>,
    ) -> Result<HashKv, ReadError<E::Error>> {
        let snapshot = self.open(caller, || vec![Need::Root])?;
        let at = revision.filter(|at| *at > Revision::ZERO).unwrap_or_else(|| snapshot.revision());
        if at > snapshot.revision() {
            let current = snapshot.revision();
            return Err(ReadError::FutureRevision { requested: at, current });
        }
        let mut digest = Digest::default();
        // Nothing has a hash, too: a client takes a zero for one that is missing.
        digest.pair(0, 0);
        let all = KeyRange::all();
        let mut walk = Walk::new(&all, at);
        while let Some(chunk) = walk.next_chunk(&self.shared.state, usize::MAX)? {
            for mut key in chunk {
                // One value at a time: they may be large.
                snapshot.load(std::slice::from_mut(&mut key), at)?;
                digest.change(&key.key, key.value(), &key.version());
            }
        }
        let [_, _, _, _, high @ ..] = digest.as_u64().to_le_bytes();
        Ok(HashKv {
            hash: u32::from_le_bytes(high),
            hash_revision: at,
            revision: snapshot.revision(),
            compact_revision: self.compact_revision(),
        })
    }

    /// Hashes what the store holds: all keys and values at the current revision, leases with their
    /// TTL, users, roles and alarms, and up to where history was compacted. Equal on members that
    /// hold the same, whatever they applied to get there. What changes meanwhile may count or not.
    ///
    /// # Errors
    /// If the caller is not root; if the engine fails.
    pub fn hash(&self, caller: &Caller) -> Result<HashKv, ReadError<E::Error>> {
        // What was current may be compacted while it is read. That happens once, or somebody
        // compacts without end.
        let hashed = match self.hash_kv(caller, None) {
            Err(ReadError::Compacted { .. }) => self.hash_kv(caller, None)?,
            hashed => hashed?,
        };
        let mut digest = Digest::default();
        digest.pair(u64::from(hashed.hash), hashed.compact_revision.as_i64().cast_unsigned());
        let mut after = None;
        loop {
            let state = self.shared.state.read();
            let ids = state.leases.after(after, CHUNK_KEYS);
            for &(_, id) in &ids {
                let ttl = state.leases.terms(id).map_or(0, |terms| terms.ttl);
                digest.pair(id.cast_unsigned(), ttl.cast_unsigned());
            }
            after = ids.last().map(|(_, id)| *id);
            if ids.len() < CHUNK_KEYS {
                break;
            }
        }
        self.shared.state.read().fold_settings(&mut digest);
        let [_, _, _, _, high @ ..] = digest.as_u64().to_le_bytes();
        Ok(HashKv { hash: u32::from_le_bytes(high), ..hashed })
    }

    /// The alarms that stand, by kind and member.
    #[must_use]
    pub fn alarms(&self) -> Vec<Alarm> {
        self.shared.state.read().alarms.all()
    }

    /// The space in use, as a quota counts it.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        self.shared.state.read().used_bytes()
    }

    /// A lease, with its keys if `keys`, and how much time it has left at this log time. None if
    /// there is no such lease, or no more.
    ///
    /// # Errors
    /// If the caller is no user, or may not read one of the keys asked for.
    pub fn lease(
        &self,
        caller: &Caller,
        id: i64,
        keys: bool,
        time_ms: u64,
    ) -> Result<Option<LeaseStatus>, AuthError> {
        let terms = {
            let state = self.shared.state.read();
            state.permit(caller, &[Need::User])?;
            state.leases.terms(id)
        };
        let Some(terms) = terms else { return Ok(None) };
        Ok(Some(LeaseStatus {
            id,
            granted_ttl: terms.ttl,
            remaining_ms: terms.deadline_ms.saturating_sub(time_ms),
            keys: if keys { self.lease_keys(caller, id)? } else { Vec::new() },
        }))
    }

    /// The keys of a lease, upward. One that comes or goes meanwhile may be told or not.
    fn lease_keys(&self, caller: &Caller, id: i64) -> Result<Vec<Bytes>, AuthError> {
        let mut all: Vec<Bytes> = Vec::new();
        loop {
            let state = self.shared.state.read();
            state.permit(caller, &[Need::ReadLease(id)])?;
            let keys = state.leases.keys(id, all.last(), CHUNK_KEYS);
            drop(state);
            let is_last = keys.len() < CHUNK_KEYS;
            all.extend(keys);
            if is_last {
                return Ok(all);
            }
        }
    }

    /// All leases that are not ended, those due first before others, and of those that are due
    /// together the one that began first; a member that has started since knows no order of these
    /// but that of their ids. One that comes, goes or is
    /// renewed meanwhile may be told or not.
    ///
    /// # Errors
    /// If the caller may not read every key of all leases.
    pub fn leases(&self, caller: &Caller) -> Result<Vec<i64>, AuthError> {
        self.permit(caller, &[Need::User, Need::ReadLeases])?;
        let mut all: Vec<((u64, u64), i64)> = Vec::new();
        loop {
            let after = all.last().map(|(_, id)| *id);
            let leases = self.shared.state.read().leases.after(after, CHUNK_KEYS);
            let is_last = leases.len() < CHUNK_KEYS;
            all.extend(leases);
            if is_last {
                break;
            }
        }
        all.sort_unstable();
        Ok(all.into_iter().map(|(_, id)| id).collect())
    }

    /// The log time at which the first lease is due: until then, nothing is to be proposed.
    #[must_use]
    pub fn next_lease_due(&self) -> Option<u64> {
        self.shared.state.read().leases.next_due()
    }

    /// Leases that are due at a log time, those due longest first: what the leader is to propose
    /// as [`Command::LeaseExpire`](crate::Command::LeaseExpire). At most `leases_max`, and more
    /// than one only while they have at most `keys_max` keys together.
    #[must_use]
    pub fn leases_due(&self, time_ms: u64, leases_max: usize, keys_max: usize) -> Vec<i64> {
        self.shared.state.read().leases.due(time_ms, leases_max, keys_max)
    }

    /// The highest log time applied, in milliseconds.
    #[must_use]
    pub fn time_ms(&self) -> u64 {
        self.shared.state.read().meta.time_ms
    }

    /// How large the store is.
    ///
    /// # Errors
    /// If the engine cannot tell its size.
    pub fn sizes(&self) -> Result<Sizes, StorageError<E::Error>> {
        let disk_bytes = self.shared.engine.bytes_on_disk().map_err(StorageError::Engine)?;
        let state = self.shared.state.read();
        let number = |size: usize| u64::try_from(size).unwrap_or(u64::MAX);
        Ok(Sizes {
            live_keys: number(state.tree.live()),
            keys: number(state.tree.len()),
            live_bytes: state.live_bytes(),
            used_bytes: state.used_bytes(),
            leases: number(state.leases.len()),
            overlay_bytes: number(state.overlay.bytes()),
            disk_bytes,
        })
    }
}

impl<E> Clone for Reader<E> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

pub(crate) type Read<'a, E> = Snapshot<'a, parking_lot::RwLock<State>, E>;
