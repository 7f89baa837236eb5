//! Walks the records of one segment, and looks at what lies behind the last.

use crate::format::{
    ALIGNMENT, Class, RECORD_HEADER_LEN, RecordHeader, SEGMENT_HEADER_LEN, SegmentHeader, is_zero,
    record_digest, u64_at,
};
use crate::position::Position;

/// The records of a segment, read from its image in memory; stops at the first place that does
/// not continue what was read so far.
///
/// No length is believed before the checksum over it, and none leads outside the image.
pub(crate) struct Walk<'a> {
    image: &'a [u8],
    base: Position,
    salt: u64,
    offset: usize,
    digest: u64,
    session: u32,
}

/// A record found.
pub(crate) struct Found<'a> {
    pub(crate) header: RecordHeader,
    pub(crate) payload: &'a [u8],
    /// Where it is in the image.
    pub(crate) offset: u64,
}

/// What is where the walk stopped.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum At {
    /// No room for a record.
    End,
    /// Zeros.
    Zeros,
    /// Nothing that was written as a header here in this life of the file.
    Noise,
    /// A header that was written here, but its payload is not, or it does not continue the record
    /// before.
    Broken,
}

/// What is behind the place where the walk stopped.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Beyond {
    /// Zeros, or nothing.
    Zeros,
    /// No header of this segment.
    Noise,
    /// Headers written in this life of the file; the highest `synced` among them.
    Headers(Position),
}

impl<'a> Walk<'a> {
    /// A walk over the image of a segment with this header and header digest.
    pub(crate) fn new(image: &'a [u8], header: &SegmentHeader, salt: u64) -> Self {
        let base = Position(header.number.saturating_mul(header.segment_bytes));
        let (offset, session) = (SEGMENT_HEADER_LEN, header.session);
        Self { image, base, salt, offset, digest: salt, session }
    }

    /// The position where the walk is.
    pub(crate) fn position(&self) -> Position {
        self.position_of(self.offset)
    }

    /// The offset in the segment where the walk is.
    pub(crate) const fn offset(&self) -> usize {
        self.offset
    }

    /// The digest of the last record.
    pub(crate) const fn digest(&self) -> u64 {
        self.digest
    }

    /// The session of the last record.
    pub(crate) const fn session(&self) -> u32 {
        self.session
    }

    /// What is here, now that there is no next record.
    pub(crate) fn at(&self) -> At {
        let rest = &self.image[self.offset..];
        if rest.len() < RECORD_HEADER_LEN {
            return At::End;
        }
        if RecordHeader::decode(rest, self.position(), self.salt).is_some() {
            return At::Broken;
        }
        if is_zero(&rest[..RECORD_HEADER_LEN]) { At::Zeros } else { At::Noise }
    }

    /// What is behind here. Looks at every place where a record could start.
    pub(crate) fn beyond(&self) -> Beyond {
        let from = (self.offset + ALIGNMENT).min(self.image.len());
        let highest = (from..self.image.len())
            .step_by(ALIGNMENT)
            .filter_map(|offset| self.header_at(offset))
            .map(|header| header.synced)
            .max();
        match highest {
            Some(synced) => Beyond::Headers(synced),
            None if is_zero(&self.image[from..]) => Beyond::Zeros,
            None => Beyond::Noise,
        }
    }

    /// The headers at and behind the place where the walk stopped, whether their payload matches or
    /// not: for people who look at a damaged log. No byte is covered twice.
    pub(crate) fn stranded(&self) -> Vec<(Found<'a>, bool)> {
        let mut stranded = Vec::new();
        let mut offset = self.offset;
        while offset < self.image.len() {
            let Some(header) = self.header_at(offset) else {
                offset += ALIGNMENT;
                continue;
            };
            let record = self.image[offset..].get(..header.record_bytes());
            let intact = record.filter(|record| record_digest(record).is_some());
            let payload = intact.map_or(&[][..], |record| {
                &record[RECORD_HEADER_LEN..RECORD_HEADER_LEN + header.payload_bytes()]
            });
            let at = u64::try_from(offset).unwrap_or(u64::MAX);
            stranded.push((Found { header, payload, offset: at }, intact.is_some()));
            offset += intact.map_or(ALIGNMENT, <[u8]>::len);
        }
        stranded
    }

