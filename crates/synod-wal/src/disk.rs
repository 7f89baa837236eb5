//! The little of a disk that the log needs, so that tests can bring one that fails.

use std::io;

/// A folder of files, owned by one log.
pub trait Disk: Send + 'static {
    /// An open file.
    type File: DiskFile;

    /// The names of all files, in any order.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Creates a file of `len` zero bytes, written out (not merely allocated) and durable: its
    /// bytes, its length and its name survive a power cut once this returns. Fails if it exists; a
    /// file that cannot be made whole is gone again, as it would take room from others.
    fn create(&mut self, name: &str, len: u64) -> io::Result<Self::File>;

    /// Opens a file for reading and writing.
    fn open(&mut self, name: &str) -> io::Result<Self::File>;

    /// Renames a file; an existing one of the new name is replaced. Durable after
    /// [`Disk::sync_directory`].
    fn rename(&mut self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file. Durable after [`Disk::sync_directory`].
    fn remove(&mut self, name: &str) -> io::Result<()>;

    /// Makes renames and removals durable.
    fn sync_directory(&mut self) -> io::Result<()>;

    /// How many bytes new files may take, if that can be told.
    fn room(&self) -> Option<u64> {
        None
    }
}

/// A file of fixed length.
pub trait DiskFile: Send + 'static {
    /// Its length in bytes.
    fn len(&self) -> io::Result<u64>;

    /// Whether it is empty.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Fills the buffer from the offset; an error if the file ends before.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;

    /// Writes the bytes at the offset. Not durable, and not atomic, before [`DiskFile::sync`].
    ///
    /// A file is written from front to back: what lies behind the bytes, up to the next multiple of
    /// 4096, may be set to zero.
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Makes all writes before it durable. After an error the state of the file is unknown: the
    /// process must not go on with it.
    fn sync(&mut self) -> io::Result<()>;
}
