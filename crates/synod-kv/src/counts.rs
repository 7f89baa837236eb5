//! Counts of the past that are known, so that who pages through it does not have it counted anew
//! for each page.
//!
//! What a range holds at a revision never changes, until that revision is compacted; so a count
//! is true for whoever asks. Where an answer ends, what is left of its range is its count less
//! what it told: that is what the client will ask for next, at the same revision.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use crate::key::KeyRange;
use crate::revision::Revision;

/// Most counts that are known.
const COUNTS_MAX: usize = 8192;
/// Most bytes that their keys take.
const BYTES_MAX: usize = 2 << 20;

/// Some counts, the newest ones.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    known: BTreeMap<Span, u64>,
    /// As they came: the first goes first.
    order: VecDeque<Span>,
    bytes: usize,
}

/// The keys from `start` on, up to `end` if there is one, as they are at a revision.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Span {
    at: Revision,
    start: Bytes,
    end: Option<Bytes>,
}

impl Counts {
    /// The count of a range at a revision, which is not compacted.
    pub(crate) fn get(&self, keys: &KeyRange, at: Revision) -> Option<u64> {
        let span = Span::new(keys, keys.start().as_bytes().clone(), at)?;
        self.known.get(&span).copied()
    }

    /// Learns the count of a range at a revision, from a key on.
    pub(crate) fn learn(&mut self, keys: &KeyRange, start: &[u8], at: Revision, count: u64) {
        let Some(span) = Span::new(keys, Bytes::copy_from_slice(start), at) else { return };
        let span = Span { end: span.end.as_deref().map(Bytes::copy_from_slice), ..span };
        let bytes = span.bytes();
        if bytes > BYTES_MAX / 64 || self.known.contains_key(&span) {
            return;
        }
        self.known.insert(span.clone(), count);
        self.order.push_back(span);
        self.bytes += bytes;
        while self.order.len() > COUNTS_MAX || self.bytes > BYTES_MAX {
            let Some(oldest) = self.order.pop_front() else { return };
            self.bytes -= oldest.bytes();
            self.known.remove(&oldest);
        }
    }
}

impl Span {
    /// None for a single key, which is counted by a look at it.
    fn new(keys: &KeyRange, start: Bytes, at: Revision) -> Option<Self> {
        let end = match keys {
            KeyRange::Single(_) => return None,
            KeyRange::Between { end, .. } => Some(end.as_bytes().clone()),
            KeyRange::From(_) => None,
        };
        Some(Self { at, start, end })
    }

    fn bytes(&self) -> usize {
        self.start.len() + self.end.as_ref().map_or(0, Bytes::len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(key: &str) -> KeyRange {
        KeyRange::new(Bytes::copy_from_slice(key.as_bytes()), Bytes::from_static(&[0])).unwrap()
    }

    fn between(key: &str, end: &'static str) -> KeyRange {
        KeyRange::new(Bytes::copy_from_slice(key.as_bytes()), Bytes::from(end)).unwrap()
    }

    #[test]
    fn a_count_is_that_of_its_range_and_revision_only() {
        let mut counts = Counts::default();
        let at = Revision::new(7);
        counts.learn(&between("a", "z"), b"m\0", at, 5);
        assert_eq!(counts.get(&between("m\0", "z"), at), Some(5));
        for (keys, at) in [
            (between("m\0", "z"), at.next()),
            (between("m\0", "y"), at),
            (between("m", "z"), at),
            (from("m\0"), at),
            (KeyRange::Single(from("m\0").start().clone()), at),
        ] {
            assert_eq!(counts.get(&keys, at), None, "{keys:?}");
        }
    }

    #[test]
    fn the_oldest_are_forgotten() {
        let mut counts = Counts::default();
        let at = Revision::new(7);
        let name = |n: usize| format!("{n:08}");
        for n in 0..COUNTS_MAX + 10 {
            counts.learn(&from("a"), name(n).as_bytes(), at, 1);
        }
        assert_eq!((counts.known.len(), counts.order.len()), (COUNTS_MAX, COUNTS_MAX));
        assert_eq!(counts.get(&from(&name(9)), at), None);
        assert_eq!(counts.get(&from(&name(10)), at), Some(1));
        let long = "k".repeat(BYTES_MAX / 100);
        for n in 0..200 {
            counts.learn(&from("a"), format!("{long}{n}").as_bytes(), at, 1);
        }
        let bytes: usize = counts.known.keys().map(Span::bytes).sum();
        assert!(bytes == counts.bytes && bytes <= BYTES_MAX, "{bytes} bytes");
        assert_eq!(counts.known.len(), counts.order.len());
        counts.learn(&from("a"), &vec![b'k'; BYTES_MAX], at, 1);
        assert!(counts.bytes <= BYTES_MAX);
        assert_eq!(counts.get(&from(&format!("{long}199")), at), Some(1));
    }
}
