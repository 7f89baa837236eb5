//! Readers on threads of their own, while one writer writes, flushes and compacts.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use bytes::Bytes;
use synod_kv::{
    Caller, Command, Compact, FlushLimits, HistoryLimits, Key, KeyRange, MemoryEngine, Op, Put,
    Range, ReadError, Reader, Revision, Store, Txn,
};

/// More keys than a reader visits per lock, so that writes come between.
const KEYS: u64 = 1500;
const ROUNDS: u64 = 60;

fn key(number: u64) -> Key {
    Key::new(Bytes::from(format!("{number:06}"))).unwrap()
}

/// Puts the same value under all keys, in one revision.
fn round(number: u64) -> Bytes {
    let value = Bytes::from(number.to_string());
    let puts = (0..KEYS).map(|k| Op::Put(Put::new(key(k), value.clone()))).collect();
    Command::Txn(Txn::new(vec![], puts, vec![]).unwrap()).encode()
}

/// Reads everything, at the current or a recent revision: it must be whole. Whether there was an
/// answer.
fn read_whole(reader: &Reader<MemoryEngine>, back: i64) -> bool {
    let at = Revision::new((reader.revision().as_i64() - back).max(2));
    let range = Range::new(KeyRange::all());
    let range = if back == 0 { range } else { range.at(at) };
    match reader.range(&Caller::Internal, &range) {
        Ok(answer) => {
            assert_eq!(answer.count, KEYS);
            let values: Vec<_> = answer.kvs.iter().map(|kv| &kv.value).collect();
            assert_eq!(values.len(), usize::try_from(KEYS).unwrap());
            assert!(values.windows(2).all(|pair| pair[0] == pair[1]), "a revision was torn");
            true
        }
        Err(ReadError::Compacted { requested, compacted }) => {
            assert!(requested < compacted);
            false
        }
        Err(error) => panic!("{error}"),
    }
}

/// Follows history from the current revision on: no revision is missed or told twice.
fn follow(reader: &Reader<MemoryEngine>, from: Revision) -> Revision {
    let limits = HistoryLimits { events_max: 1, bytes_max: 1 };
    match reader.history(&Caller::Internal, from, limits) {
        Ok(piece) => {
            let told = u64::try_from(piece.events.len()).unwrap();
            assert!(told == KEYS || told == 0 && piece.next == from, "{told} events");
            assert!(piece.events.iter().all(|event| event.kv().mod_revision == from));
            piece.next
        }
        Err(ReadError::Compacted { compacted, .. }) => {
            assert!(from < compacted);
            compacted
        }
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn readers_see_whole_revisions() {
    let (mut store, mut flusher) = Store::open(MemoryEngine::new()).unwrap();
    store.apply(1, 0, &round(0)).unwrap();
    store.slot_applied(1, 0, [0; 2]);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let reads = [0, 1, 7].map(|back| {
            let (reader, done) = (store.reader(), &done);
            scope.spawn(move || {
                let mut answers = 0;
                let mut next = Revision::new(2);
                while !done.load(Ordering::Relaxed) {
                    answers += usize::from(read_whole(&reader, back));
                    next = follow(&reader, next);
                }
                answers
            })
        });
        let flushing = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                flusher.flush(FlushLimits { reclaim_max: 5000, ..Default::default() }).unwrap();
            }
        });
        for slot in 2..ROUNDS {
            store.apply(slot, slot, &round(slot)).unwrap();
            if slot % 4 == 0 {
                let revision = Revision::new(i64::try_from(slot).unwrap() - 3);
                let compact = Command::Compact(Compact { revision }).encode();
                store.apply(slot, slot, &compact).unwrap().result.unwrap();
            }
            store.slot_applied(slot, slot, [0; 2]);
        }
        assert!(read_whole(&store.reader(), 0));
        done.store(true, Ordering::Relaxed);
        flushing.join().unwrap();
        let _answers = reads.map(|reader| reader.join().unwrap());
    });
}
