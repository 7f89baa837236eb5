//! The Paxos protocols, without IO.
//!
//! (prose to come)
#![deny(missing_docs)]

mod acceptor;
pub mod basic;
mod commands;
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
pub mod time;
pub mod value;

pub use event::{Event, HaltReason, Ignored, StepDown};
pub use ids::{Ballot, Incarnation, Peer, ReplicaId};
pub use message::Message;
#[cfg(feature = "mutants")]
pub use mutants::Mutant;
pub use options::Options;
pub use output::{Output, PersistId, ReadId, Record};
pub use prefix::Prefix;
pub use quorum::{Quorums, ReplicaSet};
pub use recovered::Recovered;
pub use replica::{Busy, Identity, Replica, Withdrawal};
pub use slot::Slot;
pub use time::{LogTime, Time};
pub use value::{AcceptedValue, Batch, Command, CommandId, Value};
