//! What the store answers.

use bytes::Bytes;

use crate::alarm::{ALARMS_MAX, AlarmResponse};
use crate::auth::AuthError;
use crate::lease::{
    LEASE_TTL_MAX, LeaseExpireResponse, LeaseGrantResponse, LeaseKeepAliveResponse,
    LeaseRevokeResponse,
};
use crate::revision::Revision;

/// A key as it was at some revision.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct KeyValue {
    /// The key.
    pub key: Bytes,
    /// The value; empty if only keys were asked for.
    pub value: Bytes,
    /// The revision that created the key.
    pub create_revision: Revision,
    /// The revision that changed it last.
    pub mod_revision: Revision,
    /// How often it was put since its creation, from 1.
    pub version: i64,
    /// The lease it is attached to; 0 for none.
    pub lease: i64,
}

/// The answer to a command.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Reply {
    /// The store's revision once the command was applied: the answer's header carries it.
    pub revision: Revision,
    /// What became of the command.
    pub result: Result<Response, ApplyError>,
}

/// The answer to a command that was carried out.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Response {
    /// To a put.
    Put(PutResponse),
    /// To a delete.
    DeleteRange(DeleteRangeResponse),
    /// To a transaction.
    Txn(TxnResponse),
    /// To a compaction.
    Compact(CompactResponse),
    /// To a grant of a lease.
    LeaseGrant(LeaseGrantResponse),
    /// To a revoke of a lease.
    LeaseRevoke(LeaseRevokeResponse),
    /// To a keep-alive of leases.
    LeaseKeepAlive(LeaseKeepAliveResponse),
    /// To an expiry of leases.
    LeaseExpire(LeaseExpireResponse),
    /// To a change of users, roles or permissions.
    Auth,
    /// To a change of alarms, or a report about space.
    Alarm(AlarmResponse),
}

/// The answer to a range.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct RangeResponse {
    /// The store's revision when the range was read: not the one it was read at.
    pub revision: Revision,
    /// The keys.
    pub kvs: Vec<KeyValue>,
    /// Whether the limit left keys out.
    pub more: bool,
    /// How many keys the range has at the revision read, whatever limit and bounds say.
    pub count: u64,
}

/// The answer to a put.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct PutResponse {
    /// The revision it made.
    pub revision: Revision,
    /// What the key held before, if asked for and if it existed.
    pub prev_kv: Option<KeyValue>,
}

/// The answer to a delete.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct DeleteRangeResponse {
    /// The revision it made, or found if it deleted nothing.
    pub revision: Revision,
    /// How many keys it deleted.
    pub deleted: u64,
    /// What they held, if asked for.
    pub prev_kvs: Vec<KeyValue>,
}

/// The answer to a transaction.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct TxnResponse {
    /// The store's revision after it.
    pub revision: Revision,
    /// Whether the comparisons held.
    pub succeeded: bool,
    /// The answers of the branch taken, one per operation.
    pub responses: Vec<OpResponse>,
}

/// The answer to one operation of a transaction.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum OpResponse {
    /// To a range.
    Range(RangeResponse),
    /// To a put.
    Put(PutResponse),
    /// To a delete.
    DeleteRange(DeleteRangeResponse),
    /// To a nested transaction.
    Txn(TxnResponse),
}

/// The answer to a compaction.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct CompactResponse {
    /// The store's revision, which a compaction does not change.
    pub revision: Revision,
}

/// Why a command had no effect. The same on every member.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ApplyError {
    /// It names a revision that is forgotten.
    #[error("revision {requested} has been compacted: the oldest readable is {compacted}")]
    Compacted {
        /// What it names.
        requested: Revision,
        /// The compact revision.
        compacted: Revision,
    },
    /// It names a revision that is not there yet.
    #[error("revision {requested} is a future revision: the newest is {current}")]
    FutureRevision {
        /// What it names.
        requested: Revision,
        /// The current revision.
        current: Revision,
    },
    /// It keeps the value or the lease of a key that does not exist.
    #[error("the key to keep value or lease of does not exist")]
    KeyNotFound,
    /// It revokes a lease that does not exist, or attaches a key to one that does not or is over.
    #[error("requested lease {lease:x} does not exist")]
    LeaseNotFound {
        /// The lease it names.
        lease: i64,
    },
    /// It grants a lease that exists.
    #[error("lease {lease:x} already exists")]
    LeaseExists {
        /// The lease it names.
        lease: i64,
    },
    /// It grants a lease for too long.
    #[error("too large lease TTL of {ttl} s, at most {LEASE_TTL_MAX} s are granted")]
    LeaseTtlTooLarge {
        /// The TTL it names.
        ttl: i64,
    },
    /// The caller may not, or users and roles cannot be changed so.
    #[error(transparent)]
    Auth(#[from] AuthError),
    /// It stores more while an alarm says that space is used up.
    #[error("space is used up: delete or compact first")]
    NoSpace,
    /// It changes keys while an alarm says that members differ.
    #[error("members' data differ: nothing is changed until the alarm is disarmed")]
    Corrupt,
    /// It raises one alarm too many.
    #[error("{ALARMS_MAX} alarms stand, no more are raised: disarm some")]
    TooManyAlarms,
    /// What it reads beside what it writes takes more memory than it names as its bound.
    #[error(
        "the keys and values in the answer take {bytes} bytes of memory or more, and {bytes_max} \
         is the limit: delete or read fewer keys at a time, or without what they held before"
    )]
    AnswerTooLarge {
        /// How much was measured before it was given up.
        bytes: u64,
        /// The bound.
        bytes_max: u64,
    },
    /// Its bytes are no command. A member that writes such a thing has a bug or another version.
    #[error("the command cannot be read: {0}")]
    Malformed(#[from] crate::codec::DecodeError),
}
