//! A client of Synod, and of any etcd.
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use synod_client::{Client, Delete, Get, Options, Put, Watch};
//!
//! #[tokio::main(flavor = "current_thread")]
//! async fn main() -> Result<(), synod_client::Error> {
//!     let members = ["127.0.0.1:2379", "127.0.0.1:22379", "127.0.0.1:32379"];
//!     let client = Client::connect(members, Options::default()).await?;
//!
//!     let mut changes = client.watch(Watch::prefix("job/")).await?;
//!     client.put(Put::new("job/1", "waits")).await?;
//!     if let Some(update) = changes.next().await {
//!         println!("{} changes at revision {}", update?.events.len(), client.revision());
//!     }
//!
//!     let lock = client.lock("job/1/lock", Duration::from_secs(10)).await?;
//!     let job = client.get(Get::key("job/1")).await?;
//!     println!("{:?}, under token {}", job.kvs, lock.token());
//!     if lock.is_valid() {
//!         client.delete(Delete::key("job/1")).await?;
//!     }
//!     lock.unlock().await
//! }
//! ```
//!
//! # What it promises
//!
//! * **A write whose outcome is unknown is never sent again.** It comes back as
//!   [`Error::OutcomeUnknown`]. A write is sent again only if it certainly never left, or if the
//!   member that refused it says that it never applies. Reads are asked again of other members.
//! * **A watch has no gap and no duplicate**, over lost connections and dead members: see
//!   [`Watcher`].
//! * **A lease, a lock or an office is over here before it is over there**: time counts from the
//!   moment the last renewal was *sent*. See [`KeepAlive`], [`Lock`], [`Leadership`].
//! * **Every call has a time limit**, but for those that wait by their nature: [`Client::lock`] and
//!   [`Client::campaign`]. Dropping a call's future cancels it.
//! * A dead member costs one failure: it is passed over for a while that grows with each failure.
//!
//! Requests and answers are etcd's own messages ([`proto`]); the builders here only spell them.
//! What has no method is reached by [`Client::read`] and [`Client::write`].
//!
//! Reading order: [`options`](Options), `endpoints` (which member), `call` (what is asked again),
//! `login`, `tls`, then `kv`, `watch`, `lease`, `lock`, `election`, `observe`.
//! `docs/decisions/0017-client.md` tells the reasons.

#![deny(missing_docs)]

mod call;
mod client;
mod election;
mod endpoints;
mod error;
mod kv;
mod lease;
mod lock;
mod login;
mod observe;
mod options;
mod session;
mod tls;
mod txn;
mod watch;

#[cfg(test)]
mod fake;

pub use call::Service;
pub use client::Client;
pub use election::Leadership;
pub use error::{Error, Unanswered};
pub use kv::{Compact, Delete, Get, Put};
pub use lease::{KeepAlive, Lease};
pub use lock::Lock;
pub use login::Token;
pub use observe::Observer;
pub use options::Options;
pub use synod_etcd::{EtcdError, Refusal, proto};
pub use tls::Tls;
pub use txn::{Compare, Op, Subject, Txn};
pub use watch::{Update, Watch, Watcher};
