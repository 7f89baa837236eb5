//! Leases, one situation each. The first test holds answers taken from an etcd 3.4.23; others
//! carry what went wrong in etcd at some time.

use bytes::Bytes;
use synod_kv::{
    ApplyError, Assign, Caller, Command, DecodeError, Engine, Event, FlushLimits, Flusher,
    HistoryLimits, Key, KeyRange, LEASE_IDS_MAX, LEASE_TTL_MAX, LeaseExpire, LeaseExpireResponse,
    LeaseGrant, LeaseGrantResponse, LeaseIds, LeaseRevokeResponse, MemoryEngine, Op, Put, Range,
    Response, Revision, RowError, StorageError, Store, TooManyLeases, Txn, WriteBatch,
};

/// A member that takes one command per slot, at the log time of the test.
struct Member {
    engine: MemoryEngine,
    store: Store<MemoryEngine>,
    flusher: Flusher<MemoryEngine>,
    now: u64,
}

impl Member {
    fn new() -> Self {
        Self::open(MemoryEngine::new())
    }

    fn open(engine: MemoryEngine) -> Self {
        let (store, flusher) = Store::open(engine.clone()).unwrap();
        let now = store.time_ms();
        Self { engine, store, flusher, now }
    }

    /// The same member after everything was flushed and its process began anew.
    fn restarted(mut self) -> Self {
        while self.flusher.flush(FlushLimits::default()).unwrap().more {}
        Self::open(self.engine.fork())
    }

    fn run(&mut self, command: &Command) -> Result<Response, ApplyError> {
        let slot = self.store.applied_slot();
        let reply = self.store.apply(slot, self.now, &command.encode()).unwrap();
        self.store.slot_applied(slot, self.now, [0; 2]);
        reply.result
    }

    fn grant(&mut self, id: i64, ttl: i64) -> Result<(i64, i64), ApplyError> {
        let grant = LeaseGrant { id, ttl, ttl_min: 2 };
        self.run(&Command::LeaseGrant(grant)).map(|response| match response {
            Response::LeaseGrant(LeaseGrantResponse { id, ttl }) => (id, ttl),
            other => panic!("{other:?}"),
        })
    }

    fn keep_alive(&mut self, ids: &[i64]) -> Vec<i64> {
        match self.run(&Command::LeaseKeepAlive { ids: lease_ids(ids) }) {
            Ok(Response::LeaseKeepAlive(response)) => response.ttls,
            other => panic!("{other:?}"),
        }
    }

    fn expire(&mut self, ids: &[i64]) -> LeaseExpireResponse {
        let expire = LeaseExpire { ids: lease_ids(ids), by: (3, 1) };
        match self.run(&Command::LeaseExpire(expire)) {
            Ok(Response::LeaseExpire(response)) => response,
            other => panic!("{other:?}"),
        }
    }

    fn revoke(&mut self, id: i64) -> Result<LeaseRevokeResponse, ApplyError> {
        self.run(&Command::LeaseRevoke { id }).map(|response| match response {
            Response::LeaseRevoke(response) => response,
            other => panic!("{other:?}"),
        })
    }

    fn put(&mut self, key: &'static str, lease: Assign<i64>) -> Result<(), ApplyError> {
        self.run(&Command::Put(put(key, lease))).map(drop)
    }

    fn keys_of(&self, id: i64) -> Vec<Bytes> {
        self.store.reader().lease(&Caller::Internal, id, true, self.now).unwrap().unwrap().keys
    }

    fn remaining(&self, id: i64) -> Option<u64> {
        self.store
            .reader()
            .lease(&Caller::Internal, id, false, self.now)
            .unwrap()
            .map(|lease| lease.remaining_ms)
    }

    fn live_keys(&self) -> u64 {
        self.store.reader().sizes().unwrap().live_keys
    }
}

fn lease_ids(ids: &[i64]) -> LeaseIds {
    LeaseIds::new(ids.to_vec()).unwrap()
}

