//! Snapshots: what goes out comes in again, and damage never does.

use bytes::Bytes;
use proptest::prelude::*;
use synod_kv::{
    Caller, Command, Engine, FlushLimits, Key, LeaseGrant, MemoryEngine, Put, Restore,
    RestoreError, Revision, SnapshotError, SnapshotFacts, SnapshotOrigin, SnapshotReader,
    SnapshotSource, Store, WriteBatch,
};

const ORIGIN: SnapshotOrigin = SnapshotOrigin { cluster: 7, member: 9 };

type Rows = Vec<(Bytes, Bytes)>;

fn write(engine: &MemoryEngine, chunk_bytes: usize) -> Vec<u8> {
    let mut source = SnapshotSource::open(engine, ORIGIN).unwrap();
    let mut snapshot = Vec::new();
    loop {
        let chunk = source.next_chunk(chunk_bytes).unwrap();
        if chunk.is_empty() {
            break;
        }
        snapshot.extend_from_slice(&chunk);
    }
    snapshot
}

fn read(snapshot: &[u8], chunk_bytes: usize) -> Result<(SnapshotFacts, Rows), SnapshotError> {
    let (mut reader, mut rows) = (SnapshotReader::default(), Vec::new());
    for chunk in snapshot.chunks(chunk_bytes) {
        reader.push(chunk, &mut rows)?;
    }
    Ok((reader.finish()?, rows))
}

/// A store with a lease and some history, flushed, with rows of others beside its own.
fn engine() -> MemoryEngine {
    let engine = MemoryEngine::new();
    let (mut store, mut flusher) = Store::open(engine.clone()).unwrap();
    let key = |n: u8| Key::new(Bytes::from(vec![b'k', n])).unwrap();
    let mut commands = vec![Command::LeaseGrant(LeaseGrant { id: 3, ttl: 60, ttl_min: 1 })];
    for n in 0..9 {
        let value = Bytes::from(vec![n; usize::from(n)]);
        commands.push(Command::Put(Put::new(key(n % 3), value)));
    }
    for (slot, command) in (1..).zip(commands) {
        store.apply(slot, slot * 10, &command.encode()).unwrap().result.unwrap();
        store.slot_applied(slot, slot * 10, [5, 1]);
    }
    while flusher.flush(FlushLimits::default()).unwrap().more {}
    let puts = [("c:later", "1"), ("d:later", "2"), ("z", "")]
        .map(|(key, value)| (Bytes::from(key), Bytes::from(value)));
    engine.write(WriteBatch { puts: puts.to_vec(), ..WriteBatch::default() }).unwrap();
    engine
}

#[test]
fn all_rows_come_back_whoever_owns_them() {
    let engine = engine();
    for chunk_bytes in [1, 7, 512, 1 << 20] {
        let snapshot = write(&engine, chunk_bytes);
        assert_eq!(snapshot.len() % 512, 32, "as etcd's tools expect");
        let (facts, rows) = read(&snapshot, chunk_bytes).unwrap();
        assert_eq!(rows, engine.scan(b"", b"\xff", usize::MAX).unwrap());
        assert_eq!(facts.origin, ORIGIN);
        assert_eq!((facts.rows, facts.history_rows), (14, 9));
        assert_eq!((facts.point.applied_slot, facts.point.barrier), (11, [5, 1]));
        assert_eq!((facts.point.revision, facts.point.time_ms), (Revision::new(10), 100));
    }
}

#[test]
fn an_empty_store_has_a_snapshot_too() {
    let snapshot = write(&MemoryEngine::new(), 100);
    let (facts, rows) = read(&snapshot, 100).unwrap();
    assert_eq!((facts.point.revision, facts.rows, rows), (Revision::FIRST, 0, vec![]));
}

