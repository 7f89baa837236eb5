//! The bytes on disk.
/// Bytes of a segment's header.
pub(crate) const SEGMENT_HEADER_BYTES: u64 = 512;
/// Bytes of a record's header.
pub(crate) const RECORD_HEADER_BYTES: u64 = 48;
/// Records begin at multiples of this.
pub(crate) const ALIGNMENT: u64 = 8;
/// The next multiple of the alignment.
pub(crate) const fn aligned(bytes: u64) -> u64 {
    bytes.next_multiple_of(ALIGNMENT)
}