fn put(key: &'static str, lease: Assign<i64>) -> Put {
    Put { lease, ..Put::new(Key::new(Bytes::from(key)).unwrap(), Bytes::from("v")) }
}

fn not_found<T>(lease: i64) -> Result<T, ApplyError> {
    Err(ApplyError::LeaseNotFound { lease })
}

#[test]
fn answers_as_etcd_does() {
    let mut etcd = Member::new();
    assert_eq!(etcd.grant(5, 0), Ok((5, 2)));
    assert_eq!(etcd.grant(6, -5), Ok((6, 2)));
    assert_eq!(etcd.grant(-7, 1), Ok((-7, 2)));
    assert_eq!(etcd.grant(-8, 100), Ok((-8, 100)));
    assert_eq!(etcd.store.reader().leases(&Caller::Internal).unwrap(), [5, 6, -7, -8]);
    etcd.now += 1000;
    assert_eq!(etcd.put("a", Assign::Set(-8)), Ok(()));
    assert_eq!(etcd.put("a", Assign::Set(99)), not_found(99));
    assert_eq!((etcd.keys_of(-8), etcd.remaining(-8)), (vec![Bytes::from("a")], Some(99_000)));
    assert_eq!(etcd.grant(-8, 100), Err(ApplyError::LeaseExists { lease: -8 }));
    assert_eq!(etcd.grant(10, LEASE_TTL_MAX), Ok((10, LEASE_TTL_MAX)));
    let too_large = Err(ApplyError::LeaseTtlTooLarge { ttl: LEASE_TTL_MAX + 1 });
    assert_eq!(etcd.grant(11, LEASE_TTL_MAX + 1), too_large);
    assert_eq!(etcd.grant(10, LEASE_TTL_MAX + 1), too_large);
    assert_eq!(etcd.revoke(0), not_found(0));
    assert_eq!(etcd.revoke(77), not_found(77));
    assert_eq!(etcd.store.revision(), Revision::new(2));
    let revoked = LeaseRevokeResponse { revision: Revision::new(3), deleted: 1 };
    assert_eq!(etcd.revoke(-8), Ok(revoked));
    assert_eq!((etcd.live_keys(), etcd.remaining(-8)), (0, None));
    assert_eq!(etcd.keep_alive(&[77, 10, 0]), [0, LEASE_TTL_MAX, 0]);
    let revoked = LeaseRevokeResponse { revision: Revision::new(3), deleted: 0 };
    assert_eq!(etcd.revoke(10), Ok(revoked), "without keys there is no revision");
}

#[test]
fn a_put_moves_its_key_to_its_lease_and_away_from_the_former_one() {
    let mut member = Member::new();
    for id in [1, 2] {
        member.grant(id, 50).unwrap();
    }
    let both = |member: &Member| [1, 2].map(|id| member.keys_of(id).len());
    member.put("a", Assign::Set(1)).unwrap();
    member.put("b", Assign::Set(1)).unwrap();
    assert_eq!(both(&member), [2, 0]);
    member.put("a", Assign::Set(2)).unwrap();
    assert_eq!(both(&member), [1, 1]);
    member.put("a", Assign::Keep).unwrap();
    assert_eq!(both(&member), [1, 1]);
    member.put("a", Assign::Set(0)).unwrap();
    assert_eq!(both(&member), [1, 0]);
    let key = KeyRange::Single(Key::new(Bytes::from("b")).unwrap());
    member.run(&Command::DeleteRange(synod_kv::DeleteRange::new(key))).unwrap();
    assert_eq!(both(&member), [0, 0]);
    member.revoke(1).unwrap();
    assert_eq!(member.live_keys(), 1);
}

#[test]
fn a_txn_with_one_unknown_lease_attaches_nothing() {
    let mut member = Member::new();
    member.grant(20, 50).unwrap();
    let puts = vec![Op::Put(put("c", Assign::Set(20))), Op::Put(put("d", Assign::Set(98)))];
    let txn = Txn::new(vec![], puts, vec![]).unwrap();
    assert_eq!(member.run(&Command::Txn(txn)), not_found(98));
    assert_eq!((member.keys_of(20).len(), member.live_keys()), (0, 0));
}

