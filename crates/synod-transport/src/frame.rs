//! Frames after the greeting.
//!
//! ```text
//!   4  length of what follows: checksum and payload      little-endian
//!   4  crc32c of the payload
//!   n  payload
//! ```
//!
//! TCP's own checksum is weak and network cards get it wrong now and then; a frame that does not
//! match closes the connection. A length beyond the limit closes it before anything is allocated.

use std::collections::VecDeque;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio_util::codec::{Decoder, LengthDelimitedCodec};

/// The longest payload.
pub const FRAME_BYTES_MAX: usize = 32 << 20;

/// Bytes in front of each payload.
pub(crate) const HEADER_BYTES: usize = LENGTH_BYTES + CHECKSUM_BYTES;

const LENGTH_BYTES: usize = 4;
const CHECKSUM_BYTES: usize = 4;
/// A smaller payload is copied behind its header; a larger one is handed to the kernel where it is.
const COPIED_BYTES_MAX: usize = 4096;

/// What came is not a frame.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The length is out of bounds.
    #[error("a frame is longer than {FRAME_BYTES_MAX} bytes")]
    TooLong,
    /// It has no room for its checksum.
    #[error("a frame is shorter than its checksum")]
    TooShort,
    /// It was changed on its way.
    #[error("a frame's checksum does not match its {bytes} bytes")]
    Checksum {
        /// The payload's length.
        bytes: usize,
    },
}

/// Takes frames out of a stream of bytes.
#[derive(Debug)]
pub struct FrameDecoder {
    lengths: LengthDelimitedCodec,
}

impl Default for FrameDecoder {
    fn default() -> Self {
        let lengths = LengthDelimitedCodec::builder()
            .little_endian()
            .length_field_length(LENGTH_BYTES)
            .max_frame_length(FRAME_BYTES_MAX + CHECKSUM_BYTES)
            .new_codec();
        Self { lengths }
    }
}

impl FrameDecoder {
    /// The next payload, sharing the buffer's memory; `None` until more bytes have come.
    ///
    /// # Errors
    /// If the bytes are no frame. The stream cannot be followed after that.
    pub fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Bytes>, FrameError> {
        let frame = self.lengths.decode(buffer).map_err(|_| FrameError::TooLong)?;
        let Some(frame) = frame else { return Ok(None) };
        let mut payload = frame.freeze();
        let checksum = payload.try_get_u32_le().map_err(|_| FrameError::TooShort)?;
        if crc_fast::crc32_iscsi(&payload) != checksum {
            return Err(FrameError::Checksum { bytes: payload.len() });
        }
        Ok(Some(payload))
    }
}

/// Lays out frames for one vectored write: small ones side by side, large ones where they are.
pub(crate) fn encode(frames: impl IntoIterator<Item = Bytes>) -> VecDeque<Bytes> {
    let mut chunks = VecDeque::new();
    let mut small = BytesMut::new();
    for frame in frames {
        let length = u32::try_from(frame.len() + CHECKSUM_BYTES)
            .expect("the outbox takes no frame above FRAME_BYTES_MAX");
        small.put_u32_le(length);
        small.put_u32_le(crc_fast::crc32_iscsi(&frame));
        if frame.len() <= COPIED_BYTES_MAX {
            small.put_slice(&frame);
        } else {
            chunks.push_back(small.split().freeze());
            chunks.push_back(frame);
        }
    }
    if !small.is_empty() {
        chunks.push_back(small.freeze());
    }
    chunks
}

/// Drops what was written from the front of the chunks.
pub(crate) fn advance(chunks: &mut VecDeque<Bytes>, mut written: usize) {
    while let Some(chunk) = chunks.front_mut() {
        let step = written.min(chunk.len());
        chunk.advance(step);
        written -= step;
        if !chunk.is_empty() {
            return;
        }
        chunks.pop_front();
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn wire(frames: &[Bytes]) -> Vec<u8> {
        encode(frames.iter().cloned()).iter().flat_map(|chunk| chunk.to_vec()).collect()
    }

    #[test]
    fn bytes_are_pinned() {
        let bytes = wire(&[Bytes::from_static(b"123456789"), Bytes::new()]);
        let mut expected = vec![13, 0, 0, 0, 0x83, 0x92, 0x06, 0xe3];
        expected.extend(b"123456789");
        expected.extend([4, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(bytes, expected);
    }

    #[test]
    fn a_length_beyond_the_limit_allocates_nothing() {
        let mut buffer = BytesMut::new();
        buffer.put_u32_le(u32::MAX);
        buffer.put_u32_le(0);
        let capacity = buffer.capacity();
        let result = FrameDecoder::default().decode(&mut buffer);
        assert!(matches!(result, Err(FrameError::TooLong)), "{result:?}");
        assert_eq!(buffer.capacity(), capacity);
    }

    #[test]
    fn a_length_without_room_for_the_checksum_is_refused() {
        let mut buffer = BytesMut::from(&[2_u8, 0, 0, 0, 1, 1][..]);
        let result = FrameDecoder::default().decode(&mut buffer);
        assert!(matches!(result, Err(FrameError::TooShort)), "{result:?}");
    }

    proptest! {
        #[test]
        fn frames_come_out_as_they_went_in(
            sizes in vec(prop_oneof![0_usize..100, 4000_usize..9000], 0..12),
            piece in 1_usize..5000,
        ) {
            let frames: Vec<Bytes> = sizes
                .iter()
                .enumerate()
                .map(|(i, size)| Bytes::from(vec![u8::try_from(i).unwrap(); *size]))
                .collect();
            let (mut decoder, mut buffer, mut out) =
                (FrameDecoder::default(), BytesMut::new(), Vec::new());
            for bytes in wire(&frames).chunks(piece) {
                buffer.extend_from_slice(bytes);
                while let Some(frame) = decoder.decode(&mut buffer).unwrap() {
                    out.push(frame);
                }
            }
            prop_assert_eq!(out, frames);
            prop_assert!(buffer.is_empty());
        }

        #[test]
        fn a_flipped_bit_in_the_payload_is_noticed(at in 4_usize..24, bit in 0_u8..8) {
            let mut bytes = BytesMut::from(&wire(&[Bytes::from_static(&[7; 16])])[..]);
            bytes[at] ^= 1 << bit;
            let result = FrameDecoder::default().decode(&mut bytes);
            let noticed = matches!(result, Err(FrameError::Checksum { bytes: 16 }));
            prop_assert!(noticed, "{:?}", result);
        }
    }
}
