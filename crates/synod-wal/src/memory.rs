//! A disk in memory that forgets like a real one, for tests.
//!
//! Writes go to a cache that all handles see at once, as in an operating system; a sync makes those
//! of its file durable. [`MemoryDisk::crash_images`] gives disks as they may be found after the
//! power went: of the unsynced writes any set of sectors, old or new, in any combination, and of
//! the unsynced renames and removals any number of the first ones.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::disk::{Disk, DiskFile};

/// The unit that a disk writes entirely or not at all.
pub const SECTOR_BYTES: usize = 512;

/// A disk in memory. Clones are handles to the same disk.
#[derive(Clone, Debug, Default)]
pub struct MemoryDisk {
    state: Arc<Mutex<State>>,
}

/// A file of a [`MemoryDisk`].
#[derive(Clone, Debug)]
pub struct MemoryFile {
    id: usize,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    /// All files ever made; names point here.
    files: Vec<Content>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    /// What happened to the names since the directory was synced.
    unsynced_names: Vec<NameChange>,
    syncs: u64,
    fail_at_sync: Option<u64>,
    /// The disk before each sync, if these are wanted.
    moments: Option<Vec<Self>>,
}

#[derive(Clone, Debug)]
struct Content {
    cached: Vec<u8>,
    durable: Vec<u8>,
    /// The sectors written since the last sync, in order.
    unsynced: Vec<usize>,
}

#[derive(Clone, Debug)]
enum NameChange {
    Rename { from: String, to: String },
    Remove { name: String },
}

/// Which of the possible disks after a crash.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Crash {
    /// How many of the first unsynced renames and removals survive, as a number modulo the
    /// possible counts.
    pub names: u64,
    /// Which of the unsynced sectors survive: bit `n` for the `n`th, from a stream of such words.
    pub sectors: Sectors,
}

/// Which of the unsynced sectors survive a crash.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Sectors {
    /// None.
    None,
    /// All.
    All,
    /// Those whose bit is set; those beyond 64 do not survive.
    Bits(u64),
    /// Each by the toss of a coin, all from this seed.
    Random(u64),
}

impl MemoryDisk {
    /// An empty disk.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many sectors were written and not synced.
    pub fn unsynced_sectors(&self) -> usize {
        self.state().files.iter().map(|file| file.unsynced.len()).sum()
    }

    /// How many renames and removals were made and not synced.
    pub fn unsynced_names(&self) -> usize {
        self.state().unsynced_names.len()
    }

    /// How often a file or the directory was synced.
    pub fn syncs(&self) -> u64 {
        self.state().syncs
    }

    /// Lets the sync after the next `count` ones fail. What was unsynced then stays so.
    pub fn fail_sync_after(&self, count: u64) {
        let mut state = self.state();
        state.fail_at_sync = Some(state.syncs + count);
    }

    /// From now on, remembers the disk as it was before each sync.
    pub fn remember_moments(&self) {
        self.state().moments = Some(Vec::new());
    }

    /// The disk as it was before each sync since the last call, and as it is now.
    pub fn take_moments(&self) -> Vec<Self> {
        let mut state = self.state();
        let mut moments = state.moments.replace(Vec::new()).unwrap_or_default();
        moments.push(state.copy());
        let disk = |state| Self { state: Arc::new(Mutex::new(state)) };
        moments.into_iter().map(disk).collect()
    }

