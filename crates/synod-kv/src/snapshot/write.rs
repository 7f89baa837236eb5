//! The writer of snapshots: from a view of an engine to bytes, in chunks.

use bytes::{BufMut, Bytes, BytesMut};

use super::{BLOCK_BYTES, FORMAT, MAGIC, SnapshotOrigin, SnapshotPoint};
use crate::engine::{Engine, EngineView};
use crate::error::StorageError;
use crate::row::{META_KEY, Meta};

/// Everything that an engine holds at one moment, until it is dropped.
pub struct SnapshotView<F> {
    view: Box<dyn EngineView<F>>,
    point: SnapshotPoint,
}

/// A snapshot that is being written. It holds the engine's view until it is dropped.
pub struct SnapshotSource<F> {
    view: SnapshotView<F>,
    hasher: blake3::Hasher,
    /// Encoded, and not given out.
    pending: BytesMut,
    /// Bytes encoded so far.
    encoded: u64,
    rows: u64,
    last_key: Option<Bytes>,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Stage {
    Rows,
    Hash,
    End,
}

/// Rows are read from the view in pages of about so many bytes.
const PAGE_BYTES: usize = 64 << 10;

impl<F> std::fmt::Debug for SnapshotView<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SnapshotView").field("point", &self.point).finish_non_exhaustive()
    }
}

impl<F> std::fmt::Debug for SnapshotSource<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SnapshotSource").field("view", &self.view).finish_non_exhaustive()
    }
}

impl<F> SnapshotView<F> {
    /// What the engine holds now.
    ///
    /// # Errors
    /// If the engine fails, or holds what no store wrote.
    pub fn open<E: Engine<Error = F>>(engine: &E) -> Result<Self, StorageError<F>> {
        let view = engine.view().map_err(StorageError::Engine)?;
        let meta = match view.get(&META_KEY).map_err(StorageError::Engine)? {
            Some(bytes) => Meta::decode(&bytes)?,
            None => Meta::EMPTY,
        };
        Ok(Self { view, point: meta.into() })
    }

    /// The state it is.
    #[must_use]
    pub const fn point(&self) -> SnapshotPoint {
        self.point
    }

    /// The rows above a key, or from the first one on: some of them, none at the end.
    ///
    /// # Errors
    /// If the engine fails.
    pub fn page(&self, above: Option<&[u8]>) -> Result<Vec<(Bytes, Bytes)>, StorageError<F>> {
        self.view.page(above, PAGE_BYTES).map_err(StorageError::Engine)
    }
}

impl<F> SnapshotSource<F> {
    /// A snapshot of what the engine holds now.
    ///
    /// # Errors
    /// If the engine fails, or holds what no store wrote.
    pub fn open<E: Engine<Error = F>>(
        engine: &E,
        origin: SnapshotOrigin,
    ) -> Result<Self, StorageError<F>> {
        let mut source = Self {
            view: SnapshotView::open(engine)?,
            hasher: blake3::Hasher::new(),
            pending: BytesMut::new(),
            encoded: 0,
            rows: 0,
            last_key: None,
            stage: Stage::Rows,
        };
        let mut header = BytesMut::with_capacity(super::HEADER_BYTES);
        header.put_slice(MAGIC);
        header.put_u32_le(FORMAT);
        header.put_u64_le(origin.cluster);
        header.put_u64_le(origin.member);
        source.put(&header);
        Ok(source)
    }

    /// The state it is a snapshot of.
    #[must_use]
    pub const fn point(&self) -> SnapshotPoint {
        self.view.point()
    }

    /// The next bytes: `bytes_max` of them, fewer before the hash and at the end, which is none.
    /// The hash comes alone.
    ///
    /// # Errors
    /// If the engine fails.
    pub fn next_chunk(&mut self, bytes_max: usize) -> Result<Bytes, StorageError<F>> {
        while self.stage == Stage::Rows && self.pending.len() < bytes_max {
            self.encode_page()?;
        }
        if self.pending.is_empty() && self.stage == Stage::Hash {
            self.stage = Stage::End;
            return Ok(Bytes::copy_from_slice(self.hasher.finalize().as_bytes()));
        }
        let bytes = self.pending.len().min(bytes_max);
        Ok(self.pending.split_to(bytes).freeze())
    }

    fn encode_page(&mut self) -> Result<(), StorageError<F>> {
        let page = self.view.page(self.last_key.as_deref())?;
        for (key, value) in &page {
            self.put(&length(key).to_le_bytes());
            self.put(&length(value).to_le_bytes());
            self.put(key);
            self.put(value);
        }
        self.rows += u64::try_from(page.len()).unwrap_or(u64::MAX);
        match page.into_iter().next_back() {
            Some((last, _)) => self.last_key = Some(last),
            None => self.encode_end(),
        }
        Ok(())
    }

    fn encode_end(&mut self) {
        self.put(&0_u32.to_le_bytes());
        self.put(&self.rows.to_le_bytes());
        let padding = self.encoded.next_multiple_of(BLOCK_BYTES) - self.encoded;
        let zeros = [0; 512];
        self.put(&zeros[..usize::try_from(padding).unwrap_or(0)]);
        self.stage = Stage::Hash;
    }

    fn put(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
        self.pending.put_slice(bytes);
        self.encoded += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    }
}

fn length(bytes: &Bytes) -> u32 {
    u32::try_from(bytes.len()).expect("rows come from commands far below 4 GiB")
}
