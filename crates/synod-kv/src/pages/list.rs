//! Keys that are to be put in order: no longer than it must be, and bounded.

use std::collections::VecDeque;

use crate::command::{Range, SortTarget};
use crate::engine::Engine;
use crate::read::{CHUNK_KEYS, Found, Snapshot, View, sort};
use crate::revision::Revision;

use super::PagesError;

/// The first keys by an order, of those taken so far.
pub(super) struct List<'a> {
    range: &'a Range,
    /// How many keys the answer can have.
    wanted: usize,
    bytes_max: u64,
    found: Vec<Found>,
    bytes: u64,
}

impl<'a> List<'a> {
    pub(super) fn new(range: &'a Range, bytes_max: u64) -> Self {
        let limit = range.limit.map_or(u64::MAX, std::num::NonZero::get);
        let wanted = usize::try_from(limit).unwrap_or(usize::MAX);
        Self { range, wanted, bytes_max, found: Vec::new(), bytes: 0 }
    }

    /// Takes keys that come behind, by key, all taken before.
    pub(super) fn take<V: View, E: Engine>(
        &mut self,
        snapshot: &Snapshot<'_, V, E>,
        at: Revision,
        chunk: Vec<Found>,
    ) -> Result<(), PagesError<E::Error>> {
        let mut part = Vec::new();
        let mut bytes = 0;
        for found in chunk {
            let cost = self.cost(&found);
            if bytes + cost > self.bytes_max / 4 {
                self.take_part(snapshot, at, std::mem::take(&mut part))?;
                bytes = 0;
            }
            bytes += cost;
            part.push(found);
        }
        self.take_part(snapshot, at, part)
    }

    fn take_part<V: View, E: Engine>(
        &mut self,
        snapshot: &Snapshot<'_, V, E>,
        at: Revision,
        mut part: Vec<Found>,
    ) -> Result<(), PagesError<E::Error>> {
        let bytes: u64 = part.iter().map(|found| self.cost(found)).sum();
        if self.bytes + bytes > self.bytes_max {
            self.shorten();
        }
        self.bytes += bytes;
        if self.bytes > self.bytes_max {
            return Err(PagesError::ListTooLarge { bytes_max: self.bytes_max });
        }
        if self.range.sort.target == SortTarget::Value {
            snapshot.load(&mut part, at)?;
        }
        self.found.append(&mut part);
        // Not at every key: sorting costs more than the memory of a few.
        if self.found.len() > self.wanted.saturating_mul(2).saturating_add(CHUNK_KEYS) {
            self.shorten();
        }
        Ok(())
    }

    /// The keys of the answer, in order, and what they take.
    pub(super) fn sorted(mut self) -> (VecDeque<Found>, u64) {
        self.shorten();
        (self.found.into(), self.bytes)
    }

    /// Equal ones stay in the order of their keys, and those that come later have higher keys: so
    /// to sort in steps is to sort at once.
    fn shorten(&mut self) {
        sort(&mut self.found, self.range);
        self.found.truncate(self.wanted);
        self.bytes = self.found.iter().map(|found| self.cost(found)).sum();
    }

    /// The memory that a key takes in the list.
    fn cost(&self, found: &Found) -> u64 {
        let value = if self.range.sort.target == SortTarget::Value { found.value_len() } else { 0 };
        u64::try_from(size_of::<Found>() + found.key.len()).unwrap_or(u64::MAX) + value
    }
}
