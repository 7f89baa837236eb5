//! What is refused, and how the log works at its edges.

use super::{OPTIONS, OWNER, filled, open, segment_file, try_open};
use crate::format::SegmentHeader;
use crate::memory::MemoryDisk;
use crate::{AppendError, Disk, OpenError, Options, OptionsError, Owner, Position, ReadError, Wal};

fn error_of(disk: &MemoryDisk, owner: Owner, options: Options) -> OpenError {
    Wal::open(disk.clone(), owner, options, |_| {}).map(|_| ()).unwrap_err()
}

#[test]
fn a_foreign_log_is_refused() {
    let (disk, records) = filled(35, 300);
    let other = Owner([8; 32]);
    let error = error_of(&disk, other, OPTIONS);
    assert!(
        matches!(
            error,
            OpenError::ForeignOwner { found, expected } if found == OWNER && expected == other
        ),
        "{error}"
    );
    assert_eq!(Wal::peek_owner(&mut disk.clone()).unwrap(), Some(OWNER));
    assert_eq!(open(&disk).1, records);
}

#[test]
fn an_empty_folder_has_no_owner() {
    let disk = MemoryDisk::new();
    disk.put("lock", vec![]);
    assert_eq!(Wal::peek_owner(&mut disk.clone()).unwrap(), None);
    let (_, recovery, _) = try_open(&disk).unwrap();
    assert!(recovery.created);
    let (_, recovery, _) = try_open(&disk).unwrap();
    assert!(!recovery.created);
}

#[test]
fn another_segment_size_is_refused() {
    let (disk, _) = filled(3, 100);
    let options = Options { segment_bytes: 8192, ..OPTIONS };
    let error = error_of(&disk, OWNER, options);
    assert!(matches!(error, OpenError::SegmentBytes { found: 4096, expected: 8192 }), "{error}");
    let mut disk = disk;
    assert_eq!(Wal::peek_segment_bytes(&mut disk).unwrap(), Some(4096));
    assert_eq!(Wal::peek_segment_bytes(&mut MemoryDisk::new()).unwrap(), None);
}

#[test]
fn a_newer_version_is_refused_but_a_damaged_one_is_damage() {
    let (disk, _) = filled(3, 100);
    disk.damage(&segment_file(0), 8, |byte| *byte = 2);
    let error = error_of(&disk, OWNER, OPTIONS);
    assert!(matches!(error, OpenError::Damaged { segment: 0, offset: 0, .. }), "{error}");

    let mut content = disk.content(&segment_file(0)).unwrap();
    let check = crc_fast::crc32_iscsi(&content[..12]);
    content[12..16].copy_from_slice(&check.to_le_bytes());
    disk.put(&segment_file(0), content);
    let error = error_of(&disk, OWNER, OPTIONS);
    assert!(matches!(error, OpenError::Version { segment: 0, found: 2, supported: 1 }), "{error}");
    let mut disk = disk;
    assert!(matches!(Wal::peek_owner(&mut disk), Err(OpenError::Version { found: 2, .. })));
}

#[test]
fn options_that_make_no_log_are_refused() {
    for segment_bytes in [0, 512, 4095, 5000, (1 << 30) + 4096] {
        let options = Options { segment_bytes, ..OPTIONS };
        assert_eq!(options.check(), Err(OptionsError::SegmentBytes { found: segment_bytes }));
    }
    let fits = Options { record_bytes_max: 4096 - 512 - 48, ..OPTIONS };
    assert_eq!(fits.check(), Ok(()));
    let options = Options { record_bytes_max: 4096 - 512 - 47, ..OPTIONS };
    assert_eq!(options.check(), Err(OptionsError::RecordBytesMax { found: 3537, max: 3536 }));
    assert_eq!(Options::default().check(), Ok(()));
}

#[test]
fn a_record_may_fill_a_segment_and_none_may_be_larger() {
    let disk = MemoryDisk::new();
    let options = Options { record_bytes_max: 3536, ..OPTIONS };
    let (mut wal, _) = Wal::open(disk.clone(), OWNER, options, |_| {}).unwrap();
    let error = wal.append(0, &[&[0; 3000], &[0; 537]]).unwrap_err();
    assert_eq!(error, AppendError::TooLarge { bytes: 3537, max: 3536 });
    let positions: Vec<_> =
        (0..4).map(|kind| wal.append(kind, &[&[kind; 3536]]).unwrap().to_u64()).collect();
    assert_eq!(positions, [4608, 8704, 12800, 16896]);
    wal.sync().unwrap();
    let mut kinds = Vec::new();
    let (wal, _) = Wal::open(disk, OWNER, options, |record| kinds.push(record.kind)).unwrap();
    assert_eq!(kinds, [0, 1, 2, 3]);
    assert_eq!(wal.end().to_u64(), 20480 + 512 + 48);
}

#[test]
fn records_are_read_before_and_after_the_sync() {
    let disk = MemoryDisk::new();
    let (mut wal, _) = open(&disk);
    let positions: Vec<_> =
        (0..20_u8).map(|kind| wal.append(kind, &[&[kind; 700]]).unwrap()).collect();
    let check = |wal: &Wal<MemoryDisk>| {
        for (kind, &position) in (0..20_u8).zip(&positions) {
            let record = wal.read(position).unwrap();
            assert_eq!((record.kind, &record.payload[..]), (kind, &[kind; 700][..]));
            let inside = Position::from_u64(position.to_u64() + 8);
            assert!(matches!(wal.read(inside), Err(ReadError::Damaged { .. })));
        }
    };
    check(&wal);
    wal.sync().unwrap();
    check(&wal);
    assert!(matches!(wal.read(wal.end()), Err(ReadError::OutOfRange { .. })));
    assert!(matches!(wal.read(Position::ZERO), Err(ReadError::OutOfRange { .. })));
    let opened = Position::from_u64(512);
    assert!(matches!(wal.read(opened), Err(ReadError::Damaged { .. })), "not the user's");
}

