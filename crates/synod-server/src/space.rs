//! The space of this member: what its quota lets in, and what it tells the log about it.
//!
//! Two gates. Here, at the edge, a request that would exceed this member's quota is refused before
//! it costs anybody anything, and the member reports to the log what it found. There, in the state
//! machine, the alarm that follows from a report refuses what takes space, on all members alike.
//! Requests under way together may exceed the quota by their own size; no two members ever differ.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use synod_kv::{Alarm, AlarmKind, SpaceReport};
use tokio::sync::Notify;

/// What is known of the space here. Read by every write, changed with every slot.
#[derive(Debug)]
pub(crate) struct Space {
    /// In bytes; `u64::MAX` for none.
    quota: u64,
    /// Space in use, as of the last slot applied.
    used: AtomicU64,
    /// The most that a refused request wanted since it was reported last.
    wanted: AtomicU64,
    /// The disk is nearly full.
    disk_low: AtomicBool,
    /// Signalled when a request was refused, or the quota is used up.
    exceeded: Notify,
}

/// A request that does not fit.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum NoRoom {
    /// The quota is used up.
    #[error(
        "{used} bytes are in use and the request may take {wanted}, the quota is {quota}: delete \
         keys and compact, or raise --quota-backend-bytes"
    )]
    Quota {
        /// Space in use.
        used: u64,
        /// What the request may take.
        wanted: u64,
        /// The quota.
        quota: u64,
    },
    /// The disk is nearly full.
    #[error("the disk of this member is nearly full: free space on the file system of its data")]
    Disk,
}

impl Space {
    /// The space of a member with this quota, whose store holds so much.
    pub(crate) fn new(quota: Option<u64>, used: u64) -> Self {
        Self {
            quota: quota.unwrap_or(u64::MAX),
            used: AtomicU64::new(used),
            wanted: AtomicU64::new(0),
            disk_low: AtomicBool::new(false),
            exceeded: Notify::new(),
        }
    }

    /// The quota, `u64::MAX` for none.
    pub(crate) const fn quota(&self) -> u64 {
        self.quota
    }

    /// The space in use, as of the last slot applied.
    pub(crate) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// Notes the space in use after a slot. The log is to hear at once that the quota is used up:
    /// more may come in through members with larger ones.
    pub(crate) fn applied(&self, used: u64) {
        let before = self.used.swap(used, Ordering::Relaxed);
        if before < self.quota && self.quota <= used {
            self.exceeded.notify_one();
        }
    }

    /// Notes whether the disk is nearly full.
    pub(crate) fn found_disk_low(&self, low: bool) {
        self.disk_low.store(low, Ordering::Relaxed);
    }

    /// Whether something of this size may come in.
    pub(crate) fn admit(&self, wanted: u64) -> Result<(), NoRoom> {
        if wanted == 0 {
            return Ok(());
        }
        if self.disk_low.load(Ordering::Relaxed) {
            return Err(NoRoom::Disk);
        }
        let (used, quota) = (self.used.load(Ordering::Relaxed), self.quota);
        if used.saturating_add(wanted) < quota {
            return Ok(());
        }
        Err(NoRoom::Quota { used, wanted, quota })
    }

    /// A request was refused: the log is to hear of it.
    pub(crate) fn refused(&self, no_room: NoRoom) {
        if let NoRoom::Quota { wanted, .. } = no_room {
            self.wanted.fetch_max(wanted, Ordering::Relaxed);
        }
        self.exceeded.notify_one();
    }

    /// Waits until a request is refused, or the quota is used up.
    pub(crate) async fn next_excess(&self) {
        self.exceeded.notified().await;
    }

    /// The reports to bring to the log now: this member's own, and if it leads, those of members
    /// whose alarms their quotas no longer bear out. They may be gone, or too far behind.
    pub(crate) fn due_reports(
        &self,
        me: u64,
        is_leader: bool,
        alarms: &[Alarm],
    ) -> Vec<SpaceReport> {
        let used = self.used.load(Ordering::Relaxed);
        let wanted = self.wanted.swap(0, Ordering::Relaxed);
        let disk_low = self.disk_low.load(Ordering::Relaxed);
        let of_space = alarms.iter().filter(|alarm| alarm.kind == AlarmKind::NoSpace);
        let (mine, others): (Vec<&Alarm>, Vec<&Alarm>) =
            of_space.partition(|alarm| alarm.member == me);

        let own = SpaceReport { member: me, quota: self.quota, wanted, disk_low };
        let before = mine.first().map(|alarm| alarm.reasons).unwrap_or_default();
        let mut due = Vec::new();
        if own.reasons(before, used) != before {
            due.push(own);
        }
        for Alarm { member, reasons, .. } in others.into_iter().filter(|_| is_leader) {
            let Some(quota) = reasons.quota else { continue };
            let report = SpaceReport { member: *member, quota, wanted: 0, disk_low: reasons.disk };
            if report.reasons(*reasons, used) != *reasons {
                due.push(report);
            }
        }
        due
    }
}

/// How full the store is, told once each way.
#[derive(Debug, Default)]
pub(crate) struct Fullness {
    /// How many of [`Self::MARKS`] are passed.
    passed: usize,
}

