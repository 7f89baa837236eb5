//! Model checking: every order of events in a small world, not a sample of them.
//!
//! [`basic`] takes the three roles of Basic Paxos, [`replica`] the production replica. In both the
//! network is a set of messages that only grows: what is in it may arrive at any time, many times,
//! or never. So loss, repetition, delay and reordering are all there.

mod basic;
#[cfg(feature = "mutants")]
mod mutants;
mod replica;
mod set;
