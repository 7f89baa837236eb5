//! The leader's side of leases: when to ask that some of them end, and which.
//!
//! A decision without effects: the server and the simulator carry it out, with log time as the
//! leader reckons it. It only *asks*: whether a lease is over is decided where the command applies,
//! by the log's time there, so a leader whose reckoning is wrong ends nothing early.
//!
//! ```text
//!   begins to lead ─▶ next ─┬─ Propose(LeaseExpire) ──▶ log ──▶ answered ─▶ next …
//!                           ├─ At(log time)   sleep; a lease that is due earlier wakes
//!                           └─ Never          there is no lease: sleep until there is one
//! ```

use crate::engine::Engine;
use crate::lease::{LeaseExpire, LeaseIds};
use crate::reader::Reader;

/// Decides what a leader proposes about leases, in one ballot.
#[derive(Clone, Debug)]
pub struct Expirer {
    /// Round and replica of the ballot it leads in.
    by: (u64, u64),
    /// Nothing was proposed in this ballot yet.
    is_new: bool,
    /// A proposal has no answer yet.
    under_way: bool,
    /// Not to propose before this log time.
    rests_until_ms: u64,
}

/// What to do about leases now.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Expiry {
    /// Propose this; then [`Expirer::answered`].
    Propose(LeaseExpire),
    /// Nothing until this log time, unless a lease appears that is due earlier.
    At(u64),
    /// Nothing until there is a lease, or the proposal under way is answered.
    Never,
}

/// Leases in one proposal: what a member applies at one go stays short, and a slow disk still gets
/// ten thousand leases a second through one proposal at a time.
const LEASES_MAX: usize = 1024;

/// After the first lease, only so many keys in one proposal.
const KEYS_MAX: usize = 4096;

/// Between two proposals that were not full: those that come due one after the other share one.
const REST_MS: u64 = 50;

impl Expirer {
    /// A leader begins in the ballot of this round and replica.
    #[must_use]
    pub const fn new(by: (u64, u64)) -> Self {
        Self { by, is_new: true, under_way: false, rests_until_ms: 0 }
    }

    /// What to do at this log time.
    ///
    /// The first proposal of a ballot is made at once if there are leases, even if none is due: its
    /// stamp tells all members where the log's time stands.
    pub fn next<E: Engine>(&mut self, reader: &Reader<E>, time_ms: u64) -> Expiry {
        if self.under_way {
            return Expiry::Never;
        }
        let Some(due_ms) = reader.next_lease_due() else { return Expiry::Never };
        let at_ms = due_ms.max(self.rests_until_ms);
        if at_ms > time_ms && !self.is_new {
            return Expiry::At(at_ms);
        }
        let ids = reader.leases_due(time_ms, LEASES_MAX, KEYS_MAX);
        self.is_new = false;
        self.under_way = true;
        self.rests_until_ms =
            if ids.len() == LEASES_MAX { 0 } else { time_ms.saturating_add(REST_MS) };
        let ids = LeaseIds::new(ids).expect("fewer than a command may name");
        Expiry::Propose(LeaseExpire { ids, by: self.by })
    }

