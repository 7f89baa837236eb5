//! The log at work: one writer, appends in memory, one write and one sync for all that waits.

use std::collections::VecDeque;
use std::{io, mem};

use bytes::Bytes;

use crate::disk::{Disk, DiskFile};
use crate::error::{AppendError, OpenError, ReadError};
use crate::format::{
    Class, RECORD_HEADER_LEN, RecordHeader, SEGMENT_HEADER_BYTES, SegmentHeader, record_digest,
    record_len,
};
use crate::names::Name;
use crate::options::Options;
use crate::position::{Owner, Position};
use crate::recover::{Listing, Recovered, Segment, newest_header, recover};
use crate::spare::{Spare, SpareOrder};

/// A record as it was appended.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Record {
    /// Where it is.
    pub position: Position,
    /// The kind given by the user.
    pub kind: u8,
    /// The payload given by the user.
    pub payload: Bytes,
}

/// What opening found.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Recovery {
    /// The folder held no log, and one was created.
    pub created: bool,
    /// How many records were visited.
    pub records: u64,
    /// Where the last of them ended.
    pub end: Position,
    /// What was behind.
    pub tail: Tail,
}

/// What was behind the last record of an opened log. None of it had been synced, as far as anything
/// on the disk tells.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Tail {
    /// Nothing.
    Clean,
    /// Bytes that are no record: what a recycled file held before, or part of an unfinished write.
    Remains,
    /// Records that were written, but never synced. They were cut off.
    Torn,
}

/// The log's figures.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Status {
    /// Where the log starts.
    pub start: Position,
    /// Where the next record will be, unless it opens a segment.
    pub end: Position,
    /// Up to where everything is durable.
    pub synced: Position,
    /// Bytes waiting for a sync.
    pub pending_bytes: usize,
    /// Segments in use.
    pub segments: usize,
    /// Segments waiting for reuse.
    pub spares: usize,
    /// Bytes of all of them on disk.
    pub disk_bytes: u64,
    /// How often the log was opened, this time included.
    pub session: u32,
}

/// A log of records on a disk. One process writes it, through one of these.
///
/// Invariants:
///
/// * A record never spans segments, and each names the digest of the one before.
/// * A segment's file gets its name only when all records of the segments before are durable.
/// * Everything below `synced` is durable; `pending` holds everything from there to `end`.
/// * After a failed write or sync nothing more is written.
#[derive(Debug)]
pub struct Wal<D: Disk> {
    disk: D,
    owner: Owner,
    options: Options,
    session: u32,
    /// The segments in use that have a file, oldest first.
    segments: VecDeque<Segment<D::File>>,
    /// The numbers of the files waiting for reuse.
    spares: Vec<u64>,
    next_spare: u64,
    /// The digest of the last record appended.
    digest: u64,
    end: Position,
    synced: Position,
    /// The records that wait, back to back, without the segments' headers.
    pending: Vec<u8>,
    /// The segments begun among them.
    rolls: Vec<Roll>,
    first_needed: u64,
    /// Where the log ended when a record that proves all before was last synced.
    sealed: Position,
    failed: bool,
}

/// A segment begun among the pending records; its file is made when they are written.
#[derive(Clone, Copy, Debug)]
struct Roll {
    /// How many pending bytes come before.
    at: usize,
    header: SegmentHeader,
    salt: u64,
}

