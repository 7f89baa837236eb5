//! Leases that are due are asked to end: the production [`Expirer`] of a member that leads, in
//! virtual time.
//!
//! What production does with timers and wake-ups is done here after each round of the member, as
//! looking costs nothing.

use std::time::Duration;

use synod_kv::{Expirer, Expiry, LeaseExpire, MemoryEngine, Reader};
use synod_paxos::{Ballot, LogTime, Time};

use crate::lease::LeaseOperation;
use crate::member::Asker;
use crate::operation::Operation;
use crate::world::{Happening, World};

/// What one process does about leases.
#[derive(Debug)]
pub(crate) struct Expiring {
    leads: Option<(Ballot, Expirer)>,
    clock: LogClock,
    /// The operation that has no answer yet.
    asked: Option<u64>,
    /// Not to ask before.
    pauses_until: Time,
}

/// What to do now.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Step {
    /// Propose this, and tell its number.
    Propose(LeaseExpire),
    /// Look again at this time of the process.
    LookAt(Time),
    /// Nothing.
    Rest,
}

/// The log's time as this process reckons it between batches.
#[derive(Clone, Copy, Debug)]
struct LogClock {
    time_ms: u64,
    at: Time,
}

impl LogClock {
    fn time_ms(self, now: Time) -> u64 {
        let passed = u64::try_from(now.since(self.at).as_millis()).unwrap_or(u64::MAX);
        self.time_ms.saturating_add(passed)
    }
}

impl Expiring {
    /// That of a process that begins at this log time.
    pub(crate) fn new(time: LogTime) -> Self {
        let clock = LogClock { time_ms: time.as_millis(), at: Time::default() };
        Self { leads: None, clock, asked: None, pauses_until: Time::default() }
    }

    /// A batch with this stamp was applied.
    pub(crate) fn stamped(&mut self, now: Time, time: LogTime) {
        if time.as_millis() > self.clock.time_ms {
            self.clock = LogClock { time_ms: time.as_millis(), at: now };
        }
    }

    /// What to do, if this process leads in a ballot, or does not.
    pub(crate) fn next(
        &mut self,
        now: Time,
        leads: Option<Ballot>,
        reader: &Reader<MemoryEngine>,
    ) -> Step {
        if self.leads.as_ref().map(|(ballot, _)| *ballot) != leads {
            self.leads = leads.map(|it| (it, Expirer::new((it.round, it.replica.as_u64()))));
            self.clock.at = now;
            (self.asked, self.pauses_until) = (None, Time::default());
        }
        let Some((_, expirer)) = &mut self.leads else { return Step::Rest };
        if now < self.pauses_until {
            return Step::LookAt(self.pauses_until);
        }
        let time_ms = self.clock.time_ms(now);
        match expirer.next(reader, time_ms) {
            Expiry::Propose(expire) => Step::Propose(expire),
            Expiry::At(due_ms) => {
                let span = Duration::from_millis(due_ms.saturating_sub(time_ms));
                Step::LookAt(now.plus(span))
            }
            Expiry::Never => Step::Rest,
        }
    }

    /// What is proposed has this number.
    pub(crate) const fn proposed(&mut self, number: u64) {
        self.asked = Some(number);
    }

    /// An operation was answered; perhaps it was the one proposed.
    pub(crate) fn answered(&mut self, now: Time, number: u64, applied: bool) {
        let Some((_, expirer)) = self.leads.as_mut().filter(|_| self.asked == Some(number)) else {
            return;
        };
        self.asked = None;
        expirer.answered(applied);
        if !applied {
            self.pauses_until = now.plus(PAUSE);
        }
    }
}

impl World {
    /// A member that leads asks that leases end which are due.
    pub(crate) fn look_for_due_leases(&mut self, member: usize, stamp: Option<LogTime>) {
        let now = self.now();
        let clock_rate = self.members[member].clock_rate;
        let Some(process) = &mut self.members[member].process else { return };
        let local = process.local(now, clock_rate);
        if let Some(stamp) = stamp {
            process.expiring.stamped(local, stamp);
        }
        let replica = process.driver.replica();
        let leads = replica.leader().filter(|_| replica.is_leader());
        match process.expiring.next(local, leads, process.driver.machine().reader()) {
            Step::Propose(expire) => {
                let (ids, by) = (expire.ids.as_slice().to_vec(), expire.by);
                let operation = Operation::Lease(LeaseOperation::Expire { ids, by });
                let number = self.history.ask(operation.clone());
                self.askers.push(None);
                process.expiring.proposed(number);
                let Some(payload) = operation.payload(number) else { return };
                let timeout = Duration::from_micros(self.plan.deadline);
                let answers = process.answers.clone();
                let asker = Asker { number, operation, answers };
                process.driver.propose(local, payload, timeout, asker);
                // What the driver makes of it comes out in a round of its own.
                let (at, life) = (now + 1, process.life);
                process.look_at = at;
                self.queue.push(at, Happening::Look { member, life });
            }
            Step::LookAt(time) => {
                let at = process.global(time, clock_rate).max(now + 1);
                if at < process.look_at {
                    process.look_at = at;
                    let life = process.life;
                    self.queue.push(at, Happening::Look { member, life });
                }
            }
            Step::Rest => {}
        }
    }
}

/// After a proposal that found no answer, as in production.
const PAUSE: Duration = Duration::from_millis(100);
