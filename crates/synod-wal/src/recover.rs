//! Opening a log: reads everything, decides by the tables, changes nothing.
//!
//! The tail segment is read first, because it says which segments are still needed; then all that
//! are needed, oldest first. Only one segment is in memory at a time.

use bytes::Bytes;

use crate::decide::{
    BeyondStop, FileFacts, FileVerdict, Head, Seal, StopFacts, StopVerdict, decide_file,
    decide_stop,
};
use crate::disk::{Disk, DiskFile};
use crate::error::{Damage, OpenError};
use crate::format::{
    BadSegmentHeader, Class, SEGMENT_HEADER_BYTES, SEGMENT_HEADER_LEN, SegmentHeader, VERSION,
};
use crate::names::Name;
use crate::options::Options;
use crate::position::{Owner, Position};
use crate::scan::{Beyond, Walk};
use crate::wal::{Record, Tail};

/// The files of a folder that are the log's, each list in ascending order.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    pub(crate) segments: Vec<u64>,
    pub(crate) spares: Vec<u64>,
    pub(crate) halves: Vec<u64>,
}

impl Listing {
    /// Lists a folder.
    pub(crate) fn read<D: Disk>(disk: &D) -> std::io::Result<Self> {
        let mut listing = Self::default();
        for file in disk.list()? {
            match Name::parse(&file) {
                Some(Name::Segment(number)) => listing.segments.push(number),
                Some(Name::Spare(number)) => listing.spares.push(number),
                Some(Name::Half(number)) => listing.halves.push(number),
                None => {}
            }
        }
        listing.segments.sort_unstable();
        listing.spares.sort_unstable();
        listing.halves.sort_unstable();
        Ok(listing)
    }
}

/// A segment in use.
#[derive(Debug)]
pub(crate) struct Segment<F> {
    pub(crate) number: u64,
    pub(crate) salt: u64,
    pub(crate) file: F,
}

/// What was found on the disk.
pub(crate) struct Recovered<F> {
    /// The segments still needed, in order.
    pub(crate) segments: Vec<Segment<F>>,
    /// Where the log ends, and the digest and session there.
    pub(crate) end: Position,
    pub(crate) digest: u64,
    pub(crate) session: u32,
    pub(crate) records: u64,
    pub(crate) tail: Tail,
}

struct Opened<F> {
    segment: Segment<F>,
    header: SegmentHeader,
}

/// Reads the log of the listing, which has a segment at least.
pub(crate) fn recover<D: Disk>(
    disk: &mut D,
    listing: &Listing,
    owner: Owner,
    options: &Options,
    visit: &mut impl FnMut(Record),
) -> Result<Recovered<D::File>, OpenError> {
    let last = *listing.segments.last().expect("the caller checked that there is a segment");
    let tail = open_segment(disk, listing, last, owner, options)?;
    let first = first_needed(&tail, options)?.min(last);

    let mut image = Vec::new();
    let mut records = 0;
    let mut segments = Vec::new();
    let mut current =
        if first == last { tail } else { open_segment(disk, listing, first, owner, options)? };
    loop {
        let number = current.segment.number;
        let next = match number.checked_add(1) {
            Some(next) if number < last => Some(open_segment(disk, listing, next, owner, options)?),
            _ => None,
        };
        read_segment(&current.segment.file, options, &mut image)?;
        let mut walk = Walk::new(&image, &current.header, current.segment.salt);
        for found in &mut walk {
            if found.header.class == Class::User {
                records += 1;
                let payload = Bytes::copy_from_slice(found.payload);
                visit(Record { position: found.header.position, kind: found.header.kind, payload });
            }
        }
        let tail = judge_stop(&walk, number, next.as_ref().map(|next| &next.header))?;
        let (end, digest, session) = (walk.position(), walk.digest(), walk.session());
        segments.push(current.segment);
        match next {
            Some(next) => current = next,
            None => return Ok(Recovered { segments, end, digest, session, records, tail }),
        }
    }
}

/// The newest valid header of a segment.
pub(crate) fn newest_header<D: Disk>(
    disk: &mut D,
    listing: &Listing,
) -> Result<Option<SegmentHeader>, OpenError> {
    let mut problem = None;
    for &number in listing.segments.iter().rev() {
        let file = disk.open(&Name::Segment(number).file())?;
        match read_header(&file)? {
            Ok((header, _)) => return Ok(Some(header)),
            Err(BadSegmentHeader::Newer(found)) => {
                return Err(OpenError::Version { segment: number, found, supported: VERSION });
            }
            Err(BadSegmentHeader::Broken) => {
                problem = Some(damaged(number, 0, Damage::SegmentHeader));
            }
        }
    }
    problem.map_or(Ok(None), Err)
}

