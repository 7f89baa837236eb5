//! The store as simple as can be: the oracle that answers are compared with.
//!
//! It keeps every version of every key for ever and shares no code with the real store.

use std::collections::BTreeMap;

use synod_paxos::Slot;

use crate::lease::{LeaseOperation, LeaseOutcome, Moment, Terms};
use crate::operation::{Answer, Item, Operation, Outcome};

/// A store without limits, engine or history management.
#[derive(Debug)]
pub(crate) struct Model {
    revision: i64,
    compacted: i64,
    keys: BTreeMap<u64, Vec<Version>>,
    /// What each lease was from the slot on, with seconds and deadline, or that it had ended.
    leases: BTreeMap<i64, Vec<(Slot, Option<Due>)>>,
}

/// A lease of so many seconds, and the log time at which it is due.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Due {
    ttl: i64,
    deadline_ms: u64,
}

#[derive(Debug)]
struct Version {
    revision: i64,
    item: Option<Item>,
}

impl Model {
    /// The empty store, at revision 1.
    pub(crate) const fn new() -> Self {
        Self { revision: 1, compacted: 0, keys: BTreeMap::new(), leases: BTreeMap::new() }
    }

    /// The revision of the last change.
    pub(crate) const fn revision(&self) -> i64 {
        self.revision
    }

    /// Below this revision nothing has to be readable.
    pub(crate) const fn compacted(&self) -> i64 {
        self.compacted
    }

    /// Applies a write in a slot, at the log's time, and gives the answer that every member must
    /// give.
    pub(crate) fn apply(&mut self, operation: &Operation, slot: Slot, time_ms: u64) -> Answer {
        let outcome = match operation {
            Operation::Put { lease, .. }
                if *lease != 0 && self.living(*lease, time_ms).is_none() =>
            {
                Outcome::Lease(LeaseOutcome::RefusedNotFound)
            }
            Operation::Put { key, value, lease, .. } => self.store(*key, *value, *lease),
            Operation::Delete { key } => self.delete(*key),
            Operation::Swap { key, expected, value } => {
                let found = self.at(*key, self.revision);
                if found.map_or(0, |item| item.modified) == *expected {
                    self.store(*key, *value, 0)
                } else {
                    Outcome::Unswapped(found)
                }
            }
            Operation::Compact { revision } => self.compact(*revision),
            Operation::Lease(lease) => Outcome::Lease(self.lease(lease, slot, time_ms)),
            Operation::Read { .. } => Outcome::Unexpected("a read in the log".to_owned()),
        };
        Answer { revision: self.revision, outcome }
    }

    /// How a lease stood at a moment, in which the store was at a revision.
    pub(crate) fn lease_at(&self, id: i64, at: Moment, revision: i64) -> Option<Terms> {
        let changes = self.leases.get(&id)?;
        let before = changes.partition_point(|(slot, _)| *slot < at.end);
        let due = changes[..before].last()?.1?;
        let remaining_ms = due.deadline_ms.saturating_sub(at.time_ms);
        Some(Terms { ttl: due.ttl, remaining_ms, keys: self.keys_of(id, revision) })
    }

    /// The leases there are.
    pub(crate) fn leases(&self) -> impl Iterator<Item = i64> {
        self.leases.iter().filter(|(_, changes)| last(changes).is_some()).map(|(id, _)| *id)
    }

    fn lease(&mut self, operation: &LeaseOperation, slot: Slot, time_ms: u64) -> LeaseOutcome {
        match *operation {
            LeaseOperation::Grant { id, .. } if self.due(id).is_some() => {
                LeaseOutcome::RefusedExists
            }
            LeaseOperation::Grant { id, ttl } => {
                self.begin(id, ttl, slot, time_ms);
                LeaseOutcome::Granted(ttl)
            }
            LeaseOperation::KeepAlive { id } => match self.living(id, time_ms) {
                Some(due) => {
                    self.begin(id, due.ttl, slot, time_ms);
                    LeaseOutcome::Renewed(due.ttl)
                }
                None => LeaseOutcome::Renewed(0),
            },
            LeaseOperation::Revoke { id } if self.due(id).is_none() => {
                LeaseOutcome::RefusedNotFound
            }
            LeaseOperation::Revoke { id } => LeaseOutcome::Revoked(self.end(&[id], slot)),
            LeaseOperation::Expire { ref ids, .. } => {
                let over = |id: &i64| self.due(*id).is_some_and(|due| due.deadline_ms <= time_ms);
                let ended: Vec<i64> = ids.iter().copied().filter(over).collect();
                let deleted = self.end(&ended, slot);
                LeaseOutcome::Expired(ended, deleted)
            }
            LeaseOperation::Status { .. } => LeaseOutcome::RefusedNotFound,
        }
    }

    fn due(&self, id: i64) -> Option<Due> {
        last(self.leases.get(&id)?)
    }

    fn living(&self, id: i64, time_ms: u64) -> Option<Due> {
        self.due(id).filter(|due| due.deadline_ms > time_ms)
    }

    fn begin(&mut self, id: i64, ttl: i64, slot: Slot, time_ms: u64) {
        let deadline_ms = time_ms + u64::try_from(ttl).unwrap_or(0) * 1000;
        self.leases.entry(id).or_default().push((slot, Some(Due { ttl, deadline_ms })));
    }

