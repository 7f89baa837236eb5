//! What the store permits, against rules written down a second time, naively; and that what is
//! not permitted shows nothing.

use std::collections::BTreeSet;

use bytes::Bytes;
use proptest::prelude::*;
use synod_kv::{
    Access, ApplyError, Assign, AuthError, Caller, Command, Key, KeyRange, LeaseGrant, Op,
    Permission, Put, Range, ReadError, ReadTxnError, Txn,
};

use super::Member;
use crate::commands;

/// What a user may, looked up by going through it all.
#[derive(Clone, Debug)]
struct Rules(Vec<Permission>);

impl Rules {
    fn point(&self, write: bool, key: &[u8]) -> bool {
        self.0.iter().any(|held| {
            let kind = match held.access {
                Access::Read => !write,
                Access::Write => write,
                Access::ReadWrite => true,
            };
            kind && held.keys.contains(key)
        })
    }

    /// Each key at which something granted could end must be granted by something else.
    fn keys(&self, write: bool, keys: &KeyRange) -> bool {
        let mut points = BTreeSet::from([keys.start().as_bytes().to_vec()]);
        for held in &self.0 {
            match &held.keys {
                KeyRange::Single(key) => points.insert([key.as_bytes(), &b"\0"[..]].concat()),
                KeyRange::Between { end, .. } => points.insert(end.as_bytes().to_vec()),
                KeyRange::From(_) => false,
            };
        }
        let start = keys.start().as_bytes().to_vec();
        let within = |point: &&Vec<u8>| **point == start || keys.contains(point);
        points.iter().filter(within).all(|point| self.point(write, point))
    }

    fn put(&self, put: &Put, leased: &dyn Fn(i64) -> Vec<Bytes>) -> bool {
        let key = put.key.as_bytes();
        let lease = match put.lease {
            Assign::Set(lease) => leased(lease),
            Assign::Keep => vec![],
        };
        self.point(true, key)
            && (!put.prev_kv || self.point(false, key))
            && lease.iter().all(|key| self.point(true, key))
    }

    fn op(&self, op: &Op, leased: &dyn Fn(i64) -> Vec<Bytes>) -> bool {
        match op {
            Op::Range(range) => self.keys(false, &range.keys),
            Op::Put(put) => self.put(put, leased),
            Op::DeleteRange(delete) => {
                self.keys(true, &delete.keys) && (!delete.prev_kv || self.keys(false, &delete.keys))
            }
            Op::Txn(txn) => self.txn(txn, leased),
        }
    }

    fn txn(&self, txn: &Txn, leased: &dyn Fn(i64) -> Vec<Bytes>) -> bool {
        txn.compares().iter().all(|compare| self.keys(false, &compare.keys))
            && txn.success().iter().all(|op| self.op(op, leased))
            && txn.failure().iter().all(|op| self.op(op, leased))
    }

    fn command(&self, command: &Command, leased: &dyn Fn(i64) -> Vec<Bytes>) -> bool {
        let writable = |id: i64| leased(id).iter().all(|key| self.point(true, key));
        match command {
            Command::Put(put) => self.put(put, leased),
            Command::DeleteRange(delete) => self.op(&Op::DeleteRange(delete.clone()), leased),
            Command::Txn(txn) => self.txn(txn, leased),
            Command::LeaseGrant(_) => true,
            Command::LeaseRevoke { id } => writable(*id),
            Command::LeaseKeepAlive { ids } => ids.as_slice().iter().all(|id| writable(*id)),
            // What members do, and what root does.
            _ => false,
        }
    }
}

fn rules() -> impl Strategy<Value = Rules> {
    // As in etcd, the last permission for the same keys is the one that stands.
    prop::collection::vec(commands::permission(), 0..5).prop_map(|granted| {
        let mut rules: Vec<Permission> = Vec::new();
        for permission in granted {
            rules.retain(|held| held.keys != permission.keys);
            rules.push(permission);
        }
        Rules(rules)
    })
}

fn denied(error: &ApplyError) -> bool {
    matches!(error, ApplyError::Auth(AuthError::PermissionDenied))
}

/// A member with a user `ann`, and something in the store.
fn member(rules: &Rules, before: &[Command]) -> (Member, Caller) {
    let mut member = Member::new();
    member.user("ann", &rules.0);
    member.enable();
    for command in before {
        let _ = member.run(&Caller::Internal, command);
    }
    let ann = member.as_user("ann");
    (member, ann)
}

