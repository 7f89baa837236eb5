//! The production replica: three members that have met, a few candidacies, a command or two, a
//! crash; disks finish whenever they like.
//!
//! Left out, since they cannot harm safety: time, heartbeats, refusals, and `Chosen`, whose
//! watermark the next `Accept` carries too. That a member gives up on its leader is part of the
//! arrival of a prepare. By symmetry two of the members stand, never the third.
//!
//! The search is wide and bounded by a number of states. It begins with nothing, or where a first
//! leader has its barrier chosen by all. To go further:
//! `SYNOD_MODEL=3,2,1,50000000 cargo test --release -p synod-paxos --test model` (candidacies,
//! commands, crashes, states).

use std::collections::{BTreeMap, VecDeque};
use std::hash::Hash;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use bytes::Bytes;
use stateright::{Checker, HasDiscoveries, Model, Property};
use synod_paxos::message::Heartbeat;
use synod_paxos::{
    Ballot, CommandId, Identity, Incarnation, LogTime, Message, Options, Output, Peer, PersistId,
    Prefix, Quorums, Record, Recovered, Replica, ReplicaId, ReplicaSet, Slot, Time, Value,
};

use crate::set::{GrowingSet, Hashed};

const NOW: Time = Time::from_micros(0);

/// How far to look.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) candidacies: u8,
    pub(crate) commands: u8,
    pub(crate) crashes: u8,
    pub(crate) states: usize,
    /// A first leader has its barrier chosen by all.
    pub(crate) led: bool,
}

/// A world of three members.
pub(crate) struct World {
    pub(crate) bounds: Bounds,
    pub(crate) options: Options,
    quorums: Quorums,
}

#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) struct State {
    members: [Hashed<Node>; 3],
    network: GrowingSet<Envelope>,
    /// What was chosen, by what was applied and by what disks hold.
    chosen: BTreeMap<Slot, Value>,
    candidacies_left: u8,
    crashes_left: u8,
    /// What must not happen, and has.
    pub(crate) violation: Option<&'static str>,
}

#[derive(Clone, Debug, Eq, Hash, PartialEq)]
struct Node {
    replica: Replica,
    disk: Vec<Record>,
    volatile: VecDeque<(PersistId, Record)>,
    held: Vec<(PersistId, ReplicaSet, Message)>,
    life: u64,
}

#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Envelope {
    from: usize,
    to: usize,
    message: Message,
}

/// A step.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Action {
    Deliver(Hashed<Envelope>),
    Persist(usize),
    Campaign(usize),
    CrashAndRestart(usize),
}

fn peer(member: usize) -> Peer {
    let id = ReplicaId::new(u64::try_from(member).expect("a small number") + 1);
    Peer { id, incarnation: Incarnation::new(id.as_u64()) }
}

fn members() -> ReplicaSet {
    (0..3).map(|member| peer(member).id).collect()
}

impl World {
    pub(crate) fn new(bounds: Bounds) -> Self {
        // Without time every wait is zero, and no state differs by a random number.
        let options = Options {
            heartbeat_interval: Duration::ZERO,
            election_timeout: Duration::ZERO,
            announce_delay: Duration::ZERO,
            ..Options::default()
        };
        Self { bounds, options, quorums: Quorums::majority(members()) }
    }

    fn start(&self, member: usize, disk: Vec<Record>, life: u64) -> Node {
        let mut recovered = Recovered::default();
        for record in &disk {
            recovered.replay(record.clone());
        }
        let identity = Identity { me: peer(member), life, members: members(), seed: 0 };
        let replica =
            Replica::new(identity, self.options.clone(), recovered, Prefix::default(), NOW);
        let (volatile, held) = (VecDeque::new(), Vec::new());
        let mut node = Node { replica, disk, volatile, held, life };
        // All have heard of each other, so that no state differs by who has.
        for other in (0..3).filter(|other| *other != member) {
            node.hear_of_no_leader(other);
        }
        node
    }
}

impl Node {
    /// A heartbeat of somebody who neither leads nor follows; it ends the belief that it leads.
    fn hear_of_no_leader(&mut self, from: usize) {
        let heartbeat = Heartbeat {
            promised: Ballot::ZERO,
            leader: None,
            hears: Vec::new(),
            chosen: Slot::FIRST,
            stable: Slot::FIRST,
            time: LogTime::default(),
        };
        self.replica.handle_message(NOW, peer(from), Message::Heartbeat(heartbeat));
    }
}