impl<D: Disk> Wal<D> {
    /// Opens the log, or creates it if there is none, and calls `visit` for each record in order.
    ///
    /// What was never synced may be found or not, but always a prefix of it. When this returns, all
    /// that was found is durable. If something synced is missing, the error says what and where,
    /// and nothing on the disk was changed.
    pub fn open(
        mut disk: D,
        owner: Owner,
        options: Options,
        mut visit: impl FnMut(Record),
    ) -> Result<(Self, Recovery), OpenError> {
        options.check()?;
        let listing = Listing::read(&disk)?;
        if listing.segments.is_empty() {
            let mut wal = Self::new(disk, owner, options, None)?;
            let recovery = Recovery { created: true, records: 0, end: wal.end, tail: Tail::Clean };
            wal.tidy(&listing)?;
            wal.begin_segment(0);
            wal.begin_session()?;
            return Ok((wal, recovery));
        }

        let recovered = recover(&mut disk, &listing, owner, &options, &mut visit)?;
        let Recovered { records, end, tail, .. } = recovered;
        let recovery = Recovery { created: false, records, end, tail };
        let mut wal = Self::new(disk, owner, options, Some(recovered))?;
        wal.tidy(&listing)?;
        wal.begin_session()?;
        Ok((wal, recovery))
    }

    /// Whose log the folder holds, or `None` if it holds none.
    pub fn peek_owner(disk: &mut D) -> Result<Option<Owner>, OpenError> {
        let listing = Listing::read(disk)?;
        Ok(newest_header(disk, &listing)?.map(|header| header.owner))
    }

    /// The size of the segments of the log that the folder holds, or `None` if it holds none: the
    /// log is to be opened with it.
    pub fn peek_segment_bytes(disk: &mut D) -> Result<Option<u64>, OpenError> {
        let listing = Listing::read(disk)?;
        Ok(newest_header(disk, &listing)?.map(|header| header.segment_bytes))
    }

    /// Appends a record in memory: no IO, and nothing is durable before [`Wal::sync`]. The parts
    /// of the payload are joined.
    pub fn append(&mut self, kind: u8, payload: &[&[u8]]) -> Result<Position, AppendError> {
        let (bytes, max) =
            (payload.iter().map(|part| part.len()).sum(), self.options.record_bytes_max);
        if self.failed {
            return Err(AppendError::Failed);
        }
        if bytes > max {
            return Err(AppendError::TooLarge { bytes, max });
        }
        if !self.pending.is_empty() && self.pending.len() + bytes > PENDING_BYTES_MAX {
            return Err(AppendError::Full { bytes: self.pending.len(), max: PENDING_BYTES_MAX });
        }
        Ok(self.push(Class::User, kind, payload))
    }

    /// Makes all that was appended durable, with one write and one sync.
    ///
    /// After an error the state of the disk is unknown, every further call fails, and the process
    /// must end: a second sync may well succeed though the data of the first are lost.
    pub fn sync(&mut self) -> io::Result<()> {
        self.guarded(Self::write_pending)
    }

    /// Reads the record at a position that [`Wal::append`] or opening gave, synced or not.
    pub fn read(&self, position: Position) -> Result<Record, ReadError> {
        if position < self.start() || position >= self.end {
            return Err(ReadError::OutOfRange { position, start: self.start(), end: self.end });
        }
        let header_and_payload = match self.pending_at(position) {
            Some((bytes, salt)) => RecordHeader::decode(bytes, position, salt).and_then(|header| {
                let to = RECORD_HEADER_LEN + header.payload_bytes();
                let payload = bytes.get(RECORD_HEADER_LEN..to)?;
                Some((header, Bytes::copy_from_slice(payload)))
            }),
            None => self.read_file(position)?,
        };
        match header_and_payload {
            Some((header, payload)) if header.class == Class::User => {
                Ok(Record { position, kind: header.kind, payload })
            }
            _ => Err(ReadError::Damaged { position }),
        }
    }

    /// Gives up the segments that are wholly below the position; their files are kept for reuse,
    /// up to the number in the options. Syncs what was appended before, if there is such a segment.
    pub fn trim(&mut self, below: Position) -> io::Result<()> {
        let needed = self.segment_of(below).min(self.tail_number());
        if needed <= self.first_needed {
            return Ok(());
        }
        self.guarded(|wal| {
            // The record must be durable before a file goes: it alone tells the files that are
            // missing on purpose from those that were lost.
            wal.first_needed = needed;
            wal.push(Class::Trimmed, 0, &[&needed.to_le_bytes()]);
            wal.write_pending()?;
            while wal.segments.front().is_some_and(|segment| segment.number < needed) {
                if let Some(segment) = wal.segments.pop_front() {
                    wal.give_up(segment.number)?;
                }
            }
            wal.disk.sync_directory()
        })
    }

