//! The store against the model: every answer, every readable revision, all of history, whatever
//! is flushed, reclaimed, crashed and replayed in between.

use bytes::Bytes;
use proptest::prelude::*;
use synod_kv::{
    ApplyError, Caller, Command, Compact, Event, FlushLimits, Flusher, HistoryLimits, KeyRange,
    LeaseExpire, LeaseGrant, LeaseIds, MemoryEngine, Range, ReadError, ReadTxnError, Reader, Reply,
    Response, Store,
};

use crate::commands;
use crate::model::{Model, rev};

#[derive(Clone, Debug)]
enum Step {
    /// A slot with these commands, so many milliseconds later: or earlier, as a new leader's
    /// clock may be, and then log time stands.
    Slot(i64, Vec<Command>),
    /// The leader asks for the end of so many leases that are due, so many milliseconds later.
    Expire(i64, usize),
    Flush(FlushLimits),
    /// Compacts at so many revisions below the current one.
    Compact(i64),
    /// The process ends; what the engine holds survives, the log replays the rest.
    Crash,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let limits =
        (1..6usize, 1..2000usize, 0..4usize).prop_map(|(rows_max, bytes_max, reclaim_max)| {
            FlushLimits { rows_max, bytes_max, reclaim_max, ..Default::default() }
        });
    let step = prop_oneof![
        6 => (-100..900i64, prop::collection::vec(commands::command(), 0..4))
            .prop_map(|(later_ms, commands)| Step::Slot(later_ms, commands)),
        1 => (0..2000i64, 1..3usize).prop_map(|(later_ms, max)| Step::Expire(later_ms, max)),
        3 => limits.prop_map(Step::Flush),
        1 => (0..4i64).prop_map(Step::Compact),
        1 => Just(Step::Crash),
    ];
    prop::collection::vec(step, 0..40)
}

/// A member: a store over an engine, and the log it replays from.
struct Member {
    engine: MemoryEngine,
    store: Store<MemoryEngine>,
    flusher: Flusher<MemoryEngine>,
    /// The stamp and the commands of each slot.
    log: Vec<(u64, Vec<Bytes>)>,
}

impl Member {
    fn new() -> Self {
        let engine = MemoryEngine::new();
        let (store, flusher) = Store::open(engine.clone()).unwrap();
        Self { engine, store, flusher, log: Vec::new() }
    }

    /// Does what a step says; both store and model.
    fn step(&mut self, step: &Step, model: &mut Model) {
        match step {
            Step::Slot(later_ms, commands) => self.slot(*later_ms, commands, model),
            Step::Expire(later_ms, max) => {
                let time_ms = self.store.time_ms().saturating_add_signed(*later_ms);
                let due = self.store.reader().leases_due(time_ms, *max, usize::MAX);
                model.time_ms = time_ms;
                let over = |id: &i64| model.remaining(*id) == Some(0);
                let expected = model.leases_in_order().into_iter().filter(over).take(*max);
                assert!(due.iter().copied().eq(expected), "{due:?}");
                let expire = LeaseExpire { ids: LeaseIds::new(due).unwrap(), by: (1, 2) };
                self.slot(*later_ms, &[Command::LeaseExpire(expire)], model);
            }
            Step::Flush(limits) => drop(self.flusher.flush(*limits).unwrap()),
            Step::Compact(back) => {
                let revision = rev(model.revision - back);
                self.slot(0, &[Command::Compact(Compact { revision })], model);
            }
            Step::Crash => self.crash(),
        }
    }

    fn slot(&mut self, later_ms: i64, commands: &[Command], model: &mut Model) {
        let slot = self.store.applied_slot();
        let time_ms = self.store.time_ms().saturating_add_signed(later_ms);
        let mut encoded = Vec::new();
        for command in commands {
            let bytes = command.encode();
            let reply = self.store.apply(slot, time_ms, &bytes).unwrap();
            let command = with_chosen_id(command, &reply, model);
            assert_eq!(reply, model.apply(time_ms, &command), "{command:?}");
            encoded.push(bytes);
        }
        self.store.slot_applied(slot, time_ms, [slot, slot + 1]);
        model.time_ms = model.time_ms.max(time_ms);
        self.log.push((time_ms, encoded));
    }

