//! The leases there are, by id and by deadline, each with its keys.
//!
//! **Invariant:** the queue has one entry per lease: its deadline. A renewal moves the entry, so
//! that nothing of former deadlines is left behind.
//!
//! Small on purpose, as there may be millions: about 90 bytes for a lease, and a few dozen for
//! its key if it has one, as most do.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use bytes::Bytes;

/// A lease without its keys: what the engine keeps of it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Terms {
    /// Seconds from a renewal to the deadline.
    pub(crate) ttl: i64,
    /// The log time at which it is over.
    pub(crate) deadline_ms: u64,
}

/// A change of a lease: its terms, or none if it ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct LeaseChange {
    pub(crate) id: i64,
    pub(crate) terms: Option<Terms>,
}

/// All leases.
#[derive(Debug, Default)]
pub(crate) struct Leases {
    by_id: BTreeMap<i64, Lease>,
    /// Deadline and id.
    queue: BTreeSet<(u64, i64)>,
    /// Keys attached, of all leases.
    attached: u64,
    /// How often terms were set: log time stands still within a slot, this goes on.
    begun: u64,
}

#[derive(Debug)]
struct Lease {
    terms: Terms,
    /// Which beginning, of all of them, was its last. It is in memory only: see
    /// [`Leases::after`].
    begun: u64,
    keys: Keys,
}

/// The keys of a lease. Boxed, as they would else make every lease larger.
#[derive(Debug, Default)]
#[expect(clippy::box_collection, reason = "a set beside a pointer would widen every lease")]
enum Keys {
    #[default]
    None,
    One(Box<Bytes>),
    Many(Box<BTreeSet<Bytes>>),
}

impl Terms {
    /// The terms of a lease that begins, or is renewed, at this log time.
    pub(crate) fn beginning(ttl: i64, time_ms: u64) -> Self {
        let ttl_ms = u64::try_from(ttl).unwrap_or(0).saturating_mul(1000);
        Self { ttl, deadline_ms: time_ms.saturating_add(ttl_ms) }
    }

    /// Whether it is over at this log time.
    pub(crate) const fn is_over(self, time_ms: u64) -> bool {
        self.deadline_ms <= time_ms
    }
}

impl Leases {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// How many keys are attached to leases.
    pub(crate) const fn attached(&self) -> u64 {
        self.attached
    }

    /// The terms of a lease.
    pub(crate) fn terms(&self, id: i64) -> Option<Terms> {
        self.by_id.get(&id).map(|lease| lease.terms)
    }

    /// Sets the terms of a lease, new or not.
    pub(crate) fn set(&mut self, id: i64, terms: Terms) {
        self.begun += 1;
        let begun = self.begun;
        let lease = self.by_id.entry(id).or_insert(Lease { terms, begun, keys: Keys::None });
        self.queue.remove(&(lease.terms.deadline_ms, id));
        (lease.terms, lease.begun) = (terms, begun);
        self.queue.insert((terms.deadline_ms, id));
    }

    /// All leases are loaded: which of them began first is not known.
    pub(crate) fn loaded(&mut self) {
        self.by_id.values_mut().for_each(|lease| lease.begun = 0);
    }

    /// Forgets a lease. Its keys are gone already.
    pub(crate) fn remove(&mut self, id: i64) {
        let lease = self.by_id.remove(&id).expect("only a lease that exists ends");
        assert!(matches!(lease.keys, Keys::None), "lease {id:x} ends with keys");
        self.queue.remove(&(lease.terms.deadline_ms, id));
    }

    /// Attaches a key that is attached to nothing; if the lease is unknown, does nothing. That is
    /// so while rows are loaded: history names leases that are no more.
    pub(crate) fn attach(&mut self, id: i64, key: Bytes) {
        if let Some(lease) = self.by_id.get_mut(&id) {
            lease.keys.insert(key);
            self.attached += 1;
        }
    }

    /// Detaches a key from what it was attached to.
    pub(crate) fn detach(&mut self, id: i64, key: &Bytes) {
        if let Some(lease) = self.by_id.get_mut(&id)
            && lease.keys.remove(key)
        {
            self.attached -= 1;
        }
    }

