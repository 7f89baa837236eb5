//! The driver: core, state machine and waiting clients, put together without IO.
//!
//! The same driver runs in production (behind [`crate::runtime`]), in the simulator and in tests.

use synod_paxos::{Event, HaltReason, Message, PersistId, Record, ReplicaId, ReplicaSet, Slot};

/// What the driver asks of its surroundings. Calls come in the order in which they must take
/// effect; a message is handed over only when what it waits for is durable.
pub trait Effects {
    /// Append the record to the log; once it is durable, tell the driver the id (or a later one).
    fn persist(&mut self, id: PersistId, record: Record);
    /// Send the message to all in the set. It may be lost.
    fn send(&mut self, to: &ReplicaSet, message: Message);
    /// Read chosen values from the log and send them to the peer as `Learned`.
    fn serve_log(&mut self, to: ReplicaId, from: Slot, chosen: Slot, bytes_max: usize);
    /// The log may be trimmed: nobody needs what was chosen below this slot.
    fn trim_log(&mut self, below: Slot);
    /// Something happened.
    fn event(&mut self, event: &Event);
    /// The member must stop.
    fn halt(&mut self, reason: &HaltReason);
}
