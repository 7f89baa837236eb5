//! Measures a client that pages through all keys at a fixed revision, while others write.
//!
//! `cargo run --release -p synod-kv --example paging [KEYS] [PAGE]`; the results are in
//! `docs/decisions/0018-ranges.md`.

use std::time::{Duration, Instant};

use bytes::Bytes;
use synod_kv::{
    Caller, Command, Key, KeyRange, MemoryEngine, Put, Range, RangeResponse, Reader, Store,
};

fn key(number: u64) -> Key {
    Key::new(Bytes::from(format!("/registry/pods/{number:012}"))).expect("not empty")
}

fn put(store: &mut Store<MemoryEngine>, number: u64) {
    let command = Command::Put(Put::new(key(number), Bytes::from_static(&[b'v'; 64])));
    let slot = store.applied_slot();
    store.apply(slot, slot, &command.encode()).expect("memory does not fail");
    store.slot_applied(slot, slot, [0; 2]);
}

/// The answer to a page, and how long it took.
#[expect(clippy::disallowed_methods, reason = "a measurement reads the clock")]
fn ask(reader: &Reader<MemoryEngine>, range: &Range) -> (RangeResponse, Duration) {
    let start = Instant::now();
    let answer = reader.range(&Caller::Internal, range).expect("it is not compacted");
    (answer, start.elapsed())
}

fn main() {
    let mut numbers = std::env::args().skip(1).filter_map(|number| number.parse().ok());
    let (keys, page) = (numbers.next().unwrap_or(1_000_000), numbers.next().unwrap_or(500));
    let (mut store, _flusher) = Store::open(MemoryEngine::new()).expect("memory does not fail");
    (0..keys).for_each(|number| put(&mut store, number));
    let reader = store.reader();
    let from = |start: Bytes| {
        let keys = KeyRange::new(start, Bytes::from_static(&[0])).expect("not empty");
        Range::new(keys).limited(page)
    };
    let (mut answer, mut took) = ask(&reader, &from(key(0).as_bytes().clone()));
    let at = answer.revision;
    let (mut spans, mut told) = (vec![took], answer.kvs.len());
    while answer.more {
        put(&mut store, told as u64 % keys);
        let last = answer.kvs.last().expect("a page has keys");
        let next = Bytes::from([&last.key[..], &[0]].concat());
        (answer, took) = ask(&reader, &from(next).at(at));
        spans.push(took);
        told += answer.kvs.len();
    }
    let all: Duration = spans.iter().sum();
    spans.sort();
    let at = |percent: usize| spans[(spans.len() * percent / 100).min(spans.len() - 1)];
    println!(
        "{told} keys in {} pages of {page}: all {all:.2?}, p50 {:.2?}, p99 {:.2?}, max {:.2?}",
        spans.len(),
        at(50),
        at(99),
        at(100)
    );
}
