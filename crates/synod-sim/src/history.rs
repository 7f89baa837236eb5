//! What was asked and answered, judged by the order in which the log applied it.
//!
//! The revision in each answer is the oracle of strict serializability: the log applies writes in
//! one order, a [`Model`] follows it and knows the only right answer to each, and an answer that
//! was given before a request was made must not carry a later revision than the request's own.
//! Reads must show exactly the state of their revision.

use crate::lease::{LeaseOperation, LeaseOutcome};
use crate::member::{Outcome as Told, Refusal};
use crate::model::Model;
use crate::operation::{Answer, Operation, Outcome};
use synod_paxos::{LogTime, Slot, Withdrawal};
use synod_replica::ProposeError;

/// All operations of a run, by number.
#[derive(Debug)]
pub(crate) struct History {
    model: Model,
    asked: Vec<Asked>,
    /// The highest revision that any client has seen.
    seen: i64,
    /// Above the slot of every acknowledged write.
    acknowledged: Slot,
    counts: Counts,
}

/// How the operations ended.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Counts {
    pub(crate) writes: u64,
    pub(crate) reads: u64,
    pub(crate) refused: u64,
    pub(crate) never_applied: u64,
    pub(crate) unknown: u64,
}

#[derive(Debug)]
struct Asked {
    operation: Operation,
    /// The highest revision seen when it was asked.
    seen: i64,
    /// Above the slot of every write acknowledged when it was asked.
    after: Slot,
    /// Where it was applied, and what it must answer.
    applied: Option<(Slot, Answer)>,
    /// Its client was told that it never will be applied.
    never: bool,
}

impl History {
    /// Nothing asked yet.
    pub(crate) fn new() -> Self {
        Self {
            model: Model::new(),
            asked: Vec::new(),
            seen: 1,
            acknowledged: Slot::FIRST,
            counts: Counts::default(),
        }
    }

    /// Notes a request; gives its number.
    pub(crate) fn ask(&mut self, operation: Operation) -> u64 {
        let (seen, after) = (self.seen, self.acknowledged);
        self.asked.push(Asked { operation, seen, after, applied: None, never: false });
        self.asked.len() as u64 - 1
    }

    /// The operation of a number.
    pub(crate) fn operation(&self, number: u64) -> &Operation {
        &self.asked[place(number)].operation
    }

    /// Above the slot of every acknowledged write.
    pub(crate) const fn acknowledged(&self) -> Slot {
        self.acknowledged
    }

    /// How the operations ended.
    pub(crate) const fn counts(&self) -> Counts {
        self.counts
    }

    /// The log applied an operation, for the first time on any member.
    pub(crate) fn apply(&mut self, slot: Slot, time: LogTime, number: u64) -> Result<(), String> {
        let Some(asked) = self.asked.get_mut(place(number)) else {
            return Err(format!("slot {slot} applies operation {number}, which nobody asked for"));
        };
        if asked.never {
            return Err(format!(
                "slot {slot} applies operation {number} ({}), whose client was told that it never \
                 would be",
                asked.operation
            ));
        }
        if let Some((earlier, _)) = &asked.applied {
            return Err(format!(
                "slot {slot} applies operation {number} ({}) again, after slot {earlier}",
                asked.operation
            ));
        }
        asked.applied = Some((slot, self.model.apply(&asked.operation, slot, time.as_millis())));
        Ok(())
    }

    /// Compares what a member's store answered to an applied operation with what it must.
    pub(crate) fn check_reply(&self, number: u64, answer: &Answer) -> Result<(), String> {
        let Some(asked) = self.asked.get(place(number)) else {
            return Err(format!("operation {number} was applied, which nobody asked for"));
        };
        match &asked.applied {
            Some((_, expected)) if expected == answer => Ok(()),
            Some((slot, expected)) => Err(format!(
                "operation {number} ({}) in slot {slot} gave [{answer}], must give [{expected}]",
                asked.operation
            )),
            None => Err(format!("operation {number} is answered and was not applied")),
        }
    }

    /// A member answered its client.
    pub(crate) fn answer(&mut self, number: u64, told: &Told) -> Result<(), String> {
        match told {
            Ok(answer) => self.acknowledge(number, answer),
            Err(refusal) => self.refuse(number, refusal),
        }
    }

    fn acknowledge(&mut self, number: u64, answer: &Answer) -> Result<(), String> {
        let asked = &self.asked[place(number)];
        if asked.operation.is_write() {
            self.check_reply(number, answer)?;
            if let Some((slot, _)) = &asked.applied {
                self.acknowledged = self.acknowledged.max(slot.next());
            }
            self.counts.writes += 1;
        } else {
            self.check_read(asked, answer)?;
            self.counts.reads += 1;
        }
        let local = asked.operation.is_local();
        if !local && answer.revision < asked.seen {
            return Err(format!(
                "operation {number} ({}) answers at revision {}, but revision {} was seen before \
                 it was asked",
                asked.operation, answer.revision, asked.seen
            ));
        }
        if !local && changes(&asked.operation, &answer.outcome) && answer.revision == asked.seen {
            return Err(format!(
                "operation {number} ({}) claims revision {}, which was seen before it was asked",
                asked.operation, answer.revision
            ));
        }
        self.seen = self.seen.max(answer.revision);
        Ok(())
    }

