//! What the inspection of a folder tells.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::{OPTIONS, OWNER, segment_file};
use crate::inspect::{Line, inspect};
use crate::{FsDisk, Wal};

/// Three segments, opened twice, in a folder; the log stays open.
fn filled(folder: &Path) -> Wal<FsDisk> {
    let open = || {
        let disk = FsDisk::open(folder).unwrap();
        Wal::open(disk, OWNER, OPTIONS, |_| {}).unwrap().0
    };
    let mut wal = open();
    for kind in 0..10 {
        wal.append(kind, &[&[kind; 900]]).unwrap();
        wal.sync().unwrap();
    }
    drop(wal);
    open()
}

fn lines(folder: &Path) -> Vec<Line> {
    let describe = |kind: u8, payload: &[u8]| format!("number {kind}, {} bytes", payload.len());
    inspect(folder, describe).unwrap().map(Result::unwrap).collect()
}

fn damage(folder: &Path, segment: u64, offset: u64, bytes: &[u8]) {
    let options = fs::OpenOptions::new().write(true).open(folder.join(segment_file(segment)));
    options.unwrap().write_all_at(bytes, offset).unwrap();
}

#[test]
fn a_log_in_use_is_told_from_front_to_back() {
    let folder = tempfile::tempdir().unwrap();
    let wal = filled(folder.path());
    let lines = lines(folder.path());
    assert!(lines.iter().all(|line| !line.is_damage()));
    let text: Vec<String> = lines.iter().map(Line::to_string).collect();
    let owner = "07".repeat(32);
    assert_eq!(text[0], format!("segment 0, 4096 bytes, owner {owner}, made in session 1"));
    assert_eq!(
        text[1],
        "           512  opened    0         0 bytes  log opened, session 1 begins"
    );
    assert_eq!(text[2], "           560  user      0       900 bytes  number 0, 900 bytes");
    assert_eq!(text[5], "segment 0 stops at offset 3416: complete, as the next segment says");
    assert_eq!(text.last().unwrap().split(": ").nth(1), Some("end of the log, nothing behind"));
    let records = lines.iter().filter(|line| matches!(line, Line::Record(_))).count();
    assert_eq!(records, 10 + 2);
    drop(wal);
}

#[test]
fn a_damaged_log_shows_place_proof_and_what_is_behind() {
    let folder = tempfile::tempdir().unwrap();
    drop(filled(folder.path()));
    damage(folder.path(), 3, 600, b"rot");
    let lines = lines(folder.path());
    let damaged: Vec<String> =
        lines.iter().filter(|line| line.is_damage()).map(Line::to_string).collect();
    assert_eq!(damaged.len(), 1, "{damaged:?}");
    assert!(
        damaged[0].starts_with("segment 3 stops at offset 512: DAMAGED, a later record proves"),
        "{damaged:?}"
    );
    let stranded: Vec<_> = lines
        .iter()
        .filter_map(|line| match line {
            Line::Record(record) if !record.chain_ok => Some((record.offset, record.checksum_ok)),
            _ => None,
        })
        .collect();
    assert_eq!(stranded, [(512, false), (1464, true)]);
}

#[test]
fn missing_and_broken_files_are_told() {
    let folder = tempfile::tempdir().unwrap();
    drop(filled(folder.path()));
    fs::remove_file(folder.path().join(segment_file(1))).unwrap();
    damage(folder.path(), 2, 0, b"X");
    fs::write(folder.path().join("0000000000000009.half"), "").unwrap();
    let lines = lines(folder.path());
    assert!(lines.contains(&Line::Missing { number: 1 }));
    assert!(lines.iter().any(|line| matches!(
        line,
        Line::Segment { number: 2, header: Err(problem), .. } if problem.contains("checksum")
    )));
    assert!(lines[0].to_string().contains("unfinished"), "{}", lines[0]);
}

#[test]
fn each_line_is_a_json_object() {
    let folder = tempfile::tempdir().unwrap();
    drop(filled(folder.path()));
    let lines = lines(folder.path());
    let record = lines.iter().find(|line| matches!(line, Line::Record(r) if r.class == "user"));
    let json = record.unwrap().to_json();
    assert_eq!(json["line"], "record");
    assert_eq!(json["position"], 560);
    assert_eq!(json["text"], "number 0, 900 bytes");
    assert_eq!((&json["checksum_ok"], &json["chain_ok"]), (&true.into(), &true.into()));
    assert!(lines.iter().all(|line| line.to_json()["line"].is_string()));
}

#[test]
fn nothing_is_changed() {
    let folder = tempfile::tempdir().unwrap();
    drop(filled(folder.path()));
    let content = || {
        let mut files: Vec<_> = fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .map(|path| (fs::read(&path).unwrap(), path))
            .collect();
        files.sort();
        files
    };
    let before = content();
    let _ = lines(folder.path());
    assert_eq!(content(), before);
}
