//! Drivers in virtual time, over disks that lag as they like and a network that loses nothing.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use proptest::prelude::*;
use synod_paxos::{Ballot, Incarnation, Options, Prefix};

use super::*;

/// What clients were told, in order.
type Told<T> = Rc<RefCell<Vec<T>>>;

struct Proposer(Told<Result<u64, ProposeError>>);

impl ProposeClient<u64> for Proposer {
    fn answer(self, outcome: Result<u64, ProposeError>) {
        self.0.borrow_mut().push(outcome);
    }
}

struct Reader(Told<Result<u64, ReadError>>);

impl ReadClient<Counter> for Reader {
    fn is_there(&self) -> bool {
        Rc::strong_count(&self.0) > 1
    }

    fn answer(self, machine: &Counter, granted: Result<Slot, ReadError>) {
        self.0.borrow_mut().push(granted.map(|applied| {
            assert_eq!(applied, machine.applied);
            machine.count
        }));
    }
}

/// Counts commands; all that the log holds is stable at once.
#[derive(Default)]
struct Counter {
    count: u64,
    applied: Slot,
    log_durable: Slot,
}

impl StateMachine for Counter {
    type Reply = u64;

    fn apply(&mut self, entry: Entry<'_>) -> u64 {
        assert_eq!(entry.slot, self.applied);
        self.count += 1;
        self.count
    }

    fn slot_applied(&mut self, applied: Prefix) {
        self.applied = applied.end;
    }

    fn log_durable(&mut self, below: Slot) {
        assert!(self.log_durable < below && below <= self.applied);
        self.log_durable = below;
    }

    fn stable_watermark(&self) -> Slot {
        self.log_durable
    }

    fn install(&mut self, arrived: Arrived) -> bool {
        let Ok(count) = arrived.state.downcast() else { return false };
        (self.count, self.applied) = (*count, arrived.prefix.end);
        true
    }
}

/// A member's surroundings, which judge what the driver does.
#[derive(Default)]
struct World {
    records: Vec<Record>,
    durable: usize,
    sent: VecDeque<(ReplicaId, Message)>,
    trimmed: Slot,
}

impl World {
    fn durable(&self) -> &[Record] {
        &self.records[..self.durable]
    }

    fn has_promised(&self, ballot: Ballot) -> bool {
        self.durable().iter().any(|record| match record {
            Record::Promised(promised) => *promised >= ballot,
            Record::Accepted { ballot: accepted, .. } => *accepted >= ballot,
            _ => false,
        })
    }

    fn has_value(&self, slot: Slot) -> bool {
        self.durable().iter().any(|record| match record {
            Record::Accepted { slot: held, .. } | Record::Learned { slot: held, .. } => {
                *held == slot
            }
            _ => false,
        })
    }

    fn holds(&self, slot: Slot, ballot: Ballot) -> bool {
        self.durable().iter().any(|record| match record {
            Record::Accepted { slot: held, ballot: at, .. } => (*held, *at) == (slot, ballot),
            Record::Learned { slot: held, .. } => *held == slot,
            _ => false,
        })
    }
}

impl Effects for World {
    fn persist(&mut self, id: PersistId, record: Record) {
        self.records.push(record);
        assert_eq!(id, PersistId::new(self.records.len().try_into().unwrap()), "in order");
    }

    fn send(&mut self, to: &ReplicaSet, message: Message) {
        match &message {
            Message::Prepare(prepare) => assert!(self.has_promised(prepare.ballot), "{message:?}"),
            Message::Promise(promise) => assert!(self.has_promised(promise.ballot), "{message:?}"),
            Message::Accepted(accepted) => {
                assert!(self.holds(accepted.slot, accepted.ballot), "{message:?}");
            }
            _ => {}
        }
        self.sent.extend(to.iter().map(|peer| (peer, message.clone())));
    }

    fn serve_log(&mut self, to: ReplicaId, from: Slot, chosen: Slot, _bytes_max: usize) {
        panic!("{to} lags from {from} to {chosen}, but nothing is lost here");
    }

    fn trim_log(&mut self, below: Slot) {
        let facts = self.durable().iter().rposition(|r| matches!(r, Record::Chosen(_)));
        assert!(facts.is_some(), "what must survive is durable first");
        assert!(self.trimmed < below);
        self.trimmed = below;
    }

    fn event(&mut self, _event: &Event) {}

    fn halt(&mut self, reason: &HaltReason) {
        panic!("{reason}");
    }
}

type TestDriver = Driver<Counter, Proposer, Reader>;

/// Some members of a cluster of three.
struct Cluster {
    now: Time,
    members: Vec<(TestDriver, World)>,
}

impl Cluster {
    fn new(members: u64, paxos: &Options) -> Self {
        let now = Time::default();
        let member = |id| {
            let identity = Identity {
                me: peer(id),
                life: id,
                members: [1, 2, 3].map(ReplicaId::new).into_iter().collect(),
                seed: id,
            };
            let options = DriverOptions::default();
            let (recovered, machine) = (Recovered::default(), Counter::default());
            let driver = Driver::new(identity, paxos.clone(), options, recovered, machine, now);
            (driver, World::default())
        };
        Self { now, members: (1..=members).map(member).collect() }
    }

