//! The bytes on disk, format version 1. All numbers are little-endian.
//!
//! A segment is a file of fixed length, written over from front to back. It starts with a header
//! of one sector, so that the header is either there or not; records follow without gaps, each
//! padded with zeros to 8 bytes. No record spans segments: what does not fit opens the next one,
//! and the rest of the file keeps whatever it held.
//!
//! ```text
//! segment header                                   record
//!   0  magic "SYNODWAL"                       8      0  digest: CRC-64/NVME of 12..end       8
//!   8  version                                4      8  check: CRC-32C of salt, 0..8, 12..48 4
//!  12  CRC-32C of 0..12                       4     12  session                              4
//!  16  owner                                 32     16  payload length                       4
//!  48  segment number                         8     20  kind, the user's                     1
//!  56  segment size                           8     21  class: 0 user, 1 opened,             1
//!  64  where the records of the segment       8               2 trimmed, 3 proof
//!      before end (position)                        22  zero                                 2
//!  72  digest of the last of them, or of      8     24  position of this record              8
//!      its header; 0 in segment 0                   32  synced: all below this position was  8
//!  80  first segment still needed             8         durable before this was written
//!  88  session                                4     40  digest of the record before, or of   8
//!  92  zero                                   4         the segment header
//!  96  digest: CRC-64/NVME of 0..96           8     48  payload
//! 104  zero                                 408         zeros up to a multiple of 8
//! ```
//!
//! * The **digest** is checksum and chain in one: it covers the digest of the record before, so a
//!   record names its one possible past, back to the first segment. One pass over the payload
//!   with a CRC that runs at memory speed; 64 bits, because an old record that turns up again must
//!   not pass by luck. It guards against disks, not against people: nobody but the owner writes
//!   here.
//! * The **check** makes a header believable before its length is, and on its own, when records
//!   before it or its own payload are lost: that is the proof recovery looks for. The *salt* is the
//!   digest of the segment's header, which depends on all that was logged before (in segment 0 only
//!   on owner and session), so that the image of a header inside a client's payload proves nothing.
//! * The **position** tells a record of this segment from those of the file's earlier lives.
//! * The **session** counts openings. Records of an unsynced group can survive behind a torn one;
//!   what is written over the gap later belongs to a later session, so they never fit again.
//! * The header of the next segment **seals** a segment: it says where its records end and with
//!   which digest. It is written only after all of them were synced.

use crate::position::{Owner, Position};

/// Bytes of a segment's header.
pub(crate) const SEGMENT_HEADER_BYTES: u64 = 512;
/// Bytes of a record's header.
pub(crate) const RECORD_HEADER_BYTES: u64 = 48;
/// Records begin at multiples of this.
pub(crate) const ALIGNMENT: usize = 8;
/// The only version so far.
pub(crate) const VERSION: u32 = 1;

/// The length of a segment's header, as an index.
pub(crate) const SEGMENT_HEADER_LEN: usize = 512;
/// The length of a record's header, as an index.
pub(crate) const RECORD_HEADER_LEN: usize = 48;

const MAGIC: &[u8; 8] = b"SYNODWAL";
const SEGMENT_DIGEST_AT: usize = 96;
const SEGMENT_DIGEST_END: usize = 104;
/// From here to its end a record is covered by its digest.
const RECORD_DIGEST_FROM: usize = 12;

/// Bytes that a record with this much payload takes, padding included.
pub(crate) const fn record_len(payload: usize) -> usize {
    (RECORD_HEADER_LEN + payload).next_multiple_of(ALIGNMENT)
}

/// The header of a segment.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct SegmentHeader {
    pub(crate) owner: Owner,
    pub(crate) number: u64,
    pub(crate) segment_bytes: u64,
    /// Where the records of the segment before end; the own start in segment 0.
    pub(crate) sealed_end: Position,
    /// The digest there.
    pub(crate) sealed_digest: u64,
    /// The first segment still needed when this one was made.
    pub(crate) first_needed: u64,
    pub(crate) session: u32,
}

/// A header that is none.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum BadSegmentHeader {
    /// It does not match its checksums.
    Broken,
    /// It is of a version not known here.
    Newer(u32),
}

