//! Alarms and the space quota, as commands and answers name them.
//!
//! An alarm is part of the state: raised and cleared by commands of the log, in force on every
//! member from the same command on. With NOSPACE nothing is applied that stores more; deletes,
//! compactions and the ends of leases go on, as they are the way out. With CORRUPT nothing is
//! applied that changes keys.
//!
//! **Invariant: the quota is no option of the state machine.** Members may be configured with
//! different quotas. What a member finds it *reports*, with its quota in the report; the state
//! machine weighs that quota against the space it counts itself, which is the same everywhere.

use crate::revision::Revision;

/// How many alarms there may be at a time: far above any cluster, as anyone may name members.
pub const ALARMS_MAX: usize = 256;

/// What is wrong.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Ord, PartialOrd, Hash)]
pub enum AlarmKind {
    /// Space is used up.
    NoSpace,
    /// Members' data differ.
    Corrupt,
}

/// An alarm that is raised.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Alarm {
    /// What is wrong.
    pub kind: AlarmKind,
    /// The member that found it. Nobody checks that there is such a member.
    pub member: u64,
    /// Why it stands.
    pub reasons: AlarmReasons,
}

/// Why an alarm stands. The first is cleared by hand only, the others by the member itself too.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct AlarmReasons {
    /// Somebody raised it by hand, or the member found something that does not pass.
    pub by_hand: bool,
    /// The quota, in bytes, that the space in use has reached.
    pub quota: Option<u64>,
    /// The disk of the member is nearly full.
    pub disk: bool,
}

/// Raises or clears alarms by hand.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct AlarmChange {
    /// Which way.
    pub action: AlarmAction,
    /// Of which kind.
    pub kind: AlarmKind,
    /// Of which member.
    pub member: u64,
}

/// Which way an alarm changes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AlarmAction {
    /// It is raised, if it is not already.
    Activate,
    /// It is cleared, whatever the reasons it stands for.
    Deactivate,
}

/// How a member finds its space to be. It raises or clears that member's NOSPACE alarm.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SpaceReport {
    /// The member. The leader may speak for one that is not heard, with its quota.
    pub member: u64,
    /// The quota of the member, in bytes; `u64::MAX` for none.
    pub quota: u64,
    /// What a request that was refused would have added.
    pub wanted: u64,
    /// Whether the disk of the member is nearly full.
    pub disk_low: bool,
}

/// The answer to a command about alarms.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct AlarmResponse {
    /// The store's revision, which alarms do not change.
    pub revision: Revision,
    /// The alarms the command was about, as they stand now; those it cleared, as they stood.
    pub alarms: Vec<Alarm>,
}

impl AlarmReasons {
    /// Whether there is none, so that the alarm does not stand.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        !self.by_hand && self.quota.is_none() && !self.disk
    }
}

impl SpaceReport {
    /// The share of a quota, in tenths, at which its alarm is cleared again. Between there and the
    /// quota it stays as it is, so that it does not come and go with every write.
    const CLEAR_TENTHS: u64 = 9;

    /// Below this much space in use the alarm of a quota is cleared.
    #[must_use]
    pub const fn clear_below(quota: u64) -> u64 {
        quota / 10 * Self::CLEAR_TENTHS
    }

    /// The reasons that stand after this report, with so much space in use.
    #[must_use]
    pub const fn reasons(&self, before: AlarmReasons, used: u64) -> AlarmReasons {
        let quota = if used.saturating_add(self.wanted) >= self.quota {
            Some(self.quota)
        } else if used < Self::clear_below(self.quota) || before.quota.is_none() {
            None
        } else {
            Some(self.quota)
        };
        AlarmReasons { by_hand: before.by_hand, quota, disk: self.disk_low }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(quota: u64, wanted: u64) -> SpaceReport {
        SpaceReport { member: 1, quota, wanted, disk_low: false }
    }

    #[test]
    fn the_alarm_of_a_quota_is_raised_at_it_and_cleared_a_tenth_below() {
        let (none, stands) =
            (AlarmReasons::default(), AlarmReasons { quota: Some(100), ..AlarmReasons::default() });
        // Space in use, what was wanted, and whether the alarm stands then: from none, from one.
        let table = [
            (0, 0, false, false),
            (89, 0, false, false),
            (90, 0, false, true),
            (99, 0, false, true),
            (100, 0, true, true),
            (50, 49, false, false),
            (50, 50, true, true),
            (u64::MAX, u64::MAX, true, true),
        ];
        for (used, wanted, from_none, from_one) in table {
            let report = report(100, wanted);
            let found = [none, stands].map(|before| report.reasons(before, used).quota.is_some());
            assert_eq!(found, [from_none, from_one], "{used} used, {wanted} wanted");
        }
    }

    #[test]
    fn a_member_without_quota_or_with_a_larger_one_clears_its_alarm() {
        let stands = AlarmReasons { quota: Some(100), ..AlarmReasons::default() };
        assert!(report(u64::MAX, 0).reasons(stands, 100).is_empty());
        assert!(report(200, 0).reasons(stands, 100).is_empty());
        assert_eq!(report(105, 0).reasons(stands, 100).quota, Some(105));
    }

    #[test]
    fn what_was_raised_by_hand_stays_when_space_is_found() {
        let before = AlarmReasons { by_hand: true, quota: Some(9), disk: true };
        let after = report(u64::MAX, 0).reasons(before, 1);
        assert_eq!(after, AlarmReasons { by_hand: true, quota: None, disk: false });
    }
}
