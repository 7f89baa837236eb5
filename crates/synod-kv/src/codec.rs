//! The bytes of a command, as the log replicates them.
//!
//! ```text
//! request  := version:u8=1 [caller] [answer] command
//! caller   := tag:u8 [issued:u64] [name:bytes]
//! answer   := tag:u8 bytes_max:u64
//! command  := tag:u8 body
//! put      := flags:u8 lease:i64 key:bytes value:bytes
//! delete   := flags:u8 keys
//! range    := flags:u8 order:u8 target:u8 keys limit:u64 revision:i64 bounds:4×i64
//! txn      := compares:u32 compare* success:u32 op* failure:u32 op*
//! compare  := comparison:u8 target:u8 keys (i64 | bytes)
//! op       := tag:u8 body
//! compact  := revision:i64
//! grant    := id:i64 ttl:i64 ttl_min:u32
//! revoke   := id:i64
//! alive    := ids
//! expire   := round:u64 replica:u64 ids
//! alarm    := action:u8 kind:u8 member:u64
//! space    := member:u64 quota:u64 wanted:u64 disk_low:u8
//! ids      := count:u32 i64*
//! keys     := kind:u8 start:bytes [end:bytes]
//! bytes    := length:u32 byte*
//! ```
//!
//! Numbers are little-endian. Decoding gives slices of the input, never copies, checks what the
//! constructors check, and bounds depth and counts before it allocates.

mod alarm;
mod answer;
mod auth;
mod lease;
mod operation;

use std::num::NonZeroU64;

pub(crate) use auth::encode_permission;
use bytes::{BufMut, Bytes, BytesMut};
pub use operation::Operation;

use crate::caller::Caller;
use crate::command::{
    Assign, Bounds, Command, Compact, DeleteRange, Put, Range, Sort, SortOrder, SortTarget,
};
use crate::key::{Key, KeyRange};
use crate::lease::TooManyLeases;
use crate::measure::ANSWER_BYTES_MAX;
use crate::revision::Revision;
use crate::txn::{Compare, Comparison, Op, Target, Txn, TxnError};

/// The longest command that is decoded. The API refuses requests far below it.
pub const COMMAND_BYTES_MAX: usize = 64 << 20;

const VERSION: u8 = 1;

const TAG_PUT: u8 = 1;
const TAG_DELETE_RANGE: u8 = 2;
const TAG_TXN: u8 = 3;
const TAG_COMPACT: u8 = 4;
const TAG_RANGE: u8 = 5;
const TAG_LEASE_GRANT: u8 = 6;
const TAG_LEASE_REVOKE: u8 = 7;
const TAG_LEASE_KEEP_ALIVE: u8 = 8;
const TAG_LEASE_EXPIRE: u8 = 9;
const TAG_ALARM: u8 = 0x40;
const TAG_SPACE_REPORT: u8 = 0x41;

const FLAG_PREV_KV: u8 = 1;
const FLAG_KEEP_VALUE: u8 = 2;
const FLAG_KEEP_LEASE: u8 = 4;
const FLAG_KEYS_ONLY: u8 = 1;
const FLAG_COUNT_ONLY: u8 = 2;
const FLAG_AT_REVISION: u8 = 4;
const FLAG_MIN_MOD: u8 = 8;
const FLAG_MAX_MOD: u8 = 16;
const FLAG_MIN_CREATE: u8 = 32;
const FLAG_MAX_CREATE: u8 = 64;

