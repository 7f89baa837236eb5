//! A disk that loses or changes what was synced.

use std::collections::BTreeMap;

use super::{filled, open, segment_file, try_open};
use crate::memory::MemoryDisk;
use crate::{Damage, Disk, OpenError, Record, Tail};

fn image(disk: &MemoryDisk) -> BTreeMap<String, Vec<u8>> {
    let names = disk.list().unwrap();
    names.into_iter().map(|name| (name.clone(), disk.content(&name).unwrap())).collect()
}

fn restored(image: &BTreeMap<String, Vec<u8>>) -> MemoryDisk {
    let disk = MemoryDisk::new();
    image.iter().for_each(|(name, content)| disk.put(name, content.clone()));
    disk
}

/// Changes every byte of the segments, one at a time, and counts what opening says. Never may it
/// give a wrong record, or miss one below the last proof.
fn change_every_byte(disk: &MemoryDisk, records: &[Record], proven: usize) -> (usize, usize) {
    let image = image(disk);
    let (mut damaged, mut cut) = (0, 0);
    for (name, content) in &image {
        for (offset, mask) in (0..content.len()).flat_map(|at| [(at, 0x01), (at, 0xff)]) {
            let disk = restored(&image);
            disk.damage(name, offset, |byte| *byte ^= mask);
            match try_open(&disk) {
                Err(OpenError::Damaged { .. }) => damaged += 1,
                Err(error) => panic!("{name} at {offset}: {error}"),
                Ok((_, _, found)) => {
                    assert_eq!(found, records[..found.len()], "{name} at {offset}");
                    assert!(found.len() >= proven, "{name} at {offset}: {} left", found.len());
                    cut += usize::from(found.len() < records.len());
                }
            }
        }
    }
    (damaged, cut)
}

#[test]
fn every_changed_byte_below_the_last_proof_is_found() {
    let (disk, records) = filled(35, 300);
    // Synced one by one, so each record proves all before it; the last has no proof yet.
    let (damaged, cut) = change_every_byte(&disk, &records, records.len() - 1);
    let last = 2 * (48 + 304);
    assert_eq!(cut, last, "changed bytes of the last record, and of no other");
    let all: usize =
        records.iter().map(|record| 48 + record.payload.len().next_multiple_of(8)).sum();
    let segments = 4;
    let opened = 48;
    assert_eq!(damaged, 2 * (all + opened + segments * 512) - last);
}

#[test]
fn after_a_seal_every_changed_byte_of_a_record_is_found() {
    let (disk, mut records) = filled(7, 100);
    let (mut wal, _) = open(&disk);
    let position = wal.append(2, &[b"the last"]).unwrap();
    records.push(Record { position, kind: 2, payload: b"the last".as_slice().into() });
    wal.seal().unwrap();
    assert_eq!(wal.status().synced, wal.end());
    let end = wal.end();
    wal.seal().unwrap();
    assert_eq!(wal.end(), end, "one proof is enough");
    let (_, cut) = change_every_byte(&disk, &records, records.len());
    assert_eq!(cut, 0);
}

#[test]
fn opening_proves_all_that_it_found() {
    let (disk, records) = filled(3, 100);
    let (_, found) = open(&disk);
    assert_eq!(found, records);
    let (_, cut) = change_every_byte(&disk, &records, records.len());
    assert_eq!(cut, 0);
}

#[test]
fn zeroed_sectors_below_the_last_record_are_damage() {
    let (disk, records) = filled(35, 300);
    let image = image(&disk);
    let last_record = usize::try_from(records[34].position.to_u64()).unwrap();
    let mut wiped = 0;
    for (number, sector) in (0..4).flat_map(|number| (0..8).map(move |sector| (number, sector))) {
        let end = (sector + 1) * 512;
        if 4096 * usize::try_from(number).unwrap() + end > last_record || end > 512 + 3520 {
            // It holds the last proof itself, or nothing.
            continue;
        }
        let disk = restored(&image);
        (end - 512..end)
            .for_each(|offset| disk.damage(&segment_file(number), offset, |byte| *byte = 0));
        let error = try_open(&disk).map(|_| ()).unwrap_err();
        let damaged = matches!(error, OpenError::Damaged { segment, .. } if segment == number);
        assert!(damaged, "segment {number}, sector {sector}: {error}");
        wiped += 1;
    }
    assert_eq!(wiped, 3 * 7 + 3);
}

#[test]
fn the_error_names_place_and_proof() {
    let (disk, records) = filled(5, 100);
    disk.damage(&segment_file(0), 560 + 152 + 60, |byte| *byte ^= 1);
    let error = try_open(&disk).map(|_| ()).unwrap_err();
    let synced = records[4].position;
    let reason = Damage::ProvenSynced { synced };
    assert!(
        matches!(error, OpenError::Damaged { segment: 0, offset: 712, reason: r } if r == reason),
        "{error}"
    );
    assert_eq!(
        error.to_string(),
        "segment 0 is damaged at offset 712: no valid record, but a later one proves that all \
         below 1168 had been synced"
    );
}

