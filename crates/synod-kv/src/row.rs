//! Rows of the engine: one per change, named by its position, and one of metadata.
//!
//! ```text
//! key    'b' ...                    an alarm, see `alarms`
//!
//! key    'l' id:u64, big-endian
//! value  version:u8=1  ttl:i64 deadline:u64
//!
//! key    'a' ...                    users, roles and settings, see `auth::row`
//!
//! key    'm'
//! value  version:u8=1  revision compact time barrier:2 slot digest, u64 each
//!
//! key    'r' revision:u64 sub:u32, big-endian
//! value  version:u8=1  kind:u8 [create version lease] key:bytes value
//! ```
//!
//! Big-endian keys make rows stand in the order of history.

use bytes::{BufMut, Bytes, BytesMut};

use crate::digest::Digest;
use crate::lease::LEASE_TTL_MAX;
use crate::leases::Terms;
use crate::response::KeyValue;
use crate::revision::{Position, Revision};
use crate::versions::{Live, Version};

/// Where the metadata is.
pub(crate) const META_KEY: Bytes = Bytes::from_static(b"m");

/// Above every row.
pub(crate) const ROWS_END: &[u8] = b"s";

pub(crate) const FORMAT: u8 = 1;
const KIND_DELETE: u8 = 0;
const KIND_PUT: u8 = 1;

/// What a batch says beside its rows: the state of the store that the engine then holds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Meta {
    pub(crate) revision: Revision,
    pub(crate) compact: Revision,
    pub(crate) time_ms: u64,
    /// What the log wants to be remembered with the state; opaque here.
    pub(crate) barrier: [u64; 2],
    /// Exclusive: the next slot to apply.
    pub(crate) applied_slot: u64,
    pub(crate) digest: Digest,
}

/// One change: a key, what it became, and its value.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Row {
    pub(crate) key: Bytes,
    pub(crate) value: Bytes,
    pub(crate) version: Version,
}

/// Bytes in the engine that are no row of this format.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum RowError {
    /// Written by another release.
    #[error("row format {0} is not known, only {FORMAT} is")]
    Format(u8),
    /// Damaged: too short, too long, or without meaning.
    #[error("a row of the store is damaged")]
    Damaged,
}

impl Meta {
    pub(crate) const EMPTY: Self = Self {
        revision: Revision::FIRST,
        compact: Revision::NEVER,
        time_ms: 0,
        barrier: [0; 2],
        applied_slot: 1,
        digest: Digest::new(0),
    };

    pub(crate) fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(57);
        out.put_u8(FORMAT);
        out.put_i64_le(self.revision.as_i64());
        out.put_i64_le(self.compact.as_i64());
        out.put_u64_le(self.time_ms);
        out.put_u64_le(self.barrier[0]);
        out.put_u64_le(self.barrier[1]);
        out.put_u64_le(self.applied_slot);
        out.put_u64_le(self.digest.as_u64());
        out.freeze()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, RowError> {
        let mut input = Input::open(bytes)?;
        let meta = Self {
            revision: Revision::new(input.i64()?),
            compact: Revision::new(input.i64()?),
            time_ms: input.array().map(u64::from_le_bytes)?,
            barrier: [
                input.array().map(u64::from_le_bytes)?,
                input.array().map(u64::from_le_bytes)?,
            ],
            applied_slot: input.array().map(u64::from_le_bytes)?,
            digest: Digest::new(input.array().map(u64::from_le_bytes)?),
        };
        let sound = meta.revision >= Revision::FIRST
            && meta.compact <= meta.revision
            && meta.applied_slot >= 1
            && input.rest.is_empty();
        if sound { Ok(meta) } else { Err(RowError::Damaged) }
    }
}

/// The engine's key for the row of a position.
pub(crate) fn row_key(at: Position) -> Bytes {
    let mut key = BytesMut::with_capacity(13);
    key.put_u8(b'r');
    key.put_i64(at.revision.as_i64());
    key.put_u32(at.sub);
    key.freeze()
}

fn position(key: &[u8]) -> Result<Position, RowError> {
    let Some((b'r', place)) = key.split_first() else { return Err(RowError::Damaged) };
    let (revision, sub) = place.split_first_chunk::<8>().ok_or(RowError::Damaged)?;
    let sub: [u8; 4] = sub.try_into().map_err(|_| RowError::Damaged)?;
    let revision = Revision::new(i64::from_be_bytes(*revision));
    if revision < Revision::FIRST {
        return Err(RowError::Damaged);
    }
    Ok(Position { revision, sub: u32::from_be_bytes(sub) })
}