/// Why bytes are no command.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum DecodeError {
    /// Another version of the format.
    #[error("command format {0} is not known, only {VERSION} is")]
    Version(u8),
    /// The bytes end too early.
    #[error("the bytes end within the command")]
    Truncated,
    /// There are bytes after the command.
    #[error("{0} bytes follow the command")]
    Trailing(usize),
    /// Longer than any command may be.
    #[error("command of {0} bytes, at most {COMMAND_BYTES_MAX} are decoded")]
    TooLong(usize),
    /// A code that means nothing.
    #[error("code {code} is no {what}")]
    Unknown {
        /// What was expected.
        what: &'static str,
        /// What was found.
        code: u8,
    },
    /// A key without bytes.
    #[error("a key is empty")]
    EmptyKey,
    /// A permission for no key.
    #[error("a range has no key")]
    EmptyRange,
    /// A name that is no text.
    #[error("a name is not UTF-8")]
    Text,
    /// A transaction that may not be.
    #[error(transparent)]
    Txn(#[from] TxnError),
    /// Too many leases.
    #[error(transparent)]
    Leases(#[from] TooManyLeases),
}

impl Command {
    /// The bytes of the command, of a caller who did not say who it is: while auth is enabled, it
    /// will be refused.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        self.encode_for(&Caller::Anonymous)
    }

    /// The bytes of the command of this caller.
    #[must_use]
    pub fn encode_for(&self, caller: &Caller) -> Bytes {
        self.encode_with(caller, None)
    }

    /// The same, of a command whose answer takes so much memory at most: if it would take more, it
    /// is refused, see [`ApplyError::AnswerTooLarge`](crate::ApplyError::AnswerTooLarge).
    #[must_use]
    pub fn encode_within(&self, caller: &Caller, answer_bytes_max: u64) -> Bytes {
        self.encode_with(caller, Some(answer_bytes_max))
    }

    fn encode_with(&self, caller: &Caller, answer_bytes_max: Option<u64>) -> Bytes {
        let mut out = BytesMut::with_capacity(64 + self.payload_bytes());
        out.put_u8(VERSION);
        auth::encode_caller(&mut out, caller);
        answer::encode_answer(&mut out, answer_bytes_max);
        match self {
            Self::Put(put) => encode_put(&mut out, put),
            Self::DeleteRange(delete) => encode_delete(&mut out, delete),
            Self::Txn(txn) => encode_txn(&mut out, txn),
            Self::Compact(compact) => {
                out.put_u8(TAG_COMPACT);
                out.put_i64_le(compact.revision.as_i64());
            }
            Self::LeaseGrant(grant) => lease::encode_grant(&mut out, *grant),
            Self::LeaseRevoke { id } => lease::encode_revoke(&mut out, *id),
            Self::LeaseKeepAlive { ids } => lease::encode_keep_alive(&mut out, ids),
            Self::LeaseExpire(expire) => lease::encode_expire(&mut out, expire),
            Self::Auth(command) => auth::encode(&mut out, command),
            Self::Alarm(change) => alarm::encode_change(&mut out, *change),
            Self::SpaceReport(report) => alarm::encode_report(&mut out, *report),
        }
        out.freeze()
    }

    /// Who asks, and for what. Keys and values are slices of the bytes.
    ///
    /// # Errors
    /// If the bytes are no command.
    pub fn decode(bytes: &Bytes) -> Result<(Caller, Self), DecodeError> {
        Self::decode_bounded(bytes).map(|(caller, _, command)| (caller, command))
    }

    /// The same, and what the answer may take.
    pub(crate) fn decode_bounded(bytes: &Bytes) -> Result<(Caller, u64, Self), DecodeError> {
        if bytes.len() > COMMAND_BYTES_MAX {
            return Err(DecodeError::TooLong(bytes.len()));
        }
        let mut input = Input { bytes, at: 0 };
        let version = input.u8()?;
        if version != VERSION {
            return Err(DecodeError::Version(version));
        }
        let caller = input.caller()?;
        let answer_bytes_max = input.answer()?.unwrap_or(ANSWER_BYTES_MAX);
        let command = match input.u8()? {
            TAG_PUT => Self::Put(input.put()?),
            TAG_DELETE_RANGE => Self::DeleteRange(input.delete()?),
            TAG_TXN => Self::Txn(input.txn(1)?),
            TAG_COMPACT => Self::Compact(Compact { revision: Revision::new(input.i64()?) }),
            TAG_LEASE_GRANT => Self::LeaseGrant(input.lease_grant()?),
            TAG_LEASE_REVOKE => Self::LeaseRevoke { id: input.i64()? },
            TAG_LEASE_KEEP_ALIVE => Self::LeaseKeepAlive { ids: input.lease_ids()? },
            TAG_LEASE_EXPIRE => Self::LeaseExpire(input.lease_expire()?),
            TAG_ALARM => Self::Alarm(input.alarm_change()?),
            TAG_SPACE_REPORT => Self::SpaceReport(input.space_report()?),
            tag => Self::Auth(input.auth(tag)?),
        };
        match input.rest() {
            0 => Ok((caller, answer_bytes_max, command)),
            rest => Err(DecodeError::Trailing(rest)),
        }
    }

    /// About how many bytes its keys and values take: enough to encode a put without growing.
    fn payload_bytes(&self) -> usize {
        match self {
            Self::Put(put) => match &put.value {
                Assign::Set(value) => put.key.as_bytes().len() + value.len(),
                Assign::Keep => put.key.as_bytes().len(),
            },
            _ => 0,
        }
    }
}

