//! The thread that owns the log: group commit.
//!
//! It takes all jobs that wait, appends, syncs once, and reports the last record: while one sync
//! runs, the records of the next one gather, so the busier the disk, the larger the group.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, TryRecvError};
use synod_paxos::message::Learned;
use synod_paxos::{Message, PersistId, Record, ReplicaId, ReplicaSet, Slot};
use synod_wal::{Disk, Spare};

use crate::bell::{Bell, RingingSender};
use crate::log::{Log, LogError};
use crate::runtime::{self, Outbox};
use crate::snapshot::Taken;

/// What the log is asked to do, in this order.
pub(crate) enum Job {
    /// Make records durable, then send what waited for them.
    Append {
        records: Vec<(PersistId, Record)>,
        sends: Vec<(ReplicaSet, Message)>,
    },
    ServeChosen {
        to: ReplicaId,
        from: Slot,
        chosen: Slot,
        bytes_max: usize,
    },
    Trim {
        below: Slot,
    },
}

/// What it has done.
pub(crate) enum Done {
    /// This record and all before it are durable.
    Durable(PersistId),
    /// Chosen values for a member that lags.
    Chosen(ReplicaId, Learned),
    /// The log does not hold what this member lacks from this slot on.
    Unserved(ReplicaId, Slot),
    /// The log holds more than it should below the first slot, more than it may below the second.
    Bounds(Slot, Slot),
    /// What became of a page of a snapshot.
    Taken(Taken),
    /// It does nothing more.
    Failed(LogError),
}

/// What the log's thread works with.
pub(crate) struct LogWorld {
    /// Rings when a job comes.
    pub(crate) bell: Bell,
    pub(crate) jobs: Receiver<Job>,
    pub(crate) done: RingingSender<Done>,
    /// Whether the driver wants to be woken when records are durable.
    pub(crate) impatient: Arc<AtomicBool>,
    pub(crate) outbox: Arc<dyn Outbox>,
    /// Of the log on disk, if members that lag are all that need it.
    pub(crate) log_bytes_max: u64,
}

/// Works until the queue of jobs is closed, or the log fails.
pub(crate) fn run<D: Disk + Clone>(mut log: Log<D>, world: &LogWorld) {
    let mut spares = Spares::new();
    if let Err(error) = world.work(&mut log, &mut spares) {
        // A driver that is gone needs no reason any more.
        world.done.send(Done::Failed(error));
    }
}

impl LogWorld {
    fn work<D: Disk + Clone>(&self, log: &mut Log<D>, spares: &mut Spares) -> Result<(), LogError> {
        let mut grown_at = log.status().end.to_u64();
        spares.keep_one(log);
        while let Some(first) = self.next_job() {
            let (mut last, mut waiting) = (None, Vec::new());
            for job in std::iter::once(first).chain(self.jobs.try_iter().take(GROUP_JOBS_MAX)) {
                match job {
                    Job::Append { records, sends } => {
                        for (id, record) in records {
                            log.append(&record)?;
                            last = Some(id);
                        }
                        waiting.extend(sends);
                    }
                    Job::ServeChosen { to, from, chosen, bytes_max } => {
                        let values = log.read_chosen(from, chosen, bytes_max)?;
                        // A driver that is gone has closed the queue of jobs too.
                        self.done.send(match values.is_empty() {
                            true => Done::Unserved(to, from),
                            false => Done::Chosen(to, Learned { from, values, chosen }),
                        });
                    }
                    Job::Trim { below } => log.trim(below)?,
                }
            }
            if last.is_some() {
                log.sync()?;
            }
            // Jobs come in order: what these wait for is in this group or in an earlier one.
            for (to, message) in &waiting {
                runtime::send(&*self.outbox, to, message);
            }
            if let Some(id) = last {
                self.tell_durable(id);
            }
            self.tell_bounds(log, &mut grown_at);
            spares.keep_one(log);
        }
        log.seal()
    }

    /// The next job; `None` if the queue is closed.
    fn next_job(&self) -> Option<Job> {
        loop {
            match self.jobs.try_recv() {
                Ok(job) => return Some(job),
                Err(TryRecvError::Empty) => self.bell.wait(),
                Err(TryRecvError::Disconnected) => return None,
            }
        }
    }

    /// Says what is too much, now and then as the log grows.
    fn tell_bounds<D: Disk + Clone>(&self, log: &Log<D>, grown_at: &mut u64) {
        let end = log.status().end.to_u64();
        if end.saturating_sub(*grown_at) < self.log_bytes_max / BOUND_STEPS {
            return;
        }
        *grown_at = end;
        let (soft, hard) = log.bounded(self.log_bytes_max, self.log_bytes_max.saturating_mul(2));
        self.done.put(Done::Bounds(soft, hard));
    }

    fn tell_durable(&self, id: PersistId) {
        self.done.put(Done::Durable(id));
        // Sequentially consistent, as is the driver's side; see there.
        if self.impatient.load(Ordering::SeqCst) {
            self.done.ring();
        }
    }
}

