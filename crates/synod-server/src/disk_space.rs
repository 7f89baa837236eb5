//! How much room the file system of the data has.
//!
//! A disk that is full stops a member: what cannot be written cannot be promised. So a member stops
//! to take new data while it still has room for what must go on: the log's next segments, the ends
//! of leases, deletes, and the engine's own pages while rows are reclaimed.
//!
//! A disk may be filled by others, in one stroke. Then the member stops, and says what is full; and
//! it does not start before there is room to write with, as it would only stop again.

use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use crate::data_folder::disks;

/// What a file system has, in bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct DiskSpace {
    /// All there is.
    pub(crate) total: u64,
    /// What this process may still take.
    pub(crate) free: u64,
}

/// A file system without room for a member.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "the file system of {} has {free} of {total} bytes free: delete what is not needed there or \
     make it larger, and start the member again",
    .folder.display()
)]
pub struct DiskFull {
    /// What lies on it.
    folder: PathBuf,
    free: u64,
    total: u64,
    /// What must be free for a member to start.
    pub(crate) least: u64,
}

/// Room for two segments of the log.
const RESERVE_BYTES: u64 = 128 << 20;
/// Of a small file system, at most this part is reserved.
const RESERVE_PART: u64 = 8;
/// Room for the first batches of the engine and the first records of the log.
const START_BYTES: u64 = 16 << 20;
/// Of a small file system, this part.
const START_PART: u64 = 64;

impl DiskSpace {
    /// What the file system of a folder has.
    ///
    /// # Errors
    /// If the system cannot tell.
    pub(crate) fn of(folder: &Path) -> io::Result<Self> {
        let found = rustix::fs::statvfs(folder)?;
        let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
        Ok(Self { total: bytes(found.f_blocks), free: bytes(found.f_bavail) })
    }

    /// Whether too little is left. If it was so before, twice the reserve must be free until it is
    /// not, so that it does not change with every write.
    pub(crate) const fn is_low(self, before: bool) -> bool {
        let part = self.total / RESERVE_PART;
        let reserve = if part < RESERVE_BYTES { part } else { RESERVE_BYTES };
        let least = if before { reserve.saturating_mul(2) } else { reserve };
        self.free < least
    }

    /// What must be free for a member to start.
    fn least(self) -> u64 {
        START_BYTES.min(self.total / START_PART)
    }
}

/// Checks that a member of this folder can write.
///
/// # Errors
/// If it would stop with its first writes.
pub(crate) fn check(data_dir: &Path) -> Result<(), DiskFull> {
    find(data_dir, |space| space.free < space.least()).map_or(Ok(()), Err)
}

/// The file system that is to blame if something could not be written: one with little room, or any
/// if the system says that it has not enough for what was to be written.
pub(crate) fn full(data_dir: &Path, failure: &str) -> Option<DiskFull> {
    let too_little = failure.contains(&io::Error::from(Errno::NOSPC).to_string());
    find(data_dir, |space| space.is_low(false) || too_little)
}

fn find(data_dir: &Path, is_full: impl Fn(DiskSpace) -> bool) -> Option<DiskFull> {
    disks(data_dir).into_iter().find_map(|folder| {
        // What is not there yet will be made in what is. A system that cannot tell is no obstacle.
        let folder = folder.ancestors().find(|folder| folder.exists())?.to_owned();
        let space = DiskSpace::of(&folder).ok().filter(|space| is_full(*space))?;
        let DiskSpace { free, total } = space;
        Some(DiskFull { folder, free, total, least: space.least() })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_low_below_the_reserve_and_until_twice_that_is_free() {
        let (gib, mib) = (1 << 30, 1 << 20);
        let table = [
            (100 * gib, 127 * mib, true, true),
            (100 * gib, 128 * mib, false, true),
            (100 * gib, 255 * mib, false, true),
            (100 * gib, 256 * mib, false, false),
            (512 * mib, 63 * mib, true, true),
            (512 * mib, 64 * mib, false, true),
            (512 * mib, 128 * mib, false, false),
            // Some file systems tell nothing.
            (0, 0, false, false),
        ];
        for (total, free, first, then) in table {
            let space = DiskSpace { total, free };
            assert_eq!([space.is_low(false), space.is_low(true)], [first, then], "{space:?}");
        }
    }

    #[test]
    fn a_member_starts_with_a_little_room_and_not_with_none() {
        let (gib, mib) = (1 << 30, 1 << 20);
        let table = [(100 * gib, 16 * mib), (gib, 16 * mib), (256 * mib, 4 * mib), (0, 0)];
        for (total, least) in table {
            assert_eq!(DiskSpace { total, free: 0 }.least(), least);
        }
        let nowhere = Path::new("/nowhere/at/all");
        let found = find(nowhere, |space| space.total > 0).unwrap();
        assert_eq!(found.folder, Path::new("/"), "what there is of the way");
        assert_eq!(find(nowhere, |_| false), None);
        let told = found.to_string();
        let (free, total) = (found.free, found.total);
        let start = format!("the file system of / has {free} of {total} bytes free");
        assert!(told.starts_with(&start), "{told}");
        let failure = "log: No space left on device (os error 28)";
        assert!(full(nowhere, failure).is_some(), "whatever is free, it was not enough");
    }

    #[test]
    fn the_system_tells() {
        let space = DiskSpace::of(Path::new("/")).unwrap();
        assert!(space.free <= space.total, "{space:?}");
        DiskSpace::of(Path::new("/nowhere/at/all")).unwrap_err();
    }
}
