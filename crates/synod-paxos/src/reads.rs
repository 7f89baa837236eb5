//! Linearizable reads: how far a member must have applied to answer what is current.
//!
//! The leader notes its chosen watermark and asks whether a phase-2 quorum still follows it, once
//! for all reads that wait. If none of that quorum has promised a higher ballot after the read came
//! in, no other leader can have chosen anything before it did. A follower asks its leader for the
//! watermark and answers from its own state. Each question has a name that is never used again, so
//! that an old answer cannot pass for a new one.

use std::collections::{BTreeMap, VecDeque};

use crate::event::Ignored;
use crate::ids::ReplicaId;
use crate::message::{Confirm, Confirmed, Message, Read, ReadAt};
use crate::mutants::Mutant;
use crate::output::{Output, ReadId};
use crate::parts::Tally;
use crate::proposer::Proposer;
use crate::replica::{Busy, Replica};
use crate::slot::Slot;
use crate::time::Time;

/// The reads of this member's clients.
#[derive(Clone, Debug, Eq, PartialEq, Hash)]
pub(crate) struct Reads {
    last_id: u64,
    /// Not asked about yet.
    waiting: VecDeque<ReadId>,
    /// Asked the leader.
    asked: Option<Asked>,
    last_attempt: u64,
    /// Granted, once everything below the slot is applied.
    granted: BTreeMap<Slot, Vec<ReadId>>,
    granted_count: usize,
}

#[derive(Clone, Debug, Eq, PartialEq, Hash)]
struct Asked {
    attempt: u64,
    leader: ReplicaId,
    sent: Time,
    reads: Vec<ReadId>,
}

/// A leader's questions whether it still leads.
#[derive(Clone, Debug, Default, Eq, PartialEq, Hash)]
pub(crate) struct Confirmations {
    last_round: u64,
    /// Who waits for the round under way.
    current: Option<Round>,
    /// Who waits for the next one.
    next: Askers,
}

#[derive(Clone, Debug, Eq, PartialEq, Hash)]
struct Round {
    round: u64,
    tally: Tally,
    chosen: Slot,
    sent: Time,
    askers: Askers,
}

#[derive(Clone, Debug, Default, Eq, PartialEq, Hash)]
struct Askers {
    own: Vec<ReadId>,
    /// The last attempt of each member; it waits for no earlier one.
    remote: BTreeMap<ReplicaId, u64>,
}

impl Reads {
    /// Attempts count from `life`, drawn at random at each start, so that those of an earlier life
    /// are not met again.
    pub(crate) const fn new(life: u64) -> Self {
        Self {
            last_id: 0,
            waiting: VecDeque::new(),
            asked: None,
            last_attempt: life,
            granted: BTreeMap::new(),
            granted_count: 0,
        }
    }

    fn count(&self) -> usize {
        self.waiting.len()
            + self.granted_count
            + self.asked.as_ref().map_or(0, |asked| asked.reads.len())
    }

    /// Reads that were asked about in vain.
    pub(crate) fn ask_again(&mut self, reads: Vec<ReadId>) {
        for read in reads.into_iter().rev() {
            self.waiting.push_front(read);
        }
    }

    fn grant(&mut self, reads: Vec<ReadId>, at: Slot) {
        self.granted_count += reads.len();
        self.granted.entry(at).or_default().extend(reads);
    }
}

impl Confirmations {
    fn own_count(&self) -> usize {
        self.next.own.len() + self.current.as_ref().map_or(0, |round| round.askers.own.len())
    }

    pub(crate) fn into_own_reads(self) -> Vec<ReadId> {
        let mut reads = self.current.map(|round| round.askers.own).unwrap_or_default();
        reads.extend(self.next.own);
        reads
    }
}

impl Replica {
    /// Asks for the right to read what is current; [`Output::ReadReady`] grants it.
    ///
    /// # Errors
    /// [`Busy`] if too many reads wait already.
    pub fn read(&mut self, now: Time) -> Result<ReadId, Busy> {
        self.advance_clock(now);
        let confirming = match &self.proposer {
            Proposer::Leader(leader) => leader.confirmations.own_count(),
            _ => 0,
        };
        if self.reads.count() + confirming >= self.options.reads_max {
            return Err(Busy);
        }
        self.reads.last_id += 1;
        let read = ReadId(self.reads.last_id);
        self.reads.waiting.push_back(read);
        Ok(read)
    }

    /// Gives up waiting for a read.
    pub fn forget_read(&mut self, read: ReadId) {
        self.reads.waiting.retain(|waiting| *waiting != read);
        if let Some(asked) = &mut self.reads.asked {
            asked.reads.retain(|asked| *asked != read);
        }
        let mut forgotten = 0;
        self.reads.granted.retain(|_, reads| {
            let before = reads.len();
            reads.retain(|granted| *granted != read);
            forgotten += before - reads.len();
            !reads.is_empty()
        });
        self.reads.granted_count -= forgotten;
        if let Proposer::Leader(leader) = &mut self.proposer {
            leader.confirmations.next.own.retain(|own| *own != read);
            if let Some(round) = &mut leader.confirmations.current {
                round.askers.own.retain(|own| *own != read);
            }
        }
    }

