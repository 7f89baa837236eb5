//! A replica at work.
//!
//! (prose to come)
#![deny(missing_docs)]

pub mod driver;
pub mod machine;
