//! No key changes twice in one transaction: etcd's check, with its order of looking.
//!
//! Deletes of a level come first, then the transactions nested in it in their order, then its own
//! puts. Two consequences are etcd's and kept: of two nested transactions the *later* may delete
//! what the earlier put, and a delete "from this key on" (`range_end` of one zero byte) is not
//! taken to overlap a put. Apply copes with both: the last change of a key in a revision counts.
//! Only a put that *keeps* value or lease may not follow such a delete: etcd itself takes that
//! transaction and dies of it.
//!
//! A request has room for a hundred thousand operations, nested, and each member checks it: so
//! what is deleted is kept as intervals apart from each other, in which a key is found by halving.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound::{Included, Unbounded};

use crate::key::KeyRange;
use crate::txn::Op;

/// A key would change twice.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct DuplicateKey;

/// Checks the operations of one branch, and all below them.
pub(crate) fn check(ops: &[Op]) -> Result<(), DuplicateKey> {
    match ops {
        [] | [Op::Put(_) | Op::DeleteRange(_) | Op::Range(_)] => Ok(()),
        _ => changes(ops).map(drop),
    }
}

/// What a list of operations may change, whichever branches are taken.
#[derive(Default)]
struct Changes<'a> {
    /// The keys put, and whether some put of the key needs what it held before.
    puts: BTreeMap<&'a [u8], bool>,
    deletes: Deletes<'a>,
}

/// Keys that are deleted.
#[derive(Default)]
struct Deletes<'a> {
    single: BTreeSet<&'a [u8]>,
    /// Starts and ends, apart from each other.
    between: BTreeMap<&'a [u8], &'a [u8]>,
    /// Everything from here on.
    from: Option<&'a [u8]>,
}

impl<'a> Deletes<'a> {
    fn add(&mut self, keys: &'a KeyRange) {
        let start = keys.start().as_bytes();
        match keys {
            KeyRange::Single(_) => {
                self.single.insert(start);
            }
            KeyRange::Between { end, .. } => self.add_between(start, end.as_bytes()),
            KeyRange::From(_) => self.add_from(start),
        }
    }

    fn add_between(&mut self, mut start: &'a [u8], mut end: &'a [u8]) {
        if end <= start {
            return;
        }
        if let Some((before, its_end)) = self.between.range(..=start).next_back()
            && *its_end >= start
        {
            start = *before;
        }
        while let Some((met, its_end)) = self.between.range(start..=end).next() {
            let (met, its_end) = (*met, *its_end);
            end = end.max(its_end);
            self.between.remove(met);
        }
        self.between.insert(start, end);
    }

    fn add_from(&mut self, start: &'a [u8]) {
        self.from = Some(self.from.map_or(start, |from| from.min(start)));
    }

    fn extend(&mut self, other: Self) {
        self.single.extend(other.single);
        for (start, end) in other.between {
            self.add_between(start, end);
        }
        if let Some(start) = other.from {
            self.add_from(start);
        }
    }

    /// Whether a put of the key is refused.
    fn forbid(&self, key: &[u8], needs_key: bool) -> bool {
        let between = self.between.range::<[u8], _>((Unbounded, Included(key))).next_back();
        self.single.contains(key)
            || between.is_some_and(|(_, end)| key < *end)
            || needs_key && self.from.is_some_and(|from| from <= key)
    }
}

impl<'a> Changes<'a> {
    fn put(&mut self, key: &'a [u8], needs_key: bool) -> Result<(), DuplicateKey> {
        if self.deletes.forbid(key, needs_key) || self.puts.insert(key, needs_key).is_some() {
            return Err(DuplicateKey);
        }
        Ok(())
    }
}

