//! A member: the machine it runs on, which outlives its process, and the process itself.
//!
//! The process is the production driver, log and store. What production does on two threads is
//! done here in virtual time: the log takes all jobs that wait as one group, the sync of the group
//! takes its time, and its end is told to the driver a moment later.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use synod_kv::MemoryEngine;
use synod_paxos::message::{Learned, SnapshotPage};
use synod_paxos::{
    Event, HaltReason, Identity, Incarnation, Message, Options as CoreOptions, PageWanted, Peer,
    PersistId, Record, ReplicaId, ReplicaSet, Slot, Time,
};
use synod_replica::snapshot::{Shelf, Taken};
use synod_replica::{
    Driver, DriverOptions, Effects, Log, ProposeClient, ProposeError, ReadClient, ReadError,
};

use crate::disk::SimDisk;
use crate::expiry::Expiring;
use crate::lease_mutants::LeaseMutant;
use crate::machine::Machine;
use crate::operation::{Answer, Operation};
use crate::queue::Micros;
use crate::world::Happening;

/// The cluster that all simulated members belong to.
const CLUSTER: u64 = 0xc1;

/// What became of a request, as the member tells its client.
pub(crate) type Outcome = Result<Answer, Refusal>;

/// Why a request has no answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Refusal {
    /// The command was not taken, or was withdrawn in time.
    Propose(ProposeError),
    /// The read was not granted.
    Read(ReadError),
    /// There is no process.
    Down,
}

/// The machine that a member runs on.
#[derive(Debug)]
pub(crate) struct Member {
    /// Its id.
    pub(crate) id: ReplicaId,
    /// The folder of its log.
    pub(crate) disk: SimDisk,
    /// The life of the disk.
    pub(crate) incarnation: Incarnation,
    /// The engine of its store.
    pub(crate) engine: MemoryEngine,
    /// Its clock's speed, in thousandths.
    pub(crate) clock_rate: u64,
    /// Whether it has lost its disk.
    pub(crate) wiped: bool,
    /// Whether it must not start again.
    pub(crate) retired: bool,
    /// How much slower than planned its disk is.
    pub(crate) disk_slowness: u64,
    /// When to end in the middle of something.
    pub(crate) trap: Option<Trap>,
    /// What arrived while it was paused, if it is.
    pub(crate) paused: Option<Vec<Happening>>,
    /// The process, if it runs.
    pub(crate) process: Option<Process>,
}

/// A moment at which a process ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Trap {
    /// Right after it sent a vote of phase 1 or 2.
    Voted,
    /// Right after it sent a request of phase 1 or 2.
    Asked,
    /// When a sync is due, before it.
    BeforeSync,
    /// When a sync is done, before anybody knows.
    AfterSync,
    /// Right after it applied a slot.
    Applied,
}

impl Trap {
    /// Whether sending the message is the moment.
    pub(crate) const fn is_sprung_by(self, message: &Message) -> bool {
        match self {
            Self::Voted => matches!(message, Message::Promise(_) | Message::Accepted(_)),
            Self::Asked => matches!(message, Message::Prepare(_) | Message::Accept(_)),
            Self::BeforeSync | Self::AfterSync | Self::Applied => false,
        }
    }
}

/// A running process.
pub(crate) struct Process {
    /// This run of the process.
    pub(crate) life: u64,
    /// The production driver with all that is in it.
    pub(crate) driver: Driver<Machine, Asker, Asker>,
    /// The production log.
    log: Log<SimDisk>,
    /// The production shelf of snapshots, which works in the time of the log.
    pub(crate) shelf: Shelf,
    log_bytes_max: u64,
    /// What the driver asked for and is not done.
    pub(crate) wishes: Wishes,
    /// Answers for clients.
    pub(crate) answers: Answers,
    /// The group that is being synced: its last record, and what it read for others.
    syncing: Option<Group>,
    /// How many groups were begun. So the end of one is not taken for the end of the next.
    pub(crate) groups: u64,
    started: Micros,
    /// What it does about leases.
    pub(crate) expiring: Expiring,
    /// When the next look at leases is planned.
    pub(crate) look_at: Micros,
    /// When the next tick is planned.
    pub(crate) tick_at: Micros,
    /// When the driver hears, or heard, of the last group.
    pub(crate) told_at: Micros,
}

impl std::fmt::Debug for Process {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Process").field("life", &self.life).finish_non_exhaustive()
    }
}

/// Answers that left the driver.
pub(crate) type Answers = Rc<RefCell<VecDeque<(u64, Outcome)>>>;

