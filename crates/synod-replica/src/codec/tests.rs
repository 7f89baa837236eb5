//! Golden bytes, there and back, and garbage.

use std::fmt::Write as _;

use bytes::Bytes;
use proptest::prelude::*;
use synod_paxos::message::{
    Accept, Accepted, CatchUp, Chosen, Confirm, Confirmed, FetchPage, Forward, Heartbeat, Learned,
    Nack, Prepare, Promise, Read, ReadAt, SnapshotPage, Stranger, TakeOver,
};
use synod_paxos::{
    AcceptedValue, Ballot, Batch, Command, CommandId, Incarnation, LogTime, Message, Peer, Prefix,
    Record, ReplicaId, Slot, Value,
};

use super::*;

/// What was released stays readable: these bytes change with [`VERSION`] only. To write them anew:
/// `SYNOD_GOLDEN=write cargo test -p synod-replica golden`, then read the difference.
#[test]
fn golden_bytes() {
    let mut found = String::new();
    for message in samples::messages() {
        let name = message.name();
        writeln!(found, "message {name} {}", hex(&encode_message(&message))).unwrap();
    }
    for record in samples::records() {
        let (kind, bytes) = encoded(&record);
        let (_, name) = RECORD_KINDS.iter().find(|(known, _)| *known == kind).unwrap();
        writeln!(found, "record {kind} {name} {}", hex(&bytes)).unwrap();
    }
    if std::env::var_os("SYNOD_GOLDEN").is_some_and(|wish| wish == "write") {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/codec/golden.txt");
        std::fs::write(path, &found).unwrap();
    }
    for (found, golden) in found.lines().zip(include_str!("golden.txt").lines()) {
        assert_eq!(found, golden);
    }
    assert_eq!(found.lines().count(), include_str!("golden.txt").lines().count());
}

#[test]
fn every_cut_and_every_addition_is_refused() {
    for message in samples::messages() {
        let frame = encode_message(&message);
        assert_eq!(decode_message(frame.clone()).as_ref(), Ok(&message));
        for length in 0..frame.len() {
            assert!(decode_message(frame.slice(..length)).is_err(), "{message:?} cut to {length}");
        }
        let longer = [&frame[..], &[0]].concat();
        assert_eq!(decode_message(longer.into()), Err(DecodeError::Trailing { bytes: 1 }));
    }
}

#[test]
fn what_is_malformed_is_named() {
    let frame = |tag: u8, body: &[u8]| {
        let header = [VERSION, tag, 0, 0, 0, 0];
        decode_message([&header[..], body].concat().into()).unwrap_err()
    };
    let ballot = [&[7][..], &[1, 0, 0, 0, 0, 0, 0, 0]].concat();
    let with_ballot = |rest: &[u8]| [&ballot[..], rest].concat();
    let with_batch = |rest: &[u8]| with_ballot(&[&[1, 2], &ballot[..], rest].concat());
    let peer = |id: u8| [[id, 0, 0, 0, 0, 0, 0, 0], [0; 8]].concat();

    let cases = [
        (frame(0, &[]), DecodeError::Tag { of: "message", found: 0 }),
        (frame(99, &[]), DecodeError::Tag { of: "message", found: 99 }),
        (frame(8, &[0]), DecodeError::SlotZero),
        (frame(8, &[0x81, 0]), DecodeError::Varint),
        (frame(11, &[0xff; 10]), DecodeError::Varint),
        (frame(4, &with_ballot(&[1, 9])), DecodeError::Tag { of: "value", found: 9 }),
        (frame(4, &with_batch(&[5, 0])), DecodeError::EmptyBatch),
        (
            frame(4, &with_batch(&[5, 0xff, 0xff, 0xff, 0x7f])),
            DecodeError::Count { of: "commands", count: (1 << 28) - 1, fit: 0 },
        ),
        (
            frame(1, &[with_ballot(&[0, 2]), peer(2), peer(1), vec![1, 1]].concat()),
            DecodeError::Unordered { of: "peers" },
        ),
        (
            frame(1, &[with_ballot(&[0, 2]), peer(2), peer(2), vec![1, 1]].concat()),
            DecodeError::Unordered { of: "peers" },
        ),
        (frame(1, &with_ballot(&[2])), DecodeError::Tag { of: "option", found: 2 }),
    ];
    for (found, expected) in cases {
        assert_eq!(found, expected);
    }

    let mut other_version = encode_message(&samples::messages()[0]).to_vec();
    other_version[0] = 2;
    assert_eq!(decode_message(other_version.into()), Err(DecodeError::Version { found: 2 }));
    let mut other_group = encode_message(&samples::messages()[0]).to_vec();
    other_group[2] = 1;
    assert_eq!(decode_message(other_group.into()), Err(DecodeError::Group { found: 1 }));
}

