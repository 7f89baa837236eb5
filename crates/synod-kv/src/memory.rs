//! An engine in memory, for tests and the simulator.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::RwLock;

use crate::engine::{Engine, EngineView, WriteBatch};

/// Ordered bytes in memory. Clones are handles of the same bytes: what a handle sees after the
/// store above it is dropped is what survives a crash, namely the batches written, each whole.
#[derive(Clone, Debug, Default)]
pub struct MemoryEngine {
    pairs: Arc<RwLock<BTreeMap<Bytes, Bytes>>>,
    staged: Arc<RwLock<BTreeMap<Bytes, Bytes>>>,
}

impl MemoryEngine {
    /// An empty engine.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A second engine with the same bytes, which then goes its own way: a disk that was copied.
    #[must_use]
    pub fn fork(&self) -> Self {
        Self {
            pairs: Arc::new(RwLock::new(self.pairs.read().clone())),
            staged: Arc::new(RwLock::new(self.staged.read().clone())),
        }
    }

    /// How many pairs it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.pairs.read().len()
    }

    /// Whether it holds nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pairs.read().is_empty()
    }
}

impl Engine for MemoryEngine {
    type Error = Infallible;

    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Infallible> {
        Ok(self.pairs.read().get(key).cloned())
    }

    fn scan(
        &self,
        from: &[u8],
        to: &[u8],
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, Infallible> {
        if from >= to {
            return Ok(Vec::new());
        }
        let pairs = self.pairs.read();
        let range = pairs.range::<[u8], _>((Bound::Included(from), Bound::Excluded(to)));
        Ok(range.take(limit).map(|(key, value)| (key.clone(), value.clone())).collect())
    }

    fn write(&self, batch: WriteBatch) -> Result<(), Infallible> {
        let mut pairs = self.pairs.write();
        for (from, to) in batch.delete_ranges {
            pairs.retain(|key, _| *key < from || *key >= to);
        }
        for key in batch.deletes {
            pairs.remove(&key);
        }
        pairs.extend(batch.puts);
        Ok(())
    }

    fn bytes_on_disk(&self) -> Result<u64, Infallible> {
        let bytes: usize = self.pairs.read().iter().map(|(k, v)| k.len() + v.len()).sum();
        Ok(u64::try_from(bytes).unwrap_or(u64::MAX))
    }

    fn view(&self) -> Result<Box<dyn EngineView<Infallible>>, Infallible> {
        Ok(Box::new(MemoryView(self.pairs.read().clone())))
    }

    fn stage(&self, pairs: Vec<(Bytes, Bytes)>) -> Result<(), Infallible> {
        self.staged.write().extend(pairs);
        Ok(())
    }

    fn staged(&self) -> Result<Box<dyn EngineView<Infallible>>, Infallible> {
        Ok(Box::new(MemoryView(self.staged.read().clone())))
    }

    fn switch(&self) -> Result<(), Infallible> {
        let staged = std::mem::take(&mut *self.staged.write());
        *self.pairs.write() = staged;
        Ok(())
    }

    fn sweep(&self) -> Result<(), Infallible> {
        self.staged.write().clear();
        Ok(())
    }

    fn forget_former(&self) -> Result<(), Infallible> {
        Ok(())
    }
}

/// A copy of all pairs.
struct MemoryView(BTreeMap<Bytes, Bytes>);

impl EngineView<Infallible> for MemoryView {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Infallible> {
        Ok(self.0.get(key).cloned())
    }

    fn page(
        &self,
        above: Option<&[u8]>,
        bytes_max: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, Infallible> {
        let from = above.map_or(Bound::Unbounded, Bound::Excluded);
        let (mut page, mut bytes) = (Vec::new(), 0);
        for (key, value) in self.0.range::<[u8], _>((from, Bound::Unbounded)) {
            if bytes >= bytes_max && !page.is_empty() {
                break;
            }
            bytes += key.len() + value.len();
            page.push((key.clone(), value.clone()));
        }
        Ok(page)
    }
}
