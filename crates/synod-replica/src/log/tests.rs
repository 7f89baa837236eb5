//! Logs that are opened again: after a trim, by the wrong member, without what the state needs.

use bytes::Bytes;
use proptest::prelude::*;
use synod_paxos::{Ballot, CommandId, LogTime};
use synod_wal::memory::MemoryDisk;

use super::*;

const CLUSTER: u64 = 5;
const MEMBER: ReplicaId = ReplicaId::new(2);

#[test]
fn an_opened_log_is_as_it_was_left() {
    let disk = MemoryDisk::new();
    let (mut log, opened) = open(&disk, 77, Slot::FIRST).unwrap();
    assert_eq!(opened.recovered, Recovered::default());
    let records = records(20);
    records.iter().for_each(|record| log.append(record).unwrap());
    log.sync().unwrap();
    drop(log);

    let mut oracle = Recovered::default();
    records.into_iter().for_each(|record| oracle.replay(record));
    for applied in [1, 2, 10, 20, 21] {
        let applied = Slot::new(applied);
        let (log, opened) = open(&disk, 88, applied).unwrap();
        let me = Peer { id: MEMBER, incarnation: Incarnation::new(77) };
        let identity = LogIdentity { cluster: CLUSTER, me };
        assert_eq!(opened.identity, identity, "it keeps the incarnation it was made with");
        let mut oracle = oracle.clone();
        oracle.forget_below(applied);
        assert_eq!(opened.recovered, oracle, "applied below {applied}");
        let served = log.read_chosen(Slot::FIRST, Slot::new(21), usize::MAX).unwrap();
        assert_eq!(served, (1..=20).map(value).collect::<Vec<_>>(), "it serves all");
    }
}

#[test]
fn chosen_values_are_read_in_pages() {
    let (mut log, _) = open(&MemoryDisk::new(), 1, Slot::FIRST).unwrap();
    records(20).iter().for_each(|record| log.append(record).unwrap());
    let read = |from, chosen, bytes_max| {
        let values = log.read_chosen(Slot::new(from), Slot::new(chosen), bytes_max);
        values.unwrap().len()
    };
    let one = value(5).bytes();
    let cases = [
        (5, 21, 0, 1),
        (5, 21, one, 1),
        (5, 21, 3 * one, 3),
        (5, 6, 3 * one, 1),
        (5, 5, 3 * one, 0),
        (6, 5, 3 * one, 0),
        (19, 40, 9 * one, 2),
        (21, 40, 9 * one, 0),
    ];
    for (from, chosen, bytes_max, expected) in cases {
        assert_eq!(read(from, chosen, bytes_max), expected, "{from}..{chosen} of {bytes_max}");
    }
}

#[test]
fn a_log_of_another_member_is_refused() {
    let disk = MemoryDisk::new();
    drop(open(&disk, 77, Slot::FIRST).unwrap());
    for (cluster, member) in [(CLUSTER, ReplicaId::new(3)), (6, MEMBER)] {
        let fresh = Incarnation::new(77);
        let opened = Log::open(disk.clone(), cluster, member, fresh, options(), Slot::FIRST);
        let Err(error) = opened else { panic!("it is not theirs") };
        let told = "the data folder belongs to member 2 of cluster 5, but this is member";
        assert!(error.to_string().starts_with(told), "{error}");
    }
}

#[test]
fn a_log_that_was_written_by_something_else_is_refused() {
    let disk = MemoryDisk::new();
    drop(Wal::open(disk.clone(), Owner([7; 32]), options(), |_| {}).unwrap());
    assert!(matches!(open(&disk, 1, Slot::FIRST), Err(OpenError::NotOurs { .. })));
}

#[test]
fn a_record_that_does_not_decode_stops_the_opening() {
    let disk = MemoryDisk::new();
    let (mut log, _) = open(&disk, 1, Slot::FIRST).unwrap();
    log.wal.append(200, &[b"x"]).unwrap();
    log.sync().unwrap();
    drop(log);
    assert!(matches!(open(&disk, 1, Slot::FIRST), Err(OpenError::Decode { .. })));
}

#[test]
fn a_trimmed_log_keeps_the_facts_and_what_is_above() {
    let disk = MemoryDisk::new();
    let (mut log, _) = open(&disk, 1, Slot::FIRST).unwrap();
    // 200 values of 600 bytes fill many segments.
    records(200).iter().for_each(|record| {
        log.append(record).unwrap();
        log.sync().unwrap();
    });
    let before = log.status().segments;
    facts(201).iter().for_each(|record| log.append(record).unwrap());
    log.sync().unwrap();
    log.trim(Slot::new(150)).unwrap();
    assert!(log.status().segments * 2 < before, "{:?}", log.status());
    assert_eq!(log.read_chosen(Slot::new(149), Slot::new(201), usize::MAX).unwrap(), []);
    drop(log);

    let (log, opened) = open(&disk, 1, Slot::new(150)).unwrap();
    let mut oracle = Recovered::default();
    records(200).into_iter().for_each(|record| oracle.replay(record));
    oracle.forget_below(Slot::new(150));
    assert_eq!(opened.recovered, oracle);
    assert_eq!(log.read_chosen(Slot::new(150), Slot::new(201), usize::MAX).unwrap().len(), 51);

    let Err(error) = open(&disk, 1, Slot::new(2)) else { panic!("slot 2 is gone") };
    assert!(matches!(error, OpenError::StateBehind { .. }), "{error}");
}

