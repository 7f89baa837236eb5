//! The bytes of the bound that a command sets to its answer. A command without takes none.

use bytes::{BufMut, BytesMut};

use super::{DecodeError, Input};

const TAG_ANSWER: u8 = 0x23;

pub(super) fn encode_answer(out: &mut BytesMut, bytes_max: Option<u64>) {
    if let Some(bytes_max) = bytes_max {
        out.put_u8(TAG_ANSWER);
        out.put_u64_le(bytes_max);
    }
}

impl Input<'_> {
    /// The bound, if one is named here.
    pub(super) fn answer(&mut self) -> Result<Option<u64>, DecodeError> {
        if self.peek() != Some(TAG_ANSWER) {
            return Ok(None);
        }
        self.u8()?;
        self.u64().map(Some)
    }
}
