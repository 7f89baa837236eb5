//! Space: quota, alarms and compaction, one situation each. Some carry what went wrong in etcd.

use bytes::Bytes;
use synod_kv::{
    ALARMS_MAX, AlarmAction, AlarmChange, AlarmKind, AlarmReasons, ApplyError, Caller, Command,
    Compact, DeleteRange, FlushLimits, Flusher, Key, KeyRange, LeaseGrant, MemoryEngine, Op, Put,
    Range, ReadError, ReadTxnError, Response, Revision, SpaceReport, Store, Txn, VERSION_SPACE,
};

/// A member that takes one command per slot.
struct Member {
    engine: MemoryEngine,
    store: Store<MemoryEngine>,
    flusher: Flusher<MemoryEngine>,
}

impl Member {
    fn open(engine: MemoryEngine) -> Self {
        let (store, flusher) = Store::open(engine.clone()).unwrap();
        Self { engine, store, flusher }
    }

    fn new() -> Self {
        Self::open(MemoryEngine::new())
    }

    fn run(&mut self, command: &Command) -> Result<Response, ApplyError> {
        let slot = self.store.applied_slot();
        let reply = self.store.apply(slot, 0, &command.encode()).unwrap();
        self.store.slot_applied(slot, 0, [0; 2]);
        reply.result
    }

    fn put(&mut self, key: &str, value: &str) -> Result<Response, ApplyError> {
        self.run(&Command::Put(put(key, value)))
    }

    fn delete(&mut self, key: &str) -> Result<Response, ApplyError> {
        self.run(&Command::DeleteRange(DeleteRange::new(single(key))))
    }

    fn compact(&mut self, revision: i64) -> Result<Response, ApplyError> {
        self.run(&Command::Compact(Compact { revision: Revision::new(revision) }))
    }

    fn txn(&mut self, success: Vec<Op>) -> Result<Response, ApplyError> {
        self.run(&Command::Txn(Txn::new(vec![], success, vec![]).unwrap()))
    }

    /// Raises or clears an alarm by hand.
    fn alarm(&mut self, action: AlarmAction, kind: AlarmKind) -> Result<Response, ApplyError> {
        self.run(&Command::Alarm(AlarmChange { action, kind, member: 1 }))
    }

    /// The member finds its space to be so; whether its alarm stands then.
    fn report(&mut self, quota: u64, wanted: u64) -> bool {
        let report = SpaceReport { member: 1, quota, wanted, disk_low: false };
        self.run(&Command::SpaceReport(report)).unwrap();
        !self.store.reader().alarms().is_empty()
    }

    fn used(&self) -> u64 {
        self.store.used_bytes()
    }
}

fn key(key: &str) -> Key {
    Key::new(Bytes::from(key.to_owned())).unwrap()
}

fn single(name: &str) -> KeyRange {
    KeyRange::Single(key(name))
}

fn put(name: &str, value: &str) -> Put {
    Put::new(key(name), Bytes::from(value.to_owned()))
}

#[test]
fn a_version_counts_until_it_is_compacted_and_not_until_it_is_reclaimed() {
    let mut member = Member::new();
    let version = |length: u64| VERSION_SPACE + length;
    member.put("k", "1").unwrap();
    assert_eq!(member.used(), version(2));
    member.put("k", "22").unwrap();
    assert_eq!(member.used(), version(2) + version(3));
    member.delete("k").unwrap();
    assert_eq!(member.used(), version(2) + version(3) + version(1));
    // At revision 4 the key is gone, and history tells that it went there.
    member.compact(4).unwrap();
    assert_eq!(member.used(), version(1));
    member.put("other", "").unwrap();
    member.compact(5).unwrap();
    assert_eq!(member.used(), version(5));
    assert_eq!(member.engine.len(), 0, "nothing was even flushed");
}