/// Who waits for the answer to one operation.
#[derive(Clone, Debug)]
pub(crate) struct Asker {
    pub(crate) number: u64,
    pub(crate) operation: Operation,
    pub(crate) answers: Answers,
}

impl ProposeClient<Answer> for Asker {
    fn answer(self, outcome: Result<Answer, ProposeError>) {
        let outcome = outcome.map_err(Refusal::Propose);
        self.answers.borrow_mut().push_back((self.number, outcome));
    }
}

impl Asker {
    /// Reads from a machine without asking whether it is current.
    pub(crate) fn answer_from(self, machine: &Machine) {
        let outcome = Ok(machine.read(&self.operation));
        self.answers.borrow_mut().push_back((self.number, outcome));
    }
}

impl ReadClient<Machine> for Asker {
    fn answer(self, machine: &Machine, granted: Result<Slot, ReadError>) {
        let outcome = match granted {
            Ok(_) => Ok(machine.read(&self.operation)),
            Err(error) => Err(Refusal::Read(error)),
        };
        self.answers.borrow_mut().push_back((self.number, outcome));
    }
}

/// What a driver asks of its surroundings, gathered until the end of the round.
#[derive(Debug, Default)]
pub(crate) struct Wishes {
    pub(crate) jobs: Vec<Job>,
    pub(crate) messages: Vec<(ReplicaSet, Message)>,
    pub(crate) events: Vec<Event>,
    pub(crate) halted: Option<HaltReason>,
}

/// Something for the log to do.
#[derive(Debug)]
pub(crate) enum Job {
    Append(PersistId, Record),
    Serve { to: ReplicaId, from: Slot, chosen: Slot, bytes_max: usize },
    Trim(Slot),
    ServeSnapshot { to: ReplicaId, wanted: PageWanted, bytes_max: usize },
    TakePage(SnapshotPage),
}

/// What one round of the log did.
#[derive(Debug, Default)]
pub(crate) struct Group {
    /// The last record appended.
    pub(crate) last: Option<PersistId>,
    /// What was read for members that lag.
    pub(crate) served: Vec<(ReplicaId, Learned)>,
    /// Members for which the log held nothing from some slot on.
    pub(crate) unserved: Vec<(ReplicaId, Slot)>,
    /// Pages of snapshots for members that lag.
    pub(crate) pages: Vec<(ReplicaId, SnapshotPage)>,
    /// What became of pages that came.
    pub(crate) taken: Vec<Taken>,
    /// Where the log is too long.
    pub(crate) bounds: (Slot, Slot),
}

impl Effects for Wishes {
    fn persist(&mut self, id: PersistId, record: Record) {
        self.jobs.push(Job::Append(id, record));
    }

    fn send(&mut self, to: &ReplicaSet, message: Message) {
        self.messages.push((to.clone(), message));
    }

    fn serve_log(&mut self, to: ReplicaId, from: Slot, chosen: Slot, bytes_max: usize) {
        self.jobs.push(Job::Serve { to, from, chosen, bytes_max });
    }

    fn serve_snapshot(&mut self, to: ReplicaId, wanted: PageWanted, bytes_max: usize) {
        self.jobs.push(Job::ServeSnapshot { to, wanted, bytes_max });
    }

    fn take_page(&mut self, page: SnapshotPage) {
        self.jobs.push(Job::TakePage(page));
    }

    fn trim_log(&mut self, below: Slot) {
        self.jobs.push(Job::Trim(below));
    }

    fn event(&mut self, event: &Event) {
        self.events.push(event.clone());
    }

    fn halt(&mut self, reason: &HaltReason) {
        self.halted = Some(*reason);
    }
}

/// What a process is started with, besides what its machine holds.
#[derive(Debug)]
pub(crate) struct Start {
    pub(crate) life: u64,
    pub(crate) seed: u64,
    pub(crate) members: ReplicaSet,
    pub(crate) core: CoreOptions,
    pub(crate) segment_bytes: u64,
    pub(crate) log_bytes_max: u64,
    pub(crate) lease_mutant: Option<LeaseMutant>,
    pub(crate) now: Micros,
}

impl Member {
    /// Who it is.
    pub(crate) const fn peer(&self) -> Peer {
        Peer { id: self.id, incarnation: self.incarnation }
    }

    /// Whether a process runs and is not paused.
    pub(crate) const fn is_awake(&self) -> bool {
        self.process.is_some() && self.paused.is_none()
    }

