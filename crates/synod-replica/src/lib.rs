//! A replica at work.
//!
//! (prose to come)
#![deny(missing_docs)]

pub mod client;
pub mod codec;
pub mod driver;
pub mod machine;
mod waiting;

pub use client::{ProposeClient, ProposeError, ReadClient, ReadError};
pub use driver::{Driver, DriverOptions, Effects};
pub use machine::{Entry, StateMachine};