/// faults.md §2 (43), and etcd's own answers: what frees space goes on, what takes it is refused
/// as a whole.
#[test]
fn without_space_reads_deletes_and_compactions_go_on() {
    let mut member = Member::new();
    for (name, value) in [("a", "1"), ("b", "2"), ("b", "3")] {
        member.put(name, value).unwrap();
    }
    member.run(&Command::LeaseGrant(LeaseGrant { id: 7, ttl: 9, ttl_min: 1 })).unwrap();
    member.alarm(AlarmAction::Activate, AlarmKind::NoSpace).unwrap();
    let delete = |name| Op::DeleteRange(DeleteRange::new(single(name)));
    let before = member.store.revision();
    assert_eq!(member.put("c", "4"), Err(ApplyError::NoSpace));
    assert_eq!(member.txn(vec![delete("a"), Op::Put(put("c", "4"))]), Err(ApplyError::NoSpace));
    let nested = Txn::new(vec![], vec![], vec![Op::Put(put("c", "4"))]).unwrap();
    assert_eq!(member.txn(vec![Op::Txn(nested)]), Err(ApplyError::NoSpace));
    let grant = Command::LeaseGrant(LeaseGrant { id: 8, ttl: 9, ttl_min: 1 });
    assert_eq!(member.run(&grant), Err(ApplyError::NoSpace));
    assert_eq!(member.store.revision(), before, "a refusal changes nothing");

    let answer =
        member.store.reader().range(&Caller::Internal, &Range::new(KeyRange::all())).unwrap();
    assert_eq!(answer.count, 2);
    member.delete("a").unwrap();
    member.txn(vec![delete("b")]).unwrap();
    member.run(&Command::LeaseRevoke { id: 7 }).unwrap();
    member.compact(member.store.revision().as_i64()).unwrap();
}

/// users.md row 1: delete and compact are enough. Neither defragmentation nor disarming is needed.
#[test]
fn the_alarm_of_a_quota_goes_when_space_is_free_again() {
    let mut member = Member::new();
    let value = "v".repeat(1000);
    for at in 0..10 {
        member.put(&format!("{at}"), &value).unwrap();
    }
    let quota = member.used();
    assert!(member.report(quota, 0));
    assert_eq!(member.put("more", ""), Err(ApplyError::NoSpace));
    for at in 0..5 {
        member.delete(&format!("{at}")).unwrap();
    }
    assert!(member.report(quota, 0), "history takes the space still");
    member.compact(member.store.revision().as_i64()).unwrap();
    assert!(!member.report(quota, 0));
    member.put("more", "").unwrap();
}

#[test]
fn an_alarm_that_was_disarmed_is_raised_again_while_space_lacks() {
    let mut member = Member::new();
    member.put("k", "v").unwrap();
    assert!(member.report(10, 0));
    member.alarm(AlarmAction::Deactivate, AlarmKind::NoSpace).unwrap();
    member.put("k", "w").unwrap();
    assert!(member.report(10, 0));
    assert_eq!(member.put("k", "x"), Err(ApplyError::NoSpace));
}

#[test]
fn what_is_corrupt_changes_no_more() {
    let mut member = Member::new();
    member.put("k", "v").unwrap();
    member.alarm(AlarmAction::Activate, AlarmKind::Corrupt).unwrap();
    assert_eq!(member.put("k", "w"), Err(ApplyError::Corrupt));
    assert_eq!(member.delete("k"), Err(ApplyError::Corrupt));
    assert_eq!(member.compact(2), Err(ApplyError::Corrupt));
    assert_eq!(member.txn(vec![]), Err(ApplyError::Corrupt));
    member.store.reader().range(&Caller::Internal, &Range::new(KeyRange::all())).unwrap();
    assert!(!member.report(u64::MAX, 0) || member.put("k", "w") == Err(ApplyError::Corrupt));
    member.alarm(AlarmAction::Deactivate, AlarmKind::Corrupt).unwrap();
    member.put("k", "w").unwrap();
}

#[test]
fn alarms_outlive_the_process() {
    let mut member = Member::new();
    member.report(0, 0);
    member.alarm(AlarmAction::Activate, AlarmKind::Corrupt).unwrap();
    member.alarm(AlarmAction::Activate, AlarmKind::NoSpace).unwrap();
    member.alarm(AlarmAction::Deactivate, AlarmKind::Corrupt).unwrap();
    let alarms = member.store.reader().alarms();
    while member.flusher.flush(FlushLimits::default()).unwrap().more {}
    let member = Member::open(member.engine.fork());
    assert_eq!(member.store.reader().alarms(), alarms);
    let reasons = AlarmReasons { by_hand: true, quota: Some(0), disk: false };
    assert_eq!(alarms.iter().map(|alarm| alarm.reasons).collect::<Vec<_>>(), [reasons]);
}