    /// Flushes and reclaims until nothing is left to do.
    fn settle(&mut self) {
        let limits =
            FlushLimits { rows_max: 3, bytes_max: 500, reclaim_max: 2, ..Default::default() };
        while self.flusher.flush(limits).unwrap().more {}
        assert_eq!(self.store.overlay_bytes(), 0);
    }

    fn crash(&mut self) {
        let (digest, applied) = (self.store.digest(), self.store.applied_slot());
        // A copy of the disk, so that nothing of the former process can reach it.
        self.engine = self.engine.fork();
        let (store, flusher) = Store::open(self.engine.clone()).unwrap();
        (self.store, self.flusher) = (store, flusher);
        self.replay();
        assert_eq!(self.store.applied_slot(), applied);
        assert_eq!(self.store.digest(), digest, "replay led elsewhere");
    }

    fn replay(&mut self) {
        let from = self.store.applied_slot();
        for (slot, (time_ms, commands)) in (1u64..).zip(&self.log).filter(|(slot, _)| *slot >= from)
        {
            for command in commands {
                self.store.apply(slot, *time_ms, command).unwrap();
            }
            self.store.slot_applied(slot, *time_ms, [slot, slot + 1]);
        }
    }
}

/// The command with the id that the store chose, if it was to choose one.
fn with_chosen_id(command: &Command, reply: &Reply, model: &Model) -> Command {
    match (command, &reply.result) {
        (Command::LeaseGrant(grant @ LeaseGrant { id: 0, .. }), Ok(Response::LeaseGrant(made))) => {
            assert!(made.id > 0 && !model.leases.contains_key(&made.id), "{made:?}");
            Command::LeaseGrant(LeaseGrant { id: made.id, ..*grant })
        }
        _ => command.clone(),
    }
}

fn check_leases(reader: &Reader<MemoryEngine>, model: &Model) {
    assert_eq!(reader.time_ms(), model.time_ms);
    let ids = model.leases_in_order();
    // Those that are due together stand in the order of their beginnings, as far as the process
    // remembers it.
    let mut listed = reader.leases(&Caller::Internal).unwrap();
    assert!(listed.is_sorted_by_key(|id| model.remaining_exactly(*id)), "{listed:?}");
    listed.sort_unstable_by_key(|id| (model.remaining_exactly(*id), *id));
    assert_eq!(listed, ids);
    assert_eq!(reader.sizes().unwrap().leases, u64::try_from(ids.len()).unwrap());
    let next = ids.first().map(|id| {
        let (ttl, since) = model.leases[id];
        since + u64::try_from(ttl).unwrap() * 1000
    });
    assert_eq!(reader.next_lease_due(), next);
    for id in ids {
        let status = reader.lease(&Caller::Internal, id, true, model.time_ms).unwrap().unwrap();
        let found = (status.id, status.granted_ttl, Some(status.remaining_ms), status.keys);
        let (ttl, _) = model.leases[&id];
        assert_eq!(found, (id, ttl, model.remaining(id), model.lease_keys(id)));
        let unasked = reader.lease(&Caller::Internal, id, false, model.time_ms);
        assert!(unasked.unwrap().unwrap().keys.is_empty());
    }
    assert_eq!(reader.lease(&Caller::Internal, 77, true, model.time_ms), Ok(None));
}

fn check_reads(reader: &Reader<MemoryEngine>, model: &Model, ranges: &[Range]) {
    assert_eq!(reader.revision(), rev(model.revision));
    assert_eq!(reader.compact_revision(), rev(model.compact));
    for at in -1..=model.revision + 1 {
        for range in ranges {
            let range = range.clone().at(rev(at));
            match (reader.range(&Caller::Internal, &range), model.range(&range)) {
                (Ok(answer), Ok(expected)) => assert_eq!(answer, expected, "{range:?}"),
                (answer, expected) => assert_eq!(refusal(answer), expected.err(), "{range:?}"),
            }
        }
    }
    let live = model.seen(&KeyRange::all(), i64::MAX);
    let sizes = reader.sizes().unwrap();
    assert_eq!(sizes.live_keys, u64::try_from(live.len()).unwrap());
    let bytes: usize = live.iter().map(|kv| kv.key.len() + kv.value.len()).sum();
    assert_eq!(sizes.live_bytes, u64::try_from(bytes).unwrap());
    assert_eq!(sizes.used_bytes, model.used());
    let alarms: Vec<_> = reader.alarms().iter().map(|a| ((a.kind, a.member), a.reasons)).collect();
    assert!(alarms.into_iter().eq(model.alarms.clone()));
}

