//! How a member is, for people and for metrics.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use synod_paxos::{Ballot, ReplicaSet, Slot};

use crate::client::{ProposeClient, ReadClient};
use crate::driver::Driver;
use crate::machine::StateMachine;

/// How a member is, as of its last round.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Status {
    /// The ballot of the leader that it is or hears.
    pub leader: Option<Ballot>,
    /// Whether it leads.
    pub is_leader: bool,
    /// Whether all members have met, so that it may vote.
    pub is_formed: bool,
    /// The highest ballot it promised.
    pub promised: Ballot,
    /// Every slot below is chosen.
    pub chosen_watermark: Slot,
    /// Every slot below is applied.
    pub applied_watermark: Slot,
    /// Every slot below survives a crash of any member without the log.
    pub stable_everywhere: Slot,
    /// The log was trimmed up to here since the member started.
    pub trimmed: Slot,
    /// Members it has not met yet.
    pub unmet: ReplicaSet,
    /// Peers it has heard of late.
    pub hears: ReplicaSet,
    /// Clients that wait for replies.
    pub proposals_waiting: usize,
    /// Clients that wait to read.
    pub reads_waiting: usize,
    /// Records that wait for the disk.
    pub records_undurable: usize,
    /// Messages that wait for the driver.
    pub messages_waiting: usize,
    /// Requests that wait for the driver.
    pub requests_waiting: usize,
    /// How often it led and spoke to the others later than twice the time it had for it.
    pub heartbeats_late: u64,
}

/// The last status, shared between the driver and the handles.
#[derive(Debug)]
pub(crate) struct SharedStatus {
    status: Mutex<Status>,
    started: Instant,
    /// Milliseconds from `started` until the driver's last round.
    turned_ms: AtomicU64,
}

impl Default for SharedStatus {
    fn default() -> Self {
        let (status, turned_ms) = (Mutex::default(), AtomicU64::new(0));
        Self { status, started: Instant::now(), turned_ms }
    }
}

impl SharedStatus {
    pub(crate) fn get(&self) -> Status {
        self.status.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How long ago the driver's last round ended.
    pub(crate) fn turned_ago(&self) -> Duration {
        let turned = Duration::from_millis(self.turned_ms.load(Ordering::Relaxed));
        self.started.elapsed().saturating_sub(turned)
    }

    /// Notes how the driver is, with the lengths of its queues.
    pub(crate) fn update<M, P, R>(
        &self,
        driver: &Driver<M, P, R>,
        (messages_waiting, requests_waiting): (usize, usize),
        heartbeats_late: u64,
    ) where
        M: StateMachine,
        P: ProposeClient<M::Reply>,
        R: ReadClient<M>,
    {
        let replica = driver.replica();
        let status = Status {
            leader: replica.leader(),
            is_leader: replica.is_leader(),
            is_formed: replica.is_formed(),
            promised: replica.promised(),
            chosen_watermark: replica.chosen_watermark(),
            applied_watermark: driver.applied_watermark(),
            stable_everywhere: replica.stable_everywhere(),
            trimmed: replica.trimmed_watermark(),
            unmet: replica.unmet(),
            hears: replica.hears(),
            proposals_waiting: driver.proposals_waiting(),
            reads_waiting: driver.reads_waiting(),
            records_undurable: driver.records_undurable(),
            messages_waiting,
            requests_waiting,
            heartbeats_late,
        };
        *self.status.lock().unwrap_or_else(PoisonError::into_inner) = status;
        let turned = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.turned_ms.store(turned, Ordering::Relaxed);
    }
}
