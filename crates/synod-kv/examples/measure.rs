//! Measures the store in memory: what a put costs, and how long readers keep the writer waiting.
//!
//! `cargo run --release -p synod-kv --example measure [KEYS]`; the results that decided the design
//! of the index are in `docs/decisions/0004-index-of-keys.md`.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::RwLock;
use synod_kv::{Caller, Command, FlushLimits, Key, KeyRange, MemoryEngine, Put, Range, Store};

/// Values as in the project's goal.
const VALUE_BYTES: usize = 256;

/// A generator without structure that meets the eye: splitmix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

fn key(number: u64) -> Bytes {
    Bytes::from(format!("/registry/pods/{number:012}"))
}

fn put(number: u64) -> Bytes {
    let key = Key::new(key(number)).expect("not empty");
    Command::Put(Put::new(key, Bytes::from(vec![b'v'; VALUE_BYTES]))).encode()
}

#[expect(clippy::disallowed_methods, reason = "a measurement reads the clock")]
fn now() -> Instant {
    Instant::now()
}

/// Calls `step` so many times; prints the mean and the tail.
fn time(name: &str, count: usize, mut step: impl FnMut(usize)) {
    let mut spans = Vec::with_capacity(count);
    for number in 0..count {
        let start = now();
        step(number);
        spans.push(start.elapsed());
    }
    let mean = spans.iter().sum::<Duration>() / u32::try_from(count).expect("a small count");
    spans.sort();
    let at = |per_mille: usize| spans[(count * per_mille / 1000).min(count - 1)];
    println!(
        "{name:44} mean {mean:>9.2?}  p50 {:>9.2?}  p99 {:>9.2?}  p99.9 {:>9.2?}  max {:>9.2?}",
        at(500),
        at(990),
        at(999),
        spans[count - 1]
    );
}

/// The store: puts of new keys, puts of old ones, reads, counts, and puts beside two scanners.
fn measure_store(keys: u64) {
    let (mut store, mut flusher) = Store::open(MemoryEngine::new()).expect("memory does not fail");
    let mut random = Random(1);
    let mut slot = 0;
    let mut apply = |store: &mut Store<MemoryEngine>, command: &Bytes| {
        slot += 1;
        black_box(store.apply(slot, slot, command).expect("memory does not fail"));
        store.slot_applied(slot, slot, [0; 2]);
    };
    let count = usize::try_from(keys).expect("keys fit in memory");
    for chunk in 0..10 {
        let commands: Vec<_> = (0..count / 10).map(|_| put(random.next() % keys)).collect();
        let name = format!("put, {} keys and growing", chunk * count / 10);
        time(&name, commands.len(), |number| apply(&mut store, &commands[number]));
        while flusher.flush(FlushLimits::default()).expect("memory does not fail").more {}
    }
    let reader = store.reader();
    let probes: Vec<_> = (0..100_000).map(|_| key(random.next() % keys)).collect();
    let range = |number: usize, end: &'static [u8], limit: u64| {
        let keys = KeyRange::new(probes[number].clone(), Bytes::from_static(end));
        Range::new(keys.expect("not empty")).limited(limit)
    };
    time("get", probes.len(), |number| {
        black_box(reader.range(&Caller::Internal, &range(number, b"", 0)).expect("current"));
    });
    time("range from a key on, limit 100, full count", 10_000, |number| {
        black_box(reader.range(&Caller::Internal, &range(number, b"\0", 100)).expect("current"));
    });
    time("count from a key on", 10_000, |number| {
        let count = Range { count_only: true, ..range(number, b"\0", 0) };
        black_box(reader.range(&Caller::Internal, &count).expect("current"));
    });
    let commands: Vec<_> = (0..100_000).map(|_| put(random.next() % keys)).collect();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let all = Range { keys_only: true, ..Range::new(KeyRange::all()) };
            while !done.load(Ordering::Relaxed) {
                black_box(reader.range(&Caller::Internal, &all).expect("current"));
            }
        });
        time("put beside a scan of all keys", commands.len(), |n| apply(&mut store, &commands[n]));
        done.store(true, Ordering::Relaxed);
    });
}

/// What else the index could be: a `BTreeMap` that is copied whole or in parts, or locked whole.
fn measure_alternatives(keys: u64) {
    let mut random = Random(1);
    let map: BTreeMap<Bytes, u64> = (0..keys).map(|_| (key(random.next() % keys), 1)).collect();
    let probes: Vec<_> = (0..100_000).map(|_| key(random.next() % keys)).collect();
    let map = RwLock::new(map);
    time("BTreeMap, count of a range (a walk)", 20, |number| {
        black_box(map.read().range(probes[number].clone()..).count());
    });
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let all: Vec<_> = map.read().keys().cloned().collect();
                black_box(all);
            }
        });
        time("BTreeMap, one lock per scan, write beside", 100_000, |number| {
            *map.write().entry(probes[number].clone()).or_default() += 1;
        });
        done.store(true, Ordering::Relaxed);
    });
    // Copy on write at the grain of a node: what a write pays after a reader took the root.
    let node: Vec<(Bytes, [u64; 10])> = probes[..48].iter().map(|k| (k.clone(), [0; 10])).collect();
    let path: Vec<_> = (0..4).map(|_| Arc::new(node.clone())).collect();
    time("copy on write, path of 4 nodes of 48 keys", 100_000, |_| {
        let copies: Vec<_> = path.iter().map(|node| Arc::new(Vec::clone(node))).collect();
        black_box(copies);
    });
}

fn main() {
    let keys = std::env::args().nth(1).and_then(|keys| keys.parse().ok()).unwrap_or(1_000_000);
    measure_store(keys);
    measure_alternatives(keys);
}
