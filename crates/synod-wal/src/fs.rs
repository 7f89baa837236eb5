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

use rustix::fs::FlockOperation;

use crate::disk::{Disk, DiskFile};

/// Why a folder was not opened.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// Another process has it open.
    #[error("folder {} is in use by another process: stop that one, or use another folder", .folder.display())]
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
            Err(rustix::io::Errno::WOULDBLOCK) => {
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
        let file = options.open(self.folder.join(name))?;
        let zeros = vec![0; usize::try_from(len.min(FILL_BYTES)).unwrap_or(0)];
        let mut offset = 0;
        while offset < len {
            let chunk = usize::try_from(len - offset).unwrap_or(usize::MAX).min(zeros.len());
            file.write_all_at(&zeros[..chunk], offset)?;
            // Piece by piece, so that nobody's sync of another file waits for the whole.
            file.sync_data()?;
            offset += u64::try_from(chunk).unwrap_or(u64::MAX);
        }
        file.sync_all()?;
        self.sync_directory()?;
        Ok(FsFile { file })
    }

    fn open(&mut self, name: &str) -> io::Result<FsFile> {
        let file = OpenOptions::new().read(true).write(true).open(self.folder.join(name))?;
        Ok(FsFile { file })
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
}

/// A file in such a folder.
#[derive(Debug)]
pub struct FsFile {
    file: File,
}

impl DiskFile for FsFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
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

/// Makes the new folder's own name durable.
fn sync_parent(folder: &Path) -> io::Result<()> {
    match folder.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => File::open(parent)?.sync_all(),
        _ => File::open(".")?.sync_all(),
    }
}

const FOLDER_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;
/// Zeros are written in chunks of this size.
const FILL_BYTES: u64 = 1 << 20;
