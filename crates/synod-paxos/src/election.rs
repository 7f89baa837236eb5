//! Election: who should ask to lead, and when. Liveness only: nothing here can harm safety.
//!
//! Members exchange heartbeats that tell whom they hear and which leader they hear. A member
//! stands only if a phase-1 quorum hears it and is heard by it, and none of that quorum hears a
//! living leader; a leader steps down when it is no longer connected so with a phase-2 quorum. So
//! an isolated member does not push ballots up, a member that merely lost its link to the leader
//! does not depose it, and whoever is connected to a quorum can lead, whatever links are cut, also
//! in one direction (the three cases of *Omni-Paxos*, Ng et al. 2023, §2). Duels end by random
//! back-off.

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::time::Duration;

use crate::event::{Event, Ignored, StepDown};
use crate::ids::{Ballot, ReplicaId};
use crate::message::{Heartbeat, Message, TakeOver};
use crate::proposer::{HandOver, Proposer};
use crate::quorum::ReplicaSet;
use crate::replica::Replica;
use crate::slot::Slot;
use crate::time::{LogTime, Time};

/// What this member hears.
#[derive(Clone, Debug, Eq, PartialEq, Hash)]
pub(crate) struct Election {
    pub(crate) peers: BTreeMap<ReplicaId, Heard>,
    following: Option<Following>,
    /// The highest ballot heard of.
    pub(crate) highest: Ballot,
    /// When to send heartbeats next.
    pub(crate) heartbeat_at: Time,
    /// Not to stand before.
    pub(crate) stand_at: Time,
    /// The latest time of the log that the last leader heard told, and its ballot.
    told: (Ballot, LogTime),
    /// Candidacies that failed since there was a leader.
    failures: u32,
    chance: Chance,
}

/// What a peer told last.
#[derive(Clone, Debug, Default, Eq, PartialEq, Hash)]
pub(crate) struct Heard {
    /// When; `None` after too much silence, or if its process is gone.
    at: Option<Time>,
    /// The leader it is, or hears.
    leader: Option<Ballot>,
    /// It hears this member.
    hears_me: bool,
    pub(crate) chosen: Slot,
    pub(crate) stable: Slot,
    /// When it asked last for what it lacks.
    pub(crate) lags: Option<Time>,
}

impl Heard {
    pub(crate) const fn is_heard(&self) -> bool {
        self.at.is_some()
    }
}

/// The leader that is followed.
#[derive(Clone, Debug, Eq, PartialEq, Hash)]
struct Following {
    ballot: Ballot,
    heard: Time,
}

/// A small generator of numbers (SplitMix64), so that back-off is random and still a function of
/// the seed.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Chance(u64);

