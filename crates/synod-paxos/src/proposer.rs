//! The proposer: a candidate that asks for promises, then a leader that proposes.
//!
//! One `Prepare` covers all slots from the candidate's chosen watermark on. Promises come in pages;
//! each tells how far its sender knows the log to be chosen, and what it has accepted above. With a
//! quorum of them the leader knows, for each slot above the furthest of those prefixes, the one
//! value that may have been chosen: it proposes that, no-ops for holes, and then its barrier.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::announce::Announced;
use crate::event::{Event, Ignored, StepDown};
use crate::ids::{Ballot, ReplicaId};
use crate::message::{Accept, Accepted, CatchUp, Message, Nack, Prepare, Promise};
use crate::mutants::Mutant;
use crate::output::{PersistId, Record};
use crate::parts::{SafeValue, Tally};
use crate::prefix::Prefix;
use crate::quorum::Quorums;
use crate::reads::Confirmations;
use crate::replica::Replica;
use crate::slot::Slot;
use crate::time::{LogTime, Time};
use crate::value::{Batch, Command, Value};

/// What this member does as a proposer.
#[derive(Clone, Debug, Eq, PartialEq, Hash)]
pub(crate) enum Proposer {
    /// It follows, or waits.
    Idle,
    /// It asks to lead.
    Candidate(Box<Candidate>),
    /// It leads.
    Leader(Box<Leader>),
}

/// Phase 1 under way.
#[derive(Clone, Debug, Eq, PartialEq, Hash)]
pub(crate) struct Candidate {
    pub(crate) ballot: Ballot,
    /// The leader that asked for it, if one did.
    succeeds: Option<Ballot>,
    /// Members whose last page has come.
    promises: Tally,
    /// The page expected next from each peer that is not done.
    pages: BTreeMap<ReplicaId, Slot>,
    /// What was accepted in open slots.
    found: BTreeMap<Slot, SafeValue<Value>>,
    /// The furthest prefix that anybody told, and who.
    prefix: Prefix,
    source: ReplicaId,
    /// The record of the own promise; prepares are sent again only behind it.
    durable_after: PersistId,
    pub(crate) started: Time,
}

/// Phase 2 for as long as it lasts.
///
/// Invariants:
///
/// * `first <= barrier < next`; every slot in `first..next` was proposed in `ballot`.
/// * `in_flight` holds the proposed slots from the chosen watermark on.
#[derive(Clone, Debug, Eq, PartialEq, Hash)]
pub(crate) struct Leader {
    pub(crate) ballot: Ballot,
    /// Everything below was chosen before this leader began.
    pub(crate) first: Slot,
    /// The slot of its barrier.
    pub(crate) barrier: Slot,
    /// The slot to propose next.
    pub(crate) next: Slot,
    pub(crate) in_flight: BTreeMap<Slot, InFlight>,
    /// Commands that wait for a slot.
    pub(crate) queue: VecDeque<Command>,
    pub(crate) queue_bytes: usize,
    /// Per life of a member: how many of its commands were taken in this ballot.
    pub(crate) taken: BTreeMap<(ReplicaId, u64), u64>,
    pub(crate) confirmations: Confirmations,
    /// The log's time when it began, and its own time then.
    time_base: LogTime,
    started: Time,
    pub(crate) announced: Announced,
    /// To whom it hands over, if it does.
    pub(crate) handing_over: Option<HandOver>,
}

/// A leader's way out: it proposes nothing more, and leads until its successor has begun.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Hash)]
pub(crate) struct HandOver {
    pub(crate) to: ReplicaId,
    pub(crate) since: Time,
    /// When it asked the successor last.
    pub(crate) asked: Option<Time>,
}

/// A slot that was proposed and whose predecessors are not all chosen yet.
#[derive(Clone, Debug, Eq, PartialEq, Hash)]
pub(crate) struct InFlight {
    pub(crate) tally: Tally,
    pub(crate) chosen: bool,
    sent: Time,
}

/// The most members' lives that a leader tells apart in one ballot.
const LIVES_MAX: usize = 1024;

/// At most so many slots are proposed again at a time.
const RESENT_MAX: usize = 64;