fn encode_put(out: &mut BytesMut, put: &Put) {
    let mut flags = if put.prev_kv { FLAG_PREV_KV } else { 0 };
    let (value, lease) = match (&put.value, put.lease) {
        (Assign::Set(value), lease) => (value.as_ref(), lease),
        (Assign::Keep, lease) => {
            flags |= FLAG_KEEP_VALUE;
            ([].as_slice(), lease)
        }
    };
    let lease = match lease {
        Assign::Set(lease) => lease,
        Assign::Keep => {
            flags |= FLAG_KEEP_LEASE;
            0
        }
    };
    out.put_u8(TAG_PUT);
    out.put_u8(flags);
    out.put_i64_le(lease);
    encode_bytes(out, put.key.as_bytes());
    encode_bytes(out, value);
}

fn encode_delete(out: &mut BytesMut, delete: &DeleteRange) {
    out.put_u8(TAG_DELETE_RANGE);
    out.put_u8(if delete.prev_kv { FLAG_PREV_KV } else { 0 });
    encode_keys(out, &delete.keys);
}

fn encode_range(out: &mut BytesMut, range: &Range) {
    let bounds = &range.bounds;
    let flags = [
        (FLAG_KEYS_ONLY, range.keys_only),
        (FLAG_COUNT_ONLY, range.count_only),
        (FLAG_AT_REVISION, range.revision.is_some()),
        (FLAG_MIN_MOD, bounds.min_mod.is_some()),
        (FLAG_MAX_MOD, bounds.max_mod.is_some()),
        (FLAG_MIN_CREATE, bounds.min_create.is_some()),
        (FLAG_MAX_CREATE, bounds.max_create.is_some()),
    ];
    out.put_u8(TAG_RANGE);
    out.put_u8(flags.iter().filter(|(_, on)| *on).fold(0, |all, (flag, _)| all | flag));
    out.put_u8(match range.sort.order {
        SortOrder::None => 0,
        SortOrder::Ascend => 1,
        SortOrder::Descend => 2,
    });
    out.put_u8(match range.sort.target {
        SortTarget::Key => 0,
        SortTarget::Version => 1,
        SortTarget::Create => 2,
        SortTarget::Mod => 3,
        SortTarget::Value => 4,
    });
    encode_keys(out, &range.keys);
    out.put_u64_le(range.limit.map_or(0, NonZeroU64::get));
    let revisions =
        [range.revision, bounds.min_mod, bounds.max_mod, bounds.min_create, bounds.max_create];
    for revision in revisions {
        out.put_i64_le(revision.unwrap_or_default().as_i64());
    }
}

fn encode_txn(out: &mut BytesMut, txn: &Txn) {
    out.put_u8(TAG_TXN);
    out.put_u32_le(length(txn.compares().len()));
    for compare in txn.compares() {
        encode_compare(out, compare);
    }
    for branch in [txn.success(), txn.failure()] {
        out.put_u32_le(length(branch.len()));
        for op in branch {
            match op {
                Op::Range(range) => encode_range(out, range),
                Op::Put(put) => encode_put(out, put),
                Op::DeleteRange(delete) => encode_delete(out, delete),
                Op::Txn(txn) => encode_txn(out, txn),
            }
        }
    }
}

