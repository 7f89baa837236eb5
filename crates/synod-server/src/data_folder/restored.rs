//! `restored.json`: that a folder began with a snapshot, with which, and for whom.
//!
//! The snapshot is part of the cluster's id. So members that were restored from different
//! snapshots, or that begin with nothing, are strangers to each other: their logs would both begin
//! at slot 1, on states that differ.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use serde_json::{Value, json};

use super::{DataFolderError, MemberIdentity};

const RESTORED: &str = "restored.json";
const FORMAT: u64 = 1;

/// What a folder began with.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Restored {
    /// Tells snapshots, and ways to restore them, apart.
    pub(crate) snapshot: u64,
    /// For whom it was restored.
    pub(crate) owner: MemberIdentity,
}

impl Restored {
    /// Writes it durably.
    pub(crate) fn write(&self, folder: &Path) -> io::Result<()> {
        let text = json!({
            "format": FORMAT,
            "snapshot": format!("{:016x}", self.snapshot),
            "cluster": format!("{:016x}", self.owner.cluster),
            "member": format!("{:016x}", self.owner.member),
            "name": self.owner.name,
        });
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(0o600);
        let mut file = options.open(folder.join(RESTORED))?;
        writeln!(file, "{text:#}")?;
        file.sync_all()?;
        File::open(folder)?.sync_all()
    }

    /// Whether it was restored for this member.
    pub(super) fn check(
        &self,
        folder: &Path,
        owner: &MemberIdentity,
    ) -> Result<(), DataFolderError> {
        let found = &self.owner;
        if (found.cluster, found.member) == (owner.cluster, owner.member) {
            return Ok(());
        }
        Err(DataFolderError::Foreign {
            folder: folder.to_owned(),
            found: found.clone(),
            expected: owner.clone(),
        })
    }
}

/// The snapshot that the member's folder below `data_dir` began with, if it began with one.
pub(crate) fn snapshot_of(data_dir: &Path) -> Result<Option<u64>, DataFolderError> {
    Ok(read(&data_dir.join("member"))?.map(|restored| restored.snapshot))
}

/// What the folder began with, if it was with a snapshot.
pub(super) fn read(folder: &Path) -> Result<Option<Restored>, DataFolderError> {
    let bytes = match std::fs::read(folder.join(RESTORED)) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(reason) => {
            let (folder, action) = (folder.to_owned(), "read restored.json");
            return Err(DataFolderError::Io { folder, action, reason });
        }
    };
    let bad = |reason| DataFolderError::BadRestored { folder: folder.to_owned(), reason };
    let value: Value = serde_json::from_slice(&bytes).map_err(|_| bad("it is no JSON"))?;
    if value["format"].as_u64() != Some(FORMAT) {
        return Err(bad("it has another format"));
    }
    let number = |name: &str| {
        let text = value[name].as_str();
        text.and_then(|text| u64::from_str_radix(text, 16).ok())
    };
    let owner = MemberIdentity {
        cluster: number("cluster").ok_or_else(|| bad("it names no cluster"))?,
        member: number("member").ok_or_else(|| bad("it names no member"))?,
        name: value["name"].as_str().ok_or_else(|| bad("it has no name"))?.to_owned(),
    };
    let snapshot = number("snapshot").ok_or_else(|| bad("it names no snapshot"))?;
    Ok(Some(Restored { snapshot, owner }))
}