    /// A moment of 5 ms: all messages arrive, and each disk makes up to `disk(member)` more of
    /// its records durable.
    fn step(&mut self, mut disk: impl FnMut(usize) -> usize) {
        self.now = self.now.plus(Duration::from_millis(5));
        for from in 0..self.members.len() {
            let sent = std::mem::take(&mut self.members[from].1.sent);
            let from = self.members[from].0.me;
            for (to, message) in sent {
                let at = usize::try_from(to.as_u64() - 1).unwrap();
                if let Some((driver, _)) = self.members.get_mut(at) {
                    driver.handle_message(self.now, from, message);
                }
            }
        }
        for (at, (driver, world)) in self.members.iter_mut().enumerate() {
            driver.handle_tick(self.now);
            driver.run_outputs(self.now, world);
            world.durable = world.records.len().min(world.durable.saturating_add(disk(at)));
            let durable = PersistId::new(world.durable.try_into().unwrap());
            driver.handle_persisted(self.now, durable);
            driver.run_outputs(self.now, world);
            driver.replica().check_invariants();
            // What the machine may keep by itself, the log can serve after a power cut.
            let last = driver.machine().log_durable.as_u64() - 1;
            assert!(last == 0 || world.has_value(Slot::new(last)), "slot {last}");
        }
    }

    fn steps(&mut self, count: u32) {
        (0..count).for_each(|_| self.step(|_| usize::MAX));
    }

    fn propose(&mut self, at: usize, timeout: Duration, told: &Told<Result<u64, ProposeError>>) {
        let now = self.now;
        let client = Proposer(Rc::clone(told));
        self.members[at].0.propose(now, Bytes::from_static(b"x"), timeout, client);
    }

    fn read(&mut self, at: usize, told: &Told<Result<u64, ReadError>>) {
        let now = self.now;
        self.members[at].0.read(now, LONG, Reader(Rc::clone(told)));
    }
}

const LONG: Duration = Duration::from_secs(60);

fn peer(id: u64) -> Peer {
    Peer { id: ReplicaId::new(id), incarnation: Incarnation::new(id) }
}

fn told<T>() -> Told<T> {
    Rc::default()
}

/// Otherwise a crash right after it would leave a log that does not know that it is not to be
/// served from below.
#[test]
fn a_state_is_taken_over_once_the_log_is_durably_told() {
    let mut cluster = Cluster::new(1, &Options::default());
    let now = cluster.now;
    let (driver, world) = &mut cluster.members[0];
    let end = Slot::new(10);
    let prefix = Prefix { end, ..Prefix::default() };
    driver.handle_taken(now, Taken::Arrived(Arrived { prefix, state: Box::new(7_u64) }));
    driver.run_outputs(now, world);
    driver.run_outputs(now, world);
    assert_eq!(world.records.last(), Some(&Record::Skipped(end)));
    assert_eq!((driver.machine().count, driver.applied_watermark()), (0, Slot::FIRST));
    let told = PersistId::new(world.records.len().try_into().unwrap());
    world.durable = world.records.len();
    driver.handle_persisted(now, told);
    driver.run_outputs(now, world);
    assert_eq!((driver.machine().count, driver.applied_watermark()), (7, end));
    driver.replica().check_invariants();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    /// The worlds judge each message by what is durable when it leaves.
    #[test]
    fn nothing_leaves_before_what_justifies_it_is_durable(
        disks in prop::collection::vec(prop::array::uniform3(0usize..3), 200),
    ) {
        let mut cluster = Cluster::new(3, &Options::default());
        let (replies, reads) = (told(), told());
        for (step, durable) in disks.into_iter().enumerate() {
            cluster.propose(step % 3, LONG, &replies);
            cluster.read((step + 1) % 3, &reads);
            cluster.step(|at| durable[at]);
        }
        cluster.steps(800);
        let mut replies: Vec<_> = replies.borrow().iter().map(|reply| reply.unwrap()).collect();
        replies.sort_unstable();
        prop_assert_eq!(replies, (1..=200).collect::<Vec<_>>(), "each applied once");
        prop_assert!(reads.borrow().iter().all(Result::is_ok));
        prop_assert_eq!(reads.borrow().len(), 200);
        for (driver, _) in &cluster.members {
            prop_assert_eq!(driver.machine().count, 200);
            prop_assert_eq!(driver.machine().log_durable, driver.applied_watermark());
            prop_assert!(driver.is_idle());
            prop_assert_eq!(driver.records_undurable(), 0);
        }
    }
}

#[test]
fn a_read_sees_what_was_answered_before() {
    let mut cluster = Cluster::new(3, &Options::default());
    for n in 1..=5 {
        let (replies, reads) = (told(), told());
        cluster.propose(0, LONG, &replies);
        while replies.borrow().is_empty() {
            cluster.steps(1);
        }
        (0..3).for_each(|at| cluster.read(at, &reads));
        while reads.borrow().len() < 3 {
            cluster.steps(1);
        }
        assert_eq!(*replies.borrow(), [Ok(n)]);
        assert_eq!(*reads.borrow(), [Ok(n); 3]);
    }
}

