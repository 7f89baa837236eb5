//! Who may vote: members that have met, under the disks they had when they met.
//!
//! A member that comes back with an empty disk looks like one that was never started. If it could
//! vote, it could promise or accept against what it promised before (the recovery schemes that let
//! it listen for a while first are unsafe, *Paxos Made Live* §5.1 among them). So each member
//! records under which [`Incarnation`] it met each other one, and **nobody votes before it has met
//! all**. Then every member remembers every voter, and whichever of them are up when a wiped one
//! returns, each of them knows that it is a stranger.

use std::collections::BTreeMap;

use crate::event::{Event, HaltReason, Ignored};
use crate::ids::{Incarnation, Peer, ReplicaId};
use crate::message::{Message, Stranger};
use crate::mutants::Mutant;
use crate::output::{Output, Record};
use crate::quorum::ReplicaSet;
use crate::replica::Replica;

/// Whom this member has met.
#[derive(Debug)]
pub(crate) struct Formation {
    met: BTreeMap<ReplicaId, Incarnation>,
    unmet: ReplicaSet,
}

impl Formation {
    pub(crate) fn new(met: BTreeMap<ReplicaId, Incarnation>, members: &ReplicaSet) -> Self {
        let unmet = members.iter().filter(|id| !met.contains_key(id)).collect();
        Self { met, unmet }
    }

    /// All members, this one included, were met.
    pub(crate) fn is_formed(&self) -> bool {
        self.unmet.is_empty()
    }

    pub(crate) const fn unmet(&self) -> &ReplicaSet {
        &self.unmet
    }

    /// All acquaintances, to be recorded again when the log is trimmed.
    pub(crate) fn met(&self) -> impl Iterator<Item = Peer> + '_ {
        self.met.iter().map(|(&id, &incarnation)| Peer { id, incarnation })
    }
}

impl Replica {
    /// Notes a member at first sight. False if it is not who it was.
    pub(crate) fn meet(&mut self, peer: Peer) -> bool {
        match self.formation.met.get(&peer.id) {
            Some(known) => *known == peer.incarnation || self.mutated(Mutant::WipedVotes),
            None => {
                self.formation.met.insert(peer.id, peer.incarnation);
                self.formation.unmet.remove(peer.id);
                self.outputs.persist(Record::Met(peer));
                self.outputs.event(Event::Met { peer: peer.id });
                if self.formation.is_formed() {
                    self.outputs.event(Event::Formed);
                }
                true
            }
        }
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
