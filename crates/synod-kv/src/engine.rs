//! Where rows live on disk: ordered bytes with atomic batches.

use std::error::Error;

use bytes::Bytes;

/// Ordered bytes, read from many threads while one writes.
///
/// Contract:
///
/// * A batch becomes visible and durable entirely or not at all, and batches in the order written.
///   After a crash the engine holds the batches up to some point: those that were durable.
/// * Reads see a whole number of batches, at least those whose `write` had returned.
pub trait Engine: Send + Sync + 'static {
    /// What goes wrong. An error of a write leaves the engine in an unknown state: its user stops.
    type Error: Error + Send + Sync + 'static;

    /// The value under a key.
    ///
    /// # Errors
    /// If the engine cannot read.
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Self::Error>;

    /// The first `limit` pairs from `from` up to `to`, without `to`, by key upward.
    ///
    /// # Errors
    /// If the engine cannot read.
    fn scan(
        &self,
        from: &[u8],
        to: &[u8],
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, Self::Error>;

    /// Does all of a batch, durably, or nothing: range deletes, then deletes, then puts.
    ///
    /// # Errors
    /// If the engine cannot write.
    fn write(&self, batch: WriteBatch) -> Result<(), Self::Error>;

    /// How many bytes the engine takes on disk.
    ///
    /// # Errors
    /// If the engine cannot tell.
    fn bytes_on_disk(&self) -> Result<u64, Self::Error>;

    /// Everything as the last batch left it, which stays so while writes go on. Whoever holds a
    /// view may keep the engine from reusing space, so it is held for a bounded time.
    ///
    /// # Errors
    /// If the engine cannot read.
    fn view(&self) -> Result<Box<dyn EngineView<Self::Error>>, Self::Error>;

    /// Adds pairs to a second content beside the first one. Nobody reads it before
    /// [`Engine::switch`], and it need not survive a crash before.
    ///
    /// # Errors
    /// If the engine cannot write.
    fn stage(&self, pairs: Vec<(Bytes, Bytes)>) -> Result<(), Self::Error>;

    /// The second content as it is now.
    ///
    /// # Errors
    /// If the engine cannot read.
    fn staged(&self) -> Result<Box<dyn EngineView<Self::Error>>, Self::Error>;

    /// Makes the second content the only one: durably, at once, or not at all.
    ///
    /// # Errors
    /// If the engine cannot write.
    fn switch(&self) -> Result<(), Self::Error>;

    /// Forgets the second content, and what a switch left of the first one. May take its time.
    ///
    /// # Errors
    /// If the engine cannot write.
    fn sweep(&self) -> Result<(), Self::Error>;

    /// Forgets what a switch left of the first content, and nothing else: the second one may be
    /// growing again. May take its time.
    ///
    /// # Errors
    /// If the engine cannot write.
    fn forget_former(&self) -> Result<(), Self::Error>;
}

/// What an engine held at one moment.
pub trait EngineView<F>: Send {
    /// The value under a key.
    ///
    /// # Errors
    /// If the engine cannot read.
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, F>;

    /// The pairs above a key, or from the first one on, by key upward: until they have
    /// `bytes_max` bytes together, but at least one; none at the end.
    ///
    /// # Errors
    /// If the engine cannot read.
    fn page(&self, above: Option<&[u8]>, bytes_max: usize) -> Result<Vec<(Bytes, Bytes)>, F>;
}

/// Changes that go to the engine together.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct WriteBatch {
    /// Ranges to delete, from the first key up to, and without, the second.
    pub delete_ranges: Vec<(Bytes, Bytes)>,
    /// Keys to delete.
    pub deletes: Vec<Bytes>,
    /// Pairs to store, by key upward.
    pub puts: Vec<(Bytes, Bytes)>,
}
