//! Follows history as it is made.
//!
//! Who follows is a moment behind, and a compaction may come in that moment. What is not read yet
//! is therefore held back from being reclaimed: a follower that keeps up misses nothing, whatever
//! is compacted. It must keep up, or drop its tail: rows wait for it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use parking_lot::Mutex;

use crate::engine::Engine;
use crate::error::ReadError;
use crate::history::{self, Floor, History, HistoryLimits, Span};
use crate::response::KeyValue;
use crate::revision::Revision;
use crate::store::Shared;

/// A cursor at the end of history.
#[derive(Debug)]
pub struct Tail<E> {
    shared: Arc<Shared<E>>,
    next: Revision,
}

/// What is held back from being reclaimed: what a read at this revision or later sees.
#[derive(Debug)]
pub(crate) struct Hold {
    /// By the tail.
    tail: AtomicI64,
    /// By how many reads that are under way, by the revision they read.
    reads: Mutex<BTreeMap<Revision, usize>>,
}

/// Nobody holds anything.
const FREE: i64 = i64::MAX;

impl Default for Hold {
    fn default() -> Self {
        Self { tail: AtomicI64::new(FREE), reads: Mutex::default() }
    }
}

impl Hold {
    pub(crate) fn revision(&self) -> Revision {
        let tail = Revision::new(self.tail.load(Ordering::Acquire));
        let read = self.reads.lock().first_key_value().map(|(revision, _)| *revision);
        read.map_or(tail, |read| read.min(tail))
    }

    /// A read begins to hold what it sees.
    pub(crate) fn begin(&self, at: Revision) {
        *self.reads.lock().entry(at).or_default() += 1;
    }

    /// A read holds nothing more.
    ///
    /// # Panics
    /// If none began to hold this revision.
    pub(crate) fn end(&self, at: Revision) {
        let mut reads = self.reads.lock();
        let count = reads.get_mut(&at).expect("who ends to hold has begun to");
        *count -= 1;
        if *count == 0 {
            reads.remove(&at);
        }
    }

    /// Holds what came before this revision, and all from there on.
    fn set(&self, next: Revision) -> i64 {
        self.tail.swap(next.previous().as_i64(), Ordering::AcqRel)
    }
}

impl<E: Engine> Tail<E> {
    pub(crate) fn new(shared: Arc<Shared<E>>) -> Self {
        // Under the lock, so that nothing is reclaimed between the look and the hold.
        let state = shared.state.read();
        let next = state.meta.revision.next();
        let former = shared.hold.set(next);
        assert_eq!(former, FREE, "a store has one tail at a time");
        drop(state);
        Self { shared, next }
    }

    /// The first revision not passed.
    #[must_use]
    pub const fn next(&self) -> Revision {
        self.next
    }

    /// Reads on. Reads the same again until [`Tail::advance`].
    ///
    /// # Errors
    /// If the engine fails, or if the store was replaced by one that has not what comes next.
    pub fn read(&self, limits: HistoryLimits) -> Result<History, ReadError<E::Error>> {
        let span = Span { from: self.next, below: None, floor: Floor::Reclaimed };
        history::read(&self.shared, span, limits)
    }

    /// A key as it was just before a revision that is not passed; none if it was not there.
    ///
    /// # Errors
    /// The same.
    pub fn before(
        &self,
        key: &[u8],
        revision: Revision,
    ) -> Result<Option<KeyValue>, ReadError<E::Error>> {
        history::before(&self.shared, key, revision, Floor::Reclaimed)
    }

    /// Passes everything below a revision. It is no longer held back.
    pub fn advance(&mut self, next: Revision) {
        assert!(self.next <= next, "history is passed forward: {} then {next}", self.next);
        self.next = next;
        self.shared.hold.set(next);
    }
}

impl<E> Drop for Tail<E> {
    fn drop(&mut self) {
        self.shared.hold.tail.store(FREE, Ordering::Release);
    }
}
