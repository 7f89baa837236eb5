//! How much room the file system of the data has.
//!
//! A disk that is full stops a member: what cannot be written cannot be promised. So a member stops
//! to take new data while it still has room for what must go on: the log's next segments, the ends
//! of leases, deletes, and the engine's own pages while rows are reclaimed.
//!
//! The store's file keeps its size when keys are deleted, and uses its free pages again: a disk
//! that a member itself has filled would stay full. So on a small one the log and the quota are
//! smaller:
//!
//! ```text
//!   0                 1/4                                   3/4     7/8       1
//!   ├──────────────────┼─────────────────────────────────────┼───────┼────────┤
//!    the log: segments  the store's file: twice the quota of          the
//!    of 1/16, and 1/16  1/4, for what pages leave empty and           reserve
//!    kept for others    copies on write
//! ```
//!
//! A disk may be filled by others, in one stroke. Then the member stops, and says what is full; and
//! it does not start before there is room to write with, as it would only stop again.

use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use crate::config::ServerConfig;
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
/// Of a small file system, at most this part is reserved, or two segments if they are larger.
const RESERVE_PART: u64 = 8;
/// With less than so many reserves free, fast writers could use them up before the next look.
const NEAR_RESERVES: u64 = 8;
/// What waits for the engine takes so many times its size there, at most: a large value takes pages
/// of the next power of two.
const ENGINE_FACTOR: u64 = 2;
/// The default quota is at most this part of a file system.
const QUOTA_PART: u64 = 4;
/// What the log keeps for others is at most this part, and so is a segment of a new log.
const LOG_PART: u64 = 16;
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

    /// The same when what waits for the engine is written.
    pub(crate) const fn once_written(self, waiting: u64) -> Self {
        let written = waiting.saturating_mul(ENGINE_FACTOR);
        Self { free: self.free.saturating_sub(written), ..self }
    }

    /// Whether too little is left beside a log with such segments. If it was so before, twice the
    /// reserve must be free until it is not, so that it does not change with every write.
    pub(crate) fn is_low(self, before: bool, segment_bytes: u64) -> bool {
        let reserve = self.reserve(segment_bytes);
        let least = if before { reserve.saturating_mul(2) } else { reserve };
        self.free < least
    }

    /// Whether it is to be looked at more often.
    pub(crate) fn is_nearly_low(self, segment_bytes: u64) -> bool {
        self.free < self.reserve(segment_bytes).saturating_mul(NEAR_RESERVES)
    }

    fn reserve(self, segment_bytes: u64) -> u64 {
        // Some file systems tell nothing.
        if self.total == 0 {
            return 0;
        }
        RESERVE_BYTES.min(self.total / RESERVE_PART).max(segment_bytes.saturating_mul(2))
    }

    /// How large the segments of a new log are: halved until [`LOG_PART`] of them fit, as long as
    /// one holds two records of this size.
    pub(crate) fn segment_bytes(self, record_bytes: usize) -> u64 {
        let mut bytes = synod_wal::Options::default().segment_bytes;
        let two_records =
            u64::try_from(record_bytes).map_or(u64::MAX, |bytes| bytes.saturating_mul(2));
        while self.total > 0 && self.total / LOG_PART < bytes && two_records <= bytes / 2 {
            bytes /= 2;
        }
        bytes
    }

    /// What must be free for a member to start.
    fn least(self) -> u64 {
        START_BYTES.min(self.total / START_PART)
    }
}

/// The configuration, with a quota and a log that small disks have room for, unless somebody chose
/// others.
pub(crate) fn fit(mut config: ServerConfig) -> ServerConfig {
    let [log, data] = disks(&config.data_dir).map(|folder| {
        let space = DiskSpace::of(what_is_there(&folder)?).ok()?;
        (space.total > 0).then_some(space.total)
    });
    if let Some(total) = data.filter(|_| config.space.quota_is_default) {
        let quota = &mut config.space.quota_bytes;
        *quota = quota.map(|bytes| bytes.min(total / QUOTA_PART));
    }
    if let Some(total) = log.filter(|_| config.log_keep_is_default) {
        config.log_keep_bytes = config.log_keep_bytes.min(total / LOG_PART);
    }
    config
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
    find(data_dir, |space| space.is_low(false, 0) || too_little)
}

fn find(data_dir: &Path, is_full: impl Fn(DiskSpace) -> bool) -> Option<DiskFull> {
    disks(data_dir).into_iter().find_map(|folder| {
        let folder = what_is_there(&folder)?.to_owned();
        // A system that cannot tell is no obstacle.
        let space = DiskSpace::of(&folder).ok().filter(|space| is_full(*space))?;
        let DiskSpace { free, total } = space;
        Some(DiskFull { folder, free, total, least: space.least() })
    })
}

/// What there is of the way to a folder: the rest will be made in it.
fn what_is_there(folder: &Path) -> Option<&Path> {
    let found = folder.ancestors().find(|one| one.as_os_str().is_empty() || one.exists())?;
    // A relative way ends with nothing, which is where the process is.
    Some(if found.as_os_str().is_empty() { Path::new(".") } else { found })
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
            let low = [false, true].map(|before| space.is_low(before, 32 * mib));
            assert_eq!(low, [first, then], "{space:?}");
        }
    }

    /// The engine died of a full disk, which was not low until all that waited was written.
    #[test]
    fn what_waits_for_the_engine_and_a_log_from_a_larger_disk_take_room() {
        let mib = 1 << 20;
        let space = DiskSpace { total: 512 * mib, free: 100 * mib };
        assert!(space.is_nearly_low(32 * mib) && !space.is_low(false, 32 * mib));
        assert!(!space.once_written(18 * mib).is_low(false, 32 * mib));
        assert!(space.once_written(19 * mib).is_low(false, 32 * mib));
        assert!(space.is_low(false, 64 * mib));
    }

    #[test]
    fn a_folder_that_is_not_there_yet_will_be_in_what_is() {
        assert_eq!(what_is_there(Path::new("default.etcd/member")), Some(Path::new(".")));
        assert_eq!(what_is_there(Path::new("/proc/none/at/all")), Some(Path::new("/proc")));
    }

    #[test]
    fn segments_are_smaller_on_a_small_disk_and_hold_the_largest_records() {
        let (gib, mib) = (1 << 30, 1 << 20);
        let table = [
            (100 * gib, 3 << 20, 64),
            (gib, 3 << 20, 64),
            (gib - 1, 3 << 20, 32),
            (300 * mib, 3 << 20, 16),
            (120 * mib, 3 << 20, 8),
            (mib, 3 << 20, 8),
            (300 * mib, 14 << 20, 32),
            (0, 3 << 20, 64),
        ];
        for (total, record, segment) in table {
            let space = DiskSpace { total, free: 0 };
            assert_eq!(space.segment_bytes(record), segment * mib, "{space:?}");
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
