//! Who leads, as this member knows it: read by every request, written by few events.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use synod_paxos::Ballot;
use tokio::sync::watch;

/// The current leader, as far as known.
#[derive(Debug)]
pub(crate) struct Leadership {
    me: u64,
    leader: AtomicU64,
    is_leader: AtomicBool,
    /// The highest round seen; etcd's term. It never goes down.
    round: AtomicU64,
    changes: AtomicU64,
    known: watch::Sender<bool>,
    /// The ballot this member leads in, if it leads.
    leads: watch::Sender<Option<Ballot>>,
}

impl Leadership {
    pub(crate) fn new(me: u64, round: u64) -> Self {
        Self {
            me,
            leader: AtomicU64::new(0),
            is_leader: AtomicBool::new(false),
            round: AtomicU64::new(round),
            changes: AtomicU64::new(0),
            known: watch::Sender::new(false),
            leads: watch::Sender::new(None),
        }
    }

    /// A ballot was seen.
    pub(crate) fn saw(&self, ballot: Ballot) {
        self.round.fetch_max(ballot.round, Ordering::Relaxed);
    }

    /// This member follows the leader of this ballot, or nobody.
    pub(crate) fn follows(&self, leader: Option<Ballot>) {
        let id = leader.map_or(0, |ballot| ballot.replica.as_u64());
        if let Some(ballot) = leader {
            self.saw(ballot);
            self.changes.fetch_add(1, Ordering::Relaxed);
        }
        self.is_leader.store(id == self.me, Ordering::Relaxed);
        self.leader.store(id, Ordering::Relaxed);
        self.known.send_replace(id != 0);
        self.leads.send_replace(leader.filter(|ballot| ballot.replica.as_u64() == self.me));
    }

    /// The ballot that this member leads in, or none, at each change.
    pub(crate) fn leads(&self) -> watch::Receiver<Option<Ballot>> {
        self.leads.subscribe()
    }

    /// The leader's id, 0 if none is known.
    pub(crate) fn leader(&self) -> u64 {
        self.leader.load(Ordering::Relaxed)
    }

    /// Whether it is this member.
    pub(crate) fn is_leader(&self) -> bool {
        self.is_leader.load(Ordering::Relaxed)
    }

    /// The highest round seen.
    pub(crate) fn round(&self) -> u64 {
        self.round.load(Ordering::Relaxed)
    }

    /// How often there was a new leader.
    pub(crate) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Relaxed)
    }

    /// Tells whether a leader is known, at each change.
    pub(crate) fn watch(&self) -> watch::Receiver<bool> {
        self.known.subscribe()
    }
}
