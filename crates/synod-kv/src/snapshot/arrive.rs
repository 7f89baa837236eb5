//! A snapshot that arrives at a store at work: put away beside its state, checked, and made ready.

use std::sync::Arc;

use bytes::Bytes;

use super::{SnapshotError, SnapshotFacts, SnapshotReader};
use crate::engine::{Engine, EngineView};
use crate::error::StorageError;
use crate::state::State;
use crate::store::{self, Shared};

/// A snapshot on its way in. The store goes on meanwhile; there is one at a time.
#[derive(Debug)]
pub struct Arriving<E> {
    shared: Arc<Shared<E>>,
    reader: SnapshotReader,
    rows: Vec<(Bytes, Bytes)>,
    bytes: usize,
    number: u64,
}

/// A snapshot that is there, whole and undamaged; see [`crate::Store::install`].
#[derive(Debug)]
pub struct Arrived {
    pub(crate) state: State,
    pub(crate) number: u64,
    facts: SnapshotFacts,
}

/// Why a snapshot cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum ArriveError<F> {
    /// It is none, or damaged.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// What was put away is no longer all there.
    #[error("rows of the snapshot are gone that were put away: {found} of {rows} are there")]
    Lost {
        /// How many it has.
        rows: u64,
        /// How many are there.
        found: u64,
    },
    /// Another one was begun.
    #[error("another snapshot began to arrive")]
    Overtaken,
    /// It cannot be put away, or holds what no store wrote.
    #[error(transparent)]
    Storage(#[from] StorageError<F>),
}

/// Bytes of rows that are put away at once.
const BATCH_BYTES: usize = 4 << 20;

impl<E: Engine> Arriving<E> {
    pub(crate) fn begin(shared: Arc<Shared<E>>) -> Result<Self, StorageError<E::Error>> {
        let number = {
            let mut arriving = shared.arriving.lock();
            *arriving += 1;
            shared.engine.sweep().map_err(StorageError::Engine)?;
            *arriving
        };
        let reader = SnapshotReader::default();
        Ok(Self { shared, reader, rows: Vec::new(), bytes: 0, number })
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    /// If they cannot be of a snapshot, or cannot be put away.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), ArriveError<E::Error>> {
        self.reader.push(bytes, &mut self.rows)?;
        self.bytes += bytes.len();
        if self.bytes >= BATCH_BYTES { self.put_away() } else { Ok(()) }
    }

    /// All bytes have come.
    ///
    /// # Errors
    /// If they are no whole, undamaged snapshot of a store.
    pub fn finish(mut self) -> Result<Arrived, ArriveError<E::Error>> {
        self.put_away()?;
        let facts = self.reader.finish()?;
        let staged = self.shared.engine.staged().map_err(StorageError::Engine)?;
        let found = count(&*staged)?;
        if found != facts.rows {
            return Err(ArriveError::Lost { rows: facts.rows, found });
        }
        let state = store::load(&*staged)?;
        Ok(Arrived { state, number: self.number, facts })
    }

    fn put_away(&mut self) -> Result<(), ArriveError<E::Error>> {
        self.bytes = 0;
        let rows = std::mem::take(&mut self.rows);
        let arriving = self.shared.arriving.lock();
        if *arriving != self.number {
            return Err(ArriveError::Overtaken);
        }
        self.shared.engine.stage(rows).map_err(StorageError::Engine)?;
        Ok(())
    }
}

/// How many rows there are. A state that lacks some would be taken for whole ever after.
fn count<F>(view: &dyn EngineView<F>) -> Result<u64, StorageError<F>> {
    let (mut found, mut above) = (0, None::<Bytes>);
    loop {
        let page = view.page(above.as_deref(), BATCH_BYTES).map_err(StorageError::Engine)?;
        let Some((last, _)) = page.last() else { return Ok(found) };
        above = Some(last.clone());
        found += u64::try_from(page.len()).unwrap_or(u64::MAX);
    }
}

impl Arrived {
    /// What it is.
    #[must_use]
    pub const fn facts(&self) -> &SnapshotFacts {
        &self.facts
    }
}
