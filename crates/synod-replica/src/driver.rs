//! The driver: core, state machine and waiting clients, put together without IO.
//!
//! ```text
//!   peers, clock, log ──▶ ┌────────┐ ──▶ Effects: persist, send, serve the log, trim it
//!   propose, read     ──▶ │ Driver │
//!   replies           ◀── └────────┘ ──▶ StateMachine: apply, in the order of slots
//! ```
//!
//! Inputs only change the core; [`Driver::run_outputs`] then does what the core asks for. The same
//! driver runs in production (behind [`crate::runtime`]), in the simulator and in tests, so it
//! reaches for no clock, thread or disk: time comes in with every call.
//!
//! Invariants:
//! * A message that waits for a record is handed to [`Effects::send`] only after
//!   [`Driver::handle_persisted`] named that record or a later one, unless [`Effects::send_after`]
//!   has taken it over.
//! * Values apply in the order of slots, each once; a client gets its reply after its command was
//!   applied here, and each client is answered exactly once.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use synod_paxos::message::SnapshotPage;
use synod_paxos::{
    Command, CommandId, Event, HaltReason, Identity, Message, Output, PageWanted, Peer, PersistId,
    Prefix, ReadId, Record, Recovered, Replica, ReplicaId, ReplicaSet, Slot, Time, Value,
    Withdrawal,
};

use crate::client::{
    BoxedProposeClient, BoxedReadClient, ProposeClient, ProposeError, ReadClient, ReadError,
};
use crate::machine::{Entry, StateMachine};
use crate::snapshot::{Arrived, Taken};
use crate::undurable::Undurable;
use crate::waiting::Waiting;

/// What the driver asks of its surroundings. Calls come in the order in which they must take
/// effect; a message is handed over only when what it waits for is durable.
pub trait Effects {
    /// Append the record to the log; once it is durable, tell the driver the id (or a later one).
    fn persist(&mut self, id: PersistId, record: Record);
    /// Send the message to all in the set. It may be lost.
    fn send(&mut self, to: &ReplicaSet, message: Message);
    /// Send the message to all in the set, not before the record is durable; records up to this one
    /// were handed over before. Gives it back if the driver is to keep it until then.
    fn send_after(
        &mut self,
        record: PersistId,
        to: ReplicaSet,
        message: Message,
    ) -> Option<(ReplicaSet, Message)> {
        let _ = record;
        Some((to, message))
    }
    /// Read chosen values from the log and send them to the peer as `Learned`.
    fn serve_log(&mut self, to: ReplicaId, from: Slot, chosen: Slot, bytes_max: usize);
    /// Send a page of the machine's state to the peer; see [`Shelf::serve`].
    ///
    /// [`Shelf::serve`]: crate::snapshot::Shelf::serve
    fn serve_snapshot(&mut self, to: ReplicaId, wanted: PageWanted, bytes_max: usize) {
        let _ = (to, wanted, bytes_max);
    }
    /// Put a page of a peer's state away, and tell the driver what came of it; see [`Shelf::take`].
    ///
    /// [`Shelf::take`]: crate::snapshot::Shelf::take
    fn take_page(&mut self, page: SnapshotPage) {
        let _ = page;
    }
    /// The log may drop the records of values below this slot. All that older records tell besides
    /// is in younger ones, which are durable.
    fn trim_log(&mut self, below: Slot);
    /// Something happened.
    fn event(&mut self, event: &Event);
    /// The member must stop.
    fn halt(&mut self, reason: &HaltReason);
    /// All records and messages of this round were handed over; applying begins. Who gathers them
    /// lets them go now, so that neither disk nor network waits for the state machine.
    fn flush(&mut self) {}
}

/// Bounds of the driver.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DriverOptions {
    /// How often the state machine is asked what survives a crash without the log. Default 1 s.
    pub stable_interval: Duration,
    /// While so many records wait for the disk, messages that would add large ones are dropped, as
    /// if the network had lost them. Default 16,384.
    pub undurable_records_max: usize,
    /// The same, in bytes of values. Default 64 MiB.
    pub undurable_bytes_max: usize,
}

