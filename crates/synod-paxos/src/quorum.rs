//! Which sets of members may decide.
//!
//! Quorums are sets, not counts: phase 1 and phase 2 may use different ones as long as every
//! phase-1 quorum meets every phase-2 quorum (*Flexible Paxos*, Howard et al. 2016, §3).

use std::fmt;

use crate::ids::ReplicaId;

/// A set of members, in order.
#[derive(Clone, Debug, Default, Eq, PartialEq, Ord, PartialOrd, Hash)]
pub struct ReplicaSet(Vec<ReplicaId>);

impl ReplicaSet {
    /// The empty set.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Adds a member; false if it was in.
    pub fn insert(&mut self, id: ReplicaId) -> bool {
        match self.0.binary_search(&id) {
            Ok(_) => false,
            Err(at) => {
                self.0.insert(at, id);
                true
            }
        }
    }

    /// Takes a member out; false if it was not in.
    pub fn remove(&mut self, id: ReplicaId) -> bool {
        match self.0.binary_search(&id) {
            Ok(at) => {
                self.0.remove(at);
                true
            }
            Err(_) => false,
        }
    }

    /// Whether the member is in.
    #[must_use]
    pub fn contains(&self, id: ReplicaId) -> bool {
        self.0.binary_search(&id).is_ok()
    }

    /// How many are in.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nobody is in.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes all out.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// The members, in order.
    pub fn iter(&self) -> impl Iterator<Item = ReplicaId> + '_ {
        self.0.iter().copied()
    }

    /// The members, in order.
    #[must_use]
    pub fn as_slice(&self) -> &[ReplicaId] {
        &self.0
    }

    /// This set without one member.
    #[must_use]
    pub fn without(&self, id: ReplicaId) -> Self {
        self.iter().filter(|other| *other != id).collect()
    }
}

impl From<ReplicaId> for ReplicaSet {
    fn from(id: ReplicaId) -> Self {
        Self(vec![id])
    }
}

impl FromIterator<ReplicaId> for ReplicaSet {
    fn from_iter<I: IntoIterator<Item = ReplicaId>>(ids: I) -> Self {
        let mut ids: Vec<_> = ids.into_iter().collect();
        ids.sort_unstable();
        ids.dedup();
        Self(ids)
    }
}

impl fmt::Display for ReplicaSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (n, id) in self.iter().enumerate() {
            if n > 0 {
                f.write_str(",")?;
            }
            write!(f, "{id}")?;
        }
        f.write_str("}")
    }
}

/// The voters and which sets of them decide.
///
/// Invariant: every phase-1 quorum meets every phase-2 quorum.
#[derive(Clone, Debug, Eq, PartialEq, Hash)]
pub struct Quorums {
    voters: ReplicaSet,
}

impl Quorums {
    /// Any majority of the voters, for both phases.
    ///
    /// # Panics
    /// If there are no voters, or more than [`Quorums::VOTERS_MAX`].
    #[must_use]
    pub fn majority(voters: ReplicaSet) -> Self {
        assert!(!voters.is_empty(), "a cluster has at least one voter");
        let (len, max) = (voters.len(), Self::VOTERS_MAX);
        assert!(len <= max, "{len} voters, at most {max}");
        Self { voters }
    }

    /// The most voters a cluster can have.
    pub const VOTERS_MAX: usize = 31;

    /// Who votes.
    #[must_use]
    pub const fn voters(&self) -> &ReplicaSet {
        &self.voters
    }

    /// Whether the promises of these members allow to lead.
    #[must_use]
    pub fn is_phase1_quorum(&self, set: &ReplicaSet) -> bool {
        self.is_majority(set)
    }

    /// Whether the acceptance of these members makes a value chosen.
    #[must_use]
    pub fn is_phase2_quorum(&self, set: &ReplicaSet) -> bool {
        self.is_majority(set)
    }

    fn is_majority(&self, set: &ReplicaSet) -> bool {
        let voting = set.iter().filter(|id| self.voters.contains(*id)).count();
        voting * 2 > self.voters.len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn set(ids: impl IntoIterator<Item = u64>) -> ReplicaSet {
        ids.into_iter().map(ReplicaId::new).collect()
    }

    #[test]
    fn majorities_by_size() {
        for (voters, needed) in [(1, 1), (2, 2), (3, 2), (4, 3), (5, 3), (6, 4), (7, 4)] {
            let quorums = Quorums::majority(set(1..=voters));
            assert!(quorums.is_phase2_quorum(&set(1..=needed)), "{needed} of {voters}");
            assert!(!quorums.is_phase2_quorum(&set(1..needed)), "{} of {voters}", needed - 1);
        }
    }

    #[test]
    fn strangers_do_not_count() {
        let quorums = Quorums::majority(set([1, 2, 3]));
        assert!(!quorums.is_phase1_quorum(&set([3, 4, 5, 6])));
    }

    proptest! {
        #[test]
        fn quorums_of_both_phases_meet(voters in 1u64..=9, a in any::<u16>(), b in any::<u16>()) {
            let quorums = Quorums::majority(set(1..=voters));
            let pick = |mask: u16| set((1..=voters).filter(|id| mask >> id & 1 == 1));
            let (a, b) = (pick(a), pick(b));
            if quorums.is_phase1_quorum(&a) && quorums.is_phase2_quorum(&b) {
                prop_assert!(a.iter().any(|id| b.contains(id)));
            }
        }

        #[test]
        fn a_set_is_a_btree_set(ops in prop::collection::vec((any::<bool>(), 0u64..8), 0..40)) {
            let (mut ours, mut oracle) = (ReplicaSet::new(), std::collections::BTreeSet::new());
            for (insert, id) in ops {
                let id = ReplicaId::new(id);
                if insert {
                    prop_assert_eq!(ours.insert(id), oracle.insert(id));
                } else {
                    prop_assert_eq!(ours.remove(id), oracle.remove(&id));
                }
                prop_assert!(ours.iter().eq(oracle.iter().copied()));
            }
        }
    }
}
