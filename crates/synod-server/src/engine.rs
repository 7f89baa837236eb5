//! The store's rows in a file: redb behind the store's engine trait.
//!
//! Each batch is one redb transaction, made durable before `write` returns: the log is trimmed up
//! to what the engine says it holds, so it must hold it. Batches are written behind, few and
//! large, so one sync each is cheap.

use std::fs::OpenOptions;
use std::ops::Bound;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use bytes::Bytes;
use redb::{Database, Durability, ReadOnlyTable, ReadableDatabase, TableDefinition};
use synod_kv::{Engine, EngineView, WriteBatch};

use crate::metrics::Metrics;

/// An open file of rows.
pub struct RedbEngine {
    database: Database,
    file: PathBuf,
    metrics: Arc<Metrics>,
}

/// The file cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("store {}: {reason}", .file.display())]
pub struct EngineError {
    file: PathBuf,
    reason: Box<redb::Error>,
}

type Table = TableDefinition<'static, &'static [u8], &'static [u8]>;

const ROWS: Table = TableDefinition::new("rows");
/// The rows of a snapshot that arrives; those that another one has taken the place of.
const STAGED: Table = TableDefinition::new("staged");
const FORMER: Table = TableDefinition::new("former");
/// Pages that redb keeps in memory. Recent values are in the store's own overlay.
const CACHE_BYTES: usize = 128 << 20;

impl std::fmt::Debug for RedbEngine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedbEngine").field("file", &self.file).finish_non_exhaustive()
    }
}

impl RedbEngine {
    /// Opens the file, or makes it.
    ///
    /// # Errors
    /// If it is damaged, in use, or the disk fails.
    pub(crate) fn open(file: &Path, metrics: Arc<Metrics>) -> Result<Self, EngineError> {
        let open = || -> Result<Database, redb::Error> {
            // redb would leave the rights to the process's mask; clients' data is in here.
            let mut options = OpenOptions::new();
            options.write(true).create(true).truncate(false).mode(0o600).open(file)?;
            let database = Database::builder().set_cache_size(CACHE_BYTES).create(file)?;
            let transaction = database.begin_write()?;
            transaction.open_table(ROWS)?;
            transaction.commit()?;
            Ok(database)
        };
        match open() {
            Ok(database) => Ok(Self { database, file: file.to_owned(), metrics }),
            Err(reason) => Err(EngineError { file: file.to_owned(), reason: Box::new(reason) }),
        }
    }

    fn told<T>(&self, result: Result<T, redb::Error>) -> Result<T, EngineError> {
        result.map_err(|reason| EngineError { file: self.file.clone(), reason: Box::new(reason) })
    }

    fn view_of(&self, table: Table) -> Result<Box<dyn EngineView<EngineError>>, EngineError> {
        let open =
            || -> Result<_, redb::Error> { Ok(self.database.begin_read()?.open_table(table)?) };
        let table = self.told(open())?;
        let metrics = Arc::clone(&self.metrics);
        metrics.backend_views.fetch_add(1, Ordering::Relaxed);
        Ok(Box::new(RedbView { table, file: self.file.clone(), metrics }))
    }

    fn read(&self, key: &[u8]) -> Result<Option<Bytes>, redb::Error> {
        let table = self.database.begin_read()?.open_table(ROWS)?;
        Ok(table.get(key)?.map(|value| Bytes::copy_from_slice(value.value())))
    }

    fn read_range(
        &self,
        from: &[u8],
        to: &[u8],
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, redb::Error> {
        if from >= to {
            return Ok(Vec::new());
        }
        let table = self.database.begin_read()?.open_table(ROWS)?;
        let mut rows = Vec::new();
        for row in table.range::<&[u8]>(from..to)?.take(limit) {
            let (key, value) = row?;
            rows.push((Bytes::copy_from_slice(key.value()), Bytes::copy_from_slice(value.value())));
        }
        Ok(rows)
    }

    fn add_staged(&self, pairs: &[(Bytes, Bytes)]) -> Result<(), redb::Error> {
        let mut transaction = self.database.begin_write()?;
        // The switch makes it durable.
        transaction.set_durability(Durability::None)?;
        {
            let mut table = transaction.open_table(STAGED)?;
            for (key, value) in pairs {
                table.insert(key.as_ref(), value.as_ref())?;
            }
        }
        Ok(transaction.commit()?)
    }

    fn delete_tables(&self, tables: &[Table]) -> Result<(), redb::Error> {
        let transaction = self.database.begin_write()?;
        let mut any = false;
        for table in tables {
            any |= transaction.delete_table(*table)?;
        }
        if any { Ok(transaction.commit()?) } else { Ok(transaction.abort()?) }
    }

    fn commit(&self, batch: &WriteBatch) -> Result<(), redb::Error> {
        let mut transaction = self.database.begin_write()?;
        transaction.set_durability(Durability::Immediate)?;
        {
            let mut table = transaction.open_table(ROWS)?;
            for (from, to) in &batch.delete_ranges {
                if from < to {
                    table.retain_in::<&[u8], _>(from.as_ref()..to.as_ref(), |_, _| false)?;
                }
            }
            for key in &batch.deletes {
                table.remove(key.as_ref())?;
            }
            for (key, value) in &batch.puts {
                table.insert(key.as_ref(), value.as_ref())?;
            }
        }
        Ok(transaction.commit()?)
    }
}

impl Engine for RedbEngine {
    type Error = EngineError;

    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        self.told(self.read(key))
    }

