//! Duels: two members that lead at the same time, each in a ballot of its own.
//!
//! A random cut gets there now and then, as it must hit a leader, last a little longer than an
//! election, and end before the new leader is through. Here it is done on purpose:
//!
//! ```text
//!   leader 1  ──┤ shut off: hears nothing, what it says is held back ├── it all arrives
//!   leader 2            elected ──┤ held back for a little longer   ├──── it all arrives
//!                                   or it ends as soon as something is chosen, and nobody knows
//! ```
//!
//! So what the first leader proposed reaches members that have promised another one and do not know
//! yet what that one proposes; or it stands for election against what was chosen meanwhile.

use crate::faults::Fault;
use crate::member::Trap;
use crate::queue::{MILLISECOND, Micros};
use crate::world::{Happening, World};

impl World {
    /// Shuts the leader off for about as long as an election takes.
    pub(crate) fn begin_duel(&mut self) {
        let leader = self.likely_leader();
        let election = u64::try_from(self.plan.core.election_timeout.as_micros()).unwrap_or(1);
        // Either the others know at once that it is gone, or they have to find out.
        let known = self.chance.per_mille(500);
        let shortest = if known { MILLISECOND } else { election };
        let span = self.chance.between(shortest, shortest + election);
        self.duel_ends = self.now() + span;
        self.note_fault(format!("{} is to duel with whoever comes next", leader + 1));
        for member in (0..self.members.len()).filter(|member| *member != leader) {
            self.network.set_cut(member, leader, true);
            self.network.clog(leader, member, self.duel_ends);
            if known {
                let span = self.chance.below(2 * MILLISECOND);
                self.plan_in(span, Happening::Unreachable { member, peer: leader });
            }
        }
        self.plan_in(span, Happening::Mend);
    }

    /// A member was elected, and has not said so yet.
    pub(crate) fn join_duel(&mut self, member: usize) {
        if self.duel_ends <= self.now() || self.healed {
            return;
        }
        if self.chance.per_mille(500) && self.plan.faults.contains(Fault::Crash) {
            self.members[member].trap = Some(Trap::Applied);
        } else {
            let longer: Micros = *self.chance.pick(&[MILLISECOND, 20 * MILLISECOND]);
            let until = self.duel_ends + self.chance.below(longer);
            for other in (0..self.members.len()).filter(|other| *other != member) {
                self.network.clog(member, other, until);
            }
        }
    }

    /// A member is about to end. If it was elected in a duel, its rival is heard again at once, and
    /// nobody hears what was chosen last: true if what it says now is lost.
    pub(crate) fn loses_duel(&mut self, trap: Option<Trap>) -> bool {
        if trap != Some(Trap::Applied) || self.duel_ends <= self.now() {
            return false;
        }
        self.duel_ends = self.now();
        self.network.mend();
        self.network.unclog();
        true
    }
}
