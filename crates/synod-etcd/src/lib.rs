//! The etcd v3 API: its messages and services, its errors, and the way between them and the store.
//!
//! The only crate that knows gRPC's messages. Reading order:
//!
//! 1. [`proto`]: the generated messages, clients and services.
//! 2. [`EtcdError`], [`Refusal`]: every error etcd has, with its code and exact text.
//! 3. [`request`]: from a message to a command of the store that cannot be malformed, or a refusal.
//! 4. [`response`]: from the store's answer to a message; this cannot fail.
//!    [`response::pieces`]: the same while it is read. [`lease`]: both ways, for leases.
//! 5. [`json`]: the same messages as JSON, and the paths they have over HTTP.
//! 6. [`watch`]: what a watch asks for, and events that are encoded once for all who watch.
//! 7. [`alarm`], [`downgrade`]: what only concerns whoever looks after a cluster.
//! 8. [`backend`]: what etcd keeps in its database, for snapshots.
//! 9. [`unbuilt`]: the answer to what is not there yet.
//!
//! ```text
//!   RangeRequest ──request──▶ Range, Command ─▶ (log, store) ─▶ Reply ──response──▶ RangeResponse
//!                    └─▶ Refusal ─▶ gRPC status: etcd's code and text, our detail beside it
//! ```

#![deny(missing_docs)]

pub mod alarm;
pub mod auth;
pub mod backend;
pub mod downgrade;
mod error;
pub mod json;
pub mod lease;
mod limits;
pub mod proto;
mod refusal;
pub mod request;
pub mod response;
pub mod unbuilt;
pub mod watch;

pub use error::EtcdError;
pub use limits::Limits;
pub use refusal::{DETAIL_KEY, NEVER_APPLIED, OUTCOME_KEY, Refusal};
