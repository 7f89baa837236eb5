//! Rows that are applied and not yet in the engine, in the order of their positions.

use std::collections::VecDeque;

use crate::revision::Position;
use crate::row::{Meta, Row};

/// What one slot, or a run of slots without changes, adds to the engine.
#[derive(Clone, Copy, Debug)]
struct Mark {
    meta: Meta,
    rows: usize,
    bytes: usize,
}

/// Rows by position, cut at the ends of slots: only there may a batch end.
#[derive(Debug, Default)]
pub(crate) struct Overlay {
    rows: VecDeque<Row>,
    marks: VecDeque<Mark>,
    /// Rows and bytes behind the last mark.
    open_rows: usize,
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

    /// Ends the slot.
    pub(crate) fn finish_slot(&mut self, meta: Meta) {
        let (rows, bytes) = (self.open_rows, self.open_bytes);
        (self.open_rows, self.open_bytes) = (0, 0);
        if rows == 0
            && self.marks.len() > self.taken
            && let Some(last) = self.marks.back_mut()
        {
            last.meta = meta;
            return;
        }
        self.marks.push_back(Mark { meta, rows, bytes });
    }

    /// The rows of the first slots within these limits, at least of one slot, with the metadata
    /// of the last and the number of marks to forget once they are durable.
    pub(crate) fn take(
        &mut self,
        rows_max: usize,
        bytes_max: usize,
    ) -> Option<(Vec<Row>, Meta, usize)> {
        let (mut rows, mut bytes, mut marks) = (0, 0, 0);
        let mut meta = None;
        for mark in &self.marks {
            if marks > 0 && (rows + mark.rows > rows_max || bytes + mark.bytes > bytes_max) {
                break;
            }
            rows += mark.rows;
            bytes += mark.bytes;
            marks += 1;
            meta = Some(mark.meta);
        }
        self.taken = marks;
        Some((self.rows.range(..rows).cloned().collect(), meta?, marks))
    }

    /// Forgets the rows of the first marks: the engine has them.
    pub(crate) fn forget(&mut self, marks: usize) {
        for mark in self.marks.drain(..marks) {
            self.rows.drain(..mark.rows);
            self.bytes -= mark.bytes;
        }
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
