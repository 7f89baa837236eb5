//! What a restored cluster begins with: the rows of a snapshot, made the state before slot 1.
//!
//! A restore takes revisions back, and a client that saw later ones must not take the new ones
//! with the same numbers for them. So the revision is moved ahead, beyond anything that can have
//! been given out since the snapshot, and everything below is compacted: watches that try to go
//! on from before are told so, and their clients read anew.

use bytes::Bytes;

use crate::digest::Digest;
use crate::revision::Revision;
use crate::row::{META_KEY, Meta, RowError};

/// How a snapshot is restored.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Restore {
    /// How far the revision is moved ahead. 0 leaves it and the history as they are.
    pub bump_revision: u64,
}

/// A snapshot cannot be restored so.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum RestoreError {
    /// There are no revisions beyond.
    #[error("revision {revision} cannot be moved ahead by {bump}: there are none so high")]
    Bump {
        /// The snapshot's.
        revision: Revision,
        /// By how much.
        bump: u64,
    },
    /// The metadata cannot be read.
    #[error(transparent)]
    Meta(#[from] RowError),
}

/// The highest revision to start with: some are left to be given out.
const REVISION_MAX: i64 = i64::MAX / 2;

impl Restore {
    /// Far more writes than a cluster does between two backups: 11,000 a second for a day.
    pub const BUMP_REVISION: u64 = 1_000_000_000;

    /// A row as the restored cluster has it. All members get the same.
    ///
    /// # Errors
    /// If the metadata cannot be read, or the revision not be moved.
    pub fn row(self, key: &Bytes, value: Bytes) -> Result<Bytes, RestoreError> {
        if *key != META_KEY {
            return Ok(value);
        }
        let meta = Meta::decode(&value)?;
        let too_far = RestoreError::Bump { revision: meta.revision, bump: self.bump_revision };
        let bump = i64::try_from(self.bump_revision).map_err(|_| too_far)?;
        let revision = meta.revision.as_i64().checked_add(bump);
        let revision = revision.filter(|revision| *revision <= REVISION_MAX).ok_or(too_far)?;
        let revision = Revision::new(revision);
        let mut digest = Digest::default();
        digest.pair(meta.digest.as_u64(), self.bump_revision);
        let restored = Meta {
            revision,
            compact: if bump == 0 { meta.compact } else { revision },
            digest,
            // Time goes on from where it stood, so leases keep what they had left; slots and
            // ballots are those of the former cluster and mean nothing in the new one.
            ..Meta { time_ms: meta.time_ms, ..Meta::EMPTY }
        };
        Ok(restored.encode())
    }
}
