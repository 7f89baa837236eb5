//! What a slot can choose.

use std::sync::Arc;

use bytes::Bytes;

use crate::ids::{Ballot, ReplicaId};
use crate::time::LogTime;

/// What a slot chooses.
#[derive(Clone, Debug, Eq, PartialEq, Hash)]
pub enum Value {
    /// Nothing: fills a hole that a new leader found.
    Noop,
    /// The first value of a new leader, above everything it found. It names the ballot it was first
    /// proposed in, also when a later leader proposes it again.
    ///
    /// A batch above it that was first proposed in a lower ballot is void: see [`Batch::ballot`].
    Barrier(Ballot),
    /// Commands of clients.
    Batch(Batch),
}

/// Commands that share a slot, in the order in which they apply.
#[derive(Clone, Debug, Eq, PartialEq, Hash)]
pub struct Batch {
    /// The ballot it was first proposed in, also when a later leader proposes it again.
    ///
    /// If a slot below holds a barrier of a higher ballot, the batch is void: every member applies
    /// nothing for it. Both are in the log, so all members agree on it, and whoever sees the
    /// barrier knows what became of all commands sent in lower ballots: they are applied by now, or
    /// never will be.
    pub ballot: Ballot,
    /// Log time when the leader formed it.
    pub stamp: LogTime,
    /// At least one.
    pub commands: Arc<[Command]>,
}

/// What a client asks of the state machine.
#[derive(Clone, Debug, Eq, PartialEq, Hash)]
pub struct Command {
    /// Which member took it from a client.
    pub id: CommandId,
    /// What the state machine reads. Opaque here.
    pub payload: Bytes,
}

/// Identifies a command for as long as the cluster lives.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Ord, PartialOrd, Hash)]
pub struct CommandId {
    /// The member that took it from a client and answers it.
    pub replica: ReplicaId,
    /// One run of that member's process: drawn at random when it starts.
    pub life: u64,
    /// Counts up from 1 within the life.
    pub number: u64,
}

impl Value {
    /// About how many bytes it takes in memory, on the wire and in the log.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match self {
            Self::Noop | Self::Barrier(_) => 32,
            Self::Batch(batch) => {
                32 + batch.commands.iter().map(|c| 32 + c.payload.len()).sum::<usize>()
            }
        }
    }
}

/// What an acceptor holds for a slot.
#[derive(Clone, Debug, Eq, PartialEq, Hash)]
pub struct AcceptedValue<V = Value> {
    /// The ballot it was accepted in.
    pub ballot: Ballot,
    /// The value.
    pub value: V,
}
