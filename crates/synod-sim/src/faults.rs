//! The kinds of faults, each of which can be left out of a run.

use std::fmt;
use std::str::FromStr;

/// A kind of fault.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Ord, PartialOrd)]
pub enum Fault {
    /// A member's process ends, at any moment, and starts again.
    Crash,
    /// All members lose power at once.
    PowerCut,
    /// A process stops for up to seconds while its clock goes on.
    Pause,
    /// Members are split into groups that do not hear each other.
    Partition,
    /// Single links are cut in one direction.
    OneWay,
    /// Links are held back one after the other, and opened in another order.
    Clog,
    /// Messages are lost.
    Loss,
    /// Messages arrive twice.
    Duplication,
    /// Messages overtake each other; some come very late.
    Reorder,
    /// Messages take long.
    Delay,
    /// Syncs take long.
    SlowDisk,
    /// A sync fails, and the member dies of it.
    FailedSync,
    /// Clocks run at different speeds.
    Clock,
    /// A member loses its disk and comes back under its old name.
    Wipe,
    /// The leader is asked to hand over.
    Transfer,
    /// Members are told that another is gone, which may be false, or true of its links only.
    Unreachable,
    /// The leader is shut off until another one is elected, and then heard before that one.
    Duel,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 17] = [
        Self::Crash,
        Self::PowerCut,
        Self::Pause,
        Self::Partition,
        Self::OneWay,
        Self::Clog,
        Self::Loss,
        Self::Duplication,
        Self::Reorder,
        Self::Delay,
        Self::SlowDisk,
        Self::FailedSync,
        Self::Clock,
        Self::Wipe,
        Self::Transfer,
        Self::Unreachable,
        Self::Duel,
    ];

    /// Its name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Crash => "crash",
            Self::PowerCut => "power-cut",
            Self::Pause => "pause",
            Self::Partition => "partition",
            Self::OneWay => "one-way",
            Self::Clog => "clog",
            Self::Loss => "loss",
            Self::Duplication => "duplication",
            Self::Reorder => "reorder",
            Self::Delay => "delay",
            Self::SlowDisk => "slow-disk",
            Self::FailedSync => "failed-sync",
            Self::Clock => "clock",
            Self::Wipe => "wipe",
            Self::Transfer => "transfer",
            Self::Unreachable => "unreachable",
            Self::Duel => "duel",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that is no kind of fault.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("no fault is called {name:?}; the faults are: {}", FaultSet::ALL)]
pub struct UnknownFault {
    /// The name.
    pub name: String,
}

impl FromStr for Fault {
    type Err = UnknownFault;

    fn from_str(name: &str) -> Result<Self, UnknownFault> {
        Self::ALL
            .into_iter()
            .find(|fault| fault.name() == name)
            .ok_or_else(|| UnknownFault { name: name.to_owned() })
    }
}

/// A set of kinds of faults. Reads and shows itself as names with commas between.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct FaultSet(u32);

impl FaultSet {
    /// No fault.
    pub const NONE: Self = Self(0);

    /// Every kind.
    pub const ALL: Self = Self((1 << Fault::ALL.len()) - 1);

    /// Whether a kind is in.
    #[must_use]
    pub const fn contains(self, fault: Fault) -> bool {
        self.0 & Self::bit(fault) != 0
    }

    /// This set and one kind more.
    #[must_use]
    pub const fn with(self, fault: Fault) -> Self {
        Self(self.0 | Self::bit(fault))
    }

    /// The kinds, in order.
    pub fn iter(self) -> impl Iterator<Item = Fault> {
        Fault::ALL.into_iter().filter(move |fault| self.contains(*fault))
    }

    /// Whether no kind is in.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    const fn bit(fault: Fault) -> u32 {
        1 << fault as u32
    }
}

impl fmt::Display for FaultSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, fault) in self.iter().enumerate() {
            write!(f, "{}{fault}", if n > 0 { "," } else { "" })?;
        }
        Ok(())
    }
}

impl FromStr for FaultSet {
    type Err = UnknownFault;

    fn from_str(names: &str) -> Result<Self, UnknownFault> {
        let mut set = Self::NONE;
        for name in names.split(',').filter(|name| !name.is_empty()) {
            set = set.with(name.parse()?);
        }
        Ok(set)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_is_read_as_it_is_shown() {
        assert_eq!(FaultSet::ALL.iter().count(), Fault::ALL.len());
        for set in [FaultSet::NONE, FaultSet::ALL, FaultSet::NONE.with(Fault::Wipe)] {
            assert_eq!(set.to_string().parse(), Ok(set));
        }
        let error = "crash,rain".parse::<FaultSet>().unwrap_err();
        assert!(error.to_string().contains("\"rain\""), "{error}");
        assert!(error.to_string().contains("slow-disk"), "{error}");
    }
}