    /// A disk as this crash would leave it. This one stays as it is.
    pub fn crash(&self, crash: Crash) -> Self {
        let mut state = self.state().copy();
        let survivors = 1 + u64::try_from(state.unsynced_names.len()).unwrap_or(0);
        let kept = usize::try_from(crash.names % survivors).unwrap_or(0);
        let mut names = state.durable_names.clone();
        for change in state.unsynced_names.drain(..).take(kept) {
            change.apply(&mut names);
        }
        let mut coin = Coin::new(crash.sectors);
        for file in &mut state.files {
            file.crash(&mut coin);
        }
        (state.names, state.durable_names) = (names.clone(), names);
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// Disks as they may be found after a crash now: every one if there are at most `max`, else
    /// the extreme ones and as many others, drawn by the seed, as make `max`.
    pub fn crash_images(&self, max: usize, seed: u64) -> Vec<Self> {
        self.crashes(max, seed).into_iter().map(|crash| self.crash(crash)).collect()
    }

    /// The crashes behind [`MemoryDisk::crash_images`], for a test that names the one that failed.
    pub fn crashes(&self, max: usize, seed: u64) -> Vec<Crash> {
        let names = u64::try_from(self.unsynced_names()).unwrap_or(u64::MAX - 1) + 1;
        let sectors = u32::try_from(self.unsynced_sectors()).unwrap_or(u32::MAX);
        let subsets = 1_u64.checked_shl(sectors).unwrap_or(u64::MAX);
        let all = names.saturating_mul(subsets);
        if usize::try_from(all).is_ok_and(|all| all <= max) {
            return (0..names)
                .flat_map(|names| (0..subsets).map(move |bits| (names, Sectors::Bits(bits))))
                .map(|(names, sectors)| Crash { names, sectors })
                .collect();
        }
        let extremes = [0, names - 1].into_iter().flat_map(|names| {
            [Sectors::None, Sectors::All].map(|sectors| Crash { names, sectors })
        });
        let mut random = Coin { word: seed, sectors: Sectors::Random(seed), index: 0 };
        let drawn = std::iter::repeat_with(|| Crash {
            names: random.next_word() % names,
            sectors: Sectors::Random(random.next_word()),
        });
        extremes.chain(drawn).take(max).collect()
    }

    /// The content of a file as all see it.
    pub fn content(&self, name: &str) -> Option<Vec<u8>> {
        let state = self.state();
        state.names.get(name).map(|&id| state.files[id].cached.clone())
    }

    /// Puts a file there, durable at once, in place of one of that name.
    pub fn put(&self, name: &str, content: Vec<u8>) {
        let mut state = self.state();
        state.add(name, content);
    }

    /// Changes bytes behind everybody's back, as a failing disk does: durable at once, and seen by
    /// open handles. Nothing happens if there is no such place.
    pub fn damage(&self, name: &str, offset: usize, change: impl FnOnce(&mut u8)) {
        let mut state = self.state();
        let Some(&id) = state.names.get(name) else { return };
        let file = &mut state.files[id];
        if let Some(byte) = file.cached.get_mut(offset) {
            change(byte);
            file.durable[offset] = *byte;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn file(&self, id: usize) -> MemoryFile {
        MemoryFile { id, state: Arc::clone(&self.state) }
    }
}

impl Disk for MemoryDisk {
    type File = MemoryFile;

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.state().names.keys().cloned().collect())
    }

    fn create(&mut self, name: &str, len: u64) -> io::Result<MemoryFile> {
        let mut state = self.state();
        if state.names.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        state.count_sync()?;
        let len = usize::try_from(len).map_err(|_| io::ErrorKind::FileTooLarge)?;
        let id = state.add(name, vec![0; len]);
        drop(state);
        Ok(self.file(id))
    }

    fn open(&mut self, name: &str) -> io::Result<MemoryFile> {
        let id = self.state().names.get(name).copied().ok_or(io::ErrorKind::NotFound)?;
        Ok(self.file(id))
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        self.state().change(NameChange::Rename { from: from.to_owned(), to: to.to_owned() })
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        self.state().change(NameChange::Remove { name: name.to_owned() })
    }

    fn sync_directory(&mut self) -> io::Result<()> {
        let mut state = self.state();
        state.count_sync()?;
        state.make_names_durable();
        Ok(())
    }
}

impl MemoryFile {
    fn with<T>(&self, act: impl FnOnce(&mut Content) -> T) -> T {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        act(&mut state.files[self.id])
    }
}

impl DiskFile for MemoryFile {
    fn len(&self) -> io::Result<u64> {
        self.with(|file| u64::try_from(file.cached.len()).map_err(io::Error::other))
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.with(|file| {
            let range = range(offset, buffer.len(), file.cached.len())?;
            buffer.copy_from_slice(&file.cached[range]);
            Ok(())
        })
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.with(|file| {
            let range = range(offset, bytes.len(), file.cached.len())?;
            file.cached[range.clone()].copy_from_slice(bytes);
            for sector in range.start / SECTOR_BYTES..range.end.div_ceil(SECTOR_BYTES) {
                if !file.unsynced.contains(&sector) {
                    file.unsynced.push(sector);
                }
            }
            Ok(())
        })
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.count_sync()?;
        let file = &mut state.files[self.id];
        for sector in std::mem::take(&mut file.unsynced) {
            let range = sector_range(sector, file.cached.len());
            file.durable[range.clone()].copy_from_slice(&file.cached[range]);
        }
        Ok(())
    }
}

impl State {
    fn add(&mut self, name: &str, content: Vec<u8>) -> usize {
        let id = self.files.len();
        self.files.push(Content { durable: content.clone(), cached: content, unsynced: vec![] });
        self.names.insert(name.to_owned(), id);
        self.durable_names.insert(name.to_owned(), id);
        id
    }

