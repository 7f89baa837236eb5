//! The thread that takes applied rows to the engine, behind the log.
//!
//! Dead rows are reclaimed on the way, in slices with pauses: see `pace`.
//!
//! It wakes every [`INTERVAL`], or earlier when much waits, when somebody asks, or when a pause
//! ends. Its failure ends the process: nobody knows what the engine holds then, and the log has it
//! all.

mod pace;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

pub(crate) use pace::Pace;
use pace::Slices;
use parking_lot::{Condvar, Mutex};
use synod_kv::{Engine, FlushLimits, Flusher, Revision, StorageError};
use tokio::sync::watch;
use tracing::info;

use crate::metrics::Metrics;
use crate::server::{FatalReason, FatalSink};

/// Speaks to the flusher's thread.
#[derive(Clone, Debug)]
pub(crate) struct FlushHandle {
    shared: Arc<Shared>,
    rounds_done: watch::Receiver<u64>,
    reclaimed_below: watch::Receiver<Revision>,
}

/// What the thread tells as it goes on.
struct Told {
    rounds_done: watch::Sender<u64>,
    reclaimed_below: watch::Sender<Revision>,
    metrics: Arc<Metrics>,
}

#[derive(Debug)]
struct Shared {
    orders: Mutex<Orders>,
    ordered: Condvar,
    /// Signalled after each round, and at the end.
    progressed: Condvar,
    /// Everything below this slot survives a crash without the log.
    stable_slot: AtomicU64,
    /// Somebody's thread stands still until a round is done.
    awaited: AtomicBool,
    /// Rows reclaimed since the start.
    reclaimed_rows: AtomicU64,
    /// Slots from this one on must wait: the log does not hold them durably yet.
    allowed_below: AtomicU64,
}

#[derive(Debug, Default)]
struct Orders {
    rounds_asked: u64,
    rounds_done: u64,
    stop: bool,
    ended: bool,
}

/// Rows wait at most so long.
const INTERVAL: Duration = Duration::from_secs(2);
/// One batch; what it reclaims follows from [`Slices`].
const LIMITS: FlushLimits =
    FlushLimits { rows_max: 8192, bytes_max: 8 << 20, reclaim_max: 0, slot_below: 0 };
/// Who waits until rows are reclaimed asks again so often: the log may have to be synced first.
const RECLAIM_INTERVAL: Duration = Duration::from_millis(50);

/// Starts the thread. `stable_slot` is what the engine holds now.
pub(crate) fn start<E: Engine>(
    flusher: Flusher<E>,
    (pace, metrics): (Pace, Arc<Metrics>),
    stable_slot: u64,
    fatal: FatalSink,
) -> io::Result<(FlushHandle, JoinHandle<()>)> {
    let shared = Arc::new(Shared {
        orders: Mutex::default(),
        ordered: Condvar::new(),
        progressed: Condvar::new(),
        stable_slot: AtomicU64::new(stable_slot),
        awaited: AtomicBool::new(false),
        reclaimed_rows: AtomicU64::new(0),
        allowed_below: AtomicU64::new(stable_slot),
    });
    let (done, rounds_done) = watch::channel(0);
    let (reclaimed, reclaimed_below) = watch::channel(Revision::NEVER);
    let told = Told { rounds_done: done, reclaimed_below: reclaimed, metrics };
    let handle = FlushHandle { shared: Arc::clone(&shared), rounds_done, reclaimed_below };
    let thread = std::thread::Builder::new().name("synod-flush".to_owned()).spawn(move || {
        if let Err(error) = run(flusher, pace, &shared, &told) {
            fatal.tell(FatalReason::Store(error.to_string()));
        }
        shared.orders.lock().ended = true;
        shared.progressed.notify_all();
    })?;
    Ok((handle, thread))
}

fn run<E: Engine>(
    mut flusher: Flusher<E>,
    pace: Pace,
    shared: &Shared,
    told: &Told,
) -> Result<(), StorageError<E::Error>> {
    let mut slices = pace.slices(Instant::now());
    let (mut round, mut idle) = (0, INTERVAL);
    let mut compacting: Option<Instant> = None;
    loop {
        let (asked, stop) = wait(shared, round, idle);
        let (start, rows) = (Instant::now(), shared.reclaimed_rows.load(Ordering::Relaxed));
        let reclaims = flush_all(&mut flusher, &mut slices, shared, told, stop)?;
        if shared.reclaimed_rows.load(Ordering::Relaxed) > rows {
            compacting.get_or_insert(start);
        }
        if !reclaims && let Some(start) = compacting.take() {
            told.metrics.compaction.observe(start.elapsed());
            // For people: nothing is decided by it.
            let now = u64::try_from(crate::tls::now()).unwrap_or_default();
            told.metrics.compaction_last.store(now, Ordering::Relaxed);
            // In etcd's words, for those who wait for them.
            info!(took = ?start.elapsed(), "finished scheduled compaction");
        }
        idle = if reclaims { slices.pause(Instant::now()).min(INTERVAL) } else { INTERVAL };
        round = asked;
        shared.orders.lock().rounds_done = round;
        shared.progressed.notify_all();
        // Nobody may be listening.
        told.rounds_done.send_replace(round);
        if stop {
            return Ok(());
        }
    }
}

