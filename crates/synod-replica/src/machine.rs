//! What a user of this crate brings: a deterministic state machine.

use bytes::Bytes;
use synod_paxos::{LogTime, Prefix, Slot};

use crate::snapshot::{Arrived, Shipping};

/// A deterministic state machine: the same entries in the same order give the same state and the
/// same replies on every member, but for what of a reply nobody waits for.
pub trait StateMachine: Send + 'static {
    /// What the client that proposed a command gets back, on the member it proposed it to.
    type Reply: Send + 'static;

    /// Applies one command.
    fn apply(&mut self, entry: Entry<'_>) -> Self::Reply;

    /// All commands of one more slot were applied (there may be none). A machine that keeps its
    /// state outside the log records what is applied now, together with the changes of the slot.
    fn slot_applied(&mut self, applied: Prefix) {
        let _ = applied;
    }

    /// Everything below this slot was applied, and the log holds it durably. A machine that keeps
    /// its state outside the log too makes nothing from this slot on durable there: after a power
    /// cut the log would not know what was chosen for a slot that the state has in it already, and
    /// could not give it to members that lag.
    fn log_durable(&mut self, below: Slot) {
        let _ = below;
    }

    /// At start: what is in the state already, as [`StateMachine::slot_applied`] said it last. A
    /// machine that lives in memory only has nothing, and the whole log is replayed.
    fn applied(&self) -> Prefix {
        Prefix::default()
    }

    /// Everything below this slot survives a crash without the log. Asked from time to time; the
    /// log may be trimmed up to the lowest answer of all members.
    fn stable_watermark(&self) -> Slot {
        Slot::FIRST
    }

    /// At start: how its state is sent to members that lag too far, and received. A machine that
    /// has none keeps the whole log that its members may need.
    fn shipping(&self) -> Option<Box<dyn Shipping>> {
        None
    }

    /// Takes over, between two slots, a state that has arrived, in the place of its own, durably;
    /// it is that of a longer prefix. False if it cannot: then it stays as it is.
    fn install(&mut self, arrived: Arrived) -> bool {
        let _ = arrived;
        false
    }
}

/// A command at its place in the log.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// Its slot.
    pub slot: Slot,
    /// The log's time: the highest stamp up to this slot. Never goes back.
    pub time: LogTime,
    /// What the client proposed.
    pub payload: &'a Bytes,
    /// Whether the client waits for the reply here. If not, the reply is dropped, and the machine
    /// may spare itself what it would put into it; not what it does.
    pub is_awaited: bool,
}
