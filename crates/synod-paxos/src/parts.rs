//! The three small rules that every Paxos in this crate is made of.
//!
//! * [`Promised`]: an acceptor ignores what is below its promise (*Paxos Made Simple* §2.2, P1a).
//! * [`Tally`]: counts answers until they are a quorum.
//! * [`SafeValue`]: what a proposer must propose after phase 1 (P2c).
//!
//! [`crate::basic`] uses them for one value; the replica uses the same ones for a log.

use crate::ids::{Ballot, ReplicaId};
use crate::quorum::{Quorums, ReplicaSet};
use crate::value::AcceptedValue;

/// The highest ballot an acceptor has promised, or accepted in.
///
/// Invariant: never decreases.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Hash)]
pub struct Promised(Ballot);

/// What an acceptor may do for a ballot.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Hash)]
pub enum Admission {
    /// Nothing: this higher ballot is promised.
    Refused {
        /// The promise in the way.
        promised: Ballot,
    },
    /// It is the ballot that is promised.
    Held,
    /// It is promised from now on, which must become durable before anybody hears of it.
    Raised,
}

impl Promised {
    /// As an earlier life left it.
    #[must_use]
    pub const fn new(ballot: Ballot) -> Self {
        Self(ballot)
    }

    /// The ballot.
    #[must_use]
    pub const fn ballot(self) -> Ballot {
        self.0
    }

    /// Promises the ballot, unless a higher one is promised.
    pub fn admit(&mut self, ballot: Ballot) -> Admission {
        match ballot.cmp(&self.0) {
            std::cmp::Ordering::Less => Admission::Refused { promised: self.0 },
            std::cmp::Ordering::Equal => Admission::Held,
            std::cmp::Ordering::Greater => {
                self.0 = ballot;
                Admission::Raised
            }
        }
    }
}

/// Who has answered, in one ballot. A new ballot needs a new tally.
#[derive(Clone, Debug, Default, Eq, PartialEq, Hash)]
pub struct Tally(ReplicaSet);

impl Tally {
    /// Counts an answer; false if it was counted before.
    pub fn add(&mut self, from: ReplicaId) -> bool {
        self.0.insert(from)
    }

    /// Whether this member has answered.
    #[must_use]
    pub fn contains(&self, id: ReplicaId) -> bool {
        self.0.contains(id)
    }

    /// Whether the answers allow to propose.
    #[must_use]
    pub fn is_phase1(&self, quorums: &Quorums) -> bool {
        quorums.is_phase1_quorum(&self.0)
    }

    /// Whether the answers make a value chosen.
    #[must_use]
    pub fn is_phase2(&self, quorums: &Quorums) -> bool {
        quorums.is_phase2_quorum(&self.0)
    }
}

/// The value of the highest ballot among those that a quorum has accepted: the only one that may
/// have been chosen, so the only one that is safe to propose. `None`: any value is.
#[derive(Clone, Debug, Eq, PartialEq, Hash)]
pub struct SafeValue<V>(Option<AcceptedValue<V>>);

impl<V> Default for SafeValue<V> {
    fn default() -> Self {
        Self(None)
    }
}

impl<V> SafeValue<V> {
    /// Takes in what one acceptor has accepted.
    pub fn see(&mut self, accepted: AcceptedValue<V>) {
        if self.0.as_ref().is_none_or(|best| best.ballot < accepted.ballot) {
            self.0 = Some(accepted);
        }
    }

    /// The safe value, with the ballot it was accepted in.
    #[must_use]
    pub const fn get(&self) -> Option<&AcceptedValue<V>> {
        self.0.as_ref()
    }

    /// The safe value, with the ballot it was accepted in.
    #[must_use]
    pub fn into_inner(self) -> Option<AcceptedValue<V>> {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ballot(round: u64, replica: u64) -> Ballot {
        Ballot { round, replica: ReplicaId::new(replica) }
    }

    #[test]
    fn a_promise_never_falls() {
        let mut promised = Promised::default();
        for (asked, answer) in [
            (ballot(1, 1), Admission::Raised),
            (ballot(1, 1), Admission::Held),
            (ballot(2, 1), Admission::Raised),
            (ballot(1, 9), Admission::Refused { promised: ballot(2, 1) }),
            (ballot(2, 2), Admission::Raised),
        ] {
            assert_eq!(promised.admit(asked), answer, "{asked}");
        }
        assert_eq!(promised.ballot(), ballot(2, 2));
    }

    #[test]
    fn the_highest_ballot_is_safe_in_any_order() {
        let votes = [(ballot(1, 2), "b"), (ballot(3, 1), "c"), (ballot(2, 9), "a")];
        for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
            let mut safe = SafeValue::default();
            for vote in order {
                let (ballot, value) = votes[vote];
                safe.see(AcceptedValue { ballot, value });
            }
            assert_eq!(safe.into_inner().map(|accepted| accepted.value), Some("c"), "{order:?}");
        }
    }
}
