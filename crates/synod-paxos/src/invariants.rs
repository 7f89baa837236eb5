//! What must hold after each step of a replica, beside what its handlers assert on the way.

use crate::proposer::Proposer;
use crate::replica::Replica;

impl Replica {
    /// Asserts what must hold after each step. For tests and simulations: it looks at everything.
    ///
    /// # Panics
    /// If it does not hold.
    pub fn check_invariants(&self) {
        let promised = self.acceptor.promised.ballot();
        let prefix = self.learner.prefix;
        for (slot, held) in &self.acceptor.held {
            assert!(
                held.ballot <= promised,
                "accepted {} at {slot} above the promise {promised}",
                held.ballot
            );
            assert!(*slot >= self.learner.floor, "{slot} is held below the cache's floor");
        }
        let (floor, end) = (self.learner.floor, prefix.end);
        assert!(floor <= end, "the cache begins at {floor}, above the chosen watermark {end}");
        let cached = self.acceptor.held.range(floor..end).count();
        assert_eq!(
            u64::try_from(cached).expect("a count fits"),
            end.distance_from(floor),
            "values missing between {floor} and {end}"
        );
        assert!(self.learner.stable <= end, "stable above what is chosen");
        self.own.check_invariants();
        match &self.proposer {
            Proposer::Idle => {}
            Proposer::Candidate(candidate) => {
                assert_eq!(candidate.ballot.replica, self.me(), "a ballot has one owner");
                assert_eq!(candidate.ballot, promised, "a candidate promised itself, and no more");
            }
            Proposer::Leader(leader) => {
                assert_eq!(leader.ballot.replica, self.me(), "a ballot has one owner");
                assert_eq!(leader.ballot, promised, "a leader promised itself, and no more");
                assert!(leader.first <= leader.barrier, "the barrier is above what was found");
                assert!(leader.barrier < leader.next, "the barrier was proposed");
                for slot in leader.in_flight.keys() {
                    assert!(*slot >= end && *slot < leader.next, "{slot} is in flight");
                    assert!(self.acceptor.held.contains_key(slot), "{slot} in flight is not held");
                }
                let queued: usize = leader.queue.iter().map(|c| c.payload.len()).sum();
                assert_eq!(queued, leader.queue_bytes, "bytes of queued commands");
            }
        }
    }
}
