//! The thread that owns the log: group commit.
//!
//! It takes all jobs that wait, appends, syncs once, and reports the last record: while one sync
//! runs, the records of the next one gather, so the busier the disk, the larger the group.

use std::io;

use crossbeam_channel::{Receiver, Sender, TryRecvError};
use synod_paxos::message::Learned;
use synod_paxos::{PersistId, Record, ReplicaId, Slot};
use synod_wal::{Disk, Spare};

use crate::bell::{Bell, RingingSender};
use crate::log::{Log, LogError};

/// What the log is asked to do, in this order.
pub(crate) enum Job {
    Append(Vec<(PersistId, Record)>),
    ServeChosen { to: ReplicaId, from: Slot, chosen: Slot, bytes_max: usize },
    Trim { below: Slot },
}

/// What it has done.
pub(crate) enum Done {
    /// This record and all before it are durable.
    Durable(PersistId),
    /// Chosen values for a member that lags.
    Chosen(ReplicaId, Learned),
    /// It does nothing more.
    Failed(LogError),
}

/// Works until the queue of jobs is closed, or the log fails.
pub(crate) fn run<D: Disk + Clone>(
    mut log: Log<D>,
    bell: &Bell,
    jobs: &Receiver<Job>,
    done: &RingingSender<Done>,
) {
    if let Err(error) = work(&mut log, bell, jobs, done) {
        // A driver that is gone needs no reason any more.
        done.send(Done::Failed(error));
    }
}

/// The next job; `None` if the queue is closed.
fn next_job(bell: &Bell, jobs: &Receiver<Job>) -> Option<Job> {
    loop {
        match jobs.try_recv() {
            Ok(job) => return Some(job),
            Err(TryRecvError::Empty) => bell.wait(None),
            Err(TryRecvError::Disconnected) => return None,
        }
    }
}

fn work<D: Disk + Clone>(
    log: &mut Log<D>,
    bell: &Bell,
    jobs: &Receiver<Job>,
    done: &RingingSender<Done>,
) -> Result<(), LogError> {
    let mut spares = Spares::new();
    spares.keep_one(log);
    while let Some(first) = next_job(bell, jobs) {
        let mut last = None;
        for job in std::iter::once(first).chain(jobs.try_iter().take(GROUP_JOBS_MAX)) {
            match job {
                Job::Append(records) => {
                    for (id, record) in records {
                        log.append(&record)?;
                        last = Some(id);
                    }
                }
                Job::ServeChosen { to, from, chosen, bytes_max } => {
                    let values = log.read_chosen(from, chosen, bytes_max)?;
                    if !values.is_empty() {
                        // A driver that is gone has closed the queue of jobs too.
                        done.send(Done::Chosen(to, Learned { from, values, chosen }));
                    }
                }
                Job::Trim { below } => log.trim(below)?,
            }
        }
        if let Some(id) = last {
            log.sync()?;
            done.send(Done::Durable(id));
        }
        spares.keep_one(log);
    }
    log.seal()
}

/// Has spare files made by another thread, one at a time, so that beginning a segment is cheap.
struct Spares {
    made: Receiver<io::Result<Spare>>,
    maker: Sender<io::Result<Spare>>,
    ordered: bool,
}

impl Spares {
    fn new() -> Self {
        let (maker, made) = crossbeam_channel::bounded(1);
        Self { made, maker, ordered: false }
    }

    /// Takes over a file that was made, and orders one if the log has none.
    fn keep_one<D: Disk + Clone>(&mut self, log: &mut Log<D>) {
        // After a failure nothing more is ordered: the log makes its next file itself, and fails
        // if it cannot.
        if let Ok(Ok(spare)) = self.made.try_recv() {
            log.adopt_spare(spare);
            self.ordered = false;
        }
        if self.ordered {
            return;
        }
        let Some((mut disk, order)) = log.order_spare() else { return };
        let maker = self.maker.clone();
        let thread = std::thread::Builder::new().name("synod-spare".to_owned());
        self.ordered = thread
            .spawn(move || {
                // Nobody takes it if the log has ended; the next opening finds the file.
                let _ = maker.send(order.make(&mut disk));
            })
            .is_ok();
    }
}

/// A group takes no more jobs than this, so that those who wait for its sync wait not too long.
const GROUP_JOBS_MAX: usize = 1024;