    /// The proposal was applied; or not, or nobody knows: then another one is to be made, after a
    /// moment, whether leases are due or not.
    pub const fn answered(&mut self, applied: bool) {
        self.under_way = false;
        self.is_new |= !applied;
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::{Assign, Caller, Command, Key, LeaseGrant, MemoryEngine, Put, Store};

    struct Leader {
        store: Store<MemoryEngine>,
        expirer: Expirer,
    }

    impl Leader {
        fn new() -> Self {
            let (store, _) = Store::open(MemoryEngine::default()).unwrap();
            Self { store, expirer: Expirer::new((3, 1)) }
        }

        fn apply(&mut self, time_ms: u64, command: &Command) {
            let slot = self.store.applied_slot();
            self.store
                .apply(slot, time_ms, &command.encode_for(&Caller::Internal))
                .unwrap()
                .result
                .unwrap();
            self.store.slot_applied(slot, time_ms, [0; 2]);
        }

        fn grant(&mut self, time_ms: u64, id: i64, ttl: i64) {
            self.apply(time_ms, &Command::LeaseGrant(LeaseGrant { id, ttl, ttl_min: 1 }));
        }

        fn next(&mut self, time_ms: u64) -> Expiry {
            self.expirer.next(&self.store.reader(), time_ms)
        }

        /// What is proposed at that time is applied; how many leases it named.
        fn ends(&mut self, time_ms: u64) -> usize {
            let Expiry::Propose(expire) = self.next(time_ms) else { panic!("nothing is proposed") };
            assert_eq!(expire.by, (3, 1));
            assert_eq!(self.next(time_ms), Expiry::Never, "one proposal at a time");
            let count = expire.ids.as_slice().len();
            self.apply(time_ms, &Command::LeaseExpire(expire));
            self.expirer.answered(true);
            count
        }
    }

    #[test]
    fn a_leader_without_leases_sleeps() {
        let mut leader = Leader::new();
        assert_eq!(leader.next(0), Expiry::Never);
        leader.grant(10, 7, 2);
        assert_eq!(leader.ends(20), 0, "the first proposal tells the time");
        assert_eq!(leader.next(21), Expiry::At(2010));
        assert_eq!(leader.next(2009), Expiry::At(2010));
        assert_eq!(leader.ends(2010), 1);
        assert_eq!(leader.next(2010), Expiry::Never);
    }

    #[test]
    fn leases_that_come_due_one_after_the_other_share_a_proposal() {
        let mut leader = Leader::new();
        for id in 0..10_i64 {
            leader.grant(u64::try_from(id).unwrap(), id + 1, 2);
        }
        assert_eq!(leader.ends(1000), 0);
        assert_eq!(leader.ends(2000), 1);
        assert_eq!(leader.next(2001), Expiry::At(2000 + REST_MS));
        assert_eq!(leader.ends(2000 + REST_MS), 9);
    }

    #[test]
    fn many_that_are_due_at_once_go_in_full_proposals_without_rest() {
        let mut leader = Leader::new();
        let count = 2 * LEASES_MAX + 5;
        for id in 1..=count {
            leader.grant(0, i64::try_from(id).unwrap(), 2);
        }
        let counts: Vec<usize> = (0..3).map(|_| leader.ends(5000)).collect();
        assert_eq!(counts, [LEASES_MAX, LEASES_MAX, 5]);
        assert_eq!(leader.next(5000), Expiry::Never);
    }

    #[test]
    fn keys_bound_a_proposal_but_for_one_lease() {
        let mut leader = Leader::new();
        for id in 1..=2 {
            leader.grant(0, id, 2);
            for key in 0..=KEYS_MAX {
                let key = Key::new(Bytes::from(format!("{id}/{key}"))).unwrap();
                let put = Put { lease: Assign::Set(id), ..Put::new(key, Bytes::new()) };
                leader.apply(0, &Command::Put(put));
            }
        }
        assert_eq!(leader.ends(5000), 1, "a lease ends as a whole, however many keys it has");
        assert_eq!(leader.ends(5000 + REST_MS), 1);
    }

    #[test]
    fn a_reckoning_that_is_ahead_ends_nothing_early() {
        let mut leader = Leader::new();
        leader.grant(0, 1, 2);
        let Expiry::Propose(expire) = leader.next(9000) else { panic!("nothing is proposed") };
        assert_eq!(expire.ids.as_slice(), [1]);
        leader.apply(1999, &Command::LeaseExpire(expire));
        leader.expirer.answered(true);
        assert_eq!(leader.store.reader().leases(&Caller::Internal), Ok(vec![1]));
        assert_eq!(leader.next(9000), Expiry::At(9000 + REST_MS), "asked again, not at once");
    }
}
