//! A replica at work: any deterministic state machine made a replicated one.
//!
//! | file | what it is |
//! |---|---|
//! | [`machine`] | what you bring: a [`StateMachine`] |
//! | [`driver`] | core, machine and waiting clients put together, without IO |
//! | [`client`] | how those who wait are answered |
//! | [`codec`] | the bytes of peer messages and log records |
//! | [`log`] | records in a write-ahead log, found again by slot |
//! | [`runtime`] | the driver in production: two threads and a [`Handle`] |
//! | [`snapshot`] | the state, shipped to members that lag too far |
//! | [`local`] | members that share a process |
//! | [`testing`] | a conformance suite for state machines |
//!
//! `examples/counter.rs` is the whole of it in sixty lines. The simulator runs the same [`Driver`],
//! [`Log`] and codec in virtual time.
#![deny(missing_docs)]

mod bell;
pub mod client;
pub mod codec;
pub mod driver;
mod handle;
mod inputs;
pub mod local;
pub mod log;
mod log_thread;
pub mod machine;
pub mod runtime;
pub mod snapshot;
mod snapshot_thread;
mod status;
pub mod testing;
mod undurable;
mod waiting;

pub use client::{ProposeClient, ProposeError, ReadClient, ReadError, TransferError};
pub use driver::{Driver, DriverOptions, Effects};
pub use handle::{Guarantee, Handle};
pub use log::{Log, LogIdentity};
pub use machine::{Entry, StateMachine};
pub use runtime::{Exit, Outbox, Running, RuntimeOptions};
pub use snapshot::Shipping;
pub use status::Status;
