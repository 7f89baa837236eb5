//! A few production replicas on one bench, driven by hand: one clock, a network that is a list of
//! messages, and disks that forget what was not made durable.
//!
//! Whatever a test does with it, it checks after every step: the invariants of the replica that
//! moved; that a slot is never applied with two values (agreement); that a command is applied in
//! one slot at most, and never after [`Withdrawal::NeverApplied`]; that a read is not granted below
//! what anybody had applied when it was asked (linearizability).
#![allow(dead_code, reason = "each test program uses its part of the bench")]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use synod_paxos::message::{Learned, SnapshotPage};
use synod_paxos::{
    Busy, CommandId, Event, Identity, Incarnation, Message, Options, Output, PageWanted, Peer,
    PersistId, Prefix, ReadId, Record, Recovered, Replica, ReplicaId, ReplicaSet, Slot, Time,
    Value, Withdrawal,
};

/// Rounds after which a cluster that does not come to rest is considered to run in circles.
const ROUNDS_MAX: usize = 10_000;

pub(crate) const fn id(id: u64) -> ReplicaId {
    ReplicaId::new(id)
}

/// A message on its way.
#[derive(Clone, Debug)]
pub(crate) struct Envelope {
    pub(crate) from: Peer,
    pub(crate) to: ReplicaId,
    pub(crate) message: Message,
}

/// A line of the trace.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) text: String,
    /// Worth showing also when many steps are taken at once.
    pub(crate) milestone: bool,
}

/// A member: its process, if it runs, and its disk.
pub(crate) struct Member {
    pub(crate) replica: Option<Replica>,
    pub(crate) peer: Peer,
    life: u64,
    /// Durable records, in order.
    pub(crate) disk: Vec<Record>,
    /// Records that a crash loses.
    pub(crate) volatile: VecDeque<(PersistId, Record)>,
    /// Messages that wait for a record.
    held: Vec<(PersistId, ReplicaSet, Message)>,
    /// What the state machine was given, from slot 1 on.
    pub(crate) applied: Vec<Value>,
    /// The state machine survives a crash up to here.
    stable: Slot,
    durable: PersistId,
    /// A snapshot that is put away.
    arrived: Option<(Prefix, Option<PersistId>)>,
    /// It must stop, and nobody has stopped it yet.
    halted: bool,
}

pub(crate) struct Cluster {
    pub(crate) now: Time,
    options: Options,
    ids: ReplicaSet,
    members: BTreeMap<ReplicaId, Member>,
    pub(crate) network: Vec<Envelope>,
    cut: BTreeSet<(ReplicaId, ReplicaId)>,
    /// Everything that anybody applied.
    pub(crate) chosen: BTreeMap<Slot, Value>,
    places: BTreeMap<CommandId, Slot>,
    never: BTreeSet<CommandId>,
    /// What was applied anywhere when the read was asked.
    reads: BTreeMap<(ReplicaId, ReadId), Slot>,
    pub(crate) reads_granted: usize,
    /// Whether to write the trace.
    pub(crate) tracing: bool,
    trace: Vec<Line>,
}

// How it is made.
impl Cluster {
    /// Members that have met, with empty logs.
    pub(crate) fn formed(count: u64, options: Options) -> Self {
        let mut cluster = Self::down(count, options);
        let met: Vec<_> = cluster.members.values().map(|member| Record::Met(member.peer)).collect();
        for member in cluster.members.values_mut() {
            member.disk.clone_from(&met);
        }
        cluster.start_all();
        cluster
    }

    /// Members that never ran before.
    pub(crate) fn fresh(count: u64, options: Options) -> Self {
        let mut cluster = Self::down(count, options);
        cluster.start_all();
        cluster
    }

    fn down(count: u64, options: Options) -> Self {
        let ids: ReplicaSet = (1..=count).map(id).collect();
        let members = ids.iter().map(|id| (id, Member::new(id))).collect();
        Self {
            now: Time::default(),
            options,
            ids,
            members,
            network: Vec::new(),
            cut: BTreeSet::new(),
            chosen: BTreeMap::new(),
            places: BTreeMap::new(),
            never: BTreeSet::new(),
            reads: BTreeMap::new(),
            reads_granted: 0,
            tracing: true,
            trace: Vec::new(),
        }
    }