#[test]
fn nothing_on_a_damaged_disk_is_changed() {
    let (disk, _) = filled(35, 300);
    disk.damage(&segment_file(1), 700, |byte| *byte ^= 1);
    let before = image(&disk);
    assert!(try_open(&disk).is_err());
    assert_eq!(image(&disk), before);
}

#[test]
fn a_lost_file_in_the_middle_or_at_the_front_is_damage() {
    let (disk, _) = filled(35, 300);
    let image = image(&disk);
    assert_eq!(image.len(), 4);
    for number in 0..3 {
        let mut disk = restored(&image);
        disk.remove(&segment_file(number)).unwrap();
        let error = try_open(&disk).map(|_| ()).unwrap_err();
        let missing = matches!(
            error,
            OpenError::Damaged { segment, reason: Damage::SegmentMissing, .. } if segment == number
        );
        assert!(missing, "{number}: {error}");
    }
}

#[test]
fn a_lost_write_in_the_middle_is_damage() {
    // A segment as it was one record earlier, although the next one was begun after it.
    let (older, _) = filled(9, 300);
    let (disk, _) = filled(35, 300);
    disk.put(&segment_file(0), older.content(&segment_file(0)).unwrap());
    let error = try_open(&disk).map(|_| ()).unwrap_err();
    assert!(
        matches!(error, OpenError::Damaged { segment: 0, reason: Damage::Seal, .. }),
        "{error}"
    );
}

#[test]
fn a_segment_with_another_past_is_damage() {
    // Same owner, number, lengths and a header that is the same bit by bit; other records.
    let other = MemoryDisk::new();
    let (mut wal, _) = open(&other);
    for _ in 0..35 {
        wal.append(1, &[&[0x5a; 300]]).unwrap();
        wal.sync().unwrap();
    }
    let (disk, _) = filled(35, 300);
    disk.put(&segment_file(0), other.content(&segment_file(0)).unwrap());
    let error = try_open(&disk).map(|_| ()).unwrap_err();
    let sealed = matches!(error, OpenError::Damaged { segment: 0, reason: Damage::Seal, .. });
    assert!(sealed, "{error}");
}

#[test]
fn an_exchanged_or_cut_file_is_damage() {
    let (disk, _) = filled(35, 300);
    let image = image(&disk);

    let disk = restored(&image);
    disk.put(&segment_file(1), image[&segment_file(2)].clone());
    let error = try_open(&disk).map(|_| ()).unwrap_err();
    assert!(
        matches!(
            error,
            OpenError::Damaged { segment: 1, reason: Damage::SegmentNumber { found: 2 }, .. }
        ),
        "{error}"
    );

    for length in [0, 100, 512, 4095, 5000] {
        let disk = restored(&image);
        let mut content = image[&segment_file(1)].clone();
        content.resize(length, 0);
        disk.put(&segment_file(1), content);
        let error = try_open(&disk).map(|_| ()).unwrap_err();
        let expected = if length < 512 {
            matches!(error, OpenError::Damaged { segment: 1, reason: Damage::SegmentHeader, .. })
        } else {
            matches!(
                error,
                OpenError::Damaged { segment: 1, reason: Damage::SegmentLength { .. }, .. }
            )
        };
        assert!(expected, "{length}: {error}");
    }
}

#[test]
fn a_record_that_rots_while_the_log_is_open_is_not_returned() {
    let (disk, records) = filled(5, 100);
    let (wal, _) = open(&disk);
    let offset = usize::try_from(records[2].position.to_u64()).unwrap();
    for at in offset..offset + 48 + 104 {
        disk.damage(&segment_file(0), at, |byte| *byte ^= 0x10);
        assert!(wal.read(records[2].position).is_err(), "byte {at}");
        disk.damage(&segment_file(0), at, |byte| *byte ^= 0x10);
    }
    assert_eq!(wal.read(records[2].position).unwrap(), records[2]);
}

#[test]
fn the_tail_is_told_apart() {
    let (disk, _) = filled(3, 100);
    let (_, recovery, _) = try_open(&disk).unwrap();
    assert_eq!(recovery.tail, Tail::Clean);

    let end = usize::try_from(recovery.end.to_u64()).unwrap();
    disk.damage(&segment_file(0), end + 48 + 200, |byte| *byte = 1);
    let (_, recovery, _) = try_open(&disk).unwrap();
    assert_eq!(recovery.tail, Tail::Remains);

    let (disk, records) = filled(3, 100);
    let last = usize::try_from(records[2].position.to_u64()).unwrap();
    disk.damage(&segment_file(0), last + 60, |byte| *byte ^= 1);
    let (_, recovery, found) = try_open(&disk).unwrap();
    assert_eq!((recovery.tail, found.len()), (Tail::Torn, 2));
}