    fn scan(
        &self,
        from: &[u8],
        to: &[u8],
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, EngineError> {
        self.told(self.read_range(from, to, limit))
    }

    fn write(&self, batch: WriteBatch) -> Result<(), EngineError> {
        let start = Instant::now();
        let result = self.told(self.commit(&batch));
        self.metrics.backend_commit.observe(start.elapsed());
        result
    }

    fn bytes_on_disk(&self) -> Result<u64, EngineError> {
        let length = std::fs::metadata(&self.file).map(|metadata| metadata.len());
        self.told(length.map_err(redb::Error::from))
    }

    fn view(&self) -> Result<Box<dyn EngineView<EngineError>>, EngineError> {
        self.view_of(ROWS)
    }

    fn stage(&self, pairs: Vec<(Bytes, Bytes)>) -> Result<(), EngineError> {
        self.told(self.add_staged(&pairs))
    }

    fn staged(&self) -> Result<Box<dyn EngineView<EngineError>>, EngineError> {
        self.view_of(STAGED)
    }

    fn switch(&self) -> Result<(), EngineError> {
        let switch = || -> Result<(), redb::Error> {
            let mut transaction = self.database.begin_write()?;
            transaction.set_durability(Durability::Immediate)?;
            // Renamed, not deleted: that takes its time, and readers wait for this.
            transaction.rename_table(ROWS, FORMER)?;
            transaction.rename_table(STAGED, ROWS)?;
            Ok(transaction.commit()?)
        };
        let start = Instant::now();
        let switched = self.told(switch());
        self.metrics.backend_commit.observe(start.elapsed());
        switched
    }

    fn sweep(&self) -> Result<(), EngineError> {
        self.told(self.delete_tables(&[STAGED, FORMER]))
    }

    fn forget_former(&self) -> Result<(), EngineError> {
        self.told(self.delete_tables(&[FORMER]))
    }
}

/// The rows as one commit left them. While it is there, redb does not reuse what it sees.
struct RedbView {
    table: ReadOnlyTable<&'static [u8], &'static [u8]>,
    file: PathBuf,
    metrics: Arc<Metrics>,
}

impl Drop for RedbView {
    fn drop(&mut self) {
        self.metrics.backend_views.fetch_sub(1, Ordering::Relaxed);
    }
}

impl RedbView {
    fn told<T>(&self, result: Result<T, redb::Error>) -> Result<T, EngineError> {
        result.map_err(|reason| EngineError { file: self.file.clone(), reason: Box::new(reason) })
    }

    fn read_page(
        &self,
        above: Option<&[u8]>,
        bytes_max: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, redb::Error> {
        let from = above.map_or(Bound::Unbounded, Bound::Excluded);
        let (mut page, mut bytes) = (Vec::new(), 0);
        for row in self.table.range::<&[u8]>((from, Bound::Unbounded))? {
            let (key, value) = row?;
            let (key, value) = (key.value(), value.value());
            if bytes >= bytes_max && !page.is_empty() {
                break;
            }
            bytes += key.len() + value.len();
            page.push((Bytes::copy_from_slice(key), Bytes::copy_from_slice(value)));
        }
        Ok(page)
    }
}

impl EngineView<EngineError> for RedbView {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        let value = self.table.get(key).map_err(redb::Error::from);
        self.told(value).map(|value| value.map(|value| Bytes::copy_from_slice(value.value())))
    }

