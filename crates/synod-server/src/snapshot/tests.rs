//! Files: ours and etcd's, whole and damaged.

use std::collections::BTreeMap;

use bytes::Bytes;
use ring::digest::{SHA256, digest};
use synod_bolt::{Pages, Root, Tree};
use synod_etcd::backend;
use synod_kv::{
    Access, Alarm, AlarmKind, AlarmReasons, AuthCommand, AuthRecord, Caller, Change, Command,
    Engine, FlushLimits, Key, KeyRange, LeaseGrant, LeaseRecord, MemoryEngine, PasswordHash,
    Permission, Put, PutRecord, Record, RoleRecord, SnapshotView, Store, UserRecord, WriteBatch,
};

use super::read::read;
use super::*;

type Rows = BTreeMap<Bytes, Bytes>;

const ORIGIN: SnapshotOrigin = SnapshotOrigin { cluster: 7, member: 9 };

/// A store with history, a lease, users and roles, and rows of others beside its own.
fn engine() -> MemoryEngine {
    let engine = MemoryEngine::new();
    let (mut store, mut flusher) = Store::open(engine.clone()).unwrap();
    let key = |n: u8| Key::new(Bytes::from(vec![b'k', n])).unwrap();
    let (name, role) = ("ann".to_owned(), "r".to_owned());
    let password = Some(PasswordHash(Bytes::from_static(b"$2b$04$hash")));
    let permission = Permission::new(Access::Read, KeyRange::all()).unwrap();
    let mut commands = vec![
        Command::LeaseGrant(LeaseGrant { id: 3, ttl: 60, ttl_min: 1 }),
        Command::Auth(AuthCommand::UserAdd { name: name.clone(), password }),
        Command::Auth(AuthCommand::RoleAdd { name: role.clone() }),
        Command::Auth(AuthCommand::RoleGrantPermission { role: role.clone(), permission }),
        Command::Auth(AuthCommand::UserGrantRole { user: name, role }),
    ];
    for n in 0..200 {
        let value = Bytes::from(vec![n; usize::from(n) * 10]);
        commands.push(Command::Put(Put::new(key(n % 50), value)));
    }
    for (slot, command) in (1..).zip(commands) {
        store.apply(slot, slot * 10, &command.encode()).unwrap().result.unwrap();
        store.slot_applied(slot, slot * 10, [5, 1]);
    }
    while flusher.flush(FlushLimits::default()).unwrap().more {}
    let puts =
        [("c:others", "1"), ("z", "")].map(|(key, value)| (Bytes::from(key), Bytes::from(value)));
    engine.write(WriteBatch { puts: puts.to_vec(), ..WriteBatch::default() }).unwrap();
    engine
}

fn write(engine: &MemoryEngine, chunk_bytes: usize) -> Vec<u8> {
    let view = SnapshotView::open(engine).unwrap();
    let mut source = SnapshotFile::open(view, ORIGIN).unwrap();
    let mut file = Vec::new();
    loop {
        let chunk = source.next_chunk(chunk_bytes).unwrap();
        if chunk.is_empty() {
            break;
        }
        file.extend_from_slice(&chunk);
    }
    assert_eq!(u64::try_from(file.len()).unwrap(), source.bytes() + 32, "it was measured");
    file
}

fn read_bytes(file: &[u8], skip_hash: bool) -> Result<(SnapshotFacts, Rows), String> {
    let temp = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(temp.path(), file).unwrap();
    let mut rows = Rows::new();
    let facts = read(temp.path(), skip_hash, &mut |key, value| {
        rows.insert(key, value);
        Ok(())
    });
    Ok((facts.map_err(|error| error.to_string())?, rows))
}

#[test]
fn all_rows_come_back_whoever_owns_them() {
    let engine = engine();
    let file = write(&engine, 4096);
    for chunk_bytes in [777, 128 << 10, 10 << 20] {
        assert_eq!(write(&engine, chunk_bytes), file, "chunks of {chunk_bytes}");
    }
    assert_eq!(file.len() % 512, 32, "as etcd's tools want it");
    let (facts, rows) = read_bytes(&file, false).unwrap();
    assert!(rows.into_iter().eq(engine.scan(b"", b"\xff", usize::MAX).unwrap()));
    let (origin, point) = facts.taken.unwrap();
    assert_eq!((origin, point.applied_slot, point.barrier), (ORIGIN, 206, [5, 1]));
    assert_eq!((facts.revision, facts.compact_revision), (Revision::new(201), Revision::NEVER));
    assert_eq!(facts.total_bytes, u64::try_from(file.len()).unwrap() - 32);
    assert_eq!(facts.sha256[..], file[file.len() - 32..]);
}

#[test]
fn an_empty_store_has_a_snapshot_too() {
    let (facts, rows) = read_bytes(&write(&MemoryEngine::new(), 4096), false).unwrap();
    assert_eq!((facts.revision, rows.len()), (Revision::FIRST, 1), "the row of metadata");
}

