//! A snapshot: all rows of an engine at one moment, as one stream of bytes.
//!
//! ```text
//! header   "SYNODSNP"  version:u32=1  cluster:u64  member:u64
//! row      key_bytes:u32 (not 0)  value_bytes:u32  key  value      by key upward
//! end      0:u32  rows:u64
//! padding  zeros, up to a multiple of 512
//! hash     32 bytes: BLAKE3 of everything before
//! ```
//!
//! Integers are little-endian. Rows are the engine's own, whatever they mean: the store's, and
//! those of others that share the engine. The store's metadata is one of them, so a snapshot says
//! by itself which slot it is the state of. It goes from member to member; what clients save is
//! another format, made from a [`SnapshotView`].

mod arrive;
mod read;
mod restore;
mod write;

pub use arrive::{ArriveError, Arrived, Arriving};
pub use read::{SnapshotError, SnapshotFacts, SnapshotReader};
pub use restore::{Restore, RestoreError};
pub use write::{SnapshotSource, SnapshotView};

use crate::revision::Revision;

/// Says that the rest is a snapshot.
const MAGIC: &[u8; 8] = b"SYNODSNP";
/// The format that this release writes and reads.
const FORMAT: u32 = 1;
/// Bytes of the header.
const HEADER_BYTES: usize = 28;
/// Everything before the hash is a multiple of this.
const BLOCK_BYTES: u64 = 512;
/// Bytes of the hash.
const HASH_BYTES: usize = 32;
/// No row is larger: a change has at most a request and little more.
const ROW_BYTES_MAX: usize = 256 << 20;

/// Which cluster and member a snapshot is taken of.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct SnapshotOrigin {
    /// The cluster.
    pub cluster: u64,
    /// The member.
    pub member: u64,
}

/// The state that an engine holds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SnapshotPoint {
    /// The current revision.
    pub revision: Revision,
    /// The compact revision.
    pub compact_revision: Revision,
    /// The next slot to apply.
    pub applied_slot: u64,
    /// What the log wants to be remembered with the state.
    pub barrier: [u64; 2],
    /// The highest log time applied.
    pub time_ms: u64,
    /// The digest of all that was applied.
    pub digest: u64,
}

impl From<SnapshotPoint> for crate::row::Meta {
    fn from(point: SnapshotPoint) -> Self {
        Self {
            revision: point.revision,
            compact: point.compact_revision,
            time_ms: point.time_ms,
            barrier: point.barrier,
            applied_slot: point.applied_slot,
            digest: crate::digest::Digest::new(point.digest),
        }
    }
}

impl From<crate::row::Meta> for SnapshotPoint {
    fn from(meta: crate::row::Meta) -> Self {
        Self {
            revision: meta.revision,
            compact_revision: meta.compact,
            applied_slot: meta.applied_slot,
            barrier: meta.barrier,
            time_ms: meta.time_ms,
            digest: meta.digest.as_u64(),
        }
    }
}