    fn start_all(&mut self) {
        for id in self.ids() {
            self.start(id);
        }
    }
}

// What tests look at.
impl Cluster {
    pub(crate) fn ids(&self) -> Vec<ReplicaId> {
        self.ids.iter().collect()
    }

    pub(crate) fn member(&self, id: ReplicaId) -> &Member {
        &self.members[&id]
    }

    /// The replica of a member that runs.
    pub(crate) fn replica(&self, id: ReplicaId) -> &Replica {
        self.members[&id].replica.as_ref().expect("the member runs")
    }

    pub(crate) fn runs(&self, id: ReplicaId) -> bool {
        self.members[&id].replica.is_some()
    }

    /// The trace since the last call.
    pub(crate) fn take_trace(&mut self) -> Vec<Line> {
        std::mem::take(&mut self.trace)
    }
}

// Single steps.
impl Cluster {
    /// Shows the trace since the last call.
    pub(crate) fn print_trace(&mut self) {
        for line in self.take_trace() {
            println!("{}", line.text);
        }
    }

    pub(crate) fn tick(&mut self, id: ReplicaId) {
        self.step(id, |replica, now| replica.handle_tick(now));
    }

    pub(crate) fn campaign(&mut self, id: ReplicaId) {
        self.step(id, |replica, now| replica.campaign(now));
    }

    /// Makes records durable up to an id, or all of them.
    pub(crate) fn persist(&mut self, id: ReplicaId, up_to: Option<PersistId>) {
        let Some(member) = self.members.get_mut(&id).filter(|m| m.replica.is_some()) else {
            return;
        };
        let mut durable = member.durable;
        while let Some((next, _)) = member.volatile.front()
            && up_to.is_none_or(|up_to| *next <= up_to)
        {
            durable = *next;
            member.disk.extend(member.volatile.pop_front().map(|(_, record)| record));
        }
        if durable == member.durable {
            return;
        }
        member.durable = durable;
        let held = std::mem::take(&mut member.held);
        let (free, held) = held.into_iter().partition(|(after, _, _)| *after <= durable);
        member.held = held;
        let from = member.peer;
        for (_, to, message) in free {
            self.send(from, &to, message);
        }
        self.step(id, |replica, now| replica.handle_persisted(now, durable));
    }

    /// Hands a message over. It reaches nobody if the link is cut or the receiver is down.
    pub(crate) fn deliver(&mut self, envelope: Envelope) {
        let Envelope { from, to, message } = envelope;
        if self.cut.contains(&(from.id, to)) || !self.runs(to) {
            return;
        }
        self.step(to, |replica, now| replica.handle_message(now, from, message));
    }

    pub(crate) fn propose(&mut self, id: ReplicaId, payload: &str) -> Result<CommandId, Busy> {
        let payload = Bytes::copy_from_slice(payload.as_bytes());
        self.step(id, |replica, now| replica.propose(now, payload))
    }

    /// Several clients of one member propose at the same moment.
    pub(crate) fn propose_together(&mut self, id: ReplicaId, payloads: &[&str]) {
        self.step(id, |replica, now| {
            for payload in payloads {
                replica.propose(now, Bytes::copy_from_slice(payload.as_bytes())).expect("room");
            }
        });
    }

    pub(crate) fn withdraw(&mut self, id: ReplicaId, number: u64) -> Withdrawal {
        let life = self.members[&id].life;
        let command = CommandId { replica: id, life, number };
        let withdrawal = self.step(id, |replica, _| replica.withdraw(command));
        if withdrawal == Withdrawal::NeverApplied {
            assert!(!self.places.contains_key(&command), "{command} is applied already");
            self.never.insert(command);
        }
        withdrawal
    }

    /// Several clients of one member read at the same moment.
    pub(crate) fn read(&mut self, id: ReplicaId, count: usize) {
        let current = self.chosen.last_key_value().map_or(Slot::FIRST, |(slot, _)| slot.next());
        let asked = self.step_silently(id, |replica, now| {
            let reads = (0..count).map_while(|_| replica.read(now).ok());
            reads.collect::<Vec<_>>()
        });
        for read in asked {
            self.reads.insert((id, read), current);
        }
        self.step(id, |_, _| ());
    }

    pub(crate) fn transfer(&mut self, id: ReplicaId, to: Option<ReplicaId>) -> bool {
        self.step(id, |replica, now| replica.transfer(now, to))
    }

