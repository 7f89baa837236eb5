//! How single fields look on the wire: the trait, what is written to, what is read from.

use bytes::{Buf, Bytes, BytesMut};

use super::VERSION;

/// A type with exactly one encoding. Both directions live in one impl, so that they change
/// together.
pub trait Codec: Sized {
    /// Writes it.
    fn encode<S: Sink>(&self, out: &mut S);

    /// Reads it.
    ///
    /// # Errors
    /// If the input holds no such thing.
    fn decode(input: &mut Reader) -> Result<Self, DecodeError>;
}

/// What an encoder writes to.
pub trait Sink {
    /// Appends a few bytes.
    fn put(&mut self, bytes: &[u8]);
    /// Appends a payload, which may be large; the sink may share it instead of copying.
    fn put_payload(&mut self, payload: &Bytes);
}

impl Sink for BytesMut {
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }

    fn put_payload(&mut self, payload: &Bytes) {
        self.extend_from_slice(payload);
    }
}

/// An encoding in pieces, for a log that gathers them: large payloads are shared, not copied.
#[derive(Debug, Default)]
pub struct Parts {
    copied: Vec<u8>,
    /// Each shared payload, with the length of `copied` before it.
    shared: Vec<(usize, Bytes)>,
}

impl Parts {
    /// Below this a payload is copied: gathering pieces costs more.
    const SHARED_BYTES_MIN: usize = 512;

    /// Empties it and keeps its memory.
    pub fn clear(&mut self) {
        self.copied.clear();
        self.shared.clear();
    }

    /// The pieces, in order.
    #[must_use]
    pub fn as_slices(&self) -> Vec<&[u8]> {
        let mut slices = Vec::with_capacity(2 * self.shared.len() + 1);
        let mut from = 0;
        for (at, payload) in &self.shared {
            slices.push(&self.copied[from..*at]);
            slices.push(payload);
            from = *at;
        }
        slices.push(&self.copied[from..]);
        slices
    }
}

impl Sink for Parts {
    fn put(&mut self, bytes: &[u8]) {
        self.copied.extend_from_slice(bytes);
    }

    fn put_payload(&mut self, payload: &Bytes) {
        if payload.len() < Self::SHARED_BYTES_MIN {
            self.copied.extend_from_slice(payload);
        } else {
            self.shared.push((self.copied.len(), payload.clone()));
        }
    }
}

/// What a decoder reads from.
#[derive(Debug)]
pub struct Reader {
    rest: Bytes,
}

impl Reader {
    /// Reads these bytes.
    #[must_use]
    pub const fn new(bytes: Bytes) -> Self {
        Self { rest: bytes }
    }

    /// The next byte.
    ///
    /// # Errors
    /// If there is none.
    pub fn u8(&mut self) -> Result<u8, DecodeError> {
        Ok(self.array::<1>()?[0])
    }

    /// The next `N` bytes.
    ///
    /// # Errors
    /// If there are fewer.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let Some(bytes) = self.rest.first_chunk::<N>().copied() else {
            return Err(DecodeError::Truncated { wanted: N, left: self.rest.len() });
        };
        self.rest.advance(N);
        Ok(bytes)
    }

    /// The next varint.
    ///
    /// # Errors
    /// If the input ends, or it exceeds 64 bits, or a shorter form would do.
    pub fn varint(&mut self) -> Result<u64, DecodeError> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                break;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                let shortest = byte != 0 || shift == 0;
                return if shortest { Ok(value) } else { Err(DecodeError::Varint) };
            }
        }
        Err(DecodeError::Varint)
    }

    /// The next payload: a length and as many bytes, as a slice of the input.
    ///
    /// # Errors
    /// If the input holds fewer bytes.
    pub fn payload(&mut self) -> Result<Bytes, DecodeError> {
        let length = self.count("payload bytes", 1)?;
        Ok(self.rest.split_to(length))
    }

    /// A count of things that take at least so many bytes each: checked against what is left, so
    /// that the caller may allocate for it.
    ///
    /// # Errors
    /// If what is left cannot hold as many.
    pub fn count(&mut self, of: &'static str, bytes_min: usize) -> Result<usize, DecodeError> {
        let count = self.varint()?;
        let fit = self.rest.len() / bytes_min;
        match usize::try_from(count) {
            Ok(count) if count <= fit => Ok(count),
            _ => Err(DecodeError::Count { of, count, fit }),
        }
    }

    /// The end.
    ///
    /// # Errors
    /// If bytes are left.
    pub fn finish(self) -> Result<(), DecodeError> {
        match self.rest.len() {
            0 => Ok(()),
            bytes => Err(DecodeError::Trailing { bytes }),
        }
    }
}

/// Why bytes are not what they should be.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum DecodeError {
    /// Written by another version.
    #[error("format version {found}, but this release reads version {VERSION}")]
    Version {
        /// The version found.
        found: u8,
    },
    /// For a Paxos group that is not here.
    #[error("Paxos group {found}, but only group 0 exists")]
    Group {
        /// The group found.
        found: u32,
    },
    /// No such kind of thing.
    #[error("{of} {found} is unknown")]
    Tag {
        /// What the tag tells apart.
        of: &'static str,
        /// The tag found.
        found: u8,
    },
    /// The input ends too early.
    #[error("{wanted} more bytes expected, {left} left")]
    Truncated {
        /// Bytes wanted.
        wanted: usize,
        /// Bytes left.
        left: usize,
    },
    /// The input is longer than the thing in it.
    #[error("{bytes} bytes left over at the end")]
    Trailing {
        /// Bytes left over.
        bytes: usize,
    },
    /// More than the input can hold.
    #[error("{count} {of} announced, at most {fit} fit in what is left")]
    Count {
        /// Of what.
        of: &'static str,
        /// How many are announced.
        count: u64,
        /// How many fit.
        fit: usize,
    },
    /// A varint over 64 bits, or not in its shortest form.
    #[error("malformed varint")]
    Varint,
    /// Something that must rise does not.
    #[error("{of} are not in rising order")]
    Unordered {
        /// What.
        of: &'static str,
    },
    /// A batch without commands.
    #[error("a batch without commands")]
    EmptyBatch,
    /// Slots count from 1.
    #[error("slot 0, but slots count from 1")]
    SlotZero,
}