    /// Makes a spare segment if there is none, so that beginning the next segment is cheap. Slow:
    /// it writes a whole segment. To be called when nothing waits; see also [`Wal::order_spare`].
    pub fn prepare(&mut self) -> io::Result<()> {
        self.guarded(|wal| if wal.spares.is_empty() { wal.make_spare() } else { Ok(()) })
    }

    /// An order for a spare segment if there is none, so that another thread can make it while
    /// the log goes on. It is for the caller not to ask again before the answer.
    pub fn order_spare(&mut self) -> Option<SpareOrder> {
        (self.spares.is_empty() && !self.failed).then(|| self.new_order())
    }

    /// The disk, to make spares on from another thread.
    pub const fn disk(&self) -> &D {
        &self.disk
    }

    /// Takes over a spare segment that was ordered here.
    pub fn adopt_spare(&mut self, spare: Spare) {
        self.spares.push(spare.number);
    }

    /// Syncs what was appended, and writes and syncs the proof that it was, unless the log ends
    /// with one. To be called when idle, and before a planned end: damage to what was synced last
    /// can be told from a torn write only by something written after it.
    pub fn seal(&mut self) -> io::Result<()> {
        self.guarded(|wal| {
            wal.write_pending()?;
            if wal.sealed == wal.end {
                return Ok(());
            }
            wal.push(Class::Proof, 0, &[]);
            wal.write_pending()?;
            wal.sealed = wal.end;
            Ok(())
        })
    }

    /// Where the log starts: no kept record is below.
    pub fn start(&self) -> Position {
        Position(self.first_needed * self.options.segment_bytes + SEGMENT_HEADER_BYTES)
    }

    /// Above every record. The next record will be here, unless it opens a segment.
    pub const fn end(&self) -> Position {
        self.end
    }

    /// The log's figures.
    pub fn status(&self) -> Status {
        let files = self.segments.len() + self.spares.len();
        Status {
            start: self.start(),
            end: self.end,
            synced: self.synced,
            pending_bytes: self.pending.len(),
            segments: self.segments.len(),
            spares: self.spares.len(),
            disk_bytes: u64::try_from(files).unwrap_or(u64::MAX) * self.options.segment_bytes,
            session: self.session,
        }
    }

    fn new(
        disk: D,
        owner: Owner,
        options: Options,
        recovered: Option<Recovered<D::File>>,
    ) -> Result<Self, OpenError> {
        let (last_session, segments, end, digest) = match recovered {
            Some(found) => (found.session, found.segments, found.end, found.digest),
            None => (0, Vec::new(), Position(SEGMENT_HEADER_BYTES), 0),
        };
        let session = last_session.checked_add(1).ok_or(OpenError::SessionsExhausted)?;
        let segments = VecDeque::from(segments);
        let first_needed = segments.front().map_or(0, |segment| segment.number);
        Ok(Self {
            disk,
            owner,
            options,
            session,
            segments,
            spares: Vec::new(),
            next_spare: 0,
            digest,
            end,
            synced: end,
            pending: Vec::new(),
            rolls: Vec::new(),
            first_needed,
            sealed: Position::ZERO,
            failed: false,
        })
    }

    /// Removes what an interrupted creation or trim left, and takes the spares over.
    fn tidy(&mut self, listing: &Listing) -> io::Result<()> {
        let newest = listing.spares.iter().chain(&listing.halves).max();
        self.next_spare = newest.map_or(0, |newest| newest.saturating_add(1));
        for &number in &listing.halves {
            self.disk.remove(&Name::Half(number).file())?;
        }
        for &number in &listing.spares {
            let file = Name::Spare(number).file();
            let whole = self.disk.open(&file)?.len()? == self.options.segment_bytes;
            if whole && self.spares.len() < self.options.spares_max {
                self.spares.push(number);
            } else {
                self.disk.remove(&file)?;
            }
        }
        let first_needed = self.first_needed;
        for &number in listing.segments.iter().filter(|&&number| number < first_needed) {
            self.give_up(number)?;
        }
        self.disk.sync_directory()
    }

