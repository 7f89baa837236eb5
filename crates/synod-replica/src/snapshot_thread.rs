//! The thread that reads and puts away pages of snapshots.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TrySendError};
use synod_paxos::message::SnapshotPage;
use synod_paxos::{Message, PageWanted, ReplicaId, ReplicaSet};

use crate::bell::RingingSender;
use crate::log_thread::Done;
use crate::runtime::{self, Outbox};
use crate::snapshot::{Shelf, Taken};

/// What the thread is asked to do.
pub(crate) enum SnapshotJob {
    /// Send a page.
    Serve { to: ReplicaId, wanted: PageWanted, bytes_max: usize },
    /// Put a page away.
    Take(SnapshotPage),
}

/// The way to the thread, which has ended when this is dropped.
pub(crate) struct SnapshotThread {
    jobs: Option<Sender<SnapshotJob>>,
    done: RingingSender<Done>,
    thread: Option<JoinHandle<()>>,
}

/// Jobs that wait. Whoever asks for pages asks again.
const JOBS_MAX: usize = 16;
/// A snapshot that nobody has asked for a page of in so long is let go.
const UNUSED_MAX: Duration = Duration::from_secs(30);

/// Starts the thread.
pub(crate) fn start(
    shelf: Shelf,
    done: RingingSender<Done>,
    outbox: Arc<dyn Outbox>,
) -> io::Result<SnapshotThread> {
    let (jobs, waiting) = crossbeam_channel::bounded(JOBS_MAX);
    let told = done.clone();
    let thread = std::thread::Builder::new()
        .name("synod-snapshot".to_owned())
        .spawn(move || run(shelf, &waiting, &told, &*outbox))?;
    Ok(SnapshotThread { jobs: Some(jobs), done, thread: Some(thread) })
}

impl Drop for SnapshotThread {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // If it panicked it has said so, and a member can go on without snapshots.
            let _ = thread.join();
        }
    }
}

impl SnapshotThread {
    /// Hands a job over, or drops it if too many wait.
    pub(crate) fn offer(&self, job: SnapshotJob) {
        let Some(jobs) = &self.jobs else { return };
        let Err(TrySendError::Full(job) | TrySendError::Disconnected(job)) = jobs.try_send(job)
        else {
            return;
        };
        if let SnapshotJob::Take(_) = job {
            self.done.send(Done::Taken(Taken::Failed("too many snapshots wait".into())));
        }
    }
}

fn run(
    mut shelf: Shelf,
    jobs: &Receiver<SnapshotJob>,
    done: &RingingSender<Done>,
    outbox: &dyn Outbox,
) {
    let mut looked = Instant::now();
    loop {
        match jobs.recv_timeout(UNUSED_MAX) {
            Ok(SnapshotJob::Serve { to, wanted, bytes_max }) => {
                // Whoever asked asks another member if nothing comes.
                if let Ok(Some(page)) = shelf.serve(to, wanted, bytes_max) {
                    runtime::send(outbox, &ReplicaSet::from(to), &Message::SnapshotPage(page));
                }
            }
            Ok(SnapshotJob::Take(page)) => {
                done.send(Done::Taken(shelf.take(&page)));
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        if looked.elapsed() >= UNUSED_MAX {
            looked = Instant::now();
            shelf.forget_unused();
        }
    }
}
