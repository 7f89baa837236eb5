//! What rows of the engine say, in types: for who takes a store to another format, or from one.

use std::collections::BTreeSet;

use bytes::Bytes;

use crate::alarm::Alarm;
use crate::alarms;
use crate::auth::row as auth_row;
use crate::auth::{Enabled, PasswordHash, Permission, Role, Settings, TokenSecret, User};
use crate::leases::Terms;
use crate::revision::{Position, Revision};
use crate::row::{self, META_KEY, Meta, Row, RowError};
use crate::snapshot::SnapshotPoint;
use crate::versions::{Live, Version};

/// A row, taken apart.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Record {
    /// The state that all rows together are.
    Point(SnapshotPoint),
    /// A change of a key.
    Change(Change),
    /// A lease.
    Lease(LeaseRecord),
    /// Whether auth is enabled.
    Auth(AuthRecord),
    /// A user.
    User(UserRecord),
    /// A role.
    Role(RoleRecord),
    /// An alarm that stands.
    Alarm(Alarm),
    /// No row of the store: of others that share the engine.
    Foreign,
}

/// What a key became.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Change {
    /// At which revision.
    pub revision: Revision,
    /// Its place among the changes of that revision.
    pub sub: u32,
    /// The key.
    pub key: Bytes,
    /// None if it was deleted.
    pub put: Option<PutRecord>,
}

/// What a key that exists has beside its name.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct PutRecord {
    /// The value.
    pub value: Bytes,
    /// The revision that made the key.
    pub create_revision: Revision,
    /// Counts from 1 since then.
    pub version: i64,
    /// Its lease; 0 for none.
    pub lease: i64,
}

/// A lease.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct LeaseRecord {
    /// Its id.
    pub id: i64,
    /// Seconds from a renewal to the deadline.
    pub ttl: i64,
    /// The log time at which it is over.
    pub deadline_ms: u64,
}

/// What there is of auth beside users and roles.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AuthRecord {
    /// Goes up with every change.
    pub revision: u64,
    /// While auth is enabled: since which of these revisions, and what tokens are signed with.
    pub enabled: Option<(u64, TokenSecret)>,
}

/// A user.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct UserRecord {
    /// The name.
    pub name: String,
    /// The auth revision at which the password was set.
    pub since: u64,
    /// None for a user without password.
    pub password: Option<PasswordHash>,
    /// The names of the roles.
    pub roles: BTreeSet<String>,
}

/// A role.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RoleRecord {
    /// The name.
    pub name: String,
    /// What it permits.
    pub permissions: Vec<Permission>,
}

impl Record {
    /// What a row says.
    ///
    /// # Errors
    /// If it is damaged, or of another release.
    pub fn decode(key: &[u8], value: &Bytes) -> Result<Self, RowError> {
        Ok(match key.first() {
            _ if key == &META_KEY[..] => Self::Point(Meta::decode(value)?.into()),
            Some(b'r') => Self::Change(Row::decode(key, value)?.into()),
            Some(b'l') => {
                let (id, Terms { ttl, deadline_ms }) = row::decode_lease(key, value)?;
                Self::Lease(LeaseRecord { id, ttl, deadline_ms })
            }
            Some(b'b') => Self::Alarm(alarms::decode_alarm(key, value)?),
            Some(b'a') => auth_row::decode(key, value)?.into(),
            _ => Self::Foreign,
        })
    }

    /// The row that says this; none for [`Record::Foreign`], and for an alarm without reasons.
    ///
    /// # Errors
    /// If no store could hold it.
    pub fn encode(&self) -> Result<Option<(Bytes, Bytes)>, RowError> {
        let pair = match self {
            Self::Point(point) => Some((META_KEY, Meta::from(*point).encode())),
            Self::Change(change) => {
                let row = Row::from(change.clone());
                Some((row::row_key(row.version.at), row.encode()))
            }
            Self::Lease(LeaseRecord { id, ttl, deadline_ms }) => {
                let terms = Terms { ttl: *ttl, deadline_ms: *deadline_ms };
                Some((row::lease_key(*id), row::encode_lease(terms)))
            }
            Self::Alarm(alarm) => alarms::encode_alarm(alarm.reasons)
                .map(|value| (alarms::alarm_key(alarm.kind, alarm.member), value)),
            Self::Auth(AuthRecord { revision, enabled }) => {
                let enabled = enabled.clone().map(|(since, secret)| Enabled { since, secret });
                let settings = Settings { revision: *revision, enabled };
                Some((auth_row::SETTINGS_KEY, auth_row::encode_settings(&settings)))
            }
            Self::User(UserRecord { name, since, password, roles }) => {
                let user = User::new(*since, password.clone(), roles.clone());
                Some((auth_row::user_key(name), auth_row::encode_user(&user)))
            }
            Self::Role(RoleRecord { name, permissions }) => {
                let role = Role { permissions: permissions.clone() };
                Some((auth_row::role_key(name), auth_row::encode_role(&role)))
            }
            Self::Foreign => None,
        };
        // What cannot be read again is said now, and not when a member starts.
        if let Some((key, value)) = &pair {
            Self::decode(key, value)?;
        }
        Ok(pair)
    }
}

impl From<Row> for Change {
    fn from(row: Row) -> Self {
        let Position { revision, sub } = row.version.at;
        let put = row.version.live.map(|live| PutRecord {
            value: row.value,
            create_revision: live.create,
            version: live.version,
            lease: live.lease,
        });
        Self { revision, sub, key: row.key, put }
    }
}

impl From<Change> for Row {
    fn from(change: Change) -> Self {
        let Change { revision, sub, key, put } = change;
        let live = put.as_ref().map(|put| Live {
            create: put.create_revision,
            version: put.version,
            lease: put.lease,
            bytes: row::live_bytes(&key, &put.value),
        });
        let value = put.map_or_else(Bytes::new, |put| put.value);
        let at = Position { revision, sub };
        Self { key, value, version: Version { at, live } }
    }
}

impl From<auth_row::AuthRow> for Record {
    fn from(row: auth_row::AuthRow) -> Self {
        use auth_row::AuthRow;
        match row {
            AuthRow::Settings(Settings { revision, enabled }) => {
                let enabled = enabled.map(|Enabled { since, secret }| (since, secret));
                Self::Auth(AuthRecord { revision, enabled })
            }
            AuthRow::Role(name, Role { permissions }) => {
                Self::Role(RoleRecord { name, permissions })
            }
            AuthRow::User(name, user) => {
                let (since, password, roles) = (user.since, user.password, user.roles);
                Self::User(UserRecord { name, since, password, roles })
            }
        }
    }
}