    pub(crate) fn unreachable(&mut self, id: ReplicaId, gone: ReplicaId) {
        self.step(id, |replica, now| replica.handle_unreachable(now, gone));
    }

    /// The state machine has put away everything it applied.
    pub(crate) fn stabilize(&mut self, id: ReplicaId) {
        let stable = self.replica(id).applied_watermark();
        if let Some(member) = self.members.get_mut(&id) {
            member.stable = stable;
        }
        self.step(id, |replica, _| replica.handle_stable(stable));
    }

    /// The log of the member is longer than it may be.
    pub(crate) fn overflow(&mut self, id: ReplicaId) {
        let end = self.replica(id).chosen_watermark();
        self.step(id, |replica, _| replica.handle_log_bounds(end, end));
    }

    /// The process dies: what was not durable is lost, and so is what waited for it.
    pub(crate) fn crash(&mut self, id: ReplicaId) {
        let Some(member) = self.members.get_mut(&id) else { return };
        member.replica = None;
        member.volatile.clear();
        member.held.clear();
        member.arrived = None;
        let kept = usize::try_from(member.stable.distance_from(Slot::FIRST)).expect("few slots");
        member.applied.truncate(kept);
        self.reads.retain(|(reader, _), _| *reader != id);
    }

    /// The process starts, from what the disk holds.
    pub(crate) fn start(&mut self, id: ReplicaId) {
        let (now, members) = (self.now, self.ids.clone());
        let Some(member) = self.members.get_mut(&id) else { return };
        let mut recovered = Recovered::default();
        for record in &member.disk {
            recovered.replay(record.clone());
        }
        member.halted = false;
        // Lives are drawn at random in earnest: what counts up from one never meets another.
        member.life = if member.life == 0 { id.as_u64() * 0x10 } else { member.life + 0x10_0000 };
        member.durable = PersistId::default();
        let seed = id.as_u64();
        let identity = Identity { me: member.peer, life: member.life, members, seed };
        let options = self.options.clone();
        let mut applied = Prefix::default();
        member.applied.iter().for_each(|value| applied.extend(value));
        member.replica = Some(Replica::new(identity, options, recovered, applied, now));
        self.step(id, |_, _| ());
    }

    /// The disk is replaced by an empty one; the process must be down.
    pub(crate) fn wipe(&mut self, id: ReplicaId) {
        let Some(member) = self.members.get_mut(&id) else { return };
        assert!(member.replica.is_none(), "{id} runs");
        let incarnation = Incarnation::new(member.peer.incarnation.as_u64() + 0x1000);
        *member = Member { life: member.life, ..Member::new(id) };
        member.peer.incarnation = incarnation;
    }

    /// Messages of this direction are lost from now on.
    pub(crate) fn cut(&mut self, from: ReplicaId, to: ReplicaId) {
        self.cut.insert((from, to));
    }

    pub(crate) fn heal(&mut self) {
        self.cut.clear();
    }
}

// Many steps at once.
impl Cluster {
    /// Disks and network work until nothing is left to do; no time passes.
    pub(crate) fn settle(&mut self) {
        for _ in 0..ROUNDS_MAX {
            for id in self.ids() {
                self.persist(id, None);
            }
            if self.network.is_empty() {
                return;
            }
            for envelope in std::mem::take(&mut self.network) {
                self.deliver(envelope);
            }
        }
        panic!("the cluster does not come to rest");
    }

    /// Time passes, and everything works.
    pub(crate) fn run(&mut self, span: Duration) {
        let end = self.now.plus(span);
        self.settle();
        for _ in 0..ROUNDS_MAX {
            let Some(due) = self.next_tick().filter(|due| *due <= end) else {
                self.now = end;
                return;
            };
            self.now = self.now.max(due);
            self.tick_all_due();
            self.settle();
        }
        panic!("time stands still");
    }

    /// Time passes: ticks, and nothing else.
    pub(crate) fn advance(&mut self, span: Duration) {
        let end = self.now.plus(span);
        for _ in 0..ROUNDS_MAX {
            let Some(due) = self.next_tick().filter(|due| *due <= end) else {
                self.now = end;
                return;
            };
            self.now = self.now.max(due);
            self.tick_all_due();
        }
        panic!("time stands still");
    }

