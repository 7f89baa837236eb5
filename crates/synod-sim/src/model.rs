//! The store as simple as can be: the oracle that answers are compared with.
//!
//! It keeps every version of every key for ever and shares no code with the real store.

use std::collections::BTreeMap;

use crate::operation::{Answer, Item, Operation, Outcome};

/// A store without limits, engine or history management.
#[derive(Debug)]
pub(crate) struct Model {
    revision: i64,
    compacted: i64,
    keys: BTreeMap<u64, Vec<Version>>,
}

#[derive(Debug)]
struct Version {
    revision: i64,
    item: Option<Item>,
}

impl Model {
    /// The empty store, at revision 1.
    pub(crate) const fn new() -> Self {
        Self { revision: 1, compacted: 0, keys: BTreeMap::new() }
    }

    /// The revision of the last change.
    pub(crate) const fn revision(&self) -> i64 {
        self.revision
    }

    /// Below this revision nothing has to be readable.
    pub(crate) const fn compacted(&self) -> i64 {
        self.compacted
    }

    /// Applies a write, and gives the answer that every member must give.
    pub(crate) fn apply(&mut self, operation: &Operation) -> Answer {
        let outcome = match *operation {
            Operation::Put { key, value, .. } => self.store(key, value),
            Operation::Delete { key } => self.delete(key),
            Operation::Swap { key, expected, value } => {
                let found = self.at(key, self.revision);
                if found.map_or(0, |item| item.modified) == expected {
                    self.store(key, value)
                } else {
                    Outcome::Unswapped(found)
                }
            }
            Operation::Compact { revision } => self.compact(revision),
            Operation::Read { .. } => Outcome::Unexpected("a read in the log".to_owned()),
        };
        Answer { revision: self.revision, outcome }
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

    fn store(&mut self, key: u64, value: u64) -> Outcome {
        let before = self.at(key, self.revision);
        self.revision += 1;
        let item = Item {
            key,
            value,
            created: before.map_or(self.revision, |item| item.created),
            modified: self.revision,
            version: before.map_or(1, |item| item.version + 1),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_revision_stays_readable() {
        let mut model = Model::new();
        model.apply(&Operation::Put { key: 1, value: 10, padding: 0 });
        model.apply(&Operation::Delete { key: 1 });
        model.apply(&Operation::Put { key: 1, value: 11, padding: 0 });
        let values = |revision| model.read(Some(1), revision).first().map(|item| item.value);
        assert_eq!([1, 2, 3, 4].map(values), [None, Some(10), None, Some(11)]);
        assert_eq!(model.read(None, 4)[0].version, 1, "a deleted key begins anew");
    }

    #[test]
    fn a_swap_needs_the_revision_it_saw() {
        let mut model = Model::new();
        let swap = |expected, value| Operation::Swap { key: 1, expected, value };
        assert_eq!(model.apply(&swap(0, 5)).outcome, Outcome::Stored);
        let Outcome::Unswapped(Some(item)) = model.apply(&swap(0, 6)).outcome else {
            panic!("swapped although the key had changed");
        };
        assert_eq!((item.value, item.modified, model.revision()), (5, 2, 2));
    }
}
