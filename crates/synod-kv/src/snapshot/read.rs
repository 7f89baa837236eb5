//! The reader of snapshots: from bytes, as they come, to rows. Trusts nothing.

use bytes::{Buf, Bytes, BytesMut};

use super::{
    BLOCK_BYTES, FORMAT, HASH_BYTES, HEADER_BYTES, MAGIC, ROW_BYTES_MAX, SnapshotOrigin,
    SnapshotPoint,
};
use crate::row::{META_KEY, Meta, RowError};

/// Bytes that are no whole, undamaged snapshot.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SnapshotError {
    /// Something else, or not from its beginning.
    #[error("it is no snapshot of Synod: it does not begin as one")]
    NotASnapshot,
    /// Of another release.
    #[error("it has snapshot format {0}, and this release knows {FORMAT}: use a newer release")]
    Format(u32),
    /// It contradicts itself.
    #[error("it is damaged at byte {at}: {what}")]
    Damaged {
        /// Where, about.
        at: u64,
        /// What is wrong.
        what: &'static str,
    },
    /// It ends too early.
    #[error("it is cut short: it ends after {bytes} bytes")]
    CutShort {
        /// How long it is.
        bytes: u64,
    },
    /// Its hash is not that of its bytes.
    #[error("it is damaged: its hash does not fit its content")]
    Hash,
    /// Its metadata cannot be read.
    #[error("its metadata: {0}")]
    Meta(#[from] RowError),
}

/// What a snapshot says of itself.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SnapshotFacts {
    /// Whose it is.
    pub origin: SnapshotOrigin,
    /// The state it holds.
    pub point: SnapshotPoint,
    /// Rows of all kinds.
    pub rows: u64,
    /// Rows of the history of keys.
    pub history_rows: u64,
    /// Its length.
    pub bytes: u64,
    /// Its hash.
    pub hash: [u8; HASH_BYTES],
}

/// Takes a snapshot apart. Nothing of it is to be believed before [`SnapshotReader::finish`].
#[derive(Debug, Default)]
pub struct SnapshotReader {
    buffer: BytesMut,
    hasher: blake3::Hasher,
    stage: Stage,
    /// Bytes taken apart.
    position: u64,
    origin: SnapshotOrigin,
    meta: Option<Meta>,
    rows: u64,
    history_rows: u64,
    last_key: Bytes,
    hash: [u8; HASH_BYTES],
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Stage {
    #[default]
    Header,
    Rows,
    Padding,
    Hash,
    End,
}

impl SnapshotReader {
    /// Takes the next bytes, and adds the rows that are complete.
    ///
    /// # Errors
    /// If they cannot be of a snapshot.
    pub fn push(
        &mut self,
        bytes: &[u8],
        rows: &mut Vec<(Bytes, Bytes)>,
    ) -> Result<(), SnapshotError> {
        self.buffer.extend_from_slice(bytes);
        while self.step(rows)? {}
        Ok(())
    }

    /// Whether all of it has come.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.stage == Stage::End
    }

    /// The end has come: what it was, now that all of it is known to be undamaged.
    ///
    /// # Errors
    /// If it is not whole.
    pub fn finish(self) -> Result<SnapshotFacts, SnapshotError> {
        if self.stage != Stage::End {
            let waiting = u64::try_from(self.buffer.len()).unwrap_or(u64::MAX);
            return Err(SnapshotError::CutShort { bytes: self.position + waiting });
        }
        Ok(SnapshotFacts {
            origin: self.origin,
            // A store to which nothing was ever written has no metadata.
            point: self.meta.unwrap_or(Meta::EMPTY).into(),
            rows: self.rows,
            history_rows: self.history_rows,
            bytes: self.position,
            hash: self.hash,
        })
    }

