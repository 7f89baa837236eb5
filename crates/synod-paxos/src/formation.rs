//! Who may vote: members that know each other, by the disks they had when they met.
//!
//! A member that comes back with an empty disk looks like one that was never started. If it could
//! vote, it could promise or accept against what it promised before (the recovery schemes that let
//! it listen for a while first are unsafe, *Paxos Made Live* §5.1 among them). So each member
//! records under which [`Incarnation`] it met each other one, says so in its heartbeats once that
//! is durable, and **nobody votes before all others know it**.
//!
//! Safety: if a member ever voted, every other member has a durable record of the disk that it
//! voted with. When it returns on another disk, nobody will own to knowing it, so it cannot vote,
//! whichever of the others are up; and the first that hears of it tells it why.

use std::collections::BTreeMap;

use crate::event::{Event, HaltReason, Ignored};
use crate::ids::{Incarnation, Peer, ReplicaId};
use crate::message::{Message, Stranger};
use crate::mutants::Mutant;
use crate::output::{Output, PersistId, Record};
use crate::quorum::ReplicaSet;
use crate::replica::Replica;

/// Whom this member has met, and who has met it.
///
/// Invariant: `met` holds this member itself if and only if all others have met it, and it them.
#[derive(Clone, Debug, Eq, PartialEq, Hash)]
pub(crate) struct Formation {
    me: Peer,
    met: BTreeMap<ReplicaId, Incarnation>,
    /// The last record about it.
    recorded: PersistId,
    /// Peers that have not met this member, as far as it knows, or that it has not met.
    missing: ReplicaSet,
}

impl Formation {
    pub(crate) fn new(me: Peer, met: BTreeMap<ReplicaId, Incarnation>, peers: &ReplicaSet) -> Self {
        let formed = met.contains_key(&me.id);
        let missing = if formed { ReplicaSet::new() } else { peers.clone() };
        Self { me, met, recorded: PersistId::default(), missing }
    }

    /// All members know each other, as far as this one is concerned: it may vote.
    pub(crate) fn is_formed(&self) -> bool {
        self.met.contains_key(&self.me.id)
    }

    /// Who is missing for that.
    pub(crate) const fn missing(&self) -> &ReplicaSet {
        &self.missing
    }

    /// What a heartbeat says must wait for this record.
    pub(crate) const fn recorded(&self) -> PersistId {
        self.recorded
    }

    /// The peer as it was met.
    pub(crate) fn as_met(&self, id: ReplicaId) -> Option<Peer> {
        self.met.get(&id).map(|&incarnation| Peer { id, incarnation })
    }

    /// All acquaintances, to be recorded again when the log is trimmed.
    pub(crate) fn met(&self) -> impl Iterator<Item = Peer> + '_ {
        self.met.iter().map(|(&id, &incarnation)| Peer { id, incarnation })
    }
}

impl Replica {
    /// Notes a peer at first sight. False if it is not who it was.
    pub(crate) fn meet(&mut self, peer: Peer) -> bool {
        match self.formation.met.get(&peer.id) {
            Some(known) if *known == peer.incarnation => true,
            Some(_) if !self.mutated(Mutant::WipedVotes) => false,
            _ => {
                self.record_met(peer);
                self.outputs.event(Event::Met { peer: peer.id });
                true
            }
        }
    }

    /// A peer that this member has met says that it has met this member, durably.
    pub(crate) fn note_known_by(&mut self, peer: ReplicaId) {
        if self.formation.missing.remove(peer) {
            self.form_if_complete();
        }
    }

    /// This member records itself last, as the sign that it may vote.
    pub(crate) fn form_if_complete(&mut self) {
        if self.formation.missing.is_empty() && !self.formation.is_formed() {
            self.record_met(self.identity.me);
            self.outputs.event(Event::Formed);
        }
    }

    fn record_met(&mut self, peer: Peer) {
        self.formation.met.insert(peer.id, peer.incarnation);
        self.formation.recorded = self.outputs.persist(Record::Met(peer));
    }

    /// A message from somebody we knew under another disk. Heartbeats are answered, so that it
    /// learns what it is; anything else is only ignored.
    pub(crate) fn reject_stranger(&mut self, from: Peer, message: &Message) {
        if let (Message::Heartbeat(_), Some(&known)) = (message, self.formation.met.get(&from.id)) {
            self.outputs.send(from.id, Message::Stranger(Stranger { known }));
        }
        self.ignore(from.id, message.name(), Ignored::Stranger);
    }

    /// Somebody knew this member under another disk: it has lost its promises and must stop.
    pub(crate) fn on_stranger(&mut self, from: ReplicaId, stranger: &Stranger) {
        let ours = self.identity.me.incarnation;
        if stranger.known == ours || self.mutated(Mutant::WipedVotes) {
            return self.ignore(from, "stranger", Ignored::Malformed);
        }
        self.halted = true;
        let reason = HaltReason::Wiped { peer: from, known: stranger.known, ours };
        self.outputs.push(Output::Halt(reason));
    }
}
