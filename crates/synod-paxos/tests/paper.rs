//! The clauses of *Paxos Made Simple* (Lamport 2001), one test each, on the roles of
//! [`synod_paxos::basic`] and on the production replica.

mod cluster;

use cluster::{Cluster, id};
use synod_paxos::basic::{Acceptor, Learner, Proposer};
use synod_paxos::{
    AcceptedValue, Ballot, Options, Quorums, Record, ReplicaId, ReplicaSet, Slot, Value,
};

const fn ballot(round: u64, replica: u64) -> Ballot {
    Ballot { round, replica: ReplicaId::new(replica) }
}

fn majority(of: u64) -> Quorums {
    Quorums::majority((1..=of).map(id).collect())
}

/// Three members that have met, the first of which leads.
fn led_by_one() -> Cluster {
    let mut cluster = Cluster::formed(3, Options::default());
    cluster.campaign(id(1));
    cluster.settle();
    cluster
}

/// The next leader asks; whoever follows another one gives up on it.
fn depose(cluster: &mut Cluster, old: u64, new: u64) {
    for other in cluster.ids() {
        if other != id(old) && cluster.runs(other) {
            cluster.unreachable(other, id(old));
        }
    }
    cluster.campaign(id(new));
}

fn accepted_at(cluster: &Cluster, member: u64, slot: u64) -> Vec<(Ballot, Value)> {
    let records = cluster.member(id(member)).disk.iter();
    let accepted = records.filter_map(|record| match record {
        Record::Accepted { ballot, slot: at, value } if *at == Slot::new(slot) => {
            Some((*ballot, value.clone()))
        }
        _ => None,
    });
    accepted.collect()
}

// §2.1: "Only a value that has been proposed may be chosen, only a single value is chosen, and a
// process never learns that a value has been chosen unless it actually has been."

#[test]
fn safety_only_what_was_proposed_is_chosen() {
    let (quorums, mut learner) = (majority(3), Learner::default());
    learner.accepted(id(1), ballot(1, 1), "a", &quorums);
    assert_eq!(learner.chosen(), None, "one acceptor of three is no majority");
    learner.accepted(id(1), ballot(1, 1), "a", &quorums);
    assert_eq!(learner.chosen(), None, "nor is the same one twice");
    learner.accepted(id(2), ballot(1, 2), "b", &quorums);
    assert_eq!(learner.chosen(), None, "nor are two in different ballots");
    learner.accepted(id(2), ballot(1, 1), "a", &quorums);
    assert_eq!(learner.chosen(), Some(&"a"));
    learner.accepted(id(3), ballot(2, 2), "a", &quorums);
    assert_eq!(learner.chosen(), Some(&"a"));
}

// §2.2, P1: "An acceptor must accept the first proposal that it receives."

#[test]
fn p1_an_acceptor_accepts_the_first_proposal() {
    let mut acceptor = Acceptor::default();
    assert_eq!(acceptor.accept(ballot(3, 2), "a"), Ok(()));
    assert_eq!(
        acceptor.prepare(ballot(4, 1)),
        Ok(Some(AcceptedValue { ballot: ballot(3, 2), value: "a" }))
    );
}

#[test]
fn p1_a_replica_accepts_the_first_proposal_for_a_slot() {
    let cluster = led_by_one();
    for member in 1..=3 {
        let barrier = (ballot(1, 1), Value::Barrier(ballot(1, 1)));
        assert_eq!(accepted_at(&cluster, member, 1), [barrier]);
    }
}

// §2.2, P1a: "An acceptor can accept a proposal numbered n iff it has not responded to a prepare
// request having a number greater than n."

#[test]
fn p1a_every_order_of_two_ballots() {
    for promised in 1..=3 {
        for accepted in 1..=3 {
            let mut acceptor = Acceptor::default();
            acceptor.prepare(ballot(promised, 1)).expect("the first promise");
            let answer = acceptor.accept(ballot(accepted, 1), "a");
            let expected = if accepted >= promised { Ok(()) } else { Err(ballot(promised, 1)) };
            assert_eq!(answer, expected, "promised {promised}, asked for {accepted}");
        }
    }
}

#[test]
fn p1a_a_replica_refuses_what_is_below_its_promise() {
    let mut cluster = led_by_one();
    // 3 has promised 2 a higher ballot when the proposal of 1 arrives.
    cluster.propose(id(1), "late").expect("there is room");
    let late = std::mem::take(&mut cluster.network);
    depose(&mut cluster, 1, 2);
    cluster.persist(id(2), None);
    let prepares = std::mem::take(&mut cluster.network);
    for envelope in prepares.into_iter().chain(late).filter(|e| e.to == id(3)) {
        cluster.deliver(envelope);
    }
    cluster.persist(id(3), None);
    assert_eq!(accepted_at(&cluster, 3, 2), []);
    assert!(cluster.network.iter().any(|e| e.from.id == id(3) && e.message.name() == "nack"));
}

// §2.2, P2c: "For any v and n, if a proposal with value v and number n is issued, then there is a
// set S consisting of a majority of acceptors such that either (a) no acceptor in S has accepted
// any proposal numbered less than n, or (b) v is the value of the highest-numbered proposal among
// all proposals numbered less than n accepted by the acceptors in S."

