//! Watches: everybody who follows the one history of revisions, from wherever they want to.
//!
//! Reading order:
//!
//! 1. `outlet`: what waits for one stream, bounded; the hub puts in, the stream takes out.
//! 2. `index`, `ranges`: which watches want an event of a key.
//! 3. `hub`: the watches of a member. Each is *live* and told what is applied as it comes,
//!    *queued* because it has history to catch up with, or *parked* because its stream is full.
//! 4. `dispatch`: from events to watches; `catch_up`: reads of history, shared.
//! 5. `progress`: how far a stream has come.
//! 6. `task`: the hub's task, how it is spoken to, and what wakes it. Streams are woken by
//!    `listener/delivery.rs`.
//! 7. `feed`: a stream's end, which makes messages of what waits; `changed`: for who waits inside.
//!
//! ```text
//!   applied ──▶ Tail ──▶ dispatch ──▶ outlet ──▶ feed ──▶ client
//!               (one read for all)      │ full: parked
//!                                       ▼
//!               history ◀── catch_up ◀── room again: queued
//! ```
//!
//! **Invariant: once, in order.** A watch has a cursor: the first revision it was not told. It is
//! told a revision only at its cursor or above, and then passes it.
//!
//! **Invariant: nobody waits for a slow stream.** What does not fit into its outlet is not kept:
//! the watch reads it from history when there is room, or is told that it is compacted.

mod catch_up;
mod changed;
mod dispatch;
mod feed;
mod hub;
mod index;
mod outlet;
mod progress;
mod ranges;
mod task;

#[cfg(test)]
mod tests;

pub(crate) use feed::{Asker, Feed, Told};
pub(crate) use hub::HubOptions;
pub(crate) use task::{Request, Watches, start};
