//! gRPC's messages, counted as they pass by in pieces.

/// Follows the frames of a body: a byte of flags, four of length, the message.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Messages {
    head: [u8; 4],
    head_len: usize,
    /// Bytes of the message that are still to come.
    rest: usize,
    /// How often it began.
    begun: u64,
    bytes: u64,
}

impl Messages {
    /// Takes the next piece; tells how many messages began in it, and how many of its bytes are
    /// theirs.
    pub(super) fn take(&mut self, mut piece: &[u8]) -> (u64, u64) {
        (self.begun, self.bytes) = (0, 0);
        while let [first, others @ ..] = piece {
            if self.rest > 0 {
                let taken = self.rest.min(piece.len());
                self.rest -= taken;
                self.bytes += u64::try_from(taken).unwrap_or(u64::MAX);
                piece = &piece[taken..];
                continue;
            }
            // The byte of flags comes before the head.
            if self.head_len > 0 {
                self.head[self.head_len - 1] = *first;
            }
            self.head_len += 1;
            if self.head_len > self.head.len() {
                self.head_len = 0;
                self.rest = usize::try_from(u32::from_be_bytes(self.head)).unwrap_or(usize::MAX);
                self.begun += 1;
            }
            piece = others;
        }
        (self.begun, self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_counted_whatever_the_pieces() {
        let stream = [&[0, 0, 0, 0, 3][..], b"abc", &[0, 0, 0, 0, 0], &[0, 0, 0, 1, 0], &[7; 256]];
        let stream = stream.concat();
        for size in [1, 2, 5, 7, 300] {
            let mut messages = Messages::default();
            let counts: Vec<_> = stream.chunks(size).map(|piece| messages.take(piece)).collect();
            let begun: u64 = counts.iter().map(|(begun, _)| begun).sum();
            let bytes: u64 = counts.iter().map(|(_, bytes)| bytes).sum();
            assert_eq!((begun, bytes), (3, 259), "in pieces of {size}");
        }
    }
}