    fn next_tick(&self) -> Option<Time> {
        self.members.values().filter_map(|m| m.replica.as_ref()).map(Replica::next_tick).min()
    }

    fn tick_all_due(&mut self) {
        for id in self.ids() {
            if self.runs(id) && self.replica(id).next_tick() <= self.now {
                self.tick(id);
            }
        }
    }
}

// What comes of a step.
impl Cluster {
    fn step<R>(&mut self, id: ReplicaId, input: impl FnOnce(&mut Replica, Time) -> R) -> R {
        let result = self.step_silently(id, input);
        loop {
            let now = self.now;
            let output = self.replica_mut(id).poll_output(now);
            self.replica(id).check_invariants();
            match output {
                Some(output) => self.effect(id, output),
                None if self.install(id) => {}
                None => break,
            }
        }
        if self.members[&id].halted {
            self.crash(id);
        }
        result
    }

    fn step_silently<R>(
        &mut self,
        id: ReplicaId,
        input: impl FnOnce(&mut Replica, Time) -> R,
    ) -> R {
        let now = self.now;
        let replica = self.replica_mut(id);
        let result = input(replica, now);
        replica.check_invariants();
        result
    }

    fn replica_mut(&mut self, id: ReplicaId) -> &mut Replica {
        self.members.get_mut(&id).and_then(|m| m.replica.as_mut()).expect("the member runs")
    }

    fn effect(&mut self, id: ReplicaId, output: Output) {
        if self.tracing && !matches!(output, Output::Send { .. } | Output::Event(_)) {
            let milestone = !matches!(output, Output::Persist { .. });
            self.note(id, milestone, &output);
        }
        let Some(member) = self.members.get_mut(&id) else { return };
        match output {
            Output::Persist { id: persist, record } => member.volatile.push_back((persist, record)),
            Output::Send { to, message, after } => match after {
                Some(after) if after > member.durable => {
                    member.held.push((after, to.clone(), message.clone()));
                    if self.tracing {
                        let text = format!("hold {to} {message} until #{}", after.as_u64());
                        self.note(id, false, &text);
                    }
                }
                _ => {
                    let from = member.peer;
                    self.send(from, &to, message);
                }
            },
            Output::Apply { slot, value } => {
                let next = Slot::FIRST.plus(u64::try_from(member.applied.len()).expect("few"));
                assert_eq!(slot, next, "{id} applies out of order");
                member.applied.push(value.clone());
                self.check_applied(id, slot, &value);
            }
            Output::ReadReady { read, applied } => self.check_read(id, read, applied),
            Output::ServeLog { to, from, chosen, bytes_max } => {
                self.serve_log(id, to, from, chosen, bytes_max);
            }
            Output::TrimLog { below, after } => {
                self.persist(id, Some(after));
                if let Some(member) = self.members.get_mut(&id) {
                    // Segments of a log go as a whole: some of what may go stays.
                    let stays = |slot: Slot| slot.plus(SLOTS_THAT_STAY) >= below;
                    member.disk.retain(|record| slot_of(record).is_none_or(stays));
                }
            }
            Output::ServeSnapshot { to, wanted, .. } => self.serve_snapshot(id, to, wanted),
            Output::TakePage(page) if page.bytes.is_empty() => {
                member.arrived = Some((page.prefix, None));
            }
            Output::TakePage(page) => {
                let now = self.now;
                self.replica_mut(id).handle_page_taken(now, page.snapshot, page.offset + 1);
            }
            Output::Event(event) => {
                let milestone = !matches!(event, Event::Ignored { .. } | Event::Met { .. });
                self.note(id, milestone, &event);
            }
            Output::Halt(_) => member.halted = true,
        }
    }

    fn send(&mut self, from: Peer, to: &ReplicaSet, message: Message) {
        if self.tracing {
            self.note(from.id, false, &format!("send {to} {message}"));
        }
        for to in to.iter() {
            self.network.push(Envelope { from, to, message: message.clone() });
        }
    }