    /// All keys of these leases go in one revision, if there are any.
    fn end(&mut self, ids: &[i64], slot: Slot) -> u64 {
        let keys: Vec<u64> = ids.iter().flat_map(|id| self.keys_of(*id, self.revision)).collect();
        if !keys.is_empty() {
            self.revision += 1;
        }
        keys.iter().for_each(|key| self.add(*key, None));
        for id in ids {
            self.leases.entry(*id).or_default().push((slot, None));
        }
        keys.len() as u64
    }

    fn keys_of(&self, id: i64, revision: i64) -> Vec<u64> {
        let of_lease = |key: &&u64| self.at(**key, revision).is_some_and(|it| it.lease == id);
        self.keys.keys().filter(of_lease).copied().collect()
    }

    /// What one key held at a revision, or all keys.
    pub(crate) fn read(&self, key: Option<u64>, revision: i64) -> Vec<Item> {
        match key {
            Some(key) => self.at(key, revision).into_iter().collect(),
            None => self.keys.keys().filter_map(|key| self.at(*key, revision)).collect(),
        }
    }

    fn at(&self, key: u64, revision: i64) -> Option<Item> {
        let versions = self.keys.get(&key)?;
        let end = versions.partition_point(|version| version.revision <= revision);
        versions[..end].last()?.item
    }

    fn store(&mut self, key: u64, value: u64, lease: i64) -> Outcome {
        let before = self.at(key, self.revision);
        self.revision += 1;
        let item = Item {
            key,
            value,
            created: before.map_or(self.revision, |item| item.created),
            modified: self.revision,
            version: before.map_or(1, |item| item.version + 1),
            lease,
        };
        self.add(key, Some(item));
        Outcome::Stored
    }

    fn delete(&mut self, key: u64) -> Outcome {
        if self.at(key, self.revision).is_none() {
            return Outcome::Deleted(0);
        }
        self.revision += 1;
        self.add(key, None);
        Outcome::Deleted(1)
    }

    fn compact(&mut self, revision: i64) -> Outcome {
        if revision > self.revision {
            Outcome::RefusedFuture
        } else if revision <= self.compacted {
            Outcome::RefusedCompacted
        } else {
            self.compacted = revision;
            Outcome::Compacted
        }
    }

    fn add(&mut self, key: u64, item: Option<Item>) {
        let version = Version { revision: self.revision, item };
        self.keys.entry(key).or_default().push(version);
    }
}

fn last(changes: &[(Slot, Option<Due>)]) -> Option<Due> {
    changes.last().and_then(|(_, due)| *due)
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Model {
        fn run(&mut self, time_ms: u64, operation: &Operation) -> Outcome {
            let slot = Slot::new(time_ms);
            self.apply(operation, slot, time_ms).outcome
        }
    }

    fn put(value: u64, lease: i64) -> Operation {
        Operation::Put { key: 1, value, padding: 0, lease }
    }

    #[test]
    fn a_lease_takes_its_keys_along_when_it_is_due_and_not_before() {
        let mut model = Model::new();
        let lease = |operation| Operation::Lease(operation);
        let grant = lease(LeaseOperation::Grant { id: 5, ttl: 2 });
        assert_eq!(model.run(10, &grant), Outcome::Lease(LeaseOutcome::Granted(2)));
        assert_eq!(model.run(20, &put(7, 5)), Outcome::Stored);
        let renew = lease(LeaseOperation::KeepAlive { id: 5 });
        assert_eq!(model.run(1000, &renew), Outcome::Lease(LeaseOutcome::Renewed(2)));
        let expire = lease(LeaseOperation::Expire { ids: vec![5, 6], by: (1, 1) });
        let none = LeaseOutcome::Expired(vec![], 0);
        assert_eq!(model.run(2999, &expire), Outcome::Lease(none));
        let at = Moment { end: Slot::new(3000), time_ms: 2999 };
        let terms = Terms { ttl: 2, remaining_ms: 1, keys: vec![1] };
        assert_eq!(model.lease_at(5, at, model.revision()), Some(terms));
        let ended = LeaseOutcome::Expired(vec![5], 1);
        assert_eq!(model.run(3000, &expire), Outcome::Lease(ended));
        assert_eq!((model.read(Some(1), 3).len(), model.revision()), (0, 3));
        assert_eq!(model.leases().count(), 0);
    }

    #[test]
    fn every_revision_stays_readable() {
        let mut model = Model::new();
        model.run(1, &put(10, 0));
        model.run(2, &Operation::Delete { key: 1 });
        model.run(3, &put(11, 0));
        let values = |revision| model.read(Some(1), revision).first().map(|item| item.value);
        assert_eq!([1, 2, 3, 4].map(values), [None, Some(10), None, Some(11)]);
        assert_eq!(model.read(None, 4)[0].version, 1, "a deleted key begins anew");
    }

    #[test]
    fn a_swap_needs_the_revision_it_saw() {
        let mut model = Model::new();
        let swap = |expected, value| Operation::Swap { key: 1, expected, value };
        assert_eq!(model.run(1, &swap(0, 5)), Outcome::Stored);
        let Outcome::Unswapped(Some(item)) = model.run(2, &swap(0, 6)) else {
            panic!("swapped although the key had changed");
        };
        assert_eq!((item.value, item.modified, model.revision()), (5, 2, 2));
    }
}
