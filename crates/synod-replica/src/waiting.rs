//! Clients that wait for an answer, each until a deadline of its own.

use std::collections::{BTreeMap, BTreeSet};

use synod_paxos::Time;

/// Who waits, by what they wait for.
///
/// Invariant: `deadlines` holds the deadline of each client in `clients`, and no other.
#[derive(Debug)]
pub(crate) struct Waiting<K, C> {
    clients: BTreeMap<K, (Time, C)>,
    deadlines: BTreeSet<(Time, K)>,
}

impl<K: Copy + Ord, C> Waiting<K, C> {
    pub(crate) const fn new() -> Self {
        Self { clients: BTreeMap::new(), deadlines: BTreeSet::new() }
    }

    /// Lets a client wait for what nobody waits for yet.
    pub(crate) fn insert(&mut self, key: K, deadline: Time, client: C) {
        let before = self.clients.insert(key, (deadline, client));
        assert!(before.is_none(), "what a client waits for is named once");
        self.deadlines.insert((deadline, key));
    }

    /// Takes out the client, if it still waits.
    pub(crate) fn take(&mut self, key: K) -> Option<C> {
        let (deadline, client) = self.clients.remove(&key)?;
        self.deadlines.remove(&(deadline, key));
        Some(client)
    }

    /// Takes out a client whose deadline has come.
    pub(crate) fn take_due(&mut self, now: Time) -> Option<(K, C)> {
        let (_, key) = self.deadlines.first().copied().filter(|(deadline, _)| *deadline <= now)?;
        self.take(key).map(|client| (key, client))
    }

    /// Takes out any client.
    pub(crate) fn take_any(&mut self) -> Option<(K, C)> {
        let (_, key) = self.deadlines.first().copied()?;
        self.take(key).map(|client| (key, client))
    }

    pub(crate) fn clients(&self) -> impl Iterator<Item = &C> {
        self.clients.values().map(|(_, client)| client)
    }

    pub(crate) fn next_deadline(&self) -> Option<Time> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    pub(crate) fn len(&self) -> usize {
        self.clients.len()
    }
}