#[test]
fn slots_of_a_promise_must_rise() {
    let value = AcceptedValue { ballot: Ballot::ZERO, value: Value::Noop };
    let entries = vec![(Slot::new(2), value.clone()), (Slot::new(2), value)];
    let promise = Promise {
        ballot: Ballot::ZERO,
        from: Slot::FIRST,
        entries,
        prefix: Prefix::default(),
        next: None,
    };
    let frame = encode_message(&Message::Promise(promise));
    assert_eq!(decode_message(frame), Err(DecodeError::Unordered { of: "slots" }));
}

#[test]
fn payloads_are_not_copied() {
    let payload = Bytes::from(vec![7; 4096]);
    let value = samples::batch(vec![payload.clone()]);
    let mut parts = Parts::default();
    encode_record(&Record::Learned { slot: Slot::FIRST, value }, &mut parts);
    let shared = parts.as_slices().into_iter().find(|part| part.len() == 4096).unwrap();
    assert_eq!(shared.as_ptr(), payload.as_ptr(), "the log gathers the client's bytes");

    let commands = vec![samples::command(payload)];
    let forward = Forward { ballot: Ballot::ZERO, sequence: 0, commands };
    let frame = encode_message(&Message::Forward(forward));
    let Ok(Message::Forward(decoded)) = decode_message(frame.clone()) else { panic!("a forward") };
    let decoded = decoded.commands[0].payload.as_ptr_range();
    assert!(frame.as_ptr_range().contains(&decoded.start), "a slice of the frame");
}

proptest! {
    #[test]
    fn messages_there_and_back(message in arbitrary::message()) {
        let frame = encode_message(&message);
        prop_assert!(frame.len() <= message_size(&message), "allocated once");
        prop_assert_eq!(decode_message(frame), Ok(message));
    }

    #[test]
    fn records_there_and_back(record in arbitrary::record()) {
        let (kind, bytes) = encoded(&record);
        prop_assert_eq!(decode_record(kind, bytes), Ok(record));
    }

    /// One encoding for each thing: what decodes is what encodes to the same bytes.
    #[test]
    fn damaged_frames_do_no_harm(
        message in arbitrary::message(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut frame = encode_message(&message).to_vec();
        for (at, byte) in damage {
            let at = at.index(frame.len());
            frame[at] = byte;
        }
        if let Ok(message) = decode_message(frame.clone().into()) {
            prop_assert_eq!(encode_message(&message), frame);
        }
    }

    #[test]
    fn garbage_does_no_harm(
        tag in 0u8..20,
        body in prop::collection::vec(prop_oneof![0u8..4, any::<u8>()], 0..200),
    ) {
        let frame = [&[VERSION, tag, 0, 0, 0, 0][..], &body].concat();
        if let Ok(message) = decode_message(frame.clone().into()) {
            prop_assert_eq!(encode_message(&message), frame);
        }
        let payload = [&[VERSION, 0, 0, 0, 0][..], &body].concat();
        if let Ok(record) = decode_record(tag, payload.clone().into()) {
            prop_assert_eq!(encoded(&record), (tag, payload.into()));
        }
    }
}

fn encoded(record: &Record) -> (u8, Bytes) {
    let mut parts = Parts::default();
    let kind = encode_record(record, &mut parts);
    (kind, parts.as_slices().concat().into())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").unwrap();
        hex
    })
}

/// One of each.
mod samples {
    use super::*;

    pub(super) fn command(payload: Bytes) -> Command {
        let id = CommandId { replica: ReplicaId::new(3), life: 0x1122_3344_5566_7788, number: 300 };
        Command { id, payload }
    }

    pub(super) fn batch(payloads: Vec<Bytes>) -> Value {
        let commands = payloads.into_iter().map(command).collect();
        let ballot = Ballot { round: 199, replica: ReplicaId::new(3) };
        Value::Batch(Batch { ballot, stamp: LogTime::from_millis(1234), commands })
    }

