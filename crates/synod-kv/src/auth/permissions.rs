//! The permissions of all roles of a user, merged: found by halving, however many there are.

use std::ops::Bound;

use bytes::Bytes;

use super::command::Permission;
use crate::key::KeyRange;

/// What a user may read and write.
#[derive(Debug, Default)]
pub(crate) struct Permissions {
    read: Intervals,
    write: Intervals,
}

/// Intervals of keys, upward, apart from each other.
#[derive(Debug, Default)]
struct Intervals(Vec<Interval>);

/// Keys from `start` on, up to `end` without it; none for no end.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Interval {
    start: Bytes,
    end: Option<Bytes>,
}

impl Permissions {
    pub(crate) fn merge<'a>(permissions: impl Iterator<Item = &'a Permission>) -> Self {
        let (mut read, mut write) = (Vec::new(), Vec::new());
        for Permission { access, keys } in permissions {
            let interval = Interval::of(keys);
            if access.reads() {
                read.push(interval.clone());
            }
            if access.writes() {
                write.push(interval);
            }
        }
        Self { read: Intervals::merge(read), write: Intervals::merge(write) }
    }

    pub(crate) fn may_read(&self, keys: &KeyRange) -> bool {
        self.read.cover(keys)
    }

    pub(crate) fn may_write(&self, keys: &KeyRange) -> bool {
        self.write.cover(keys)
    }

    /// Whether all keys of a set may be read; `from` gives its first one that is not below a start.
    pub(crate) fn may_read_all<'a>(&self, from: impl Fn(&[u8]) -> Option<&'a Bytes>) -> bool {
        self.read.cover_all(from)
    }

    /// The same for writes.
    pub(crate) fn may_write_all<'a>(&self, from: impl Fn(&[u8]) -> Option<&'a Bytes>) -> bool {
        self.write.cover_all(from)
    }
}

impl Interval {
    fn of(keys: &KeyRange) -> Self {
        let start = keys.start().as_bytes().clone();
        let end = match keys {
            KeyRange::Single(_) => Some([&start[..], &[0]].concat().into()),
            KeyRange::Between { end, .. } => Some(end.as_bytes().clone()),
            KeyRange::From(_) => None,
        };
        Self { start, end }
    }

    /// Whether everything below this bound that is not below `start` belongs to it.
    fn reaches(&self, bound: Bound<&[u8]>) -> bool {
        match (&self.end, bound) {
            (None, _) => true,
            (Some(_), Bound::Unbounded) => false,
            (Some(end), Bound::Included(last)) => last < &end[..],
            (Some(end), Bound::Excluded(last)) => last <= &end[..],
        }
    }
}

impl Intervals {
    fn merge(mut intervals: Vec<Interval>) -> Self {
        intervals.sort_unstable_by(|a, b| a.start.cmp(&b.start));
        let mut merged: Vec<Interval> = Vec::new();
        for next in intervals {
            match merged.last_mut() {
                Some(last) if last.end.as_ref().is_none_or(|end| next.start <= *end) => {
                    let further = match (&last.end, &next.end) {
                        (None, _) => false,
                        (Some(_), None) => true,
                        (Some(end), Some(next)) => next > end,
                    };
                    if further {
                        last.end = next.end;
                    }
                }
                _ => merged.push(next),
            }
        }
        Self(merged)
    }

    /// The interval that a key is in.
    fn around(&self, key: &[u8]) -> Option<&Interval> {
        let after = self.0.partition_point(|interval| &interval.start[..] <= key);
        let candidate = self.0.get(after.checked_sub(1)?)?;
        candidate.reaches(Bound::Included(key)).then_some(candidate)
    }

    /// Whether each key of a set is in some interval: looks for one key in each interval instead of
    /// at all keys, so a lease with a million of them costs no more than one with few.
    fn cover_all<'a>(&self, from: impl Fn(&[u8]) -> Option<&'a Bytes>) -> bool {
        let mut next = from(&[]);
        while let Some(key) = next {
            match self.around(key).map(|interval| &interval.end) {
                None => return false,
                Some(None) => return true,
                Some(Some(end)) => next = from(end),
            }
        }
        true
    }

    /// Whether all keys of a range are in one interval. A range without keys counts as its start.
    fn cover(&self, keys: &KeyRange) -> bool {
        let around = self.around(keys.start().as_bytes());
        around.is_some_and(|interval| interval.reaches(keys.end_bound()))
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::collections::BTreeSet;

    use proptest::collection::{btree_set, vec};
    use proptest::prelude::*;

    use super::*;
    use crate::auth::Access;

    fn keys() -> impl Strategy<Value = KeyRange> {
        let ends = prop_oneof![Just(String::new()), Just("\0".to_owned()), "[a-d]{1,2}"];
        ("[a-d]{1,2}", ends).prop_map(|(key, end)| KeyRange::new(key.into(), end.into()).unwrap())
    }

    proptest! {
        #[test]
        fn all_of_a_set_are_covered_as_each_by_itself(
            ranges in vec(keys(), 0..5),
            set in btree_set("[a-d]{1,3}", 0..6),
        ) {
            let set: BTreeSet<Bytes> = set.into_iter().map(Bytes::from).collect();
            let ranges = ranges.into_iter();
            let granted: Vec<Permission> =
                ranges.filter_map(|keys| Permission::new(Access::Write, keys)).collect();
            let merged = Permissions::merge(granted.iter());
            let from = |start: &[u8]| set.iter().find(|key| &key[..] >= start);
            let by_each = set.iter().all(|key| granted.iter().any(|it| it.keys.contains(key)));
            prop_assert_eq!(merged.may_write_all(from), by_each);
            prop_assert_eq!(merged.may_read_all(from), set.is_empty());
        }
    }

    #[test]
    fn a_large_set_is_looked_at_once_for_each_interval() {
        let set: BTreeSet<Bytes> = (0..10_000).map(|n| format!("a{n}").into()).collect();
        let prefixes = ["a", "b"].map(|prefix| KeyRange::prefix(prefix.into()).unwrap());
        let granted = prefixes.map(|keys| Permission::new(Access::Write, keys).unwrap());
        let looks = Cell::new(0);
        let from = |start: &[u8]| {
            looks.set(looks.get() + 1);
            set.range::<[u8], _>((Bound::Included(start), Bound::Unbounded)).next()
        };
        assert!(Permissions::merge(granted.iter()).may_write_all(from));
        assert_eq!(looks.get(), 2);
    }
}