impl Default for DriverOptions {
    fn default() -> Self {
        Self {
            stable_interval: Duration::from_secs(1),
            undurable_records_max: 16_384,
            undurable_bytes_max: 64 << 20,
        }
    }
}

/// One member at work, without IO. `P` and `R` are those who wait for replies and for reads;
/// boxed closures unless something leaner is at hand.
pub struct Driver<
    M: StateMachine,
    P = BoxedProposeClient<<M as StateMachine>::Reply>,
    R = BoxedReadClient<M>,
> {
    replica: Replica,
    machine: M,
    me: Peer,
    life: u64,
    options: DriverOptions,
    proposals: Waiting<CommandId, P>,
    reads: Waiting<ReadId, R>,
    undurable: Undurable,
    /// What waits for a record, by rising record; bounded by the records that wait.
    held: VecDeque<(PersistId, Held)>,
    /// Values and grants that came out in this round, still to be worked off.
    ready: VecDeque<Ready>,
    /// What the machine has applied.
    applied: Prefix,
    /// Applied watermarks, each with the last record that was handed out before.
    applied_after: VecDeque<(PersistId, Slot)>,
    stable_asked: Time,
    /// A state to take over, once everything that is chosen here is applied, and the record that
    /// tells the log of it, if it was handed out.
    arrived: Option<(Arrived, Option<PersistId>)>,
    /// Whether the machine can be sent whole.
    ships: bool,
    stopping: bool,
    halted: bool,
}

