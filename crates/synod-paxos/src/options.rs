//! What may vary from cluster to cluster, and the bounds.

use std::time::Duration;

use crate::mutants::Mutant;

/// Time-outs and bounds of a replica. All members of a cluster should have the same.
#[derive(Clone, Debug, Eq, PartialEq, Hash)]
pub struct Options {
    /// How often a member tells the others that it is there. Default 100 ms, as etcd.
    pub heartbeat_interval: Duration,
    /// After this much silence a leader counts as gone, and a leader that hears no quorum steps
    /// down. At least three heartbeats. Default 1 s, as etcd.
    pub election_timeout: Duration,
    /// How long followers may go without hearing what is chosen, if no client of theirs waits for
    /// it and no accept carries it. Default 1 ms; watches on followers are late by as much.
    pub announce_delay: Duration,
    /// Slots that a leader has proposed and that are not chosen yet. Default 4: fewer make larger
    /// batches, more hide a longer round trip.
    pub slots_in_flight_max: u64,
    /// A batch takes no further command beyond this many bytes. Default 1 MiB.
    pub batch_bytes_max: usize,
    /// A batch takes at most this many commands. Default 1,024.
    pub batch_commands_max: usize,
    /// Own commands that wait to be applied; one more is refused. Default 16,384.
    pub commands_max: usize,
    /// Bytes of own commands that wait to be applied. Default 64 MiB.
    pub commands_bytes_max: usize,
    /// Commands that a leader holds for slots to come free, for all members together. Default
    /// 65,536.
    pub queue_max: usize,
    /// Reads that wait for a leader's word; one more is refused. Default 65,536.
    pub reads_max: usize,
    /// A page of a promise or of learned values ends before this many bytes, but holds at least one
    /// value. Default 1 MiB.
    pub page_bytes_max: usize,
    /// Applied values that are kept in memory for members that lag; older ones are read from the
    /// log. Default 64 MiB.
    pub cache_bytes_max: usize,
    /// How far above its own chosen watermark a member accepts slots. Default 16,384.
    pub window_slots_max: u64,
    /// The log is trimmed when so many more slots can go. Default 4,096.
    pub trim_slots_min: u64,
    /// The wrong variant of the protocol to run, for tests that prove that checkers can fail.
    #[cfg(feature = "mutants")]
    pub mutant: Option<Mutant>,
}

impl Options {
    /// How long to wait for an answer before asking again.
    pub(crate) fn resend_after(&self) -> Duration {
        self.heartbeat_interval * 2
    }

    /// Whether this replica runs a wrong variant. Never true in a build that serves.
    #[cfg_attr(not(feature = "mutants"), expect(clippy::unused_self, reason = "see the feature"))]
    pub(crate) fn mutated(&self, mutant: Mutant) -> bool {
        #[cfg(feature = "mutants")]
        return self.mutant == Some(mutant);
        #[cfg(not(feature = "mutants"))]
        {
            let _ = mutant;
            false
        }
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            heartbeat_interval: Duration::from_millis(100),
            election_timeout: Duration::from_millis(1000),
            announce_delay: Duration::from_millis(1),
            slots_in_flight_max: 4,
            batch_bytes_max: 1 << 20,
            batch_commands_max: 1024,
            commands_max: 16_384,
            commands_bytes_max: 64 << 20,
            queue_max: 65_536,
            reads_max: 65_536,
            page_bytes_max: 1 << 20,
            cache_bytes_max: 64 << 20,
            window_slots_max: 16_384,
            trim_slots_min: 4096,
            #[cfg(feature = "mutants")]
            mutant: None,
        }
    }
}
