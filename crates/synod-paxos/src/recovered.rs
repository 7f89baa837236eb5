//! The durable half of a replica, folded from its log.

use std::collections::BTreeMap;

use crate::ids::{Ballot, Incarnation, ReplicaId};
use crate::output::Record;
use crate::slot::Slot;
use crate::value::AcceptedValue;

/// What a log says. An empty log gives the default: nothing promised, nobody met.
#[derive(Clone, Debug, Default, Eq, PartialEq, Hash)]
pub struct Recovered {
    /// The highest ballot promised or accepted in.
    pub promised: Ballot,
    /// The last value of each slot.
    pub accepted: BTreeMap<Slot, AcceptedValue>,
    /// Every slot below is chosen.
    pub chosen: Slot,
    /// Values of slots below this one need not be those that were chosen: a state was taken over.
    pub skipped: Slot,
    /// Who was met, under which incarnation; this member among them once all others have met it.
    pub met: BTreeMap<ReplicaId, Incarnation>,
}

impl Recovered {
    /// Folds in the next record, in the order in which the records were handed out.
    pub fn replay(&mut self, record: Record) {
        match record {
            Record::Met(peer) => {
                self.met.insert(peer.id, peer.incarnation);
            }
            Record::Promised(ballot) => self.promised = self.promised.max(ballot),
            Record::Accepted { ballot, slot, value } => {
                self.promised = self.promised.max(ballot);
                self.accepted.insert(slot, AcceptedValue { ballot, value });
            }
            Record::Learned { slot, value } => {
                if slot == self.chosen {
                    self.chosen = slot.next();
                }
                // The ballot it was chosen in is not known. Zero is right even if the prefix ends
                // below: whoever chose it reports it with its ballot, and this member's own
                // acceptance, if it had one, was of a value that was not chosen.
                self.accepted.insert(slot, AcceptedValue { ballot: Ballot::ZERO, value });
            }
            Record::Chosen(below) => self.chosen = self.chosen.max(below),
            Record::Skipped(below) => self.skipped = self.skipped.max(below),
        }
    }

    /// Forgets the values below a slot, all of which are chosen: they are in the state machine for
    /// good.
    pub fn forget_below(&mut self, slot: Slot) {
        self.accepted = self.accepted.split_off(&slot);
        self.chosen = self.chosen.max(slot);
    }
}