    /// Takes one part, if it has come whole.
    fn step(&mut self, rows: &mut Vec<(Bytes, Bytes)>) -> Result<bool, SnapshotError> {
        match self.stage {
            Stage::Header => self.header(),
            Stage::Rows => self.row(rows),
            Stage::Padding => self.padding(),
            Stage::Hash => self.check_hash(),
            Stage::End if self.buffer.is_empty() => Ok(false),
            Stage::End => Err(self.damaged("there is more behind its end")),
        }
    }

    fn header(&mut self) -> Result<bool, SnapshotError> {
        let known = self.buffer.len().min(MAGIC.len());
        if self.buffer[..known] != MAGIC[..known] {
            return Err(SnapshotError::NotASnapshot);
        }
        let Some(mut header) = self.take(HEADER_BYTES) else { return Ok(false) };
        header.advance(MAGIC.len());
        let format = header.get_u32_le();
        if format != FORMAT {
            return Err(SnapshotError::Format(format));
        }
        self.origin = SnapshotOrigin { cluster: header.get_u64_le(), member: header.get_u64_le() };
        self.stage = Stage::Rows;
        Ok(true)
    }

    fn row(&mut self, rows: &mut Vec<(Bytes, Bytes)>) -> Result<bool, SnapshotError> {
        let Some(key_bytes) = self.peek_length(0) else { return Ok(false) };
        if key_bytes == 0 {
            return self.end_of_rows();
        }
        let Some(value_bytes) = self.peek_length(4) else { return Ok(false) };
        let bytes = key_bytes.saturating_add(value_bytes);
        if bytes > ROW_BYTES_MAX {
            return Err(self.damaged("a row is larger than any can be"));
        }
        let Some(mut row) = self.take(8 + bytes) else { return Ok(false) };
        row.advance(8);
        let key = row.split_to(key_bytes);
        if key <= self.last_key {
            return Err(self.damaged("rows are not in order"));
        }
        if key == META_KEY {
            self.meta = Some(Meta::decode(&row)?);
        }
        self.rows += 1;
        self.history_rows += u64::from(key.first() == Some(&b'r'));
        self.last_key = key.clone();
        rows.push((key, row));
        Ok(true)
    }

    fn end_of_rows(&mut self) -> Result<bool, SnapshotError> {
        let Some(mut end) = self.take(12) else { return Ok(false) };
        end.advance(4);
        if end.get_u64_le() != self.rows {
            return Err(self.damaged("rows are missing"));
        }
        self.stage = Stage::Padding;
        Ok(true)
    }

    fn padding(&mut self) -> Result<bool, SnapshotError> {
        let bytes = self.position.next_multiple_of(BLOCK_BYTES) - self.position;
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        let Some(padding) = self.take(bytes) else { return Ok(false) };
        if padding.iter().any(|byte| *byte != 0) {
            return Err(self.damaged("there is something between its rows and its hash"));
        }
        self.stage = Stage::Hash;
        Ok(true)
    }

    fn check_hash(&mut self) -> Result<bool, SnapshotError> {
        let content = self.hasher.finalize();
        let Some(hash) = self.take(HASH_BYTES) else { return Ok(false) };
        if hash != content.as_bytes()[..] {
            return Err(SnapshotError::Hash);
        }
        self.hash = *content.as_bytes();
        self.stage = Stage::End;
        Ok(true)
    }

    /// The next bytes, if all of them have come.
    fn take(&mut self, bytes: usize) -> Option<Bytes> {
        if self.buffer.len() < bytes {
            return None;
        }
        let taken = self.buffer.split_to(bytes).freeze();
        self.hasher.update(&taken);
        self.position += u64::try_from(bytes).unwrap_or(u64::MAX);
        Some(taken)
    }

    fn peek_length(&self, at: usize) -> Option<usize> {
        let length = self.buffer.get(at..)?.first_chunk()?;
        Some(usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX))
    }

    const fn damaged(&self, what: &'static str) -> SnapshotError {
        SnapshotError::Damaged { at: self.position, what }
    }
}
