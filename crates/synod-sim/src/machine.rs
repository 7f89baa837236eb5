//! The store as the state machine of a replica, and a record of what it applied.

use std::convert::Infallible;

use bytes::Bytes;
use synod_kv::{
    Arriving, Caller, Command, FlushLimits, Flusher, LeaseIds, MemoryEngine, ReadError, Reader,
    SnapshotOrigin, SnapshotPoint, SnapshotSource, Store,
};
use synod_paxos::{Ballot, LogTime, Prefix, ReplicaId, Slot};
use synod_replica::snapshot::{Arrived, Incoming, Outgoing, ShippingError};
use synod_replica::{Entry, Shipping, StateMachine};

use crate::lease::{LeaseOperation, LeaseOutcome, Moment};
use crate::lease_mutants::LeaseMutant;
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
    mutant: Option<LeaseMutant>,
    /// The member's own clock, for [`LeaseMutant::LocalClock`] only.
    local_ms: u64,
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
    pub(crate) fn open(engine: MemoryEngine, mutant: Option<LeaseMutant>) -> Result<Self, String> {
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
            mutant,
            local_ms: 0,
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
        if let Operation::Lease(LeaseOperation::Status { id, .. }) = operation {
            return Answer { revision, outcome: self.lease(*id) };
        }
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

    /// How a lease stands.
    fn lease(&self, id: i64) -> Outcome {
        let time_ms = self.store.time_ms();
        let at = Moment { end: Slot::new(self.store.applied_slot()), time_ms };
        match self.reader.lease(&Caller::Internal, id, true, time_ms) {
            Ok(status) => match LeaseOutcome::of_status(status.as_ref(), at) {
                Some(outcome) => Outcome::Lease(outcome),
                None => Outcome::Unexpected(format!("{status:?}")),
            },
            Err(error) => Outcome::Unexpected(error.to_string()),
        }
    }

    /// The member's own clock shows this.
    pub(crate) const fn set_local_time(&mut self, local_ms: u64) {
        self.local_ms = local_ms;
    }

    /// What the mutant that revokes what it takes for due makes of an expiry of one lease.
    fn revoked(&mut self, slot: u64, time: u64, command: &Bytes) -> Option<Answer> {
        if self.mutant != Some(LeaseMutant::StaleLeaderRevokes) {
            return None;
        }
        let Ok((_, Command::LeaseExpire(expire))) = Command::decode(command) else { return None };
        let &[id] = expire.ids.as_slice() else { return None };
        let revoke = Command::LeaseRevoke { id }.encode();
        let reply = self.store.apply(slot, time, &revoke).ok()?;
        let outcome = match LeaseOutcome::of_result(&reply.result)? {
            LeaseOutcome::Revoked(deleted) => LeaseOutcome::Expired(vec![id], deleted),
            _ => LeaseOutcome::Expired(vec![], 0),
        };
        Some(Answer { revision: reply.revision.as_i64(), outcome: Outcome::Lease(outcome) })
    }

    /// What the mutant does that begins all leases anew when there is a new leader.
    fn reset_leases(&mut self, applied: Prefix) {
        let Ballot { round, replica } = applied.barrier;
        let is_new = self.store.barrier() != [round, replica.as_u64()];
        if self.mutant == Some(LeaseMutant::ResetByNewLeader) && is_new {
            let ids = self.reader.leases(&Caller::Internal).unwrap_or_default();
            let ids = LeaseIds::new(ids).expect("there are a few leases");
            let renew = Command::LeaseKeepAlive { ids }.encode();
            let (slot, time) = (applied.end.as_u64() - 1, applied.time.as_millis());
            self.store.apply(slot, time, &renew).expect("an engine in memory does not fail");
        }
    }

    /// A handle that answers reads.
    pub(crate) const fn reader(&self) -> &Reader<MemoryEngine> {
        &self.reader
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
        let (slot, mut time) = (entry.slot.as_u64(), entry.time.as_millis());
        if self.mutant == Some(LeaseMutant::LocalClock) {
            time = self.local_ms;
        }
        let answer = match self.revoked(slot, time, &command) {
            Some(answer) => answer,
            None => {
                let reply = self.store.apply(slot, time, &command);
                // In production the member ends.
                Answer::of_reply(&reply.expect("an engine in memory does not fail"))
            }
        };
        self.commands.push(Applied { operation, answer: answer.clone() });
        answer
    }

    fn slot_applied(&mut self, applied: Prefix) {
        let Ballot { round, replica } = applied.barrier;
        let (number, stamp) = (applied.end.as_u64() - 1, applied.time);
        self.reset_leases(applied);
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
