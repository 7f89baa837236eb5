//! Figures that many threads count at once.
//!
//! Plain atomics, one set per member: several members may live in one process, and the hot path
//! pays one addition. `render` writes them out as Prometheus reads them.
//!
//! To add a figure: a field in [`Metrics`] if something counts it (what can be asked for when it is
//! needed has none), a line in the file of `render/` that it belongs to, and a line in
//! `docs/metrics.md`, which a test compares with the page.

mod applies;
mod calls;
mod clients;
mod histogram;
mod messages;
mod operations;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use parking_lot::Mutex;

pub(crate) use applies::Applies;
pub(crate) use calls::{CODES, Calls, Followed, Row};
pub(crate) use histogram::{
    Apply, Buckets, Compaction, Defrag, Hash, Histogram, Network, Pause, Slice, Transfer, Ttl,
};
pub(crate) use operations::Operations;

use crate::events::REASONS;

/// All that is counted; what can be asked for when it is needed is not here.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    /// Syncs of the log.
    pub(crate) wal_sync: Histogram,
    /// Writes to the log.
    pub(crate) wal_write: Histogram,
    /// Bytes written to the log.
    pub(crate) wal_bytes: AtomicU64,
    /// Commits of the engine.
    pub(crate) backend_commit: Histogram,
    /// Views of the engine's rows that are open.
    pub(crate) backend_views: AtomicU64,
    /// The whole store, sent to a client or to a member.
    pub(crate) backend_snapshot: Histogram<Transfer>,
    /// Slices in which dead rows were reclaimed.
    pub(crate) compaction_slice: Histogram<Slice>,
    /// From the first of these slices to the last one.
    pub(crate) compaction: Histogram<Compaction>,
    /// When the last of these slices ended, in seconds since 1970; 0 if there was none.
    pub(crate) compaction_last: AtomicU64,
    /// Compactions applied to the index.
    pub(crate) index_compaction: Histogram<Pause>,
    /// Calls of Hash.
    pub(crate) hash: Histogram<Hash>,
    /// Calls of HashKV.
    pub(crate) hash_kv: Histogram<Hash>,
    /// Calls of Defragment.
    pub(crate) defrag: Histogram<Defrag>,
    /// Commands applied, by what they do.
    pub(crate) applies: Applies,
    /// Ranges, from the first look until the answer begins: those that failed, and the others.
    pub(crate) range: [Histogram<Apply>; 2],
    /// Operations on keys.
    pub(crate) operations: Operations,
    /// Proposals that brought no reply.
    pub(crate) proposals_failed: AtomicU64,
    /// Linearizable reads that were not confirmed in time.
    pub(crate) reads_slow: AtomicU64,
    /// Linearizable reads that were refused.
    pub(crate) reads_failed: AtomicU64,
    /// Frames of peers that do not decode.
    pub(crate) bad_frames: AtomicU64,
    /// Messages left without effect, by reason.
    pub(crate) ignored: [AtomicU64; REASONS.len()],
    /// Snapshots between members.
    pub(crate) snapshots: SnapshotFigures,
    /// Calls by method and code.
    pub(crate) calls: Arc<Calls>,
    /// Round trips to each peer.
    pub(crate) round_trips: Mutex<BTreeMap<u64, Histogram<Network>>>,
    /// What `/health`, `/livez` and `/readyz` answered.
    pub(crate) probes: Probes,
}

/// Snapshots between members.
#[derive(Debug, Default)]
pub(crate) struct SnapshotFigures {
    /// Under way to others.
    pub(crate) sending: AtomicU64,
    /// Sent to their end.
    pub(crate) sent: Histogram,
    /// Let go before.
    pub(crate) send_failures: AtomicU64,
    /// Under way to here.
    pub(crate) receiving: AtomicU64,
    /// Received to their end.
    pub(crate) received: Histogram,
    /// Let go before, or damaged.
    pub(crate) receive_failures: AtomicU64,
    /// Being taken over.
    pub(crate) installing: AtomicU64,
    /// Taken over: made durable in the place of the former state.
    pub(crate) installs: Histogram,
}

/// What was answered to who asked how the member is.
#[derive(Debug, Default)]
pub(crate) struct Probes {
    /// `/health` said yes.
    pub(crate) healthy: AtomicU64,
    /// `/health` said no.
    pub(crate) unhealthy: AtomicU64,
    /// By probe and check: the last result, and how often there was each.
    checks: Mutex<BTreeMap<(&'static str, &'static str), CheckCounts>>,
}

/// One check of one probe.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct CheckCounts {
    /// Whether the last one passed.
    pub(crate) passed: bool,
    /// How often it passed.
    pub(crate) successes: u64,
    /// How often it did not.
    pub(crate) errors: u64,
}

impl Metrics {
    /// A range began then, and was answered or not.
    pub(crate) fn range_since(&self, start: Instant, success: bool) {
        self.range[usize::from(success)].observe(start.elapsed());
    }

    /// A linearizable read was not confirmed: for want of time, or it was refused.
    pub(crate) fn read_unconfirmed(&self, is_late: bool) {
        let count = if is_late { &self.reads_slow } else { &self.reads_failed };
        count.fetch_add(1, Ordering::Relaxed);
    }
}

impl Probes {
    /// Counts the result of a check.
    pub(crate) fn checked(&self, probe: &'static str, check: &'static str, passed: bool) {
        let mut checks = self.checks.lock();
        let counts = checks.entry((probe, check)).or_default();
        counts.passed = passed;
        *(if passed { &mut counts.successes } else { &mut counts.errors }) += 1;
    }

    /// Probe, check and counts of all that was checked.
    pub(crate) fn read(&self) -> Vec<((&'static str, &'static str), CheckCounts)> {
        self.checks.lock().iter().map(|(names, counts)| (*names, *counts)).collect()
    }
}
