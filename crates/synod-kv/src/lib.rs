//! The store as a deterministic state machine: etcd's keys, revisions, transactions and history.
//!
//! Reading order:
//!
//! 1. [`Revision`], [`Key`], [`KeyRange`]: the words.
//! 2. [`Command`] and its parts: what a client may ask. A value of these types cannot be
//!    malformed; [`Command::encode`] gives the bytes that the log replicates.
//! 3. [`Reply`]: what the store answers.
//! 4. `tree`, `versions`: the index, an ordered tree of keys with the versions of each.
//! 5. `leases`: who is due when, and which keys go then; [`LeaseExpire`] says who decides.
//!    [`Expirer`]: when the leader asks.
//! 6. [`Caller`], [`Need`]: who asks, and what each operation needs. `auth`: who may do what.
//! 7. `measure`: what the answer to a command that writes may take. `space`, [`Alarm`]: what
//!    counts against a quota, and what is refused when it is used up.
//! 8. [`Engine`]: ordered bytes on disk, which hold the values by revision.
//! 9. `snapshot`: all rows of an engine as one stream of bytes, out and in again. [`Record`]:
//!    what rows say, for other formats.
//! 10. [`Store`] applies commands, [`Reader`] answers reads on other threads, [`RangePages`]
//!     those that are long, [`Flusher`] writes behind, [`Tail`] follows history.
//!
//! ```text
//!             command of the log                 reads of clients, watches
//!                     │                                   │
//!                     ▼                                   ▼
//!   ┌───────┐   ┌───────────┐  read lock, 512 keys   ┌────────┐
//!   │ Store │──▶│   State   │◀───────────────────────│ Reader │
//!   └───────┘   │ index     │                        └────────┘
//!  one thread   │ overlay   │                             │ values that left the overlay
//!               └───────────┘                             ▼
//!                     │ rows in revision order        ┌────────┐
//!                     └──────────▶ Flusher ──────────▶│ Engine │
//!                              one atomic batch:      └────────┘
//!                       rows + revision + applied slot + digest
//! ```
//!
//! **Invariant: deterministic.** What the store answers, and its digest, follow from the commands
//! applied and from nothing else: no clock, no randomness, no schedule of flushes or of reclaimed
//! rows.
//!
//! **Time is in the log.** Leases count on the highest stamp applied: deadlines are the same on
//! every member, and neither a restart nor a change of leader moves them.
//!
//! **Invariant: a revision is whole.** All changes of one command share one revision. Readers see
//! it entirely or not at all, and the engine holds it entirely or not at all.
//!
//! Rows go to the engine *behind* the log: a crash loses what was not flushed, and the log replays
//! it from [`Store::applied_slot`].

#![deny(missing_docs)]

mod alarm;
mod alarms;
mod auth;
mod caller;
mod codec;
mod command;
mod conflict;
mod counts;
mod digest;
mod engine;
mod error;
mod execute;
mod expirer;
mod flusher;
mod garbage;
mod history;
mod key;
mod lease;
mod leases;
mod measure;
mod memory;
mod needs;
mod overlay;
mod pages;
mod read;
mod reader;
mod record;
mod response;
mod revision;
mod row;
mod snapshot;
mod space;
mod state;
mod store;
mod tail;
mod tree;
mod txn;
mod versions;

pub use alarm::{
    ALARMS_MAX, Alarm, AlarmAction, AlarmChange, AlarmKind, AlarmReasons, AlarmResponse,
    SpaceReport,
};
pub use auth::{
    Access, AuthCommand, AuthError, AuthStatus, Login, PasswordHash, Permission, ROOT_ROLE,
    TokenSecret,
};
pub use caller::{Caller, Identity, Need};
pub use codec::{COMMAND_BYTES_MAX, DecodeError, Operation};
pub use command::{
    Assign, Bounds, Command, Compact, DeleteRange, Put, Range, Sort, SortOrder, SortTarget,
};
pub use engine::{Engine, EngineView, WriteBatch};
pub use error::{ReadError, StorageError};
pub use expirer::{Expirer, Expiry};
pub use flusher::{FlushLimits, Flushed, Flusher};
pub use history::{Event, History, HistoryLimits};
pub use key::{EmptyKey, Key, KeyRange};
pub use lease::{
    LEASE_IDS_MAX, LEASE_TTL_MAX, LeaseExpire, LeaseExpireResponse, LeaseGrant, LeaseGrantResponse,
    LeaseIds, LeaseKeepAliveResponse, LeaseRevokeResponse, LeaseStatus, TooManyLeases,
};
pub use measure::{ANSWER_BYTES_MAX, ANSWER_KEY_BYTES};
pub use memory::MemoryEngine;
pub use pages::{OpPages, PageLimits, PagesError, RangeFacts, RangePages, TxnPages, Weigh};
pub use reader::{HashKv, ReadTxnError, Reader, Sizes};
pub use record::{AuthRecord, Change, LeaseRecord, PutRecord, Record, RoleRecord, UserRecord};
pub use response::{
    ApplyError, CompactResponse, DeleteRangeResponse, KeyValue, OpResponse, PutResponse,
    RangeResponse, Reply, Response, TxnResponse,
};
pub use revision::Revision;
pub use row::RowError;
pub use snapshot::{
    ArriveError, Arrived, Arriving, Restore, RestoreError, SnapshotError, SnapshotFacts,
    SnapshotOrigin, SnapshotPoint, SnapshotReader, SnapshotSource, SnapshotView,
};
pub use space::{LEASE_SPACE, VERSION_SPACE};
pub use store::{OVERLAY_BYTES_MAX, Store};
pub use tail::Tail;
pub use txn::{Compare, Comparison, Op, Target, Txn, TxnError};