#[test]
fn a_view_does_not_see_what_comes_later() {
    let engine = engine();
    let mut source = SnapshotSource::open(&engine, ORIGIN).unwrap();
    let expected = write(&engine, 4096);
    let range = (Bytes::from_static(b""), Bytes::from_static(b"\xff"));
    engine.write(WriteBatch { delete_ranges: vec![range], ..WriteBatch::default() }).unwrap();
    let mut snapshot = source.next_chunk(1 << 20).unwrap().to_vec();
    snapshot.extend_from_slice(&source.next_chunk(1 << 20).unwrap());
    assert_eq!(snapshot, expected);
}

#[test]
fn every_byte_counts() {
    let snapshot = write(&engine(), 4096);
    assert!(read(&snapshot, 64).is_ok());
    for at in 0..snapshot.len() {
        for flip in [0x01, 0x80, 0xff] {
            let mut damaged = snapshot.clone();
            damaged[at] ^= flip;
            assert!(read(&damaged, 64).is_err(), "byte {at} with {flip:#x}");
        }
    }
}

#[test]
fn every_length_but_the_right_one_is_refused() {
    let snapshot = write(&engine(), 4096);
    for length in 0..snapshot.len() {
        let error = read(&snapshot[..length], 64).unwrap_err();
        assert_eq!(error, SnapshotError::CutShort { bytes: u64::try_from(length).unwrap() });
    }
    let longer = [&snapshot[..], &[0]].concat();
    assert!(matches!(read(&longer, 64), Err(SnapshotError::Damaged { .. })));
}

#[test]
fn strangers_are_told_from_damage() {
    assert_eq!(read(b"BOLTSNAPSHOT", 64).unwrap_err(), SnapshotError::NotASnapshot);
    let mut later = write(&engine(), 4096);
    later[8] = 2;
    assert_eq!(read(&later, 64).unwrap_err(), SnapshotError::Format(2));
}

#[test]
fn a_restore_moves_the_revision_and_compacts_what_was_before() {
    let (_, rows) = read(&write(&engine(), 4096), 4096).unwrap();
    for (bump, revision, compact) in [(0, 10, -1), (1000, 1010, 1010)] {
        let restored = MemoryEngine::new();
        let how = Restore { bump_revision: bump };
        let puts =
            rows.iter().map(|(key, value)| (key.clone(), how.row(key, value.clone()).unwrap()));
        let batch = WriteBatch { puts: puts.collect(), ..WriteBatch::default() };
        restored.write(batch).unwrap();
        let (store, _) = Store::open(restored).unwrap();
        let reader = store.reader();
        assert_eq!((store.applied_slot(), store.barrier(), store.time_ms()), (1, [0, 0], 100));
        assert_eq!(store.revision(), Revision::new(revision));
        assert_eq!(reader.compact_revision(), Revision::new(compact));
        assert_eq!(reader.sizes().unwrap().live_keys, 3);
        assert_eq!(reader.leases(&Caller::Internal).unwrap(), [3]);
        let from = reader.history(&Caller::Internal, Revision::new(10), Default::default());
        assert_eq!(from.is_err(), bump > 0, "who goes on from before is told");
    }
}

#[test]
fn a_revision_beyond_all_is_refused() {
    let (_, rows) = read(&write(&engine(), 4096), 4096).unwrap();
    let (key, value) = rows.iter().find(|(key, _)| key == "m").unwrap();
    for bump in [u64::MAX, i64::MAX.unsigned_abs()] {
        let refused = Restore { bump_revision: bump }.row(key, value.clone());
        assert!(matches!(refused, Err(RestoreError::Bump { .. })), "{refused:?}");
    }
}

proptest! {
    #[test]
    fn nothing_that_comes_makes_the_reader_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..300),
        begins_right in any::<bool>(),
    ) {
        let mut snapshot = if begins_right { write(&MemoryEngine::new(), 64)[..28].to_vec() }
            else { Vec::new() };
        snapshot.extend(bytes);
        let _ = read(&snapshot, 13);
    }
}
