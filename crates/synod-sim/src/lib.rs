//! A world for whole clusters: virtual time, network, disks, clients, faults and checkers.
//!
//! Nothing of Synod is replaced by a stand-in: the members run the production core, driver, log and
//! store. What surrounds them is made here, from one seed, so that the same seed always gives the
//! same events: `run` is a function.
//!
//! ```text
//!   seed ─▶ plan ─▶ world ──────────────────────────────▶ report or violation
//!                   │ queue    what happens when
//!                   │ member   driver + log + store, on a disk that forgets
//!                   │ network  delay, loss, partitions
//!                   │ client   asks, and never repeats itself
//!                   │ nemesis  crashes, pauses, cuts, wipes; duel: two leaders at a time
//!                   │ expiry   the leader asks that leases end which are due
//!                   │
//!                   └ checkers, after every round of a member:
//!                       agreement  one value per slot, one leader per ballot, equal state
//!                       history    strict serializability, by the revision in each answer
//!                       run        progress after healing, everything equal in silence
//! ```
//!
//! Reading order: `plan`, `world`, `member`, `nemesis`, `duel`, `agreement`, `history`, `run`.
#![deny(missing_docs)]

mod agreement;
mod client;
mod disk;
mod duel;
mod expiry;
mod faults;
mod history;
mod lease;
mod lease_mutants;
mod machine;
mod member;
mod model;
mod nemesis;
mod network;
mod operation;
mod plan;
mod queue;
mod random;
mod report;
mod run;
mod search;
mod trace;
mod world;

pub use disk::{SimDisk, SimFile};
pub use faults::{Fault, FaultSet, UnknownFault};
#[cfg(feature = "mutants")]
pub use lease_mutants::LeaseMutant;
pub use report::{Options, Report, Violation, command};
pub use run::{run, run_links};
pub use search::{shrink, sweep};
