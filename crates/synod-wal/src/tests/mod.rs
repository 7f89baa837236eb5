//! Tests of the log as a whole.

mod crash;
mod damage;
mod folder;
mod garbage;
mod inspection;
mod refusals;

use crate::memory::MemoryDisk;
use crate::{OpenError, Options, Owner, Record, Recovery, Wal};

const OWNER: Owner = Owner([7; 32]);
const OPTIONS: Options = Options { segment_bytes: 4096, record_bytes_max: 3000, spares_max: 2 };

/// Opens a log and collects what it holds.
fn try_open(disk: &MemoryDisk) -> Result<(Wal<MemoryDisk>, Recovery, Vec<Record>), OpenError> {
    let mut found = Vec::new();
    let (wal, recovery) = Wal::open(disk.clone(), OWNER, OPTIONS, |record| found.push(record))?;
    assert_eq!(recovery.records, u64::try_from(found.len()).unwrap());
    Ok((wal, recovery, found))
}

fn open(disk: &MemoryDisk) -> (Wal<MemoryDisk>, Vec<Record>) {
    let (wal, _, found) = try_open(disk).unwrap();
    (wal, found)
}

/// The name of a segment's file.
fn segment_file(number: u64) -> String {
    crate::names::Name::Segment(number).file()
}

/// A log of a few segments in which each payload tells its number, synced one by one.
fn filled(records: u32, payload: usize) -> (MemoryDisk, Vec<Record>) {
    let disk = MemoryDisk::new();
    let (mut wal, _) = open(&disk);
    let mut appended = Vec::new();
    for number in 0..records {
        let mut bytes = vec![0xa5; payload];
        bytes[..4].copy_from_slice(&number.to_le_bytes());
        let position = wal.append(1, &[&bytes]).unwrap();
        wal.sync().unwrap();
        appended.push(Record { position, kind: 1, payload: bytes.into() });
    }
    (disk, appended)
}