/// Takes to the engine what waits, and reclaims one slice unless it is the last round. Whether
/// there is more to reclaim.
fn flush_all<E: Engine>(
    flusher: &mut Flusher<E>,
    slices: &mut Slices,
    shared: &Shared,
    told: &Told,
    stop: bool,
) -> Result<bool, StorageError<E::Error>> {
    loop {
        let start = Instant::now();
        let slot_below = shared.allowed_below.load(Ordering::Acquire);
        // What is dead can be reclaimed in the next life.
        let reclaim_max = if stop { 0 } else { slices.rows(start) };
        let flushed = flusher.flush(FlushLimits { slot_below, reclaim_max, ..LIMITS })?;
        shared.stable_slot.store(flushed.applied_slot, Ordering::Release);
        if flushed.reclaimed > 0 {
            let rows = u64::try_from(flushed.reclaimed).unwrap_or(u64::MAX);
            shared.reclaimed_rows.fetch_add(rows, Ordering::Relaxed);
            slices.took(start.elapsed(), Instant::now());
            told.metrics.compaction_slice.observe(start.elapsed());
        }
        if let Some(below) = flushed.reclaimed_below {
            told.reclaimed_below.send_if_modified(|told| std::mem::replace(told, below) != below);
        }
        // A few rows that came meanwhile are not worth a sync of their own.
        let much = flushed.rows >= LIMITS.rows_max / 2 || (stop && flushed.rows > 0);
        if !(flushed.more && much) {
            return Ok(flushed.reclaimed_below.is_none());
        }
    }
}

/// Waits until it is time; tells how many rounds were asked for, and whether it is the last one.
fn wait(shared: &Shared, round: u64, idle: Duration) -> (u64, bool) {
    let mut orders = shared.orders.lock();
    if orders.rounds_asked == round && !orders.stop {
        shared.ordered.wait_for(&mut orders, idle);
    }
    (orders.rounds_asked, orders.stop)
}

impl FlushHandle {
    /// Everything below survives a crash without the log.
    pub(crate) fn stable_slot(&self) -> u64 {
        self.shared.stable_slot.load(Ordering::Acquire)
    }

    /// How many dead rows were reclaimed since the start.
    pub(crate) fn reclaimed_rows(&self) -> u64 {
        self.shared.reclaimed_rows.load(Ordering::Relaxed)
    }

    /// Asks for a round now; gives its number.
    pub(crate) fn ask(&self) -> u64 {
        let mut orders = self.shared.orders.lock();
        orders.rounds_asked += 1;
        let round = orders.rounds_asked;
        drop(orders);
        self.shared.ordered.notify_one();
        round
    }

    /// The log holds everything below this slot durably, so the engine may.
    pub(crate) fn allow_below(&self, slot: u64) {
        self.shared.allowed_below.fetch_max(slot, Ordering::AcqRel);
    }

    /// Asks for a round and waits for it on this thread, or until the flusher has ended. One round,
    /// not until memory is free: rows may wait for the log, and for that this thread must go on.
    pub(crate) fn wait_for_round(&self) {
        self.shared.awaited.store(true, Ordering::Relaxed);
        let round = self.ask();
        let mut orders = self.shared.orders.lock();
        while orders.rounds_done < round && !orders.ended {
            self.shared.progressed.wait(&mut orders);
        }
        drop(orders);
        self.shared.awaited.store(false, Ordering::Relaxed);
    }

    /// Whether the member's loop stands still until the disk has caught up.
    pub(crate) fn is_awaited(&self) -> bool {
        self.shared.awaited.load(Ordering::Relaxed)
    }

    /// Whether the thread has ended, so that nothing goes to the engine any more.
    pub(crate) fn has_ended(&self) -> bool {
        self.shared.orders.lock().ended
    }

    /// Asks for a round and waits until it is done. False if there will be none.
    pub(crate) async fn round(&self) -> bool {
        let round = self.ask();
        self.rounds_done.clone().wait_for(|done| *done >= round).await.is_ok()
    }

    /// Waits until everything that is dead below a compact revision is reclaimed. False if the
    /// flusher ends before.
    pub(crate) async fn reclaimed(&self, below: Revision) -> bool {
        let mut reclaimed = self.reclaimed_below.clone();
        while *reclaimed.borrow_and_update() < below {
            if !self.round().await {
                return false;
            }
            // Ended or not, the next round tells.
            let _ = tokio::time::timeout(RECLAIM_INTERVAL, reclaimed.changed()).await;
        }
        true
    }

