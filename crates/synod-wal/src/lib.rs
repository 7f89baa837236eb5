//! A segmented, checksummed write-ahead log of opaque records over a small disk trait.
//!
//! (prose to come)
#![deny(missing_docs)]

pub mod disk;
pub use disk::{Disk, DiskFile};
