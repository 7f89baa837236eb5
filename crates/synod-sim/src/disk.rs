//! A disk that forgets what was not synced.
//!
//! Reads see every write at once, as a process does. A crash keeps a random part of what was
//! written since the last sync, by sectors of 512 bytes, and may tear the last of them at any byte;
//! of the renames and removals since the last sync of the folder it keeps some and forgets others.
//! The power can be set to go off in the middle of a call, so that a crash also falls between the
//! steps of one operation of the log. A sync can be made to fail.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use synod_wal::{Disk, DiskFile};

use crate::random::Random;

/// The unit that a disk writes whole.
const SECTOR: usize = 512;

/// A simulated disk: the folder of one member. Clones share it.
#[derive(Clone, Debug)]
pub struct SimDisk {
    platter: Arc<Mutex<Platter>>,
}

/// An open file on a [`SimDisk`].
#[derive(Debug)]
pub struct SimFile {
    platter: Arc<Mutex<Platter>>,
    file: usize,
}

#[derive(Debug)]
struct Platter {
    random: Random,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    unsynced_names: Vec<NameChange>,
    files: Vec<Content>,
    operations_left: Option<u64>,
    sync_fails: bool,
    failed: bool,
    syncs: u64,
}

#[derive(Clone, Debug)]
enum NameChange {
    Rename { from: String, to: String },
    Remove { name: String },
}

#[derive(Debug, Default)]
struct Content {
    bytes: Vec<u8>,
    unsynced: Vec<Write>,
}

#[derive(Debug)]
struct Write {
    offset: usize,
    before: Vec<u8>,
    after: Vec<u8>,
}

impl SimDisk {
    /// An empty disk; `domain` names its stream of chance.
    #[must_use]
    pub fn new(seed: u64, domain: &str) -> Self {
        Self {
            platter: Arc::new(Mutex::new(Platter {
                random: Random::new(seed, domain),
                names: BTreeMap::new(),
                durable_names: BTreeMap::new(),
                unsynced_names: Vec::new(),
                files: Vec::new(),
                operations_left: None,
                sync_fails: false,
                failed: false,
                syncs: 0,
            })),
        }
    }

    /// The power goes off in the middle of the change that comes after so many more; from then on
    /// every call fails, until [`SimDisk::crash`].
    pub fn cut_power_after(&self, changes: u64) {
        self.lock().operations_left = Some(changes);
    }

    /// The next sync fails.
    pub fn fail_next_sync(&self) {
        self.lock().sync_fails = true;
    }

    /// Whether the power went off.
    #[must_use]
    pub fn is_off(&self) -> bool {
        self.lock().operations_left == Some(0)
    }

    /// Whether a call failed because it was set to: the power went off, or a sync failed.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.is_off() || self.lock().failed
    }

    /// Takes back what was set to fail and has not yet.
    pub fn disarm(&self) {
        let mut platter = self.lock();
        platter.sync_fails = false;
        if platter.operations_left != Some(0) {
            platter.operations_left = None;
        }
    }

    /// How many syncs succeeded.
    #[must_use]
    pub fn syncs(&self) -> u64 {
        self.lock().syncs
    }

    /// The machine lost power and has it back: what was not synced is gone, all or in part. Files
    /// that were open must not be used any more.
    pub fn crash(&self) {
        let mut platter = self.lock();
        platter.operations_left = None;
        platter.sync_fails = false;
        platter.failed = false;
        platter.lose_names();
        platter.lose_writes();
    }

    fn lock(&self) -> MutexGuard<'_, Platter> {
        lock(&self.platter)
    }
}

impl Platter {
    /// Counts a change. False: the power goes off during this one.
    fn change(&mut self) -> io::Result<bool> {
        match &mut self.operations_left {
            None => Ok(true),
            Some(0) => Err(power_is_off()),
            Some(left) => {
                *left -= 1;
                Ok(*left > 0)
            }
        }
    }

    fn powered(&self) -> io::Result<()> {
        if self.operations_left == Some(0) { Err(power_is_off()) } else { Ok(()) }
    }

    fn find(&self, name: &str) -> io::Result<usize> {
        self.names.get(name).copied().ok_or_else(|| {
            io::Error::new(io::ErrorKind::NotFound, format!("no file {name} on the simulated disk"))
        })
    }

    fn lose_names(&mut self) {
        let mut names = std::mem::take(&mut self.durable_names);
        for change in std::mem::take(&mut self.unsynced_names) {
            if self.random.per_mille(500) {
                change.apply(&mut names);
            }
        }
        self.durable_names.clone_from(&names);
        self.names = names;
    }