    /// How many keys a lease has.
    fn key_count(&self, id: i64) -> usize {
        self.by_id.get(&id).map_or(0, |lease| lease.keys.len())
    }

    /// Up to `max` keys of a lease above `after`, upward.
    pub(crate) fn keys(&self, id: i64, after: Option<&Bytes>, max: usize) -> Vec<Bytes> {
        let keys = match self.by_id.get(&id).map(|lease| &lease.keys) {
            None | Some(Keys::None) => return Vec::new(),
            Some(Keys::One(key)) => std::slice::from_ref(key.as_ref()).iter(),
            Some(Keys::Many(keys)) => {
                let from = after.map_or(Bound::Unbounded, Bound::Excluded);
                let range = keys.range::<Bytes, _>((from, Bound::Unbounded));
                return range.take(max).cloned().collect();
            }
        };
        keys.filter(|key| after.is_none_or(|after| *key > after)).take(max).cloned().collect()
    }

    /// The first key of a lease that is not below `start`.
    pub(crate) fn key_from(&self, id: i64, start: &[u8]) -> Option<&Bytes> {
        self.by_id.get(&id)?.keys.from(start)
    }

    /// All ids, upward.
    pub(crate) fn ids(&self) -> impl Iterator<Item = i64> {
        self.by_id.keys().copied()
    }

    /// Up to `max` leases with an id above `after`, upward, with their places in the order of
    /// deadlines. Of those with one deadline, the one that began first is first; those that were
    /// loaded together stand in the order of their ids, as neither the engine nor a snapshot keeps
    /// more.
    pub(crate) fn after(&self, after: Option<i64>, max: usize) -> Vec<((u64, u64), i64)> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let range = self.by_id.range((from, Bound::Unbounded));
        let place = |lease: &Lease| (lease.terms.deadline_ms, lease.begun);
        range.take(max).map(|(id, lease)| (place(lease), *id)).collect()
    }

    /// The earliest deadline.
    pub(crate) fn next_due(&self) -> Option<u64> {
        self.queue.first().map(|(deadline_ms, _)| *deadline_ms)
    }

    /// Leases that are over, the longest first: at most so many, and after the first one only
    /// while all of them have at most `keys_max` keys.
    pub(crate) fn due(&self, time_ms: u64, leases_max: usize, keys_max: usize) -> Vec<i64> {
        let mut due = Vec::new();
        let mut keys = 0_usize;
        let over = self.queue.iter().take_while(|(deadline_ms, _)| *deadline_ms <= time_ms);
        for (_, id) in over.take(leases_max) {
            keys = keys.saturating_add(self.key_count(*id));
            if keys > keys_max && !due.is_empty() {
                break;
            }
            due.push(*id);
        }
        due
    }
}

impl Keys {
    fn len(&self) -> usize {
        match self {
            Self::None => 0,
            Self::One(_) => 1,
            Self::Many(keys) => keys.len(),
        }
    }

    fn from(&self, start: &[u8]) -> Option<&Bytes> {
        match self {
            Self::None => None,
            Self::One(key) => Some(key.as_ref()).filter(|key| &key[..] >= start),
            Self::Many(keys) => {
                keys.range::<[u8], _>((Bound::Included(start), Bound::Unbounded)).next()
            }
        }
    }

    fn insert(&mut self, key: Bytes) {
        *self = match std::mem::take(self) {
            Self::None => Self::One(Box::new(key)),
            Self::One(first) => Self::Many(Box::new(BTreeSet::from([*first, key]))),
            Self::Many(mut keys) => {
                keys.insert(key);
                Self::Many(keys)
            }
        };
    }

