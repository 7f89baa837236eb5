//! What etcd keeps in its database, bucket by bucket, and the way between that and the store.
//!
//! ```text
//! key        revision:8 '_' place:8 ['t' if deleted]   mvccpb.KeyValue; if deleted, the key alone
//! lease      id:8                                      leasepb.Lease
//! auth       authEnabled, authRevision                 1 byte; 8 bytes
//! authUsers  name                                      authpb.User
//! authRoles  name                                      authpb.Role
//! alarm      etcdserverpb.AlarmMember                  nothing
//! meta       finishedCompactRev, scheduledCompactRev   revision:8 '_' place:8
//!            consistent_index, term                    8 bytes each, what raft applied
//!            storageVersion                            text, from 3.6 on
//! cluster, members, members_removed                    made anew by every restore
//! ```
//!
//! Numbers are big-endian. Releases 3.4 to 3.7 have the same, but for what is named.

use std::collections::BTreeSet;

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;
use synod_kv::{
    Alarm, AlarmKind, AlarmReasons, AuthRecord, Change, LeaseRecord, PasswordHash, PutRecord,
    Record, Revision, RoleRecord, SnapshotPoint, UserRecord,
};

use crate::auth;
use crate::proto::authpb::{Role, User, UserAddOptions};
use crate::proto::etcdserverpb::{AlarmMember, AlarmType};
use crate::proto::mvccpb::KeyValue;

/// Keys and their history.
pub const KEY: &str = "key";
/// Leases.
pub const LEASE: &str = "lease";
/// Whether auth is enabled.
pub const AUTH: &str = "auth";
/// Users.
pub const AUTH_USERS: &str = "authUsers";
/// Roles.
pub const AUTH_ROLES: &str = "authRoles";
/// Alarms that stand.
pub const ALARM: &str = "alarm";
/// Compaction, and how far raft is.
pub const META: &str = "meta";
/// All buckets that etcd has, upward.
pub const BUCKETS: [&str; 10] = [
    ALARM,
    AUTH,
    AUTH_ROLES,
    AUTH_USERS,
    "cluster",
    KEY,
    LEASE,
    "members",
    "members_removed",
    META,
];

/// In [`AUTH`]: whether auth is enabled.
pub const AUTH_ENABLED: &[u8] = b"authEnabled";
/// In [`AUTH`]: the revision of users and roles.
pub const AUTH_REVISION: &[u8] = b"authRevision";
/// In [`META`]: what was compacted.
pub const FINISHED_COMPACTION: &[u8] = b"finishedCompactRev";
/// In [`META`]: what is to be compacted.
pub const SCHEDULED_COMPACTION: &[u8] = b"scheduledCompactRev";
/// In [`META`]: the release whose schema it is, from 3.6 on.
pub const STORAGE_VERSION: &[u8] = b"storageVersion";
const CONSISTENT_INDEX: &[u8] = b"consistent_index";
const TERM: &[u8] = b"term";

/// Bytes of a revision: two numbers with a mark between them.
const REVISION_BYTES: usize = 17;
const REVISION_MARK: u8 = b'_';
const DELETION_MARK: u8 = b't';

/// An entry of a bucket: that, the key and the value.
pub type Entry = (&'static str, Bytes, Bytes);

/// An entry that the store cannot take up.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("bucket {bucket}: {what}")]
pub struct EntryError {
    /// Where it is.
    pub bucket: &'static str,
    /// What is wrong.
    pub what: &'static str,
}

/// What an entry of [`KEY`] says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum KeyEntry {
    /// What a key became.
    Change(Change),
    /// No key, but that revisions go on from here: so etcd moves them ahead.
    Mark(Revision),
}

/// leasepb.Lease
#[derive(Clone, Copy, PartialEq, Message)]
struct Lease {
    #[prost(int64, tag = "1")]
    id: i64,
    #[prost(int64, tag = "2")]
    ttl: i64,
    /// Seconds, if it was not renewed for some time; else 0.
    #[prost(int64, tag = "3")]
    remaining_ttl: i64,
}

/// What etcd keeps of a record, in a store whose log time is this.
#[must_use]
pub fn entries(record: Record, time_ms: u64) -> Vec<Entry> {
    match record {
        Record::Change(change) => vec![change_entry(change)],
        Record::Lease(lease) => vec![lease_entry(lease, time_ms)],
        Record::Auth(AuthRecord { revision, enabled }) => vec![
            (AUTH, AUTH_ENABLED.into(), Bytes::copy_from_slice(&[enabled.is_some().into()])),
            (AUTH, AUTH_REVISION.into(), number(revision)),
        ],
        Record::User(user) => vec![user_entry(user)],
        Record::Role(role) => vec![role_entry(role)],
        Record::Alarm(alarm) => vec![alarm_entry(&alarm)],
        Record::Point(point) => point_entries(point),
        Record::Foreign => Vec::new(),
    }
}