impl SegmentHeader {
    /// The bytes, and the digest the first record continues.
    pub(crate) fn encode(&self) -> ([u8; SEGMENT_HEADER_LEN], u64) {
        let mut bytes = [0; SEGMENT_HEADER_LEN];
        bytes[0..8].copy_from_slice(MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        let check = crc_fast::crc32_iscsi(&bytes[0..12]);
        bytes[12..16].copy_from_slice(&check.to_le_bytes());
        bytes[16..48].copy_from_slice(&self.owner.0);
        bytes[48..56].copy_from_slice(&self.number.to_le_bytes());
        bytes[56..64].copy_from_slice(&self.segment_bytes.to_le_bytes());
        bytes[64..72].copy_from_slice(&self.sealed_end.0.to_le_bytes());
        bytes[72..80].copy_from_slice(&self.sealed_digest.to_le_bytes());
        bytes[80..88].copy_from_slice(&self.first_needed.to_le_bytes());
        bytes[88..92].copy_from_slice(&self.session.to_le_bytes());
        let digest = crc_fast::crc64_nvme(&bytes[..SEGMENT_DIGEST_AT]);
        bytes[SEGMENT_DIGEST_AT..SEGMENT_DIGEST_END].copy_from_slice(&digest.to_le_bytes());
        (bytes, digest)
    }

    /// The header, and the digest the first record continues.
    pub(crate) fn decode(bytes: &[u8]) -> Result<(Self, u64), BadSegmentHeader> {
        if bytes.len() < SEGMENT_HEADER_LEN
            || bytes[0..8] != *MAGIC
            || u32_at(bytes, 12) != crc_fast::crc32_iscsi(&bytes[0..12])
        {
            return Err(BadSegmentHeader::Broken);
        }
        let version = u32_at(bytes, 8);
        if version > VERSION {
            return Err(BadSegmentHeader::Newer(version));
        }
        let digest = u64_at(bytes, SEGMENT_DIGEST_AT);
        if version != VERSION
            || digest != crc_fast::crc64_nvme(&bytes[..SEGMENT_DIGEST_AT])
            || bytes[92..96] != [0; 4]
            || !is_zero(&bytes[SEGMENT_DIGEST_END..SEGMENT_HEADER_LEN])
        {
            return Err(BadSegmentHeader::Broken);
        }
        let mut owner = Owner([0; 32]);
        owner.0.copy_from_slice(&bytes[16..48]);
        let header = Self {
            owner,
            number: u64_at(bytes, 48),
            segment_bytes: u64_at(bytes, 56),
            sealed_end: Position(u64_at(bytes, 64)),
            sealed_digest: u64_at(bytes, 72),
            first_needed: u64_at(bytes, 80),
            session: u32_at(bytes, 88),
        };
        // Positions in this segment and in the next must be numbers; nobody writes so many.
        let end = header.number.checked_add(2).and_then(|n| n.checked_mul(header.segment_bytes));
        end.map(|_| (header, digest)).ok_or(BadSegmentHeader::Broken)
    }
}

/// What a record is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Class {
    /// A record of the user.
    User,
    /// The log was opened here: a new session begins, and all before is durable.
    Opened,
    /// Segments below the number in the payload are needed no more.
    Trimmed,
    /// Says nothing but what its `synced` field proves.
    Proof,
}

impl Class {
    const fn to_byte(self) -> u8 {
        match self {
            Self::User => 0,
            Self::Opened => 1,
            Self::Trimmed => 2,
            Self::Proof => 3,
        }
    }

    const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            0 => Some(Self::User),
            1 => Some(Self::Opened),
            2 => Some(Self::Trimmed),
            3 => Some(Self::Proof),
            _ => None,
        }
    }
}

/// The header of a record, without its checksums.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct RecordHeader {
    pub(crate) session: u32,
    pub(crate) payload_len: u32,
    pub(crate) kind: u8,
    pub(crate) class: Class,
    pub(crate) position: Position,
    pub(crate) synced: Position,
    pub(crate) previous: u64,
}