impl Model for World {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let met: Vec<_> = (0..3).map(|member| Record::Met(peer(member))).collect();
        let nodes = [0, 1, 2].map(|member| self.start(member, met.clone(), 1));
        let mut state = State {
            members: nodes.map(Hashed::new),
            network: GrowingSet::new(),
            chosen: BTreeMap::new(),
            candidacies_left: self.bounds.candidacies,
            crashes_left: self.bounds.crashes,
            violation: None,
        };
        if self.bounds.led {
            state = self.lead_first(state);
        }
        for (member, &payload) in [b"a", b"b"].iter().enumerate() {
            let mut node = (*state.members[member]).clone();
            if member < usize::from(self.bounds.commands) {
                let payload = Bytes::from_static(payload);
                node.replica.propose(NOW, payload).expect("there is room");
            }
            self.settle(&mut state, member, node);
        }
        vec![state]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        if state.violation.is_some() {
            return;
        }
        actions.extend(state.network.iter().cloned().map(Action::Deliver));
        for (member, node) in state.members.iter().enumerate() {
            if !node.volatile.is_empty() {
                actions.push(Action::Persist(member));
            }
            if state.candidacies_left > 0 && member < 2 && !node.replica.is_leader() {
                actions.push(Action::Campaign(member));
            }
            if state.crashes_left > 0 {
                actions.push(Action::CrashAndRestart(member));
            }
        }
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        // A replica that notices the contradiction itself has failed as well.
        let next = catch_unwind(AssertUnwindSafe(|| self.step(state, action)));
        let next = next.unwrap_or_else(|_| {
            Some(State { violation: Some("an assertion failed"), ..state.clone() })
        });
        next.filter(|next| next != state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("safety", |_, state: &State| state.violation.is_none()),
            Property::sometimes("a command is applied", |_, state: &State| {
                state.chosen.values().any(|value| matches!(value, Value::Batch(_)))
            }),
            Property::sometimes("a second leader has its barrier chosen", |_, state: &State| {
                let barriers = state.chosen.values().filter(|v| matches!(v, Value::Barrier(_)));
                barriers.count() == 2
            }),
        ]
    }
}

impl World {
    /// Member 1 leads, and all goes well until nothing is left to do.
    fn lead_first(&self, state: State) -> State {
        let unbounded = State { candidacies_left: u8::MAX, ..state.clone() };
        let mut led = self.step(&unbounded, Action::Campaign(0)).expect("it stands");
        loop {
            let mut actions: Vec<_> = led.network.iter().cloned().map(Action::Deliver).collect();
            led.network = GrowingSet::new();
            let busy = (0..3).filter(|member| !led.members[*member].volatile.is_empty());
            actions.extend(busy.map(Action::Persist));
            if actions.is_empty() {
                return State { candidacies_left: state.candidacies_left, ..led };
            }
            for action in actions {
                led = self.step(&led, action).expect("there is something to do");
            }
        }
    }

    fn step(&self, state: &State, action: Action) -> Option<State> {
        let mut next = state.clone();
        let (member, node) = match action {
            Action::Deliver(envelope) => {
                let Envelope { from, to, ref message } = *envelope;
                let mut node = (*state.members[to]).clone();
                if let Message::Prepare(_) = message
                    && let Some(leader) = node.replica.leader()
                    && leader.replica != peer(to).id
                    && let Some(leader) = (0..3).find(|member| peer(*member).id == leader.replica)
                {
                    node.hear_of_no_leader(leader);
                }
                node.replica.handle_message(NOW, peer(from), message.clone());
                (to, node)
            }
            Action::Persist(member) => {
                let mut node = (*state.members[member]).clone();
                let id = node.volatile.back()?.0;
                let records: Vec<_> = node.volatile.drain(..).map(|(_, record)| record).collect();
                node.disk.extend(records.iter().cloned());
                let (free, held) = node.held.into_iter().partition(|(after, ..)| *after <= id);
                node.held = held;
                for (_, to, message) in free {
                    send(&mut next, member, &to, &message);
                }
                node.replica.handle_persisted(NOW, id);
                next.members[member] = Hashed::new(node.clone());
                for record in records {
                    if let Record::Accepted { ballot, slot, value } = record {
                        self.count_acceptance(&mut next, ballot, slot, &value);
                    }
                }
                (member, node)
            }
            Action::Campaign(member) => {
                next.candidacies_left -= 1;
                let mut node = (*state.members[member]).clone();
                node.replica.campaign(NOW);
                (member, node)
            }
            Action::CrashAndRestart(member) => {
                next.crashes_left -= 1;
                let node = &state.members[member];
                (member, self.start(member, node.disk.clone(), node.life + 1))
            }
        };
        self.settle(&mut next, member, node);
        Some(next)
    }