    fn page(
        &self,
        above: Option<&[u8]>,
        bytes_max: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, EngineError> {
        self.told(self.read_page(above, bytes_max))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn open(file: &Path) -> RedbEngine {
        RedbEngine::open(file, Arc::default()).unwrap()
    }

    fn bytes(text: &'static str) -> Bytes {
        Bytes::from_static(text.as_bytes())
    }

    fn keys(engine: &RedbEngine) -> Vec<String> {
        let rows = engine.scan(b"", b"\xff", 100).unwrap();
        rows.into_iter().map(|(key, _)| String::from_utf8(key.to_vec()).unwrap()).collect()
    }

    #[test]
    fn a_batch_is_done_in_its_order_and_outlives_the_process() {
        let temp = tempfile::tempdir().unwrap();
        let file = temp.path().join("store.redb");
        let engine = open(&file);
        let puts = ["a", "b", "c", "d"].map(|key| (bytes(key), bytes("1"))).to_vec();
        engine.write(WriteBatch { puts, ..WriteBatch::default() }).unwrap();
        engine
            .write(WriteBatch {
                delete_ranges: vec![(bytes("b"), bytes("d")), (bytes("z"), bytes("a"))],
                deletes: vec![bytes("d"), bytes("absent")],
                puts: vec![(bytes("c"), bytes("2"))],
            })
            .unwrap();
        assert_eq!(keys(&engine), ["a", "c"]);
        assert!(engine.bytes_on_disk().unwrap() > 0);
        let mode = std::fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        drop(engine);
        let engine = open(&file);
        assert_eq!(engine.get(b"c").unwrap(), Some(bytes("2")));
        assert_eq!(engine.get(b"d").unwrap(), None);
        assert_eq!(engine.scan(b"a", b"z", 1).unwrap(), [(bytes("a"), bytes("1"))]);
        assert_eq!(engine.scan(b"z", b"a", 1).unwrap(), []);
    }

    fn pairs(keys: &[&'static str]) -> Vec<(Bytes, Bytes)> {
        keys.iter().map(|key| (bytes(key), bytes("1"))).collect()
    }

    /// A member with one content in its place and another one put away beside it.
    fn staged(file: &Path) -> RedbEngine {
        let engine = open(file);
        engine.write(WriteBatch { puts: pairs(&["a", "b"]), ..WriteBatch::default() }).unwrap();
        engine.stage(pairs(&["c"])).unwrap();
        engine.stage(pairs(&["d"])).unwrap();
        engine
    }

    /// What a crash leaves: a copy of the file as it is while the process still runs. What redb
    /// keeps back until the next durable commit is not in it.
    fn crashed(file: &Path, copy: &Path) -> RedbEngine {
        std::fs::copy(file, copy).unwrap();
        open(copy)
    }

    #[test]
    fn a_crash_at_any_step_of_a_switch_leaves_one_content_or_the_other() {
        let temp = tempfile::tempdir().unwrap();
        let (file, copy) = (temp.path().join("store.redb"), temp.path().join("copy.redb"));
        let engine = staged(&file);
        let after_crash = || {
            let crashed = crashed(&file, &copy);
            // As a store does when it opens.
            crashed.sweep().unwrap();
            keys(&crashed)
        };
        assert_eq!(after_crash(), ["a", "b"], "before the switch");
        engine.switch().unwrap();
        assert_eq!(after_crash(), ["c", "d"], "after it, with the former content still there");
        engine.stage(pairs(&["e"])).unwrap();
        assert_eq!(after_crash(), ["c", "d"], "while the next one arrives");
        engine.forget_former().unwrap();
        assert_eq!(after_crash(), ["c", "d"], "after the former content is forgotten");
    }

    #[test]
    fn forgetting_the_former_content_spares_the_one_that_arrives() {
        let temp = tempfile::tempdir().unwrap();
        let engine = staged(&temp.path().join("store.redb"));
        engine.switch().unwrap();
        engine.stage(pairs(&["e"])).unwrap();
        engine.forget_former().unwrap();
        engine.stage(pairs(&["f"])).unwrap();
        engine.switch().unwrap();
        assert_eq!(keys(&engine), ["e", "f"]);
        engine.sweep().unwrap();
        assert_eq!(keys(&engine), ["e", "f"]);
    }

    #[test]
    fn a_file_that_is_no_store_is_named() {
        let temp = tempfile::tempdir().unwrap();
        let file = temp.path().join("store.redb");
        std::fs::write(&file, vec![b'x'; 8192]).unwrap();
        let error = RedbEngine::open(&file, Arc::default()).unwrap_err().to_string();
        assert!(error.starts_with(&format!("store {}: ", file.display())), "{error}");
    }
}