impl Leader {
    pub(crate) fn has_room_for(&self, bytes: usize, queue_max: usize, bytes_max: usize) -> bool {
        self.queue.len() < queue_max && self.queue_bytes.saturating_add(bytes) <= bytes_max
    }

    /// It began long ago and still lacks what was chosen before, up to `end`.
    pub(crate) fn lacks_prefix(&self, end: Slot, now: Time, patience: Duration) -> bool {
        end < self.first && now.since(self.started) >= patience
    }

    /// Whether a slot lacks nothing but this member's own acceptance.
    pub(crate) fn awaits_disk(&self, me: ReplicaId, quorums: &Quorums) -> bool {
        self.in_flight.values().any(|slot| {
            let mut tally = slot.tally.clone();
            !slot.chosen && tally.add(me) && tally.is_phase2(quorums)
        })
    }

    /// The log's time by this leader's clock.
    pub(crate) fn time(&self, now: Time) -> LogTime {
        self.time_base.plus(now.since(self.started))
    }

    pub(crate) fn enqueue(&mut self, command: Command) {
        self.queue_bytes += command.payload.len();
        self.queue.push_back(command);
    }
}

// Phase 1.

impl Replica {
    /// Phase 1a: asks to lead, in a ballot above all that were heard of.
    pub(crate) fn stand(&mut self, succeeds: Option<Ballot>) {
        let ballot = self.acceptor.promised.ballot().max(self.election.highest).next_of(self.me());
        let prefix = self.learner.prefix;
        let durable_after = if self.mutated(Mutant::ReuseBallot) {
            self.outputs.durable()
        } else {
            self.outputs.persist(Record::Promised(ballot))
        };
        self.acceptor.promised.admit(ballot);
        let mut found = BTreeMap::new();
        for (&slot, held) in self.acceptor.held.range(prefix.end..) {
            let mut safe = SafeValue::default();
            safe.see(held.clone());
            found.insert(slot, safe);
        }
        #[cfg(not(feature = "mutants"))]
        let promises = Tally::default();
        #[cfg(feature = "mutants")]
        let promises = self.promises_of_mutant();
        self.proposer = Proposer::Candidate(Box::new(Candidate {
            ballot,
            succeeds,
            promises,
            pages: self.peers.iter().map(|id| (id, prefix.end)).collect(),
            found,
            prefix,
            source: self.me(),
            durable_after,
            started: self.now,
        }));
        self.outputs.event(Event::Candidacy { ballot });
        self.self_votes.push_back((durable_after, ballot, None));
        self.ask_for_promises();
        if durable_after <= self.outputs.durable() {
            self.count_self_votes();
        }
    }

    #[cfg(feature = "mutants")]
    fn promises_of_mutant(&self) -> Tally {
        let kept = self.mutated(Mutant::KeepPromises);
        if kept { self.kept_promises.clone() } else { Tally::default() }
    }

    /// Asks each peer for its next page.
    pub(crate) fn ask_for_promises(&mut self) {
        let Proposer::Candidate(candidate) = &self.proposer else { return };
        let (ballot, succeeds) = (candidate.ballot, candidate.succeeds);
        for (&peer, &from) in &candidate.pages {
            let prepare = Message::Prepare(Prepare { ballot, from, succeeds });
            self.outputs.send_after(candidate.durable_after, peer, prepare);
        }
    }

    pub(crate) fn on_promise(&mut self, from: ReplicaId, promise: Promise) {
        let Proposer::Candidate(candidate) = &mut self.proposer else {
            return self.ignore(from, "promise", Ignored::AnotherBallot);
        };
        let Promise { ballot, from: first, entries, prefix, next } = promise;
        if ballot != candidate.ballot {
            return self.ignore(from, "promise", Ignored::AnotherBallot);
        }
        if candidate.pages.get(&from) != Some(&first) {
            return self.ignore(from, "promise", Ignored::Repeated);
        }
        let end = next.unwrap_or(Slot::new(u64::MAX));
        let in_order = entries.is_sorted_by(|a, b| a.0 < b.0);
        let in_page = entries.iter().all(|(slot, _)| (first..end).contains(slot));
        let in_window = entries.last().is_none_or(|(last, _)| {
            *last < prefix.end.max(first).plus(self.options.window_slots_max.saturating_mul(2))
        });
        if !(in_order && in_page && in_window && next.is_none_or(|next| next > first)) {
            return self.ignore(from, "promise", Ignored::Malformed);
        }
        for (slot, accepted) in entries {
            let safe = candidate.found.entry(slot).or_default();
            // The mutant's promises all claim the same ballot: which value wins is chance.
            safe.see(accepted);
        }
        if prefix.end > candidate.prefix.end {
            candidate.source = from;
        }
        candidate.prefix = candidate.prefix.max(prefix);
        if let Some(next) = next {
            candidate.pages.insert(from, next);
            let succeeds = candidate.succeeds;
            let prepare = Message::Prepare(Prepare { ballot, from: next, succeeds });
            return self.outputs.send(from, prepare);
        }
        candidate.pages.remove(&from);
        candidate.promises.add(from);
        self.lead_with_quorum();
    }