    /// Writes that the log was opened. From then on, nothing that was cut off can fit again, and
    /// all that was found is proven to be durable.
    fn begin_session(&mut self) -> io::Result<()> {
        // What was read may have been in the system's memory only, if a process died that had
        // written but not synced.
        if let Some(tail) = self.segments.back_mut() {
            tail.file.sync()?;
        }
        self.push(Class::Opened, 0, &[]);
        self.write_pending()?;
        self.sealed = self.end;
        Ok(())
    }

    fn push(&mut self, class: Class, kind: u8, payload: &[&[u8]]) -> Position {
        let payload_len = payload.iter().map(|part| part.len()).sum();
        let len = bytes_u64(record_len(payload_len));
        let number = self.tail_number();
        if self.end.0 + len > (number + 1) * self.options.segment_bytes {
            self.begin_segment(number + 1);
        }
        let position = self.end;
        let header = RecordHeader {
            session: self.session,
            payload_len: u32::try_from(payload_len).expect("a record fits a segment of 1 GiB"),
            kind,
            class,
            position,
            synced: self.synced,
            previous: self.digest,
        };
        let salt = self.tail_salt();
        self.digest = header.encode(payload, salt, &mut self.pending);
        self.end.0 += len;
        position
    }

    fn begin_segment(&mut self, number: u64) {
        let header = SegmentHeader {
            owner: self.owner,
            number,
            segment_bytes: self.options.segment_bytes,
            sealed_end: self.end,
            sealed_digest: self.digest,
            first_needed: self.first_needed,
            session: self.session,
        };
        let (_, salt) = header.encode();
        self.rolls.push(Roll { at: self.pending.len(), header, salt });
        self.end = Position(number * self.options.segment_bytes + SEGMENT_HEADER_BYTES);
        self.digest = salt;
    }

    fn write_pending(&mut self) -> io::Result<()> {
        let pending = mem::take(&mut self.pending);
        let rolls = mem::take(&mut self.rolls);
        let mut offset = self.synced.0 % self.options.segment_bytes;
        let mut from = 0;
        for roll in &rolls {
            self.write_tail(offset, &pending[from..roll.at])?;
            self.make_segment(roll)?;
            (from, offset) = (roll.at, SEGMENT_HEADER_BYTES);
        }
        self.write_tail(offset, &pending[from..])?;
        self.synced = self.end;

        // Keep the buffers, unless a burst made them large.
        (self.pending, self.rolls) = (pending, rolls);
        self.pending.clear();
        self.pending.shrink_to(PENDING_BYTES_KEPT);
        self.rolls.clear();
        Ok(())
    }

    fn write_tail(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        match self.segments.back_mut() {
            Some(tail) if !bytes.is_empty() => {
                tail.file.write_at(offset, bytes)?;
                tail.file.sync()
            }
            _ => Ok(()),
        }
    }

    /// Makes a spare into the next segment. Everything before is durable already.
    fn make_segment(&mut self, roll: &Roll) -> io::Result<()> {
        if self.spares.is_empty() {
            self.make_spare()?;
        }
        let spare = self.spares.pop().expect("one was made if there was none");
        let (from, to) = (Name::Spare(spare).file(), Name::Segment(roll.header.number).file());
        let mut file = self.disk.open(&from)?;
        let (header, salt) = roll.header.encode();
        file.write_at(0, &header)?;
        file.sync()?;
        self.disk.rename(&from, &to)?;
        self.disk.sync_directory()?;
        self.segments.push_back(Segment { number: roll.header.number, salt, file });
        Ok(())
    }

    fn make_spare(&mut self) -> io::Result<()> {
        let spare = self.new_order().make_at_any_price(&mut self.disk)?;
        self.spares.push(spare.number);
        Ok(())
    }

