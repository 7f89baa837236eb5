//! How followers hear what is chosen.
//!
//! The next `Accept` carries it. While there is none, a small message does: at once to those whose
//! clients wait for it, to the others a moment later. So a busy cluster sends none, and one client
//! that writes without pause does not make three members wake twice for each of its writes.

use crate::ids::ReplicaId;
use crate::message::{Chosen, Message};
use crate::proposer::{Leader, Proposer};
use crate::quorum::ReplicaSet;
use crate::replica::Replica;
use crate::slot::Slot;
use crate::time::Time;
use crate::value::Value;

/// What a leader has told its followers.
#[derive(Clone, Debug, Eq, PartialEq, Hash)]
pub(crate) struct Announced {
    /// The chosen watermark that all were told.
    told: Slot,
    /// When something beyond it was chosen first.
    since: Option<Time>,
    /// Whose clients wait for what is beyond.
    awaited_by: ReplicaSet,
}

impl Default for Announced {
    fn default() -> Self {
        Self { told: Slot::FIRST, since: None, awaited_by: ReplicaSet::new() }
    }
}

impl Announced {
    /// All were told, or are being told.
    pub(crate) fn tell(&mut self, chosen: Slot) {
        *self = Self { told: chosen, ..Self::default() };
    }

    /// A value was chosen: those whose commands it holds wait for it, and all wait for a barrier.
    pub(crate) fn chose(&mut self, now: Time, value: &Value, peers: &ReplicaSet) {
        self.since.get_or_insert(now);
        match value {
            Value::Noop => {}
            Value::Barrier(_) => self.awaited_by = peers.clone(),
            Value::Batch(batch) => {
                for command in batch.commands.iter() {
                    self.await_by(command.id.replica, peers);
                }
            }
        }
    }

    /// A client of this member waits for what is chosen.
    pub(crate) fn await_by(&mut self, id: ReplicaId, peers: &ReplicaSet) {
        if peers.contains(id) {
            self.awaited_by.insert(id);
        }
    }
}

impl Replica {
    /// Tells the followers what is chosen: those that wait for it, or all if it is time.
    pub(crate) fn announce_chosen(&mut self) {
        let Some(due) = self.announcement_due() else { return };
        let Proposer::Leader(leader) = &mut self.proposer else { return };
        if self.now >= due || leader.announced.awaited_by.len() == self.peers.len() {
            return self.announce_to_all();
        }
        let awaited_by = std::mem::take(&mut leader.announced.awaited_by);
        if !awaited_by.is_empty() {
            let message = announcement(leader, self.learner.prefix.end);
            self.outputs.send_all(awaited_by, message, None);
        }
    }

    /// Tells all followers what is chosen, if no accept has carried it.
    pub(crate) fn announce_to_all(&mut self) {
        let chosen = self.learner.prefix.end;
        let Proposer::Leader(leader) = &mut self.proposer else { return };
        if leader.announced.told < chosen {
            leader.announced.tell(chosen);
            let message = announcement(leader, chosen);
            self.outputs.send_all(self.peers.clone(), message, None);
        }
    }

    /// When all followers are to be told what is chosen, if there is something to tell.
    pub(crate) fn announcement_due(&self) -> Option<Time> {
        let Proposer::Leader(leader) = &self.proposer else { return None };
        if leader.announced.told >= self.learner.prefix.end {
            return None;
        }
        let since = leader.announced.since;
        Some(since.map_or(self.now, |since| since.plus(self.options.announce_delay)))
    }
}

fn announcement(leader: &Leader, chosen: Slot) -> Message {
    Message::Chosen(Chosen { ballot: leader.ballot, chosen })
}
