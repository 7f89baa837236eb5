//! The log.
use std::io;

use bytes::Bytes;

use crate::disk::Disk;
use crate::error::{AppendError, OpenError, ReadError};
use crate::options::Options;
use crate::position::{Owner, Position};

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
    /// The log is new.
    pub created: bool,
    /// How many records were visited.
    pub records: u64,
    /// What was behind the last record.
    pub tail: Tail,
}

/// What was behind the last record of an opened log.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Tail {
    /// Zeros, or the end of the segment.
    Clean,
    /// What the segment held before it was recycled, or what an earlier opening cut off.
    Stale,
    /// A write that had not been synced when the process or the machine died. It was cut off.
    Torn,
}

/// The log's figures.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Status {
    /// Where the log starts.
    pub start: Position,
    /// Where the next record will be.
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

/// The log.
#[derive(Debug)]
pub struct Wal<D: Disk> {
    disk: D,
}

impl<D: Disk> Wal<D> {
    /// Opens the log, or creates it, and calls `visit` for each record in order.
    pub fn open(
        disk: D,
        owner: Owner,
        options: Options,
        visit: impl FnMut(Record),
    ) -> Result<(Self, Recovery), OpenError> {
        unimplemented!()
    }

    /// Whose log the folder holds, or `None` if it holds none.
    pub fn peek_owner(disk: &mut D) -> Result<Option<Owner>, OpenError> {
        unimplemented!()
    }

    /// Appends a record in memory: no IO, and nothing is durable before [`Wal::sync`]. The parts
    /// of the payload are joined.
    pub fn append(&mut self, kind: u8, payload: &[&[u8]]) -> Result<Position, AppendError> {
        unimplemented!()
    }

    /// Makes all that was appended durable, with one write and one sync.
    ///
    /// After an error the state of the disk is unknown, every further call fails, and the process
    /// must end.
    pub fn sync(&mut self) -> io::Result<()> {
        unimplemented!()
    }

    /// Reads the record at a position that [`Wal::append`] or opening gave, synced or not.
    pub fn read(&self, position: Position) -> Result<Record, ReadError> {
        unimplemented!()
    }

    /// Gives up segments that are wholly below the position. Syncs.
    pub fn trim(&mut self, below: Position) -> io::Result<()> {
        unimplemented!()
    }

    /// Makes a spare segment if there is none, so that the next roll need not. Slow: call it when
    /// nothing waits.
    pub fn prepare(&mut self) -> io::Result<()> {
        unimplemented!()
    }

    /// Writes the proof that all before had been synced, if the log's last group has none yet.
    /// Syncs. To be called when idle, and before a planned end.
    pub fn seal(&mut self) -> io::Result<()> {
        unimplemented!()
    }

    /// Where the log starts: no kept record is below.
    pub fn start(&self) -> Position {
        unimplemented!()
    }

    /// Above every record.
    pub fn end(&self) -> Position {
        unimplemented!()
    }

    /// The log's figures.
    pub fn status(&self) -> Status {
        unimplemented!()
    }
}