    /// Takes what comes of a step.
    fn settle(&self, state: &mut State, member: usize, mut node: Node) {
        while let Some(output) = node.replica.poll_output(NOW) {
            match output {
                Output::Persist { id, record } => node.volatile.push_back((id, record)),
                Output::Send { to, message, after: Some(after) } => {
                    if !matters(&message)
                        || node.held.contains(&(after, to.clone(), message.clone()))
                    {
                        continue;
                    }
                    node.held.push((after, to, message));
                }
                Output::Send { to, message, after: None } => send(state, member, &to, &message),
                Output::Apply { slot, value } => choose(state, slot, &value),
                Output::ReadReady { .. }
                | Output::ServeLog { .. }
                | Output::ServeSnapshot { .. }
                | Output::TakePage(_)
                | Output::TrimLog { .. }
                | Output::Event(_)
                | Output::Halt(_) => {}
            }
        }
        node.replica.check_invariants();
        state.members[member] = Hashed::new(node);
    }

    /// A quorum of durable acceptances in one ballot makes a value chosen, whoever knows it.
    fn count_acceptance(&self, state: &mut State, ballot: Ballot, slot: Slot, value: &Value) {
        let accepted = |node: &Node| {
            node.disk.iter().any(|record| {
                matches!(record, Record::Accepted { ballot: b, slot: s, .. }
                    if (*b, *s) == (ballot, slot))
            })
        };
        let members = state.members.iter().enumerate().filter(|(_, node)| accepted(node));
        let members = members.map(|(member, _)| peer(member).id).collect();
        if self.quorums.is_phase2_quorum(&members) {
            choose(state, slot, value);
        }
    }
}

fn matters(message: &Message) -> bool {
    !matches!(message, Message::Heartbeat(_) | Message::Nack(_) | Message::Chosen(_))
}

fn send(state: &mut State, from: usize, to: &ReplicaSet, message: &Message) {
    if matters(message) {
        for to in (0..3).filter(|member| to.contains(peer(*member).id)) {
            state.network.insert(Envelope { from, to, message: message.clone() });
        }
    }
}

fn choose(state: &mut State, slot: Slot, value: &Value) {
    let first = state.chosen.entry(slot).or_insert_with(|| value.clone());
    if first != value {
        state.violation = Some("a slot has chosen two values");
    }
    let mut seen: Vec<CommandId> = Vec::new();
    for value in state.chosen.values() {
        let Value::Batch(batch) = value else { continue };
        for command in batch.commands.iter() {
            if seen.contains(&command.id) {
                state.violation = Some("a command is chosen twice");
            }
            seen.push(command.id);
        }
    }
}

impl World {
    /// Looks at states by rising distance, until one is unsafe or there were enough.
    pub(crate) fn search(self) -> impl Checker<Self> {
        let states = self.bounds.states;
        let checker = self.checker().threads(2).target_state_count(states);
        checker.finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join()
    }
}

/// The bounds that the environment asks for, or these.
fn bounds_or(default: Bounds) -> Bounds {
    let Ok(text) = std::env::var("SYNOD_MODEL") else { return default };
    let numbers: Vec<usize> =
        text.split(',').map(|n| n.parse().expect("SYNOD_MODEL holds numbers")).collect();
    let [candidacies, commands, crashes, states] = numbers[..] else {
        panic!("SYNOD_MODEL is candidacies,commands,crashes,states");
    };
    let small = |n: usize| u8::try_from(n).expect("SYNOD_MODEL holds small numbers");
    let (candidacies, commands, crashes) = (small(candidacies), small(commands), small(crashes));
    Bounds { candidacies, commands, crashes, states, ..default }
}

fn check(default: Bounds) {
    let bounds = bounds_or(default);
    let world = World::new(bounds);
    let search = world.search();
    let (states, depth) = (search.unique_state_count(), search.max_depth());
    let all = if search.state_count() < bounds.states { "all" } else { "some" };
    println!("{bounds:?}: {states} states, {all} of them, depth {depth}");
    if let Some(path) = search.discovery("safety") {
        let violation = path.last_state().violation;
        panic!("{violation:?} after {:#?}", path.into_actions());
    }
}

#[test]
fn two_candidates() {
    check(Bounds { candidacies: 2, commands: 0, crashes: 0, states: 120_000, led: false });
}

#[test]
fn one_candidate_and_a_crash() {
    check(Bounds { candidacies: 1, commands: 1, crashes: 1, states: 120_000, led: false });
}

#[test]
fn a_second_leader_while_the_first_proposes() {
    check(Bounds { candidacies: 1, commands: 1, crashes: 0, states: 120_000, led: true });
}
