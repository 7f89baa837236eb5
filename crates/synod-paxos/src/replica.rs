//! One member of the cluster: the parts put together.

use std::collections::VecDeque;

use crate::acceptor::Acceptor;
use crate::commands::OwnCommands;
use crate::election::Election;
use crate::event::{Event, Ignored};
use crate::formation::Formation;
use crate::ids::{Ballot, Peer, ReplicaId};
use crate::learner::Learner;
use crate::message::Message;
use crate::mutants::Mutant;
use crate::options::Options;
use crate::output::{Output, Outputs, PersistId};
use crate::prefix::Prefix;
use crate::proposer::Proposer;
use crate::quorum::{Quorums, ReplicaSet};
use crate::reads::Reads;
use crate::recovered::Recovered;
use crate::slot::Slot;
use crate::snapshot::Snapshots;
use crate::time::Time;

/// Who a replica is. Comes from outside, like time and chance.
#[derive(Clone, Debug, Eq, PartialEq, Hash)]
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
#[derive(Clone, Copy, Debug, Eq, PartialEq, Hash)]
pub struct Busy;

/// What became of a command that its client no longer waits for.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Hash)]
pub enum Withdrawal {
    /// It was not applied and never will be.
    NeverApplied,
    /// It may be applied yet, or may have been.
    Unknown,
}

/// A member: acceptor, learner, and at times proposer.
///
/// Its methods come in four families. The **world** tells it what happened: [`handle_message`],
/// [`handle_tick`], [`handle_persisted`], [`handle_unreachable`], [`handle_stable`]. The
/// **application** asks: [`propose`], [`withdraw`], [`read`], [`forget_read`], [`transfer`].
/// **Effects** come out of [`poll_output`], as data. The rest are **getters**. No method blocks,
/// fails for what a peer sent, or looks at a clock, a disk or a network.
///
/// [`handle_message`]: Self::handle_message
/// [`handle_tick`]: Self::handle_tick
/// [`handle_persisted`]: Self::handle_persisted
/// [`handle_unreachable`]: Self::handle_unreachable
/// [`handle_stable`]: Self::handle_stable
/// [`propose`]: Self::propose
/// [`withdraw`]: Self::withdraw
/// [`read`]: Self::read
/// [`forget_read`]: Self::forget_read
/// [`transfer`]: Self::transfer
/// [`poll_output`]: Self::poll_output
#[derive(Clone, Debug, Eq, PartialEq, Hash)]
pub struct Replica {
    pub(crate) identity: Identity,
    pub(crate) options: Options,
    pub(crate) quorums: Quorums,
    /// All members but this one.
    pub(crate) peers: ReplicaSet,
    pub(crate) now: Time,
    pub(crate) outputs: Outputs,
    pub(crate) formation: Formation,
    pub(crate) acceptor: Acceptor,
    pub(crate) learner: Learner,
    pub(crate) proposer: Proposer,
    pub(crate) election: Election,
    pub(crate) own: OwnCommands,
    pub(crate) reads: Reads,
    pub(crate) snapshots: Snapshots,
    /// Own promises (no slot) and acceptances that count once their record is durable.
    pub(crate) self_votes: VecDeque<(PersistId, Ballot, Option<Slot>)>,
    /// It must not go on; see [`Output::Halt`].
    pub(crate) halted: bool,
    /// The promises of the last candidacy, for [`Mutant::KeepPromises`] only.
    #[cfg(feature = "mutants")]
    pub(crate) kept_promises: crate::parts::Tally,
}