#[test]
fn a_view_does_not_see_what_comes_later() {
    let engine = engine();
    let expected = write(&engine, 4096);
    let mut source = SnapshotFile::open(SnapshotView::open(&engine).unwrap(), ORIGIN).unwrap();
    let range = (Bytes::new(), Bytes::from_static(b"\xff"));
    engine.write(WriteBatch { delete_ranges: vec![range], ..WriteBatch::default() }).unwrap();
    let mut file = source.next_chunk(10 << 20).unwrap().to_vec();
    file.extend_from_slice(&source.next_chunk(10 << 20).unwrap());
    assert_eq!(file, expected);
}

#[test]
fn every_byte_counts_and_none_makes_a_reader_panic() {
    let file = write(&engine(), 4096);
    // A prime, so that all parts of pages have their turn; and all of what is in front.
    for at in (0..file.len()).step_by(1009).chain((0..8192).step_by(97)).chain([file.len() - 1]) {
        let mut damaged = file.clone();
        damaged[at] ^= 0x41;
        let refused = read_bytes(&damaged, false).unwrap_err();
        assert!(refused.contains("its hash does not fit"), "byte {at}: {refused}");
        let _ = read_bytes(&damaged, true);
    }
}

#[test]
fn a_file_that_is_cut_short_is_refused() {
    let file = write(&engine(), 4096);
    for length in [0, 1, 31, 32, 33, 512, 544, 4096, 8192 + 32, file.len() - 32, file.len() - 512] {
        for skip_hash in [false, true] {
            let found = read_bytes(&file[..length], skip_hash);
            let whole = skip_hash && length == file.len() - 32;
            assert_eq!(found.is_ok(), whole, "{length} bytes, {skip_hash}: {found:?}");
        }
    }
    let refused = read_bytes(&file[..file.len() - 32], false).unwrap_err();
    assert!(refused.contains("use --skip-hash-check"), "{refused}");
    let refused = read_bytes(&[0; 8192 + 32], true).unwrap_err();
    assert!(refused.contains("it is no database of bbolt"), "{refused}");
}

/// A file with these entries.
fn database(entries: Vec<backend::Entry>, buckets: &[&'static str], transaction: u64) -> Vec<u8> {
    let pass = || {
        let (mut pages, mut trees) = (Pages::default(), BTreeMap::<_, Tree>::new());
        let entries: BTreeMap<_, _> =
            entries.iter().map(|(bucket, key, value)| ((*bucket, key), value)).collect();
        for ((bucket, key), value) in entries {
            trees.entry(bucket).or_default().put(&mut pages, key.clone(), value.clone());
        }
        let roots: Vec<(&str, Root)> = buckets
            .iter()
            .map(|name| (*name, trees.remove(name).unwrap_or_default().finish(&mut pages)))
            .collect();
        let layout = pages.finish(&roots);
        (layout, pages.take())
    };
    let (layout, pages) = pass();
    let mut file = [&layout.front(transaction)[..], &pages[..]].concat();
    file.extend_from_slice(digest(&SHA256, &file).as_ref());
    file
}

fn all_buckets() -> Vec<&'static str> {
    backend::BUCKETS.into_iter().chain([BUCKET]).collect()
}

/// What an etcd holds, and the bucket of ours from long ago.
fn etcds() -> (Vec<Record>, Vec<backend::Entry>) {
    let put = |version| PutRecord {
        value: Bytes::from_static(b"v"),
        create_revision: Revision::new(5),
        version,
        lease: 3,
    };
    let change = |revision, put| Change {
        revision: Revision::new(revision),
        sub: 0,
        key: Bytes::from_static(b"k"),
        put,
    };
    let roles = ["r".to_owned()].into();
    let password = Some(PasswordHash(Bytes::from_static(b"$2a$10$hash")));
    let reasons = AlarmReasons { by_hand: true, ..AlarmReasons::default() };
    let all = Permission::new(Access::ReadWrite, KeyRange::all()).unwrap();
    let records = vec![
        Record::Change(change(6, Some(put(2)))),
        Record::Change(change(9, None)),
        Record::Lease(LeaseRecord { id: 3, ttl: 60, deadline_ms: 41_000 }),
        Record::User(UserRecord { name: "ann".to_owned(), since: 0, password, roles }),
        Record::Role(RoleRecord { name: "r".to_owned(), permissions: vec![all] }),
        Record::Alarm(Alarm { kind: AlarmKind::NoSpace, member: 5, reasons }),
    ];
    let mut entries: Vec<_> =
        records.iter().flat_map(|record| backend::entries(record.clone(), 0)).collect();
    entries.extend([
        (backend::AUTH, backend::AUTH_ENABLED.into(), Bytes::from_static(&[1])),
        (
            backend::AUTH,
            backend::AUTH_REVISION.into(),
            Bytes::from_static(&[0, 0, 0, 0, 0, 0, 0, 8]),
        ),
        // As etcdutl's --bump-revision leaves it.
        (backend::KEY, Bytes::from_static(b"\0\0\0\0\0\0\0\x63_\0\0\0\0\0\0\0\0"), Bytes::new()),
        (
            backend::META,
            backend::SCHEDULED_COMPACTION.into(),
            Bytes::from_static(b"\0\0\0\0\0\0\0\x07_\0\0\0\0\0\0\0\0"),
        ),
        (backend::META, backend::STORAGE_VERSION.into(), Bytes::from_static(b"3.6.0")),
        (BUCKET, Bytes::from_static(b"row:z"), Bytes::from_static(b"of before")),
    ]);
    (records, entries)
}

