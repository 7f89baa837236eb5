//! The driver in production: one thread for the protocol, one for the disk.
//!
//! ```text
//!   Handle ── requests ──▶ ┌────────┐ ── records ──▶ ┌─────┐
//!   peers ─── messages ──▶ │ driver │               │ log │  appends all that waits, syncs once
//!                          └────────┘ ◀── durable ── └─────┘
//!                               └────▶ Outbox ◀─────────┘  frames to peers
//! ```
//!
//! A message that waits for records goes to the log's thread together with them, and from there to
//! the peer: the driver wakes for what the disk has done only if it waits for nothing else.
//!
//! The driver thread sleeps until something comes in or a timer is due, takes what waits, and lets
//! the driver work it off in one round: there is no timer for batches and nothing is polled. It
//! sleeps in a runtime of its own ([`Running::io`]), where peers' connections can be read: what a
//! peer sends then wakes the driver, and not first another thread, which wakes it. What
//! waits is bounded in number and bytes; beyond, messages are dropped (the protocol repeats itself)
//! and requests are refused as busy.
//!
//! When the log fails, the member stops: nothing is sent any more, and [`Running::join`] says why.

use std::io;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use crossbeam_channel::Receiver;
use synod_paxos::message::SnapshotPage;
use synod_paxos::{
    Event, HaltReason, Identity, Message, PageWanted, PersistId, Record, Recovered, ReplicaId,
    ReplicaSet, Slot, Time,
};
use synod_wal::Disk;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;
use tokio::time::timeout_at;

use crate::bell::{self, Bell, RingingSender};
use crate::client::TransferError;
use crate::codec::encode_message;
use crate::driver::{Driver, DriverOptions, Effects};
use crate::handle::{Handle, Limits};
use crate::inputs::{self, Input, Inputs, OneQuery, OneReply, Request};
use crate::log::{Log, LogError};
use crate::log_thread::{self, Done, Job, LogWorld};
use crate::machine::StateMachine;
use crate::snapshot::Shelf;
use crate::snapshot_thread::{self, SnapshotJob, SnapshotThread};
use crate::status::SharedStatus;

/// Where frames go. It must not block, and may drop: the protocol repeats what matters.
pub trait Outbox: Send + Sync + 'static {
    /// Sends a frame. A `bulk` one must not stand in the way of the others.
    fn send(&self, to: ReplicaId, bulk: bool, frame: Bytes);
}

/// What a member is started with.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RuntimeOptions {
    /// The protocol's.
    pub paxos: synod_paxos::Options,
    /// The driver's.
    pub driver: DriverOptions,
    /// The largest command. A log's record and a transport's frame hold one of this size and some
    /// hundred bytes more. Default 2 MiB: etcd's requests, at most 1.5 MiB, fit.
    pub payload_bytes_max: usize,
    /// Messages, and requests, that wait for the driver thread. Default 8,192 each.
    pub queue_max: NonZeroUsize,
    /// Bytes of messages, and of requests, that wait for it. Default 64 MiB each.
    pub queue_bytes_max: usize,
    /// Bytes of the log that are kept for members that lag; twice as many while one catches up. Who
    /// needs more gets a snapshot, if the machine has them. Default 512 MiB.
    pub log_bytes_max: u64,
    /// After this a command or a read that found no answer is given up. Default 5 s, as etcd.
    pub request_timeout: Duration,
}

impl Default for RuntimeOptions {
    fn default() -> Self {
        Self {
            paxos: synod_paxos::Options::default(),
            driver: DriverOptions::default(),
            payload_bytes_max: 2 << 20,
            queue_max: NonZeroUsize::new(8192).expect("8192 is not 0"),
            queue_bytes_max: 64 << 20,
            log_bytes_max: 512 << 20,
            request_timeout: Duration::from_secs(5),
        }
    }
}

/// Why a member ended.
#[derive(Debug)]
pub enum Exit {
    /// It was asked to.
    Stopped,
    /// The protocol forbids it to go on.
    Halted(HaltReason),
    /// Its log failed. The state of the disk is unknown: only a new process may look at it.
    LogFailed(LogError),
}

/// A member at work.
#[derive(Debug)]
pub struct Running<M: StateMachine> {
    handle: Handle<M>,
    io: tokio::runtime::Handle,
    driver: JoinHandle<Exit>,
}

