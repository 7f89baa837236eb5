//! Rows that are applied and not yet in the engine, in the order of their positions, and beside
//! them the changes of leases and of other pairs, in their order.

use std::collections::VecDeque;
use std::ops::Range;

use bytes::Bytes;

use crate::flusher::FlushLimits;
use crate::leases::LeaseChange;
use crate::revision::Position;
use crate::row::{Meta, Row};

/// What one slot, or a run of slots without changes, adds to the engine.
#[derive(Clone, Copy, Debug)]
struct Mark {
    meta: Meta,
    rows: usize,
    leases: usize,
    pairs: usize,
    bytes: usize,
}

/// A pair of the engine that is no row of history: set, or deleted if it has no value.
pub(crate) type Pair = (Bytes, Option<Bytes>);

/// A batch to be: so many slots with so many rows, and the state they lead to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) meta: Meta,
    pub(crate) slots: usize,
    pub(crate) rows: usize,
    pub(crate) leases: usize,
    pub(crate) pairs: usize,
}

/// How much memory a change of a lease takes until it is flushed, about.
const LEASE_BYTES: usize = size_of::<LeaseChange>();

/// The same of a pair, beside its bytes.
const PAIR_BYTES: usize = size_of::<Pair>();

/// Rows by position, cut at the ends of slots: only there may a batch end.
#[derive(Debug, Default)]
pub(crate) struct Overlay {
    rows: VecDeque<Row>,
    leases: VecDeque<LeaseChange>,
    pairs: VecDeque<Pair>,
    marks: VecDeque<Mark>,
    /// Rows, changes of leases, other pairs and bytes behind the last mark.
    open_rows: usize,
    open_leases: usize,
    open_pairs: usize,
    open_bytes: usize,
    bytes: usize,
    /// How many marks the flusher is writing. They may not grow meanwhile.
    taken: usize,
}

impl Overlay {
    /// Adds a row of the slot under way.
    pub(crate) fn push(&mut self, row: Row) {
        let bytes = row.overlay_bytes();
        self.open_rows += 1;
        self.open_bytes += bytes;
        self.bytes += bytes;
        self.rows.push_back(row);
    }

    /// Adds a change of a lease in the slot under way.
    pub(crate) fn push_lease(&mut self, change: LeaseChange) {
        self.open_leases += 1;
        self.open_bytes += LEASE_BYTES;
        self.bytes += LEASE_BYTES;
        self.leases.push_back(change);
    }

    /// Sets or deletes a pair in the slot under way.
    pub(crate) fn push_pair(&mut self, key: Bytes, value: Option<Bytes>) {
        let bytes = PAIR_BYTES + key.len() + value.as_ref().map_or(0, Bytes::len);
        self.open_pairs += 1;
        self.open_bytes += bytes;
        self.bytes += bytes;
        self.pairs.push_back((key, value));
    }

    /// Ends the slot.
    pub(crate) fn finish_slot(&mut self, meta: Meta) {
        let (rows, leases, pairs) = (self.open_rows, self.open_leases, self.open_pairs);
        let bytes = std::mem::take(&mut self.open_bytes);
        (self.open_rows, self.open_leases, self.open_pairs) = (0, 0, 0);
        if rows + leases + pairs == 0
            && self.marks.len() > self.taken
            && let Some(last) = self.marks.back_mut()
        {
            last.meta = meta;
            return;
        }
        self.marks.push_back(Mark { meta, rows, leases, pairs, bytes });
    }

    /// Plans a batch: the first slots within these limits, at least one if there is one that the
    /// log holds. Until [`Overlay::forget_slots`] those slots stay as they are.
    pub(crate) fn plan(&mut self, limits: &FlushLimits) -> Option<Plan> {
        let &FlushLimits { rows_max, bytes_max, slot_below, .. } = limits;
        let mut plan: Option<Plan> = None;
        let mut bytes = 0;
        for mark in &self.marks {
            let none = Plan { meta: mark.meta, slots: 0, rows: 0, leases: 0, pairs: 0 };
            let former = plan.unwrap_or(none);
            let next = Plan {
                meta: mark.meta,
                slots: former.slots + 1,
                rows: former.rows + mark.rows,
                leases: former.leases + mark.leases,
                pairs: former.pairs + mark.pairs,
            };
            bytes += mark.bytes;
            if mark.meta.applied_slot > slot_below {
                break;
            }
            let rows = next.rows + next.leases + next.pairs;
            if former.slots > 0 && (rows > rows_max || bytes > bytes_max) {
                break;
            }
            plan = Some(next);
        }
        self.taken = plan.map_or(0, |plan| plan.slots);
        plan
    }

    /// Some of the planned rows.
    pub(crate) fn planned(&self, rows: Range<usize>) -> Vec<Row> {
        self.rows.range(rows).cloned().collect()
    }

    /// Some of the planned changes of leases.
    pub(crate) fn planned_leases(&self, changes: Range<usize>) -> Vec<LeaseChange> {
        self.leases.range(changes).copied().collect()
    }

    /// Some of the planned pairs.
    pub(crate) fn planned_pairs(&self, pairs: Range<usize>) -> Vec<Pair> {
        self.pairs.range(pairs).cloned().collect()
    }

    /// Forgets some of the planned rows, which the engine has, and gives them to be dropped.
    pub(crate) fn forget_rows(&mut self, count: usize) -> Vec<Row> {
        self.rows.drain(..count).collect()
    }

    /// Ends the plan: the engine has it, and its rows are forgotten.
    pub(crate) fn forget_slots(&mut self, slots: usize) {
        let (mut leases, mut pairs) = (0, 0);
        for mark in self.marks.drain(..slots) {
            self.bytes -= mark.bytes;
            leases += mark.leases;
            pairs += mark.pairs;
        }
        self.leases.drain(..leases);
        self.pairs.drain(..pairs);
        self.taken = 0;
    }

    /// The row at a position.
    pub(crate) fn get(&self, at: Position) -> Option<&Row> {
        let place = self.rows.binary_search_by_key(&at, |row| row.version.at).ok()?;
        self.rows.get(place)
    }

    /// The first row's position.
    pub(crate) fn first(&self) -> Option<Position> {
        self.rows.front().map(|row| row.version.at)
    }

    /// The rows from a position on.
    pub(crate) fn from(&self, at: Position) -> impl Iterator<Item = &Row> {
        let place = self.rows.partition_point(|row| row.version.at < at);
        self.rows.range(place..)
    }

    /// How much memory the rows take, about.
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether there is nothing to flush.
    pub(crate) fn is_flushed(&self) -> bool {
        self.marks.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An empty slot that ends while a batch is written is not taken to be in that batch.
    #[test]
    fn a_slot_that_ends_during_a_flush_waits_for_the_next() {
        let mut overlay = Overlay::default();
        let at = |applied_slot| Meta { applied_slot, ..Meta::EMPTY };
        let limits = FlushLimits { rows_max: 10, bytes_max: 10, ..FlushLimits::default() };
        overlay.finish_slot(at(2));
        overlay.finish_slot(at(3));
        let plan = overlay.plan(&limits).unwrap();
        assert_eq!((plan.slots, plan.meta), (1, at(3)));
        overlay.finish_slot(at(4));
        overlay.forget_slots(plan.slots);
        assert_eq!(overlay.plan(&limits).map(|plan| plan.meta), Some(at(4)));
    }
}
