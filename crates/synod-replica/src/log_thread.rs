//! The thread that owns the log: group commit.
//!
//! It takes all jobs that wait, appends, syncs once, and reports the last record: while one sync
//! runs, the records of the next one gather, so the busier the disk, the larger the group.

use crossbeam_channel::{Receiver, Sender};
use synod_paxos::message::Learned;
use synod_paxos::{PersistId, Record, ReplicaId, Slot};
use synod_wal::Disk;

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
pub(crate) fn run<D: Disk>(mut log: Log<D>, jobs: &Receiver<Job>, done: &Sender<Done>) {
    if let Err(error) = work(&mut log, jobs, done) {
        // A driver that is gone needs no reason any more.
        let _ = done.send(Done::Failed(error));
    }
}

fn work<D: Disk>(
    log: &mut Log<D>,
    jobs: &Receiver<Job>,
    done: &Sender<Done>,
) -> Result<(), LogError> {
    log.prepare()?;
    while let Ok(first) = jobs.recv() {
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
                        report(done, Done::Chosen(to, Learned { from, values, chosen }));
                    }
                }
                Job::Trim { below } => log.trim(below)?,
            }
        }
        if let Some(id) = last {
            log.sync()?;
            report(done, Done::Durable(id));
        }
        if jobs.is_empty() {
            log.prepare()?;
        }
    }
    log.seal()
}

fn report(done: &Sender<Done>, what: Done) {
    // A driver that is gone has closed the queue of jobs too, which ends this thread.
    let _ = done.send(what);
}

/// A group takes no more jobs than this, so that those who wait for its sync wait not too long.
const GROUP_JOBS_MAX: usize = 1024;