/// What was accepted below a state that was taken over may never have been chosen.
#[test]
fn nobody_is_served_from_below_a_state_that_was_taken_over() {
    let disk = MemoryDisk::new();
    let (mut log, _) = open(&disk, 1, Slot::FIRST).unwrap();
    records(20).iter().for_each(|record| log.append(record).unwrap());
    log.append(&Record::Skipped(Slot::new(15))).unwrap();
    log.append(&Record::Skipped(Slot::new(12))).unwrap();
    // Before the state is taken over, this member may still accept and learn below.
    let late = Record::Learned { slot: Slot::new(14), value: value(14) };
    log.append(&late).unwrap();
    log.sync().unwrap();
    let served = |log: &Log<MemoryDisk>, from| {
        log.read_chosen(Slot::new(from), Slot::new(21), usize::MAX).unwrap().len()
    };
    let serves = |log: &Log<MemoryDisk>| [1, 13, 14, 15, 20].map(|from| served(log, from));
    assert_eq!(serves(&log), [0, 0, 0, 6, 1]);
    drop(log);

    // The member stopped before it was, and goes on with what it had.
    let (mut log, opened) = open(&disk, 1, Slot::new(10)).unwrap();
    assert_eq!(opened.recovered.accepted.len(), 11);
    assert_eq!(serves(&log), [0, 0, 0, 6, 1]);
    // What is trimmed leaves records behind that share a segment with others.
    facts(21).iter().for_each(|record| log.append(record).unwrap());
    log.append(&Record::Skipped(Slot::new(15))).unwrap();
    log.sync().unwrap();
    log.trim(Slot::new(15)).unwrap();
    drop(log);
    let (log, _) = open(&disk, 1, Slot::new(15)).unwrap();
    assert_eq!(serves(&log), [0, 0, 0, 6, 1]);
}

#[test]
fn a_failed_sync_is_told() {
    let disk = MemoryDisk::new();
    let (mut log, _) = open(&disk, 1, Slot::FIRST).unwrap();
    disk.fail_sync_after(0);
    log.append(&Record::Promised(Ballot::ZERO)).unwrap();
    assert!(matches!(log.sync(), Err(LogError::Io(_))));
    assert!(log.append(&Record::Promised(Ballot::ZERO)).is_err(), "it takes nothing more");
}

proptest! {
    #[test]
    fn identities_there_and_back(cluster: u64, id: u64, incarnation: u64) {
        let me = Peer { id: ReplicaId::new(id), incarnation: Incarnation::new(incarnation) };
        let identity = LogIdentity { cluster, me };
        prop_assert_eq!(LogIdentity::unpack(identity.pack()), Some(identity));
    }

    /// Whatever is accepted, learned and replaced in whatever order, opening folds it as the core
    /// would, although it does not keep the commands of what is applied.
    #[test]
    fn opening_folds_as_the_core_does(
        steps in prop::collection::vec((1u64..8, 1u64..5, 0u8..3), 0..40),
        applied in 1u64..8,
    ) {
        let disk = MemoryDisk::new();
        let (mut log, _) = open(&disk, 1, Slot::FIRST).unwrap();
        let mut oracle = Recovered::default();
        for (slot, round, what) in steps {
            let ballot = Ballot { round, replica: MEMBER };
            let slot = Slot::new(slot);
            let record = match what {
                0 => Record::Accepted { ballot, slot, value: Value::Barrier(ballot) },
                1 => Record::Accepted { ballot, slot, value: value(round) },
                _ => Record::Learned { slot, value: value(round) },
            };
            log.append(&record).unwrap();
            oracle.replay(record);
        }
        log.sync().unwrap();
        drop(log);
        let applied = Slot::new(applied);
        oracle.forget_below(applied);
        match open(&disk, 1, applied) {
            Ok((_, opened)) => prop_assert_eq!(opened.recovered, oracle),
            Err(OpenError::StateBehind { found, .. }) => {
                prop_assert!(found > applied);
                prop_assert!(!oracle.accepted.contains_key(&applied));
            }
            Err(error) => prop_assert!(false, "{error}"),
        }
    }
}

fn open(
    disk: &MemoryDisk,
    fresh: u64,
    applied: Slot,
) -> Result<(Log<MemoryDisk>, Opened), OpenError> {
    Log::open(disk.clone(), CLUSTER, MEMBER, Incarnation::new(fresh), options(), applied)
}

fn options() -> synod_wal::Options {
    synod_wal::Options { segment_bytes: 16 << 10, record_bytes_max: 8 << 10, spares_max: 2 }
}

/// Values of slots 1 to `count`, every third first accepted otherwise, and the facts.
fn records(count: u64) -> Vec<Record> {
    let mut records = facts(1);
    for number in 1..=count {
        let (slot, round) = (Slot::new(number), 7);
        let ballot = Ballot { round, replica: MEMBER };
        if number % 3 == 0 {
            let ballot = Ballot { round: 3, replica: MEMBER };
            records.push(Record::Accepted { ballot, slot, value: value(1000) });
        }
        records.push(Record::Accepted { ballot, slot, value: value(number) });
    }
    records.extend(facts(count + 1));
    records
}

/// What is no value: who was met, what was promised, how far slots are chosen.
fn facts(chosen: u64) -> Vec<Record> {
    let peer = |id| Peer { id: ReplicaId::new(id), incarnation: Incarnation::new(id) };
    let promised = Ballot { round: 9, replica: MEMBER };
    vec![
        Record::Met(peer(1)),
        Record::Met(peer(3)),
        Record::Promised(promised),
        Record::Chosen(Slot::new(chosen)),
    ]
}

fn value(number: u64) -> Value {
    let id = CommandId { replica: MEMBER, life: 1, number };
    let payload = Bytes::from(vec![7; 600]);
    let commands = [Command { id, payload }].into();
    Value::Batch(Batch { ballot: Ballot::ZERO, stamp: LogTime::from_millis(number), commands })
}