#[test]
fn alarms_of_members_that_nobody_knows_are_bounded() {
    let mut member = Member::new();
    let action = AlarmAction::Activate;
    let change = |member| Command::Alarm(AlarmChange { action, kind: AlarmKind::NoSpace, member });
    for id in 0..u64::try_from(ALARMS_MAX).unwrap() {
        member.run(&change(id)).unwrap();
    }
    assert_eq!(member.run(&change(u64::MAX)), Err(ApplyError::TooManyAlarms));
    member.run(&change(3)).unwrap();
}

/// etcd #17780: a member that crashed in a compaction took its revision from the keys that were
/// left, so after the newest ones had been deleted it went down.
#[test]
fn a_crash_in_a_compaction_takes_no_revision_back() {
    let mut member = Member::new();
    for _ in 0..5 {
        member.put("k", "v").unwrap();
    }
    member.delete("k").unwrap();
    member.compact(7).unwrap();
    member.put("z", "").unwrap();
    member.delete("z").unwrap();
    member.compact(9).unwrap();
    let limits = FlushLimits { rows_max: 1, reclaim_max: 1, ..FlushLimits::default() };
    let mut last = Revision::FIRST;
    loop {
        let more = member.flusher.flush(limits).unwrap().more;
        let restarted = Member::open(member.engine.fork());
        let revision = restarted.store.revision();
        assert!(revision >= last, "{revision} after {last}");
        last = revision;
        if !more {
            break;
        }
    }
    assert_eq!(last, Revision::new(9));
    // The last deletion is all that is left, and history at its revision tells it.
    assert_eq!(member.engine.len(), 2);
}

/// etcd #18667: a transaction that reads at a compacted revision is refused as a whole, whether it
/// goes through the log or not, and leaves nothing behind.
#[test]
fn a_transaction_that_reads_a_compacted_revision_does_nothing() {
    let mut member = Member::new();
    for value in ["1", "2", "3"] {
        member.put("k", value).unwrap();
    }
    member.compact(3).unwrap();
    let old = || Op::Range(Range::new(single("k")).at(Revision::new(2)));
    let (requested, compacted) = (Revision::new(2), Revision::new(3));
    let refused = Err(ApplyError::Compacted { requested, compacted });
    assert_eq!(member.txn(vec![Op::Put(put("new", "")), old()]), refused);
    let nested = Txn::new(vec![], vec![old()], vec![]).unwrap();
    assert_eq!(member.txn(vec![Op::Put(put("new", "")), Op::Txn(nested)]), refused);
    assert_eq!(member.store.revision(), Revision::new(4));
    let read_only = Txn::new(vec![], vec![old()], vec![]).unwrap();
    assert!(matches!(
        member.store.reader().txn(&Caller::Internal, &read_only),
        Err(ReadTxnError::Read(ReadError::Compacted { .. }))
    ));
    member.txn(vec![Op::Range(Range::new(single("k")).at(compacted))]).unwrap();
}

/// A key that changed a million times is compacted in time linear to that: what goes is the front
/// of a queue. Counted in steps of the flusher and not in seconds.
#[test]
fn the_long_history_of_one_key_goes_in_slices() {
    let mut member = Member::new();
    let changes = 20_000;
    for _ in 0..changes {
        member.put("k", "").unwrap();
    }
    while member.flusher.flush(FlushLimits::default()).unwrap().more {}
    member.compact(changes + 1).unwrap();
    let limits = FlushLimits { reclaim_max: 500, ..FlushLimits::default() };
    let mut slices = 0;
    loop {
        let flushed = member.flusher.flush(limits).unwrap();
        assert!(flushed.reclaimed <= 500);
        slices += usize::from(flushed.reclaimed > 0);
        let done = flushed.reclaimed_below == Some(Revision::new(changes + 1));
        assert_eq!(done, !flushed.more);
        if done {
            break;
        }
    }
    assert_eq!(slices, 40);
    assert_eq!(member.engine.len(), 2);
}
