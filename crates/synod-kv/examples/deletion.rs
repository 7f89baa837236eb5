//! Measures what one delete of all keys takes: time, and memory until it is flushed.
//!
//! `cargo run --release -p synod-kv --example deletion [KEYS]`; the result is in
//! `docs/decisions/0018-ranges.md`. Memory is read from `/proc`.

use std::time::Instant;

use bytes::Bytes;
use synod_kv::{Command, DeleteRange, FlushLimits, Key, KeyRange, MemoryEngine, Put, Store};

fn apply(store: &mut Store<MemoryEngine>, command: &Command) {
    let slot = store.applied_slot();
    store.apply(slot, slot, &command.encode()).expect("memory does not fail");
    store.slot_applied(slot, slot, [0; 2]);
}

fn rss_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

#[expect(clippy::disallowed_methods, reason = "a measurement reads the clock")]
fn now() -> Instant {
    Instant::now()
}

fn main() {
    let keys = std::env::args().nth(1).and_then(|keys| keys.parse().ok()).unwrap_or(1_000_000_u64);
    let (mut store, mut flusher) = Store::open(MemoryEngine::new()).expect("memory does not fail");
    for number in 0..keys {
        let key = Bytes::from(format!("/registry/pods/{number:012}"));
        let key = Key::new(key).expect("not empty");
        apply(&mut store, &Command::Put(Put::new(key, Bytes::from_static(&[b'v'; 64]))));
    }
    while flusher.flush(FlushLimits::default()).expect("memory does not fail").more {}
    let (before, start) = (rss_kib(), now());
    apply(&mut store, &Command::DeleteRange(DeleteRange { keys: KeyRange::all(), prev_kv: false }));
    let (took, after) = (start.elapsed(), rss_kib());
    println!(
        "{keys} keys in one delete: {took:.2?}, {} bytes of memory each",
        (after - before) * 1024 / keys
    );
}
