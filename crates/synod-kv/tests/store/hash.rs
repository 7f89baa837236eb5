//! The hash of what a store holds: of that, and not of the log that brought it there.

use bytes::Bytes;
use synod_kv::{
    AlarmAction, AlarmChange, AlarmKind, AuthCommand, Caller, Command, Compact, FlushLimits,
    Flusher, Key, LeaseGrant, LeaseIds, MemoryEngine, Put, Revision, Store,
};

struct Member {
    engine: MemoryEngine,
    store: Store<MemoryEngine>,
    flusher: Flusher<MemoryEngine>,
    time_ms: u64,
}

impl Member {
    fn new() -> Self {
        let engine = MemoryEngine::new();
        let (store, flusher) = Store::open(engine.clone()).unwrap();
        Self { engine, store, flusher, time_ms: 0 }
    }

    /// A slot with these commands; without any, as a leader's first one is.
    fn slot(&mut self, commands: &[Command]) {
        self.time_ms += 1;
        let slot = self.store.applied_slot();
        for command in commands {
            let reply = self.store.apply(slot, self.time_ms, &command.encode()).unwrap();
            reply.result.unwrap();
        }
        self.store.slot_applied(slot, self.time_ms, [slot, 1]);
    }

    fn restart(&mut self) {
        while self.flusher.flush(FlushLimits::default()).unwrap().more {}
        (self.store, self.flusher) = Store::open(self.engine.clone()).unwrap();
    }

    fn hash(&self) -> u32 {
        self.store.reader().hash(&Caller::Internal).unwrap().hash
    }
}

fn put(key: &'static str, value: &'static str) -> Command {
    let key = Key::new(Bytes::from_static(key.as_bytes())).unwrap();
    Command::Put(Put::new(key, Bytes::from_static(value.as_bytes())))
}

fn changes() -> Vec<Command> {
    let alarm = AlarmChange { action: AlarmAction::Activate, kind: AlarmKind::NoSpace, member: 7 };
    vec![
        put("a", "1"),
        put("a", "2"),
        put("b", "2"),
        Command::LeaseGrant(LeaseGrant { id: 5, ttl: 60, ttl_min: 1 }),
        Command::LeaseGrant(LeaseGrant { id: 6, ttl: 60, ttl_min: 1 }),
        Command::LeaseRevoke { id: 5 },
        Command::Auth(AuthCommand::UserAdd { name: "ann".to_owned(), password: None }),
        Command::Auth(AuthCommand::RoleAdd { name: "r".to_owned() }),
        Command::Alarm(alarm),
        Command::Compact(Compact { revision: Revision::new(3) }),
    ]
}

/// A new leader begins with a slot of its own, and a renewal changes no more than a deadline: etcd
/// has neither in its hash.
#[test]
fn what_changes_nothing_that_is_held_changes_no_hash() {
    let mut member = Member::new();
    changes().into_iter().for_each(|change| member.slot(&[change]));
    let hash = member.hash();
    member.slot(&[]);
    assert_eq!(member.hash(), hash, "an empty slot");
    member.slot(&[Command::LeaseKeepAlive { ids: LeaseIds::new(vec![6]).unwrap() }]);
    assert_eq!(member.hash(), hash, "a renewal");
    member.restart();
    assert_eq!(member.hash(), hash, "a restart");
    let mut other = Member::new();
    other.slot(&[]);
    other.slot(&changes());
    assert_eq!(other.hash(), hash, "another way to the same");
}

#[test]
fn whatever_is_held_counts() {
    let mut member = Member::new();
    let mut hashes = vec![member.hash()];
    for change in changes() {
        member.slot(std::slice::from_ref(&change));
        let hash = member.hash();
        assert!(!hashes.contains(&hash), "{change:?}");
        hashes.push(hash);
    }
}