/// Not hashed: to a model checker, which tells states apart by their hashes, members that differ
/// in nothing but the next random number are the same.
impl Hash for Chance {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

impl Chance {
    fn below(&mut self, span: Duration) -> Duration {
        let micros = u64::try_from(span.as_micros()).unwrap_or(u64::MAX).max(1);
        Duration::from_micros(self.next() % micros)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// A candidate may lag this many slots behind the members it counts on; one that lags more catches
/// up first, since nothing can be chosen visibly while its log has a gap.
const CANDIDATE_LAG_MAX: u64 = 256;

impl Election {
    pub(crate) fn new(peers: &ReplicaSet, seed: u64, now: Time, heartbeat: Duration) -> Self {
        let mut chance = Chance(seed);
        // Long enough to hear from a leader, if there is one.
        let stand_at = now.plus(heartbeat + chance.below(heartbeat * 2));
        Self {
            peers: peers.iter().map(|id| (id, Heard::default())).collect(),
            following: None,
            highest: Ballot::ZERO,
            heartbeat_at: now,
            stand_at,
            told: (Ballot::ZERO, LogTime::default()),
            failures: 0,
            chance,
        }
    }

    pub(crate) fn elected(&mut self) {
        self.failures = 0;
        self.following = None;
    }

    /// What the leader of this ballot told of the log's time, if it was the last one heard.
    pub(crate) fn told_by(&self, ballot: Ballot) -> Option<LogTime> {
        (self.told.0 == ballot).then_some(self.told.1)
    }

    pub(crate) fn hear(&mut self, now: Time, from: ReplicaId) {
        if let Some(peer) = self.peers.get_mut(&from) {
            peer.at = Some(now);
        }
    }

    /// The peers heard of late.
    pub(crate) fn hears(&self) -> ReplicaSet {
        self.peers.iter().filter(|(_, peer)| peer.is_heard()).map(|(id, _)| *id).collect()
    }

    fn forget_silent(&mut self, now: Time, timeout: Duration) {
        for peer in self.peers.values_mut() {
            if peer.at.is_some_and(|at| now.since(at) >= timeout) {
                peer.at = None;
                peer.hears_me = false;
            }
        }
    }
}

impl Replica {
    /// The ballot of the leader this member is or hears.
    #[must_use]
    pub fn leader(&self) -> Option<Ballot> {
        match &self.proposer {
            Proposer::Leader(leader) => Some(leader.ballot),
            _ => self.election.following.as_ref().map(|following| following.ballot),
        }
    }

    /// The log's time by this member's own clock, if it leads.
    #[must_use]
    pub fn leaders_time(&self) -> Option<LogTime> {
        match &self.proposer {
            Proposer::Leader(leader) => Some(leader.time(self.now)),
            Proposer::Idle | Proposer::Candidate(_) => None,
        }
    }

    /// Asks to lead at once, whatever leader lives; nothing if this member leads. For tests, and
    /// for operators who know better than the election. Members that hear a leader ignore it all
    /// the same.
    pub fn campaign(&mut self, now: Time) {
        self.advance_clock(now);
        if self.halted || !self.formation.is_formed() || self.is_leader() {
            return;
        }
        if self.election.following.take().is_some() {
            self.outputs.event(Event::LeaderChanged { leader: None });
        }
        self.stand(None);
    }

    pub(crate) fn on_heartbeat(&mut self, from: ReplicaId, heartbeat: &Heartbeat) {
        let Heartbeat { promised, leader, ref hears, chosen, stable, time } = *heartbeat;
        if promised.round > Ballot::ROUND_MAX {
            return self.ignore(from, "heartbeat", Ignored::OutOfBounds);
        }
        self.election.highest = self.election.highest.max(promised);
        let hears_me = hears.contains(&self.identity.me);
        if hears_me {
            self.note_known_by(from);
        }
        if let Some(peer) = self.election.peers.get_mut(&from) {
            peer.leader = leader;
            peer.hears_me = hears_me;
            peer.chosen = peer.chosen.max(chosen);
            peer.stable = peer.stable.max(stable);
        }
        match leader {
            Some(ballot) if ballot.replica == from => {
                self.follow(ballot);
                if self.followed() == Some(ballot) {
                    self.election.told = self.election.told.max((ballot, time));
                }
            }
            _ => {
                if self.followed().is_some_and(|ballot| ballot.replica == from) {
                    self.lose_leader(self.options.heartbeat_interval / 2);
                }
            }
        }
        if self.is_leader() && self.ballot_in_use().is_some_and(|ours| ours < promised) {
            // It would refuse what we propose.
            self.step_down(StepDown::HigherBallot);
        }
    }

    /// The leader of this ballot spoke.
    pub(crate) fn follow(&mut self, ballot: Ballot) {
        if ballot < self.acceptor.promised.ballot()
            || ballot < self.learner.prefix.barrier
            || self.ballot_in_use().is_some_and(|ours| ours >= ballot)
            || self.followed().is_some_and(|followed| followed > ballot)
        {
            return;
        }
        self.step_down(StepDown::HigherBallot);
        self.election.highest = self.election.highest.max(ballot);
        self.election.failures = 0;
        let before = self.followed();
        self.election.following = Some(Following { ballot, heard: self.now });
        if before != Some(ballot) {
            self.outputs.event(Event::LeaderChanged { leader: Some(ballot) });
        }
    }

    /// A barrier was chosen: leaders of lower ballots are over, whether they know it or not.
    pub(crate) fn leave_leaders_below(&mut self, barrier: Ballot) {
        if self.followed().is_some_and(|ballot| ballot < barrier) {
            self.lose_leader(self.options.heartbeat_interval * 2);
        }
        if self.ballot_in_use().is_some_and(|ours| ours < barrier) {
            self.step_down(StepDown::HigherBallot);
        }
    }

    /// One of the peers heard whose chosen prefix reaches beyond `end`, by chance: if one of them
    /// cannot help, another can.
    pub(crate) fn somebody_ahead_of(&mut self, end: Slot) -> Option<ReplicaId> {
        let ahead = self.election.peers.iter().filter(|(_, p)| p.chosen > end && p.is_heard());
        let ahead: Vec<_> = ahead.map(|(id, _)| *id).collect();
        let chance = self.election.chance.next();
        let count = u64::try_from(ahead.len()).ok().filter(|count| *count > 0)?;
        ahead.get(usize::try_from(chance % count).unwrap_or(0)).copied()
    }

    fn followed(&self) -> Option<Ballot> {
        self.election.following.as_ref().map(|following| following.ballot)
    }

    /// Whether a leader other than `candidate` is heard, who did not ask for its own end.
    pub(crate) fn has_living_leader_besides(
        &self,
        candidate: ReplicaId,
        succeeds: Option<Ballot>,
    ) -> bool {
        self.leader().is_some_and(|ballot| ballot.replica != candidate && Some(ballot) != succeeds)
    }

    fn lose_leader(&mut self, spread: Duration) {
        self.election.following = None;
        self.outputs.event(Event::LeaderChanged { leader: None });
        // The others wait for our word before they stand.
        self.election.heartbeat_at = self.now;
        self.stand_within(spread);
    }

    fn stand_within(&mut self, spread: Duration) {
        self.election.stand_at = self.now.plus(self.election.chance.below(spread));
    }

    /// A candidacy failed: the more often, the longer the wait may be.
    pub(crate) fn back_off(&mut self) {
        let doublings = self.election.failures.min(3);
        self.election.failures += 1;
        self.stand_within(self.options.heartbeat_interval * (2 << doublings));
    }

    /// Somebody else asked to lead: let it.
    pub(crate) fn give_time_to_candidate(&mut self) {
        let patience = self.options.election_timeout / 2;
        let jitter = self.election.chance.below(self.options.heartbeat_interval);
        self.election.stand_at = self.election.stand_at.max(self.now.plus(patience + jitter));
    }

    /// A leader that hands over lets the other one be first, and does not hurry to say that nobody
    /// leads; one that found a higher ballot does not wait long, as nobody may lead now.
    pub(crate) fn after_leading(&mut self, reason: StepDown) {
        match reason {
            StepDown::HandedOver => {
                self.election.stand_at = self.now.plus(self.options.election_timeout);
            }
            StepDown::HigherBallot | StepDown::NoQuorum => {
                self.election.heartbeat_at = self.now;
                self.stand_within(self.options.heartbeat_interval);
            }
        }
    }

    /// The parts of a tick that are about who is there.
    pub(crate) fn tick_election(&mut self) {
        let timeout = self.options.election_timeout;
        self.election.forget_silent(self.now, timeout);
        let silent = self
            .election
            .following
            .as_ref()
            .is_some_and(|following| self.now.since(following.heard) >= timeout);
        if silent {
            self.lose_leader(self.options.heartbeat_interval * 2);
        }
        if self.is_leader() && !self.is_connected_with_phase2_quorum() {
            self.step_down(StepDown::NoQuorum);
        }
        if let Proposer::Candidate(candidate) = &self.proposer
            && self.now.since(candidate.started) >= timeout / 2
        {
            self.step_down(StepDown::NoQuorum);
        }
        if self.now >= self.election.heartbeat_at {
            self.send_heartbeats();
            self.ask_for_promises();
        }
    }

    pub(crate) fn send_heartbeats(&mut self) {
        self.election.heartbeat_at = self.now.plus(self.options.heartbeat_interval);
        let hears = self.election.hears();
        let heartbeat = Heartbeat {
            promised: self.acceptor.promised.ballot(),
            leader: self.leader(),
            hears: hears.iter().filter_map(|id| self.formation.as_met(id)).collect(),
            chosen: self.learner.prefix.end,
            stable: self.learner.stable,
            time: self.leaders_time().unwrap_or_default(),
        };
        // Whom it has met must be durable, which is so once and for all at the start. It may tell
        // of a promise that is not durable yet, but nothing is decided by that: a peer that hears
        // of it only chooses a higher ballot when it stands. So the disk never delays it later.
        let after = Some(self.formation.recorded());
        self.outputs.send_all(self.peers.clone(), Message::Heartbeat(heartbeat), after);
    }

    /// Stands if it is time and there is a point in it.
    pub(crate) fn stand_if_due(&mut self) {
        let idle = matches!(self.proposer, Proposer::Idle);
        if idle
            && self.formation.is_formed()
            && self.followed().is_none()
            && self.now >= self.election.stand_at
            && self.has_supporters()
        {
            self.stand(None);
        }
    }

    /// Whether a phase-1 quorum is connected with this member, hears no leader, and is not far
    /// ahead of it.
    fn has_supporters(&self) -> bool {
        let reach = self.learner.prefix.end.plus(CANDIDATE_LAG_MAX);
        let (mut supporters, mut ahead) = (ReplicaSet::from(self.me()), false);
        for (&id, peer) in &self.election.peers {
            if peer.is_heard() && peer.hears_me && peer.leader.is_none() {
                supporters.insert(id);
                ahead |= peer.chosen > reach;
            }
        }
        !ahead && self.quorums.is_phase1_quorum(&supporters)
    }

    fn is_connected_with_phase2_quorum(&self) -> bool {
        let connected = self.election.peers.iter().filter(|(_, p)| p.is_heard() && p.hears_me);
        let connected = connected.map(|(id, _)| *id).chain([self.me()]).collect();
        self.quorums.is_phase2_quorum(&connected)
    }

    /// A peer's process is gone. If it led, or is to lead, there is no silence to wait for.
    pub(crate) fn on_unreachable(&mut self, peer: ReplicaId) {
        if let Some(heard) = self.election.peers.get_mut(&peer) {
            heard.at = None;
            heard.hears_me = false;
            heard.leader = None;
        }
        if self.followed().is_some_and(|ballot| ballot.replica == peer) {
            self.lose_leader(self.options.heartbeat_interval / 2);
        }
        if let Proposer::Leader(leader) = &mut self.proposer
            && leader.handing_over.is_some_and(|over| over.to == peer)
        {
            leader.handing_over = None;
        }
    }

    /// The leader asks this member to lead in its stead.
    pub(crate) fn on_take_over(&mut self, from: ReplicaId, take_over: &TakeOver) {
        let TakeOver { ballot } = *take_over;
        let ours = ballot.replica == from && self.followed() == Some(ballot);
        if !ours || !self.formation.is_formed() {
            return self.ignore(from, "take-over", Ignored::AnotherBallot);
        }
        self.election.following = None;
        self.outputs.event(Event::LeaderChanged { leader: None });
        self.stand(Some(ballot));
    }

    /// Begins to hand over to `to`, or to the connected member that knows most.
    pub(crate) fn begin_hand_over(&mut self, to: Option<ReplicaId>) -> bool {
        let connected = self.election.peers.iter().filter(|(_, p)| p.is_heard() && p.hears_me);
        let target = connected
            .filter(|(id, _)| to.is_none_or(|to| to == **id))
            .max_by_key(|(_, peer)| peer.chosen)
            .map(|(id, _)| *id);
        match (&mut self.proposer, target) {
            (Proposer::Leader(leader), Some(target)) => {
                let begun = HandOver { to: target, since: self.now, asked: None };
                leader.handing_over.get_or_insert(begun);
                true
            }
            _ => false,
        }
    }

    /// Asks the successor to lead once everything proposed is chosen; gives up if that takes too
    /// long.
    ///
    /// It goes on to lead until the successor's ballot appears. If it stepped down at once, the
    /// others would hear that nobody leads, and one of them could stand, and win, before a
    /// successor on a busy machine has woken up. They let the successor pass, as it names the
    /// ballot that it succeeds. It is asked again while it does not: a message may be lost, or come
    /// before it knew whom it follows.
    pub(crate) fn go_on_handing_over(&mut self) {
        let Proposer::Leader(leader) = &mut self.proposer else { return };
        let Some(HandOver { to, since, asked }) = leader.handing_over else { return };
        let again = self.options.heartbeat_interval;
        if self.now.since(since) >= self.options.election_timeout {
            leader.handing_over = None;
        } else if leader.in_flight.is_empty()
            && asked.is_none_or(|asked| self.now.since(asked) >= again)
        {
            leader.handing_over = Some(HandOver { to, since, asked: Some(self.now) });
            let ballot = leader.ballot;
            self.announce_to_all();
            self.outputs.send(to, Message::TakeOver(TakeOver { ballot }));
        }
    }

    /// The lowest of what all members have put away for good.
    #[must_use]
    pub fn stable_everywhere(&self) -> Slot {
        let peers = self.election.peers.values().map(|peer| peer.stable);
        peers.fold(self.learner.stable, Slot::min)
    }
}