impl RecordHeader {
    /// Appends the whole record and returns its digest. The payload is copied once.
    pub(crate) fn encode(&self, payload: &[&[u8]], salt: u64, buffer: &mut Vec<u8>) -> u64 {
        let at = buffer.len();
        let payload_len: usize = payload.iter().map(|part| part.len()).sum();
        let len = record_len(payload_len);
        buffer.reserve(len);
        buffer.extend_from_slice(&[0; RECORD_DIGEST_FROM]);
        buffer.extend_from_slice(&self.session.to_le_bytes());
        buffer.extend_from_slice(&self.payload_len.to_le_bytes());
        buffer.extend_from_slice(&[self.kind, self.class.to_byte(), 0, 0]);
        buffer.extend_from_slice(&self.position.0.to_le_bytes());
        buffer.extend_from_slice(&self.synced.0.to_le_bytes());
        buffer.extend_from_slice(&self.previous.to_le_bytes());
        for part in payload {
            buffer.extend_from_slice(part);
        }
        buffer.resize(at + len, 0);

        let record = &mut buffer[at..];
        let digest = crc_fast::crc64_nvme(&record[RECORD_DIGEST_FROM..]);
        record[0..8].copy_from_slice(&digest.to_le_bytes());
        let check = header_check(salt, record);
        record[8..12].copy_from_slice(&check.to_le_bytes());
        digest
    }

    /// The header at the front of the bytes, if it is one written at this position of the segment
    /// with this salt. Its payload is not looked at.
    pub(crate) fn decode(bytes: &[u8], position: Position, salt: u64) -> Option<Self> {
        if bytes.len() < RECORD_HEADER_LEN
            || u64_at(bytes, 24) != position.0
            || u32_at(bytes, 8) != header_check(salt, bytes)
            || bytes[22..24] != [0; 2]
        {
            return None;
        }
        Some(Self {
            session: u32_at(bytes, 12),
            payload_len: u32_at(bytes, 16),
            kind: bytes[20],
            class: Class::from_byte(bytes[21])?,
            position,
            synced: Position(u64_at(bytes, 32)),
            previous: u64_at(bytes, 40),
        })
    }

    /// The length of the payload.
    pub(crate) fn payload_bytes(&self) -> usize {
        usize::try_from(self.payload_len).unwrap_or(usize::MAX - RECORD_HEADER_LEN - ALIGNMENT)
    }

    /// The length of the whole record.
    pub(crate) fn record_bytes(&self) -> usize {
        record_len(self.payload_bytes())
    }
}

/// The digest of a whole record, if it matches.
pub(crate) fn record_digest(record: &[u8]) -> Option<u64> {
    let digest = u64_at(record, 0);
    (digest == crc_fast::crc64_nvme(&record[RECORD_DIGEST_FROM..])).then_some(digest)
}

/// Whether all bytes are zero.
pub(crate) fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|&byte| byte == 0)
}

fn header_check(salt: u64, record: &[u8]) -> u32 {
    let mut input = [0; 8 + 8 + RECORD_HEADER_LEN - RECORD_DIGEST_FROM];
    input[0..8].copy_from_slice(&salt.to_le_bytes());
    input[8..16].copy_from_slice(&record[0..8]);
    input[16..].copy_from_slice(&record[RECORD_DIGEST_FROM..RECORD_HEADER_LEN]);
    crc_fast::crc32_iscsi(&input)
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut number = [0; 4];
    number.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(number)
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut number = [0; 8];
    number.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The bytes of version 1, which later releases must read.
    #[test]
    fn the_bytes_are_those_of_version_1() {
        let header = SegmentHeader {
            owner: Owner([0x11; 32]),
            number: 2,
            segment_bytes: 4096,
            sealed_end: Position(8000),
            sealed_digest: 0x0102_0304_0506_0708,
            first_needed: 1,
            session: 3,
        };
        let (bytes, salt) = header.encode();
        assert_eq!(SegmentHeader::decode(&bytes), Ok((header, salt)));
        assert_eq!(hex(&bytes[..104]), SEGMENT_HEADER_HEX);
        assert!(is_zero(&bytes[104..]));

        let record = RecordHeader {
            session: 3,
            payload_len: 5,
            kind: 9,
            class: Class::User,
            position: Position(8704),
            synced: Position(8000),
            previous: salt,
        };
        let mut bytes = Vec::new();
        record.encode(&[b"va", b"lue"], salt, &mut bytes);
        assert_eq!(hex(&bytes), RECORD_HEX);
    }

    const SEGMENT_HEADER_HEX: &str = concat!(
        "53594e4f4457414c010000000c33329b11111111111111111111111111111111",
        "1111111111111111111111111111111102000000000000000010000000000000",
        "401f000000000000080706050403020101000000000000000300000000000000",
        "e93382eb6534020f",
    );
    const RECORD_HEX: &str = concat!(
        "e0d53e9b608d4302182e33530300000005000000090000000022000000000000",
        "401f000000000000e93382eb6534020f76616c7565000000",
    );
}
