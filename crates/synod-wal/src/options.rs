//! How big a log's parts are.

use crate::format::{RECORD_HEADER_BYTES, SEGMENT_HEADER_BYTES};

/// How big a log's parts are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Options {
    /// The size of a segment file: a multiple of 4096, between 4 KiB and 1 GiB. A log keeps the
    /// size it was created with; another one is refused.
    pub segment_bytes: u64,
    /// The largest payload. Header and payload must fit a segment.
    pub record_bytes_max: usize,
    /// How many trimmed segments are kept for reuse instead of being removed.
    pub spares_max: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { segment_bytes: 64 << 20, record_bytes_max: 16 << 20, spares_max: 2 }
    }
}

/// Why a set of options makes no log.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum OptionsError {
    /// The segment size is out of range.
    #[error(
        "segment size of {found} bytes is not a multiple of {unit} between {min} and {max}",
        unit = SEGMENT_BYTES_UNIT,
        min = SEGMENT_BYTES_UNIT,
        max = SEGMENT_BYTES_MAX
    )]
    SegmentBytes {
        /// The size asked for.
        found: u64,
    },
    /// A record of the largest size would not fit a segment.
    #[error("records of {found} bytes do not fit a segment, which holds {max}")]
    RecordBytesMax {
        /// The largest payload asked for.
        found: usize,
        /// The largest that fits.
        max: u64,
    },
}

impl Options {
    /// Whether a log can be built of these.
    pub fn check(&self) -> Result<(), OptionsError> {
        let found = self.segment_bytes;
        let in_range = (SEGMENT_BYTES_UNIT..=SEGMENT_BYTES_MAX).contains(&found);
        if !in_range || !found.is_multiple_of(SEGMENT_BYTES_UNIT) {
            return Err(OptionsError::SegmentBytes { found });
        }
        let max = found - SEGMENT_HEADER_BYTES - RECORD_HEADER_BYTES;
        match u64::try_from(self.record_bytes_max) {
            // What is left is a multiple of 8, so the padding fits when the payload does.
            Ok(bytes) if bytes <= max => Ok(()),
            _ => Err(OptionsError::RecordBytesMax { found: self.record_bytes_max, max }),
        }
    }
}

/// Segments are whole pages.
pub(crate) const SEGMENT_BYTES_UNIT: u64 = 4096;
/// Recovery holds one segment in memory.
pub(crate) const SEGMENT_BYTES_MAX: u64 = 1 << 30;
