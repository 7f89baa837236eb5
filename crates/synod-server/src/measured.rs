//! A folder of the log whose writes and syncs are timed.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use synod_wal::{Disk, DiskFile, FsDisk, FsFile};

use crate::metrics::Metrics;

/// The folder.
#[derive(Clone, Debug)]
pub(crate) struct MeasuredDisk {
    pub(crate) disk: FsDisk,
    pub(crate) metrics: Arc<Metrics>,
}

/// A file in it.
#[derive(Debug)]
pub(crate) struct MeasuredFile {
    file: FsFile,
    metrics: Arc<Metrics>,
}

impl MeasuredDisk {
    fn measured(&self, file: FsFile) -> MeasuredFile {
        MeasuredFile { file, metrics: Arc::clone(&self.metrics) }
    }
}

impl Disk for MeasuredDisk {
    type File = MeasuredFile;

    fn list(&self) -> io::Result<Vec<String>> {
        self.disk.list()
    }

    fn create(&mut self, name: &str, len: u64) -> io::Result<MeasuredFile> {
        self.disk.create(name, len).map(|file| self.measured(file))
    }

    fn open(&mut self, name: &str) -> io::Result<MeasuredFile> {
        Disk::open(&mut self.disk, name).map(|file| self.measured(file))
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        self.disk.remove(name)
    }

    fn sync_directory(&mut self) -> io::Result<()> {
        self.disk.sync_directory()
    }

    fn room(&self) -> Option<u64> {
        self.disk.room()
    }
}

impl DiskFile for MeasuredFile {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.file.read_at(offset, buffer)
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let start = Instant::now();
        self.file.write_at(offset, bytes)?;
        self.metrics.wal_write.observe(start.elapsed());
        let written = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        self.metrics.wal_bytes.fetch_add(written, Ordering::Relaxed);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        let start = Instant::now();
        let result = self.file.sync();
        self.metrics.wal_sync.observe(start.elapsed());
        result
    }
}
