//! The acceptor: promises ballots and accepts values.
//!
//! `Prepare` asks it to ignore all lower ballots from now on and to tell what it has accepted;
//! `Accept` asks it to accept a value for a slot. One promise covers all slots, which is all that
//! makes Multi-Paxos of Basic Paxos on this side (*Paxos Made Simple* §2.2 and §3).

use std::collections::BTreeMap;

use crate::event::Ignored;
use crate::ids::{Ballot, ReplicaId};
use crate::message::{Accept, Accepted, Message, Nack, Prepare, Promise};
use crate::mutants::Mutant;
use crate::output::{PersistId, Record};
use crate::parts::{Admission, Promised};
use crate::replica::Replica;
use crate::slot::Slot;
use crate::value::{AcceptedValue, Value};

/// The durable half of a replica.
///
/// Invariants:
///
/// * No accepted ballot is above `promised`.
/// * Within one ballot a slot never changes its value.
/// * A slot of the chosen prefix never changes its value.
/// * No reply leaves before the records that justify it are durable.
#[derive(Clone, Debug, Eq, PartialEq, Hash)]
pub(crate) struct Acceptor {
    pub(crate) promised: Promised,
    /// The last value of each slot, from the cache's floor on; of chosen slots, what was chosen.
    pub(crate) held: BTreeMap<Slot, AcceptedValue>,
    /// The chosen prefix that the log knows of ends here.
    recorded: Slot,
}

impl Acceptor {
    pub(crate) fn new(promised: Ballot, held: BTreeMap<Slot, AcceptedValue>) -> Self {
        Self { promised: Promised::new(promised), held, recorded: Slot::FIRST }
    }
}

impl Replica {
    /// Phase 1b: promises the ballot and tells what is accepted, unless a higher one is promised.
    pub(crate) fn on_prepare(&mut self, from: ReplicaId, prepare: &Prepare) {
        let Prepare { ballot, from: first, succeeds } = *prepare;
        if let Some(reason) = self.reason_to_ignore_ballot(from, ballot) {
            return self.ignore(from, "prepare", reason);
        }
        if self.has_living_leader_besides(from, succeeds) {
            return self.ignore(from, "prepare", Ignored::LeaderLives);
        }
        match self.acceptor.promised.admit(ballot) {
            Admission::Refused { promised } => return self.nack(from, ballot, promised),
            Admission::Held => {}
            Admission::Raised => {
                self.outputs.persist(Record::Promised(ballot));
                self.yield_to(ballot);
            }
        }
        let promise = Message::Promise(self.promise_page(ballot, first));
        self.reply_when_durable(from, promise);
    }

    /// Phase 2b: accepts the value, unless a higher ballot is promised.
    pub(crate) fn on_accept(&mut self, from: ReplicaId, accept: Accept) {
        let Accept { ballot, slot, value, chosen } = accept;
        if let Some(reason) = self.reason_to_ignore_ballot(from, ballot) {
            return self.ignore(from, "accept", reason);
        }
        if slot >= self.learner.prefix.end.plus(self.options.window_slots_max) {
            return self.ignore(from, "accept", Ignored::OutOfBounds);
        }
        if let Admission::Refused { promised } = self.admit_accept(ballot, slot) {
            return self.nack(from, ballot, promised);
        }
        self.follow(ballot);
        match self.acceptor.held.get(&slot) {
            // Again, since the first answer may be lost. Its record was handed out before.
            Some(held) if held.ballot == ballot => {
                if held.value != value {
                    return self.ignore(from, "accept", Ignored::Malformed);
                }
            }
            _ if slot < self.learner.prefix.end => {
                // The leader does not know yet; tell it, as it may need this very slot to go on.
                self.ignore(from, "accept", Ignored::AlreadyChosen);
                return self.serve_catch_up(from, slot);
            }
            _ => {
                self.accept(ballot, slot, value);
            }
        }
        self.reply_when_durable(from, Message::Accepted(Accepted { ballot, slot }));
        self.learn_chosen_in(ballot, chosen);
    }

    /// Stores a value in a ballot that is admitted, for a slot that is open.
    pub(crate) fn accept(&mut self, ballot: Ballot, slot: Slot, value: Value) -> PersistId {
        assert!(
            slot >= self.learner.prefix.end,
            "accepted at {slot} below the chosen watermark {}",
            self.learner.prefix.end
        );
        self.record_prefix();
        self.acceptor.held.insert(slot, AcceptedValue { ballot, value: value.clone() });
        self.outputs.persist(Record::Accepted { ballot, slot, value })
    }

    /// Lets the log know how far the chosen prefix goes, if it does not: ahead of a record that
    /// must be written anyway, so that nothing is synced for its sake.
    pub(crate) fn record_prefix(&mut self) {
        if self.acceptor.recorded < self.learner.prefix.end {
            self.acceptor.recorded = self.learner.prefix.end;
            self.outputs.persist(Record::Chosen(self.learner.prefix.end));
        }
    }

    /// A page of what is accepted in open slots.
    fn promise_page(&self, ballot: Ballot, first: Slot) -> Promise {
        let prefix = self.learner.prefix;
        let mut page = Promise { ballot, from: first, entries: Vec::new(), prefix, next: None };
        let mut bytes = 0;
        for (&slot, held) in self.acceptor.held.range(first.max(prefix.end)..) {
            bytes += held.value.bytes();
            if bytes > self.options.page_bytes_max && !page.entries.is_empty() {
                page.next = Some(slot);
                break;
            }
            let mut held = held.clone();
            if self.mutated(Mutant::PromiseWithoutBallot) {
                held.ballot = Ballot::ZERO;
            }
            page.entries.push((slot, held));
        }
        page
    }

    fn admit_accept(&mut self, ballot: Ballot, slot: Slot) -> Admission {
        if self.mutated(Mutant::AcceptByAccepted) && ballot < self.acceptor.promised.ballot() {
            let accepted = self.acceptor.held.get(&slot).map_or(Ballot::ZERO, |held| held.ballot);
            if ballot >= accepted {
                return Admission::Held;
            }
        }
        let admission = self.acceptor.promised.admit(ballot);
        if admission == Admission::Raised {
            // The record of the acceptance implies the promise; see `Recovered`.
            self.yield_to(ballot);
        }
        admission
    }

    /// Ballots are spoken by their owners, and only members that have met all others vote.
    fn reason_to_ignore_ballot(&self, from: ReplicaId, ballot: Ballot) -> Option<Ignored> {
        if ballot.replica != from {
            Some(Ignored::Malformed)
        } else if ballot.round > Ballot::ROUND_MAX {
            Some(Ignored::OutOfBounds)
        } else if !self.formation.is_formed() {
            Some(Ignored::NotFormed)
        } else {
            None
        }
    }

    fn reply_when_durable(&mut self, to: ReplicaId, message: Message) {
        if self.mutated(Mutant::ReplyBeforeDurable) {
            return self.outputs.send(to, message);
        }
        // Records become durable in order, so the last one stands for all.
        self.outputs.send_after(self.outputs.last_persist(), to, message);
    }

    pub(crate) fn nack(&mut self, to: ReplicaId, refused: Ballot, promised: Ballot) {
        // A refusal justifies nothing by itself, but the promise it speaks of may not be durable
        // yet, and nobody should hear of a promise that a crash can undo.
        let message = Message::Nack(Nack { refused, promised });
        self.outputs.send_after(self.outputs.last_persist(), to, message);
    }
}