    fn check_read(&self, asked: &Asked, answer: &Answer) -> Result<(), String> {
        if let Operation::Lease(LeaseOperation::Status { id, local }) = asked.operation {
            return self.check_status(asked, id, local, answer);
        }
        let Operation::Read { key, at, local } = asked.operation else {
            return Err(format!("{} is no read", asked.operation));
        };
        if answer.revision > self.model.revision() {
            return Err(format!(
                "{} shows a revision that nothing made: {answer}",
                asked.operation
            ));
        }
        let revision = at.unwrap_or(answer.revision);
        let right = match &answer.outcome {
            Outcome::Items(items) => *items == self.model.read(key, revision),
            Outcome::RefusedCompacted => revision < self.model.compacted(),
            Outcome::RefusedFuture => local && revision > answer.revision,
            _ => false,
        };
        if right {
            return Ok(());
        }
        let expected = self.model.read(key, revision);
        Err(format!(
            "{} gave [{answer}] {:?}, must show {expected:?}",
            asked.operation, answer.outcome
        ))
    }

    /// A look at a lease shows it as it stood at the moment that the answer names, which is not
    /// before a write that was acknowledged before the look was asked for.
    fn check_status(
        &self,
        asked: &Asked,
        id: i64,
        local: bool,
        answer: &Answer,
    ) -> Result<(), String> {
        let Outcome::Lease(LeaseOutcome::Status(found, at)) = &answer.outcome else {
            return Err(format!("{} gave [{answer}]", asked.operation));
        };
        if !local && at.end < asked.after {
            return Err(format!(
                "{} shows the state below {}, but a write above was acknowledged before it was \
                 asked: below {}",
                asked.operation, at.end, asked.after
            ));
        }
        let expected = self.model.lease_at(id, *at, answer.revision);
        if *found == expected {
            return Ok(());
        }
        Err(format!("{} gave [{answer}], must show {expected:?}", asked.operation))
    }

    /// A lease that there is, if there is one.
    pub(crate) fn any_lease(&self) -> Option<i64> {
        self.model.leases().next()
    }

    fn refuse(&mut self, number: u64, refusal: &Refusal) -> Result<(), String> {
        let asked = &mut self.asked[place(number)];
        let never = match refusal {
            Refusal::Down
            | Refusal::Propose(ProposeError::Busy | ProposeError::TooLarge { .. }) => true,
            Refusal::Propose(
                ProposeError::TimedOut { outcome } | ProposeError::Stopping { outcome },
            ) => *outcome == Withdrawal::NeverApplied,
            Refusal::Read(_) => false,
        };
        match refusal {
            Refusal::Propose(ProposeError::TimedOut { .. }) if never => {
                self.counts.never_applied += 1;
            }
            Refusal::Propose(ProposeError::TimedOut { .. }) => self.counts.unknown += 1,
            _ => self.counts.refused += 1,
        }
        asked.never |= never;
        match &asked.applied {
            Some((slot, _)) if never => Err(format!(
                "the client of operation {number} ({}) was told that it never will be applied, but \
                 slot {slot} has it",
                asked.operation
            )),
            _ => Ok(()),
        }
    }

    /// A client heard nothing in time.
    pub(crate) const fn give_up(&mut self) {
        self.counts.unknown += 1;
    }
}

fn changes(operation: &Operation, outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Stored => true,
        Outcome::Deleted(count) => *count > 0,
        Outcome::Lease(lease) => lease.deleted() > 0,
        _ => operation.is_write() && matches!(outcome, Outcome::Unexpected(_)),
    }
}

fn place(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(value: u64) -> Operation {
        Operation::Put { key: 1, value, padding: 0, lease: 0 }
    }

    const TIME: LogTime = LogTime::from_millis(1);

    const READ: Operation = Operation::Read { key: Some(1), at: None, local: false };

    fn stored(revision: i64) -> Told {
        Ok(Answer { revision, outcome: Outcome::Stored })
    }

    #[test]
    fn a_stale_read_is_caught() {
        let mut history = History::new();
        let write = history.ask(put(1));
        history.apply(Slot::new(1), TIME, write).unwrap();
        history.answer(write, &stored(2)).unwrap();
        let read = history.ask(READ);
        let stale = Ok(Answer { revision: 1, outcome: Outcome::Items(vec![]) });
        let error = history.answer(read, &stale).unwrap_err();
        assert!(error.contains("revision 2 was seen before"), "{error}");
    }

    #[test]
    fn a_read_of_what_was_never_written_is_caught() {
        let mut history = History::new();
        let read = history.ask(READ);
        let wrong = Ok(Answer { revision: 2, outcome: Outcome::Items(vec![]) });
        history.answer(read, &wrong).unwrap_err();
    }

    #[test]
    fn a_lost_write_is_caught() {
        let mut history = History::new();
        let write = history.ask(put(1));
        history.answer(write, &stored(2)).unwrap_err();
    }

    #[test]
    fn a_write_applies_once_and_not_after_it_was_denied() {
        let mut history = History::new();
        let (twice, denied) = (history.ask(put(1)), history.ask(put(2)));
        history.apply(Slot::new(1), TIME, twice).unwrap();
        history.apply(Slot::new(2), TIME, twice).unwrap_err();
        let outcome = Withdrawal::NeverApplied;
        let timed_out = Err(Refusal::Propose(ProposeError::TimedOut { outcome }));
        history.answer(denied, &timed_out).unwrap();
        history.apply(Slot::new(3), TIME, denied).unwrap_err();
    }
}
