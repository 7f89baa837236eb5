//! Versions that reads stop to see: what of history may go, when, and how much space it takes.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::revision::{Position, Revision};

/// Dead versions, of two kinds, each in the order in which they die.
///
/// Every entry carries the sum of all before it, so that the space of any tail is one search away:
/// a compaction says at once how much it frees, however much that is.
#[derive(Debug, Default)]
pub(crate) struct Graveyard {
    /// Versions that reads will not see once the store is compacted: those that a later revision
    /// replaced, in the order of `dead_at`.
    replaced: Queue,
    /// Likewise deletions, and versions replaced within their own revision. Dead for reads at
    /// once, but history at their revision tells them, so they outlive it by one.
    passed: Queue,
    /// The space of those that the compact revision does not give free.
    kept: u64,
}

/// A version that is invisible to reads from `dead_at` on.
#[derive(Debug)]
pub(crate) struct Garbage {
    pub(crate) dead_at: Revision,
    pub(crate) at: Position,
    pub(crate) key: Bytes,
}

#[derive(Debug, Default)]
struct Queue {
    /// Each with the space of all up to it, also of those that have left.
    dead: VecDeque<(Garbage, u64)>,
    /// The space of all that were ever in the queue.
    entered: u64,
    /// The space of those that have left.
    left: u64,
}

impl Graveyard {
    /// A live version of this space was replaced at a position.
    pub(crate) fn replaced(&mut self, by: Position, former: Position, key: Bytes, bytes: u64) {
        let at_once = former.revision == by.revision;
        let dead_at = if at_once { by.revision.next() } else { by.revision };
        let queue = if at_once { &mut self.passed } else { &mut self.replaced };
        queue.push(Garbage { dead_at, at: former, key }, bytes);
        self.kept += bytes;
    }

    /// A deletion was entered, which takes this space.
    pub(crate) fn deleted(&mut self, at: Position, key: Bytes, bytes: u64) {
        self.passed.push(Garbage { dead_at: at.revision.next(), at, key }, bytes);
        self.kept += bytes;
    }

    /// The store is compacted: what is dead by then does not count any more, reclaimed or not.
    pub(crate) fn compacted(&mut self, compact: Revision) {
        self.kept = self.replaced.bytes_after(compact) + self.passed.bytes_after(compact);
    }

    /// The space of history: of what is dead now, and was not at the compact revision.
    pub(crate) const fn kept(&self) -> u64 {
        self.kept
    }

    /// Whether something is dead to reads at a compact revision.
    pub(crate) fn has_dead(&self, compact: Revision) -> bool {
        self.replaced.next_dead(compact).or_else(|| self.passed.next_dead(compact)).is_some()
    }

    /// The version that died first, so that a key's deletion goes after all it deleted.
    pub(crate) fn pop_dead(&mut self, compact: Revision) -> Option<Garbage> {
        match (self.replaced.next_dead(compact), self.passed.next_dead(compact)) {
            (Some(replaced), Some(passed)) if passed < replaced => self.passed.pop(),
            (Some(_), _) => self.replaced.pop(),
            (None, Some(_)) => self.passed.pop(),
            (None, None) => None,
        }
    }
}

impl Queue {
    fn push(&mut self, garbage: Garbage, bytes: u64) {
        self.entered += bytes;
        self.dead.push_back((garbage, self.entered));
    }

    fn pop(&mut self) -> Option<Garbage> {
        let (garbage, left) = self.dead.pop_front()?;
        self.left = left;
        if self.dead.is_empty() {
            // The memory of a long history does not outlive it.
            self.dead = VecDeque::new();
        }
        Some(garbage)
    }

    fn next_dead(&self, compact: Revision) -> Option<Revision> {
        let (next, _) = self.dead.front()?;
        (next.dead_at <= compact).then_some(next.dead_at)
    }

    /// The space of those that die after a revision.
    fn bytes_after(&self, compact: Revision) -> u64 {
        let dead = self.dead.partition_point(|(garbage, _)| garbage.dead_at <= compact);
        let before = dead.checked_sub(1).map_or(self.left, |last| self.dead[last].1);
        self.entered - before
    }
}
