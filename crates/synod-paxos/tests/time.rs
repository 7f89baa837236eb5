//! The log's time through changes of leader: it neither loses what passed, nor runs ahead.

mod cluster;

use std::time::Duration;

use cluster::{Cluster, id};
use synod_paxos::{LogTime, Options, Value};

const SECOND: Duration = Duration::from_secs(1);

/// The stamp of the batch with this payload, once it is chosen.
fn stamp_of(cluster: &Cluster, payload: &str) -> LogTime {
    let has = |value: &&Value| match value {
        Value::Batch(batch) => batch.commands.iter().any(|c| c.payload == payload.as_bytes()),
        Value::Noop | Value::Barrier(_) => false,
    };
    match cluster.chosen.values().find(has) {
        Some(Value::Batch(batch)) => batch.stamp,
        _ => panic!("{payload} is not chosen"),
    }
}

fn led_by_one() -> Cluster {
    let mut cluster = Cluster::formed(3, Options::default());
    cluster.campaign(id(1));
    cluster.settle();
    cluster
}

/// The members that are not cut off give up on one leader and elect another.
fn succeed(cluster: &mut Cluster, old: u64, new: u64) {
    for other in [1, 2, 3].map(id) {
        if other != id(old) && cluster.runs(other) {
            cluster.unreachable(other, id(old));
        }
    }
    // The first ballot may be too low.
    for _ in 0..3 {
        cluster.campaign(id(new));
        cluster.settle();
    }
    assert!(cluster.replica(id(new)).is_leader());
}

#[test]
fn what_passed_while_an_idle_leader_led_is_not_lost_with_it() {
    let mut cluster = led_by_one();
    cluster.propose(id(1), "first").expect("room");
    cluster.run(100 * SECOND);
    cluster.crash(id(1));
    succeed(&mut cluster, 1, 2);
    cluster.propose(id(2), "second").expect("room");
    cluster.settle();
    let heartbeat = Options::default().heartbeat_interval;
    let passed = stamp_of(&cluster, "first").plus(100 * SECOND - 2 * heartbeat);
    assert!(stamp_of(&cluster, "second") >= passed, "{:?}", cluster.chosen);
}

/// A leader that nobody hears stamps batches that turn out void. Its successor did not know its
/// clock, and renewed leases by a clock that is behind; were the void stamps to count later, these
/// leases would end early.
#[test]
fn the_stamps_of_void_batches_do_not_count() {
    let mut cluster = led_by_one();
    cluster.propose(id(1), "first").expect("room");
    cluster.run(SECOND);
    for other in [2, 3].map(id) {
        cluster.cut(id(1), other);
        cluster.cut(other, id(1));
    }
    let half = SECOND / 2;
    cluster.advance(half);
    for payload in ["void 1", "void 2", "void 3", "void 4"] {
        cluster.propose(id(1), payload).expect("room");
        cluster.persist(id(1), None);
    }
    succeed(&mut cluster, 1, 2);
    cluster.propose(id(2), "renewed").expect("room");
    cluster.settle();
    cluster.crash(id(2));
    cluster.crash(id(1));
    cluster.start(id(1));
    cluster.heal();
    succeed(&mut cluster, 2, 1);
    cluster.propose(id(1), "after").expect("room");
    cluster.settle();
    assert_eq!(stamp_of(&cluster, "after"), stamp_of(&cluster, "renewed"), "no time has passed");
}

/// The same without a batch: what a leader told of its time does not count for those that come
/// after its successor.
#[test]
fn what_a_leader_told_does_not_outlive_its_successor() {
    let mut cluster = led_by_one();
    cluster.propose(id(1), "first").expect("room");
    cluster.settle();
    // Only the third member hears how late it is, and then nothing of the successor.
    cluster.cut(id(1), id(2));
    cluster.run(SECOND / 2);
    cluster.crash(id(1));
    cluster.start(id(1));
    cluster.heal();
    cluster.cut(id(2), id(3));
    succeed(&mut cluster, 1, 2);
    cluster.propose(id(2), "renewed").expect("room");
    cluster.settle();
    cluster.crash(id(2));
    succeed(&mut cluster, 2, 3);
    cluster.propose(id(3), "after").expect("room");
    cluster.settle();
    assert_eq!(stamp_of(&cluster, "after"), stamp_of(&cluster, "renewed"), "no time has passed");
}