impl<M, P, R> Driver<M, P, R>
where
    M: StateMachine,
    P: ProposeClient<M::Reply>,
    R: ReadClient<M>,
{
    /// A member as its log left it. What the machine has applied is in it already, and `recovered`
    /// holds every value from there on.
    #[must_use]
    pub fn new(
        identity: Identity,
        paxos: synod_paxos::Options,
        options: DriverOptions,
        recovered: Recovered,
        machine: M,
        now: Time,
    ) -> Self {
        let (me, life) = (identity.me, identity.life);
        let applied = machine.applied();
        let ships = machine.shipping().is_some();
        let mut replica = Replica::new(identity, paxos, recovered, applied, now);
        replica.handle_stable(machine.stable_watermark());
        Self {
            replica,
            machine,
            me,
            life,
            options,
            proposals: Waiting::new(),
            reads: Waiting::new(),
            undurable: Undurable::default(),
            held: VecDeque::new(),
            ready: VecDeque::new(),
            applied,
            applied_after: VecDeque::new(),
            stable_asked: now,
            arrived: None,
            ships,
            stopping: false,
            halted: false,
        }
    }

    /// A message came from a peer, as the transport identified it.
    pub fn handle_message(&mut self, now: Time, from: Peer, message: Message) {
        let full = self.undurable.records() >= self.options.undurable_records_max
            || self.undurable.bytes() >= self.options.undurable_bytes_max;
        if full && message.is_bulk() {
            return;
        }
        self.replica.handle_message(now, from, message);
    }

    /// Time has passed. Call at [`Driver::next_tick`] or a little later.
    pub fn handle_tick(&mut self, now: Time) {
        self.replica.handle_tick(now);
        while let Some((id, client)) = self.proposals.take_due(now) {
            let outcome = self.replica.withdraw(id);
            client.answer(Err(ProposeError::TimedOut { outcome }));
        }
        while let Some((read, client)) = self.reads.take_due(now) {
            self.replica.forget_read(read);
            client.answer(&self.machine, Err(ReadError::TimedOut));
        }
        if now.since(self.stable_asked) >= self.options.stable_interval {
            self.stable_asked = now;
            self.replica.handle_stable(self.machine.stable_watermark());
        }
    }

    /// This record and all before it are durable.
    pub fn handle_persisted(&mut self, now: Time, id: PersistId) {
        self.undurable.settle(id);
        self.replica.handle_persisted(now, id);
        self.tell_log_durable();
    }

    /// A page that [`Effects::take_page`] handed out was put away, or not.
    pub fn handle_taken(&mut self, now: Time, taken: Taken) {
        match taken {
            Taken::Next { snapshot, next } => self.replica.handle_page_taken(now, snapshot, next),
            Taken::Arrived(arrived) => self.arrived = Some((arrived, None)),
            Taken::Failed(_) => self.replica.handle_snapshot_failed(),
        }
    }

    /// The log holds nothing of what [`Effects::serve_log`] asked for from this slot on.
    pub fn handle_unserved(&mut self, now: Time, to: ReplicaId, from: Slot) {
        self.replica.handle_unserved(now, to, from);
    }

    /// The log holds more than it should below `soft`, and more than it may below `hard`.
    pub fn handle_log_bounds(&mut self, soft: Slot, hard: Slot) {
        // Without snapshots a member that lags would have nothing to go on with.
        if self.ships {
            self.replica.handle_log_bounds(soft, hard);
        }
    }

    /// A peer's process is gone: its connection closed, and a new one was refused.
    pub fn handle_unreachable(&mut self, now: Time, peer: ReplicaId) {
        self.replica.handle_unreachable(now, peer);
    }

    /// Proposes a command; the client gets the machine's reply, or an error after `timeout`.
    pub fn propose(&mut self, now: Time, payload: Bytes, timeout: Duration, client: P) {
        if self.stopping {
            let outcome = Withdrawal::NeverApplied;
            return client.answer(Err(ProposeError::Stopping { outcome }));
        }
        match self.replica.propose(now, payload) {
            Ok(id) => self.proposals.insert(id, now.plus(timeout), client),
            Err(synod_paxos::Busy) => client.answer(Err(ProposeError::Busy)),
        }
    }

    /// Asks for a linearizable read; the client gets it, or an error after `timeout`.
    pub fn read(&mut self, now: Time, timeout: Duration, client: R) {
        if self.stopping {
            return client.answer(&self.machine, Err(ReadError::Stopping));
        }
        match self.replica.read(now) {
            Ok(read) => self.reads.insert(read, now.plus(timeout), client),
            Err(synod_paxos::Busy) => client.answer(&self.machine, Err(ReadError::Busy)),
        }
    }

    /// Hands leadership over, to the most caught-up member if `to` is `None`. True if this member
    /// leads and there is somebody to hand over to; it is done when `is_leader` turns false.
    pub fn transfer(&mut self, now: Time, to: Option<ReplicaId>) -> bool {
        self.replica.transfer(now, to)
    }

    /// Takes no more commands and reads from clients. Those that wait are still answered.
    pub fn stop_taking(&mut self) {
        self.stopping = true;
    }

    /// Answers everybody who still waits; the member stops now.
    pub fn abandon_clients(&mut self) {
        self.stopping = true;
        while let Some((id, client)) = self.proposals.take_any() {
            let outcome = self.replica.withdraw(id);
            client.answer(Err(ProposeError::Stopping { outcome }));
        }
        while let Some((read, client)) = self.reads.take_any() {
            self.replica.forget_read(read);
            client.answer(&self.machine, Err(ReadError::Stopping));
        }
    }

    /// Does what the core asks for, until it asks for nothing more. Call after each round of
    /// inputs: commands that came in since the last call share a batch.
    pub fn run_outputs(&mut self, now: Time, effects: &mut impl Effects) {
        while !self.halted {
            self.release_held(effects);
            while let Some(output) = self.replica.poll_output(now) {
                self.run_output(output, effects);
            }
            if self.ready.is_empty() {
                if self.go_on_with_arrived(now) {
                    continue;
                }
                break;
            }
            effects.flush();
            while let Some(ready) = self.ready.pop_front() {
                self.run_ready(ready);
            }
            self.tell_log_durable();
        }
        effects.flush();
    }

    /// When [`Driver::handle_tick`] wants to be called next.
    #[must_use]
    pub fn next_tick(&self) -> Time {
        let own = self.stable_asked.plus(self.options.stable_interval);
        [self.proposals.next_deadline(), self.reads.next_deadline(), Some(own)]
            .into_iter()
            .flatten()
            .fold(self.replica.next_tick(), Time::min)
    }

    /// Whether something waits for nothing but the disk. If not, [`Driver::handle_persisted`] may
    /// wait until there is more to do.
    #[must_use]
    pub fn awaits_disk(&self) -> bool {
        !self.held.is_empty() || self.stopping || self.replica.awaits_disk()
    }

    /// Asserts what must hold after each round. For tests and simulations: it looks at everything.
    ///
    /// # Panics
    /// If it does not hold.
    pub fn check_invariants(&self) {
        self.replica.check_invariants();
        if self.ready.is_empty() && !self.halted {
            let chosen = self.replica.chosen_prefix();
            assert_eq!(self.applied, chosen, "applied is what is chosen, and nothing else");
        }
    }

    /// The core, to look at.
    #[must_use]
    pub const fn replica(&self) -> &Replica {
        &self.replica
    }

    /// The state machine, to look at. What it says is current only inside a granted read.
    #[must_use]
    pub const fn machine(&self) -> &M {
        &self.machine
    }

    /// The state machine, for a simulator that makes its stable part lag. Nothing that `apply`
    /// depends on may change this way.
    #[must_use]
    pub const fn machine_mut(&mut self) -> &mut M {
        &mut self.machine
    }

    /// Gives the machine back: the member is over.
    #[must_use]
    pub fn into_machine(self) -> M {
        self.machine
    }

    /// Every slot below is in the state machine.
    #[must_use]
    pub const fn applied_watermark(&self) -> Slot {
        self.applied.end
    }

    /// How many clients wait for replies.
    #[must_use]
    pub fn proposals_waiting(&self) -> usize {
        self.proposals.len()
    }

    /// How many clients wait to read.
    #[must_use]
    pub fn reads_waiting(&self) -> usize {
        self.reads.len()
    }

    /// How many records wait for the disk.
    #[must_use]
    pub fn records_undurable(&self) -> usize {
        self.undurable.records()
    }

    /// Whether nobody waits for an answer who is still there. Looks at all that wait: for the end.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        !self.proposals.clients().any(ProposeClient::is_there)
            && !self.reads.clients().any(ReadClient::is_there)
    }

    fn run_output(&mut self, output: Output, effects: &mut impl Effects) {
        match output {
            Output::Persist { id, record } => {
                self.undurable.add(id, &record);
                effects.persist(id, record);
            }
            Output::Send { to, message, after } => {
                self.run_after(after.unwrap_or_default(), Held::Send(to, message), effects);
            }
            Output::TrimLog { below, after } => {
                self.run_after(after, Held::Trim(below), effects);
            }
            Output::Apply { slot, value } => self.ready.push_back(Ready::Apply(slot, value)),
            Output::ReadReady { read, applied } => {
                self.ready.push_back(Ready::Read(read, applied));
            }
            Output::ServeLog { to, from, chosen, bytes_max } => {
                effects.serve_log(to, from, chosen, bytes_max);
            }
            Output::ServeSnapshot { to, wanted, bytes_max } => {
                effects.serve_snapshot(to, wanted, bytes_max);
            }
            Output::TakePage(page) => effects.take_page(page),
            Output::Event(event) => effects.event(&event),
            Output::Halt(reason) => {
                self.halted = true;
                effects.halt(&reason);
            }
        }
    }

    /// Does it at once if the record is durable; else keeps it, behind what waits for the same
    /// record or an earlier one.
    fn run_after(&mut self, record: PersistId, held: Held, effects: &mut impl Effects) {
        if record <= self.undurable.durable {
            return held.run(effects);
        }
        let kept = match held {
            Held::Send(to, message) => {
                effects.send_after(record, to, message).map(|(to, message)| Held::Send(to, message))
            }
            Held::Trim(below) => Some(Held::Trim(below)),
        };
        let Some(held) = kept else { return };
        let at = self.held.partition_point(|(other, _)| *other <= record);
        self.held.insert(at, (record, held));
    }

    fn release_held(&mut self, effects: &mut impl Effects) {
        while self.held.front().is_some_and(|(record, _)| *record <= self.undurable.durable) {
            if let Some((_, held)) = self.held.pop_front() {
                held.run(effects);
            }
        }
    }

    fn run_ready(&mut self, ready: Ready) {
        match ready {
            Ready::Apply(slot, value) => self.apply(slot, &value),
            Ready::Read(read, applied) => {
                let end = self.applied.end;
                assert!(applied <= end, "a read of {applied} before {end}");
                if let Some(client) = self.reads.take(read) {
                    client.answer(&self.machine, Ok(end));
                }
            }
        }
    }

    fn apply(&mut self, slot: Slot, value: &Value) {
        assert_eq!(slot, self.applied.end, "slots apply without gaps");
        self.applied.extend(value);
        if let Value::Batch(batch) = value {
            for command in batch.commands.iter() {
                self.apply_command(slot, command);
            }
        }
        self.machine.slot_applied(self.applied);
        // The record of the slot came out before the slot did, so the last one covers it.
        let end = self.applied.end;
        match self.applied_after.back_mut() {
            Some((record, below)) if *record == self.undurable.last => *below = end,
            _ => self.applied_after.push_back((self.undurable.last, end)),
        }
    }

    /// Takes over a state that has arrived, unless this member has got as far by itself. The log
    /// hears of it first. False if there is nothing to do now.
    fn go_on_with_arrived(&mut self, now: Time) -> bool {
        let Some((arrived, told)) = self.arrived.take() else { return false };
        let end = arrived.prefix.end;
        match told {
            _ if end <= self.applied.end => self.replica.handle_snapshot_failed(),
            None => {
                let told = self.replica.handle_arrived(now, end);
                self.arrived = Some((arrived, Some(told)));
            }
            Some(record) if record <= self.undurable.durable => self.install(now, arrived),
            Some(_) => {
                self.arrived = Some((arrived, told));
                return false;
            }
        }
        true
    }

    fn install(&mut self, now: Time, arrived: Arrived) {
        let prefix = arrived.prefix;
        if !self.machine.install(arrived) {
            return self.replica.handle_snapshot_failed();
        }
        self.applied = prefix;
        self.applied_after.clear();
        for id in self.replica.handle_installed(now, prefix) {
            if let Some(client) = self.proposals.take(id) {
                let outcome = Withdrawal::Unknown;
                client.answer(Err(ProposeError::TimedOut { outcome }));
            }
        }
    }

    /// Tells the machine how far it may make durable by itself what it has applied.
    fn tell_log_durable(&mut self) {
        let mut durable = None;
        while self.applied_after.front().is_some_and(|(last, _)| *last <= self.undurable.durable) {
            durable = self.applied_after.pop_front().map(|(_, below)| below);
        }
        if let Some(below) = durable {
            self.machine.log_durable(below);
        }
    }

    fn apply_command(&mut self, slot: Slot, Command { id, payload }: &Command) {
        let is_own = id.replica == self.me.id && id.life == self.life;
        // Nobody waits if its time was over before.
        let client = if is_own { self.proposals.take(*id) } else { None };
        let is_awaited = client.as_ref().is_some_and(ProposeClient::is_there);
        let time = self.applied.time;
        let reply = self.machine.apply(Entry { slot, time, payload, is_awaited });
        if let Some(client) = client {
            client.answer(Ok(reply));
        }
    }
}

/// What must not be done before a record is durable.
enum Held {
    Send(ReplicaSet, Message),
    Trim(Slot),
}

impl Held {
    fn run(self, effects: &mut impl Effects) {
        match self {
            Self::Send(to, message) => effects.send(&to, message),
            Self::Trim(below) => effects.trim_log(below),
        }
    }
}

/// Work for the state machine and those who read it.
enum Ready {
    Apply(Slot, Value),
    Read(ReadId, Slot),
}

#[cfg(test)]
mod tests;