#[test]
fn the_keys_of_what_ends_together_go_in_one_revision() {
    let mut member = Member::new();
    for (id, key) in [(1, "b"), (2, "c"), (1, "a")] {
        let _exists_already = member.grant(id, 2);
        member.put(key, Assign::Set(id)).unwrap();
    }
    let before = member.store.revision();
    member.now += 2000;
    let ended = member.expire(&[1, 2]);
    let expected = LeaseExpireResponse { revision: before.next(), expired: vec![1, 2], deleted: 3 };
    assert_eq!(ended, expected);
    let history = member
        .store
        .reader()
        .history(&Caller::Internal, before.next(), HistoryLimits::default())
        .unwrap();
    let told = history.events.iter().map(|event| match event {
        Event::Delete(kv) => (kv.key.as_ref(), kv.mod_revision),
        Event::Put(_) => panic!("{event:?}"),
    });
    let keys: [&[u8]; 3] = [b"a", b"b", b"c"];
    assert!(told.eq(keys.map(|key| (key, before.next()))), "{history:?}");
}

/// etcd #15247: a leader that hung revoked, once it woke, what had been renewed meanwhile.
#[test]
fn a_stale_leader_ends_no_lease_that_was_renewed() {
    let mut member = Member::new();
    for id in [1, 2] {
        member.grant(id, 2).unwrap();
    }
    member.put("a", Assign::Set(1)).unwrap();
    member.now += 1999;
    let seen_by_the_old_leader = member.store.reader().leases_due(member.now + 1, 9, 9);
    assert_eq!(seen_by_the_old_leader, [1, 2]);
    assert_eq!(member.keep_alive(&[1]), [2]);
    member.now += 1;
    assert_eq!(member.expire(&seen_by_the_old_leader).expired, [2]);
    assert_eq!((member.live_keys(), member.remaining(1)), (1, Some(1999)));
}

/// etcd #9395, #13294: each new leader gave all leases their whole TTL again.
#[test]
fn neither_a_restart_nor_another_leaders_clock_moves_a_deadline() {
    let mut member = Member::new();
    member.now = 1_000_000;
    member.grant(1, 10).unwrap();
    member.now += 4000;
    member.put("a", Assign::Set(1)).unwrap();
    let mut member = member.restarted();
    assert_eq!((member.now, member.remaining(1)), (1_004_000, Some(6000)));
    member.now = 500;
    member.put("b", Assign::Set(1)).unwrap();
    assert_eq!(member.store.time_ms(), 1_004_000, "log time never goes back");
    assert_eq!(member.expire(&[1]).expired, []);
    assert_eq!(member.store.reader().next_lease_due(), Some(1_010_000));
}

/// etcd 3.5.23: a renewal of a lease that was over succeeded.
#[test]
fn a_lease_that_is_over_is_not_renewed_nor_attached_to() {
    let mut member = Member::new();
    member.grant(1, 2).unwrap();
    member.put("a", Assign::Set(1)).unwrap();
    member.now += 2000;
    assert_eq!(member.keep_alive(&[1]), [0]);
    assert_eq!(member.put("b", Assign::Set(1)), not_found(1));
    assert_eq!(member.grant(1, 9), Err(ApplyError::LeaseExists { lease: 1 }), "not ended yet");
    assert_eq!(member.put("a", Assign::Keep), Ok(()), "keeping it changes nothing");
    assert_eq!((member.remaining(1), member.live_keys()), (Some(0), 1));
    assert_eq!(member.expire(&[1]).deleted, 1);
    assert_eq!(member.grant(1, 9), Ok((1, 9)));
    assert_eq!(member.keys_of(1).len(), 0);
}

