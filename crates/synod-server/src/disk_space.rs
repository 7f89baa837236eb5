//! How much room the file system of the data has.
//!
//! A disk that is full stops a member: what cannot be written cannot be promised. So a member stops
//! to take new data while it still has room for what must go on: the log's next segments, the ends
//! of leases, deletes, and the engine's own pages while rows are reclaimed.

use std::io;
use std::path::Path;

/// What a file system has, in bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct DiskSpace {
    /// All there is.
    pub(crate) total: u64,
    /// What this process may still take.
    pub(crate) free: u64,
}

/// Room for two segments of the log.
const RESERVE_BYTES: u64 = 128 << 20;
/// Of a small file system, at most this part is reserved.
const RESERVE_PART: u64 = 8;

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
    fn the_system_tells() {
        let space = DiskSpace::of(Path::new("/")).unwrap();
        assert!(space.free <= space.total, "{space:?}");
        DiskSpace::of(Path::new("/nowhere/at/all")).unwrap_err();
    }
}