    fn new_order(&mut self) -> SpareOrder {
        let number = self.next_spare;
        self.next_spare = number.saturating_add(1);
        SpareOrder { number, segment_bytes: self.options.segment_bytes }
    }

    fn give_up(&mut self, number: u64) -> io::Result<()> {
        let file = Name::Segment(number).file();
        if self.spares.len() >= self.options.spares_max {
            return self.disk.remove(&file);
        }
        let spare = self.next_spare;
        self.next_spare = spare.saturating_add(1);
        self.disk.rename(&file, &Name::Spare(spare).file())?;
        self.spares.push(spare);
        Ok(())
    }

    /// Runs what writes; after its first error, never again.
    fn guarded(&mut self, write: impl FnOnce(&mut Self) -> io::Result<()>) -> io::Result<()> {
        if self.failed {
            return Err(io::Error::other("the log failed earlier; the process must end"));
        }
        // Set before, so that a panic below leaves no half-written log behind that looks well.
        self.failed = true;
        write(self)?;
        self.failed = false;
        Ok(())
    }

    /// The pending bytes from the position on, and the salt of their segment.
    fn pending_at(&self, position: Position) -> Option<(&[u8], u64)> {
        if position < self.synced {
            return None;
        }
        let number = self.segment_of(position);
        let roll = self.rolls.iter().find(|roll| roll.header.number == number);
        let (base, at, salt) = match roll {
            Some(roll) => {
                let start = number * self.options.segment_bytes + SEGMENT_HEADER_BYTES;
                (start, roll.at, roll.salt)
            }
            None => (self.synced.0, 0, self.segments.back()?.salt),
        };
        let offset = usize::try_from(position.0.checked_sub(base)?).ok()?;
        Some((self.pending.get(at.checked_add(offset)?..)?, salt))
    }

    fn read_file(&self, position: Position) -> io::Result<Option<(RecordHeader, Bytes)>> {
        let number = self.segment_of(position);
        let offset = position.0 % self.options.segment_bytes;
        let Some(segment) = self.segments.iter().find(|segment| segment.number == number) else {
            return Ok(None);
        };
        let left = self.options.segment_bytes - offset;
        let mut header = [0; RECORD_HEADER_LEN];
        if left < bytes_u64(header.len()) {
            return Ok(None);
        }
        segment.file.read_at(offset, &mut header)?;
        let Some(decoded) = RecordHeader::decode(&header, position, segment.salt) else {
            return Ok(None);
        };
        if bytes_u64(decoded.record_bytes()) > left {
            return Ok(None);
        }
        let mut record = vec![0; decoded.record_bytes()];
        segment.file.read_at(offset, &mut record)?;
        if record_digest(&record).is_none() || record[..RECORD_HEADER_LEN] != header {
            return Ok(None);
        }
        let payload = RECORD_HEADER_LEN..RECORD_HEADER_LEN + decoded.payload_bytes();
        Ok(Some((decoded, Bytes::from(record).slice(payload))))
    }

    const fn segment_of(&self, position: Position) -> u64 {
        position.0 / self.options.segment_bytes
    }

    /// The number of the segment that the next record goes to, if it fits.
    fn tail_number(&self) -> u64 {
        let file = self.segments.back().map(|segment| segment.number);
        self.rolls.last().map(|roll| roll.header.number).or(file).unwrap_or(0)
    }

    fn tail_salt(&self) -> u64 {
        let file = self.segments.back().map(|segment| segment.salt);
        self.rolls.last().map(|roll| roll.salt).or(file).unwrap_or(0)
    }
}

fn bytes_u64(len: usize) -> u64 {
    u64::try_from(len).expect("lengths in memory are below 2^64")
}

/// How much may wait for a sync.
const PENDING_BYTES_MAX: usize = 256 << 20;
/// How large the buffer stays when nothing waits.
const PENDING_BYTES_KEPT: usize = 32 << 20;
