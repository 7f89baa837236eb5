//! Basic Paxos, the Synod protocol: one value, chosen once, for ever.
//!
//! Three roles as in *Paxos Made Simple* §2.2 and §2.3. A member may play all of them. What an
//! acceptor returns may be told to others only when the acceptor's state is durable.
//!
//! ```
//! use synod_paxos::basic::{Acceptor, Learner, Proposer};
//! use synod_paxos::{Ballot, Quorums, ReplicaId};
//!
//! let members: Vec<_> = (1..=3).map(ReplicaId::new).collect();
//! let quorums = Quorums::majority(members.iter().copied().collect());
//! let mut acceptors = vec![Acceptor::default(); 3];
//!
//! let ballot = Ballot::ZERO.next_of(members[0]);
//! let mut proposer = Proposer::new(ballot, "mine");
//! let mut learner = Learner::default();
//! for (&id, acceptor) in members.iter().zip(&mut acceptors) {
//!     let promise = acceptor.prepare(ballot).expect("nothing higher was promised");
//!     proposer.promised(id, promise, &quorums);
//! }
//! let value = proposer.proposal().expect("a quorum has promised");
//! for (&id, acceptor) in members.iter().zip(&mut acceptors) {
//!     acceptor.accept(ballot, value).expect("nothing higher was promised");
//!     learner.accepted(id, ballot, value, &quorums);
//! }
//! assert_eq!(learner.chosen(), Some(&"mine"));
//! ```

use std::collections::BTreeMap;

use crate::ids::{Ballot, ReplicaId};
use crate::parts::{Admission, Promised, SafeValue, Tally};
use crate::quorum::Quorums;
use crate::value::AcceptedValue;

/// Promises ballots and accepts values. All of it must be durable.
///
/// Invariant: `accepted` was accepted in a ballot not above `promised`.
#[derive(Clone, Debug, Default, Eq, PartialEq, Hash)]
pub struct Acceptor<V> {
    promised: Promised,
    accepted: Option<AcceptedValue<V>>,
}

impl<V: Clone> Acceptor<V> {
    /// Phase 1b: promises the ballot and tells what is accepted.
    ///
    /// # Errors
    /// The higher ballot that is promised.
    pub fn prepare(&mut self, ballot: Ballot) -> Result<Option<AcceptedValue<V>>, Ballot> {
        self.admit(ballot)?;
        Ok(self.accepted.clone())
    }

    /// Phase 2b: accepts the value.
    ///
    /// # Errors
    /// The higher ballot that is promised.
    pub fn accept(&mut self, ballot: Ballot, value: V) -> Result<(), Ballot> {
        self.admit(ballot)?;
        self.accepted = Some(AcceptedValue { ballot, value });
        Ok(())
    }

    fn admit(&mut self, ballot: Ballot) -> Result<(), Ballot> {
        match self.promised.admit(ballot) {
            Admission::Refused { promised } => Err(promised),
            Admission::Held | Admission::Raised => Ok(()),
        }
    }
}

/// Asks in one ballot. A refused proposer starts again, as a new one, in a higher ballot.
#[derive(Clone, Debug, Eq, PartialEq, Hash)]
pub struct Proposer<V> {
    ballot: Ballot,
    wish: V,
    promises: Tally,
    found: SafeValue<V>,
    ready: bool,
}

impl<V: Clone> Proposer<V> {
    /// A proposer that would like to see `wish` chosen, in a ballot that nobody has used.
    #[must_use]
    pub fn new(ballot: Ballot, wish: V) -> Self {
        Self { ballot, wish, promises: Tally::default(), found: SafeValue::default(), ready: false }
    }

    /// The ballot.
    #[must_use]
    pub const fn ballot(&self) -> Ballot {
        self.ballot
    }

    /// Takes a promise of this ballot.
    pub fn promised(
        &mut self,
        from: ReplicaId,
        accepted: Option<AcceptedValue<V>>,
        quorums: &Quorums,
    ) {
        // Once it has begun to propose it must not change its mind.
        if self.ready || !self.promises.add(from) {
            return;
        }
        if let Some(accepted) = accepted {
            self.found.see(accepted);
        }
        self.ready = self.promises.is_phase1(quorums);
    }

    /// Phase 2a: what to ask the acceptors to accept, once a quorum has promised.
    #[must_use]
    pub fn proposal(&self) -> Option<V> {
        self.ready.then(|| match self.found.get() {
            Some(accepted) => accepted.value.clone(),
            None => self.wish.clone(),
        })
    }
}

/// Learns what is chosen from the acceptors' word.
#[derive(Clone, Debug, Eq, PartialEq, Hash)]
pub struct Learner<V> {
    tallies: BTreeMap<Ballot, Tally>,
    chosen: Option<V>,
}

impl<V> Default for Learner<V> {
    fn default() -> Self {
        Self { tallies: BTreeMap::new(), chosen: None }
    }
}

impl<V> Learner<V> {
    /// An acceptor has accepted the value in the ballot, durably.
    pub fn accepted(&mut self, from: ReplicaId, ballot: Ballot, value: V, quorums: &Quorums) {
        if self.chosen.is_some() {
            return;
        }
        let tally = self.tallies.entry(ballot).or_default();
        tally.add(from);
        if tally.is_phase2(quorums) {
            self.chosen = Some(value);
            self.tallies.clear();
        }
    }

    /// The value, once a quorum has accepted it in one ballot.
    #[must_use]
    pub const fn chosen(&self) -> Option<&V> {
        self.chosen.as_ref()
    }
}
