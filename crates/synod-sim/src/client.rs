//! Clients: each asks one thing at a time, of any member, and never asks the same thing again.
//!
//! A client whose request ended without an answer does not repeat it: whether it was carried out
//! is unknown, and stays so. It moves on, mostly to another member.

use std::collections::BTreeMap;

use crate::lease::LeaseOperation;
use crate::operation::{Answer, Operation, Outcome};
use crate::plan::Plan;
use crate::random::Random;

/// One client.
#[derive(Debug)]
pub(crate) struct Client {
    /// The member it speaks to.
    pub(crate) member: usize,
    /// The operation it waits for.
    pub(crate) waiting: Option<u64>,
    /// Whether it only asks its own member to store something, until that succeeds.
    pub(crate) probe: bool,
    /// How many requests were answered.
    pub(crate) answered: u64,
    /// When each key was last changed, as far as it has seen.
    changed: BTreeMap<u64, i64>,
    /// The highest revision it has seen.
    revision: i64,
}

impl Client {
    /// A client that begins at a member.
    pub(crate) const fn new(member: usize, probe: bool) -> Self {
        let changed = BTreeMap::new();
        Self { member, waiting: None, probe, answered: 0, changed, revision: 1 }
    }

    /// What to ask next. `value` was never used before.
    pub(crate) fn choose(&self, random: &mut Random, plan: &Plan, value: u64) -> Operation {
        let key = random.below(plan.keys);
        let padding = usize::try_from(random.below(plan.value_bytes_max + 1)).unwrap_or(0);
        if self.probe {
            return Operation::Put { key, value, padding: 0, lease: 0 };
        }
        if plan.leases > 0 && random.below(100) < plan.leases_percent {
            return about_leases(random, plan, value);
        }
        if random.below(100) < plan.reads_percent {
            let at = random.per_mille(150).then(|| self.past(random));
            let key = random.per_mille(700).then_some(key);
            return Operation::Read { key, at, local: random.per_mille(200) };
        }
        match random.below(100) {
            0..50 => Operation::Put { key, value, padding, lease: 0 },
            50..83 => {
                let expected = self.changed.get(&key).copied().unwrap_or(0);
                Operation::Swap { key, expected, value }
            }
            83..98 => Operation::Delete { key },
            _ => Operation::Compact { revision: self.past(random) },
        }
    }

    /// Learns from the answer to its operation.
    pub(crate) fn learn(&mut self, operation: &Operation, answer: &Answer) {
        self.answered += 1;
        self.revision = self.revision.max(answer.revision);
        match (operation, &answer.outcome) {
            (Operation::Put { key, .. } | Operation::Swap { key, .. }, Outcome::Stored) => {
                self.changed.insert(*key, answer.revision);
            }
            (Operation::Swap { key, .. }, Outcome::Unswapped(item)) => {
                self.changed.insert(*key, item.map_or(0, |item| item.modified));
            }
            (Operation::Delete { key }, _) => {
                self.changed.remove(key);
            }
            (Operation::Read { at: None, .. }, Outcome::Items(items)) => {
                self.changed.extend(items.iter().map(|item| (item.key, item.modified)));
            }
            _ => {}
        }
    }

    fn past(&self, random: &mut Random) -> i64 {
        let back = i64::try_from(random.below(20)).unwrap_or(0);
        (self.revision - back).max(1)
    }
}

fn about_leases(random: &mut Random, plan: &Plan, value: u64) -> Operation {
    let id = i64::try_from(random.below(plan.leases)).unwrap_or(0) + 1;
    let ttl = i64::try_from(random.between(1, LEASE_SECONDS_MAX)).unwrap_or(1);
    let key = random.below(plan.keys);
    Operation::Lease(match random.below(100) {
        0..20 => LeaseOperation::Grant { id, ttl },
        20..50 => LeaseOperation::KeepAlive { id },
        50..55 => LeaseOperation::Revoke { id },
        55..80 => return Operation::Put { key, value, padding: 0, lease: id },
        _ => LeaseOperation::Status { id, local: random.per_mille(200) },
    })
}

/// The longest lease: short enough that most of them end while faults happen.
pub(crate) const LEASE_SECONDS_MAX: u64 = 6;