    pub(super) fn messages() -> Vec<Message> {
        let ballot = Ballot { round: 200, replica: ReplicaId::new(2) };
        let (slot, chosen) = (Slot::new(130), Slot::new(129));
        let value = batch(vec![Bytes::from_static(b"one"), Bytes::new()]);
        let peer = |id| Peer { id: ReplicaId::new(id), incarnation: Incarnation::new(id << 8) };
        let accepted = AcceptedValue { ballot, value: Value::Barrier(ballot) };
        let entries =
            vec![(chosen, AcceptedValue { ballot, value: Value::Noop }), (slot, accepted)];
        let prefix = Prefix { end: chosen, barrier: Ballot::ZERO, time: LogTime::from_millis(99) };
        let (attempt, round) = (u64::MAX, 7);
        let hears = vec![peer(1), peer(3)];
        let stable = Slot::FIRST;
        let commands = vec![command(Bytes::from_static(b"two"))];
        let values = vec![Value::Noop, value.clone()];
        vec![
            Message::Heartbeat(Heartbeat {
                promised: ballot,
                leader: Some(ballot),
                hears,
                chosen,
                stable,
                time: LogTime::from_millis(777),
            }),
            Message::Prepare(Prepare { ballot, from: slot, succeeds: None }),
            Message::Promise(Promise { ballot, from: chosen, entries, prefix, next: Some(slot) }),
            Message::Accept(Accept { ballot, slot, value, chosen }),
            Message::Accepted(Accepted { ballot, slot }),
            Message::Nack(Nack { refused: Ballot::ZERO, promised: ballot }),
            Message::Chosen(Chosen { ballot, chosen }),
            Message::CatchUp(CatchUp { from: slot }),
            Message::Learned(Learned { from: stable, values, chosen }),
            Message::Forward(Forward { ballot, sequence: 0, commands }),
            Message::Read(Read { attempt }),
            Message::ReadAt(ReadAt { attempt, chosen }),
            Message::Confirm(Confirm { ballot, round }),
            Message::Confirmed(Confirmed { ballot, round }),
            Message::TakeOver(TakeOver { ballot }),
            Message::Stranger(Stranger { known: Incarnation::new(0xabcd) }),
            Message::FetchPage(FetchPage { snapshot: 9, offset: 300 }),
            Message::SnapshotPage(SnapshotPage {
                snapshot: 9,
                prefix,
                offset: 300,
                bytes: Bytes::from_static(b"page"),
            }),
        ]
    }

    pub(super) fn records() -> Vec<Record> {
        let ballot = Ballot { round: 200, replica: ReplicaId::new(2) };
        let slot = Slot::new(130);
        let peer = Peer { id: ReplicaId::new(2), incarnation: Incarnation::new(u64::MAX) };
        vec![
            Record::Met(peer),
            Record::Promised(ballot),
            Record::Accepted { ballot, slot, value: batch(vec![Bytes::from_static(b"one")]) },
            Record::Learned { slot, value: Value::Barrier(ballot) },
            Record::Chosen(slot),
            Record::Skipped(slot),
        ]
    }
}

/// Any of each.
mod arbitrary {
    use super::*;

    fn number() -> impl Strategy<Value = u64> {
        prop_oneof![0..300u64, any::<u64>()]
    }

    prop_compose! {
        fn ballot()(round in number(), id in number()) -> Ballot {
            Ballot { round, replica: ReplicaId::new(id) }
        }
    }

    fn slot() -> impl Strategy<Value = Slot> {
        number().prop_map(Slot::new)
    }

    prop_compose! {
        fn command()(
            id in number(),
            life in number(),
            number in number(),
            payload in prop::collection::vec(any::<u8>(), 0..600),
        ) -> Command {
            let id = CommandId { replica: ReplicaId::new(id), life, number };
            Command { id, payload: payload.into() }
        }
    }

    fn value() -> impl Strategy<Value = Value> {
        let commands = prop::collection::vec(command(), 1..4);
        let batch = (ballot(), number(), commands).prop_map(|(ballot, stamp, commands)| {
            let (stamp, commands) = (LogTime::from_millis(stamp), commands.into());
            Value::Batch(Batch { ballot, stamp, commands })
        });
        prop_oneof![Just(Value::Noop), ballot().prop_map(Value::Barrier), batch]
    }