impl<M: StateMachine> Running<M> {
    /// Starts a member as its log left it.
    ///
    /// # Errors
    /// If the system has no thread, or no file to wait for sockets with.
    pub fn start<D: Disk + Clone>(
        identity: Identity,
        options: RuntimeOptions,
        (log, recovered): (Log<D>, Recovered),
        machine: M,
        outbox: impl Outbox,
        on_event: impl FnMut(&Event) + Send + 'static,
    ) -> io::Result<Self> {
        let started = Instant::now();
        let io = Builder::new_current_thread().enable_all().build()?;
        let io_handle = io.handle().clone();
        let status = Arc::new(SharedStatus::default());
        let me = identity.me;
        let life = identity.life;
        let heartbeat_interval = options.paxos.heartbeat_interval;
        let shipping = machine.shipping();
        let driver = Driver::new(
            identity,
            options.paxos,
            options.driver,
            recovered,
            machine,
            Time::default(),
        );
        // Who looks before the first round sees what was recovered.
        status.update(&driver, (0, 0), 0);
        let (bell, log_bell) = (Bell::default(), Bell::default());
        let (senders, inputs) =
            inputs::queues(options.queue_max.get(), options.queue_bytes_max, &bell);
        let limits = Limits {
            payload_bytes_max: options.payload_bytes_max,
            timeout: options.request_timeout,
        };
        let handle = Handle::new(me, senders, limits, Arc::clone(&status));
        // What waits in these two is bounded by the driver: see `DriverOptions::undurable_*_max`,
        // and one answer for each job.
        let (jobs, jobs_waiting) = bell::unbounded(&log_bell);
        let (done, done_waiting) = bell::unbounded(&bell);
        let outbox: Arc<dyn Outbox> = Arc::new(outbox);
        let impatient = Arc::new(AtomicBool::new(true));
        let snapshots = match shipping {
            Some(shipping) => {
                let shelf = Shelf::new(shipping, life);
                Some(snapshot_thread::start(shelf, done.clone(), Arc::clone(&outbox))?)
            }
            None => None,
        };
        let world = LogWorld {
            bell: log_bell,
            jobs: jobs_waiting,
            done,
            impatient: Arc::clone(&impatient),
            outbox: Arc::clone(&outbox),
            log_bytes_max: options.log_bytes_max,
        };
        let log = std::thread::Builder::new()
            .name("synod-log".to_owned())
            .spawn(move || log_thread::run(log, &world))?;
        let member = Member {
            driver,
            started,
            io,
            inputs,
            bell,
            done: done_waiting,
            impatient,
            world: World {
                outbox,
                on_event: Box::new(on_event),
                jobs,
                appends: Vec::new(),
                sends: Vec::new(),
                snapshots,
                halted: None,
            },
            status,
            handovers: Vec::new(),
            shutdown: None,
            handover_max: options.request_timeout,
            heartbeat_interval,
            heartbeats_late: 0,
        };
        let driver =
            std::thread::Builder::new().name("synod-driver".to_owned()).spawn(move || {
                let exit = member.run();
                // The log's thread ends with its queue, which the member has dropped.
                match log.join() {
                    Ok(()) => exit,
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            })?;
        Ok(Self { handle, io: io_handle, driver })
    }

    /// How to speak to the member.
    #[must_use]
    pub const fn handle(&self) -> &Handle<M> {
        &self.handle
    }

    /// The runtime in which the driver thread waits, for tasks that hand over what peers send. It
    /// looks at them after each round, and ends with the member. They take the driver's time.
    #[must_use]
    pub const fn io(&self) -> &tokio::runtime::Handle {
        &self.io
    }

    /// Waits until the member has ended, and says why.
    ///
    /// # Panics
    /// If a thread of the member did.
    #[must_use]
    pub fn join(self) -> Exit {
        match self.driver.join() {
            Ok(exit) => exit,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

/// All that the driver thread owns.
struct Member<M: StateMachine> {
    driver: Driver<M, OneReply<M::Reply>, OneQuery<M>>,
    started: Instant,
    io: Runtime,
    inputs: Inputs<M>,
    /// Rings when something is in `inputs` or `done`.
    bell: Bell,
    done: Receiver<Done>,
    /// Whether the log's thread is to ring when records are durable.
    impatient: Arc<AtomicBool>,
    world: World,
    status: Arc<SharedStatus>,
    /// Who waits for this member to lead no more; at most [`HANDOVERS_MAX`].
    handovers: Vec<Handover>,
    shutdown: Option<Shutdown>,
    handover_max: Duration,
    heartbeat_interval: Duration,
    heartbeats_late: u64,
}

/// Somebody waits for this member to lead no more.
struct Handover {
    to: Option<ReplicaId>,
    deadline: Time,
    done: oneshot::Sender<Result<(), TransferError>>,
}

/// A member that is on its way out.
struct Shutdown {
    /// Whether there was somebody to hand over to.
    handing_over: bool,
    deadline: Time,
}

const HANDOVERS_MAX: usize = 64;

impl<M: StateMachine> Member<M> {
    /// The loop.
    fn run(mut self) -> Exit {
        loop {
            self.wait();
            let now = self.now();
            if let Some(error) = self.take_inputs(now) {
                self.driver.abandon_clients();
                return Exit::LogFailed(error);
            }
            if now >= self.driver.next_tick() {
                self.note_late(now);
                self.driver.handle_tick(now);
            }
            self.driver.run_outputs(now, &mut self.world);
            let waiting = (self.inputs.messages.len(), self.inputs.requests.len());
            // First, so that whoever is told that it leads no more finds it so.
            self.status.update(&self.driver, waiting, self.heartbeats_late);
            self.settle_handovers(now);
            if let Some(exit) = self.exit(now) {
                self.driver.abandon_clients();
                return exit;
            }
        }
    }

    fn now(&self) -> Time {
        Time::default().plus(self.started.elapsed())
    }

    /// Counts a tick of a leader that comes so late that a heartbeat has not gone out in time.
    fn note_late(&mut self, now: Time) {
        let late = now.since(self.driver.next_tick()) > self.heartbeat_interval;
        if late && self.driver.replica().is_leader() {
            self.heartbeats_late += 1;
        }
    }

    /// Sleeps until something comes in or is due. The tasks of the runtime run meanwhile.
    fn wait(&self) {
        let deadlines = self.handovers.iter().map(|handover| handover.deadline);
        let deadlines = deadlines.chain(self.shutdown.iter().map(|shutdown| shutdown.deadline));
        let due = deadlines.fold(self.driver.next_tick(), Time::min);
        let impatient = self.driver.awaits_disk();
        // Sequentially consistent, as is the log's side: either it sees this, or what it has done
        // is seen here.
        self.impatient.store(impatient, Ordering::SeqCst);
        if self.bell.was_rung() || (impatient && !self.done.is_empty()) {
            // Requests that keep coming do not keep peers from being heard.
            self.io.block_on(tokio::task::yield_now());
            return;
        }
        let due = self.started + due.since(Time::default());
        // What it waited for is looked at, whatever it was.
        let _ = self.io.block_on(async { timeout_at(due.into(), self.bell.rung()).await });
    }

    /// Takes what waits: what the log has done first, then at most a queue's length of the others.
    fn take_inputs(&mut self, now: Time) -> Option<LogError> {
        for done in self.done.try_iter() {
            match done {
                Done::Durable(id) => self.driver.handle_persisted(now, id),
                Done::Chosen(to, learned) => {
                    self.world.send(&ReplicaSet::from(to), Message::Learned(learned));
                }
                Done::Unserved(to, from) => self.driver.handle_unserved(now, to, from),
                Done::Bounds(soft, hard) => self.driver.handle_log_bounds(soft, hard),
                Done::Taken(taken) => self.driver.handle_taken(now, taken),
                Done::Failed(error) => return Some(error),
            }
        }
        for _ in 0..self.inputs.messages.len() {
            match self.inputs.messages.next() {
                Some(Input::Message(from, message)) => {
                    self.driver.handle_message(now, from, message);
                }
                Some(Input::Unreachable(peer)) => self.driver.handle_unreachable(now, peer),
                None => break,
            }
        }
        for _ in 0..self.inputs.requests.len() {
            match self.inputs.requests.next() {
                Some(request) => self.take_request(now, request),
                None => break,
            }
        }
        None
    }

    fn take_request(&mut self, now: Time, request: Request<M>) {
        match request {
            Request::Propose { payload, timeout, reply } => {
                self.driver.propose(now, payload, timeout, reply);
            }
            Request::Read { timeout, client } => self.driver.read(now, timeout, client),
            Request::Look(look) => look(self.driver.machine()),
            Request::Transfer { to, done } => self.hand_over(now, to, done),
            Request::Shutdown => {
                self.driver.stop_taking();
                let handing_over = self.driver.transfer(now, None);
                let deadline = now.plus(self.handover_max);
                self.shutdown.get_or_insert(Shutdown { handing_over, deadline });
            }
        }
    }

    fn hand_over(
        &mut self,
        now: Time,
        to: Option<ReplicaId>,
        done: oneshot::Sender<Result<(), TransferError>>,
    ) {
        // Whoever asked may have gone: an answer that nobody takes is dropped.
        if self.handovers.len() >= HANDOVERS_MAX {
            let _ = done.send(Err(TransferError::Busy));
        } else if self.driver.transfer(now, to) {
            let deadline = now.plus(self.handover_max);
            self.handovers.push(Handover { to, deadline, done });
        } else {
            let _ = done.send(Err(TransferError::NotPossible));
        }
    }

    fn settle_handovers(&mut self, now: Time) {
        let leads = self.driver.replica().is_leader();
        let is_over = |handover: &mut Handover| {
            !leads || handover.deadline <= now || handover.done.is_closed()
        };
        for handover in self.handovers.extract_if(.., is_over) {
            let result = if leads { Err(TransferError::TimedOut) } else { Ok(()) };
            let _ = handover.done.send(result);
        }
        // It was given up, as the disk or the other one was slow; who asked still has time.
        if let Some(handover) = self.handovers.first()
            && !self.driver.replica().is_handing_over()
        {
            self.driver.transfer(now, handover.to);
        }
    }

    /// Whether this round was the last one.
    fn exit(&mut self, now: Time) -> Option<Exit> {
        if let Some(reason) = self.world.halted.take() {
            return Some(Exit::Halted(reason));
        }
        let shutdown = self.shutdown.as_ref()?;
        let leads = shutdown.handing_over && self.driver.replica().is_handing_over();
        let done = !leads && self.driver.is_idle() && self.driver.records_undurable() == 0;
        (done || now >= shutdown.deadline).then_some(Exit::Stopped)
    }
}

/// The effects of the driver, done for real.
struct World {
    outbox: Arc<dyn Outbox>,
    on_event: Box<dyn FnMut(&Event) + Send>,
    jobs: RingingSender<Job>,
    /// Records of this round: one wake-up of the log's thread takes them all.
    appends: Vec<(PersistId, Record)>,
    /// Messages that wait for records, of this round or earlier ones.
    sends: Vec<(ReplicaSet, Message)>,
    /// The thread of snapshots, if the machine has such.
    snapshots: Option<SnapshotThread>,
    halted: Option<HaltReason>,
}

impl World {
    fn job(&self, job: Job) {
        // If the log's thread is gone it has said why, and the next round ends the member.
        let _ = self.jobs.send(job);
    }
}

impl Effects for World {
    fn persist(&mut self, id: PersistId, record: Record) {
        self.appends.push((id, record));
    }

    fn send(&mut self, to: &ReplicaSet, message: Message) {
        send(&*self.outbox, to, &message);
    }

    fn send_after(
        &mut self,
        _record: PersistId,
        to: ReplicaSet,
        message: Message,
    ) -> Option<(ReplicaSet, Message)> {
        self.sends.push((to, message));
        None
    }

    fn serve_log(&mut self, to: ReplicaId, from: Slot, chosen: Slot, bytes_max: usize) {
        self.flush();
        self.job(Job::ServeChosen { to, from, chosen, bytes_max });
    }

    fn serve_snapshot(&mut self, to: ReplicaId, wanted: PageWanted, bytes_max: usize) {
        if let Some(thread) = &self.snapshots {
            thread.offer(SnapshotJob::Serve { to, wanted, bytes_max });
        }
    }

    fn take_page(&mut self, page: SnapshotPage) {
        if let Some(thread) = &self.snapshots {
            thread.offer(SnapshotJob::Take(page));
        }
    }

    fn trim_log(&mut self, below: Slot) {
        self.flush();
        self.job(Job::Trim { below });
    }

    fn event(&mut self, event: &Event) {
        (self.on_event)(event);
    }

    fn halt(&mut self, reason: &HaltReason) {
        self.halted = Some(*reason);
    }

    fn flush(&mut self) {
        if !(self.appends.is_empty() && self.sends.is_empty()) {
            let records = std::mem::take(&mut self.appends);
            let sends = std::mem::take(&mut self.sends);
            self.job(Job::Append { records, sends });
        }
    }
}

/// Sends a message to all in the set.
pub(crate) fn send(outbox: &dyn Outbox, to: &ReplicaSet, message: &Message) {
    let bulk = message.is_bulk();
    let frame = encode_message(message);
    for peer in to.iter() {
        outbox.send(peer, bulk, frame.clone());
    }
}
