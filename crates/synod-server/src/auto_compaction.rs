//! When history is compacted by itself: etcd's rules, with the time as an argument.
//!
//! * Periodic, with a period P: the revision is noted every tenth of P (of an hour, if P is
//!   longer). Once P has passed, history is compacted to the revision of P ago; from then on again
//!   every P, or every hour if P is longer.
//! * By revision, with a retention N: every five minutes history is compacted to N revisions ago.
//!
//! Every member keeps notes, so that whoever leads next goes on; only the leader compacts.

use std::collections::VecDeque;
use std::time::Duration;

use synod_kv::Revision;

use crate::config::AutoCompaction;

/// Decides when to compact, and to which revision. Times count from the start of the member.
#[derive(Debug)]
pub(crate) struct AutoCompactor {
    mode: Mode,
    /// When it is to be asked next.
    next: Duration,
    /// To what it compacted last.
    last: Revision,
}

#[derive(Debug)]
enum Mode {
    Off,
    Periodic(Periodic),
    Revisions(u64),
}

#[derive(Debug)]
struct Periodic {
    period: Duration,
    /// Between notes.
    interval: Duration,
    notes: VecDeque<Revision>,
    last_done: Duration,
    /// Whether it has compacted since the start.
    begun: bool,
}

/// Between compactions by revision.
const REVISIONS_INTERVAL: Duration = Duration::from_secs(5 * 60);
/// Between compactions by time, at most.
const PERIODIC_INTERVAL: Duration = Duration::from_secs(60 * 60);
/// So many notes per such time.
const NOTES_PER_INTERVAL: u32 = 10;
/// Notes that are kept at most; for very long periods they stand further apart.
const NOTES_MAX: u32 = 1000;
/// Between notes, at least: a period of nanoseconds keeps no processor busy.
const NOTES_INTERVAL_MIN: Duration = Duration::from_millis(100);

impl AutoCompactor {
    /// As configured, begun at the start of the member.
    pub(crate) fn new(mode: AutoCompaction) -> Self {
        let mode = match mode {
            AutoCompaction::Off => Mode::Off,
            AutoCompaction::Periodic(period) => Mode::Periodic(Periodic::new(period)),
            AutoCompaction::Revisions(retention) => Mode::Revisions(retention),
        };
        let next = match &mode {
            Mode::Off => Duration::MAX,
            Mode::Periodic(_) => Duration::ZERO,
            Mode::Revisions(_) => REVISIONS_INTERVAL,
        };
        Self { mode, next, last: Revision::ZERO }
    }

    /// When [`AutoCompactor::due`] wants to be asked next; never, if `Duration::MAX`.
    pub(crate) const fn next(&self) -> Duration {
        self.next
    }

    /// The revision to compact to now, if it is time and there is something to forget.
    pub(crate) fn due(&mut self, now: Duration, current: Revision) -> Option<Revision> {
        if now < self.next {
            return None;
        }
        let target = match &mut self.mode {
            Mode::Off => return None,
            Mode::Periodic(periodic) => {
                self.next = now.saturating_add(periodic.interval);
                periodic.due(now, current)?
            }
            Mode::Revisions(retention) => {
                self.next = now.saturating_add(REVISIONS_INTERVAL);
                let retention = i64::try_from(*retention).unwrap_or(i64::MAX);
                Revision::new(current.as_i64().saturating_sub(retention))
            }
        };
        (target > Revision::ZERO && target != self.last).then_some(target)
    }

    /// History is compacted to a revision, by this member or another.
    pub(crate) const fn done(&mut self, now: Duration, revision: Revision) {
        self.last = revision;
        if let Mode::Periodic(periodic) = &mut self.mode {
            periodic.last_done = now;
            periodic.begun = true;
        }
    }
}

impl Periodic {
    fn new(period: Duration) -> Self {
        let interval = period.min(PERIODIC_INTERVAL) / NOTES_PER_INTERVAL;
        let interval = interval.max(period / NOTES_MAX).max(NOTES_INTERVAL_MIN);
        let (notes, last_done) = (VecDeque::new(), Duration::ZERO);
        Self { period, interval, notes, last_done, begun: false }
    }