fn refusal<T>(answer: Result<T, ReadError<std::convert::Infallible>>) -> Option<ApplyError> {
    match answer {
        Ok(_) => None,
        Err(ReadError::Compacted { requested, compacted }) => {
            Some(ApplyError::Compacted { requested, compacted })
        }
        Err(ReadError::FutureRevision { requested, current }) => {
            Some(ApplyError::FutureRevision { requested, current })
        }
        Err(error @ (ReadError::Denied(_) | ReadError::Storage(_))) => panic!("{error}"),
    }
}

/// History from each revision on, told in small pieces, is the model's list of changes.
fn check_history(reader: &Reader<MemoryEngine>, model: &Model, limits: HistoryLimits) {
    for from in 1..=model.revision + 2 {
        let mut events = Vec::new();
        let mut next = rev(from);
        loop {
            let piece = match reader.history(&Caller::Internal, next, limits) {
                Ok(piece) => piece,
                Err(ReadError::Compacted { .. }) => {
                    assert!(from < model.compact);
                    break;
                }
                Err(error) => panic!("{error}"),
            };
            assert!(from >= model.compact);
            let last = piece.events.last().map(|event| event.kv().mod_revision);
            assert!(last.is_none_or(|last| next <= last && last < piece.next));
            events.extend(piece.events);
            next = piece.next;
            if piece.next > piece.revision {
                break;
            }
        }
        if from < model.compact {
            assert!(events.is_empty());
            continue;
        }
        let expected = model.changes.iter().filter(|(revision, ..)| *revision >= from);
        let told = events.iter().map(|event| match event {
            Event::Put(kv) => (kv.mod_revision.as_i64(), kv.key.clone(), Some(kv.clone())),
            Event::Delete(kv) => (kv.mod_revision.as_i64(), kv.key.clone(), None),
        });
        assert!(told.eq(expected.cloned()), "from {from}: {events:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(160))]

    #[test]
    fn answers_as_the_model_does(
        steps in steps(),
        ranges in prop::collection::vec(commands::range(), 4),
        txn in commands::txn(),
        events_max in 1..5usize,
    ) {
        let (mut member, mut model) = (Member::new(), Model::default());
        for step in &steps {
            member.step(step, &mut model);
        }
        let limits = HistoryLimits { events_max, bytes_max: 100 };
        check_reads(&member.store.reader(), &model, &ranges);
        check_leases(&member.store.reader(), &model);
        check_history(&member.store.reader(), &model, limits);
        member.settle();
        let metadata = usize::from(!member.log.is_empty());
        let expected =
            model.kept_rows() + model.leases.len() + model.alarms.len() + metadata;
        prop_assert_eq!(member.engine.len(), expected, "rows");
        check_history(&member.store.reader(), &model, limits);
        member.crash();
        let reader = member.store.reader();
        check_reads(&reader, &model, &ranges);
        check_leases(&reader, &model);
        check_history(&reader, &model, limits);
        match reader.txn(&Caller::Internal, &txn) {
            Ok(answer) => prop_assert_eq!(Ok(answer), model.clone().txn(&txn, &model)),
            Err(ReadTxnError::Writes) => prop_assert!(!txn.is_read_only()),
            Err(ReadTxnError::Read(error)) => prop_assert_eq!(
                refusal::<()>(Err(error)),
                model.clone().txn(&txn, &model).err()
            ),
            Err(error @ ReadTxnError::ListTooLarge { .. }) => panic!("{error}"),
        }
    }

    /// Two members, one flushed at random and one never, agree on digest and hash.
    #[test]
    fn flushes_change_nothing_that_can_be_read(steps in steps()) {
        let (mut one, mut other) = (Member::new(), Member::new());
        let (mut model, mut other_model) = (Model::default(), Model::default());
        for step in &steps {
            one.step(step, &mut model);
            if !matches!(step, Step::Flush(_) | Step::Crash) {
                other.step(step, &mut other_model);
            }
            prop_assert_eq!(one.store.digest(), other.store.digest());
        }
        let hash = |member: &Member| {
            let reader = member.store.reader();
            let caller = Caller::Internal;
            (reader.hash_kv(&caller, None).unwrap(), reader.hash(&caller).unwrap())
        };
        let hashes = [hash(&one), hash(&other)];
        prop_assert_eq!(hashes[0], hashes[1]);
    }
}
