//! Snapshots in files: checking one, and making a data folder of one.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Read};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use synod_kv::{
    Engine, Restore, RestoreError, SnapshotError, SnapshotFacts, SnapshotReader, WriteBatch,
};

use crate::config::{ConfigError, RestoredMember};
use crate::data_folder::{MemberIdentity, Restored};
use crate::engine::{EngineError, RedbEngine};

/// Why a snapshot cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotFileError {
    /// The system refuses.
    #[error("{}: cannot {action}: {reason}", .path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// What the system says.
        reason: io::Error,
    },
    /// It is damaged, or no snapshot.
    #[error("snapshot {}: {reason}", .path.display())]
    Snapshot {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: SnapshotError,
    },
    /// It cannot be restored as asked for.
    #[error("snapshot {}: {reason}", .path.display())]
    Restore {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: RestoreError,
    },
    /// There is something already.
    #[error(
        "data folder {} exists: a restore overwrites nothing; move it away, or use another \
         --data-dir", .folder.display()
    )]
    FolderExists {
        /// The folder.
        folder: PathBuf,
    },
    /// The flags contradict each other.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The store cannot be written.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

/// Bytes that are read at once.
const READ_BYTES: usize = 256 << 10;
/// Bytes of rows that are written to the store at once.
const BATCH_BYTES: usize = 8 << 20;

/// Reads the whole file, and says what it is if it is undamaged.
///
/// # Errors
/// If it is not, or cannot be read.
pub fn verify(file: &Path, skip_hash: bool) -> Result<SnapshotFacts, SnapshotFileError> {
    read(file, skip_hash, |_| Ok(()))
}

/// Makes a data folder of a snapshot: that of a member of a new cluster, whose members are all
/// restored from the same one in the same way.
///
/// # Errors
/// If the folder exists, the snapshot is damaged, or the disk fails; then there is no folder.
pub fn restore(
    file: &Path,
    member: &RestoredMember,
    data_dir: &Path,
    how: Restore,
    skip_hash: bool,
) -> Result<SnapshotFacts, SnapshotFileError> {
    // The flags are checked before anything is done.
    member.ids(0)?;
    if fs::read_dir(data_dir).map_or_else(
        |error| error.kind() != io::ErrorKind::NotFound,
        |mut entries| entries.next().is_some(),
    ) {
        return Err(SnapshotFileError::FolderExists { folder: data_dir.to_owned() });
    }
    let unfinished = unfinished(data_dir);
    let restored = fill(file, member, &unfinished, how, skip_hash).and_then(|facts| {
        fs::rename(&unfinished, data_dir).map_err(failed(data_dir, "make the folder"))?;
        sync_parent(data_dir).map_err(failed(data_dir, "make the folder durable"))?;
        Ok(facts)
    });
    if restored.is_err() {
        // What is left is in nobody's way: the next restore begins by removing it.
        let _ = fs::remove_dir_all(&unfinished);
    }
    restored
}

/// Fills a folder beside the one that is wanted.
fn fill(
    file: &Path,
    member: &RestoredMember,
    unfinished: &Path,
    how: Restore,
    skip_hash: bool,
) -> Result<SnapshotFacts, SnapshotFileError> {
    match fs::remove_dir_all(unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(failed(unfinished, "remove what an earlier restore left")(error));
        }
        _ => {}
    }
    let folder = unfinished.join("member");
    let made = DirBuilder::new().recursive(true).mode(0o700).create(&folder);
    made.map_err(failed(&folder, "make the folder"))?;
    let engine = RedbEngine::open(&folder.join("store.redb"), Arc::default())?;
    let (mut puts, mut bytes) = (Vec::new(), 0);
    let facts = read(file, skip_hash, |rows| {
        for (key, value) in rows.drain(..) {
            let value = how
                .row(&key, value)
                .map_err(|reason| SnapshotFileError::Restore { path: file.to_owned(), reason })?;
            bytes += key.len() + value.len();
            puts.push((key, value));
        }
        if bytes >= BATCH_BYTES {
            bytes = 0;
            let puts = std::mem::take(&mut puts);
            engine.write(WriteBatch { puts, ..WriteBatch::default() })?;
        }
        Ok(())
    })?;
    engine.write(WriteBatch { puts, ..WriteBatch::default() })?;
    drop(engine);
    let snapshot = snapshot_id(&facts, how);
    let (id, cluster) = member.ids(snapshot)?;
    let owner = MemberIdentity { cluster, member: id, name: member.name.clone() };
    let kept = Restored { snapshot, owner }.write(&folder);
    kept.map_err(failed(&folder, "write restored.json"))?;
    sync(unfinished).map_err(failed(unfinished, "make the folder durable"))?;
    Ok(facts)
}

/// Tells snapshots, and ways to restore them, apart.
fn snapshot_id(facts: &SnapshotFacts, how: Restore) -> u64 {
    let mut hasher = blake3::Hasher::new_derive_key("synod id of a restored snapshot");
    hasher.update(&facts.hash).update(&how.bump_revision.to_le_bytes());
    let first = *hasher.finalize().as_bytes().first_chunk().expect("a hash has 32 bytes");
    u64::from_le_bytes(first)
}

/// Reads the whole file, and hands out its rows.
fn read(
    path: &Path,
    skip_hash: bool,
    mut take: impl FnMut(&mut Vec<(bytes::Bytes, bytes::Bytes)>) -> Result<(), SnapshotFileError>,
) -> Result<SnapshotFacts, SnapshotFileError> {
    let wrong = |reason| SnapshotFileError::Snapshot { path: path.to_owned(), reason };
    let mut file = File::open(path).map_err(failed(path, "open it"))?;
    let mut reader =
        if skip_hash { SnapshotReader::skipping_hash() } else { SnapshotReader::default() };
    let (mut buffer, mut rows) = (vec![0; READ_BYTES], Vec::new());
    loop {
        let bytes = file.read(&mut buffer).map_err(failed(path, "read it"))?;
        if bytes == 0 {
            return reader.finish().map_err(wrong);
        }
        reader.push(&buffer[..bytes], &mut rows).map_err(wrong)?;
        take(&mut rows)?;
        rows.clear();
    }
}

fn unfinished(data_dir: &Path) -> PathBuf {
    let mut name = data_dir.file_name().unwrap_or_default().to_owned();
    name.push(".restoring");
    data_dir.with_file_name(name)
}

fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) if parent != Path::new("") => sync(parent),
        _ => sync(Path::new(".")),
    }
}

fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

fn failed(path: &Path, action: &'static str) -> impl FnOnce(io::Error) -> SnapshotFileError {
    move |reason| SnapshotFileError::Io { path: path.to_owned(), action, reason }
}
