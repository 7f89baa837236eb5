//! A real folder.
use std::io;
use std::path::{Path, PathBuf};

/// Why a folder was not opened.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// Another process has it open.
    #[error("folder {folder} is in use by another process")]
    InUse {
        /// The folder.
        folder: PathBuf,
    },
    /// It cannot be made, opened or restricted.
    #[error("folder {folder}: {source}")]
    Io {
        /// The folder.
        folder: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

/// A folder that this process alone has open.
#[derive(Debug)]
pub struct FsDisk {
    folder: PathBuf,
}

impl FsDisk {
    /// Opens the folder for this process alone, making it if it does not exist.
    pub fn open(folder: &Path) -> Result<Self, FolderError> {
        unimplemented!()
    }
}
