//! What the core asks of the world, as data and in order.

use std::collections::VecDeque;

use crate::event::{Event, HaltReason};
use crate::ids::{Ballot, Peer, ReplicaId};
use crate::message::{Message, SnapshotPage};
use crate::quorum::ReplicaSet;
use crate::slot::Slot;
use crate::value::Value;

/// Names a record handed out to be made durable. Rises by one with each; records become durable in
/// this order.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Ord, PartialOrd, Hash)]
pub struct PersistId(u64);

impl PersistId {
    /// The id with this number.
    #[must_use]
    pub const fn new(id: u64) -> Self {
        Self(id)
    }

    /// The number.
    #[must_use]
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    /// The id of the next record.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// Names a read until it is answered or forgotten.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Ord, PartialOrd, Hash)]
pub struct ReadId(pub u64);

/// A fact that the log keeps. [`Recovered`](crate::Recovered) folds them back into a state.
#[derive(Clone, Debug, Eq, PartialEq, Hash)]
pub enum Record {
    /// A peer was met under this incarnation; it votes under no other. Of this member itself: all
    /// others have met it, and it them.
    Met(Peer),
    /// Ballots below this one are ignored from now on.
    Promised(Ballot),
    /// A value was accepted. Implies the promise of its ballot.
    Accepted {
        /// The ballot.
        ballot: Ballot,
        /// The slot.
        slot: Slot,
        /// The value.
        value: Value,
    },
    /// A chosen value was learned from a peer; replaces what was accepted there.
    Learned {
        /// The slot.
        slot: Slot,
        /// The value.
        value: Value,
    },
    /// Every slot below is chosen, and the last record of each such slot that is not skipped holds
    /// what was chosen. A hint: losing it costs time, not safety, so nothing waits for it.
    Chosen(Slot),
    /// A state that has everything below this slot is about to be taken over. What other records
    /// say of those slots, before or after, may never have been chosen: no peer is served from it.
    Skipped(Slot),
}

/// Something for the world to do. Outputs come in an order that the world keeps: records are
/// persisted in theirs, values applied in theirs.
#[derive(Clone, Debug, Eq, PartialEq, Hash)]
pub enum Output {
    /// Make the record durable, then call `handle_persisted` with this id or a later one.
    Persist {
        /// Its place in the order.
        id: PersistId,
        /// The record.
        record: Record,
    },
    /// Send the message to each member of the set.
    Send {
        /// To whom; never empty, never this member itself.
        to: ReplicaSet,
        /// What.
        message: Message,
        /// Must not leave before this record is durable.
        after: Option<PersistId>,
    },
    /// The value is chosen for the slot; apply it. Slots come without gaps. A batch that is void
    /// (see [`Batch::ballot`](crate::Batch::ballot)) comes as a no-op.
    Apply {
        /// The slot.
        slot: Slot,
        /// The value.
        value: Value,
    },
    /// The read may be answered from the state with everything below `applied` applied. When this
    /// output comes, it is.
    ReadReady {
        /// The read.
        read: ReadId,
        /// The watermark that made it linearizable.
        applied: Slot,
    },
    /// A peer wants chosen values that memory no longer holds: read them from the log, from this
    /// slot on, at most so many bytes (but at least one value), and send them as `Learned`.
    ServeLog {
        /// To whom.
        to: ReplicaId,
        /// The first slot.
        from: Slot,
        /// Every slot below is chosen.
        chosen: Slot,
        /// Stop before a value that would exceed this.
        bytes_max: usize,
    },
    /// A peer wants to know the state, which stands for values that no log holds: send it a page of
    /// at most so many bytes.
    ServeSnapshot {
        /// To whom.
        to: ReplicaId,
        /// Which page.
        wanted: PageWanted,
        /// How large a page may be.
        bytes_max: usize,
    },
    /// Put the page away, beside the state, then call `handle_page_taken`, or
    /// `handle_snapshot_failed`. One at offset 0 begins a snapshot, and whatever was put away
    /// before is forgotten. One without bytes ends it: when all of it is known to be undamaged,
    /// call `handle_arrived`; when the record that it names is durable, and then the state machine
    /// has the state durably in the place of its own, call `handle_installed`.
    TakePage(SnapshotPage),
    /// Nobody needs the values below this slot any more: the log may drop their records once the
    /// record `after` is durable. Everything else that records before `after` told was handed out
    /// again just before it.
    TrimLog {
        /// The first slot whose record must stay.
        below: Slot,
        /// Wait for this.
        after: PersistId,
    },
    /// Something happened that people may want to know. Never needed for correctness.
    Event(Event),
    /// This member must stop, and say why.
    Halt(HaltReason),
}

/// The queue of outputs, and the numbering of records.
#[derive(Clone, Debug, Default, Eq, PartialEq, Hash)]
pub(crate) struct Outputs {
    queue: VecDeque<Output>,
    last_persist: PersistId,
    durable: PersistId,
}

impl Outputs {
    /// Hands out a record; returns the id that its effects must wait for.
    pub(crate) fn persist(&mut self, record: Record) -> PersistId {
        self.last_persist = self.last_persist.next();
        self.queue.push_back(Output::Persist { id: self.last_persist, record });
        self.last_persist
    }

    /// The id of the last record handed out. To wait for it is to wait for all before it.
    pub(crate) const fn last_persist(&self) -> PersistId {
        self.last_persist
    }

    /// Everything up to this record is durable.
    pub(crate) const fn durable(&self) -> PersistId {
        self.durable
    }

    /// Notes durability.
    pub(crate) fn set_durable(&mut self, id: PersistId) {
        assert!(id <= self.last_persist, "{id:?} is durable before it was handed out");
        self.durable = self.durable.max(id);
    }

    /// Sends to one, at once.
    pub(crate) fn send(&mut self, to: ReplicaId, message: Message) {
        self.send_all(ReplicaSet::from(to), message, None);
    }

    /// Sends to one, when the record is durable.
    pub(crate) fn send_after(&mut self, record: PersistId, to: ReplicaId, message: Message) {
        self.send_all(ReplicaSet::from(to), message, Some(record));
    }

    /// Sends to a set.
    pub(crate) fn send_all(&mut self, to: ReplicaSet, message: Message, after: Option<PersistId>) {
        if to.is_empty() {
            return;
        }
        let after = after.filter(|id| *id > self.durable);
        self.queue.push_back(Output::Send { to, message, after });
    }

    /// Tells of something.
    pub(crate) fn event(&mut self, event: Event) {
        self.queue.push_back(Output::Event(event));
    }

    /// Any other output.
    pub(crate) fn push(&mut self, output: Output) {
        self.queue.push_back(output);
    }

    /// The next output.
    pub(crate) fn pop(&mut self) -> Option<Output> {
        self.queue.pop_front()
    }

    /// Whether all outputs were taken.
    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }
}

/// The page of a snapshot that a peer wants.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Hash)]
pub enum PageWanted {
    /// The first one of a state that goes beyond this slot, up to which the peer has got.
    First {
        /// The first slot that the peer lacks.
        beyond: Slot,
    },
    /// The one of this snapshot at this offset; if there is no such snapshot any more, the first
    /// one of another.
    At {
        /// Which snapshot.
        snapshot: u64,
        /// Where in it.
        offset: u64,
    },
}