    fn remove(&mut self, key: &Bytes) -> bool {
        match self {
            Self::None => false,
            Self::One(one) => {
                let found = one.as_ref() == key;
                if found {
                    *self = Self::None;
                }
                found
            }
            Self::Many(keys) => {
                let found = keys.remove(key);
                if keys.is_empty() {
                    *self = Self::None;
                }
                found
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terms(deadline_ms: u64) -> Terms {
        Terms { ttl: 1, deadline_ms }
    }

    #[test]
    fn renewals_leave_nothing_in_the_queue() {
        let mut leases = Leases::default();
        for id in [3, -1, 7] {
            for deadline_ms in 1..1000 {
                leases.set(id, terms(deadline_ms));
            }
        }
        assert_eq!((leases.queue.len(), leases.len(), leases.next_due()), (3, 3, Some(999)));
        leases.remove(3);
        assert_eq!((leases.queue.len(), leases.len()), (2, 2));
    }

    #[test]
    fn what_is_due_comes_in_the_order_of_deadlines_within_its_bounds() {
        let mut leases = Leases::default();
        for (id, deadline_ms, keys) in [(1, 30, 0), (2, 10, 3), (-3, 20, 2), (4, 41, 0)] {
            leases.set(id, terms(deadline_ms));
            for key in 0..keys {
                leases.attach(id, Bytes::from(format!("{id}/{key}")));
            }
        }
        let table: [(u64, usize, usize, &[i64]); 7] = [
            (9, 9, 9, &[]),
            (10, 9, 9, &[2]),
            (40, 9, 9, &[2, -3, 1]),
            (40, 2, 9, &[2, -3]),
            (40, 9, 4, &[2]),
            (40, 9, 0, &[2]),
            (41, 9, 5, &[2, -3, 1, 4]),
        ];
        for (time_ms, leases_max, keys_max, expected) in table {
            let due = leases.due(time_ms, leases_max, keys_max);
            assert_eq!(due, expected, "{time_ms} {leases_max} {keys_max}");
        }
    }

    /// Ids that clients let the server draw say nothing of their order, and log time may stand
    /// still between two grants.
    #[test]
    fn of_one_deadline_the_one_that_began_first_is_first() {
        let mut leases = Leases::default();
        for (id, deadline_ms) in [(9, 20), (3, 20), (-5, 10), (7, 20), (9, 20)] {
            leases.set(id, terms(deadline_ms));
        }
        let mut all = leases.after(None, 9);
        all.sort_unstable();
        let ids: Vec<i64> = all.into_iter().map(|(_, id)| id).collect();
        assert_eq!(ids, [-5, 3, 7, 9], "9 was renewed last");
    }

    #[test]
    fn keys_are_found_from_a_start_on() {
        let mut leases = Leases::default();
        leases.set(1, terms(1));
        for count in 0..=3 {
            let found =
                ["", "a", "b", "bb", "c", "d"].map(|start| leases.key_from(1, start.as_bytes()));
            let letters = found.map(|key| key.map_or(' ', |key| char::from(key[0])));
            let expected = ["      ", "aa    ", "aab   ", "aabcc "][count];
            assert_eq!(String::from_iter(letters), expected, "{count} keys");
            leases.attach(1, Bytes::from(["a", "b", "c", ""][count]));
        }
        assert_eq!(leases.key_from(2, b""), None, "there is no lease 2");
    }

    #[test]
    fn keys_come_and_go_one_by_one() {
        let mut leases = Leases::default();
        leases.set(1, terms(1));
        let names: Vec<Bytes> = ["a", "b", "c"].map(Bytes::from).to_vec();
        for count in 0..=3 {
            for key in &names[..count] {
                leases.attach(1, key.clone());
            }
            assert_eq!(leases.keys(1, None, 9), names[..count]);
            assert_eq!(leases.keys(1, None, 1), names[..count.min(1)]);
            assert_eq!(leases.keys(1, names.first(), 9), names[1.min(count)..count]);
            assert_eq!(leases.attached(), u64::try_from(count).unwrap());
            for key in &names {
                leases.detach(1, key);
            }
            assert_eq!((leases.keys(1, None, 9).len(), leases.attached()), (0, 0));
        }
        leases.attach(2, names[0].clone());
        assert_eq!(leases.attached(), 0, "there is no lease 2");
        leases.remove(1);
    }
}