    /// Asks for a last round. The thread ends after it.
    pub(crate) fn stop(&self) {
        self.shared.orders.lock().stop = true;
        self.shared.ordered.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use synod_kv::{Command, Compact, EngineView, Key, MemoryEngine, Put, Store, WriteBatch};

    use super::*;
    use crate::config::SpaceConfig;

    fn pace() -> Pace {
        Pace::of(&SpaceConfig {
            quota_bytes: None,
            quota_is_default: false,
            auto_compaction: crate::config::AutoCompaction::Off,
            compaction_batch: 10,
            compaction_pause: Duration::from_millis(1),
        })
    }

    /// An engine whose disk is full.
    #[derive(Debug, Default)]
    struct FullEngine(MemoryEngine);

    impl Engine for FullEngine {
        type Error = io::Error;

        fn get(&self, key: &[u8]) -> io::Result<Option<Bytes>> {
            self.0.get(key).map_err(io::Error::other)
        }

        fn scan(&self, from: &[u8], to: &[u8], limit: usize) -> io::Result<Vec<(Bytes, Bytes)>> {
            self.0.scan(from, to, limit).map_err(io::Error::other)
        }

        fn write(&self, _: WriteBatch) -> io::Result<()> {
            Err(io::ErrorKind::StorageFull.into())
        }

        fn bytes_on_disk(&self) -> io::Result<u64> {
            Ok(0)
        }

        fn view(&self) -> io::Result<Box<dyn EngineView<io::Error>>> {
            Ok(Box::new(FullView))
        }

        fn stage(&self, _: Vec<(Bytes, Bytes)>) -> io::Result<()> {
            Err(io::ErrorKind::StorageFull.into())
        }

        fn staged(&self) -> io::Result<Box<dyn EngineView<io::Error>>> {
            Ok(Box::new(FullView))
        }

        fn switch(&self) -> io::Result<()> {
            Err(io::ErrorKind::StorageFull.into())
        }

        fn sweep(&self) -> io::Result<()> {
            Ok(())
        }

        fn forget_former(&self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Nothing ever came in.
    struct FullView;

    impl EngineView<io::Error> for FullView {
        fn get(&self, _: &[u8]) -> io::Result<Option<Bytes>> {
            Ok(None)
        }

        fn page(&self, _: Option<&[u8]>, _: usize) -> io::Result<Vec<(Bytes, Bytes)>> {
            Ok(Vec::new())
        }
    }

    fn put_once<E: Engine>(store: &mut Store<E>) {
        let key = Key::new(Bytes::from_static(b"key")).unwrap();
        let put = Command::Put(Put::new(key, Bytes::from_static(b"value"))).encode();
        store.apply(1, 0, &put).unwrap();
        store.slot_applied(1, 0, [0; 2]);
    }

    #[tokio::test]
    async fn a_round_takes_what_waits_to_the_engine() {
        let (mut store, flusher) = Store::open(MemoryEngine::default()).unwrap();
        let (sink, _reasons) = FatalSink::new();
        let (flush, thread) = start(flusher, (pace(), Arc::default()), 1, sink).unwrap();
        put_once(&mut store);
        assert!(flush.round().await);
        assert_eq!(flush.stable_slot(), 1, "the log does not hold it yet");
        flush.allow_below(2);
        assert!(flush.round().await);
        assert_eq!(flush.stable_slot(), 2);
        assert_eq!(store.overlay_bytes(), 0);
        flush.stop();
        thread.join().unwrap();
        assert!(!flush.round().await, "there is nobody any more");
    }

    #[tokio::test]
    async fn a_failure_is_fatal_and_nobody_waits_for_ever() {
        let (mut store, flusher) = Store::open(FullEngine::default()).unwrap();
        let (sink, mut reasons) = FatalSink::new();
        let (flush, thread) = start(flusher, (pace(), Arc::default()), 1, sink).unwrap();
        put_once(&mut store);
        flush.allow_below(2);
        assert!(!flush.round().await);
        assert!(matches!(reasons.recv().await, Some(FatalReason::Store(_))));
        assert_eq!(flush.stable_slot(), 1);
        thread.join().unwrap();
        flush.wait_for_round();
    }

    #[tokio::test]
    async fn who_waits_for_what_is_reclaimed_waits_for_all_of_it() {
        let engine = MemoryEngine::default();
        let (mut store, flusher) = Store::open(engine.clone()).unwrap();
        let (sink, _reasons) = FatalSink::new();
        let (flush, thread) = start(flusher, (pace(), Arc::default()), 1, sink).unwrap();
        for slot in 1..=100 {
            let key = Key::new(Bytes::from_static(b"key")).unwrap();
            let put = Command::Put(Put::new(key, Bytes::new())).encode();
            store.apply(slot, 0, &put).unwrap();
            store.slot_applied(slot, 0, [0; 2]);
        }
        let revision = store.revision();
        store.apply(101, 0, &Command::Compact(Compact { revision }).encode()).unwrap();
        store.slot_applied(101, 0, [0; 2]);
        flush.allow_below(102);
        assert!(flush.reclaimed(revision).await);
        assert_eq!(engine.len(), 2, "the last version and the metadata");
        flush.stop();
        thread.join().unwrap();
        assert!(!flush.reclaimed(revision.next()).await, "there is nobody any more");
    }
}