fn change_entry(change: Change) -> Entry {
    let Change { revision, sub, key, put } = change;
    let place = revision_bytes(revision, sub, put.is_none());
    let message = match put {
        None => KeyValue { key, ..KeyValue::default() },
        Some(PutRecord { value, create_revision, version, lease }) => KeyValue {
            key,
            value,
            create_revision: create_revision.as_i64(),
            mod_revision: revision.as_i64(),
            version,
            lease,
        },
    };
    (KEY, place, message.encode_to_vec().into())
}

fn lease_entry(lease: LeaseRecord, time_ms: u64) -> Entry {
    let LeaseRecord { id, ttl, deadline_ms } = lease;
    // In whole seconds, upward, so that none ends early; and never 0, which means all of it.
    let remaining = deadline_ms.saturating_sub(time_ms).div_ceil(1000).max(1);
    let remaining = i64::try_from(remaining).unwrap_or(i64::MAX);
    let remaining_ttl = if remaining < ttl { remaining } else { 0 };
    let value = Lease { id, ttl, remaining_ttl }.encode_to_vec();
    (LEASE, number(id.cast_unsigned()), value.into())
}

fn user_entry(user: UserRecord) -> Entry {
    let name = Bytes::from(user.name);
    let options = UserAddOptions { no_password: user.password.is_none() };
    let message = User {
        name: name.clone(),
        password: user.password.map(|hash| hash.0).unwrap_or_default(),
        roles: user.roles.into_iter().collect(),
        options: Some(options),
    };
    (AUTH_USERS, name, message.encode_to_vec().into())
}

fn role_entry(role: RoleRecord) -> Entry {
    let name = Bytes::from(role.name);
    let permissions = role.permissions.into_iter().map(auth::permission_message);
    let message = Role { name: name.clone(), key_permission: permissions.collect() };
    (AUTH_ROLES, name, message.encode_to_vec().into())
}

fn alarm_entry(alarm: &Alarm) -> Entry {
    (ALARM, crate::alarm::message(alarm).encode_to_vec().into(), Bytes::new())
}

fn point_entries(point: SnapshotPoint) -> Vec<Entry> {
    let mut entries = vec![
        (META, CONSISTENT_INDEX.into(), number(point.applied_slot.saturating_sub(1))),
        (META, TERM.into(), number(1)),
    ];
    if point.compact_revision >= Revision::ZERO {
        let compacted = revision_bytes(point.compact_revision, 0, false);
        entries.push((META, FINISHED_COMPACTION.into(), compacted.clone()));
        entries.push((META, SCHEDULED_COMPACTION.into(), compacted));
    }
    entries
}

/// The change that an entry of [`KEY`] says.
///
/// # Errors
/// If it says none.
pub fn key_entry(key: &[u8], value: Bytes) -> Result<KeyEntry, EntryError> {
    let wrong = |what| EntryError { bucket: KEY, what };
    let (revision, sub, deleted) = place(key).ok_or_else(|| wrong("a revision is malformed"))?;
    let place = u32::try_from(sub).map_err(|_| wrong("a revision has too many changes"))?;
    if value.is_empty() && !deleted {
        return Ok(KeyEntry::Mark(revision));
    }
    let message = KeyValue::decode(value).map_err(|_| wrong("a change is malformed"))?;
    if message.key.is_empty() {
        return Err(wrong("a change has no key"));
    }
    let KeyValue { key, value, create_revision, mod_revision, version, lease } = message;
    if !deleted && mod_revision != revision.as_i64() {
        return Err(wrong("a change names another revision than its own"));
    }
    let create_revision = Revision::new(create_revision);
    let put = (!deleted).then_some(PutRecord { value, create_revision, version, lease });
    Ok(KeyEntry::Change(Change { revision, sub: place, key, put }))
}

/// The revision in an entry of [`META`].
///
/// # Errors
/// If it is none.
pub fn compaction(value: &[u8]) -> Result<Revision, EntryError> {
    match revision(value) {
        Some((main, _)) if value.len() == REVISION_BYTES => Ok(Revision::new(main)),
        _ => Err(EntryError { bucket: META, what: "a compaction's revision is malformed" }),
    }
}

/// The lease of an entry of [`LEASE`], in a store whose log time is this.
///
/// # Errors
/// If it is none.
pub fn lease(value: &[u8], time_ms: u64) -> Result<LeaseRecord, EntryError> {
    let wrong = EntryError { bucket: LEASE, what: "a lease is malformed" };
    let Lease { id, ttl, remaining_ttl } = Lease::decode(value).map_err(|_| wrong)?;
    let remaining = if remaining_ttl > 0 { remaining_ttl.min(ttl) } else { ttl };
    let remaining = u64::try_from(remaining).map_err(|_| wrong)?;
    let deadline_ms = time_ms.saturating_add(remaining.saturating_mul(1000));
    Ok(LeaseRecord { id, ttl, deadline_ms })
}