fn encode_compare(out: &mut BytesMut, compare: &Compare) {
    out.put_u8(match compare.comparison {
        Comparison::Equal => 0,
        Comparison::Greater => 1,
        Comparison::Less => 2,
        Comparison::NotEqual => 3,
    });
    let (code, number) = match &compare.target {
        Target::Version(version) => (0, *version),
        Target::Create(revision) => (1, *revision),
        Target::Mod(revision) => (2, *revision),
        Target::Value(_) => (3, 0),
        Target::Lease(lease) => (4, *lease),
    };
    out.put_u8(code);
    encode_keys(out, &compare.keys);
    match &compare.target {
        Target::Value(value) => encode_bytes(out, value),
        _ => out.put_i64_le(number),
    }
}

fn encode_keys(out: &mut BytesMut, keys: &KeyRange) {
    let (kind, end) = match keys {
        KeyRange::Single(_) => (0, None),
        KeyRange::Between { end, .. } => (1, Some(end)),
        KeyRange::From(_) => (2, None),
    };
    out.put_u8(kind);
    encode_bytes(out, keys.start().as_bytes());
    if let Some(end) = end {
        encode_bytes(out, end.as_bytes());
    }
}

pub(crate) fn encode_bytes(out: &mut BytesMut, bytes: &[u8]) {
    out.put_u32_le(length(bytes.len()));
    out.put_slice(bytes);
}

fn length(length: usize) -> u32 {
    u32::try_from(length).expect("a command is shorter than 4 GiB: requests are limited above")
}

/// What is left of the bytes to decode.
pub(crate) struct Input<'a> {
    bytes: &'a Bytes,
    at: usize,
}

impl<'a> Input<'a> {
    /// What is left from a place on.
    pub(crate) const fn starting_at(bytes: &'a Bytes, at: usize) -> Self {
        Self { bytes, at }
    }
}

