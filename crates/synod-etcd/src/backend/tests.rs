//! Entries of etcd's buckets: there and back, and what is refused.

use synod_kv::{Access, KeyRange, Permission};

use super::*;

fn change(sub: u32, put: Option<PutRecord>) -> Change {
    Change { revision: Revision::new(7), sub, key: Bytes::from_static(b"k"), put }
}

fn one(record: Record, time_ms: u64) -> (Bytes, Bytes) {
    let mut entries = entries(record, time_ms);
    let (_, key, value) = entries.pop().unwrap();
    assert!(entries.is_empty());
    (key, value)
}

#[test]
fn changes_come_back() {
    let put = PutRecord {
        value: Bytes::from_static(b"v"),
        create_revision: Revision::new(3),
        version: 4,
        lease: -5,
    };
    let marks: [&[u8]; 2] = [b"\0\0\0\0\0\0\0\x07_\0\0\0\0\0\0\0\x02", b"t"];
    for (put, expected) in [(Some(put), marks[0].to_vec()), (None, marks.concat())] {
        let change = change(2, put);
        let (key, value) = one(Record::Change(change.clone()), 0);
        assert_eq!(key, expected);
        assert_eq!(key_entry(&key, value), Ok(KeyEntry::Change(change)));
    }
}

#[test]
fn a_revision_moved_ahead_is_a_mark() {
    let key = revision_bytes(Revision::new(1_000_000_009), 0, false);
    let mark = KeyEntry::Mark(Revision::new(1_000_000_009));
    assert_eq!(key_entry(&key, Bytes::new()), Ok(mark));
}

#[test]
fn malformed_changes_are_refused() {
    let (key, value) = one(Record::Change(change(0, Some(PutRecord::default()))), 0);
    assert!(key_entry(&key, value.clone()).is_ok());
    let other = revision_bytes(Revision::new(8), 0, false);
    let zero = revision_bytes(Revision::ZERO, 0, false);
    let many: &[u8] = b"\0\0\0\0\0\0\0\x07_\0\0\0\x01\0\0\0\0";
    for key in [&key[..16], &other, &zero, many, &[&key[..], b"x"].concat(), b""] {
        assert!(key_entry(key, value.clone()).is_err(), "{key:?}");
    }
    for damaged in [&b"\x0a"[..], b"\x12\x01v"] {
        assert!(key_entry(&key, Bytes::copy_from_slice(damaged)).is_err(), "{damaged:?}");
    }
}

#[test]
fn leases_keep_what_they_have_left_in_seconds_upward() {
    for (deadline_ms, left) in [(60_500, 60), (60_501, 60), (31_000, 31), (30_501, 31), (9, 1)] {
        let lease_of = |deadline_ms| LeaseRecord { id: -2, ttl: 60, deadline_ms };
        let (key, value) = one(Record::Lease(lease_of(deadline_ms)), 500);
        assert_eq!(key, (-2_i64).to_be_bytes()[..]);
        assert_eq!(lease(&value, 9), Ok(lease_of(9 + left * 1000)), "{deadline_ms}");
    }
    assert!(lease(b"\x10\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 0).is_err(), "a TTL below 0");
}

#[test]
fn users_and_roles_come_back() {
    for password in [None, Some(PasswordHash(Bytes::from_static(b"$2a$10$x")))] {
        let roles = BTreeSet::from(["r1".to_owned(), "root".to_owned()]);
        let found = UserRecord { name: "ann".to_owned(), since: 0, password, roles };
        let (key, value) = one(Record::User(found.clone()), 0);
        assert_eq!(user(&key, value.clone()), Ok(found));
        assert!(user(b"bob", value).is_err());
    }
    let all = Permission::new(Access::ReadWrite, KeyRange::all()).unwrap();
    let found = RoleRecord { name: "r1".to_owned(), permissions: vec![all] };
    let (key, value) = one(Record::Role(found.clone()), 0);
    assert_eq!(role(&key, value), Ok(found));
    let nothing = Role { name: "r".into(), key_permission: vec![Default::default()] };
    let refused = role(b"r", nothing.encode_to_vec().into()).unwrap_err();
    assert!(refused.to_string().contains("revoke it in etcd"), "{refused}");
}

#[test]
fn alarms_come_back_as_raised_by_hand() {
    for kind in [AlarmKind::NoSpace, AlarmKind::Corrupt] {
        let reasons = AlarmReasons { quota: Some(9), ..AlarmReasons::default() };
        let (key, value) = one(Record::Alarm(Alarm { kind, member: 7, reasons }), 0);
        let reasons = AlarmReasons { by_hand: true, ..AlarmReasons::default() };
        assert_eq!(alarm(&key), Ok(Alarm { kind, member: 7, reasons }));
        assert!(value.is_empty());
    }
    assert!(alarm(b"\x08\x07").is_err());
}

#[test]
fn what_was_compacted_comes_back() {
    let point = SnapshotPoint {
        revision: Revision::new(9),
        compact_revision: Revision::new(4),
        applied_slot: 12,
        barrier: [0; 2],
        time_ms: 0,
        digest: 0,
    };
    let compacted = entries(Record::Point(point), 0);
    let (_, _, value) = compacted.iter().find(|(_, key, _)| key == FINISHED_COMPACTION).unwrap();
    assert_eq!(compaction(value), Ok(Revision::new(4)));
    let never = SnapshotPoint { compact_revision: Revision::NEVER, ..point };
    assert_eq!(entries(Record::Point(never), 0).len(), 2);
    assert!(compaction(b"4").is_err());
}