/// Whether an entry of [`AUTH`] says that auth is enabled.
#[must_use]
pub fn auth_enabled(value: &[u8]) -> bool {
    value == [1]
}

/// The revision in an entry of [`AUTH`].
///
/// # Errors
/// If it is none.
pub fn auth_revision(value: &[u8]) -> Result<u64, EntryError> {
    let revision = value.try_into().map(u64::from_be_bytes);
    revision.map_err(|_| EntryError { bucket: AUTH, what: "its revision is malformed" })
}

/// The user of an entry of [`AUTH_USERS`].
///
/// # Errors
/// If it is none.
pub fn user(key: &[u8], value: Bytes) -> Result<UserRecord, EntryError> {
    let wrong = |what| EntryError { bucket: AUTH_USERS, what };
    let User { name, password, roles, options } =
        User::decode(value).map_err(|_| wrong("a user is malformed"))?;
    if name != key {
        return Err(wrong("a user has another name than its entry"));
    }
    let no_password = options.is_some_and(|options| options.no_password);
    Ok(UserRecord {
        name: text(&name).ok_or_else(|| wrong("the name of a user is no UTF-8"))?,
        // No token is older than this.
        since: 0,
        password: (!no_password).then_some(PasswordHash(password)),
        roles: roles.into_iter().collect::<BTreeSet<_>>(),
    })
}

/// The role of an entry of [`AUTH_ROLES`].
///
/// # Errors
/// If it is none, or permits what the store has no words for.
pub fn role(key: &[u8], value: Bytes) -> Result<RoleRecord, EntryError> {
    let wrong = |what| EntryError { bucket: AUTH_ROLES, what };
    let Role { name, key_permission } =
        Role::decode(value).map_err(|_| wrong("a role is malformed"))?;
    if name != key {
        return Err(wrong("a role has another name than its entry"));
    }
    let permissions = key_permission.into_iter().map(|granted| {
        auth::permission(Some(granted)).map_err(|_| {
            wrong("a role has a permission for no key at all: revoke it in etcd, and save again")
        })
    });
    Ok(RoleRecord {
        name: text(&name).ok_or_else(|| wrong("the name of a role is no UTF-8"))?,
        permissions: permissions.collect::<Result<_, _>>()?,
    })
}

/// The alarm of an entry of [`ALARM`]. It stands until it is disarmed, as in etcd.
///
/// # Errors
/// If it is none, or of a kind that is not known.
pub fn alarm(key: &[u8]) -> Result<Alarm, EntryError> {
    let wrong = |what| EntryError { bucket: ALARM, what };
    let message = AlarmMember::decode(key).map_err(|_| wrong("an alarm is malformed"))?;
    let kind = match message.alarm() {
        AlarmType::Nospace => AlarmKind::NoSpace,
        AlarmType::Corrupt => AlarmKind::Corrupt,
        AlarmType::None => return Err(wrong("an alarm is of an unknown kind")),
    };
    let reasons = AlarmReasons { by_hand: true, ..AlarmReasons::default() };
    Ok(Alarm { kind, member: message.member_id, reasons })
}

fn text(bytes: &[u8]) -> Option<String> {
    String::from_utf8(bytes.to_vec()).ok().filter(|text| !text.is_empty())
}

fn number(number: u64) -> Bytes {
    Bytes::copy_from_slice(&number.to_be_bytes())
}

fn revision_bytes(revision: Revision, sub: u32, deleted: bool) -> Bytes {
    let mut out = BytesMut::with_capacity(REVISION_BYTES + 1);
    out.put_i64(revision.as_i64());
    out.put_u8(REVISION_MARK);
    out.put_u64(u64::from(sub));
    if deleted {
        out.put_u8(DELETION_MARK);
    }
    out.freeze()
}

fn revision(bytes: &[u8]) -> Option<(i64, u64)> {
    let (main, rest) = bytes.split_first_chunk()?;
    let (mark, rest) = rest.split_first()?;
    let (sub, _) = rest.split_first_chunk()?;
    (*mark == REVISION_MARK).then_some((i64::from_be_bytes(*main), u64::from_be_bytes(*sub)))
}

fn place(key: &[u8]) -> Option<(Revision, u64, bool)> {
    let (main, sub) = revision(key)?;
    let deleted = match key.get(REVISION_BYTES..)? {
        [] => false,
        [DELETION_MARK] => true,
        _ => return None,
    };
    (main >= 1).then_some((Revision::new(main), sub, deleted))
}

#[cfg(test)]
mod tests;
