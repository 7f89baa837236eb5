//! A real folder.
//!
//! The folder belongs to one process, by a lock that ends with the process, and to one user: what
//! clients store is in it, so nobody else may read it, even if the folder was there before with
//! wider rights.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fmt, io};

use rustix::fs::{Advice, FlockOperation};
use rustix::io::Errno;

use crate::disk::{Disk, DiskFile};

/// Why a folder was not opened.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// Another process has it open.
    #[error(
        "folder {} is in use by another process: stop that one, or use another folder",
        .folder.display()
    )]
    InUse {
        /// The folder.
        folder: PathBuf,
    },
    /// Others may read it, and this process is not allowed to change that.
    #[error(
        "folder {} has mode {mode:03o} and must have 700: change its owner or its mode",
        .folder.display()
    )]
    OpenToOthers {
        /// The folder.
        folder: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// It cannot be made or opened.
    #[error("folder {}: {source}", .folder.display())]
    Io {
        /// The folder.
        folder: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

/// A folder that this process alone has open. A clone is another handle to the same.
#[derive(Clone)]
pub struct FsDisk {
    folder: PathBuf,
    /// Open for as long as any handle is; the lock goes with it.
    directory: Arc<File>,
}

impl FsDisk {
    /// Opens the folder for this process alone. Makes it if it does not exist, in a parent that
    /// does, and takes all rights on it from others if it does.
    pub fn open(folder: &Path) -> Result<Self, FolderError> {
        let failed = |source| FolderError::Io { folder: folder.to_owned(), source };
        match DirBuilder::new().mode(FOLDER_MODE).create(folder) {
            Ok(()) => sync_parent(folder).map_err(failed)?,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(failed(error)),
        }
        let directory = File::open(folder).map_err(failed)?;
        if !directory.metadata().map_err(failed)?.is_dir() {
            return Err(failed(io::ErrorKind::NotADirectory.into()));
        }
        match rustix::fs::flock(&directory, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                return Err(FolderError::InUse { folder: folder.to_owned() });
            }
            Err(error) => return Err(failed(error.into())),
        }
        restrict(folder, &directory)?;
        Ok(Self { folder: folder.to_owned(), directory: Arc::new(directory) })
    }

    /// The folder's path.
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

impl fmt::Debug for FsDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("FsDisk").field(&self.folder).finish()
    }
}

impl Disk for FsDisk {
    type File = FsFile;

    fn list(&self) -> io::Result<Vec<String>> {
        // A name that is no text is none of ours.
        let names = fs::read_dir(&self.folder)?
            .map(|entry| Ok(entry?.file_name().into_string().ok()))
            .collect::<io::Result<Vec<_>>>()?;
        Ok(names.into_iter().flatten().collect())
    }

    fn create(&mut self, name: &str, len: u64) -> io::Result<FsFile> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true).mode(FILE_MODE);
        let path = self.folder.join(name);
        let told = |error: io::Error| {
            let what = format!("{}: a file of {len} bytes: {error}", path.display());
            io::Error::new(error.kind(), what)
        };
        // Who tries it all the same leaves no room to others until it has failed.
        if self.room().is_some_and(|room| room < len) {
            return Err(told(Errno::NOSPC.into()));
        }
        let file = options.open(&path)?;
        if let Err(error) = fill(&file, len) {
            let error = told(error);
            // It failed for want of room, most likely: others have what there is.
            let _ = self.remove(name);
            return Err(error);
        }
        self.sync_directory()?;
        Ok(FsFile::new(file))
    }

    fn open(&mut self, name: &str) -> io::Result<FsFile> {
        let file = OpenOptions::new().read(true).write(true).open(self.folder.join(name))?;
        Ok(FsFile::new(file))
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.folder.join(from), self.folder.join(to))
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        fs::remove_file(self.folder.join(name))
    }

    fn sync_directory(&mut self) -> io::Result<()> {
        self.directory.sync_all()
    }

    fn room(&self) -> Option<u64> {
        let found = rustix::fs::fstatvfs(&self.directory).ok()?;
        Some(found.f_bavail.saturating_mul(found.f_frsize))
    }
}

/// A file in such a folder, written in whole pages.
///
/// The system keeps a file in memory in pieces of up to a megabyte, if it was read or written in
/// such pieces, and a sync writes every piece that was touched as a whole: an append of a hundred
/// bytes to a file that was just filled would cost a megabyte of disk traffic. So what filling and
/// reading left in memory is given back before the first write, reading ahead is switched off, and
/// writes are whole pages: the system then keeps just those, and needs no old page from the disk to
/// complete them.
#[derive(Debug)]
pub struct FsFile {
    file: File,
    /// Ends with the last page written.
    buffer: Vec<u8>,
    /// Where that page is; `None` before the first write.
    page_at: Option<u64>,
}

impl FsFile {
    const fn new(file: File) -> Self {
        Self { file, buffer: Vec::new(), page_at: None }
    }

