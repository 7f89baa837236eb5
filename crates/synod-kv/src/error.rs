//! What goes wrong beside a client's request: the engine, or a revision that is out of reach.

use crate::auth::AuthError;
use crate::response::ApplyError;
use crate::revision::Revision;
use crate::row::RowError;

/// The engine failed, or holds what cannot be. A member that sees it stops.
#[derive(Debug, thiserror::Error)]
pub enum StorageError<F> {
    /// The engine cannot read or write.
    #[error("the storage engine failed: {0}")]
    Engine(#[source] F),
    /// A row cannot be read.
    #[error(transparent)]
    Row(#[from] RowError),
    /// A row that the index knows is not there.
    #[error("the row of a change in revision {revision} is missing")]
    MissingRow {
        /// The revision of the change.
        revision: Revision,
    },
    /// A row is above the revision that its own batch names.
    #[error("a row of revision {row} is above the stored revision {revision}")]
    RowAhead {
        /// The row's revision.
        row: Revision,
        /// The stored one.
        revision: Revision,
    },
    /// A key is attached to a lease that is not there.
    #[error("{keys} keys have a lease, but only {attached} of these leases are stored")]
    MissingLease {
        /// Keys with a lease.
        keys: u64,
        /// Those whose lease is there.
        attached: u64,
    },
}

/// Why a read has no answer.
#[derive(Debug, thiserror::Error)]
pub enum ReadError<F> {
    /// The revision is forgotten.
    #[error("revision {requested} has been compacted: the oldest readable is {compacted}")]
    Compacted {
        /// What the read names.
        requested: Revision,
        /// The compact revision.
        compacted: Revision,
    },
    /// The revision is not there yet.
    #[error("revision {requested} is a future revision: the newest is {current}")]
    FutureRevision {
        /// What the read names.
        requested: Revision,
        /// The current revision.
        current: Revision,
    },
    /// The caller may not.
    #[error(transparent)]
    Denied(#[from] AuthError),
    /// The engine failed.
    #[error(transparent)]
    Storage(#[from] StorageError<F>),
}

/// Why a command ends: with an answer to its client, or with the member.
pub(crate) enum Stop<F> {
    Refused(ApplyError),
    Storage(StorageError<F>),
}

impl<F> From<ApplyError> for Stop<F> {
    fn from(error: ApplyError) -> Self {
        Self::Refused(error)
    }
}

impl<F> From<ReadError<F>> for Stop<F> {
    fn from(error: ReadError<F>) -> Self {
        match error {
            ReadError::Compacted { requested, compacted } => {
                Self::Refused(ApplyError::Compacted { requested, compacted })
            }
            ReadError::FutureRevision { requested, current } => {
                Self::Refused(ApplyError::FutureRevision { requested, current })
            }
            ReadError::Denied(error) => Self::Refused(ApplyError::Auth(error)),
            ReadError::Storage(error) => Self::Storage(error),
        }
    }
}
