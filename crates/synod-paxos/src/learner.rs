//! The learner: what is chosen, handing it out to be applied, and catching up.
//!
//! The chosen prefix grows in three ways: a leader counts a quorum for the next slot; a follower
//! hears the leader's watermark and holds what that leader proposed; a member that lags asks
//! another one for the values.

use crate::event::{Ignored, StepDown};
use crate::ids::{Ballot, ReplicaId};
use crate::message::{CatchUp, Chosen, Learned, Message};
use crate::mutants::Mutant;
use crate::output::{Output, PageWanted, Record};
use crate::prefix::Prefix;
use crate::proposer::Proposer;
use crate::replica::Replica;
use crate::slot::Slot;
use crate::value::{AcceptedValue, Value};

/// What this member knows to be chosen.
///
/// Invariants:
///
/// * Everything in `floor..prefix.end` is held in memory, and nothing below `floor`.
/// * `floor <= prefix.end`; what is below both `floor` and `trimmed` only the state has.
#[derive(Clone, Debug, Eq, PartialEq, Hash)]
pub(crate) struct Learner {
    /// What is chosen, and handed out to be applied.
    pub(crate) prefix: Prefix,
    /// The first slot whose value is in memory.
    pub(crate) floor: Slot,
    /// The bytes of `floor..prefix.end`.
    cached_bytes: usize,
    /// The state machine here survives a crash without the log below this slot.
    pub(crate) stable: Slot,
    /// The log was trimmed up to here, or never.
    pub(crate) trimmed: Slot,
    /// The prefix ended here at the last look for a lag.
    seen_end: Slot,
}

impl Learner {
    /// A learner whose state machine has applied this prefix.
    pub(crate) const fn new(applied: Prefix) -> Self {
        Self {
            prefix: applied,
            floor: applied.end,
            cached_bytes: 0,
            stable: Slot::FIRST,
            trimmed: Slot::FIRST,
            seen_end: Slot::FIRST,
        }
    }

    /// The state machine has taken over a state of this prefix, for good.
    pub(crate) fn install(&mut self, prefix: Prefix) {
        *self = Self { stable: prefix.end, trimmed: prefix.end, ..Self::new(prefix) };
    }
}

impl Replica {
    /// Hands out the value held for the next slot, which is chosen.
    pub(crate) fn choose_next(&mut self) {
        let slot = self.learner.prefix.end;
        let held = self.acceptor.held.get(&slot).expect("a chosen slot's value is held");
        self.learner.cached_bytes += held.value.bytes();
        let void = self.learner.prefix.voids(&held.value) && !self.mutated(Mutant::RaiseTheDead);
        let value = if void { Value::Noop } else { held.value.clone() };
        self.learner.prefix.extend(&value);
        self.settle_own_commands(&value);
        let barrier = match value {
            Value::Barrier(ballot) => Some(ballot),
            Value::Noop | Value::Batch(_) => None,
        };
        self.outputs.push(Output::Apply { slot, value });
        if let Some(ballot) = barrier {
            self.leave_leaders_below(ballot);
        }
        self.release_reads();
        self.evict();
    }

    /// The leader of the ballot says that every slot below `chosen` is chosen. What was accepted
    /// here in that very ballot is what it proposed, hence what was chosen. What was accepted in
    /// another ballot may be something else: that slot has to be learned.
    pub(crate) fn learn_chosen_in(&mut self, ballot: Ballot, chosen: Slot) {
        if let Some(peer) = self.election.peers.get_mut(&ballot.replica) {
            peer.chosen = peer.chosen.max(chosen);
        }
        while self.learner.prefix.end < chosen {
            match self.acceptor.held.get(&self.learner.prefix.end) {
                Some(held) if held.ballot == ballot || self.mutated(Mutant::ChosenInAnyBallot) => {
                    self.choose_next();
                }
                _ => break,
            }
        }
    }

    pub(crate) fn on_chosen(&mut self, from: ReplicaId, chosen: &Chosen) {
        if chosen.ballot.replica != from || chosen.ballot.round > Ballot::ROUND_MAX {
            return self.ignore(from, "chosen", Ignored::Malformed);
        }
        self.follow(chosen.ballot);
        self.learn_chosen_in(chosen.ballot, chosen.chosen);
    }