/// Has spare files made by another thread, one at a time, so that beginning a segment is cheap.
struct Spares {
    made: Receiver<io::Result<Spare>>,
    maker: Sender<io::Result<Spare>>,
    making: Option<JoinHandle<()>>,
    /// None is ordered before the log ends here.
    not_before: u64,
}

impl Spares {
    fn new() -> Self {
        let (maker, made) = crossbeam_channel::bounded(1);
        Self { made, maker, making: None, not_before: 0 }
    }

    /// Takes over a file that was made, and orders one if the log has none.
    fn keep_one<D: Disk + Clone>(&mut self, log: &mut Log<D>) {
        let end = log.status().end.to_u64();
        match self.made.try_recv() {
            Ok(Ok(spare)) => {
                log.adopt_spare(spare);
                self.making = None;
            }
            // There was no room: there may be some later. If not, the log makes its next file
            // itself when it needs it, and fails if it cannot.
            Ok(Err(_)) => {
                self.making = None;
                self.not_before = end.saturating_add(RETRY_BYTES);
            }
            Err(_) => {}
        }
        if self.making.is_some() || end < self.not_before {
            return;
        }
        let Some((mut disk, order)) = log.order_spare() else { return };
        let maker = self.maker.clone();
        let thread = std::thread::Builder::new().name("synod-spare".to_owned());
        self.making = thread
            .spawn(move || {
                // Nobody takes it if the log has ended; the next opening finds the file.
                let _ = maker.send(order.make(&mut disk));
            })
            .ok();
    }
}

/// The folder is free when the log has ended: the maker has it, too, and works to its end.
impl Drop for Spares {
    fn drop(&mut self) {
        if let Some(making) = self.making.take() {
            // A maker that panicked has said so; the log makes its next file itself.
            let _ = making.join();
        }
    }
}

/// After a failure, a spare file is ordered again when the log has grown by so much.
const RETRY_BYTES: u64 = 1 << 20;

/// A group takes no more jobs than this, so that those who wait for its sync wait not too long.
const GROUP_JOBS_MAX: usize = 1024;

/// Of the bytes that the log may have: after each such part it is looked at again.
const BOUND_STEPS: u64 = 16;

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use bytes::Bytes;
    use synod_paxos::message::Accepted;
    use synod_paxos::{Ballot, Incarnation, Recovered};
    use synod_wal::memory::{Crash, MemoryDisk, Sectors};

    use super::*;
    use crate::bell;

    /// Notes what is sent, each time with what a power cut at that moment would leave of the log.
    struct Witness {
        disk: MemoryDisk,
        sent: Arc<Mutex<Vec<(ReplicaId, Ballot)>>>,
    }

    impl Outbox for Witness {
        fn send(&self, to: ReplicaId, _bulk: bool, _frame: Bytes) {
            let left = self.disk.crash(Crash { names: 0, sectors: Sectors::None });
            self.sent.lock().unwrap().push((to, open(&left).1.promised));
        }
    }

    fn open(disk: &MemoryDisk) -> (Log<MemoryDisk>, Recovered) {
        let (me, disk_life) = (ReplicaId::new(1), Incarnation::new(7));
        let options = synod_wal::Options::default();
        let (log, opened) =
            Log::open(disk.clone(), 5, me, disk_life, options, Slot::FIRST).unwrap();
        (log, opened.recovered)
    }

    const fn ballot(round: u64) -> Ballot {
        Ballot { round, replica: ReplicaId::new(2) }
    }

    /// Promises in this ballot, and tells this member.
    fn promise(round: u64, tell: u64) -> Job {
        let accepted = Accepted { ballot: ballot(round), slot: Slot::FIRST };
        Job::Append {
            records: vec![(PersistId::new(round), Record::Promised(ballot(round)))],
            sends: vec![(ReplicaSet::from(ReplicaId::new(tell)), Message::Accepted(accepted))],
        }
    }

    #[test]
    fn messages_leave_when_what_they_wait_for_is_durable() {
        let disk = MemoryDisk::new();
        let (log, _) = open(&disk);
        let bell = Bell::default();
        let (jobs, jobs_waiting) = bell::unbounded(&bell);
        let (done, reports) = bell::unbounded(&Bell::default());
        let sent = Arc::new(Mutex::new(Vec::new()));
        let outbox = Arc::new(Witness { disk, sent: Arc::clone(&sent) });
        let impatient = Arc::new(AtomicBool::new(false));
        assert!(jobs.send(promise(1, 2)) && jobs.send(promise(2, 3)));
        drop(jobs);
        run(
            log,
            &LogWorld { bell, jobs: jobs_waiting, done, impatient, outbox, log_bytes_max: 1 << 30 },
        );

        let expected = [(ReplicaId::new(2), ballot(2)), (ReplicaId::new(3), ballot(2))];
        assert_eq!(*sent.lock().unwrap(), expected, "one sync for both, and then the messages");
        let durable = reports
            .try_iter()
            .map(|done| matches!(done, Done::Durable(id) if id == PersistId::new(2)));
        assert_eq!(durable.collect::<Vec<_>>(), [true]);
    }
}
