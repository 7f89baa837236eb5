//! The store as the state machine of a replica, and a record of what it applied.

use bytes::Bytes;
use synod_kv::{Caller, FlushLimits, Flusher, MemoryEngine, ReadError, Reader, Store};
use synod_paxos::{Ballot, LogTime, Prefix, ReplicaId, Slot};
use synod_replica::{Entry, StateMachine};

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
        let (commands, slots) = (Vec::new(), Vec::new());
        Ok(Self { store, flusher, reader, stable, log_durable: stable, commands, slots })
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
        let [round, replica] = self.store.barrier();
        Prefix {
            end: Slot::new(self.store.applied_slot()),
            barrier: Ballot { round, replica: ReplicaId::new(replica) },
            time: LogTime::from_millis(self.store.time_ms()),
        }
    }

    fn stable_watermark(&self) -> Slot {
        self.stable
    }
}
