//! How long a synced append takes, by the way the file was made: the measurements behind
//! `docs/decisions/0003-log-on-disk.md`.
//!
//! ```text
//! cargo run --release -p synod-wal --example sync_latency -- FOLDER [SECONDS]
//! ```
//!
//! Writes are sequential and of one size; each is followed by its sync, one at a time. Making and
//! filling files is not counted. `busy` means that another thread writes 1 MiB at a time to a
//! growing file beside it, and syncs it every 16 MiB.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::fs::{FallocateFlags, OFlags};
use synod_wal::{FsDisk, Options, Owner, Wal};

const FILE_BYTES: u64 = 64 << 20;
const PAGE: usize = 4096;

fn main() -> io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let usage = || io::Error::other("usage: sync_latency FOLDER [SECONDS]");
    let folder = PathBuf::from(arguments.next().ok_or_else(usage)?).join("sync-latency");
    let seconds = arguments.next().map_or(Ok(3), |text| text.parse()).map_err(io::Error::other)?;
    fs::create_dir(&folder)?;

    println!("| file | bytes | other writer | syncs/s | p50 µs | p99 µs | max µs |");
    println!("|---|---|---|---|---|---|---|");
    for busy in [false, true] {
        for bytes in [PAGE, 4 * PAGE] {
            let other = busy.then(|| OtherWriter::start(folder.join("other")));
            for way in [Way::Growing, Way::Fallocated, Way::ZeroFilled, Way::DirectDsync] {
                let times = measure(way, &folder, bytes, Duration::from_secs(seconds))?;
                print_row(way.name(), bytes, busy, times);
            }
            let times = measure_log(&folder, bytes, Duration::from_secs(seconds))?;
            print_row("the log (this crate)", bytes, busy, times);
            other.map_or(Ok(()), OtherWriter::stop)?;
        }
    }
    fs::remove_dir_all(&folder)
}

/// How the file is made and written.
#[derive(Clone, Copy)]
enum Way {
    Growing,
    Fallocated,
    ZeroFilled,
    DirectDsync,
}

impl Way {
    const fn name(self) -> &'static str {
        match self {
            Self::Growing => "growing, fdatasync",
            Self::Fallocated => "fallocated, fdatasync",
            Self::ZeroFilled => "zero-filled and recycled, fdatasync",
            Self::DirectDsync => "zero-filled and recycled, O_DIRECT and O_DSYNC",
        }
    }

    /// The file to write next, given the one that is full.
    fn next_file(self, path: &Path, full: Option<File>) -> io::Result<File> {
        if let (Self::ZeroFilled | Self::DirectDsync, Some(full)) = (self, full) {
            return Ok(full);
        }
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true);
        let file = options.open(path)?;
        match self {
            Self::Growing => {}
            Self::Fallocated => {
                rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, FILE_BYTES)?;
            }
            Self::ZeroFilled | Self::DirectDsync => {
                let zeros = vec![0; 1 << 20];
                (0..FILE_BYTES >> 20).try_for_each(|_| (&file).write_all(&zeros))?;
            }
        }
        file.sync_all()?;
        if !matches!(self, Self::DirectDsync) {
            return Ok(file);
        }
        let flags = (OFlags::DIRECT | OFlags::DSYNC).bits();
        let flags = i32::try_from(flags).map_err(io::Error::other)?;
        OpenOptions::new().write(true).custom_flags(flags).open(path)
    }
}

fn measure(way: Way, folder: &Path, bytes: usize, time: Duration) -> io::Result<Vec<Duration>> {
    // Direct writes must come from an aligned place.
    let buffer = vec![0xa5; bytes + PAGE];
    let from = buffer.as_ptr().align_offset(PAGE);
    let payload = &buffer[from..from + bytes];

    let path = folder.join("measured");
    let step = u64::try_from(bytes).map_err(io::Error::other)?;
    let mut file = way.next_file(&path, None)?;
    let mut offset = 0;
    let mut times = Vec::new();
    let mut spent = Duration::ZERO;
    while spent < time {
        if offset == FILE_BYTES {
            file = way.next_file(&path, Some(file))?;
            offset = 0;
        }
        let begin = Instant::now();
        file.write_all_at(payload, offset)?;
        if !matches!(way, Way::DirectDsync) {
            file.sync_data()?;
        }
        let taken = begin.elapsed();
        times.push(taken);
        spent += taken;
        offset += step;
    }
    fs::remove_file(&path)?;
    Ok(times)
}

fn measure_log(folder: &Path, bytes: usize, time: Duration) -> io::Result<Vec<Duration>> {
    let folder = folder.join("log");
    let disk = FsDisk::open(&folder).map_err(io::Error::other)?;
    let opened = Wal::open(disk, Owner([0; 32]), Options::default(), |_| {});
    let (mut wal, _) = opened.map_err(io::Error::other)?;
    let payload = vec![0xa5; bytes];
    let mut times = Vec::new();
    let mut spent = Duration::ZERO;
    while spent < time {
        wal.prepare()?;
        let begin = Instant::now();
        wal.append(1, &[&payload]).map_err(io::Error::other)?;
        wal.sync()?;
        let taken = begin.elapsed();
        times.push(taken);
        spent += taken;
        if wal.status().segments > 2 {
            let end = wal.end();
            wal.trim(end)?;
        }
    }
    drop(wal);
    fs::remove_dir_all(&folder)?;
    Ok(times)
}

fn print_row(name: &str, bytes: usize, busy: bool, mut times: Vec<Duration>) {
    times.sort_unstable();
    let spent: Duration = times.iter().sum();
    let micros = |permille: usize| times[(times.len() - 1) * permille / 1000].as_micros();
    let per_second =
        u128::try_from(times.len()).unwrap_or(0) * 1_000_000 / spent.as_micros().max(1);
    let other = if busy { "yes" } else { "no" };
    println!(
        "| {name} | {bytes} | {other} | {per_second} | {} | {} | {} |",
        micros(500),
        micros(990),
        micros(1000)
    );
}

/// Another writer on the same disk.
struct OtherWriter {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<io::Result<()>>,
    path: PathBuf,
}

impl OtherWriter {
    fn start(path: PathBuf) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, file) = (Arc::clone(&stop), path.clone());
        let thread = thread::spawn(move || {
            let chunk = vec![0x5a; 1 << 20];
            while !stopped.load(Ordering::Relaxed) {
                // Begun again at 1 GiB.
                let mut file = File::create(&file)?;
                for number in 1..=1024 {
                    if stopped.load(Ordering::Relaxed) {
                        break;
                    }
                    file.write_all(&chunk)?;
                    if number % 16 == 0 {
                        file.sync_data()?;
                    }
                }
            }
            Ok(())
        });
        Self { stop, thread, path }
    }

    fn stop(self) -> io::Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| io::Error::other("the other writer panicked"))??;
        fs::remove_file(self.path)
    }
}
