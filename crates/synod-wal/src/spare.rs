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
    /// Makes the file, if as much room again is left then: others on the disk need some, and the
    /// log can do without. Slow: a whole segment is written and synced.
    pub fn make<D: Disk>(self, disk: &mut D) -> io::Result<Spare> {
        if disk.room().is_some_and(|room| room / 2 < self.segment_bytes) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.make_at_any_price(disk)
    }

    /// Makes the file as long as there is room for it: the log needs it now.
    pub(crate) fn make_at_any_price<D: Disk>(self, disk: &mut D) -> io::Result<Spare> {
        // A file under a spare's name is always whole.
        let half = Name::Half(self.number).file();
        disk.create(&half, self.segment_bytes)?;
        disk.rename(&half, &Name::Spare(self.number).file())?;
        Ok(Spare { number: self.number })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::{MemoryDisk, MemoryFile};

    /// A disk with so much room.
    struct Small(MemoryDisk, u64);

    impl Disk for Small {
        type File = MemoryFile;

        fn list(&self) -> io::Result<Vec<String>> {
            self.0.list()
        }

        fn create(&mut self, name: &str, len: u64) -> io::Result<MemoryFile> {
            self.0.create(name, len)
        }

        fn open(&mut self, name: &str) -> io::Result<MemoryFile> {
            self.0.open(name)
        }

        fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
            self.0.rename(from, to)
        }

        fn remove(&mut self, name: &str) -> io::Result<()> {
            self.0.remove(name)
        }

        fn sync_directory(&mut self) -> io::Result<()> {
            self.0.sync_directory()
        }

        fn room(&self) -> Option<u64> {
            Some(self.1)
        }
    }

    /// The store beside the log died of a full disk, which the log had filled for later.
    #[test]
    fn a_file_is_not_made_ahead_of_the_last_room() {
        for (room, ahead) in [(8191, false), (8192, true)] {
            let mut disk = Small(MemoryDisk::new(), room);
            let order = || SpareOrder { number: 0, segment_bytes: 4096 };
            assert_eq!(order().make(&mut disk).is_ok(), ahead, "{room}");
            assert_eq!(disk.list().unwrap().len(), usize::from(ahead));
            if !ahead {
                assert!(order().make_at_any_price(&mut disk).is_ok());
            }
        }
    }
}
