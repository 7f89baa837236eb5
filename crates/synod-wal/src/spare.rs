//! Files made ahead, to become segments later.
//!
//! Making one writes a whole segment of zeros. So that the log need not wait for that, it only
//! orders the file; any thread with another handle to the same disk makes it; and the log takes it
//! over.

use std::io;

use crate::disk::Disk;
use crate::names::Name;

/// An order for a spare file, from [`crate::Wal::order_spare`].
///
/// One that is dropped harms nothing; a file that was made and not taken over is used after the
/// next opening.
#[derive(Debug)]
#[must_use = "the log has no spare until one is made and adopted"]
pub struct SpareOrder {
    pub(crate) number: u64,
    pub(crate) segment_bytes: u64,
}

/// A spare file that was made, for [`crate::Wal::adopt_spare`].
#[derive(Debug)]
#[must_use = "the log knows of it only when it is adopted"]
pub struct Spare {
    pub(crate) number: u64,
}

impl SpareOrder {
    /// Makes the file. Slow: a whole segment is written and synced.
    pub fn make<D: Disk>(self, disk: &mut D) -> io::Result<Spare> {
        // A file under a spare's name is always whole.
        let half = Name::Half(self.number).file();
        disk.create(&half, self.segment_bytes)?;
        disk.rename(&half, &Name::Spare(self.number).file())?;
        Ok(Spare { number: self.number })
    }
}