impl Replica {
    /// A replica as its log left it. `applied` is what the state machine has in it already, and
    /// `recovered.accepted` holds every chosen value from its end on.
    ///
    /// # Panics
    /// If the identity's id is not among its members, or the log is of another incarnation.
    #[must_use]
    pub fn new(
        identity: Identity,
        options: Options,
        mut recovered: Recovered,
        applied: Prefix,
        now: Time,
    ) -> Self {
        let Peer { id: me, incarnation } = identity.me;
        assert!(identity.members.contains(me), "{me} is not a member of {}", identity.members);
        let logged = recovered.met.get(&me).copied();
        assert!(logged.is_none_or(|logged| logged == incarnation), "the log is of another disk");

        recovered.forget_below(applied.end);
        let chosen = recovered.chosen;
        let peers = identity.members.without(me);
        let heartbeat = options.heartbeat_interval;
        let mut replica = Self {
            quorums: Quorums::majority(identity.members.clone()),
            now,
            outputs: Outputs::default(),
            formation: Formation::new(identity.me, recovered.met, &peers),
            learner: Learner::new(applied),
            acceptor: Acceptor::new(recovered.promised, recovered.accepted),
            proposer: Proposer::Idle,
            election: Election::new(&peers, identity.seed, now, heartbeat),
            own: OwnCommands::default(),
            reads: Reads::new(identity.life),
            snapshots: Snapshots::recovered(recovered.skipped),
            self_votes: VecDeque::new(),
            halted: false,
            #[cfg(feature = "mutants")]
            kept_promises: crate::parts::Tally::default(),
            identity,
            options,
            peers,
        };
        // Choosing again what was chosen hands it out to be applied.
        while replica.learner.prefix.end < chosen
            && replica.acceptor.held.contains_key(&replica.learner.prefix.end)
        {
            replica.choose_next();
        }
        replica.form_if_complete();
        replica
    }
}

// The world tells. None of these fails; what they cause comes out of `poll_output`.
impl Replica {
    /// A message came from a peer, as the transport identified it.
    pub fn handle_message(&mut self, now: Time, from: Peer, message: Message) {
        self.advance_clock(now);
        if self.halted {
            return;
        }
        if !self.peers.contains(from.id) {
            return self.ignore(from.id, message.name(), Ignored::NotAMember);
        }
        if !self.meet(from) {
            return self.reject_stranger(from, &message);
        }
        self.election.hear(now, from.id);
        let from = from.id;
        match message {
            Message::Heartbeat(heartbeat) => self.on_heartbeat(from, &heartbeat),
            Message::Prepare(prepare) => self.on_prepare(from, &prepare),
            Message::Promise(promise) => self.on_promise(from, promise),
            Message::Accept(accept) => self.on_accept(from, accept),
            Message::Accepted(accepted) => self.on_accepted(from, &accepted),
            Message::Nack(nack) => self.on_nack(from, &nack),
            Message::Chosen(chosen) => self.on_chosen(from, &chosen),
            Message::CatchUp(catch_up) => self.on_catch_up(from, &catch_up),
            Message::Learned(learned) => self.on_learned(from, learned),
            Message::Forward(forward) => self.on_forward(from, forward),
            Message::Read(read) => self.on_read(from, &read),
            Message::ReadAt(read_at) => self.on_read_at(from, &read_at),
            Message::Confirm(confirm) => self.on_confirm(from, &confirm),
            Message::Confirmed(confirmed) => self.on_confirmed(from, &confirmed),
            Message::TakeOver(take_over) => self.on_take_over(from, &take_over),
            Message::Stranger(stranger) => self.on_stranger(from, &stranger),
            Message::FetchPage(fetch) => self.on_fetch_page(from, &fetch),
            Message::SnapshotPage(page) => self.on_snapshot_page(from, page),
        }
        self.stand_if_due();
    }

    /// Time has passed. Call at [`next_tick`](Self::next_tick) or a little later.
    pub fn handle_tick(&mut self, now: Time) {
        self.advance_clock(now);
        if self.halted {
            return;
        }
        let heartbeat_due = now >= self.election.heartbeat_at;
        self.tick_election();
        if heartbeat_due {
            self.resend_accepts();
            self.resend_own_commands();
            self.retry_reads();
            self.catch_up_if_stuck();
            self.trim_if_worthwhile();
        }
        self.stand_if_due();
    }

    /// This record and all before it are durable.
    pub fn handle_persisted(&mut self, now: Time, id: PersistId) {
        self.advance_clock(now);
        if self.halted {
            return;
        }
        self.outputs.set_durable(id);
        self.count_self_votes();
    }

    /// A peer's process is gone: its connection closed, and a new one was refused.
    pub fn handle_unreachable(&mut self, now: Time, peer: ReplicaId) {
        self.advance_clock(now);
        if !self.halted {
            self.on_unreachable(peer);
        }
    }

    /// The state machine survives a crash without the log's values below this slot.
    pub fn handle_stable(&mut self, stable: Slot) {
        self.learner.stable = self.learner.stable.max(stable.min(self.learner.prefix.end));
    }

