//! Snapshots that arrive at a store at work, and take the place of its state.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;

use bytes::Bytes;
use synod_kv::{
    ArriveError, Arrived, Caller, Command, Engine, FlushLimits, Flusher, Key, KeyRange,
    MemoryEngine, Put, Range, SnapshotOrigin, Store,
};

struct Member {
    engine: MemoryEngine,
    store: Store<MemoryEngine>,
    flusher: Flusher<MemoryEngine>,
}

impl Member {
    fn new() -> Self {
        let engine = MemoryEngine::new();
        let (store, flusher) = Store::open(engine.clone()).unwrap();
        Self { engine, store, flusher }
    }

    fn puts(&mut self, keys: std::ops::Range<u32>) {
        for n in keys {
            let key = Key::new(Bytes::from(format!("key {n}"))).unwrap();
            let put = Command::Put(Put::new(key, Bytes::from(n.to_string())));
            let slot = self.store.applied_slot();
            self.store.apply(slot, 1, &put.encode()).unwrap().result.unwrap();
            self.store.slot_applied(slot, 1, [0; 2]);
        }
        self.flush();
    }

    fn flush(&mut self) {
        while self.flusher.flush(FlushLimits::default()).unwrap().more {}
    }

    /// The chunks of its snapshot.
    fn snapshot(&self) -> Vec<Bytes> {
        let reader = self.store.reader();
        let mut source = reader.snapshot(&Caller::Internal, SnapshotOrigin::default()).unwrap();
        std::iter::from_fn(|| Some(source.next_chunk(100).unwrap()).filter(|it| !it.is_empty()))
            .collect()
    }

    fn takes(&self, chunks: &[Bytes]) -> Arrived {
        let mut arriving = self.store.reader().receive().unwrap();
        chunks.iter().for_each(|chunk| arriving.push(chunk).unwrap());
        arriving.finish().unwrap()
    }

    /// What it holds, from memory and from the engine: also after its process began anew.
    fn holds(&mut self) -> (usize, u64) {
        self.flush();
        let (again, _) = Store::open(self.engine.fork()).unwrap();
        let all = Range::new(KeyRange::all());
        let count = |store: &Store<MemoryEngine>| {
            store.reader().range(&Caller::Internal, &all).unwrap().kvs.len()
        };
        assert_eq!(
            (count(&again), again.digest()),
            (count(&self.store), self.store.digest()),
            "after a restart"
        );
        (count(&self.store), self.store.digest())
    }
}

#[test]
fn a_snapshot_takes_the_place_of_the_state() {
    let (mut ahead, mut behind) = (Member::new(), Member::new());
    ahead.puts(0..50);
    behind.puts(0..3);
    let arrived = behind.takes(&ahead.snapshot());
    assert!(behind.store.install(arrived).unwrap());
    assert_eq!(behind.holds(), ahead.holds());
}

/// Two snapshots in a short time, as in etcd #18055: what the first one left over is cleared away
/// while the second one is on its way. Once that took the rows of the second one with it, and the
/// member went on with a state that lacked them.
#[test]
fn clearing_away_after_a_snapshot_spares_the_next_one() {
    let (mut ahead, mut behind) = (Member::new(), Member::new());
    ahead.puts(0..50);
    let arrived = behind.takes(&ahead.snapshot());
    assert!(behind.store.install(arrived).unwrap());
    ahead.puts(50..90);
    let arrived = behind.takes(&ahead.snapshot());
    behind.flush();
    assert!(behind.store.install(arrived).unwrap());
    assert_eq!(behind.holds(), ahead.holds());
    behind.puts(90..95);
    ahead.puts(90..95);
    assert_eq!(behind.holds(), ahead.holds());
}

#[test]
fn a_snapshot_whose_rows_are_gone_is_refused() {
    let (mut ahead, mut behind) = (Member::new(), Member::new());
    ahead.puts(0..50);
    let mut arriving = behind.store.reader().receive().unwrap();
    let stray = vec![(Bytes::from_static(b"stray"), Bytes::new())];
    behind.engine.stage(stray).unwrap();
    ahead.snapshot().iter().for_each(|chunk| arriving.push(chunk).unwrap());
    let refused = arriving.finish().unwrap_err();
    assert!(matches!(refused, ArriveError::Lost { .. }), "{refused}");
    behind.puts(0..3);
    assert_eq!(behind.holds().0, 3);
}

#[test]
fn of_two_that_arrive_only_the_later_one_is_taken() {
    let (mut ahead, mut behind) = (Member::new(), Member::new());
    ahead.puts(0..9);
    let (first, second) = (behind.takes(&ahead.snapshot()), behind.takes(&ahead.snapshot()));
    assert!(!behind.store.install(first).unwrap());
    assert!(behind.store.install(second).unwrap());
    assert_eq!(behind.holds(), ahead.holds());
}

/// Says so when it goes, also by a panic.
struct Done<'a>(&'a AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// As in etcd 3.5.23, where a snapshot that was applied beside a defragmentation damaged the store:
/// here that is a round of the flusher, and takes turns with it.
#[test]
fn flushing_beside_snapshots_does_no_harm() {
    let (mut ahead, mut behind) = (Member::new(), Member::new());
    let (done, flushes) = (AtomicBool::new(false), AtomicU32::new(0));
    thread::scope(|scope| {
        let flusher = &mut behind.flusher;
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                flusher.flush(FlushLimits { rows_max: 3, ..FlushLimits::default() }).unwrap();
                flushes.fetch_add(1, Ordering::Relaxed);
            }
        });
        let _done = Done(&done);
        for round in 0..30 {
            ahead.puts(round * 10..round * 10 + 10);
            let mut arriving = behind.store.reader().receive().unwrap();
            let before = flushes.load(Ordering::Relaxed);
            ahead.snapshot().iter().for_each(|chunk| arriving.push(chunk).unwrap());
            while flushes.load(Ordering::Relaxed) == before {
                thread::yield_now();
            }
            assert!(behind.store.install(arriving.finish().unwrap()).unwrap(), "round {round}");
        }
    });
    assert_eq!(behind.holds(), ahead.holds());
}
