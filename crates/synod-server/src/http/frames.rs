//! gRPC's frames: a byte of flags, four of length, the message.

use bytes::{Buf, BufMut, Bytes, BytesMut};

const HEAD_BYTES: usize = 5;

/// A message with its head.
pub(super) fn frame(message: &Bytes) -> Bytes {
    let len = u32::try_from(message.len()).expect("limits are far below");
    let mut frame = BytesMut::with_capacity(HEAD_BYTES + message.len());
    frame.put_u8(0);
    frame.put_u32(len);
    frame.extend_from_slice(message);
    frame.freeze()
}

/// Messages out of the pieces that come. They come from this process, so they need no limit.
#[derive(Debug, Default)]
pub(super) struct Frames(BytesMut);

impl Frames {
    /// Takes a piece.
    pub(super) fn push(&mut self, piece: &Bytes) {
        self.0.extend_from_slice(piece);
    }

    /// How long the next message is, as soon as its head is here.
    pub(super) fn next_len(&self) -> Option<usize> {
        let head: [u8; 4] = self.0.get(1..HEAD_BYTES)?.try_into().ok()?;
        usize::try_from(u32::from_be_bytes(head)).ok()
    }

    /// The next message, if it is here in full.
    pub(super) fn next(&mut self) -> Option<Bytes> {
        let len = self.next_len()?;
        if self.0.len() < HEAD_BYTES + len {
            return None;
        }
        self.0.advance(HEAD_BYTES);
        Some(self.0.split_to(len).freeze())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_out_whatever_the_pieces() {
        let messages = ["", "a", "bcd"].map(|text| Bytes::from_static(text.as_bytes()));
        let stream: Vec<u8> = messages.iter().flat_map(frame).collect();
        for size in [1, 3, 100] {
            let (mut frames, mut found) = (Frames::default(), Vec::new());
            for piece in stream.chunks(size) {
                frames.push(&Bytes::copy_from_slice(piece));
                found.extend(std::iter::from_fn(|| frames.next()));
            }
            assert_eq!(found, messages, "in pieces of {size}");
        }
    }
}
