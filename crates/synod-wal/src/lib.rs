//! A segmented, checksummed write-ahead log of opaque records over a small disk trait.
//!
//! (prose to come)
#![deny(missing_docs)]

pub mod disk;
mod error;
mod format;
mod fs;
mod options;
mod position;
mod wal;

pub use disk::{Disk, DiskFile};
pub use error::{AppendError, Damage, OpenError, ReadError};
pub use fs::{FolderError, FsDisk};
pub use options::{Options, OptionsError};
pub use position::{Owner, Position};
pub use wal::{Record, Recovery, Status, Tail, Wal};