    fn lose_writes(&mut self) {
        // Nothing, half, or nearly everything survives: all three happen on real disks.
        let kept = *self.random.pick(&[0, 500, 900, 1000]);
        for content in &mut self.files {
            let writes = std::mem::take(&mut content.unsynced);
            for write in writes.iter().rev() {
                content.bytes[write.offset..][..write.before.len()].copy_from_slice(&write.before);
            }
            let last = writes.len().saturating_sub(1);
            for (n, write) in writes.iter().enumerate() {
                let mut at = 0;
                while at < write.after.len() {
                    let sector_end = (write.offset + at) / SECTOR * SECTOR + SECTOR;
                    let end = (sector_end - write.offset).min(write.after.len());
                    if self.random.per_mille(kept) {
                        let torn = n == last && self.random.per_mille(300);
                        let len = if torn { self.random.index(end - at) } else { end - at };
                        let piece = &write.after[at..at + len];
                        content.bytes[write.offset + at..][..len].copy_from_slice(piece);
                    }
                    at = end;
                }
            }
        }
    }
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<String, usize>) {
        match self {
            Self::Rename { from, to } => {
                if let Some(file) = names.remove(from) {
                    names.insert(to.clone(), file);
                }
            }
            Self::Remove { name } => {
                names.remove(name);
            }
        }
    }
}

impl Disk for SimDisk {
    type File = SimFile;

    fn list(&self) -> io::Result<Vec<String>> {
        let platter = self.lock();
        platter.powered()?;
        Ok(platter.names.keys().cloned().collect())
    }

    fn create(&mut self, name: &str, len: u64) -> io::Result<SimFile> {
        let mut platter = self.lock();
        let whole = platter.change()?;
        if platter.names.contains_key(name) {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                format!("a file {name} is on the simulated disk already"),
            ));
        }
        let mut len = usize::try_from(len).map_err(io::Error::other)?;
        if !whole {
            len = platter.random.index(len + 1);
        }
        let file = platter.files.len();
        platter.files.push(Content { bytes: vec![0; len], unsynced: Vec::new() });
        platter.names.insert(name.to_owned(), file);
        platter.durable_names.insert(name.to_owned(), file);
        if !whole {
            return Err(power_is_off());
        }
        Ok(SimFile { platter: Arc::clone(&self.platter), file })
    }

    fn open(&mut self, name: &str) -> io::Result<SimFile> {
        let platter = self.lock();
        platter.powered()?;
        let file = platter.find(name)?;
        Ok(SimFile { platter: Arc::clone(&self.platter), file })
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        let mut platter = self.lock();
        let whole = platter.change()?;
        platter.find(from)?;
        platter.rename_or_remove(NameChange::Rename { from: from.to_owned(), to: to.to_owned() });
        if whole { Ok(()) } else { Err(power_is_off()) }
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        let mut platter = self.lock();
        let whole = platter.change()?;
        platter.find(name)?;
        platter.rename_or_remove(NameChange::Remove { name: name.to_owned() });
        if whole { Ok(()) } else { Err(power_is_off()) }
    }

    fn sync_directory(&mut self) -> io::Result<()> {
        let mut platter = self.lock();
        if !platter.change()? {
            return Err(power_is_off());
        }
        let names = platter.names.clone();
        platter.durable_names = names;
        platter.unsynced_names.clear();
        platter.release_files();
        Ok(())
    }
}

impl Platter {
    fn rename_or_remove(&mut self, change: NameChange) {
        change.apply(&mut self.names);
        self.unsynced_names.push(change);
    }

    /// Frees the bytes of files that have no name any more, not even after a crash.
    fn release_files(&mut self) {
        let mut named = vec![false; self.files.len()];
        for file in self.names.values() {
            named[*file] = true;
        }
        for (content, named) in self.files.iter_mut().zip(named) {
            if !named {
                *content = Content::default();
            }
        }
    }
}

impl DiskFile for SimFile {
    fn len(&self) -> io::Result<u64> {
        let platter = lock(&self.platter);
        platter.powered()?;
        u64::try_from(platter.files[self.file].bytes.len()).map_err(io::Error::other)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let platter = lock(&self.platter);
        platter.powered()?;
        let bytes = &platter.files[self.file].bytes;
        let range = range_in(bytes, offset, buffer.len())?;
        buffer.copy_from_slice(&bytes[range]);
        Ok(())
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut platter = lock(&self.platter);
        let whole = platter.change()?;
        let content = &mut platter.files[self.file];
        let range = range_in(&content.bytes, offset, bytes.len())?;
        let place = &mut content.bytes[range.clone()];
        let before = place.to_vec();
        place.copy_from_slice(bytes);
        content.unsynced.push(Write { offset: range.start, before, after: bytes.to_vec() });
        if whole { Ok(()) } else { Err(power_is_off()) }
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut platter = lock(&self.platter);
        if !platter.change()? {
            return Err(power_is_off());
        }
        if std::mem::take(&mut platter.sync_fails) {
            platter.failed = true;
            return Err(io::Error::other("the simulated disk failed a sync"));
        }
        platter.files[self.file].unsynced.clear();
        platter.syncs += 1;
        Ok(())
    }
}

