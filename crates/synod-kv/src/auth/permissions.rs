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

    pub(crate) fn may_read_key(&self, key: &[u8]) -> bool {
        self.read.around(key).is_some()
    }

    pub(crate) fn may_write_key(&self, key: &[u8]) -> bool {
        self.write.around(key).is_some()
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

    /// Whether all keys of a range are in one interval. A range without keys counts as its start.
    fn cover(&self, keys: &KeyRange) -> bool {
        let around = self.around(keys.start().as_bytes());
        around.is_some_and(|interval| interval.reaches(keys.end_bound()))
    }
}
