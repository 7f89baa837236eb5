//! The store as the replica's state machine.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use synod_kv::{ApplyError, Operation, Reply, Response, Revision, SnapshotOrigin, Store};
use synod_paxos::{Ballot, Prefix, Slot};
use synod_replica::snapshot::Arrived;
use synod_replica::{Entry, Shipping, StateMachine};
use tracing::warn;

use crate::comparison::Comparison;
use crate::engine::RedbEngine;
use crate::expiry::Alarm;
use crate::flush::FlushHandle;
use crate::leadership::Leadership;
use crate::lease_figures::LeaseFigures;
use crate::log_clock::LogClock;
use crate::metrics::Metrics;
use crate::server::{FatalReason, FatalSink};
use crate::shipping::{self, KvShipping};
use crate::space::Space;
use crate::watch::Watches;

/// Applies what the log has chosen to the store.
#[derive(Debug)]
pub(crate) struct KvMachine {
    store: Store<RedbEngine>,
    flush: FlushHandle,
    fatal: FatalSink,
    leases: LeaseWatch,
    space: Arc<Space>,
    watches: Watches,
    /// The revision after the last command.
    revision: Revision,
    /// The revision that watches were told of last.
    told: Revision,
    origin: SnapshotOrigin,
    metrics: Arc<Metrics>,
    /// Commands that take longer to apply are told about.
    slow: Duration,
    comparison: Arc<Comparison>,
    /// Bytes of commands since the flusher was asked to hurry. The log holds them until they are
    /// flushed, also those of commands that were refused and left no rows.
    log_bytes: usize,
    /// The store has failed: nothing is applied any more, and the process is about to end.
    failed: bool,
}

/// Those that are told of what is applied.
pub(crate) struct Listeners {
    pub(crate) leases: LeaseWatch,
    pub(crate) space: Arc<Space>,
    pub(crate) watches: Watches,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) comparison: Arc<Comparison>,
}

/// The store failed while it applied a command, or before.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the store of this member has failed, and the member stops")]
pub(crate) struct StoreFailed;

/// So many bytes of rows or of the log wait before the flusher is asked to hurry.
const HURRY_BYTES: usize = 16 << 20;

impl KvMachine {
    pub(crate) fn new(
        store: Store<RedbEngine>,
        flush: FlushHandle,
        fatal: FatalSink,
        listeners: Listeners,
        (origin, slow): (SnapshotOrigin, Duration),
    ) -> Self {
        let Listeners { leases, space, watches, metrics, comparison } = listeners;
        let [revision, told] = [Revision::ZERO; 2];
        Self {
            store,
            flush,
            fatal,
            leases,
            space,
            watches,
            revision,
            told,
            origin,
            metrics,
            slow,
            comparison,
            log_bytes: 0,
            failed: false,
        }
    }

    /// Tells those who want to know what became of the log's time and of history.
    fn tell_watchers(&mut self) {
        self.leases.clock.stamped(self.store.time_ms());
        if self.leases.alarm.is_set() {
            self.leases.alarm.due(self.store.next_lease_due());
        }
        if self.revision > self.told {
            self.told = self.revision;
            self.watches.applied();
        }
    }
}

/// Who wants to know what becomes of leases, of the log's time and of the store.
#[derive(Clone, Debug)]
pub(crate) struct LeaseWatch {
    pub(crate) clock: Arc<LogClock>,
    pub(crate) alarm: Arc<Alarm>,
    pub(crate) leadership: Arc<Leadership>,
    pub(crate) figures: Arc<LeaseFigures>,
}

impl StateMachine for KvMachine {
    type Reply = Result<Reply, StoreFailed>;

    fn apply(&mut self, entry: Entry<'_>) -> Self::Reply {
        if self.failed {
            return Err(StoreFailed);
        }
        self.log_bytes += entry.payload.len();
        let (slot, time) = (entry.slot.as_u64(), entry.time.as_millis());
        let start = Instant::now();
        // What is read for an answer is in memory that was lent to who waits for it, and to nobody
        // else.
        let applied = match entry.is_awaited {
            true => self.store.apply(slot, time, entry.payload),
            false => self.store.apply_unasked(slot, time, entry.payload),
        };
        let reply = applied.map_err(|error| {
            self.failed = true;
            self.fatal.tell(FatalReason::Store(error.to_string()));
            StoreFailed
        })?;
        self.revision = reply.revision;
        // Before the answer leaves: who was told that it is done asks for room beside it next.
        self.space.applied(self.store.used_bytes());
        let took = start.elapsed();
        if took > self.slow {
            self.metrics.operations.slow_applies.fetch_add(1, Ordering::Relaxed);
            // In etcd's words, for those who look for them.
            warn!(slot, ?took, expected = ?self.slow, "apply request took too long");
        }
        // As in etcd, to find that it is compacted already is no failure.
        let success = matches!(reply.result, Ok(_) | Err(ApplyError::Compacted { .. }));
        if let Some(operation) = Operation::of(entry.payload) {
            self.metrics.applies.observe(operation, success, took);
        }
        if let Ok(response) = &reply.result {
            if matches!(response, Response::Compact(_)) {
                self.metrics.index_compaction.observe(took);
            }
            self.metrics.operations.applied(response);
            self.leases.figures.count(response, self.leases.leadership.is_leader());
        }
        Ok(reply)
    }

