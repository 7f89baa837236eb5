//! Watches that have history to read, in turns and together.
//!
//! Whoever has waited longest chooses where to read. All who stand in what was read, at its
//! beginning or in its middle, are told from the same read: watches that lag meet, and go on as
//! one.

use synod_kv::{Caller, Engine, ReadError, Revision, StorageError, Tail};

use super::dispatch::To;
use super::hub::{Hub, Place};
use super::outlet::{Answer, AnswerKind, Outgoing};

impl<E: Engine> Hub<E> {
    /// Reads one piece of history, if somebody waits for it.
    pub(super) fn catch_up(&mut self) -> Result<(), StorageError<E::Error>> {
        let Some(first) = self.next_turn() else { return Ok(()) };
        let from = self.watches[first].cursor;
        let Some(below) = self.tail.as_ref().map(Tail::next) else { return Ok(()) };
        let reader = self.reader.clone();
        match reader.history_below(&Caller::Internal, from, below, self.options.history) {
            Ok(history) => {
                let to = To::Lagging(from);
                self.dispatch(&history.events, to, &|key, at| {
                    reader.before(&Caller::Internal, key, at)
                })?;
                self.pass(from, history.next, below);
            }
            Err(ReadError::Compacted { compacted, .. }) => self.end_below(compacted),
            Err(ReadError::FutureRevision { .. } | ReadError::Denied(_)) => {
                unreachable!("history in the future is empty, and a member may read everything")
            }
            Err(ReadError::Storage(error)) => return Err(error),
        }
        if let Some(one) = self.watches.get_mut(first)
            && matches!(one.place, Place::Queued(_))
            && !std::mem::replace(&mut one.has_turn, true)
        {
            self.turns.push_back(first);
        }
        Ok(())
    }

    /// Who has waited longest.
    fn next_turn(&mut self) -> Option<usize> {
        while let Some(watch) = self.turns.pop_front() {
            if let Some(one) = self.watches.get_mut(watch) {
                one.has_turn = false;
                if matches!(one.place, Place::Queued(_)) {
                    return Some(watch);
                }
            }
        }
        None
    }

    /// Those who stand between two revisions, and were not parked, have read up to the second.
    fn pass(&mut self, from: Revision, next: Revision, below: Revision) {
        let passed: Vec<_> = self.by_cursor.range((from, 0)..(next, 0)).copied().collect();
        for (cursor, watch) in passed {
            if next >= below {
                // Its place in `by_cursor` is found by the cursor that it had.
                self.go_live(watch);
                self.watches[watch].cursor = next;
            } else {
                self.by_cursor.remove(&(cursor, watch));
                self.by_cursor.insert((next, watch));
                self.watches[watch].cursor = next;
            }
        }
    }

    /// Those who stand below the compact revision can never go on.
    fn end_below(&mut self, compacted: Revision) {
        let lost: Vec<_> = self.by_cursor.range(..(compacted, 0)).copied().collect();
        for (_, watch) in lost {
            let (stream, watch_id) = (self.watches[watch].stream, self.watches[watch].id);
            let kind = AnswerKind::Compacted(compacted);
            let answer = Answer { watch_id, revision: Revision::ZERO, kind };
            self.tell(stream, Outgoing::Answer(answer));
            self.remove(watch);
        }
    }
}
