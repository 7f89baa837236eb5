//! A segmented, checksummed write-ahead log of opaque records over a small disk trait.
//!
//! A user appends records, syncs, and acknowledges what the records say; after a crash, opening the
//! log gives back every record that was synced, in order, and perhaps some that were appended
//! after. If something synced is gone, opening says so and refuses: a log that comes back shorter
//! without a word would make its owner break promises. What a record means, the log does not know.
//!
//! ```
//! use synod_wal::memory::MemoryDisk;
//! use synod_wal::{Options, Owner, Wal};
//!
//! let disk = MemoryDisk::new();
//! let (mut wal, _) = Wal::open(disk.clone(), Owner([1; 32]), Options::default(), |_| {})?;
//! wal.append(7, &[b"hello, ", b"disk"])?;
//! wal.sync()?;
//!
//! let crashed = disk.crash_images(1, 0).remove(0);
//! let mut found = Vec::new();
//! Wal::open(crashed, Owner([1; 32]), Options::default(), |record| found.push(record))?;
//! assert_eq!(found[0].payload, "hello, disk");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Segments
//!
//! ```text
//!        trimmed │ 0…4.wal        0…5.wal        0…6.wal │ 0…a.spare   0…b.spare
//!                │ ┌────────────┐ ┌────────────┐ ┌──────────┄┄┐
//!   recycled ◄───┤ │H│ records  │ │H│ records  │ │H│ rec. ┊  ┊ ◄── the next ones, zero-filled
//!                │ └────────────┘ └────────────┘ └──────────┄┄┘     or used before
//!                start         sealed by the next       end
//! ```
//!
//! All files have one size and are written over in place, so that a sync has no metadata to write:
//! `docs/decisions/0003-log-on-disk.md` has the measurements. The bytes are drawn in `format.rs`.
//! A segment is begun in steps, each durable before the next: the records of the one before are
//! synced; a spare gets its header; it gets its name.
//!
//! # What recovery can tell
//!
//! The rules are tables in `decide.rs`, and their tests enumerate all cases. In short: a record
//! says up to where everything was durable when it was written. A place without a valid record,
//! below what any later record says, is damage. Everything else at the end was never acknowledged
//! and is cut off, and cannot come back: each opening begins a session, and older ones do not fit
//! behind it.
//!
//! Honest limits:
//!
//! * Damage to the **last synced group** alone looks like a torn write, as long as nothing was
//!   written after it. The next append and sync, [`Wal::seal`] and [`Wal::open`] write the proof.
//!   Damage that takes the proof along, the same sector for instance, is not told either; nor is
//!   the loss of the newest segments, or of all files.
//! * A sector of 512 bytes is taken to be written entirely or not at all. The last sector of a
//!   group is written again by the next group, with the same bytes in front.
//! * The checksums find what disks do, not what people do on purpose.
//! * A crash never looks like damage, as long as the disk does not lie about syncs.
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
mod spare;
#[cfg(test)]
mod tests;
mod wal;

pub use disk::{Disk, DiskFile};
pub use error::{AppendError, Damage, OpenError, ReadError};
pub use fs::{FolderError, FsDisk, FsFile};
pub use options::{Options, OptionsError};
pub use position::{Owner, Position};
pub use spare::{Spare, SpareOrder};
pub use wal::{Record, Recovery, Status, Tail, Wal};