    /// Asks about what waits: the leader if there is one, or the quorum if it is this member.
    pub(crate) fn dispatch_reads(&mut self) {
        let Some(ballot) = self.leader() else { return };
        if let Proposer::Leader(leader) = &mut self.proposer {
            leader.confirmations.next.own.extend(self.reads.waiting.drain(..));
            if let Some(asked) = self.reads.asked.take() {
                leader.confirmations.next.own.extend(asked.reads);
            }
            return self.begin_confirmation();
        }
        if let Some(asked) = self.reads.asked.take_if(|asked| asked.leader != ballot.replica) {
            self.reads.ask_again(asked.reads);
        }
        if self.reads.waiting.is_empty() || self.reads.asked.is_some() {
            return;
        }
        self.reads.last_attempt = self.reads.last_attempt.wrapping_add(1);
        let attempt = self.reads.last_attempt;
        let reads = self.reads.waiting.drain(..).collect();
        self.reads.asked = Some(Asked { attempt, leader: ballot.replica, sent: self.now, reads });
        self.outputs.send(ballot.replica, Message::Read(Read { attempt }));
    }

    /// Asks anew if the leader changed or is silent.
    pub(crate) fn retry_reads(&mut self) {
        let leader = self.leader().map(|ballot| ballot.replica);
        let resend_after = self.options.resend_after();
        let in_vain = self.reads.asked.take_if(|asked| {
            Some(asked.leader) != leader || self.now.since(asked.sent) >= resend_after
        });
        if let Some(asked) = in_vain {
            self.reads.ask_again(asked.reads);
        }
        if let Proposer::Leader(leader) = &mut self.proposer
            && let Some(round) = &mut leader.confirmations.current
            && self.now.since(round.sent) >= resend_after
        {
            round.sent = self.now;
            let confirm = Confirm { ballot: leader.ballot, round: round.round };
            self.outputs.send_all(self.peers.clone(), Message::Confirm(confirm), None);
        }
    }

    /// As leader: notes who asks.
    pub(crate) fn on_read(&mut self, from: ReplicaId, read: &Read) {
        let Proposer::Leader(leader) = &mut self.proposer else {
            return self.ignore(from, "read", Ignored::NotLeading);
        };
        leader.confirmations.next.remote.insert(from, read.attempt);
    }

    /// As leader: one round for all that wait. Everything chosen by now is below the watermark that
    /// they will get; the barrier is, too, for what earlier leaders chose is below the barrier.
    fn begin_confirmation(&mut self) {
        let unconfirmed = self.mutated(Mutant::ReadUnconfirmed);
        let Proposer::Leader(leader) = &mut self.proposer else { return };
        let confirmations = &mut leader.confirmations;
        let idle = confirmations.next.own.is_empty() && confirmations.next.remote.is_empty();
        if idle || confirmations.current.is_some() {
            return;
        }
        confirmations.last_round += 1;
        let round = confirmations.last_round;
        let mut tally = Tally::default();
        tally.add(self.identity.me.id);
        let done = tally.is_phase2(&self.quorums) || unconfirmed;
        let chosen = self.learner.prefix.end.max(leader.barrier.next());
        let askers = std::mem::take(&mut confirmations.next);
        confirmations.current = Some(Round { round, tally, chosen, sent: self.now, askers });
        if done {
            return self.finish_confirmation();
        }
        let confirm = Confirm { ballot: leader.ballot, round };
        self.outputs.send_all(self.peers.clone(), Message::Confirm(confirm), None);
    }

    pub(crate) fn on_confirm(&mut self, from: ReplicaId, confirm: &Confirm) {
        let Confirm { ballot, round } = *confirm;
        let promised = self.acceptor.promised.ballot();
        if ballot.replica != from || !self.formation.is_formed() {
            return self.ignore(from, "confirm", Ignored::Malformed);
        }
        if ballot < promised {
            return self.nack(from, ballot, promised);
        }
        self.follow(ballot);
        self.outputs.send(from, Message::Confirmed(Confirmed { ballot, round }));
    }

    pub(crate) fn on_confirmed(&mut self, from: ReplicaId, confirmed: &Confirmed) {
        let Proposer::Leader(leader) = &mut self.proposer else {
            return self.ignore(from, "confirmed", Ignored::NotLeading);
        };
        let Some(round) = &mut leader.confirmations.current else { return };
        if (leader.ballot, round.round) != (confirmed.ballot, confirmed.round) {
            return;
        }
        round.tally.add(from);
        if round.tally.is_phase2(&self.quorums) {
            self.finish_confirmation();
        }
    }

    fn finish_confirmation(&mut self) {
        let Proposer::Leader(leader) = &mut self.proposer else { return };
        let Some(round) = leader.confirmations.current.take() else { return };
        for (member, attempt) in round.askers.remote {
            leader.announced.await_by(member, &self.peers);
            self.outputs.send(member, Message::ReadAt(ReadAt { attempt, chosen: round.chosen }));
        }
        self.reads.grant(round.askers.own, round.chosen);
        self.release_reads();
    }

    pub(crate) fn on_read_at(&mut self, from: ReplicaId, read_at: &ReadAt) {
        let answered = self
            .reads
            .asked
            .take_if(|asked| asked.attempt == read_at.attempt && asked.leader == from);
        let Some(asked) = answered else {
            return self.ignore(from, "read-at", Ignored::Repeated);
        };
        self.reads.grant(asked.reads, read_at.chosen);
        self.release_reads();
    }

    /// Lets go the reads whose watermark is reached.
    pub(crate) fn release_reads(&mut self) {
        let applied = self.learner.prefix.end;
        while let Some(first) = self.reads.granted.first_entry() {
            if *first.key() > applied {
                return;
            }
            let (applied, reads) = first.remove_entry();
            self.reads.granted_count -= reads.len();
            for read in reads {
                self.outputs.push(Output::ReadReady { read, applied });
            }
        }
    }
}
