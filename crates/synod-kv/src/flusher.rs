//! Writes behind: takes applied rows to the engine in atomic batches, and reclaims dead ones.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::engine::{Engine, WriteBatch};
use crate::error::StorageError;
use crate::overlay::Plan;
use crate::revision::Revision;
use crate::row::{self, META_KEY, row_key};
use crate::store::Shared;

/// The one writer of the engine. It may run on a thread of its own.
///
/// Every batch ends where a slot ends and carries the metadata of that slot, so that the engine
/// always holds the state after some slot, whole.
#[derive(Debug)]
pub struct Flusher<E> {
    shared: Arc<Shared<E>>,
}

/// How much one flush may do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct FlushLimits {
    /// Rows and changes of leases in the batch. A slot with more goes alone.
    pub rows_max: usize,
    /// Bytes of rows in the batch. A slot with more goes alone.
    pub bytes_max: usize,
    /// Dead rows to reclaim.
    pub reclaim_max: usize,
    /// Slots from this one on stay out, because the log does not hold them durably yet.
    pub slot_below: u64,
}

/// What a flush did.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Flushed {
    /// The next slot to replay after a crash: the log is needed from here on.
    pub applied_slot: u64,
    /// Rows written.
    pub rows: usize,
    /// Dead rows removed.
    pub reclaimed: usize,
    /// Nothing below this compact revision is left in the engine; none while rows are reclaimed.
    pub reclaimed_below: Option<Revision>,
    /// Whether there is more to do.
    pub more: bool,
}

/// How many rows are copied or forgotten per lock.
const CHUNK_ROWS: usize = 256;

/// How many rows are reclaimed per lock. Each is a way down the tree.
const RECLAIM_CHUNK: usize = 64;

impl Default for FlushLimits {
    fn default() -> Self {
        Self { rows_max: 4096, bytes_max: 4 << 20, reclaim_max: 1024, slot_below: u64::MAX }
    }
}

impl<E: Engine> Flusher<E> {
    pub(crate) const fn new(shared: Arc<Shared<E>>) -> Self {
        Self { shared }
    }

    /// Writes one batch; does nothing if nothing waits.
    ///
    /// # Errors
    /// If the engine fails: then the member stops, as nobody knows what the engine holds.
    pub fn flush(&mut self, limits: FlushLimits) -> Result<Flushed, StorageError<E::Error>> {
        let _alone = self.shared.flushing.lock();
        self.drop_former()?;
        let mut batch = WriteBatch::default();
        self.reclaim(limits.reclaim_max, &mut batch);
        let reclaimed = batch.deletes.len();
        let plan = self.shared.state.write().overlay.plan(&limits);
        if let Some(plan) = &plan {
            self.encode(plan, &mut batch);
        }
        if !batch.puts.is_empty() || !batch.deletes.is_empty() {
            self.shared.engine.write(batch).map_err(StorageError::Engine)?;
        }
        if let Some(plan) = &plan {
            self.forget(plan);
        }
        let state = self.shared.state.read();
        Ok(Flushed {
            applied_slot: state.durable_slot(),
            rows: plan.map_or(0, |plan| plan.rows),
            reclaimed,
            reclaimed_below: state.reclaimed_below(),
            more: !state.overlay.is_flushed() || state.has_garbage(self.shared.hold.revision()),
        })
    }

    /// Lets go of the state that an installed snapshot took the place of. The next snapshot may be
    /// arriving already.
    fn drop_former(&self) -> Result<(), StorageError<E::Error>> {
        let former = self.shared.former.lock().take();
        if former.is_some() {
            self.shared.engine.forget_former().map_err(StorageError::Engine)?;
        }
        Ok(())
    }

    fn encode(&self, plan: &Plan, batch: &mut WriteBatch) {
        batch.puts.reserve_exact(plan.pairs + plan.leases + plan.rows + 1);
        self.encode_pairs(plan, batch);
        self.encode_leases(plan, batch);
        batch.puts.push((META_KEY, plan.meta.encode()));
        for from in (0..plan.rows).step_by(CHUNK_ROWS) {
            let chunk = from..plan.rows.min(from + CHUNK_ROWS);
            let rows = self.shared.state.read().overlay.planned(chunk);
            batch.puts.extend(rows.iter().map(|row| (row_key(row.version.at), row.encode())));
        }
    }

    /// Of all changes of a pair only the last one counts.
    fn encode_pairs(&self, plan: &Plan, batch: &mut WriteBatch) {
        let mut last = BTreeMap::new();
        for from in (0..plan.pairs).step_by(CHUNK_ROWS) {
            let chunk = from..plan.pairs.min(from + CHUNK_ROWS);
            last.extend(self.shared.state.read().overlay.planned_pairs(chunk));
        }
        for (key, value) in last {
            match value {
                Some(value) => batch.puts.push((key, value)),
                None => batch.deletes.push(key),
            }
        }
    }

    /// Of all changes of a lease only the last one counts.
    fn encode_leases(&self, plan: &Plan, batch: &mut WriteBatch) {
        let mut last = BTreeMap::new();
        for from in (0..plan.leases).step_by(CHUNK_ROWS) {
            let chunk = from..plan.leases.min(from + CHUNK_ROWS);
            let changes = self.shared.state.read().overlay.planned_leases(chunk);
            last.extend(changes.iter().map(|change| (row::lease_key(change.id), change.terms)));
        }
        for (key, terms) in last {
            match terms {
                Some(terms) => batch.puts.push((key, row::encode_lease(terms))),
                None => batch.deletes.push(key),
            }
        }
    }

    fn forget(&self, plan: &Plan) {
        for from in (0..plan.rows).step_by(CHUNK_ROWS) {
            let count = CHUNK_ROWS.min(plan.rows - from);
            let rows = self.shared.state.write().overlay.forget_rows(count);
            // Commands are freed here, with the lock given back.
            drop(rows);
        }
        self.shared.state.write().flushed(plan);
    }

    /// Takes dead versions from the index, in steps that keep nobody waiting.
    fn reclaim(&self, rows_max: usize, batch: &mut WriteBatch) {
        while batch.deletes.len() < rows_max {
            let room = (rows_max - batch.deletes.len()).min(RECLAIM_CHUNK);
            let dead = {
                let mut state = self.shared.state.write();
                state.reclaim(room, self.shared.hold.revision())
            };
            batch.deletes.extend(dead.iter().map(|at| row_key(*at)));
            if dead.len() < room {
                return;
            }
        }
    }
}