impl Input<'_> {
    /// How many bytes are left.
    pub(crate) const fn rest(&self) -> usize {
        self.bytes.len() - self.at
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn take(&mut self, count: usize) -> Result<std::ops::Range<usize>, DecodeError> {
        let end = self.at.checked_add(count).filter(|end| *end <= self.bytes.len());
        let end = end.ok_or(DecodeError::Truncated)?;
        let taken = self.at..end;
        self.at = end;
        Ok(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let taken = self.take(N)?;
        self.bytes[taken].try_into().map_err(|_| DecodeError::Truncated)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, DecodeError> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn u32(&mut self) -> Result<u32, DecodeError> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, DecodeError> {
        self.array().map(u64::from_le_bytes)
    }

    fn i64(&mut self) -> Result<i64, DecodeError> {
        self.array().map(i64::from_le_bytes)
    }

    pub(crate) fn bytes(&mut self) -> Result<Bytes, DecodeError> {
        let count = self.u32()?;
        let taken = self.take(usize::try_from(count).map_err(|_| DecodeError::Truncated)?)?;
        Ok(self.bytes.slice(taken))
    }

    fn key(&mut self) -> Result<Key, DecodeError> {
        Key::new(self.bytes()?).map_err(|_| DecodeError::EmptyKey)
    }

    fn keys(&mut self) -> Result<KeyRange, DecodeError> {
        match self.u8()? {
            0 => Ok(KeyRange::Single(self.key()?)),
            1 => Ok(KeyRange::Between { start: self.key()?, end: self.key()? }),
            2 => Ok(KeyRange::From(self.key()?)),
            code => Err(DecodeError::Unknown { what: "range of keys", code }),
        }
    }

    /// Flags of which only `known` mean something.
    fn flags(&mut self, known: u8) -> Result<u8, DecodeError> {
        match self.u8()? {
            flags if flags & !known == 0 => Ok(flags),
            code => Err(DecodeError::Unknown { what: "set of flags", code }),
        }
    }

    /// A list of items that take at least one byte each, so that a false count ends early.
    fn list<T>(
        &mut self,
        mut item: impl FnMut(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Vec<T>, DecodeError> {
        let count = self.u32()?;
        let mut items = Vec::new();
        for _ in 0..count {
            items.push(item(self)?);
        }
        Ok(items)
    }

    fn put(&mut self) -> Result<Put, DecodeError> {
        let flags = self.flags(FLAG_PREV_KV | FLAG_KEEP_VALUE | FLAG_KEEP_LEASE)?;
        let lease = self.i64()?;
        let key = self.key()?;
        let value = self.bytes()?;
        let keep_value = flags & FLAG_KEEP_VALUE != 0;
        let keep_lease = flags & FLAG_KEEP_LEASE != 0;
        Ok(Put {
            key,
            value: if keep_value { Assign::Keep } else { Assign::Set(value) },
            lease: if keep_lease { Assign::Keep } else { Assign::Set(lease) },
            prev_kv: flags & FLAG_PREV_KV != 0,
        })
    }

    fn delete(&mut self) -> Result<DeleteRange, DecodeError> {
        let flags = self.flags(FLAG_PREV_KV)?;
        Ok(DeleteRange { keys: self.keys()?, prev_kv: flags & FLAG_PREV_KV != 0 })
    }

    fn range(&mut self) -> Result<Range, DecodeError> {
        let flags = self.flags(0x7f)?;
        let order = match self.u8()? {
            0 => SortOrder::None,
            1 => SortOrder::Ascend,
            2 => SortOrder::Descend,
            code => return Err(DecodeError::Unknown { what: "sort order", code }),
        };
        let target = match self.u8()? {
            0 => SortTarget::Key,
            1 => SortTarget::Version,
            2 => SortTarget::Create,
            3 => SortTarget::Mod,
            4 => SortTarget::Value,
            code => return Err(DecodeError::Unknown { what: "sort target", code }),
        };
        let keys = self.keys()?;
        let limit = NonZeroU64::new(self.array().map(u64::from_le_bytes)?);
        let mut revision_if = |flag: u8| {
            let revision = Revision::new(self.i64()?);
            Ok::<_, DecodeError>((flags & flag != 0).then_some(revision))
        };
        Ok(Range {
            keys,
            limit,
            revision: revision_if(FLAG_AT_REVISION)?,
            sort: Sort { order, target },
            keys_only: flags & FLAG_KEYS_ONLY != 0,
            count_only: flags & FLAG_COUNT_ONLY != 0,
            bounds: Bounds {
                min_mod: revision_if(FLAG_MIN_MOD)?,
                max_mod: revision_if(FLAG_MAX_MOD)?,
                min_create: revision_if(FLAG_MIN_CREATE)?,
                max_create: revision_if(FLAG_MAX_CREATE)?,
            },
        })
    }

    fn txn(&mut self, depth: usize) -> Result<Txn, DecodeError> {
        if depth > Txn::DEPTH_MAX {
            return Err(TxnError::TooDeep { depth }.into());
        }
        let compares = self.list(Self::compare)?;
        let success = self.list(|input| input.op(depth))?;
        let failure = self.list(|input| input.op(depth))?;
        Ok(Txn::new(compares, success, failure)?)
    }

    fn op(&mut self, depth: usize) -> Result<Op, DecodeError> {
        match self.u8()? {
            TAG_RANGE => Ok(Op::Range(self.range()?)),
            TAG_PUT => Ok(Op::Put(self.put()?)),
            TAG_DELETE_RANGE => Ok(Op::DeleteRange(self.delete()?)),
            TAG_TXN => Ok(Op::Txn(self.txn(depth + 1)?)),
            code => Err(DecodeError::Unknown { what: "operation", code }),
        }
    }

    fn compare(&mut self) -> Result<Compare, DecodeError> {
        let comparison = match self.u8()? {
            0 => Comparison::Equal,
            1 => Comparison::Greater,
            2 => Comparison::Less,
            3 => Comparison::NotEqual,
            code => return Err(DecodeError::Unknown { what: "comparison", code }),
        };
        let code = self.u8()?;
        let keys = self.keys()?;
        let target = match code {
            0 => Target::Version(self.i64()?),
            1 => Target::Create(self.i64()?),
            2 => Target::Mod(self.i64()?),
            3 => Target::Value(self.bytes()?),
            4 => Target::Lease(self.i64()?),
            code => return Err(DecodeError::Unknown { what: "target of a comparison", code }),
        };
        Ok(Compare { keys, comparison, target })
    }
}