#[test]
fn without_a_quorum_a_command_times_out_and_never_applies() {
    let mut cluster = Cluster::new(1, &Options::default());
    let (replies, reads) = (told(), told());
    cluster.propose(0, Duration::from_millis(500), &replies);
    cluster.read(0, &reads);
    cluster.steps(99);
    assert!(replies.borrow().is_empty(), "before its time is over");
    cluster.steps(2);
    let outcome = Withdrawal::NeverApplied;
    assert_eq!(*replies.borrow(), [Err(ProposeError::TimedOut { outcome })]);
    cluster.steps(12_000);
    assert_eq!(*reads.borrow(), [Err(ReadError::TimedOut)]);
    assert!(cluster.members[0].0.is_idle());
}

#[test]
fn a_command_in_flight_that_times_out_is_unknown_and_its_reply_goes_nowhere() {
    let mut cluster = Cluster::new(3, &Options::default());
    let replies = told();
    cluster.propose(0, LONG, &replies);
    while replies.borrow().is_empty() {
        cluster.steps(1);
    }
    cluster.propose(0, Duration::from_millis(500), &replies);
    (0..150).for_each(|_| cluster.step(|_| 0));
    let outcome = Withdrawal::Unknown;
    assert_eq!(replies.borrow()[1..], [Err(ProposeError::TimedOut { outcome })]);
    cluster.steps(800);
    assert_eq!(replies.borrow().len(), 2, "answered once");
}

#[test]
fn too_many_commands_are_refused() {
    let options = Options { commands_max: 3, ..Options::default() };
    let mut cluster = Cluster::new(1, &options);
    let replies = told();
    (0..4).for_each(|_| cluster.propose(0, LONG, &replies));
    assert_eq!(*replies.borrow(), [Err(ProposeError::Busy)]);
}

#[test]
fn a_stopping_member_answers_everybody() {
    let mut cluster = Cluster::new(1, &Options::default());
    let (replies, reads) = (told(), told());
    cluster.propose(0, LONG, &replies);
    cluster.read(0, &reads);
    cluster.members[0].0.stop_taking();
    cluster.propose(0, LONG, &replies);
    cluster.read(0, &reads);
    assert_eq!((replies.borrow().len(), reads.borrow().len()), (1, 1), "new ones at once");
    cluster.members[0].0.abandon_clients();
    let outcome = Withdrawal::NeverApplied;
    assert_eq!(*replies.borrow(), [Err(ProposeError::Stopping { outcome }); 2]);
    assert_eq!(*reads.borrow(), [Err(ReadError::Stopping); 2]);
}

/// It would otherwise wait for a leader as long as a read may take, and nobody would be told.
#[test]
fn a_stopping_member_does_not_wait_for_who_has_gone() {
    let mut cluster = Cluster::new(1, &Options::default());
    let reads = told();
    cluster.read(0, &reads);
    assert!(!cluster.members[0].0.is_idle());
    drop(reads);
    assert!(cluster.members[0].0.is_idle());
}

#[test]
fn the_log_is_trimmed_when_all_members_have_made_their_state_durable() {
    let options = Options { trim_slots_min: 8, ..Options::default() };
    let mut cluster = Cluster::new(3, &options);
    let replies = told();
    for n in 1..=40 {
        cluster.propose(0, LONG, &replies);
        while replies.borrow().len() < n {
            cluster.steps(1);
        }
    }
    cluster.steps(800);
    let stable = cluster.members.iter().map(|(driver, _)| driver.machine().log_durable).min();
    for (_, world) in &cluster.members {
        assert!(world.trimmed >= Slot::new(33), "trimmed up to {}", world.trimmed);
        assert!(Some(world.trimmed) <= stable);
    }
}

#[test]
fn a_stalled_disk_makes_a_member_drop_what_would_need_it() {
    let mut cluster = Cluster::new(3, &Options::default());
    cluster.steps(400);
    let follows = |(driver, _): &&mut (TestDriver, World)| !driver.replica().is_leader();
    let (driver, world) = cluster.members.iter_mut().find(follows).unwrap();
    driver.options.undurable_bytes_max = 1;
    let ballot = driver.replica().leader().unwrap();
    let chosen = driver.replica().chosen_watermark();
    let leader = peer(ballot.replica.as_u64());
    let accepted = |world: &World| {
        world.records.iter().filter(|record| matches!(record, Record::Accepted { .. })).count()
    };
    let before = accepted(world);
    // The second record would have to wait behind the first.
    for slot in [chosen, chosen.next()] {
        let value = Value::Noop;
        let accept = synod_paxos::message::Accept { ballot, slot, value, chosen };
        driver.handle_message(cluster.now, leader, Message::Accept(accept));
        driver.run_outputs(cluster.now, world);
        assert_eq!(accepted(world), before + 1);
    }
}