fn open_segment<D: Disk>(
    disk: &mut D,
    listing: &Listing,
    number: u64,
    owner: Owner,
    options: &Options,
) -> Result<Opened<D::File>, OpenError> {
    let present = listing.segments.binary_search(&number).is_ok();
    let (header, length, file) = if present {
        let file = disk.open(&Name::Segment(number).file())?;
        (read_header(&file)?, file.len()?, Some(file))
    } else {
        (Err(BadSegmentHeader::Broken), 0, None)
    };
    let valid = header.as_ref().ok().map(|(header, _)| *header);
    let facts = FileFacts {
        present,
        head: match header {
            Ok(_) => Head::Valid,
            Err(BadSegmentHeader::Broken) => Head::Broken,
            Err(BadSegmentHeader::Newer(_)) => Head::Newer,
        },
        ours: valid.is_some_and(|header| header.owner == owner),
        size_option_same: valid.is_some_and(|h| h.segment_bytes == options.segment_bytes),
        number_same: valid.is_some_and(|header| header.number == number),
        length_right: length == options.segment_bytes,
    };
    let verdict = decide_file(&facts);
    match (verdict, header) {
        (FileVerdict::Use, Ok((header, salt))) => {
            let file = file.expect("a file that was read");
            Ok(Opened { segment: Segment { number, salt, file }, header })
        }
        (FileVerdict::ForeignOwner, Ok((header, _))) => {
            Err(OpenError::ForeignOwner { found: header.owner, expected: owner })
        }
        (FileVerdict::OtherSize, Ok((header, _))) => Err(OpenError::SegmentBytes {
            found: header.segment_bytes,
            expected: options.segment_bytes,
        }),
        (FileVerdict::OtherNumber, Ok((header, _))) => {
            Err(damaged(number, 48, Damage::SegmentNumber { found: header.number }))
        }
        (FileVerdict::WrongLength, _) => Err(damaged(
            number,
            length.min(options.segment_bytes),
            Damage::SegmentLength { found: length, expected: options.segment_bytes },
        )),
        (FileVerdict::NewerVersion, Err(BadSegmentHeader::Newer(found))) => {
            Err(OpenError::Version { segment: number, found, supported: VERSION })
        }
        (FileVerdict::Missing, _) => Err(damaged(number, 0, Damage::SegmentMissing)),
        _ => Err(damaged(number, 0, Damage::SegmentHeader)),
    }
}

/// The first segment still needed: the tail's header knows of all trims before it was made, its
/// records of those since.
fn first_needed<F: DiskFile>(tail: &Opened<F>, options: &Options) -> Result<u64, OpenError> {
    let mut image = Vec::new();
    read_segment(&tail.segment.file, options, &mut image)?;
    let walk = Walk::new(&image, &tail.header, tail.segment.salt);
    Ok(walk.filter_map(|found| found.first_needed()).fold(tail.header.first_needed, u64::max))
}

fn judge_stop(
    walk: &Walk<'_>,
    number: u64,
    next: Option<&SegmentHeader>,
) -> Result<Tail, OpenError> {
    let offset = u64::try_from(walk.offset()).unwrap_or(u64::MAX);
    let (facts, synced) = stop_facts(walk, next);
    match decide_stop(&facts) {
        StopVerdict::Whole | StopVerdict::CleanEnd => Ok(Tail::Clean),
        StopVerdict::RemainsBehind => Ok(Tail::Remains),
        StopVerdict::TornTail => Ok(Tail::Torn),
        StopVerdict::SealBroken => Err(damaged(number, offset, Damage::Seal)),
        StopVerdict::SyncedLost => Err(damaged(number, offset, Damage::ProvenSynced { synced })),
    }
}

/// What is seen where a walk stopped, and the highest `synced` that a header behind it tells.
pub(crate) fn stop_facts(walk: &Walk<'_>, next: Option<&SegmentHeader>) -> (StopFacts, Position) {
    let seal = match next {
        None => Seal::None,
        Some(next) if next.sealed_end == walk.position() && next.sealed_digest == walk.digest() => {
            Seal::Matches
        }
        Some(_) => Seal::Differs,
    };
    // Whatever is behind a sealed end does not matter; do not look for it through the whole file.
    let beyond = if seal == Seal::None { walk.beyond() } else { Beyond::Noise };
    let (beyond, synced) = match beyond {
        Beyond::Zeros => (BeyondStop::Zeros, Position::ZERO),
        Beyond::Noise => (BeyondStop::Noise, Position::ZERO),
        Beyond::Headers(synced) if synced > walk.position() => (BeyondStop::Proof, synced),
        Beyond::Headers(synced) => (BeyondStop::Unproven, synced),
    };
    (StopFacts { seal, at: walk.at(), beyond }, synced)
}

fn read_header<F: DiskFile>(
    file: &F,
) -> std::io::Result<Result<(SegmentHeader, u64), BadSegmentHeader>> {
    let mut bytes = [0; SEGMENT_HEADER_LEN];
    if file.len()? < SEGMENT_HEADER_BYTES {
        return Ok(Err(BadSegmentHeader::Broken));
    }
    file.read_at(0, &mut bytes)?;
    Ok(SegmentHeader::decode(&bytes))
}

/// Reads a segment whose length was checked; the options bound it.
fn read_segment<F: DiskFile>(
    file: &F,
    options: &Options,
    image: &mut Vec<u8>,
) -> Result<(), OpenError> {
    let length = usize::try_from(options.segment_bytes).unwrap_or(usize::MAX);
    image.resize(length, 0);
    Ok(file.read_at(0, image)?)
}

fn damaged(segment: u64, offset: u64, reason: Damage) -> OpenError {
    OpenError::Damaged { segment, offset, reason }
}