/// etcd 3.4: leases with negative ids were granted, and lost by a restart.
#[test]
fn leases_of_any_id_survive_a_restart() {
    let mut member = Member::new();
    let ids = [i64::MIN, -1, 1, i64::MAX];
    for id in ids {
        member.grant(id, 50).unwrap();
    }
    member.put("a", Assign::Set(i64::MIN)).unwrap();
    member.put("b", Assign::Set(1)).unwrap();
    member.put("b", Assign::Set(-1)).unwrap();
    member.revoke(1).unwrap();
    let mut member = member.restarted();
    assert_eq!(member.store.reader().leases(&Caller::Internal).unwrap(), [i64::MIN, -1, i64::MAX]);
    assert_eq!([i64::MIN, -1, i64::MAX].map(|id| member.keys_of(id).len()), [1, 1, 0]);
    assert_eq!(member.revoke(-1).unwrap().deleted, 1);
}

#[test]
fn chosen_ids_are_positive_and_the_same_on_every_member() {
    let choose = || {
        let mut member = Member::new();
        let ids: Vec<i64> = (0..100).map(|_| member.grant(0, 9).unwrap().0).collect();
        ids
    };
    let (mut one, other) = (choose(), choose());
    assert_eq!(one, other);
    assert!(one.iter().all(|id| *id > 0), "{one:?}");
    one.sort_unstable();
    one.dedup();
    assert_eq!(one.len(), 100);
}

#[test]
fn what_is_due_ends_in_the_order_of_deadlines_a_bounded_number_at_a_time() {
    let mut member = Member::new();
    for id in 1..=1000 {
        member.grant(id, 2 + (id * 7919) % 100).unwrap();
    }
    let reader = member.store.reader();
    let mut ended = Vec::new();
    while let Some(next) = reader.next_lease_due() {
        assert!(reader.leases_due(next - 1, 64, 64).is_empty());
        member.now = next.max(member.now + 1);
        let due = reader.leases_due(member.now, 64, 64);
        assert!((1..=64).contains(&due.len()));
        ended.extend(member.expire(&due).expired);
    }
    assert!(ended.is_sorted_by_key(|id| (id * 7919) % 100), "{ended:?}");
    assert_eq!(ended.len(), 1000);
}

/// Ten thousand renewals between two flushes are one row.
#[test]
fn only_the_last_renewal_before_a_flush_is_written() {
    let mut member = Member::new();
    member.grant(1, 9).unwrap();
    member.grant(2, 9).unwrap();
    for _ in 0..1000 {
        member.now += 1;
        member.keep_alive(&[1; 10]);
    }
    assert!(member.store.overlay_bytes() > 0);
    member.revoke(2).unwrap();
    let limits = FlushLimits { rows_max: usize::MAX, ..FlushLimits::default() };
    assert!(!member.flusher.flush(limits).unwrap().more);
    assert_eq!((member.engine.len(), member.store.overlay_bytes()), (2, 0), "metadata and lease 1");
}

#[test]
fn golden_commands() {
    let grant = LeaseGrant { id: -2, ttl: 258, ttl_min: 5 };
    let expire = LeaseExpire { ids: lease_ids(&[1]), by: (7, 8) };
    let expected: [(Command, &[&[u8]]); 4] = [
        (
            Command::LeaseGrant(grant),
            &[
                &[1, 6],
                &[254, 255, 255, 255, 255, 255, 255, 255],
                &[2, 1, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0],
            ],
        ),
        (Command::LeaseRevoke { id: 3 }, &[&[1, 7, 3, 0, 0, 0, 0, 0, 0, 0]]),
        (
            Command::LeaseKeepAlive { ids: lease_ids(&[4]) },
            &[&[1, 8, 1, 0, 0, 0], &[4, 0, 0, 0, 0, 0, 0, 0]],
        ),
        (
            Command::LeaseExpire(expire),
            &[
                &[1, 9],
                &[7, 0, 0, 0, 0, 0, 0, 0],
                &[8, 0, 0, 0, 0, 0, 0, 0],
                &[1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0],
            ],
        ),
    ];
    for (command, bytes) in expected {
        assert_eq!(command.encode(), bytes.concat(), "{command:?}");
    }
}