    fn change(&mut self, change: NameChange) -> io::Result<()> {
        if !change.apply(&mut self.names) {
            return Err(io::ErrorKind::NotFound.into());
        }
        self.unsynced_names.push(change);
        Ok(())
    }

    fn make_names_durable(&mut self) {
        self.durable_names = self.names.clone();
        self.unsynced_names.clear();
    }

    /// A copy without the past.
    fn copy(&self) -> Self {
        Self {
            files: self.files.clone(),
            names: self.names.clone(),
            durable_names: self.durable_names.clone(),
            unsynced_names: self.unsynced_names.clone(),
            syncs: self.syncs,
            fail_at_sync: None,
            moments: None,
        }
    }

    fn count_sync(&mut self) -> io::Result<()> {
        if let Some(mut moments) = self.moments.take() {
            moments.push(self.copy());
            self.moments = Some(moments);
        }
        if self.fail_at_sync == Some(self.syncs) {
            self.fail_at_sync = None;
            return Err(io::Error::other("the disk was told to fail"));
        }
        self.syncs += 1;
        Ok(())
    }
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<String, usize>) -> bool {
        match self {
            Self::Rename { from, to } => match names.remove(from) {
                Some(id) => {
                    names.insert(to.clone(), id);
                    true
                }
                None => false,
            },
            Self::Remove { name } => names.remove(name).is_some(),
        }
    }
}

impl Content {
    fn crash(&mut self, coin: &mut Coin) {
        for sector in std::mem::take(&mut self.unsynced) {
            if coin.survives() {
                let range = sector_range(sector, self.cached.len());
                self.durable[range.clone()].copy_from_slice(&self.cached[range]);
            }
        }
        self.cached.clone_from(&self.durable);
    }
}

/// Decides sector by sector.
struct Coin {
    sectors: Sectors,
    index: u32,
    word: u64,
}

impl Coin {
    const fn new(sectors: Sectors) -> Self {
        let word = if let Sectors::Random(seed) = sectors { seed } else { 0 };
        Self { sectors, index: 0, word }
    }

    fn survives(&mut self) -> bool {
        let index = self.index;
        self.index += 1;
        match self.sectors {
            Sectors::None => false,
            Sectors::All => true,
            Sectors::Bits(bits) => bits.checked_shr(index).is_some_and(|bits| bits & 1 == 1),
            Sectors::Random(_) => self.next_word() & 1 == 1,
        }
    }

    /// The SplitMix64 generator.
    const fn next_word(&mut self) -> u64 {
        self.word = self.word.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.word;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }
}

fn range(offset: u64, len: usize, file_len: usize) -> io::Result<std::ops::Range<usize>> {
    let start = usize::try_from(offset).ok();
    start
        .and_then(|start| Some(start..start.checked_add(len)?))
        .filter(|range| range.end <= file_len)
        .ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}

fn sector_range(sector: usize, file_len: usize) -> std::ops::Range<usize> {
    let start = sector * SECTOR_BYTES;
    start..(start + SECTOR_BYTES).min(file_len)
}