/// The engine's key for a lease. Negative ids come last.
pub(crate) fn lease_key(id: i64) -> Bytes {
    let mut key = BytesMut::with_capacity(9);
    key.put_u8(b'l');
    key.put_i64(id);
    key.freeze()
}

/// The engine's value for a lease.
pub(crate) fn encode_lease(terms: Terms) -> Bytes {
    let mut out = BytesMut::with_capacity(17);
    out.put_u8(FORMAT);
    out.put_i64_le(terms.ttl);
    out.put_u64_le(terms.deadline_ms);
    out.freeze()
}

/// The lease of a row.
pub(crate) fn decode_lease(key: &[u8], bytes: &[u8]) -> Result<(i64, Terms), RowError> {
    let Some((b'l', id)) = key.split_first() else { return Err(RowError::Damaged) };
    let id = i64::from_be_bytes(id.try_into().map_err(|_| RowError::Damaged)?);
    let mut input = Input::open(bytes)?;
    let ttl = input.i64()?;
    let deadline_ms = input.array().map(u64::from_le_bytes)?;
    let sound = id != 0 && (1..=LEASE_TTL_MAX).contains(&ttl) && input.rest.is_empty();
    if sound { Ok((id, Terms { ttl, deadline_ms })) } else { Err(RowError::Damaged) }
}

impl Row {
    /// How much memory it takes until it is flushed, about.
    pub(crate) fn overlay_bytes(&self) -> usize {
        128 + self.key.len() + self.value.len()
    }

    pub(crate) fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(32 + self.key.len() + self.value.len());
        out.put_u8(FORMAT);
        match self.version.live {
            None => out.put_u8(KIND_DELETE),
            Some(live) => {
                out.put_u8(KIND_PUT);
                out.put_i64_le(live.create.as_i64());
                out.put_i64_le(live.version);
                out.put_i64_le(live.lease);
            }
        }
        let length = u32::try_from(self.key.len()).expect("keys come in commands below 4 GiB");
        out.put_u32_le(length);
        out.put_slice(&self.key);
        out.put_slice(&self.value);
        out.freeze()
    }

    pub(crate) fn decode(row_key: &[u8], bytes: &Bytes) -> Result<Self, RowError> {
        let at = position(row_key)?;
        let mut input = Input::open(bytes)?;
        let live = match input.array()? {
            [KIND_DELETE] => None,
            [KIND_PUT] => Some((input.i64()?, input.i64()?, input.i64()?)),
            _ => return Err(RowError::Damaged),
        };
        let length = input.array().map(u32::from_le_bytes)?;
        let length = usize::try_from(length).map_err(|_| RowError::Damaged)?;
        let key_start = bytes.len() - input.rest.len();
        if length == 0 || length > input.rest.len() {
            return Err(RowError::Damaged);
        }
        let key = bytes.slice(key_start..key_start + length);
        let value = bytes.slice(key_start + length..);
        let live = match live {
            Some((create, version, lease)) => Some(Live {
                create: Revision::new(create),
                version,
                lease,
                bytes: live_bytes(&key, &value),
            }),
            None if value.is_empty() => None,
            None => return Err(RowError::Damaged),
        };
        Ok(Self { key, value, version: Version { at, live } })
    }

    /// The key as it was after this change; without value and versions if it was deleted.
    pub(crate) fn key_value(&self) -> KeyValue {
        key_value(self.key.clone(), self.value.clone(), &self.version)
    }
}

/// What a live key counts against the quota.
pub(crate) fn live_bytes(key: &[u8], value: &[u8]) -> u64 {
    u64::try_from(key.len() + value.len()).unwrap_or(u64::MAX)
}

/// Puts together what a client sees.
pub(crate) fn key_value(key: Bytes, value: Bytes, version: &Version) -> KeyValue {
    let mod_revision = version.at.revision;
    match version.live {
        None => KeyValue { key, mod_revision, ..KeyValue::default() },
        Some(Live { create, version, lease, .. }) => {
            KeyValue { key, value, create_revision: create, mod_revision, version, lease }
        }
    }
}

struct Input<'a> {
    rest: &'a [u8],
}

impl<'a> Input<'a> {
    fn open(bytes: &'a [u8]) -> Result<Self, RowError> {
        match bytes.split_first() {
            Some((&FORMAT, rest)) => Ok(Self { rest }),
            Some((format, _)) => Err(RowError::Format(*format)),
            None => Err(RowError::Damaged),
        }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], RowError> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(RowError::Damaged)?;
        self.rest = rest;
        Ok(*taken)
    }

    fn i64(&mut self) -> Result<i64, RowError> {
        self.array().map(i64::from_le_bytes)
    }
}
