//! Durations, counted by how long they were.

use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Where the buckets of a histogram end.
pub(crate) trait Buckets {
    /// In microseconds, rising.
    const MICROS: &'static [u64];
}

/// Of syncs and commits, as etcd's: 1 ms, doubling.
#[derive(Debug)]
pub(crate) struct Disk;

/// Of round trips, as etcd's: 0.1 ms, doubling.
#[derive(Debug)]
pub(crate) struct Network;

/// Of calls, as etcd's: what Prometheus' libraries take when nobody says.
#[derive(Debug)]
pub(crate) struct Call;

/// Of TTLs of leases, as etcd's: 1 s, doubling.
#[derive(Debug)]
pub(crate) struct Ttl;

/// Of slices of a compaction, as etcd's: 1 ms, doubling.
#[derive(Debug)]
pub(crate) struct Slice;

/// Of whole compactions, as etcd's: 0.1 s, doubling.
#[derive(Debug)]
pub(crate) struct Compaction;

/// Of defragmentations, as etcd's: 0.1 s, doubling.
#[derive(Debug)]
pub(crate) struct Defrag;

/// Of commands that are applied and of ranges, as etcd's: 0.1 ms, doubling.
#[derive(Debug)]
pub(crate) struct Apply;

/// Of hashes, as etcd's: 10 ms, doubling.
#[derive(Debug)]
pub(crate) struct Hash;

/// Of snapshots, as etcd's: 10 ms, doubling.
#[derive(Debug)]
pub(crate) struct Transfer;

/// Of compactions of the index, as etcd's: 0.5 ms, doubling.
#[derive(Debug)]
pub(crate) struct Pause;

impl Buckets for Apply {
    const MICROS: &'static [u64] = &doubling::<20>(100);
}

impl Buckets for Hash {
    const MICROS: &'static [u64] = &doubling::<15>(10_000);
}

impl Buckets for Transfer {
    const MICROS: &'static [u64] = &doubling::<17>(10_000);
}

impl Buckets for Pause {
    const MICROS: &'static [u64] = &doubling::<14>(500);
}

impl Buckets for Slice {
    const MICROS: &'static [u64] = &doubling::<13>(1000);
}

impl Buckets for Compaction {
    const MICROS: &'static [u64] = &doubling::<14>(100_000);
}

impl Buckets for Defrag {
    const MICROS: &'static [u64] = &doubling::<13>(100_000);
}

impl Buckets for Ttl {
    const MICROS: &'static [u64] = &doubling::<24>(1_000_000);
}

impl Buckets for Disk {
    const MICROS: &'static [u64] = &doubling::<14>(1000);
}

impl Buckets for Network {
    const MICROS: &'static [u64] = &doubling::<16>(100);
}

impl Buckets for Call {
    const MICROS: &'static [u64] = &[
        5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000,
        10_000_000,
    ];
}

const fn doubling<const COUNT: usize>(first: u64) -> [u64; COUNT] {
    let mut micros = [first; COUNT];
    let mut at = 1;
    while at < COUNT {
        micros[at] = micros[at - 1] * 2;
        at += 1;
    }
    micros
}

/// Counts durations.
#[derive(Debug)]
pub(crate) struct Histogram<B = Disk> {
    /// One for each bucket, and one for what is longer than all.
    counts: Vec<AtomicU64>,
    nanos: AtomicU64,
    buckets: PhantomData<B>,
}

/// What a histogram has counted.
#[derive(Debug, PartialEq)]
pub(crate) struct Reading {
    /// Upper bounds in seconds, with the counts up to there.
    pub(crate) up_to: Vec<(f64, u64)>,
    /// Of all.
    pub(crate) count: u64,
    /// Of all.
    pub(crate) sum: Duration,
}

impl<B: Buckets> Default for Histogram<B> {
    fn default() -> Self {
        let counts = (0..=B::MICROS.len()).map(|_| AtomicU64::new(0)).collect();
        Self { counts, nanos: AtomicU64::new(0), buckets: PhantomData }
    }
}

impl<B: Buckets> Histogram<B> {
    /// Counts one.
    pub(crate) fn observe(&self, took: Duration) {
        let bucket = B::MICROS.partition_point(|micros| Duration::from_micros(*micros) < took);
        self.counts[bucket].fetch_add(1, Ordering::Relaxed);
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.nanos.fetch_add(nanos, Ordering::Relaxed);
    }

    /// What was counted until now.
    pub(crate) fn read(&self) -> Reading {
        let mut count = 0;
        let mut up_to = Vec::with_capacity(B::MICROS.len());
        for (bucket, counted) in self.counts.iter().enumerate() {
            count += counted.load(Ordering::Relaxed);
            if let Some(micros) = B::MICROS.get(bucket) {
                up_to.push((Duration::from_micros(*micros).as_secs_f64(), count));
            }
        }
        Reading { up_to, count, sum: Duration::from_nanos(self.nanos.load(Ordering::Relaxed)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_fall_into_the_bucket_that_holds_them() {
        let histogram = Histogram::<Disk>::default();
        for millis in [0, 1, 2, 3, 8192, 100_000] {
            histogram.observe(Duration::from_millis(millis));
        }
        let Reading { up_to, count, sum } = histogram.read();
        assert_eq!(up_to[..3], [(0.001, 2), (0.002, 3), (0.004, 4)]);
        assert_eq!(up_to[13], (8.192, 5));
        assert_eq!((count, sum), (6, Duration::from_millis(108_198)));
    }

    #[test]
    fn buckets_are_etcds() {
        assert_eq!((Network::MICROS[0], Network::MICROS[15]), (100, 3_276_800));
        assert_eq!((Disk::MICROS[0], Disk::MICROS[13]), (1000, 8_192_000));
        assert_eq!((Slice::MICROS[0], Slice::MICROS[12]), (1000, 4_096_000));
        assert_eq!((Compaction::MICROS[0], Compaction::MICROS[13]), (100_000, 819_200_000));
        assert_eq!((Defrag::MICROS[0], Defrag::MICROS[12]), (100_000, 409_600_000));
        assert_eq!((Apply::MICROS[0], Apply::MICROS[19]), (100, 52_428_800));
        assert_eq!((Hash::MICROS[0], Hash::MICROS[14]), (10_000, 163_840_000));
        assert_eq!((Transfer::MICROS[0], Transfer::MICROS[16]), (10_000, 655_360_000));
        assert_eq!((Pause::MICROS[0], Pause::MICROS[13]), (500, 4_096_000));
        assert_eq!(Call::MICROS.len(), 11);
    }
}
