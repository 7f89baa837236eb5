//! Agreement: each slot has one value, on every member, at all times; and each ballot one leader.
//!
//! Every slot that a member applies is compared with what the first member applied there: the
//! commands, the log's time, the answers, and the digest of the whole state after it.

use std::collections::BTreeMap;

use synod_paxos::{Ballot, Event, LogTime, ReplicaId, Slot};

use crate::history::History;
use crate::machine::AppliedSlot;

/// What was chosen, as far as anybody has applied it.
#[derive(Debug, Default)]
pub(crate) struct Agreement {
    chosen: Vec<Chosen>,
    /// The slot that each member applies next.
    next: BTreeMap<usize, Slot>,
    elected: BTreeMap<Ballot, usize>,
}

#[derive(Debug)]
struct Chosen {
    commands: Vec<u64>,
    time: LogTime,
    digest: u64,
}

impl Agreement {
    /// A member starts with everything below this slot in its state.
    pub(crate) fn start(&mut self, member: usize, applied: Slot) -> Result<(), String> {
        if applied > self.end() {
            return Err(format!("member {} starts above what anybody applied", member + 1));
        }
        self.next.insert(member, applied);
        Ok(())
    }

    /// The first slot that nobody has applied.
    pub(crate) fn end(&self) -> Slot {
        Slot::FIRST.plus(self.chosen.len() as u64)
    }

    /// The slot that a member applies next.
    pub(crate) fn next(&self, member: usize) -> Slot {
        self.next.get(&member).copied().unwrap_or_default()
    }

    /// How many leaders were elected.
    pub(crate) fn elections(&self) -> u64 {
        self.elected.len() as u64
    }

    /// A member applied a slot.
    pub(crate) fn apply(
        &mut self,
        member: usize,
        applied: &AppliedSlot,
        history: &mut History,
    ) -> Result<(), String> {
        let slot = applied.slot;
        let next = self.next.entry(member).or_default();
        if slot != *next {
            return Err(format!("member {} applies slot {slot} instead of {next}", member + 1));
        }
        *next = slot.next();
        let commands: Vec<u64> = applied.commands.iter().map(|it| it.operation).collect();
        if slot == self.end() {
            for number in &commands {
                history.apply(slot, applied.time, *number)?;
            }
            let (time, digest) = (applied.time, applied.digest);
            self.chosen.push(Chosen { commands: commands.clone(), time, digest });
        }
        for it in &applied.commands {
            history.check_reply(it.operation, &it.answer)?;
        }
        let Some(chosen) = self.at(slot) else {
            return Err(format!("member {} applies slot {slot} too early", member + 1));
        };
        let ours = (&commands, applied.time, applied.digest);
        let theirs = (&chosen.commands, chosen.time, chosen.digest);
        if ours != theirs {
            return Err(format!(
                "member {} applies {ours:?} in slot {slot}, another member {theirs:?} (operations, \
                 time, digest of the state)",
                member + 1
            ));
        }
        Ok(())
    }

    /// A member took over a state, and applies this slot next.
    pub(crate) fn install(&mut self, member: usize, end: Slot, digest: u64) -> Result<(), String> {
        let next = self.next.entry(member).or_default();
        if end <= *next {
            let number = member + 1;
            return Err(format!("member {number} goes back from {next} to {end} by a snapshot"));
        }
        *next = end;
        match self.at(Slot::new(end.as_u64() - 1)) {
            Some(chosen) if chosen.digest == digest => Ok(()),
            Some(_) => Err(format!("member {} took over another state at {end}", member + 1)),
            None => Err(format!("member {} took over a state that nobody had", member + 1)),
        }
    }

    /// A member told of something.
    pub(crate) fn event(
        &mut self,
        member: usize,
        id: ReplicaId,
        event: &Event,
    ) -> Result<(), String> {
        let Event::Elected { ballot, .. } = event else { return Ok(()) };
        if ballot.replica != id {
            return Err(format!("member {id} leads in {ballot}, which it does not own"));
        }
        match self.elected.insert(*ballot, member) {
            None => Ok(()),
            Some(_) => Err(format!("ballot {ballot} is led twice: a ballot was used again")),
        }
    }

    fn at(&self, slot: Slot) -> Option<&Chosen> {
        let place = usize::try_from(slot.distance_from(Slot::FIRST)).ok()?;
        self.chosen.get(place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(slot: u64, digest: u64) -> AppliedSlot {
        let time = LogTime::default();
        AppliedSlot { slot: Slot::new(slot), commands: vec![], time, digest }
    }

    #[test]
    fn slots_are_the_same_everywhere_and_come_in_order() {
        let (mut agreement, mut history) = (Agreement::default(), History::new());
        let mut apply = |member, slot| agreement.apply(member, &slot, &mut history);
        apply(0, applied(1, 7)).unwrap();
        apply(1, applied(1, 7)).unwrap();
        apply(2, applied(1, 8)).unwrap_err();
        apply(0, applied(3, 7)).unwrap_err();
    }

    #[test]
    fn a_ballot_is_led_once_and_by_its_owner() {
        let mut agreement = Agreement::default();
        let id = ReplicaId::new(1);
        let elected = |ballot| Event::Elected { ballot, barrier: Slot::FIRST };
        let ballot = Ballot::ZERO.next_of(id);
        agreement.event(0, id, &elected(ballot)).unwrap();
        agreement.event(0, id, &elected(ballot)).unwrap_err();
        let foreign = elected(Ballot::ZERO.next_of(ReplicaId::new(2)));
        agreement.event(0, id, &foreign).unwrap_err();
    }
}
