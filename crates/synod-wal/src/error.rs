//! What can go wrong, one enum per operation.

use std::io;

use crate::options::OptionsError;
use crate::position::{Owner, Position};

/// Why a log was not opened. Nothing was changed on the disk.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The options make no log.
    #[error(transparent)]
    Options(#[from] OptionsError),
    /// The log belongs to somebody else.
    #[error("the log belongs to owner {found}, not to {expected}: check the data folder")]
    ForeignOwner {
        /// Who it belongs to.
        found: Owner,
        /// Who asked for it.
        expected: Owner,
    },
    /// The log was written by a newer release.
    #[error("segment {segment} has format version {found}, this release reads up to {supported}")]
    Version {
        /// The segment's number.
        segment: u64,
        /// The version found.
        found: u32,
        /// The highest version known here.
        supported: u32,
    },
    /// The log was created with another segment size.
    #[error("segments are of {found} bytes, the options say {expected}")]
    SegmentBytes {
        /// The size the log was created with.
        found: u64,
        /// The size asked for.
        expected: u64,
    },
    /// Something that had been synced is not there any more. The log must not be used: what it
    /// lost may have been acknowledged.
    #[error("segment {segment} is damaged at offset {offset}: {reason}")]
    Damaged {
        /// The segment's number.
        segment: u64,
        /// The offset in its file.
        offset: u64,
        /// What is wrong, and how it is known not to be a torn tail.
        reason: Damage,
    },
    /// The log was opened 2^32 times.
    #[error("the log was opened {max} times, which is the limit", max = u32::MAX)]
    SessionsExhausted,
    /// The disk failed.
    #[error("log: {0}")]
    Io(#[from] io::Error),
}

/// What is wrong with a damaged log.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Damage {
    /// A segment between others has no file.
    #[error("its file is missing while later ones exist")]
    SegmentMissing,
    /// A file has not the size of a segment.
    #[error("its file has {found} bytes instead of {expected}")]
    SegmentLength {
        /// The file's length.
        found: u64,
        /// The length of a segment.
        expected: u64,
    },
    /// A segment's header is not what was synced before the file got its name.
    #[error("its header does not match its checksum")]
    SegmentHeader,
    /// A file holds another segment than its name says.
    #[error("its header is that of segment {found}")]
    SegmentNumber {
        /// The number in the header.
        found: u64,
    },
    /// The segment does not continue the one before.
    #[error("its records end otherwise than the next segment's header says")]
    Seal,
    /// A later record says that this place had been synced.
    #[error("no valid record, but a later one proves that all below {synced} had been synced")]
    ProvenSynced {
        /// Up to where everything had been synced.
        synced: Position,
    },
}

/// Why a record was not appended. The log is as before.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum AppendError {
    /// The payload is too large.
    #[error("record of {bytes} bytes is above the limit of {max}")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit of the options.
        max: usize,
    },
    /// Too much waits for a sync.
    #[error("{bytes} bytes wait for a sync, the limit is {max}: sync first")]
    Full {
        /// What waits.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// An earlier write or sync failed; the process must end.
    #[error("the log failed earlier and takes nothing more")]
    Failed,
}

/// Why a record was not read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The position is not within the log.
    #[error("position {position} is outside the log, which spans {start} to {end}")]
    OutOfRange {
        /// The position asked for.
        position: Position,
        /// Where the log starts.
        start: Position,
        /// Where the log ends.
        end: Position,
    },
    /// There is no intact record at the position: it was never one's, or the disk lost it.
    #[error("no intact record at position {position}")]
    Damaged {
        /// The position asked for.
        position: Position,
    },
    /// The disk failed.
    #[error("log: {0}")]
    Io(#[from] io::Error),
}
