//! What a run is asked for, and what comes of it.

use std::fmt;
use std::time::Duration;

use crate::faults::FaultSet;

/// How to run a seed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Options {
    /// Virtual time in which faults happen; then everything is healed and must go on. Default 60 s.
    pub duration: Duration,
    /// How many members, from 1 to 5, instead of what the seed draws.
    pub members: Option<usize>,
    /// Faults that are left out.
    pub without: FaultSet,
    /// Whether to print every event.
    pub trace: bool,
    /// The wrong variant of the protocol to run, to prove that the checkers can fail.
    #[cfg(feature = "mutants")]
    pub mutant: Option<synod_paxos::Mutant>,
    /// The wrong variant of what members do about leases.
    #[cfg(feature = "mutants")]
    pub lease_mutant: Option<crate::LeaseMutant>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            duration: Duration::from_secs(60),
            members: None,
            without: FaultSet::NONE,
            trace: false,
            #[cfg(feature = "mutants")]
            mutant: None,
            #[cfg(feature = "mutants")]
            lease_mutant: None,
        }
    }
}

/// What happened in a run without a violation.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// How many members.
    pub members: usize,
    /// The faults that the seed turned on.
    pub faults: FaultSet,
    /// How many events.
    pub events: u64,
    /// A number that two runs share if the same happened in both.
    pub hash: u64,
    /// Virtual time that passed.
    pub virtual_time: Duration,
    /// Writes that were acknowledged.
    pub acknowledged: u64,
    /// Reads that were answered.
    pub reads: u64,
    /// Requests whose outcome stayed unknown.
    pub unknown: u64,
    /// Writes whose clients were told that they never will be applied.
    pub never_applied: u64,
    /// Slots that were chosen.
    pub slots: u64,
    /// How often a leader was elected.
    pub leader_changes: u64,
    /// How often a process ended.
    pub crashes: u64,
    /// How often a process was paused.
    pub pauses: u64,
    /// How often links were cut.
    pub partitions: u64,
    /// Members that lost their disk.
    pub wipes: u64,
    /// Messages that were lost.
    pub lost: u64,
    /// Pages of values that were read from the log for members that lagged.
    pub served: u64,
    /// How often the log was trimmed.
    pub trims: u64,
    /// Pages of snapshots that were sent to members that lagged.
    pub pages: u64,
    /// Snapshots that were installed.
    pub installs: u64,
    /// Leases that ended because they were due.
    pub expired: u64,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "seed {}: {} members, {:.0} s, {} events, {} writes and {} reads answered, {} unknown, \
             {} slots, {} leaders, {} crashes, {} pauses, {} partitions, {} wipes, hash {:016x}",
            self.seed,
            self.members,
            self.virtual_time.as_secs_f64(),
            self.events,
            self.acknowledged,
            self.reads,
            self.unknown,
            self.slots,
            self.leader_changes,
            self.crashes,
            self.pauses,
            self.partitions,
            self.wipes,
            self.hash,
        )
    }
}

/// Something that must never happen did.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{message}\n\nThe last events:\n{}\n\nTo replay: {command}", lines.join("\n"))]
pub struct Violation {
    /// The seed.
    pub seed: u64,
    /// What is wrong.
    pub message: String,
    /// The last events before.
    pub lines: Vec<String>,
    /// What to run to see it again.
    pub command: String,
}

/// The command that replays a seed.
#[must_use]
pub fn command(seed: u64, options: &Options) -> String {
    let mut command = format!("cargo run --release -- sim --seed {seed}");
    let standard = Options::default();
    if let Some(members) = options.members {
        command += &format!(" --members {members}");
    }
    if options.duration != standard.duration {
        command += &format!(" --seconds {}", options.duration.as_secs_f64());
    }
    if !options.without.is_empty() {
        command += &format!(" --without {}", options.without);
    }
    command
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faults::Fault;

    #[test]
    fn a_command_names_only_what_differs() {
        let mut options = Options::default();
        assert_eq!(command(7, &options), "cargo run --release -- sim --seed 7");
        options.without = FaultSet::NONE.with(Fault::Pause).with(Fault::Loss);
        options.duration = Duration::from_secs(12);
        assert_eq!(
            command(7, &options),
            "cargo run --release -- sim --seed 7 --seconds 12 --without pause,loss"
        );
    }
}