fn changes(ops: &[Op]) -> Result<Changes<'_>, DuplicateKey> {
    let mut all = Changes::default();
    for op in ops {
        if let Op::DeleteRange(delete) = op {
            all.deletes.add(&delete.keys);
        }
    }
    for op in ops {
        if let Op::Txn(txn) = op {
            // The branches exclude each other, so both may put the same key.
            let mut nested = changes(txn.success())?;
            let failure = changes(txn.failure())?;
            for (key, needs_key) in failure.puts {
                *nested.puts.entry(key).or_default() |= needs_key;
            }
            for (key, needs_key) in nested.puts {
                all.put(key, needs_key)?;
            }
            all.deletes.extend(nested.deletes);
            all.deletes.extend(failure.deletes);
        }
    }
    for op in ops {
        if let Op::Put(put) = op {
            all.put(put.key.as_bytes(), put.needs_key())?;
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::command::{Assign, DeleteRange, Put};
    use crate::key::Key;
    use crate::txn::{Txn, TxnError};

    fn put(key: &'static str) -> Op {
        Op::Put(Put::new(Key::new(Bytes::from(key)).unwrap(), Bytes::new()))
    }

    fn keep(key: &'static str) -> Op {
        let key = Key::new(Bytes::from(key)).unwrap();
        Op::Put(Put { value: Assign::Keep, ..Put::new(key, Bytes::new()) })
    }

    fn delete(key: &'static str, end: &'static str) -> Op {
        Op::DeleteRange(DeleteRange::new(
            KeyRange::new(Bytes::from(key), Bytes::from(end)).unwrap(),
        ))
    }

    fn txn(success: Vec<Op>, failure: Vec<Op>) -> Op {
        Op::Txn(Txn::new(vec![], success, failure).unwrap())
    }

    proptest! {
        #[test]
        fn a_key_is_found_among_what_is_deleted(
            ranges in prop::collection::vec(
                ("[a-e]{1,2}", prop::option::of("[a-e]{1,2}|\\x00")),
                0..9,
            ),
            split in 0..9usize,
            probe in "[a-e]{1,2}",
            needs_key in any::<bool>(),
        ) {
            let of = |(start, end): (String, Option<String>)| {
                KeyRange::new(Bytes::from(start), Bytes::from(end.unwrap_or_default())).unwrap()
            };
            let ranges: Vec<_> = ranges.into_iter().map(of).collect();
            let (mut all, mut nested) = (Deletes::default(), Deletes::default());
            for (place, keys) in ranges.iter().enumerate() {
                if place < split { all.add(keys) } else { nested.add(keys) }
            }
            all.extend(nested);
            let key = probe.as_bytes();
            let expected = ranges.iter().any(|keys| match keys {
                KeyRange::From(_) => needs_key && keys.contains(key),
                KeyRange::Single(_) | KeyRange::Between { .. } => keys.contains(key),
            });
            prop_assert_eq!(all.forbid(key, needs_key), expected, "{:?}", ranges);
        }
    }

    /// Each row was put to an etcd 3.4.23; the last, which kills it, is refused here.
    #[test]
    fn refuses_what_etcd_refuses() {
        let table: Vec<(&str, bool, Vec<Op>)> = vec![
            ("two puts", false, vec![put("a"), put("a")]),
            ("two keys", true, vec![put("a"), put("b")]),
            ("range delete over a put", false, vec![delete("a", "c"), put("b")]),
            ("put under a range delete", false, vec![put("b"), delete("a", "c")]),
            ("range delete beside a put", true, vec![delete("a", "c"), put("c")]),
            ("two deletes", true, vec![delete("a", "c"), delete("b", "")]),
            ("delete from a key on, put above", true, vec![delete("a", "\0"), put("b")]),
            ("inverted delete", true, vec![delete("c", "a"), put("b")]),
            (
                "nested put, then nested delete",
                true,
                vec![txn(vec![put("a")], vec![]), txn(vec![delete("a", "")], vec![])],
            ),
            (
                "nested delete, then nested put",
                false,
                vec![txn(vec![delete("a", "")], vec![]), txn(vec![put("a")], vec![])],
            ),
            ("both branches put", true, vec![txn(vec![put("a")], vec![put("a")])]),
            (
                "both branches and outside",
                false,
                vec![txn(vec![put("a")], vec![put("a")]), put("a")],
            ),
            ("delete from a key on, keep above", false, vec![delete("a", "\0"), keep("b")]),
        ];
        for (name, allowed, ops) in table {
            let expected = if allowed { Ok(()) } else { Err(TxnError::DuplicateKey) };
            assert_eq!(Txn::new(vec![], ops.clone(), vec![]).map(drop), expected, "{name}");
            assert_eq!(Txn::new(vec![], vec![], ops).map(drop), expected, "{name}, failure");
        }
    }
}
