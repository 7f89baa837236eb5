//! Arbitrary bytes as a segment: never a panic, never a length believed, never a made-up record.

use proptest::prelude::*;

use super::{filled, segment_file, try_open};
use crate::format::{RecordHeader, SegmentHeader};
use crate::memory::MemoryDisk;
use crate::scan::Walk;
use crate::{OpenError, Position};

proptest! {
    #[test]
    fn arbitrary_bytes_are_damage(content in prop::collection::vec(any::<u8>(), 0..5000)) {
        let disk = MemoryDisk::new();
        disk.put(&segment_file(3), content);
        let refused = matches!(try_open(&disk), Err(OpenError::Damaged { .. }));
        prop_assert!(refused);
    }

    #[test]
    fn arbitrary_bytes_behind_a_header_hold_no_record(
        content in prop::collection::vec(any::<u8>(), 4096 - 512),
        number in 0_u64..3,
    ) {
        let (disk, _) = filled(35, 300);
        let mut segment = disk.content(&segment_file(number)).unwrap();
        let (header, salt) = SegmentHeader::decode(&segment).unwrap();
        segment[512..].copy_from_slice(&content);
        prop_assert_eq!(Walk::new(&segment, &header, salt).count(), 0);
        disk.put(&segment_file(number), segment);
        let refused = matches!(try_open(&disk), Err(OpenError::Damaged { .. }));
        prop_assert!(refused, "the next segment seals it");
    }

    #[test]
    fn spliced_segments_give_a_prefix_or_damage(
        splices in prop::collection::vec((512_usize..4096, 512_usize..4096, 1_usize..700), 1..4),
    ) {
        let (disk, records) = filled(35, 300);
        let name = segment_file(3);
        let source = disk.content(&name).unwrap();
        let mut content = source.clone();
        for (from, to, len) in splices {
            let len = len.min(4096 - from).min(4096 - to);
            content[to..to + len].copy_from_slice(&source[from..from + len]);
        }
        disk.put(&name, content);
        match try_open(&disk) {
            Ok((_, _, found)) => prop_assert_eq!(&found[..], &records[..found.len()]),
            Err(OpenError::Damaged { segment, .. }) => prop_assert_eq!(segment, 3),
            Err(error) => prop_assert!(false, "{}", error),
        }
    }

    #[test]
    fn headers_are_read_back(
        session: u32,
        kind: u8,
        position: u64,
        synced: u64,
        previous: u64,
        salt: u64,
        payload in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let header = RecordHeader {
            session,
            payload_len: u32::try_from(payload.len()).unwrap(),
            kind,
            class: crate::format::Class::User,
            position: Position::from_u64(position),
            synced: Position::from_u64(synced),
            previous,
        };
        let mut bytes = Vec::new();
        let (begin, end) = payload.split_at(payload.len() / 2);
        let digest = header.encode(&[begin, end], salt, &mut bytes);
        prop_assert_eq!(bytes.len() % 8, 0);
        prop_assert_eq!(RecordHeader::decode(&bytes, header.position, salt), Some(header));
        prop_assert_eq!(crate::format::record_digest(&bytes), Some(digest));
        let other = Position::from_u64(position ^ 8);
        prop_assert_eq!(RecordHeader::decode(&bytes, other, salt), None);
        prop_assert_eq!(RecordHeader::decode(&bytes, header.position, salt ^ 1), None);
    }
}