#[test]
fn p2c_a_table_of_what_two_acceptors_tell() {
    let votes = [None, Some((ballot(1, 1), "a")), Some((ballot(2, 2), "b"))];
    for first in votes {
        for second in votes {
            let mut proposer = Proposer::new(ballot(3, 3), "mine");
            let tell =
                |vote: Option<_>| vote.map(|(ballot, value)| AcceptedValue { ballot, value });
            proposer.promised(id(1), tell(first), &majority(3));
            assert_eq!(proposer.proposal(), None, "S is no majority yet");
            proposer.promised(id(2), tell(second), &majority(3));
            let expected = first.max(second).map_or("mine", |(_, value)| value);
            assert_eq!(proposer.proposal(), Some(expected), "{first:?} and {second:?}");
        }
    }
}

#[test]
fn p2c_a_proposer_does_not_change_its_mind() {
    let mut proposer = Proposer::new(ballot(3, 3), "mine");
    for member in [1, 2] {
        proposer.promised(id(member), None, &majority(3));
    }
    let late = Some(AcceptedValue { ballot: ballot(2, 2), value: "late" });
    proposer.promised(id(3), late, &majority(3));
    assert_eq!(proposer.proposal(), Some("mine"));
}

#[test]
fn p2c_a_new_leader_keeps_what_may_have_been_chosen() {
    for keeper in [2, 3] {
        let mut cluster = led_by_one();
        cluster.propose(id(1), "a").expect("there is room");
        cluster.persist(id(1), None);
        let accepts = std::mem::take(&mut cluster.network);
        for envelope in accepts.into_iter().filter(|envelope| envelope.to == id(keeper)) {
            cluster.deliver(envelope);
        }
        cluster.persist(id(keeper), None);
        // Chosen, by 1 and the keeper; and only they know.
        cluster.network.clear();
        cluster.crash(id(1));
        depose(&mut cluster, 1, 2);
        cluster.settle();
        let kept = matches!(cluster.chosen.get(&Slot::new(2)), Some(Value::Batch(_)));
        assert!(kept, "kept by {keeper}: {:?}", cluster.chosen);
    }
}

// §2.2: "Different proposals have different numbers." §2.5: "Different proposers choose their
// numbers from disjoint sets of numbers, so two different proposers never issue a proposal with the
// same number. Each proposer remembers (in stable storage) the highest-numbered proposal it has
// tried to issue."

#[test]
fn ballots_are_unique() {
    for round in 0..4 {
        let next: Vec<_> = (1..=3).map(|m| ballot(round, 3).next_of(id(m))).collect();
        assert!(next.is_sorted_by(|a, b| a < b), "one owner each");
        assert!(next.iter().all(|ballot_of| *ballot_of > ballot(round, 3)), "above what was seen");
    }
}

#[test]
fn a_ballot_is_not_used_again_after_a_restart() {
    let mut cluster = Cluster::formed(3, Options::default());
    for round in 1..=3 {
        cluster.campaign(id(1));
        assert!(cluster.network.is_empty(), "not spoken before it is durable");
        cluster.persist(id(1), None);
        assert_eq!(cluster.replica(id(1)).promised(), ballot(round, 1));
        cluster.network.clear();
        cluster.crash(id(1));
        cluster.start(id(1));
    }
}

// §2.5: "Stable storage, preserved during failures, is used to maintain the information that the
// acceptor must remember. An acceptor records its intended response in stable storage before
// actually sending the response."

#[test]
fn responses_are_recorded_before_they_are_sent() {
    let mut cluster = led_by_one();
    cluster.propose(id(1), "a").expect("there is room");
    for envelope in std::mem::take(&mut cluster.network) {
        cluster.deliver(envelope);
    }
    assert!(cluster.network.is_empty(), "nothing leaves while nothing is durable");
    cluster.persist(id(2), None);
    let answers: Vec<_> = cluster.network.iter().map(|e| (e.from.id, e.message.name())).collect();
    assert_eq!(answers, [(id(2), "accepted")]);
}

// §2.4: "To guarantee progress, a distinguished proposer must be selected as the only one to try
// issuing proposals."

#[test]
fn a_distinguished_proposer_is_elected() {
    let mut cluster = Cluster::formed(3, Options::default());
    cluster.run(std::time::Duration::from_secs(3));
    let leaders: ReplicaSet =
        cluster.ids().into_iter().filter(|member| cluster.replica(*member).is_leader()).collect();
    assert_eq!(leaders.len(), 1, "{leaders}");
}

// §3: "... it executes phase 1 for infinitely many instances with a single message", and "fills
// the gap immediately by proposing ... a special no-op command that leaves the state unchanged."

#[test]
fn one_prepare_covers_all_slots_and_gaps_become_noops() {
    let mut cluster = led_by_one();
    for payload in ["a", "b", "c"] {
        cluster.propose(id(1), payload).expect("there is room");
    }
    // Only the last of three reaches anybody.
    let accepts = std::mem::take(&mut cluster.network);
    cluster.deliver(accepts.into_iter().rfind(|e| e.to == id(3)).expect("it was sent"));
    cluster.crash(id(1));
    depose(&mut cluster, 1, 2);
    cluster.persist(id(2), None);
    let prepares = cluster.network.iter().filter(|e| e.message.name() == "prepare");
    assert_eq!(prepares.count(), 2, "one to each");
    cluster.settle();
    let chosen: Vec<_> = cluster.chosen.values().map(ToString::to_string).collect();
    assert_eq!(chosen, ["barrier 1.1", "noop", "noop", "[c]", "barrier 2.2"]);
}