    fn header_at(&self, offset: usize) -> Option<RecordHeader> {
        RecordHeader::decode(&self.image[offset..], self.position_of(offset), self.salt)
    }

    fn position_of(&self, offset: usize) -> Position {
        // An image is at most as long as a segment, so this only saturates for a header that lies
        // about its number, of which no record is then found.
        Position(
            u64::try_from(offset).map_or(u64::MAX, |offset| self.base.0.saturating_add(offset)),
        )
    }
}

impl<'a> Iterator for Walk<'a> {
    type Item = Found<'a>;

    fn next(&mut self) -> Option<Found<'a>> {
        let header = self.header_at(self.offset)?;
        let record = self.image.get(self.offset..)?.get(..header.record_bytes())?;
        let digest = record_digest(record)?;
        let session_fits = match header.class {
            Class::Opened => header.session >= self.session,
            _ => header.session == self.session,
        };
        if header.previous != self.digest || !session_fits {
            return None;
        }
        let offset = u64::try_from(self.offset).ok()?;
        self.offset += record.len();
        self.digest = digest;
        self.session = header.session;
        let payload = &record[RECORD_HEADER_LEN..RECORD_HEADER_LEN + header.payload_bytes()];
        Some(Found { header, payload, offset })
    }
}

impl Found<'_> {
    /// The first segment still needed, if this record says so.
    pub(crate) fn first_needed(&self) -> Option<u64> {
        (self.header.class == Class::Trimmed && self.payload.len() == 8)
            .then(|| u64_at(self.payload, 0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::position::Owner;

    const HEADER: SegmentHeader = SegmentHeader {
        owner: Owner([1; 32]),
        number: 5,
        segment_bytes: 4096,
        sealed_end: Position(20000),
        sealed_digest: 77,
        first_needed: 0,
        session: 3,
    };

    /// Builds a segment of records with these sessions, classes and changes to the digest before,
    /// and counts how many of them the walk takes.
    fn taken(records: &[(u32, Class, u64)]) -> usize {
        let (header, salt) = HEADER.encode();
        let mut image = header.to_vec();
        let mut digest = salt;
        for &(session, class, change) in records {
            let record = RecordHeader {
                session,
                payload_len: 0,
                kind: 0,
                class,
                position: Position(5 * 4096 + u64::try_from(image.len()).unwrap()),
                synced: Position::ZERO,
                previous: digest ^ change,
            };
            digest = record.encode(&[], salt, &mut image);
        }
        image.resize(4096, 0);
        Walk::new(&image, &HEADER, salt).count()
    }

    #[test]
    fn a_record_must_name_the_digest_before() {
        let user = Class::User;
        assert_eq!(taken(&[(3, user, 0), (3, user, 0), (3, user, 0)]), 3);
        assert_eq!(taken(&[(3, user, 0), (3, user, 1), (3, user, 0)]), 1);
        assert_eq!(taken(&[(3, user, 1 << 63)]), 0);
    }

    #[test]
    fn a_session_begins_with_an_opening_and_never_goes_back() {
        let (user, opened) = (Class::User, Class::Opened);
        assert_eq!(taken(&[(3, user, 0), (4, opened, 0), (4, user, 0)]), 3);
        assert_eq!(taken(&[(3, opened, 0), (3, user, 0)]), 2);
        assert_eq!(taken(&[(4, user, 0)]), 0);
        assert_eq!(taken(&[(2, user, 0)]), 0);
        assert_eq!(taken(&[(2, opened, 0)]), 0);
        assert_eq!(taken(&[(4, opened, 0), (3, user, 0)]), 1);
        assert_eq!(taken(&[(4, opened, 0), (3, opened, 0)]), 1);
    }
}
