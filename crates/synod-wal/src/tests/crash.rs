//! Random work on a log, with the power cut at every sync and between: what was synced is there
//! afterwards, in order, nothing else is but what was appended next, and the log goes on.

use super::try_open;
use crate::memory::MemoryDisk;
use crate::{AppendError, Position, Record, Wal};

/// What the log should hold.
#[derive(Clone, Default)]
struct Model {
    records: Vec<Record>,
    /// So many were synced.
    synced: usize,
    /// Records from here on were not given up.
    needed: Position,
}

impl Model {
    /// Checks what a log was found to hold, and cuts the model down to it.
    fn check_and_cut(&mut self, start: Position, found: &[Record], story: &str) {
        assert!(start <= self.needed.max(start_of_log()), "{story}: too much is gone");
        let kept = self.records.iter().position(|record| record.position >= start);
        let from = kept.unwrap_or(self.records.len());
        let to = from + found.len();
        assert!(to <= self.records.len(), "{story}: more records than were appended");
        assert_eq!(found, &self.records[from..to], "{story}: other records");
        assert!(to >= self.synced, "{story}: {to} of {} synced records", self.synced);
        self.records.truncate(to);
        self.synced = to;
    }
}

fn start_of_log() -> Position {
    Position::from_u64(512)
}

/// The SplitMix64 generator.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (word ^ (word >> 31)) % limit
    }
}

fn open(disk: &MemoryDisk, story: &str) -> (Wal<MemoryDisk>, Vec<Record>) {
    let (wal, _, found) = try_open(disk).unwrap_or_else(|error| panic!("{story}: {error}"));
    (wal, found)
}

fn append(wal: &mut Wal<MemoryDisk>, model: &mut Model, random: &mut Random) {
    // Few lengths and contents, so that new records are like lost ones.
    let len = [0, 8, 40, 700, 2990][usize::try_from(random.below(5)).unwrap()];
    let kind = u8::try_from(random.below(2)).unwrap();
    let payload = vec![kind + 1; len];
    let (front, back) = payload.split_at(len / 3);
    let position = wal.append(kind, &[front, back]).unwrap();
    model.records.push(Record { position, kind, payload: payload.into() });
}

/// One random step.
fn step(disk: &MemoryDisk, wal: &mut Wal<MemoryDisk>, model: &mut Model, random: &mut Random) {
    match random.below(20) {
        0..10 => append(wal, model, random),
        10..16 => {
            wal.sync().unwrap();
            model.synced = model.records.len();
        }
        16 => {
            wal.seal().unwrap();
            model.synced = model.records.len();
        }
        17 => {
            if let Some(order) = wal.order_spare() {
                let spare = order.make(&mut disk.clone()).unwrap();
                wal.adopt_spare(spare);
            }
        }
        _ => {
            let Some(record) = model.records.get(model.records.len() / 2) else { return };
            model.needed = model.needed.max(record.position);
            wal.trim(record.position).unwrap();
        }
    }
}

/// Opens the disk after a crash, checks, appends, closes, opens, and checks again.
fn check_image(image: &MemoryDisk, mut model: Model, random: &mut Random, story: &str) {
    let (mut wal, found) = open(image, story);
    model.check_and_cut(wal.start(), &found, story);
    for record in &found {
        assert_eq!(&wal.read(record.position).unwrap(), record, "{story}");
    }
    for _ in 0..random.below(3) {
        append(&mut wal, &mut model, random);
    }
    wal.sync().unwrap();
    model.synced = model.records.len();
    drop(wal);
    let (wal, found) = open(image, story);
    model.check_and_cut(wal.start(), &found, &format!("{story}, opened again"));
}

/// Checks every moment since the last call. During what ran since then, neither all that it synced
/// nor all that it kept was promised yet: that is `during`. Now `model` is.
fn check_moments(
    disk: &MemoryDisk,
    (during, model): (&Model, &Model),
    images: usize,
    random: &mut Random,
    story: &str,
) {
    let moments = disk.take_moments();
    let last = moments.len() - 1;
    for (number, moment) in moments.iter().enumerate() {
        let expected = if number == last { model } else { during };
        for crash in moment.crashes(images, random.below(u64::MAX)) {
            let story = format!("{story}, moment {number} of 0..={last}, {crash:?}");
            check_image(&moment.crash(crash), expected.clone(), random, &story);
        }
    }
}

/// The disk fails in the middle of a sync, and the log takes nothing more.
fn fail_a_sync(
    disk: &MemoryDisk,
    wal: &mut Wal<MemoryDisk>,
    model: &mut Model,
    random: &mut Random,
) {
    append(wal, model, random);
    append(wal, model, random);
    disk.fail_sync_after(random.below(2));
    if wal.sync().is_err() {
        assert!(wal.sync().is_err());
        assert!(wal.seal().is_err());
        assert_eq!(wal.append(0, &[]), Err(AppendError::Failed));
    } else {
        model.synced = model.records.len();
        disk.fail_sync_after(u64::MAX / 2);
    }
}

fn run(seed: u64, steps: usize, images: usize) {
    let mut random = Random(seed);
    let mut disk = MemoryDisk::new();
    let mut model = Model::default();
    let (mut wal, _) = open(&disk, "new");
    disk.remember_moments();
    for number in 0..steps {
        let story = format!("seed {seed}, step {number}");
        let synced = model.synced;
        if random.below(12) > 0 {
            step(&disk, &mut wal, &mut model, &mut random);
        } else {
            fail_a_sync(&disk, &mut wal, &mut model, &mut random);
            let during = Model { synced, ..model.clone() };
            check_moments(&disk, (&during, &model), images, &mut random, &story);

            // Go on from one of the images, or from the process's death alone.
            let crashes = disk.crashes(8, random.below(u64::MAX));
            let chosen = usize::try_from(random.below(12)).unwrap();
            disk = crashes.get(chosen).map_or_else(|| disk.clone(), |&crash| disk.crash(crash));
            disk.remember_moments();
            let during = model.clone();
            let found;
            (wal, found) = open(&disk, &story);
            model.check_and_cut(wal.start(), &found, &story);
            let story = format!("{story}, opened");
            check_moments(&disk, (&during, &model), images, &mut random, &story);
            continue;
        }
        let during = Model { synced, ..model.clone() };
        check_moments(&disk, (&during, &model), images, &mut random, &story);
    }
}

#[test]
fn after_any_crash_the_log_holds_a_prefix_with_all_that_was_synced() {
    for seed in 0..400 {
        run(seed, 60, 6);
    }
}

#[test]
fn every_image_of_a_small_group_is_recovered() {
    for seed in 1000..1040 {
        run(seed, 25, 64);
    }
}