    /// Asks a member that is ahead, if no progress was made since the last call.
    pub(crate) fn catch_up_if_stuck(&mut self) {
        let end = self.learner.prefix.end;
        let stuck = self.learner.seen_end == end;
        self.learner.seen_end = end;
        if !stuck || self.is_fetching() {
            return;
        }
        self.ask_to_catch_up();
        // Whoever told this leader that slots were chosen may have crashed, and no longer know it.
        // Then nobody can tell their values, and only another phase 1 finds them.
        let (now, patience) = (self.now, self.options.election_timeout);
        if let Proposer::Leader(leader) = &self.proposer
            && leader.lacks_prefix(end, now, patience)
        {
            self.step_down(StepDown::NoQuorum);
        }
    }

    fn ask_to_catch_up(&mut self) {
        let from = self.learner.prefix.end;
        if let Some(source) = self.somebody_ahead_of(from) {
            self.outputs.send(source, Message::CatchUp(CatchUp { from }));
        }
    }

    pub(crate) fn on_catch_up(&mut self, from: ReplicaId, catch_up: &CatchUp) {
        self.note_lag(from);
        self.serve_catch_up(from, catch_up.from);
    }

    /// Sends a page of chosen values, from memory or from the log.
    pub(crate) fn serve_catch_up(&mut self, to: ReplicaId, from: Slot) {
        let chosen = self.learner.prefix.end;
        let bytes_max = self.options.page_bytes_max;
        if from >= chosen {
            return;
        }
        if from < self.learner.floor && from < self.learner.trimmed {
            return self.serve_page(to, PageWanted::First { beyond: from });
        }
        if from < self.learner.floor {
            return self.outputs.push(Output::ServeLog { to, from, chosen, bytes_max });
        }
        let (mut values, mut bytes) = (Vec::new(), 0);
        for held in self.acceptor.held.range(from..chosen).map(|(_, held)| held) {
            bytes += held.value.bytes();
            if bytes > bytes_max && !values.is_empty() {
                break;
            }
            values.push(held.value.clone());
        }
        self.outputs.send(to, Message::Learned(Learned { from, values, chosen }));
    }

    pub(crate) fn on_learned(&mut self, from: ReplicaId, learned: Learned) {
        let Learned { from: first, values, chosen } = learned;
        let before = self.learner.prefix.end;
        if first > before {
            return self.ignore(from, "learned", Ignored::OutOfBounds);
        }
        let mut slot = first;
        for value in values {
            if slot >= self.learner.prefix.end {
                self.learn(slot, value);
            }
            slot = slot.next();
        }
        self.advance_as_leader();
        if self.learner.prefix.end == before {
            return self.ignore(from, "learned", Ignored::Repeated);
        }
        if self.learner.prefix.end < chosen {
            let from_slot = self.learner.prefix.end;
            self.outputs.send(from, Message::CatchUp(CatchUp { from: from_slot }));
        }
    }

    /// Takes the value that was chosen for the next slot, whatever was accepted here.
    fn learn(&mut self, slot: Slot, value: Value) {
        assert_eq!(slot, self.learner.prefix.end, "values are learned in order");
        let agrees = self.acceptor.held.get(&slot).is_some_and(|held| held.value == value);
        if let Proposer::Leader(leader) = &self.proposer
            && slot >= leader.first
            && !(agrees && slot < leader.next)
        {
            // Safety: another value than ours was chosen, so a higher ballot chose it. Did we go
            // on, our watermark would tell followers that ours was chosen.
            self.step_down(StepDown::HigherBallot);
        }
        if !agrees {
            self.acceptor
                .held
                .insert(slot, AcceptedValue { ballot: Ballot::ZERO, value: value.clone() });
            self.outputs.persist(Record::Learned { slot, value });
        }
        if let Proposer::Leader(leader) = &mut self.proposer {
            leader.in_flight.remove(&slot);
        }
        self.choose_next();
    }

    /// Drops chosen values from memory that nobody lacks, or that exceed the cache. The log still
    /// has the latter.
    pub(crate) fn evict(&mut self) {
        let unneeded = self.stable_everywhere().min(self.learner.prefix.end);
        while self.learner.floor < self.learner.prefix.end
            && (self.learner.cached_bytes > self.options.cache_bytes_max
                || self.learner.floor < unneeded)
        {
            let held = self.acceptor.held.remove(&self.learner.floor);
            let held = held.expect("everything from the floor on is held");
            self.learner.cached_bytes -= held.value.bytes();
            self.learner.floor = self.learner.floor.next();
        }
    }

    /// Has the log trimmed when enough can go.
    pub(crate) fn trim_if_worthwhile(&mut self) {
        let below = self.trimmable();
        let enough = below >= self.learner.trimmed.plus(self.options.trim_slots_min);
        let too_long = below > self.learner.trimmed && self.is_log_too_long();
        if enough || too_long {
            self.trim(below);
        }
    }
}