/// Keys of which ann may neither read nor write anything are not the same in both.
fn two_worlds(rules: &Rules) -> [Vec<Command>; 2] {
    let mut worlds = [vec![], vec![]];
    let universe = ["a", "aa", "ab", "b", "ba", "c", "d", "d\0", "e", "\u{7f}"];
    for (number, name) in universe.into_iter().enumerate() {
        let key = Key::new(Bytes::from_static(name.as_bytes())).unwrap();
        let put = |value: &'static [u8]| Command::Put(Put::new(key.clone(), value.into()));
        let delete =
            Command::DeleteRange(synod_kv::DeleteRange::new(KeyRange::Single(key.clone())));
        let secret = !rules.point(false, name.as_bytes()) && !rules.point(true, name.as_bytes());
        let [one, other] = &mut worlds;
        one.extend([put(b"x"), put(b"y")]);
        match (secret, number % 2) {
            (false, _) => other.extend([put(b"x"), put(b"y")]),
            (true, 0) => other.extend([put(b"z"), delete]),
            (true, _) => other.extend([put(b"secret"), put(b"longer secret")]),
        }
    }
    worlds
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn a_command_is_carried_out_exactly_if_the_rules_permit_it(
        rules in rules(),
        before in prop::collection::vec(commands::command(), 0..12),
        asked in prop::collection::vec(commands::command(), 1..8),
    ) {
        let (mut member, ann) = member(&rules, &before);
        for command in &asked {
            let reader = member.store.reader();
            let leased = |id: i64| {
                let lease = reader.lease(&Caller::Internal, id, true, 0).unwrap();
                lease.map_or_else(Vec::new, |lease| lease.keys)
            };
            let allowed = rules.command(command, &leased);
            let revision = member.store.revision();
            match member.run(&ann, command) {
                Err(error) if denied(&error) => {
                    prop_assert!(!allowed, "denied: {:?}", command);
                    prop_assert_eq!(member.store.revision(), revision);
                }
                _ => prop_assert!(allowed, "carried out: {:?}", command),
            }
        }
    }

    #[test]
    fn a_read_is_answered_exactly_if_the_rules_permit_it(
        rules in rules(),
        ranges in prop::collection::vec(commands::range(), 1..12),
        txns in prop::collection::vec(commands::txn(), 1..8),
    ) {
        let (member, ann) = member(&rules, &[]);
        let reader = member.store.reader();
        for range in &ranges {
            let answer = reader.range(&ann, range);
            let is_denied = matches!(answer, Err(ReadError::Denied(_)));
            prop_assert_eq!(!is_denied, rules.keys(false, &range.keys), "{:?}", range);
        }
        for txn in txns.iter().filter(|txn| txn.is_read_only()) {
            let answer = reader.txn(&ann, txn);
            let is_denied = matches!(answer, Err(ReadTxnError::Read(ReadError::Denied(_))));
            prop_assert_eq!(!is_denied, rules.txn(txn, &|_| vec![]), "{:?}", txn);
        }
    }

    /// Two members differ only in keys that ann may neither read nor write: ann cannot tell them
    /// apart, whatever she asks.
    #[test]
    fn what_is_not_permitted_does_not_show(
        rules in rules(),
        asked in prop::collection::vec(commands::command(), 1..10),
        ranges in prop::collection::vec(commands::range(), 0..6),
    ) {
        let worlds = two_worlds(&rules);
        let [mut one, mut other] = worlds.map(|before| member(&rules, &before).0);
        let ann = one.as_user("ann");
        for range in &ranges {
            let tell = |member: &Member| format!("{:?}", member.store.reader().range(&ann, range));
            prop_assert_eq!(tell(&one), tell(&other), "{:?}", range);
        }
        for command in asked {
            // An id that the store chooses comes from the digest, which is of all keys.
            if matches!(command, Command::LeaseGrant(LeaseGrant { id: 0, .. })) {
                continue;
            }
            let (first, second) = (one.reply(&ann, &command), other.reply(&ann, &command));
            prop_assert_eq!(first, second, "{:?}", command);
        }
    }
}

#[test]
fn an_empty_transaction_is_for_users() {
    let (member, ann) = member(&Rules(vec![]), &[]);
    let reader = member.store.reader();
    assert!(reader.txn(&ann, &Txn::default()).is_ok());
    assert!(reader.txn(&Caller::Anonymous, &Txn::default()).is_err());
    assert!(reader.range(&ann, &Range::new(KeyRange::all())).is_err());
}
