//! The store as the state machine of a replica, and a record of what it applied.

use std::convert::Infallible;

use bytes::Bytes;
use synod_kv::{
    Arriving, Caller, FlushLimits, Flusher, MemoryEngine, ReadError, Reader, SnapshotOrigin,
    SnapshotPoint, SnapshotSource, Store,
};
use synod_paxos::{Ballot, LogTime, Prefix, ReplicaId, Slot};
use synod_replica::snapshot::{Arrived, Incoming, Outgoing, ShippingError};
use synod_replica::{Entry, Shipping, StateMachine};

use crate::operation::{Answer, Operation, Outcome, split_payload};

/// The production store over an engine in memory.
#[derive(Debug)]
pub(crate) struct Machine {
    store: Store<MemoryEngine>,
    flusher: Flusher<MemoryEngine>,
    reader: Reader<MemoryEngine>,
    stable: Slot,
    log_durable: Slot,
    commands: Vec<Applied>,
    slots: Vec<AppliedSlot>,
    installed: Vec<(Slot, u64)>,
}

/// A command that was applied.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Applied {
    /// The number of the operation.
    pub(crate) operation: u64,
    /// What the store answered.
    pub(crate) answer: Answer,
}

/// A slot that was applied.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct AppliedSlot {
    /// The slot.
    pub(crate) slot: Slot,
    /// Its commands, in order.
    pub(crate) commands: Vec<Applied>,
    /// The log's time.
    pub(crate) time: LogTime,
    /// The store's digest after it.
    pub(crate) digest: u64,
}

impl Machine {
    /// The machine as an engine holds it.
    pub(crate) fn open(engine: MemoryEngine) -> Result<Self, String> {
        let (store, flusher) = Store::open(engine).map_err(|error| error.to_string())?;
        let reader = store.reader();
        let stable = Slot::new(store.applied_slot());
        Ok(Self {
            store,
            flusher,
            reader,
            stable,
            log_durable: stable,
            commands: Vec::new(),
            slots: Vec::new(),
            installed: Vec::new(),
        })
    }

    /// Writes one batch of what was applied to the engine, unless that would overtake the log.
    pub(crate) fn checkpoint(&mut self, limits: FlushLimits) -> Result<(), String> {
        if Slot::new(self.store.applied_slot()) > self.log_durable {
            return Ok(());
        }
        let flushed = self.flusher.flush(limits).map_err(|error| error.to_string())?;
        self.stable = Slot::new(flushed.applied_slot);
        Ok(())
    }

    /// Answers a read.
    pub(crate) fn read(&self, operation: &Operation) -> Answer {
        let revision = self.reader.revision().as_i64();
        let Some(range) = operation.range() else {
            let what = format!("{operation} is no read");
            return Answer { revision, outcome: Outcome::Unexpected(what) };
        };
        match self.reader.range(&Caller::Internal, &range) {
            Ok(range) => Answer::of_range(&range),
            Err(ReadError::Compacted { .. }) => {
                Answer { revision, outcome: Outcome::RefusedCompacted }
            }
            Err(ReadError::FutureRevision { .. }) => {
                Answer { revision, outcome: Outcome::RefusedFuture }
            }
            Err(error) => Answer { revision, outcome: Outcome::Unexpected(error.to_string()) },
        }
    }

    /// Takes the snapshots installed since the last call: where each ends, and its digest.
    pub(crate) fn take_installed(&mut self) -> Vec<(Slot, u64)> {
        std::mem::take(&mut self.installed)
    }

    /// Takes what was applied since the last call.
    pub(crate) fn take_applied(&mut self) -> Vec<AppliedSlot> {
        std::mem::take(&mut self.slots)
    }
}

impl StateMachine for Machine {
    type Reply = Answer;

    fn apply(&mut self, entry: Entry<'_>) -> Answer {
        let (operation, command) = split_payload(entry.payload).unwrap_or((0, Bytes::new()));
        let (slot, time) = (entry.slot.as_u64(), entry.time.as_millis());
        let answer = match self.store.apply(slot, time, &command) {
            Ok(reply) => Answer::of_reply(&reply),
            Err(error) => {
                let revision = self.store.revision().as_i64();
                Answer { revision, outcome: Outcome::Unexpected(error.to_string()) }
            }
        };
        self.commands.push(Applied { operation, answer: answer.clone() });
        answer
    }

    fn slot_applied(&mut self, applied: Prefix) {
        let Ballot { round, replica } = applied.barrier;
        let (number, stamp) = (applied.end.as_u64() - 1, applied.time);
        self.store.slot_applied(number, stamp.as_millis(), [round, replica.as_u64()]);
        let slot = Slot::new(number);
        let commands = std::mem::take(&mut self.commands);
        let digest = self.store.digest();
        self.slots.push(AppliedSlot { slot, commands, time: stamp, digest });
    }

    fn log_durable(&mut self, below: Slot) {
        self.log_durable = self.log_durable.max(below);
    }

    fn applied(&self) -> Prefix {
        prefix(self.store.applied_slot(), self.store.barrier(), self.store.time_ms())
    }

    fn stable_watermark(&self) -> Slot {
        self.stable
    }

    fn shipping(&self) -> Option<Box<dyn Shipping>> {
        Some(Box::new(StoreShipping(self.reader.clone())))
    }

    fn install(&mut self, arrived: Arrived) -> bool {
        let Ok(state) = arrived.state.downcast::<synod_kv::Arrived>() else { return false };
        let installed = self.store.install(*state).unwrap_or(false);
        if installed {
            // It is durable, and the log that it stands for is nowhere.
            self.log_durable = self.log_durable.max(arrived.prefix.end);
            self.installed.push((arrived.prefix.end, self.store.digest()));
        }
        installed
    }
}

fn prefix(applied_slot: u64, [round, replica]: [u64; 2], time_ms: u64) -> Prefix {
    Prefix {
        end: Slot::new(applied_slot),
        barrier: Ballot { round, replica: ReplicaId::new(replica) },
        time: LogTime::from_millis(time_ms),
    }
}

fn of_point(point: SnapshotPoint) -> Prefix {
    prefix(point.applied_slot, point.barrier, point.time_ms)
}

/// Sends and receives the store, as production does.
struct StoreShipping(Reader<MemoryEngine>);

impl Shipping for StoreShipping {
    fn open(&mut self) -> Result<Box<dyn Outgoing>, ShippingError> {
        Ok(Box::new(StoreOutgoing(self.0.snapshot(&Caller::Internal, SnapshotOrigin::default())?)))
    }

    fn receive(&mut self) -> Result<Box<dyn Incoming>, ShippingError> {
        Ok(Box::new(StoreIncoming(self.0.receive()?)))
    }
}

struct StoreOutgoing(SnapshotSource<Infallible>);

impl Outgoing for StoreOutgoing {
    fn prefix(&self) -> Prefix {
        of_point(self.0.point())
    }

    fn next(&mut self, bytes_max: usize) -> Result<Bytes, ShippingError> {
        Ok(self.0.next_chunk(bytes_max)?)
    }
}

struct StoreIncoming(Arriving<MemoryEngine>);

impl Incoming for StoreIncoming {
    fn push(&mut self, bytes: &Bytes) -> Result<(), ShippingError> {
        Ok(self.0.push(bytes)?)
    }

    fn finish(self: Box<Self>) -> Result<Arrived, ShippingError> {
        let arrived = self.0.finish()?;
        Ok(Arrived { prefix: of_point(arrived.facts().point), state: Box::new(arrived) })
    }
}
