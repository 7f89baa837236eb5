//! Basic Paxos: three acceptors that crash as often as they like and lose what is not durable, and
//! two proposers.
//!
//! A promise reaches its proposer when it is durable, or never: when else it came would make no
//! difference, since what the proposer then proposes may arrive as late as it likes.

use std::collections::BTreeMap;

use stateright::{Checker, HasDiscoveries, Model, Property};
use synod_paxos::basic::{Acceptor, Proposer};
use synod_paxos::{AcceptedValue, Ballot, Quorums, ReplicaId, ReplicaSet};

use crate::set::GrowingSet;

type Name = &'static str;

/// What may be wrong in this world, to prove that the checker can fail.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Flaw {
    None,
    /// Acceptors answer before their state is durable.
    ReplyBeforeDurable,
    /// All proposers use the same ballot.
    SharedBallot,
    /// A promise does not tell what was accepted.
    ForgetfulPromise,
}

struct World {
    flaw: Flaw,
    quorums: Quorums,
}

#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
enum Message {
    Prepare(Ballot),
    Promise(ReplicaId, Ballot, Option<(Ballot, Name)>),
    Accept(Ballot, Name),
    Accepted(ReplicaId, Ballot, Name),
}

#[derive(Clone, Debug, Eq, Hash, PartialEq)]
struct State {
    acceptors: [Node; 3],
    proposers: Vec<Proposer<Name>>,
    network: GrowingSet<Message>,
}

#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
struct Node {
    durable: Acceptor<Name>,
    live: Acceptor<Name>,
    /// Answers that wait for the disk.
    held: Vec<Message>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum Action {
    ToAcceptor(usize, Message),
    Persist(usize),
    /// And what waited for the disk is lost on the way.
    PersistAndLose(usize),
    Crash(usize),
}

impl World {
    fn new(flaw: Flaw) -> Self {
        let quorums = Quorums::majority((1..=3).map(ReplicaId::new).collect());
        Self { flaw, quorums }
    }
}

impl Model for World {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let shared = self.flaw == Flaw::SharedBallot;
        let ballots = [(1, 1), (1, if shared { 1 } else { 2 })];
        let wishes = ["a", "b"];
        let proposers: Vec<_> = ballots
            .into_iter()
            .zip(wishes)
            .map(|((round, id), wish)| {
                Proposer::new(Ballot { round, replica: ReplicaId::new(id) }, wish)
            })
            .collect();
        let mut network = GrowingSet::new();
        for proposer in &proposers {
            network.insert(Message::Prepare(proposer.ballot()));
        }
        vec![State { acceptors: <[Node; 3]>::default(), proposers, network }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        for message in state.network.iter() {
            let message = (**message).clone();
            match message {
                Message::Prepare(_) | Message::Accept(..) => {
                    actions.extend((0..3).map(|n| Action::ToAcceptor(n, message.clone())));
                }
                Message::Promise(..) | Message::Accepted(..) => {}
            }
        }
        for (n, node) in state.acceptors.iter().enumerate() {
            if node.live != node.durable || !node.held.is_empty() {
                let then = [Action::Persist, Action::PersistAndLose, Action::Crash];
                actions.extend(then.map(|then| then(n)));
            }
        }
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        let mut next = state.clone();
        match action {
            Action::ToAcceptor(n, message) => {
                let id = ReplicaId::new(u64::try_from(n).expect("a small number") + 1);
                let node = &mut next.acceptors[n];
                let answer = match message {
                    Message::Prepare(ballot) => {
                        let accepted = node.live.prepare(ballot).ok()?;
                        let forgets = self.flaw == Flaw::ForgetfulPromise;
                        let accepted = accepted.filter(|_| !forgets);
                        Message::Promise(id, ballot, accepted.map(|a| (a.ballot, a.value)))
                    }
                    Message::Accept(ballot, value) => {
                        node.live.accept(ballot, value).ok()?;
                        Message::Accepted(id, ballot, value)
                    }
                    Message::Promise(..) | Message::Accepted(..) => return None,
                };
                if self.flaw == Flaw::ReplyBeforeDurable {
                    self.say(&mut next, answer);
                } else if !node.held.contains(&answer) {
                    node.held.push(answer);
                    node.held.sort_unstable();
                }
            }
            Action::Persist(n) => {
                next.acceptors[n].durable = next.acceptors[n].live.clone();
                for message in std::mem::take(&mut next.acceptors[n].held) {
                    self.say(&mut next, message);
                }
            }
            Action::PersistAndLose(n) => {
                let node = &mut next.acceptors[n];
                node.durable = node.live.clone();
                // An acceptance counts whether anybody hears of it or not.
                let held = std::mem::take(&mut node.held);
                for message in held.into_iter().filter(|m| matches!(m, Message::Accepted(..))) {
                    self.say(&mut next, message);
                }
            }
            Action::Crash(n) => {
                let node = &mut next.acceptors[n];
                node.live = node.durable.clone();
                node.held.clear();
            }
        }
        (next != *state).then_some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("agreement", |world, state| world.chosen(state).len() <= 1),
            Property::always("validity", |world, state| {
                world.chosen(state).iter().all(|value| ["a", "b"].contains(value))
            }),
            Property::sometimes("the higher ballot's wish is chosen", |world, state| {
                world.chosen(state).contains(&"b")
            }),
            Property::sometimes("a value survives into a higher ballot", |_, state: &State| {
                let second = state.proposers[1].ballot();
                state.network.iter().any(|message| **message == Message::Accept(second, "a"))
            }),
        ]
    }
}

impl World {
    /// What an acceptor says: a promise to its proposer, an acceptance to whoever counts.
    fn say(&self, state: &mut State, message: Message) {
        let Message::Promise(from, ballot, accepted) = message else {
            return state.network.insert(message);
        };
        let accepted = accepted.map(|(ballot, value)| AcceptedValue { ballot, value });
        for proposer in state.proposers.iter_mut().filter(|p| p.ballot() == ballot) {
            proposer.promised(from, accepted.clone(), &self.quorums);
            if let Some(value) = proposer.proposal() {
                state.network.insert(Message::Accept(ballot, value));
            }
        }
    }

    /// Every value that a quorum has accepted in one ballot, by all that was ever said.
    fn chosen(&self, state: &State) -> Vec<Name> {
        let mut votes: BTreeMap<(Ballot, Name), ReplicaSet> = BTreeMap::new();
        for message in state.network.iter() {
            if let Message::Accepted(from, ballot, value) = **message {
                votes.entry((ballot, value)).or_default().insert(from);
            }
        }
        let quorums = votes.iter().filter(|(_, set)| self.quorums.is_phase2_quorum(set));
        let mut chosen: Vec<_> = quorums.map(|((_, value), _)| *value).collect();
        chosen.sort_unstable();
        chosen.dedup();
        chosen
    }
}

#[test]
fn basic_paxos_agrees() {
    let checker = World::new(Flaw::None).checker().threads(2).spawn_dfs().join();
    checker.assert_properties();
    println!("{} states", checker.unique_state_count());
    assert!(checker.unique_state_count() > 10_000, "the world was explored");
}

#[test]
fn flaws_are_found() {
    for flaw in [Flaw::ReplyBeforeDurable, Flaw::SharedBallot, Flaw::ForgetfulPromise] {
        let checker = World::new(flaw).checker().target_state_count(1_000_000);
        let checker = checker.finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
        assert!(checker.discovery("agreement").is_some(), "{flaw:?}");
    }
}