    /// Lets the buffer hold just the page at `page_at`.
    fn begin_page(&mut self, page_at: u64) -> io::Result<()> {
        if self.page_at == Some(page_at) {
            self.buffer.drain(..self.buffer.len() - PAGE_LEN);
            return Ok(());
        }
        if self.page_at.is_none() {
            rustix::fs::fadvise(&self.file, 0, None, Advice::DontNeed)?;
            rustix::fs::fadvise(&self.file, 0, None, Advice::Random)?;
        }
        self.buffer.resize(PAGE_LEN, 0);
        self.file.read_exact_at(&mut self.buffer, page_at)?;
        self.page_at = Some(page_at);
        Ok(())
    }
}

impl DiskFile for FsFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        let in_page = offset % PAGE_BYTES;
        let page_at = offset - in_page;
        self.begin_page(page_at)?;
        self.buffer.truncate(usize::try_from(in_page).unwrap_or(PAGE_LEN));
        self.buffer.extend_from_slice(bytes);
        self.buffer.resize(self.buffer.len().next_multiple_of(PAGE_LEN), 0);
        self.file.write_all_at(&self.buffer, page_at)?;

        let before_last = u64::try_from(self.buffer.len() - PAGE_LEN).unwrap_or(u64::MAX);
        self.page_at = Some(page_at + before_last);
        if self.buffer.len() > BUFFER_KEPT {
            self.buffer.drain(..self.buffer.len() - PAGE_LEN);
            self.buffer.shrink_to_fit();
        }
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync_data()
    }
}

/// Takes all rights from group and others. A folder made in advance by a careless hand would
/// otherwise keep its wide mode for good.
fn restrict(folder: &Path, directory: &File) -> Result<(), FolderError> {
    let failed = |source| FolderError::Io { folder: folder.to_owned(), source };
    let mode = directory.metadata().map_err(failed)?.mode() & 0o777;
    if mode & 0o077 == 0 {
        return Ok(());
    }
    directory
        .set_permissions(Permissions::from_mode(FOLDER_MODE))
        .map_err(|_| FolderError::OpenToOthers { folder: folder.to_owned(), mode })
}

/// Writes so many zeros into a new file, and makes them durable.
fn fill(file: &File, len: u64) -> io::Result<()> {
    let zeros = vec![0; usize::try_from(len.min(FILL_BYTES)).unwrap_or(0)];
    let mut offset = 0;
    while offset < len {
        let chunk = usize::try_from(len - offset).unwrap_or(usize::MAX).min(zeros.len());
        file.write_all_at(&zeros[..chunk], offset)?;
        // Piece by piece, so that nobody's sync of another file waits for the whole.
        file.sync_data()?;
        offset += u64::try_from(chunk).unwrap_or(u64::MAX);
    }
    file.sync_all()
}

/// Makes the new folder's own name durable.
fn sync_parent(folder: &Path) -> io::Result<()> {
    match folder.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => File::open(parent)?.sync_all(),
        _ => File::open(".")?.sync_all(),
    }
}

const FOLDER_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;
/// What the system keeps in memory, and what segments are multiples of.
const PAGE_BYTES: u64 = 4096;
const PAGE_LEN: usize = 4096;
/// A larger buffer is not kept for the next write.
const BUFFER_KEPT: usize = 1 << 20;
/// Zeros are written in chunks of this size.
const FILL_BYTES: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_pages_hold_what_was_written_piece_by_piece() {
        let temp = tempfile::tempdir().unwrap();
        let mut disk = FsDisk::open(&temp.path().join("log")).unwrap();
        let mut file = disk.create("file", 1 << 20).unwrap();
        let bytes: Vec<u8> = (0..100_000_u32).map(|n| u8::try_from(n % 251).unwrap()).collect();
        let mut at = 0;
        for len in [1, 0, 4094, 1, 1, 4096, 8192, 5000, 3, 60_000] {
            file.write_at(u64::try_from(at).unwrap(), &bytes[at..at + len]).unwrap();
            at += len;
            let mut read = vec![0; at];
            file.read_at(0, &mut read).unwrap();
            assert_eq!(read, bytes[..at], "after {len} more bytes");
        }
        file.sync().unwrap();

        // Another handle goes on in the middle of a page that it has never seen.
        let mut file = disk.open("file").unwrap();
        file.write_at(u64::try_from(at).unwrap(), &bytes[at..at + 10]).unwrap();
        at += 10;
        let mut read = vec![1; at + 4096];
        file.read_at(0, &mut read).unwrap();
        assert_eq!(read[..at], bytes[..at]);
        assert!(read[at..].iter().all(|byte| *byte == 0));
    }

    /// A half-made file would keep the little room that is left from the store beside the log, and
    /// would be made again, and again take it all, each time the member starts.
    #[test]
    fn a_file_for_which_there_is_no_room_takes_none() {
        let temp = tempfile::tempdir().unwrap();
        let mut disk = FsDisk::open(&temp.path().join("log")).unwrap();
        // No file system has an exbibyte left, and nothing is written before it says so.
        let error = disk.create("file", 1 << 60).unwrap_err().to_string();
        let told =
            format!("{}: a file of {} bytes: ", disk.folder().join("file").display(), 1_u64 << 60);
        assert!(error.starts_with(&told), "{error}");
        assert_eq!(disk.list().unwrap(), [""; 0]);
        disk.create("file", 4096).unwrap();
        assert_eq!(disk.list().unwrap(), ["file"]);
    }
}