    /// Begins to lead once a phase-1 quorum, itself included, has promised.
    pub(crate) fn lead_with_quorum(&mut self) {
        let alone = self.mutated(Mutant::NoPhase1);
        let Proposer::Candidate(candidate) = &mut self.proposer else { return };
        #[cfg(feature = "mutants")]
        {
            self.kept_promises = candidate.promises.clone();
        }
        if !alone && !candidate.promises.is_phase1(&self.quorums) {
            return;
        }
        if !candidate.promises.contains(self.identity.me.id) {
            return;
        }
        if let Proposer::Candidate(candidate) =
            std::mem::replace(&mut self.proposer, Proposer::Idle)
        {
            self.lead(*candidate);
        }
    }

    fn lead(&mut self, candidate: Candidate) {
        let Candidate { ballot, found, prefix, source, .. } = candidate;
        let prefix = prefix.max(self.learner.prefix);
        let first = prefix.end;
        let proposals = self.safe_values(found, first);
        let barrier = first.plus(u64::try_from(proposals.len()).unwrap_or(u64::MAX));
        let time_base = self.time_to_begin_with(prefix, &proposals);
        self.proposer = Proposer::Leader(Box::new(Leader {
            ballot,
            first,
            barrier,
            next: first,
            in_flight: BTreeMap::new(),
            queue: VecDeque::new(),
            queue_bytes: 0,
            taken: BTreeMap::new(),
            confirmations: Confirmations::default(),
            time_base,
            started: self.now,
            announced: Announced::default(),
            handing_over: None,
        }));
        self.election.elected();
        self.outputs.event(Event::Elected { ballot, barrier });
        self.outputs.event(Event::LeaderChanged { leader: Some(ballot) });
        self.send_heartbeats();
        for value in proposals.into_iter().chain([Value::Barrier(ballot)]) {
            self.propose_value(value);
        }
        if self.learner.prefix.end < first {
            let from = self.learner.prefix.end;
            self.outputs.send(source, Message::CatchUp(CatchUp { from }));
        }
    }

    /// The log's time when this leader begins: the highest stamp that counts, or later if the last
    /// leader told so.
    ///
    /// Safety: within the log, time must not run ahead of what a clock would count, or a lease
    /// ends early. So stamps of void batches do not count: their leader's clock may be ahead of
    /// the one that its successor began anew, and by which leases were renewed since. Nor does
    /// what a leader told, unless its barrier is the last one: then it knew all that is below,
    /// and what is above is its own.
    fn time_to_begin_with(&self, prefix: Prefix, proposals: &[Value]) -> LogTime {
        let mut known = prefix;
        for value in proposals {
            let void = known.voids(value);
            known.extend(if void { &Value::Noop } else { value });
        }
        known.time.max(self.election.told_by(known.barrier).unwrap_or_default())
    }

    /// One value for each slot from the end of the furthest known prefix up to the last that may
    /// have been chosen. *Paxos Made Simple* §2.2 (P2c) for each slot, §3 for holes.
    fn safe_values(&self, found: BTreeMap<Slot, SafeValue<Value>>, first: Slot) -> Vec<Value> {
        let mut values = Vec::new();
        let mut slot = first;
        for (found_at, safe) in found {
            let Some(accepted) = safe.into_inner() else { continue };
            let alone = self.mutated(Mutant::FillHolesAlone);
            if found_at < first || (alone && !self.acceptor.held.contains_key(&found_at)) {
                continue;
            }
            while slot < found_at {
                values.push(Value::Noop);
                slot = slot.next();
            }
            values.push(accepted.value);
            slot = slot.next();
        }
        values
    }
}