    fn slot_applied(&mut self, applied: Prefix) {
        if self.failed {
            return;
        }
        let Ballot { round, replica } = applied.barrier;
        let (slot, barrier) = (applied.end.as_u64() - 1, [round, replica.as_u64()]);
        self.store.slot_applied(slot, applied.time.as_millis(), barrier);
        self.comparison.applied(slot, || self.store.digest());
        self.tell_watchers();
        if self.store.overlay_bytes().max(self.log_bytes) >= HURRY_BYTES {
            self.log_bytes = 0;
            self.flush.ask();
        }
        // Memory is bounded: a disk that cannot keep up slows the member down.
        if self.store.must_wait() {
            self.flush.wait_for_round();
        }
    }

    fn log_durable(&mut self, below: Slot) {
        self.flush.allow_below(below.as_u64());
    }

    fn applied(&self) -> Prefix {
        shipping::prefix(self.store.applied_slot(), self.store.barrier(), self.store.time_ms())
    }

    fn stable_watermark(&self) -> Slot {
        Slot::new(self.flush.stable_slot())
    }

    fn shipping(&self) -> Option<Box<dyn Shipping>> {
        let (reader, metrics) = (self.store.reader(), Arc::clone(&self.metrics));
        Some(Box::new(KvShipping { reader, origin: self.origin, metrics }))
    }

    fn install(&mut self, arrived: Arrived) -> bool {
        let Ok(state) = arrived.state.downcast::<synod_kv::Arrived>() else { return false };
        if self.failed {
            return false;
        }
        let (start, figures) = (Instant::now(), &self.metrics.snapshots);
        figures.installing.fetch_add(1, Ordering::Relaxed);
        let installed = self.store.install(*state);
        figures.installing.fetch_sub(1, Ordering::Relaxed);
        figures.installs.observe(start.elapsed());
        match installed {
            Ok(installed) => {
                self.flush.allow_below(self.store.applied_slot());
                self.revision = self.store.revision();
                self.space.applied(self.store.used_bytes());
                self.tell_watchers();
                installed
            }
            Err(error) => {
                self.failed = true;
                self.fatal.tell(FatalReason::Store(error.to_string()));
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use synod_kv::{Command, Key, Put};
    use synod_paxos::LogTime;

    use super::*;
    use crate::config::{AutoCompaction, SpaceConfig};
    use crate::flush::{self, Pace};

    /// A client that puts one key after another came beyond the quota by one: its next put was
    /// weighed against the space before the last one.
    #[test]
    fn the_space_in_use_is_known_before_the_answer_leaves() {
        let temp = tempfile::tempdir().unwrap();
        let metrics = Arc::new(Metrics::default());
        let file = temp.path().join("store.redb");
        let engine = RedbEngine::open(&file, Arc::clone(&metrics)).unwrap();
        let (store, flusher) = Store::open(engine).unwrap();
        let (fatal, _) = FatalSink::new();
        let pace = Pace::of(&SpaceConfig {
            quota_bytes: None,
            quota_is_default: false,
            auto_compaction: AutoCompaction::Off,
            compaction_batch: 10,
            compaction_pause: Duration::from_millis(1),
        });
        let pace = (pace, Arc::clone(&metrics));
        let (flush, flusher) = flush::start(flusher, pace, 0, fatal.clone()).unwrap();
        let space = Arc::new(Space::new(None, store.used_bytes()));
        let leases = LeaseWatch {
            clock: Arc::new(LogClock::new(0)),
            alarm: Arc::default(),
            leadership: Arc::new(Leadership::new(1, 0)),
            figures: Arc::default(),
        };
        let listeners = Listeners {
            leases,
            space: Arc::clone(&space),
            watches: Watches::default(),
            metrics,
            comparison: Arc::default(),
        };
        let others = (SnapshotOrigin { cluster: 1, member: 1 }, Duration::from_secs(60));
        let mut machine = KvMachine::new(store, flush.clone(), fatal, listeners, others);

        let key = Key::new(Bytes::from_static(b"key")).unwrap();
        let put = Command::Put(Put::new(key, Bytes::from_static(b"value")));
        let before = space.used();
        machine
            .apply(Entry {
                slot: Slot::new(1),
                time: LogTime::default(),
                payload: &put.encode(),
                is_awaited: true,
            })
            .unwrap();
        assert_eq!(space.used(), before + put.space());
        flush.stop();
        flusher.join().unwrap();
    }
}
