//! Snapshots in files: what clients save, and what members of a new cluster begin with.
//!
//! A file is what etcd's own tools save and restore: a database of bbolt with etcd's buckets, and
//! behind it the SHA-256 of it. What etcd has no place for is in a bucket of our own, which etcd
//! passes over and keeps:
//!
//! ```text
//! synod      row:KEY     a row of the engine that is no change of a key, as it is
//!            state       the row of metadata
//!            taken-from  format:u8=1 cluster:u64 member:u64
//! ```
//!
//! **That bucket counts only while nobody has written to the file since.** A file that went
//! through an etcd still has it, with what was true before. Ours have a number of the last
//! transaction that no other program gives, and every write raises it; another number, and the
//! file is taken for one of etcd's.

mod read;
mod restore;
mod write;

use std::io;
use std::path::{Path, PathBuf};

use synod_bolt::ReadError;
use synod_etcd::backend::EntryError;
use synod_kv::{RestoreError, Revision, RowError, SnapshotOrigin, SnapshotPoint};

use crate::config::ConfigError;
use crate::engine::EngineError;
pub use read::verify;
pub use restore::restore;
pub(crate) use write::SnapshotFile;

/// The bucket of our own. Below it are those of etcd, by name.
const BUCKET: &str = "synod";
const ROW: &[u8] = b"row:";
const STATE: &[u8] = b"state";
const TAKEN_FROM: &[u8] = b"taken-from";
const FORMAT: u8 = 1;
/// The last transaction of our files: "SYNOD" and zeros. etcd counts from 0.
const TRANSACTION: u64 = 0x5359_4e4f_4400_0000;
/// Bytes of the hash behind the database.
const HASH_BYTES: usize = 32;

/// What a file says of itself.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SnapshotFacts {
    /// CRC-32C over names of buckets, keys and values, as etcd's tools tell it.
    pub hash: u32,
    /// The current revision.
    pub revision: Revision,
    /// The compact revision, [`Revision::NEVER`] if nothing was compacted.
    pub compact_revision: Revision,
    /// Entries of all buckets, as etcd's tools count them.
    pub total_keys: u64,
    /// Bytes of the database.
    pub total_bytes: u64,
    /// The release whose schema it is, as etcd's tools tell it: empty if it does not say.
    pub version: String,
    /// The SHA-256 of the database, as it is.
    pub sha256: [u8; HASH_BYTES],
    /// Which cluster and member it is of, and the state there; none if etcd wrote to it last.
    pub taken: Option<(SnapshotOrigin, SnapshotPoint)>,
}

/// Bytes that are no snapshot.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// Behind the database there is none.
    #[error(
        "it has no hash at its end, as files that a client saved have: if it was copied from a \
         member of etcd that does not run, use --skip-hash-check"
    )]
    NoHash,
    /// It is not that of the database.
    #[error("it is damaged: its hash does not fit its content")]
    Hash,
    /// The database is damaged, or none.
    #[error(transparent)]
    Database(#[from] ReadError<io::Error>),
    /// An entry cannot be taken up.
    #[error(transparent)]
    Entry(#[from] EntryError),
    /// A row cannot be read, or what an entry says cannot be one.
    #[error("bucket {bucket}: {reason}")]
    Row {
        /// Where it is.
        bucket: &'static str,
        /// What is wrong.
        reason: RowError,
    },
    /// There is no such thing in it, or nothing that means something.
    #[error("bucket {bucket}: {what}")]
    Content {
        /// Where it should be.
        bucket: &'static str,
        /// What is wrong.
        what: &'static str,
    },
}

/// Why a snapshot cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotFileError {
    /// The system refuses.
    #[error("{}: cannot {action}: {reason}", .path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// What the system says.
        reason: io::Error,
    },
    /// It is damaged, or no snapshot.
    #[error("snapshot {}: {reason}", .path.display())]
    Snapshot {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: SnapshotError,
    },
    /// It cannot be restored as asked for.
    #[error("snapshot {}: {reason}", .path.display())]
    Restore {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: RestoreError,
    },
    /// There is something already.
    #[error(
        "data folder {} exists: a restore overwrites nothing; move it away, or use another \
         --data-dir", .folder.display()
    )]
    FolderExists {
        /// The folder.
        folder: PathBuf,
    },
    /// The flags contradict each other.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The store cannot be written.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

fn failed(path: &Path, action: &'static str) -> impl FnOnce(io::Error) -> SnapshotFileError {
    move |reason| SnapshotFileError::Io { path: path.to_owned(), action, reason }
}

#[cfg(test)]
mod tests;
