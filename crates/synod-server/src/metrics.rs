//! Figures that many threads count at once.
//!
//! Plain atomics, one set per member: several members may live in one process, and the hot path
//! pays one addition. `render` writes them out as Prometheus reads them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::events::REASONS;

/// All that is counted; what can be asked for when it is needed is not here.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    /// Syncs of the log.
    pub(crate) wal_sync: Histogram,
    /// Commits of the engine.
    pub(crate) backend_commit: Histogram,
    /// Proposals that brought no reply.
    pub(crate) proposals_failed: AtomicU64,
    /// Slow or refused linearizable reads.
    pub(crate) reads_failed: AtomicU64,
    /// Frames of peers that do not decode.
    pub(crate) bad_frames: AtomicU64,
    /// Messages left without effect, by reason.
    pub(crate) ignored: [AtomicU64; REASONS.len()],
    /// Calls by method and code.
    pub(crate) calls: Calls,
}

/// Counts durations.
#[derive(Debug, Default)]
pub(crate) struct Histogram {
    buckets: [AtomicU64; BUCKETS + 1],
    nanos: AtomicU64,
}

/// Etcd's buckets for syncs: 1 ms, doubling.
const BUCKETS: usize = 14;

impl Histogram {
    /// Counts one.
    pub(crate) fn observe(&self, took: Duration) {
        let millis = took.as_millis();
        let below = (0..BUCKETS).find(|bucket| took <= Duration::from_millis(1 << bucket));
        debug_assert!(below.is_some() || millis >= 8192);
        self.buckets[below.unwrap_or(BUCKETS)].fetch_add(1, Ordering::Relaxed);
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.nanos.fetch_add(nanos, Ordering::Relaxed);
    }

    /// Upper bounds in milliseconds with the counts up to there, then the count and sum of all.
    pub(crate) fn read(&self) -> (Vec<(u64, u64)>, u64, Duration) {
        let mut total = 0;
        let mut up_to = Vec::with_capacity(BUCKETS);
        for (bucket, count) in self.buckets.iter().enumerate() {
            total += count.load(Ordering::Relaxed);
            if bucket < BUCKETS {
                up_to.push((1 << bucket, total));
            }
        }
        (up_to, total, Duration::from_nanos(self.nanos.load(Ordering::Relaxed)))
    }
}

/// Calls by method and code: a fixed table, since callers choose the paths.
#[derive(Debug)]
pub(crate) struct Calls {
    counts: Vec<[AtomicU64; CODES.len()]>,
}

/// The methods that are built, and a row for all others.
pub(crate) const METHODS: [(&str, &str); 8] = [
    ("etcdserverpb.KV", "Range"),
    ("etcdserverpb.KV", "Put"),
    ("etcdserverpb.KV", "DeleteRange"),
    ("etcdserverpb.KV", "Txn"),
    ("etcdserverpb.KV", "Compact"),
    ("etcdserverpb.Maintenance", "Status"),
    ("etcdserverpb.Cluster", "MemberList"),
    ("unknown", "unknown"),
];

/// gRPC's codes, as go-grpc-prometheus names them.
pub(crate) const CODES: [&str; 17] = [
    "OK",
    "Canceled",
    "Unknown",
    "InvalidArgument",
    "DeadlineExceeded",
    "NotFound",
    "AlreadyExists",
    "PermissionDenied",
    "ResourceExhausted",
    "FailedPrecondition",
    "Aborted",
    "OutOfRange",
    "Unimplemented",
    "Internal",
    "Unavailable",
    "DataLoss",
    "Unauthenticated",
];

impl Default for Calls {
    fn default() -> Self {
        Self { counts: METHODS.iter().map(|_| Default::default()).collect() }
    }
}

impl Calls {
    /// The row of a path.
    pub(crate) fn method(path: &str) -> usize {
        let named = path.strip_prefix('/').and_then(|path| path.rsplit_once('/'));
        METHODS.iter().position(|method| Some(*method) == named).unwrap_or(METHODS.len() - 1)
    }

    /// Counts a call.
    pub(crate) fn count(&self, method: usize, code: tonic::Code) {
        let code = usize::try_from(i32::from(code)).unwrap_or(2);
        self.counts[method][code].fetch_add(1, Ordering::Relaxed);
    }

    /// Service, method, code and count of everything that was called.
    pub(crate) fn read(&self) -> Vec<(&'static str, &'static str, &'static str, u64)> {
        let mut lines = Vec::new();
        for ((service, method), counts) in METHODS.iter().zip(&self.counts) {
            for (code, count) in CODES.iter().zip(counts) {
                let count = count.load(Ordering::Relaxed);
                if count > 0 {
                    lines.push((*service, *method, *code, count));
                }
            }
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_fall_into_the_bucket_that_holds_them() {
        let histogram = Histogram::default();
        for millis in [0, 1, 2, 3, 8192, 100_000] {
            histogram.observe(Duration::from_millis(millis));
        }
        let (up_to, count, sum) = histogram.read();
        assert_eq!(up_to[0], (1, 2));
        assert_eq!(up_to[1], (2, 3));
        assert_eq!(up_to[2], (4, 4));
        assert_eq!(up_to[13], (8192, 5));
        assert_eq!((count, sum), (6, Duration::from_millis(108_198)));
    }

    #[test]
    fn paths_that_nobody_built_share_a_row() {
        let calls = Calls::default();
        calls.count(Calls::method("/etcdserverpb.KV/Put"), tonic::Code::Ok);
        calls.count(Calls::method("/etcdserverpb.KV/Nonsense"), tonic::Code::Unimplemented);
        calls.count(Calls::method("nonsense"), tonic::Code::Unimplemented);
        assert_eq!(
            calls.read(),
            [("etcdserverpb.KV", "Put", "OK", 1), ("unknown", "unknown", "Unimplemented", 2)]
        );
    }
}