    prop_compose! {
        fn peer()(id in number(), incarnation in number()) -> Peer {
            Peer { id: ReplicaId::new(id), incarnation: Incarnation::new(incarnation) }
        }
    }

    prop_compose! {
        fn prefix()(end in slot(), barrier in ballot(), time in number()) -> Prefix {
            Prefix { end, barrier, time: LogTime::from_millis(time) }
        }
    }

    fn heartbeat() -> impl Strategy<Value = Heartbeat> {
        let hears = prop::collection::btree_map(number(), number(), 0..5).prop_map(|peers| {
            let peer = |(id, incarnation)| Peer {
                id: ReplicaId::new(id),
                incarnation: Incarnation::new(incarnation),
            };
            peers.into_iter().map(peer).collect()
        });
        (ballot(), prop::option::of(ballot()), hears, slot(), slot(), number()).prop_map(
            |(promised, leader, hears, chosen, stable, time)| Heartbeat {
                promised,
                leader,
                hears,
                chosen,
                stable,
                time: LogTime::from_millis(time),
            },
        )
    }

    fn promise() -> impl Strategy<Value = Promise> {
        let entries =
            prop::collection::btree_map(slot(), (ballot(), value()), 0..5).prop_map(|entries| {
                let entry = |(slot, (ballot, value))| (slot, AcceptedValue { ballot, value });
                entries.into_iter().map(entry).collect()
            });
        (ballot(), slot(), entries, prefix(), prop::option::of(slot())).prop_map(
            |(ballot, from, entries, prefix, next)| Promise { ballot, from, entries, prefix, next },
        )
    }

    pub(super) fn message() -> impl Strategy<Value = Message> {
        let values = prop::collection::vec(value(), 0..4);
        let commands = prop::collection::vec(command(), 0..4);
        prop_oneof![
            heartbeat().prop_map(Message::Heartbeat),
            (ballot(), slot(), prop::option::of(ballot())).prop_map(|(ballot, from, succeeds)| {
                Message::Prepare(Prepare { ballot, from, succeeds })
            }),
            promise().prop_map(Message::Promise),
            (ballot(), slot(), value(), slot()).prop_map(|(ballot, slot, value, chosen)| {
                Message::Accept(Accept { ballot, slot, value, chosen })
            }),
            (slot(), values, slot()).prop_map(|(from, values, chosen)| {
                Message::Learned(Learned { from, values, chosen })
            }),
            (ballot(), number(), commands).prop_map(|(ballot, sequence, commands)| {
                Message::Forward(Forward { ballot, sequence, commands })
            }),
            small_message(),
        ]
    }

    fn small_message() -> impl Strategy<Value = Message> {
        (0..12, ballot(), ballot(), slot(), number()).prop_map(|(which, ballot, other, slot, n)| {
            match which {
                0 => Message::Accepted(Accepted { ballot, slot }),
                1 => Message::Nack(Nack { refused: ballot, promised: other }),
                2 => Message::Chosen(Chosen { ballot, chosen: slot }),
                3 => Message::CatchUp(CatchUp { from: slot }),
                4 => Message::Read(Read { attempt: n }),
                5 => Message::ReadAt(ReadAt { attempt: n, chosen: slot }),
                6 => Message::Confirm(Confirm { ballot, round: n }),
                7 => Message::Confirmed(Confirmed { ballot, round: n }),
                8 => Message::TakeOver(TakeOver { ballot }),
                9 => Message::FetchPage(FetchPage { snapshot: n, offset: n / 2 }),
                10 => Message::SnapshotPage(SnapshotPage {
                    snapshot: n,
                    prefix: Prefix { end: slot, barrier: other, ..Prefix::default() },
                    offset: n / 2,
                    bytes: Bytes::from_static(b"page"),
                }),
                _ => Message::Stranger(Stranger { known: Incarnation::new(n) }),
            }
        })
    }

    pub(super) fn record() -> impl Strategy<Value = Record> {
        prop_oneof![
            peer().prop_map(Record::Met),
            ballot().prop_map(Record::Promised),
            (ballot(), slot(), value()).prop_map(|(ballot, slot, value)| Record::Accepted {
                ballot,
                slot,
                value
            }),
            (slot(), value()).prop_map(|(slot, value)| Record::Learned { slot, value }),
            slot().prop_map(Record::Chosen),
            slot().prop_map(Record::Skipped),
        ]
    }
}