    fn serve_log(&mut self, id: ReplicaId, to: ReplicaId, from: Slot, chosen: Slot, max: usize) {
        let Some(member) = self.members.get(&id) else { return };
        let mut recovered = Recovered::default();
        for record in member.disk.iter().chain(member.volatile.iter().map(|(_, record)| record)) {
            recovered.replay(record.clone());
        }
        if from < recovered.skipped {
            let now = self.now;
            return self.replica_mut(id).handle_unserved(now, to, from);
        }
        let (mut values, mut bytes) = (Vec::new(), 0);
        for accepted in recovered.accepted.range(from..chosen).map(|(_, accepted)| accepted) {
            bytes += accepted.value.bytes();
            if bytes > max && !values.is_empty() {
                break;
            }
            values.push(accepted.value.clone());
        }
        let message = Message::Learned(Learned { from, values, chosen });
        self.send(member.peer, &ReplicaSet::from(to), message);
    }

    /// A snapshot is a page of one byte and its end. What is in it, the whole cluster knows.
    fn serve_snapshot(&mut self, id: ReplicaId, to: ReplicaId, wanted: PageWanted) {
        let Some(member) = self.members.get(&id) else { return };
        let mut prefix = Prefix::default();
        member.applied.iter().for_each(|value| prefix.extend(value));
        let name = prefix.end.as_u64();
        let goes_on = wanted == PageWanted::At { snapshot: name, offset: 1 };
        let bytes = if goes_on { Bytes::new() } else { Bytes::from_static(b"s") };
        let offset = u64::from(goes_on);
        let page = SnapshotPage { snapshot: name, prefix, offset, bytes };
        self.send(member.peer, &ReplicaSet::from(to), Message::SnapshotPage(page));
    }

    /// Takes over a snapshot that has arrived.
    fn install(&mut self, id: ReplicaId) -> bool {
        let now = self.now;
        let Some(member) = self.members.get_mut(&id) else { return false };
        let Some((prefix, told)) = member.arrived.take() else { return false };
        let applied = u64::try_from(member.applied.len()).expect("few");
        if Slot::FIRST.plus(applied) >= prefix.end {
            self.replica_mut(id).handle_snapshot_failed();
            return true;
        }
        let Some(record) = told else {
            let told = self.replica_mut(id).handle_arrived(now, prefix.end);
            self.members.get_mut(&id).expect("it was just there").arrived =
                Some((prefix, Some(told)));
            return true;
        };
        if member.durable < record {
            member.arrived = Some((prefix, told));
            return false;
        }
        member.applied = self.chosen.range(..prefix.end).map(|(_, value)| value.clone()).collect();
        member.stable = prefix.end;
        self.replica_mut(id).handle_installed(now, prefix);
        true
    }

    fn check_applied(&mut self, id: ReplicaId, slot: Slot, value: &Value) {
        let first = self.chosen.entry(slot).or_insert_with(|| value.clone());
        assert_eq!(first, value, "agreement: {id} applies another value at {slot}");
        let Value::Batch(batch) = value else { return };
        for command in batch.commands.iter() {
            let place = *self.places.entry(command.id).or_insert(slot);
            assert_eq!(place, slot, "{command} is applied twice");
            assert!(!self.never.contains(&command.id), "{command} was never to be applied");
        }
    }

    fn check_read(&mut self, id: ReplicaId, read: ReadId, applied: Slot) {
        let current = self.reads.remove(&(id, read)).expect("a read is granted once");
        if applied < current {
            self.print_trace();
        }
        assert!(applied >= current, "{id} reads at {applied} what was at {current} already");
        self.reads_granted += 1;
    }

    fn note(&mut self, id: ReplicaId, milestone: bool, what: &dyn std::fmt::Display) {
        if self.tracing {
            self.trace.push(Line { text: format!("{id}: {what}"), milestone });
        }
    }
}

impl Member {
    fn new(id: ReplicaId) -> Self {
        Self {
            replica: None,
            peer: Peer { id, incarnation: Incarnation::new(0x100 + id.as_u64()) },
            life: 0,
            disk: Vec::new(),
            volatile: VecDeque::new(),
            held: Vec::new(),
            applied: Vec::new(),
            stable: Slot::FIRST,
            durable: PersistId::default(),
            arrived: None,
            halted: false,
        }
    }
}

/// So many slots below what a log was trimmed to are in it still.
const SLOTS_THAT_STAY: u64 = 1;

fn slot_of(record: &Record) -> Option<Slot> {
    match record {
        Record::Accepted { slot, .. } | Record::Learned { slot, .. } => Some(*slot),
        Record::Met(_) | Record::Promised(_) | Record::Chosen(_) | Record::Skipped(_) => None,
    }
}