#[test]
fn trimmed_segments_are_used_again_and_their_records_never_return() {
    let (disk, records) = filled(200, 300);
    let (mut wal, _) = open(&disk);
    let kept = &records[150];
    wal.trim(kept.position).unwrap();
    assert!(wal.start() <= kept.position);
    assert!(matches!(wal.read(records[0].position), Err(ReadError::OutOfRange { .. })));
    assert_eq!(wal.status().spares, OPTIONS.spares_max);
    let files = disk.list().unwrap().len();
    for _ in 0..15 {
        wal.append(1, &[&[1; 300]]).unwrap();
    }
    wal.sync().unwrap();
    assert_eq!(disk.list().unwrap().len(), files, "two segments more, two spares less");
    drop(wal);
    let (wal, found) = open(&disk);
    let from = records.iter().position(|record| record.position >= wal.start()).unwrap();
    assert!(from <= 150);
    assert_eq!(found.len(), 200 - from + 15);
    assert_eq!(found[..200 - from], records[from..]);
}

#[test]
fn trim_never_gives_up_the_last_segment() {
    let (disk, _) = filled(35, 300);
    let (mut wal, _) = open(&disk);
    let end = Position::from_u64(wal.end().to_u64() * 10);
    wal.trim(end).unwrap();
    assert_eq!(wal.status().segments, 1);
    let position = wal.append(3, &[b"x"]).unwrap();
    wal.sync().unwrap();
    assert_eq!(wal.read(position).unwrap().kind, 3);
}

#[test]
fn half_made_files_and_wrong_spares_are_removed() {
    let (disk, records) = filled(35, 300);
    disk.put("0000000000000005.half", vec![0; 100]);
    disk.put("0000000000000006.spare", vec![0; 100]);
    disk.put("0000000000000007.spare", vec![0xff; 4096]);
    disk.put("notes.txt", vec![1]);
    let (mut wal, found) = open(&disk);
    assert_eq!(found, records);
    assert_eq!(wal.status().spares, 1);
    let names = disk.list().unwrap();
    assert!(names.contains(&"notes.txt".to_owned()));
    assert!(!names.iter().any(|name| name.ends_with(".half")));
    for _ in 0..30 {
        wal.append(1, &[&[1; 300]]).unwrap();
    }
    wal.sync().unwrap();
    assert_eq!(open(&disk).1.len(), 65);
}

#[test]
fn a_prepared_spare_is_used() {
    let (disk, _) = filled(1, 300);
    let (mut wal, _) = open(&disk);
    wal.prepare().unwrap();
    wal.prepare().unwrap();
    assert_eq!(wal.status().spares, 1);
    for _ in 0..12 {
        wal.append(1, &[&[1; 300]]).unwrap();
    }
    wal.sync().unwrap();
    assert_eq!((wal.status().spares, wal.status().segments), (0, 2));
}

#[test]
fn a_spare_is_made_while_the_log_goes_on() {
    let (disk, _) = filled(1, 300);
    let (mut wal, _) = open(&disk);
    let order = wal.order_spare().unwrap();
    let mut handle = disk.clone();
    let maker = std::thread::spawn(move || order.make(&mut handle));
    for _ in 0..12 {
        wal.append(1, &[&[1; 300]]).unwrap();
        wal.sync().unwrap();
    }
    wal.adopt_spare(maker.join().unwrap().unwrap());
    assert_eq!((wal.status().spares, wal.status().segments), (1, 2));
    assert!(wal.order_spare().is_none(), "there is one");
    for _ in 0..10 {
        wal.append(1, &[&[1; 300]]).unwrap();
    }
    wal.sync().unwrap();
    assert_eq!((wal.status().spares, wal.status().segments), (0, 3));
    assert_eq!(open(&disk).1.len(), 23);
}

#[test]
fn one_sync_for_all_that_waits() {
    let (disk, _) = filled(1, 300);
    let (mut wal, _) = open(&disk);
    let before = disk.syncs();
    for _ in 0..5 {
        wal.append(1, &[&[1; 30]]).unwrap();
    }
    wal.sync().unwrap();
    assert_eq!(disk.syncs(), before + 1);
    wal.sync().unwrap();
    assert_eq!(disk.syncs(), before + 1, "nothing waited");
}

#[test]
fn each_opening_is_a_session() {
    let disk = MemoryDisk::new();
    for session in 1..5 {
        assert_eq!(open(&disk).0.status().session, session);
    }
}

#[test]
fn a_header_beyond_all_positions_is_no_header() {
    let header = SegmentHeader {
        owner: OWNER,
        number: u64::MAX / 2,
        segment_bytes: 4096,
        sealed_end: Position::ZERO,
        sealed_digest: 0,
        first_needed: 0,
        session: 1,
    };
    let (bytes, _) = header.encode();
    let disk = MemoryDisk::new();
    let mut content = bytes.to_vec();
    content.resize(4096, 0);
    disk.put(&segment_file(u64::MAX / 2), content);
    assert!(matches!(error_of(&disk, OWNER, OPTIONS), OpenError::Damaged { .. }));
}
