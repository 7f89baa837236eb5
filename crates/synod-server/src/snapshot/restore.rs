//! A data folder of a snapshot.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use synod_kv::{Engine, Restore, WriteBatch};

use super::read::read;
use super::{SnapshotFacts, SnapshotFileError, failed};
use crate::config::RestoredMember;
use crate::data_folder::{MemberIdentity, Restored};
use crate::engine::{EngineError, RedbEngine};

/// Bytes of rows that are written to the store at once.
const BATCH_BYTES: usize = 8 << 20;

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
    let (mut puts, mut bytes) = (BTreeMap::new(), 0);
    let facts = read(file, skip_hash, &mut |key, value| {
        let value = how
            .row(&key, value)
            .map_err(|reason| SnapshotFileError::Restore { path: file.to_owned(), reason })?;
        bytes += key.len() + value.len();
        puts.insert(key, value);
        if bytes >= BATCH_BYTES {
            bytes = 0;
            write(&engine, std::mem::take(&mut puts))?;
        }
        Ok(())
    })?;
    write(&engine, puts)?;
    drop(engine);
    let snapshot = snapshot_id(&facts, how);
    let (id, cluster) = member.ids(snapshot)?;
    let owner = MemberIdentity { cluster, member: id, name: member.name.clone() };
    let kept = Restored { snapshot, owner }.write(&folder);
    kept.map_err(failed(&folder, "write restored.json"))?;
    sync(unfinished).map_err(failed(unfinished, "make the folder durable"))?;
    Ok(facts)
}

/// Writes rows, which go by key upward.
fn write(engine: &RedbEngine, rows: BTreeMap<Bytes, Bytes>) -> Result<(), EngineError> {
    engine.write(WriteBatch { puts: rows.into_iter().collect(), ..WriteBatch::default() })
}

/// Tells snapshots, and ways to restore them, apart.
fn snapshot_id(facts: &SnapshotFacts, how: Restore) -> u64 {
    let mut hasher = blake3::Hasher::new_derive_key("synod id of a restored snapshot");
    hasher.update(&facts.sha256).update(&how.bump_revision.to_le_bytes());
    let first = *hasher.finalize().as_bytes().first_chunk().expect("a hash has 32 bytes");
    u64::from_le_bytes(first)
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