    /// The revision of a period ago, if it is time; notes the current one.
    fn due(&mut self, now: Duration, current: Revision) -> Option<Revision> {
        let kept = self.period.as_nanos() / self.interval.as_nanos() + 1;
        let oldest = self.notes.front().copied();
        self.notes.push_back(current);
        while u128::try_from(self.notes.len()).unwrap_or(u128::MAX) > kept {
            self.notes.pop_front();
        }
        let wait = if self.begun { self.period.min(PERIODIC_INTERVAL) } else { self.period };
        oldest.filter(|_| now.saturating_sub(self.last_done) >= wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    /// Asks whenever it wants to be asked, until a time; the revision is the number of seconds.
    fn run(mode: AutoCompaction, until: Duration) -> Vec<(u64, i64)> {
        let mut compactor = AutoCompactor::new(mode);
        let mut compacted = Vec::new();
        let mut asked = 0;
        while compactor.next() <= until {
            asked += 1;
            assert!(asked < 100_000, "asked without end");
            let now = compactor.next();
            let current = Revision::new(i64::try_from(now.as_secs()).unwrap() + 1);
            if let Some(revision) = compactor.due(now, current) {
                assert!(revision <= current);
                compactor.done(now, revision);
                compacted.push((now.as_secs() / 60, revision.as_i64() / 60));
            }
        }
        compacted
    }

    #[test]
    fn a_period_below_an_hour_passes_before_each_compaction() {
        let compacted = run(AutoCompaction::Periodic(10 * MINUTE), 45 * MINUTE);
        assert_eq!(compacted, [(10, 0), (20, 9), (30, 19), (40, 29)]);
    }

    #[test]
    fn a_longer_period_passes_once_and_then_it_goes_by_the_hour() {
        let compacted = run(AutoCompaction::Periodic(120 * MINUTE), 300 * MINUTE);
        assert_eq!(compacted, [(120, 0), (180, 54), (240, 114), (300, 174)]);
    }

    #[test]
    fn by_revision_the_newest_stay() {
        let compacted = run(AutoCompaction::Revisions(480), 21 * MINUTE);
        assert_eq!(compacted, [(10, 2), (15, 7), (20, 12)], "nothing to forget at first");
    }

    #[test]
    fn what_is_compacted_already_is_not_asked_for_again() {
        for mode in [AutoCompaction::Periodic(MINUTE), AutoCompaction::Revisions(5)] {
            let mut compactor = AutoCompactor::new(mode);
            let mut asked = 0;
            for minute in 0..100 {
                let now = minute * 6 * MINUTE;
                if let Some(revision) = compactor.due(now, Revision::new(7)) {
                    compactor.done(now, revision);
                    asked += 1;
                }
            }
            assert_eq!(asked, 1, "{mode:?}");
        }
    }

    /// A compaction that failed, as there was no leader, is tried again at the next note.
    #[test]
    fn what_failed_is_tried_again() {
        let mut compactor = AutoCompactor::new(AutoCompaction::Periodic(10 * MINUTE));
        for minute in 0..10 {
            assert_eq!(compactor.due(minute * MINUTE, Revision::new(9)), None);
        }
        assert_eq!(compactor.due(10 * MINUTE, Revision::new(9)), Some(Revision::new(9)));
        assert_eq!(compactor.due(11 * MINUTE, Revision::new(9)), Some(Revision::new(9)));
    }

    /// GHSA, etcd's audit of 2020: a retention out of bounds made etcd spin or crash. Negative ones
    /// the configuration refuses; the smallest and the largest do no harm here.
    #[test]
    fn odd_retentions_neither_spin_nor_crash() {
        let nanosecond = AutoCompaction::Periodic(Duration::from_nanos(1));
        assert!(run(nanosecond, MINUTE).len() <= 600);
        assert_eq!(run(AutoCompaction::Periodic(Duration::MAX), 10_000 * MINUTE), []);
        assert_eq!(run(AutoCompaction::Revisions(u64::MAX), 60 * MINUTE), []);
        assert_eq!(run(AutoCompaction::Off, Duration::MAX / 2), []);
        let mut long = AutoCompactor::new(AutoCompaction::Periodic(Duration::MAX));
        for hour in 0..3000 {
            long.due(Duration::from_secs(hour * 3600 * 24 * 365 * 1000), Revision::FIRST);
        }
        let Mode::Periodic(periodic) = &long.mode else { panic!("periodic") };
        assert!(periodic.notes.len() <= 1001, "{} notes", periodic.notes.len());
    }
}
