//! A segmented, checksummed write-ahead log of opaque records over a small disk trait.
//!
//! (prose to come)
#![deny(missing_docs)]

mod decide;
pub mod disk;
mod error;
mod format;
mod fs;
pub mod inspect;
pub mod memory;
mod names;
mod options;
mod position;
mod recover;
mod scan;
mod wal;

#[cfg(test)]
mod tests;

pub use disk::{Disk, DiskFile};
pub use error::{AppendError, Damage, OpenError, ReadError};
pub use fs::{FolderError, FsDisk, FsFile};
pub use options::{Options, OptionsError};
pub use position::{Owner, Position};
pub use wal::{Record, Recovery, Status, Tail, Wal};