    /// Starts the process from what disk and engine hold.
    pub(crate) fn start(&mut self, start: Start) -> Result<(), String> {
        let machine = Machine::open(self.engine.clone(), start.lease_mutant)?;
        let applied = synod_replica::StateMachine::applied(&machine);
        let shipping = synod_replica::StateMachine::shipping(&machine);
        let shipping = shipping.ok_or("a store can be shipped")?;
        let shelf = Shelf::new(shipping, start.life);
        let options = synod_wal::Options {
            segment_bytes: start.segment_bytes,
            record_bytes_max: usize::try_from(start.segment_bytes / 2)
                .map_err(|e| e.to_string())?,
            spares_max: 1,
        };
        let disk = self.disk.clone();
        let (mut log, opened) =
            Log::open(disk, CLUSTER, self.id, self.incarnation, options, applied.end)
                .map_err(|error| format!("the log does not open: {error}"))?;
        log.prepare().map_err(|error| format!("the log is not prepared: {error}"))?;
        let identity = Identity {
            me: opened.identity.me,
            life: start.life,
            members: start.members,
            seed: start.seed,
        };
        let driver_options = DriverOptions {
            stable_interval: Duration::from_millis(200),
            undurable_records_max: 256,
            undurable_bytes_max: 1 << 20,
        };
        let recovered = opened.recovered;
        let now = Time::default();
        let driver = Driver::new(identity, start.core, driver_options, recovered, machine, now);
        self.process = Some(Process {
            life: start.life,
            driver,
            log,
            shelf,
            log_bytes_max: start.log_bytes_max,
            wishes: Wishes::default(),
            answers: Answers::default(),
            syncing: None,
            groups: 0,
            started: start.now,
            expiring: Expiring::new(applied.time),
            look_at: Micros::MAX,
            tick_at: Micros::MAX,
            told_at: 0,
        });
        Ok(())
    }
}

impl Process {
    /// The process's own time.
    pub(crate) const fn local(&self, now: Micros, clock_rate: u64) -> Time {
        Time::from_micros((now - self.started) * clock_rate / 1000)
    }

    /// When the process's clock will show this time.
    pub(crate) const fn global(&self, time: Time, clock_rate: u64) -> Micros {
        self.started.saturating_add(time.as_micros().saturating_mul(1000).div_ceil(clock_rate))
    }

    /// Whether the log has something to do and does nothing yet.
    pub(crate) const fn log_is_due(&self) -> bool {
        self.syncing.is_none() && !self.wishes.jobs.is_empty()
    }

    /// Whether the disk is at work on a group.
    pub(crate) const fn is_syncing(&self) -> bool {
        self.syncing.is_some()
    }

    /// The log takes all jobs that wait. Gives whether it needs a sync.
    pub(crate) fn begin_group(&mut self) -> Result<bool, String> {
        let mut group = Group::default();
        for job in std::mem::take(&mut self.wishes.jobs) {
            match job {
                Job::Append(id, record) => {
                    self.log.append(&record).map_err(|error| error.to_string())?;
                    group.last = Some(id);
                }
                Job::Serve { to, from, chosen, bytes_max } => {
                    let values = self.log.read_chosen(from, chosen, bytes_max);
                    let values = values.map_err(|error| error.to_string())?;
                    if values.is_empty() {
                        group.unserved.push((to, from));
                    } else {
                        group.served.push((to, Learned { from, values, chosen }));
                    }
                }
                Job::Trim(below) => self.log.trim(below).map_err(|error| error.to_string())?,
                Job::ServeSnapshot { to, wanted, bytes_max } => {
                    let page = self.shelf.serve(to, wanted, bytes_max);
                    let page = page.map_err(|error| error.to_string())?;
                    group.pages.extend(page.map(|page| (to, page)));
                }
                Job::TakePage(page) => group.taken.push(self.shelf.take(&page)),
            }
        }
        group.bounds = self.log.bounded(self.log_bytes_max, self.log_bytes_max * 2);
        let needs_sync = group.last.is_some();
        self.syncing = Some(group);
        self.groups += 1;
        Ok(needs_sync)
    }

    /// The time of the sync is over: does it, and gives what the group did.
    pub(crate) fn end_group(&mut self) -> Result<Group, String> {
        let group = self.syncing.take().unwrap_or_default();
        if group.last.is_some() {
            self.log.sync().map_err(|error| error.to_string())?;
        }
        if self.wishes.jobs.is_empty() {
            self.log.prepare().map_err(|error| error.to_string())?;
        }
        Ok(group)
    }
}