    /// Hands leadership to another member (the most caught-up one if `None`). True if this member
    /// leads and there is somebody to hand over to; it is done when [`is_leader`](Self::is_leader)
    /// turns false, or given up after an election timeout or when the other is gone: see
    /// [`is_handing_over`](Self::is_handing_over).
    pub fn transfer(&mut self, now: Time, to: Option<ReplicaId>) -> bool {
        self.advance_clock(now);
        self.begin_hand_over(to)
    }
}

// Effects.
impl Replica {
    /// The next thing to do, until `None`. Call after each round of inputs: commands that came in
    /// since the last call share a batch.
    pub fn poll_output(&mut self, now: Time) -> Option<Output> {
        self.advance_clock(now);
        if self.outputs.is_empty() && !self.halted {
            self.dispatch_own_commands();
            self.propose_batches();
            self.dispatch_reads();
            self.go_on_handing_over();
            self.announce_chosen();
        }
        self.outputs.pop()
    }
}

// Getters.
impl Replica {
    /// When [`handle_tick`](Self::handle_tick) wants to be called next.
    #[must_use]
    pub fn next_tick(&self) -> Time {
        let heartbeat = self.election.heartbeat_at;
        let stand = self.election.stand_at;
        if let Some(due) = self.announcement_due() {
            return heartbeat.min(due);
        }
        let may_stand = matches!(self.proposer, Proposer::Idle) && self.leader().is_none();
        if may_stand && stand > self.now { heartbeat.min(stand) } else { heartbeat }
    }

    /// Whether its own vote would decide something once the record of it is durable. If not,
    /// [`handle_persisted`](Self::handle_persisted) may come a little later, with other news.
    #[must_use]
    pub fn awaits_disk(&self) -> bool {
        match &self.proposer {
            Proposer::Idle => false,
            Proposer::Candidate(_) => true,
            Proposer::Leader(leader) => leader.awaits_disk(self.me(), &self.quorums),
        }
    }

    /// Its own id.
    #[must_use]
    pub const fn me(&self) -> ReplicaId {
        self.identity.me.id
    }

    /// Whether this member leads (its phase 1 succeeded and nothing has ended it yet).
    #[must_use]
    pub const fn is_leader(&self) -> bool {
        matches!(self.proposer, Proposer::Leader(_))
    }

    /// Whether it leads, and waits for another member to lead in its stead.
    #[must_use]
    pub fn is_handing_over(&self) -> bool {
        matches!(&self.proposer, Proposer::Leader(leader) if leader.handing_over.is_some())
    }

    /// Whether all other members have met this one, and it them, so that it may vote.
    #[must_use]
    pub fn is_formed(&self) -> bool {
        self.formation.is_formed()
    }

    /// Members that it still has to meet, or that still have to meet it.
    #[must_use]
    pub fn unmet(&self) -> ReplicaSet {
        self.formation.missing().clone()
    }

    /// The highest ballot promised.
    #[must_use]
    pub const fn promised(&self) -> Ballot {
        self.acceptor.promised.ballot()
    }

    /// What this member knows of all slots that are chosen: where they end, the last barrier and
    /// the highest stamp among them.
    #[must_use]
    pub const fn chosen_prefix(&self) -> Prefix {
        self.learner.prefix
    }

    /// Every slot below is chosen.
    #[must_use]
    pub const fn chosen_watermark(&self) -> Slot {
        self.learner.prefix.end
    }

    /// Every slot below was handed out to be applied.
    #[must_use]
    pub const fn applied_watermark(&self) -> Slot {
        self.learner.prefix.end
    }

    /// The log was trimmed up to here in this life.
    #[must_use]
    pub const fn trimmed_watermark(&self) -> Slot {
        self.learner.trimmed
    }

    /// The peers heard of late.
    #[must_use]
    pub fn hears(&self) -> ReplicaSet {
        self.election.hears()
    }
}

impl Replica {
    /// Time never goes back, whatever the caller's clock does.
    pub(crate) fn advance_clock(&mut self, now: Time) {
        self.now = self.now.max(now);
    }

    pub(crate) fn mutated(&self, mutant: Mutant) -> bool {
        self.options.mutated(mutant)
    }

    pub(crate) fn ignore(&mut self, from: ReplicaId, message: &'static str, reason: Ignored) {
        self.outputs.event(Event::Ignored { from, message, reason });
    }
}