fn lock(platter: &Mutex<Platter>) -> MutexGuard<'_, Platter> {
    // A panic elsewhere leaves the bytes as they are; the world ends anyway.
    platter.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn power_is_off() -> io::Error {
    io::Error::other("the simulated disk has no power")
}

fn range_in(bytes: &[u8], offset: u64, len: usize) -> io::Result<std::ops::Range<usize>> {
    let start = usize::try_from(offset).map_err(io::Error::other)?;
    match start.checked_add(len) {
        Some(end) if end <= bytes.len() => Ok(start..end),
        _ => Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            format!("{len} bytes at {offset} are not in a file of {} bytes", bytes.len()),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(disk: &mut SimDisk, name: &str) -> Vec<u8> {
        let file = disk.open(name).unwrap();
        let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
        file.read_at(0, &mut bytes).unwrap();
        bytes
    }

    #[test]
    fn what_was_synced_survives_and_the_rest_may_not() {
        let mut outcomes = std::collections::BTreeSet::new();
        for seed in 0..200 {
            let mut disk = SimDisk::new(seed, "disk");
            let mut file = disk.create("a", 2048).unwrap();
            file.write_at(0, &[1; 1024]).unwrap();
            file.sync().unwrap();
            file.write_at(1024, &[2; 1024]).unwrap();
            disk.crash();
            let bytes = read(&mut disk, "a");
            assert_eq!(bytes[..1024], [1; 1024], "seed {seed}");
            assert!(bytes[1024..].iter().all(|byte| [0, 2].contains(byte)), "seed {seed}");
            let kept = |range: std::ops::Range<usize>| {
                bytes[range].iter().filter(|byte| **byte == 2).count()
            };
            outcomes.insert((kept(1024..1536).div_ceil(512), kept(1536..2048).div_ceil(512)));
        }
        assert_eq!(outcomes.len(), 4, "each sector on its own is kept and lost: {outcomes:?}");
    }

    #[test]
    fn the_last_sector_is_torn_at_any_byte() {
        let torn = (0..200).any(|seed| {
            let mut disk = SimDisk::new(seed, "disk");
            disk.create("a", 512).unwrap().write_at(0, &[2; 512]).unwrap();
            disk.crash();
            let kept = read(&mut disk, "a").iter().filter(|byte| **byte == 2).count();
            kept > 0 && kept < 512
        });
        assert!(torn);
    }

    #[test]
    fn a_rename_is_durable_after_the_folder_is_synced() {
        let mut forgotten = 0;
        for seed in 0..50 {
            let mut disk = SimDisk::new(seed, "disk");
            disk.create("a", 1).unwrap();
            disk.rename("a", "b").unwrap();
            disk.crash();
            forgotten += u64::from(disk.list().unwrap() == ["a"]);
            let name = disk.list().unwrap().remove(0);
            disk.rename(&name, "c").unwrap();
            disk.sync_directory().unwrap();
            disk.crash();
            assert_eq!(disk.list().unwrap(), ["c"], "seed {seed}");
        }
        assert!((1..50).contains(&forgotten), "{forgotten}");
    }

    #[test]
    fn without_power_nothing_works_until_the_restart() {
        let mut disk = SimDisk::new(1, "disk");
        let mut file = disk.create("a", 10).unwrap();
        disk.cut_power_after(2);
        file.write_at(0, &[1]).unwrap();
        assert!(!disk.is_off());
        file.sync().unwrap_err();
        assert!(disk.is_off());
        file.write_at(0, &[1]).unwrap_err();
        disk.list().unwrap_err();
        disk.crash();
        assert_eq!(disk.list().unwrap(), ["a"]);
    }

    #[test]
    fn a_failed_sync_tells() {
        let mut disk = SimDisk::new(1, "disk");
        let mut file = disk.create("a", 10).unwrap();
        disk.fail_next_sync();
        file.sync().unwrap_err();
    }

    #[test]
    fn beyond_the_end_is_an_error() {
        let mut disk = SimDisk::new(1, "disk");
        let mut file = disk.create("a", 10).unwrap();
        file.write_at(8, &[1; 3]).unwrap_err();
        file.read_at(u64::MAX, &mut [0]).unwrap_err();
        disk.create("a", 10).unwrap_err();
        disk.open("b").unwrap_err();
    }
}
