//! One member of the cluster: the parts put together.

use bytes::Bytes;

use crate::ids::{Ballot, Peer, ReplicaId};
use crate::message::Message;
use crate::options::Options;
use crate::output::{Output, Outputs, PersistId, ReadId};
use crate::quorum::ReplicaSet;
use crate::recovered::Recovered;
use crate::slot::Slot;
use crate::time::Time;
use crate::value::CommandId;

/// Who a replica is. Comes from outside, like time and chance.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Identity {
    /// Its id and the life of its disk.
    pub me: Peer,
    /// This run of its process: drawn at random at each start.
    pub life: u64,
    /// All voters, itself among them.
    pub members: ReplicaSet,
    /// Seeds the random back-off of elections.
    pub seed: u64,
}

/// A bound was reached: try again later.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Busy;

/// What became of a command that its client no longer waits for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Withdrawal {
    /// It was not applied and never will be.
    NeverApplied,
    /// It may be applied yet, or may have been.
    Unknown,
}

/// A member: acceptor, learner, and at times proposer.
#[derive(Debug)]
pub struct Replica {
    outputs: Outputs,
}

impl Replica {
    /// A replica as its log left it. `applied` is the watermark of the state machine: everything
    /// below is in it already, and `recovered.accepted` holds every chosen value from there on.
    #[must_use]
    pub fn new(identity: Identity, options: Options, recovered: Recovered, applied: Slot, now: Time) -> Self {
        let _ = (identity, options, recovered, applied, now);
        Self { outputs: Outputs::default() }
    }

    // The world tells. None of these fails; what they cause comes out of `poll_output`.

    /// A message came from a peer, as the transport identified it.
    pub fn handle_message(&mut self, now: Time, from: Peer, message: Message) { let _ = (now, from, message); }
    /// Time has passed. Call at `next_tick()` or a little later.
    pub fn handle_tick(&mut self, now: Time) { let _ = now; }
    /// This record and all before it are durable.
    pub fn handle_persisted(&mut self, now: Time, id: PersistId) { let _ = (now, id); }
    /// A peer's process is gone: its connection closed, and a new one was refused.
    pub fn handle_unreachable(&mut self, now: Time, peer: ReplicaId) { let _ = (now, peer); }
    /// The state machine survives a crash without the log's values below this slot.
    pub fn handle_stable(&mut self, stable: Slot) { let _ = stable; }

    // The application asks.

    /// Takes a command. It is applied at most once; when it is, `Output::Apply` brings it with this id.
    ///
    /// # Errors
    /// `Busy` if too many commands, or bytes of commands, wait already.
    pub fn propose(&mut self, now: Time, payload: Bytes) -> Result<CommandId, Busy> { let _ = (now, payload); Err(Busy) }
    /// Gives up waiting for a command.
    pub fn withdraw(&mut self, id: CommandId) -> Withdrawal { let _ = id; Withdrawal::Unknown }
    /// Asks for the right to read what is current; `Output::ReadReady` grants it.
    ///
    /// # Errors
    /// `Busy` if too many reads wait already.
    pub fn read(&mut self, now: Time) -> Result<ReadId, Busy> { let _ = now; Err(Busy) }
    /// Gives up waiting for a read.
    pub fn forget_read(&mut self, read: ReadId) { let _ = read; }
    /// Hands leadership to another member (the most caught-up one if `None`). True if this member
    /// leads and there is somebody to hand over to; it is done when `is_leader` turns false.
    pub fn transfer(&mut self, now: Time, to: Option<ReplicaId>) -> bool { let _ = (now, to); false }

    // Effects.

    /// The next thing to do, until `None`. Call after each round of inputs: commands that came in
    /// since the last call share a batch.
    pub fn poll_output(&mut self, now: Time) -> Option<Output> { let _ = now; self.outputs.pop() }

    // Getters.

    /// When `handle_tick` wants to be called next.
    #[must_use]
    pub fn next_tick(&self) -> Time { Time::default() }
    /// The ballot of the leader this member is or hears.
    #[must_use]
    pub fn leader(&self) -> Option<Ballot> { None }
    /// Whether this member leads (its phase 1 succeeded and nothing has ended it yet).
    #[must_use]
    pub fn is_leader(&self) -> bool { false }
    /// Whether all members have met, so that this one may vote.
    #[must_use]
    pub fn is_formed(&self) -> bool { false }
    /// Members not met yet.
    #[must_use]
    pub fn unmet(&self) -> ReplicaSet { ReplicaSet::new() }
    /// The highest ballot promised.
    #[must_use]
    pub fn promised(&self) -> Ballot { Ballot::ZERO }
    /// Every slot below is chosen.
    #[must_use]
    pub fn chosen_watermark(&self) -> Slot { Slot::FIRST }
    /// Every slot below was handed out to be applied.
    #[must_use]
    pub fn applied_watermark(&self) -> Slot { Slot::FIRST }
    /// Every member's state survives a crash without the log below this slot: the log may be
    /// trimmed up to here.
    #[must_use]
    pub fn stable_everywhere(&self) -> Slot { Slot::FIRST }
    /// The peers heard of late.
    #[must_use]
    pub fn hears(&self) -> ReplicaSet { ReplicaSet::new() }

    /// Asserts what must hold after each step; see `invariants.rs`.
    pub fn check_invariants(&self) {}
}