// Phase 2.

impl Replica {
    /// Phase 2a: proposes a value for the next slot. The own acceptance counts when it is durable.
    fn propose_value(&mut self, value: Value) {
        let chosen = self.learner.prefix.end;
        let Proposer::Leader(leader) = &mut self.proposer else { return };
        let (ballot, slot) = (leader.ballot, leader.next);
        leader.next = slot.next();
        leader.announced.tell(chosen);
        leader
            .in_flight
            .insert(slot, InFlight { tally: Tally::default(), chosen: false, sent: self.now });
        let accept = Message::Accept(Accept { ballot, slot, value: value.clone(), chosen });
        self.outputs.send_all(self.peers.clone(), accept, None);
        let durable_after = self.accept(ballot, slot, value);
        self.self_votes.push_back((durable_after, ballot, Some(slot)));
    }

    /// Fills free slots with what waits. Whatever waits shares a batch: one client waits for
    /// nobody, and a thousand share a slot.
    pub(crate) fn propose_batches(&mut self) {
        loop {
            let (slots_max, window) =
                (self.options.slots_in_flight_max, self.options.window_slots_max);
            let end = self.learner.prefix.end;
            let Proposer::Leader(leader) = &mut self.proposer else { return };
            let open = leader.in_flight.values().filter(|slot| !slot.chosen).count();
            if leader.queue.is_empty()
                || leader.handing_over.is_some()
                || u64::try_from(open).unwrap_or(u64::MAX) >= slots_max
                || leader.next.distance_from(end) >= window
            {
                return;
            }
            let stamp = leader.time(self.now);
            let commands =
                take_batch(leader, self.options.batch_commands_max, self.options.batch_bytes_max);
            let batch = Batch { ballot: leader.ballot, stamp, commands: commands.into() };
            self.propose_value(Value::Batch(batch));
        }
    }

    pub(crate) fn on_accepted(&mut self, from: ReplicaId, accepted: &Accepted) {
        self.count_acceptance(from, accepted.ballot, accepted.slot);
    }

    fn count_acceptance(&mut self, from: ReplicaId, ballot: Ballot, slot: Slot) {
        let Proposer::Leader(leader) = &mut self.proposer else {
            return self.ignore(from, "accepted", Ignored::NotLeading);
        };
        if leader.ballot != ballot {
            return self.ignore(from, "accepted", Ignored::AnotherBallot);
        }
        // It may be chosen and gone: the slowest acceptors are not needed.
        let Some(in_flight) = leader.in_flight.get_mut(&slot) else { return };
        in_flight.tally.add(from);
        if in_flight.tally.is_phase2(&self.quorums) {
            in_flight.chosen = true;
            self.advance_as_leader();
        }
    }

    /// Moves the chosen watermark over all slots that are chosen without a gap.
    pub(crate) fn advance_as_leader(&mut self) {
        loop {
            let Proposer::Leader(leader) = &mut self.proposer else { return };
            let Some(first) = leader.in_flight.first_entry() else { return };
            if *first.key() != self.learner.prefix.end || !first.get().chosen {
                return;
            }
            let slot = *first.key();
            first.remove();
            let held = self.acceptor.held.get(&slot).expect("a slot in flight is held");
            leader.announced.chose(self.now, &held.value, &self.peers);
            self.choose_next();
        }
    }

    /// Proposes again what was not answered in time.
    pub(crate) fn resend_accepts(&mut self) {
        let (now, resend_after) = (self.now, self.options.resend_after());
        let chosen = self.learner.prefix.end;
        let Proposer::Leader(leader) = &mut self.proposer else { return };
        let ballot = leader.ballot;
        let unanswered = leader
            .in_flight
            .iter_mut()
            .filter(|(_, slot)| !slot.chosen && now.since(slot.sent) >= resend_after);
        for (&slot, in_flight) in unanswered.take(RESENT_MAX) {
            in_flight.sent = now;
            let silent = self.peers.iter().filter(|id| !in_flight.tally.contains(*id)).collect();
            let held = self.acceptor.held.get(&slot).expect("a slot in flight is held");
            let value = held.value.clone();
            let accept = Message::Accept(Accept { ballot, slot, value, chosen });
            self.outputs.send_all(silent, accept, None);
        }
    }