#[test]
fn a_command_names_a_bounded_number_of_leases() {
    let many = |count| LeaseIds::new(vec![1; count]);
    assert!(many(LEASE_IDS_MAX).is_ok());
    let count = LEASE_IDS_MAX + 1;
    assert_eq!(many(count), Err(TooManyLeases { count }));
    let mut bytes = vec![1, 8];
    bytes.extend(u32::try_from(count).unwrap().to_le_bytes());
    let decoded = Command::decode(&Bytes::from(bytes));
    assert_eq!(decoded, Err(DecodeError::Leases(TooManyLeases { count })));
}

#[test]
fn golden_row() {
    let mut member = Member::new();
    member.now = 1000;
    member.grant(-1, 2).unwrap();
    let member = member.restarted();
    let row = member.engine.get(&[b'l', 255, 255, 255, 255, 255, 255, 255, 255]).unwrap();
    let expected = [1, 2, 0, 0, 0, 0, 0, 0, 0, 0xb8, 0x0b, 0, 0, 0, 0, 0, 0];
    assert_eq!(row.as_deref(), Some(expected.as_slice()));
}

/// What the engine holds is not believed: a lease's row that makes no sense, or is missing, ends
/// the member before it serves.
#[test]
fn damaged_rows_are_found_when_the_store_is_opened() {
    let mut member = Member::new();
    member.grant(1, 2).unwrap();
    member.put("a", Assign::Set(1)).unwrap();
    let engine = member.restarted().engine;
    let id = Bytes::from_static(&[b'l', 0, 0, 0, 0, 0, 0, 0, 1]);
    let sound = engine.get(&id).unwrap().unwrap();
    let open = |key: Bytes, value: Vec<u8>| {
        let engine = engine.fork();
        let puts = vec![(key, Bytes::from(value))];
        engine.write(WriteBatch { puts, ..WriteBatch::default() }).unwrap();
        Store::open(engine).map(drop)
    };
    assert!(open(id.clone(), sound.to_vec()).is_ok());
    let ttl_of_zero = [&[1], [0; 8].as_slice(), &sound[9..]].concat();
    let table = [
        (id.clone(), sound[..16].to_vec()),
        (id.clone(), [&sound, [0].as_slice()].concat()),
        (id.clone(), ttl_of_zero),
        (id.slice(..8), sound.to_vec()),
        (Bytes::from_static(&[b'l', 0, 0, 0, 0, 0, 0, 0, 0]), sound.to_vec()),
    ];
    for (key, value) in table {
        let opened = open(key.clone(), value.clone());
        let damaged = matches!(opened, Err(StorageError::Row(RowError::Damaged)));
        assert!(damaged, "{key:?} {value:?}: {opened:?}");
    }
    let engine = engine.fork();
    engine.write(WriteBatch { deletes: vec![id], ..WriteBatch::default() }).unwrap();
    let opened = Store::open(engine).map(drop);
    let missing = matches!(opened, Err(StorageError::MissingLease { keys: 1, attached: 0 }));
    assert!(missing, "{opened:?}");
}

/// More keys than a reader takes per lock.
#[test]
fn a_lease_tells_all_its_keys() {
    let mut member = Member::new();
    member.grant(1, 50).unwrap();
    let key = |number: u32| Bytes::from(format!("{number:05}"));
    for number in 0..2000 {
        let put = Put::new(Key::new(key(number)).unwrap(), Bytes::new());
        member.run(&Command::Put(Put { lease: Assign::Set(1), ..put })).unwrap();
    }
    assert!(member.keys_of(1).into_iter().eq((0..2000).map(key)));
    assert_eq!(member.revoke(1).unwrap().deleted, 2000);
    let all = member.store.reader().range(&Caller::Internal, &Range::new(KeyRange::all())).unwrap();
    assert_eq!(all.count, 0);
}