#[test]
fn a_file_that_etcd_wrote_to_is_etcds() {
    let (records, entries) = etcds();
    for transaction in [7, TRANSACTION + 1, TRANSACTION - 1] {
        let file = database(entries.clone(), &all_buckets(), transaction);
        let (facts, mut rows) = read_bytes(&file, false).unwrap();
        assert_eq!((facts.taken, facts.version.as_str()), (None, "3.6.0"));
        assert_eq!(facts.revision, Revision::new(99));
        assert_eq!(facts.compact_revision, Revision::new(7));
        for record in &records {
            let (key, value) = record.encode().unwrap().unwrap();
            assert_eq!(rows.remove(&key), Some(value), "{record:?}");
        }
        let mut left: Vec<_> =
            rows.iter().map(|(key, value)| Record::decode(key, value).unwrap()).collect();
        let Some(Record::Point(point)) = left.pop() else { panic!("{left:?}") };
        assert_eq!((point.revision, point.applied_slot, point.time_ms), (facts.revision, 1, 0));
        let Some(Record::Auth(AuthRecord { revision: 8, enabled: Some((8, secret)) })) = left.pop()
        else {
            panic!("{left:?}")
        };
        assert_ne!(secret.0, [0; 32]);
        assert!(left.is_empty(), "what our bucket said is no longer so: {left:?}");
    }
}

#[test]
fn a_store_opens_with_what_etcd_wrote() {
    let (_, entries) = etcds();
    let file = database(entries, &all_buckets(), 7);
    let (_, rows) = read_bytes(&file, false).unwrap();
    let engine = MemoryEngine::new();
    let puts = rows.into_iter().collect();
    engine.write(WriteBatch { puts, ..WriteBatch::default() }).unwrap();
    let (store, _) = Store::open(engine).unwrap();
    let reader = store.reader();
    assert_eq!(reader.revision(), Revision::new(99));
    assert_eq!(reader.compact_revision(), Revision::new(7));
    let lease = reader.lease(&Caller::Internal, 3, false, 0).unwrap().unwrap();
    assert_eq!((lease.granted_ttl, lease.remaining_ms), (60, 41_000));
}

#[test]
fn our_own_file_must_say_which_state_it_is() {
    let (_, entries) = etcds();
    let refused =
        read_bytes(&database(entries.clone(), &all_buckets(), TRANSACTION), false).unwrap_err();
    assert!(refused.contains("bucket synod: it does not say which state it is"), "{refused}");
    let (point, origin) = (point(100), [&[FORMAT][..], &[0; 16]].concat());
    let (_, state) = Record::Point(point).encode().unwrap().unwrap();
    let mut entries = entries;
    entries.push((BUCKET, STATE.into(), state));
    entries.push((BUCKET, TAKEN_FROM.into(), origin.into()));
    let refused = read_bytes(&database(entries, &all_buckets(), TRANSACTION), false).unwrap_err();
    assert!(refused.contains("its state is not that of the other buckets"), "{refused}");
}

fn point(revision: i64) -> SnapshotPoint {
    SnapshotPoint {
        revision: Revision::new(revision),
        compact_revision: Revision::NEVER,
        applied_slot: 1,
        barrier: [0; 2],
        time_ms: 0,
        digest: 0,
    }
}

#[test]
fn a_database_of_somebody_else_is_no_snapshot() {
    let file = database(Vec::new(), &["meta", "users"], 7);
    let refused = read_bytes(&file, false).unwrap_err();
    assert!(refused.contains("bucket key: it is missing"), "{refused}");
}

#[test]
fn what_a_store_cannot_hold_is_named() {
    let malformed = |bucket| (bucket, Bytes::from_static(b"x"), Bytes::from_static(b"\xff"));
    for bucket in [backend::KEY, backend::LEASE, backend::AUTH_USERS, backend::AUTH_ROLES] {
        let file = database(vec![malformed(bucket)], &all_buckets(), 7);
        let refused = read_bytes(&file, false).unwrap_err();
        assert!(refused.contains(&format!("bucket {bucket}: ")), "{refused}");
    }
    let lease = |id, ttl| Record::Lease(LeaseRecord { id, ttl, deadline_ms: 1 });
    for record in [lease(0, 5), lease(5, 0), lease(5, 9_000_000_001)] {
        let file = database(backend::entries(record, 0), &all_buckets(), 7);
        let refused = read_bytes(&file, false).unwrap_err();
        assert!(refused.contains("bucket lease: "), "{refused}");
    }
}
