//! A real folder.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::{OPTIONS, OWNER};
use crate::{Disk, DiskFile, FolderError, FsDisk, Wal};

#[test]
fn a_log_in_a_folder_is_found_again() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("log");
    let mut positions = Vec::new();
    for round in 0..3_u8 {
        let disk = FsDisk::open(&folder).unwrap();
        let mut found = Vec::new();
        let (mut wal, _) =
            Wal::open(disk, OWNER, OPTIONS, |record| found.push(record.position)).unwrap();
        assert_eq!(found, positions);
        for _ in 0..20 {
            positions.push(wal.append(round, &[&[round; 500]]).unwrap());
            wal.sync().unwrap();
        }
        let to = positions[positions.len() - 10];
        wal.trim(to).unwrap();
        positions.retain(|&position| position >= wal.start());
        assert!(positions.len() >= 10);
    }
}

#[test]
fn a_folder_in_use_is_refused_until_it_is_free() {
    let parent = tempfile::tempdir().unwrap();
    let first = FsDisk::open(parent.path()).unwrap();
    let error = FsDisk::open(parent.path()).unwrap_err();
    assert!(matches!(error, FolderError::InUse { .. }), "{error}");
    assert!(error.to_string().contains("is in use by another process"), "{error}");
    drop(first);
    FsDisk::open(parent.path()).unwrap();
}

#[test]
fn a_folder_is_closed_to_others() {
    let parent = tempfile::tempdir().unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;

    let new = parent.path().join("new");
    let mut disk = FsDisk::open(&new).unwrap();
    assert_eq!(mode(&new), 0o700);
    let file = disk.create("file", 10).unwrap();
    assert_eq!(file.len().unwrap(), 10);
    assert_eq!(mode(&new.join("file")), 0o600);

    let old = parent.path().join("old");
    fs::create_dir(&old).unwrap();
    fs::set_permissions(&old, fs::Permissions::from_mode(0o755)).unwrap();
    FsDisk::open(&old).unwrap();
    assert_eq!(mode(&old), 0o700);
}

#[test]
fn what_is_no_folder_is_refused() {
    let parent = tempfile::tempdir().unwrap();
    let file = parent.path().join("file");
    fs::write(&file, "").unwrap();
    assert!(matches!(FsDisk::open(&file), Err(FolderError::Io { .. })));
    let deep = parent.path().join("missing/log");
    let error = FsDisk::open(&deep).unwrap_err();
    assert!(error.to_string().contains("missing/log"), "{error}");
}

#[test]
fn a_created_file_is_zero_and_not_created_twice() {
    let parent = tempfile::tempdir().unwrap();
    let mut disk = FsDisk::open(parent.path()).unwrap();
    let len = (2 << 20) + 4096;
    let file = disk.create("file", len).unwrap();
    let mut content = vec![1; usize::try_from(len).unwrap()];
    file.read_at(0, &mut content).unwrap();
    assert!(content.iter().all(|&byte| byte == 0));
    assert!(disk.create("file", 10).is_err());
    assert!(file.read_at(len - 1, &mut [0; 2]).is_err());
}
