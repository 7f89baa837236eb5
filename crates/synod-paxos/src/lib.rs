//! The Paxos protocols, without IO: Basic Paxos for one value, Multi-Paxos for a log.
//!
//! For a reader who knows the papers and has not seen this code.
//!
//! # One value
//!
//! [`basic`] is the Synod protocol of *The Part-Time Parliament* §2 and *Paxos Made Simple* §2: a
//! proposer asks acceptors to promise its ballot, proposes the one value that is safe, and a
//! learner sees a quorum accept it. It is made of three small rules in [`parts`]: an acceptor
//! ignores what is below its promise ([`parts::Promised`]), answers are counted per ballot
//! ([`parts::Tally`]), and the value of the highest ballot is the safe one ([`parts::SafeValue`]).
//! The log below is made of the same three.
//!
//! # A log
//!
//! A [`Replica`] is one member: acceptor and learner at all times, proposer at times.
//!
//! ```text
//!  client     leader (2.1)                    followers
//!    │ propose    │                               │
//!    ├───────────▶│  Accept 2.1 slot 7 [batch]    │      what waits shares a slot; no timer
//!    │            ├──────────────────────────────▶│
//!    │            │ own record ─▶ disk            │ record ─▶ disk
//!    │            │  Accepted 2.1 slot 7          │      sent once the record is durable
//!    │            │◀──────────────────────────────┤
//!    │   applied  │  chosen: a quorum, durably,   │
//!    │◀───────────┤  in one ballot                │
//!    │            │  Chosen 2.1 below 8           │      or carried by the next Accept
//!    │            ├──────────────────────────────▶│ applied
//! ```
//!
//! **Ballots** ([`Ballot`]) are ordered, owned by one member, and used once: the promise of an own
//! ballot is durable before anybody hears of it. **Slots** ([`Slot`]) count from 1. A watermark is
//! exclusive: every slot below it is so.
//!
//! **Phase 1, once for all slots.** A candidate sends one [`Prepare`](message::Prepare) for every
//! slot from its chosen watermark on. A [`Promise`](message::Promise) comes in pages. It tells how
//! far its sender knows the log to be chosen (the [`Prefix`]) and what it has accepted above. Above
//! the furthest prefix of a quorum, the candidate knows all that may have been chosen: it leads,
//! proposes those values again in its own ballot, fills holes with no-ops, and what it lacks below
//! it asks of the member that has it. (*Paxos Made Simple* §3.)
//!
//! **The barrier.** The first value of its own is a [`Value::Barrier`]. A batch names the ballot it
//! was first proposed in, and is void if a barrier of a higher ballot stands below it: all members
//! apply a no-op in its place. So a write that timed out under an old leader is either in the log
//! below the new leader's barrier or dead, never a ghost that appears later. (That later leaders
//! merely do not *propose* such values is not enough: one that has not seen the barrier may, and
//! the barrier itself may be proposed again below it.) Members use it to send their clients'
//! commands again, at most once applied, through any number of leaders (`commands.rs`).
//!
//! **Phase 2.** Whatever commands wait when a slot is free become its batch; at most
//! [`Options::slots_in_flight_max`] slots are open. Acceptors accept in any order, learners apply
//! in order. A value is *chosen* when a phase-2 quorum has accepted it durably in one ballot. A
//! follower that hears the leader's watermark knows that what it accepted *in that leader's ballot*
//! below it is chosen; anything else it learns from another member's log.
//!
//! **Reads.** The leader notes its watermark and asks whether a phase-2 quorum still follows, once
//! for all reads that wait; whoever asked answers from its own state once it has applied so far.
//!
//! **Election** is about liveness only and lives in `election.rs`: who hears whom decides who
//! stands. **Formation** decides who may vote at all: members that have met, on the disks they had
//! when they met, so that a wiped disk cannot vote twice (`formation.rs`).
//!
//! # The contract
//!
//! Time, chance and identity are arguments. Effects are data, in order ([`Output`]). **Order is
//! data, too**: an [`Output::Send`] names the [`PersistId`] of the record that must be durable
//! before it leaves, so a reply cannot overtake what justifies it unless the caller ignores a
//! field. Handlers cannot fail. Every queue has a bound ([`Options`]). Iteration order is defined,
//! so the same inputs give the same outputs, in production, in a simulation and in a lesson.
//!
//! ```
//! use synod_paxos::{
//!     Identity, Incarnation, Options, Output, Peer, Prefix, Recovered, Replica, ReplicaId, Time,
//! };
//!
//! let me = Peer { id: ReplicaId::new(1), incarnation: Incarnation::new(7) };
//! let members = [me.id].into_iter().collect();
//! let identity = Identity { me, life: 1, members, seed: 42 };
//! let now = Time::from_micros(0);
//! let mut alone =
//!     Replica::new(identity, Options::default(), Recovered::default(), Prefix::default(), now);
//! let command = alone.propose(now, "hello".into()).expect("the queue is empty");
//!
//! let later = Time::from_micros(1_000_000);
//! alone.handle_tick(later); // it is alone, so it stands at once
//! let mut applied = Vec::new();
//! while let Some(output) = alone.poll_output(later) {
//!     match output {
//!         // A real disk would take its time here.
//!         Output::Persist { id, .. } => alone.handle_persisted(later, id),
//!         Output::Apply { value, .. } => applied.push(value),
//!         _ => {}
//!     }
//! }
//! assert!(applied.iter().any(|value| match value {
//!     synod_paxos::Value::Batch(batch) => batch.commands[0].id == command,
//!     _ => false,
//! }));
//! ```
//!
//! Sources: Lamport, *The Part-Time Parliament* (1998) and *Paxos Made Simple* (2001); Chandra et
//! al., *Paxos Made Live* (2007); Howard et al., *Flexible Paxos* (2016); Ng et al., *Omni-Paxos*
//! (2023). Golden scripts in `testscripts/` show each situation, step by step.
#![deny(missing_docs)]

mod acceptor;
mod announce;
pub mod basic;
mod commands;
mod display;
mod election;
pub mod event;
mod formation;
pub mod ids;
mod invariants;
mod learner;
pub mod message;
mod mutants;
pub mod options;
pub mod output;
pub mod parts;
pub mod prefix;
mod proposer;
pub mod quorum;
mod reads;
pub mod recovered;
pub mod replica;
pub mod slot;
mod snapshot;
pub mod time;
pub mod value;

pub use event::{Event, HaltReason, Ignored, StepDown};
pub use ids::{Ballot, Incarnation, Peer, ReplicaId};
pub use message::Message;
#[cfg(feature = "mutants")]
pub use mutants::Mutant;
pub use options::Options;
pub use output::{Output, PageWanted, PersistId, ReadId, Record};
pub use prefix::Prefix;
pub use quorum::{Quorums, ReplicaSet};
pub use recovered::Recovered;
pub use replica::{Busy, Identity, Replica, Withdrawal};
pub use slot::Slot;
pub use time::{LogTime, Time};
pub use value::{AcceptedValue, Batch, Command, CommandId, Value};
