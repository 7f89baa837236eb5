//! A replica at work.
//!
//! (prose to come)
#![deny(missing_docs)]

pub mod client;
pub mod codec;
pub mod driver;
mod handle;
mod inputs;
pub mod log;
mod log_thread;
pub mod machine;
pub mod runtime;
mod status;
mod waiting;

pub use client::{ProposeClient, ProposeError, ReadClient, ReadError, TransferError};
pub use driver::{Driver, DriverOptions, Effects};
pub use handle::{Guarantee, Handle};
pub use log::{Log, LogIdentity};
pub use machine::{Entry, StateMachine};
pub use runtime::{Exit, Outbox, Running, RuntimeOptions};
pub use status::Status;