impl Fullness {
    /// Percent of the quota.
    const MARKS: [u64; 2] = [80, 90];
    /// A mark is left again so many percent below it.
    const BACK: u64 = 2;

    /// Takes note of the space in use; the mark that was passed or left last, if any was.
    pub(crate) fn observe(&mut self, used: u64, quota: u64) -> Option<Passed> {
        let reaches = |mark: u64| u128::from(used) * 100 >= u128::from(quota) * u128::from(mark);
        let before = self.passed;
        while self.passed < Self::MARKS.len() && reaches(Self::MARKS[self.passed]) {
            self.passed += 1;
        }
        while self.passed > 0 && !reaches(Self::MARKS[self.passed - 1] - Self::BACK) {
            self.passed -= 1;
        }
        match self.passed.cmp(&before) {
            std::cmp::Ordering::Greater => Some(Passed::Up(Self::MARKS[self.passed - 1])),
            std::cmp::Ordering::Less => Some(Passed::Down(Self::MARKS[self.passed])),
            std::cmp::Ordering::Equal => None,
        }
    }
}

/// A mark in percent of the quota, passed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Passed {
    /// From below.
    Up(u64),
    /// From above.
    Down(u64),
}

#[cfg(test)]
mod tests {
    use synod_kv::AlarmReasons;

    use super::*;

    fn alarm(member: u64, quota: Option<u64>, disk: bool) -> Alarm {
        let reasons = AlarmReasons { by_hand: false, quota, disk };
        Alarm { kind: AlarmKind::NoSpace, member, reasons }
    }

    #[test]
    fn what_takes_space_is_refused_at_the_quota_and_nothing_else() {
        let space = Space::new(Some(100), 90);
        assert_eq!(space.admit(9), Ok(()));
        let refused = NoRoom::Quota { used: 90, wanted: 10, quota: 100 };
        assert_eq!(space.admit(10), Err(refused));
        space.admit(u64::MAX).unwrap_err();
        space.applied(200);
        assert_eq!(space.admit(0), Ok(()));
        space.found_disk_low(true);
        assert_eq!(space.admit(0), Ok(()));
        assert_eq!(space.admit(1), Err(NoRoom::Disk));
        let none = Space::new(None, u64::MAX / 2);
        assert_eq!(none.admit(1 << 40), Ok(()));
    }

    /// A member with a small disk was full before it looked at its space again.
    #[tokio::test]
    async fn a_quota_that_others_use_up_is_reported_at_once() {
        let space = Space::new(Some(100), 90);
        space.applied(100);
        space.next_excess().await;
        let raise = SpaceReport { member: 1, quota: 100, wanted: 0, disk_low: false };
        assert_eq!(space.due_reports(1, false, &[]), [raise]);
    }

    #[test]
    fn a_refusal_is_reported_once_and_so_is_its_end() {
        let space = Space::new(Some(100), 90);
        assert_eq!(space.due_reports(1, false, &[]), []);
        space.refused(space.admit(20).unwrap_err());
        let raise = SpaceReport { member: 1, quota: 100, wanted: 20, disk_low: false };
        assert_eq!(space.due_reports(1, false, &[]), [raise]);
        let stands = [alarm(1, Some(100), false)];
        assert_eq!(space.due_reports(1, false, &stands), []);
        space.applied(89);
        assert_eq!(space.due_reports(1, false, &stands), [SpaceReport { wanted: 0, ..raise }]);
    }

    #[test]
    fn only_the_leader_speaks_for_others_and_only_of_their_quota() {
        let space = Space::new(None, 50);
        let stands = [alarm(2, Some(100), true), alarm(3, None, true), alarm(4, Some(55), false)];
        assert_eq!(space.due_reports(1, false, &stands), []);
        let clear = SpaceReport { member: 2, quota: 100, wanted: 0, disk_low: true };
        assert_eq!(space.due_reports(1, true, &stands), [clear]);
    }

    #[test]
    fn a_full_disk_and_its_end_are_reported() {
        let space = Space::new(None, 0);
        space.found_disk_low(true);
        let report = SpaceReport { member: 1, quota: u64::MAX, wanted: 0, disk_low: true };
        assert_eq!(space.due_reports(1, false, &[]), [report]);
        let stands = [alarm(1, None, true)];
        assert_eq!(space.due_reports(1, false, &stands), []);
        space.found_disk_low(false);
        let report = SpaceReport { disk_low: false, ..report };
        assert_eq!(space.due_reports(1, false, &stands), [report]);
    }

    #[test]
    fn each_mark_is_told_once_each_way() {
        let mut fullness = Fullness::default();
        let steps = [
            (79, None),
            (80, Some(Passed::Up(80))),
            (85, None),
            (78, None),
            (95, Some(Passed::Up(90))),
            (88, None),
            (87, Some(Passed::Down(90))),
            (10, Some(Passed::Down(80))),
            (99, Some(Passed::Up(90))),
            (0, Some(Passed::Down(80))),
        ];
        for (used, expected) in steps {
            assert_eq!(fullness.observe(used, 100), expected, "{used} %");
        }
        assert_eq!(fullness.observe(u64::MAX / 2, u64::MAX), None);
    }
}