    pub(crate) fn on_nack(&mut self, from: ReplicaId, nack: &Nack) {
        if nack.promised.round > Ballot::ROUND_MAX || nack.promised <= nack.refused {
            return self.ignore(from, "nack", Ignored::Malformed);
        }
        self.election.highest = self.election.highest.max(nack.promised);
        if self.ballot_in_use() != Some(nack.refused) {
            return self.ignore(from, "nack", Ignored::AnotherBallot);
        }
        self.step_down(StepDown::HigherBallot);
    }

    /// Counts how many commands of a member's life were taken in this ballot; `None` if the leader
    /// cannot tell any more lives apart.
    pub(crate) fn taken_of(&mut self, replica: ReplicaId, life: u64) -> Option<&mut u64> {
        let Proposer::Leader(leader) = &mut self.proposer else { return None };
        let known = leader.taken.contains_key(&(replica, life));
        if !known && leader.taken.len() >= LIVES_MAX {
            return None;
        }
        Some(leader.taken.entry((replica, life)).or_insert(0))
    }
}

// Both phases.

impl Replica {
    /// The own promises and acceptances count like anybody's: when they are durable.
    pub(crate) fn count_self_votes(&mut self) {
        let durable = self.outputs.durable();
        while let Some(&(record, ballot, slot)) = self.self_votes.front() {
            if record > durable {
                return;
            }
            self.self_votes.pop_front();
            if self.ballot_in_use() != Some(ballot) {
                continue;
            }
            let me = self.me();
            match slot {
                Some(slot) => self.count_acceptance(me, ballot, slot),
                None => {
                    if let Proposer::Candidate(candidate) = &mut self.proposer {
                        candidate.promises.add(me);
                    }
                    self.lead_with_quorum();
                }
            }
        }
    }

    /// The ballot this member asks to lead in, or leads in.
    pub(crate) fn ballot_in_use(&self) -> Option<Ballot> {
        match &self.proposer {
            Proposer::Idle => None,
            Proposer::Candidate(candidate) => Some(candidate.ballot),
            Proposer::Leader(leader) => Some(leader.ballot),
        }
    }

    /// A higher ballot was promised to somebody else: ours is over.
    pub(crate) fn yield_to(&mut self, ballot: Ballot) {
        self.election.highest = self.election.highest.max(ballot);
        if self.ballot_in_use().is_some_and(|ours| ours < ballot) {
            self.step_down(StepDown::HigherBallot);
        }
        self.give_time_to_candidate();
    }

    /// Stops asking or leading. Commands it had queued were never proposed, and those it had
    /// proposed are settled by the next barrier, so nothing needs to be carried over.
    pub(crate) fn step_down(&mut self, reason: StepDown) {
        match std::mem::replace(&mut self.proposer, Proposer::Idle) {
            Proposer::Idle => {}
            Proposer::Candidate(_) => self.back_off(),
            Proposer::Leader(leader) => {
                let has_asked = leader.handing_over.is_some_and(|over| over.asked.is_some());
                let reason = if has_asked { StepDown::HandedOver } else { reason };
                self.reads.ask_again(leader.confirmations.into_own_reads());
                self.outputs.event(Event::SteppedDown { ballot: leader.ballot, reason });
                self.outputs.event(Event::LeaderChanged { leader: None });
                self.after_leading(reason);
            }
        }
    }
}

fn take_batch(leader: &mut Leader, commands_max: usize, bytes_max: usize) -> Vec<Command> {
    let (mut commands, mut bytes) = (Vec::with_capacity(leader.queue.len().min(commands_max)), 0);
    while let Some(command) = leader.queue.front() {
        bytes += command.payload.len();
        if commands.len() == commands_max || (bytes > bytes_max && !commands.is_empty()) {
            break;
        }
        leader.queue_bytes -= command.payload.len();
        commands.extend(leader.queue.pop_front());
    }
    commands
}
