//! Random commands, over few keys so that they meet.

use bytes::Bytes;
use proptest::prelude::*;
use synod_kv::{
    Access, AlarmAction, AlarmChange, AlarmKind, Assign, AuthCommand, Bounds, Caller, Command,
    Compact, Compare, Comparison, DeleteRange, Identity, Key, KeyRange, LEASE_TTL_MAX, LeaseExpire,
    LeaseGrant, LeaseIds, Op, PasswordHash, Permission, Put, Range, Revision, Sort, SortOrder,
    SortTarget, SpaceReport, Target, TokenSecret, Txn,
};

/// A few short keys, so that commands meet.
pub(crate) fn key() -> impl Strategy<Value = Key> {
    prop::sample::select(vec!["a", "aa", "ab", "b", "ba", "c", "d", "d\0", "e", "\u{7f}"])
        .prop_map(|key| Key::new(Bytes::from_static(key.as_bytes())).unwrap())
}

pub(crate) fn keys() -> impl Strategy<Value = KeyRange> {
    prop_oneof![
        4 => key().prop_map(KeyRange::Single),
        4 => (key(), key()).prop_map(|(start, end)| KeyRange::Between { start, end }),
        1 => key().prop_map(KeyRange::From),
        1 => Just(KeyRange::all()),
    ]
}

pub(crate) fn value() -> impl Strategy<Value = Bytes> {
    prop_oneof![
        4 => "[x-z]{0,2}".prop_map(Bytes::from),
        1 => prop::collection::vec(any::<u8>(), 0..40).prop_map(Bytes::from),
    ]
}

fn assign<T: Clone + std::fmt::Debug>(
    set: impl Strategy<Value = T>,
) -> impl Strategy<Value = Assign<T>> {
    (set, 0..8u8).prop_map(|(set, keep)| if keep == 0 { Assign::Keep } else { Assign::Set(set) })
}

pub(crate) fn put() -> impl Strategy<Value = Put> {
    let lease = prop_oneof![12 => Just(0), 3 => lease()];
    (key(), assign(value()), assign(lease), any::<bool>())
        .prop_map(|(key, value, lease, prev_kv)| Put { key, value, lease, prev_kv })
}

pub(crate) fn delete() -> impl Strategy<Value = DeleteRange> {
    (keys(), any::<bool>()).prop_map(|(keys, prev_kv)| DeleteRange { keys, prev_kv })
}

/// Revisions around those a short run reaches.
pub(crate) fn revision() -> impl Strategy<Value = Revision> {
    (-2..60i64).prop_map(Revision::new)
}

pub(crate) fn range() -> impl Strategy<Value = Range> {
    let order = prop::sample::select(vec![SortOrder::None, SortOrder::Ascend, SortOrder::Descend]);
    let target = prop::sample::select(vec![
        SortTarget::Key,
        SortTarget::Version,
        SortTarget::Create,
        SortTarget::Mod,
        SortTarget::Value,
    ]);
    let bound = || prop::option::weighted(0.15, revision());
    let bounds = (bound(), bound(), bound(), bound()).prop_map(|(a, b, c, d)| Bounds {
        min_mod: a,
        max_mod: b,
        min_create: c,
        max_create: d,
    });
    (
        keys(),
        0..5u64,
        prop::option::weighted(0.3, revision()),
        (order, target),
        prop::bool::weighted(0.2),
        prop::bool::weighted(0.2),
        bounds,
    )
        .prop_map(|(keys, limit, revision, (order, target), keys_only, count_only, bounds)| {
            let sort = Sort { order, target };
            Range {
                revision,
                sort,
                keys_only,
                count_only,
                bounds,
                ..Range::new(keys).limited(limit)
            }
        })
}

pub(crate) fn compare() -> impl Strategy<Value = Compare> {
    let comparison = prop::sample::select(vec![
        Comparison::Equal,
        Comparison::Greater,
        Comparison::Less,
        Comparison::NotEqual,
    ]);
    let target = prop_oneof![
        (0..3i64).prop_map(Target::Version),
        (0..40i64).prop_map(Target::Create),
        (0..40i64).prop_map(Target::Mod),
        (0..2i64).prop_map(Target::Lease),
        value().prop_map(Target::Value),
    ];
    (keys(), comparison, target).prop_map(|(keys, comparison, target)| Compare {
        keys,
        comparison,
        target,
    })
}

/// Transactions three deep. Those that the constructor refuses lose their writes.
pub(crate) fn txn() -> impl Strategy<Value = Txn> {
    let compares = || prop::collection::vec(compare(), 0..2);
    let op = prop_oneof![
        3 => range().prop_map(Op::Range),
        3 => put().prop_map(Op::Put),
        2 => delete().prop_map(Op::DeleteRange),
    ];
    let leaf =
        (compares(), prop::collection::vec(op.clone(), 0..4), prop::collection::vec(op, 0..4))
            .prop_map(|(compares, success, failure)| new_txn(compares, success, failure));
    leaf.prop_recursive(2, 12, 3, move |inner| {
        let op = prop_oneof![
            1 => range().prop_map(Op::Range),
            1 => put().prop_map(Op::Put),
            1 => delete().prop_map(Op::DeleteRange),
            2 => inner.prop_map(Op::Txn),
        ];
        let branch = || prop::collection::vec(op.clone(), 0..4);
        (compares(), branch(), branch())
            .prop_map(|(compares, success, failure)| new_txn(compares, success, failure))
    })
}

fn new_txn(compares: Vec<Compare>, success: Vec<Op>, failure: Vec<Op>) -> Txn {
    let calm = |ops: &[Op]| -> Vec<Op> {
        ops.iter().filter(|op| !matches!(op, Op::Put(_) | Op::Txn(_))).cloned().collect()
    };
    let (quiet_success, quiet_failure) = (calm(&success), calm(&failure));
    Txn::new(compares.clone(), success, failure)
        .or_else(|_| Txn::new(compares, quiet_success, quiet_failure))
        .expect("ranges and deletes never conflict")
}

/// A few leases, so that keys meet on them.
pub(crate) fn lease() -> impl Strategy<Value = i64> {
    prop::sample::select(vec![1, 1, 1, 2, -7, i64::MIN])
}

fn lease_ids() -> impl Strategy<Value = LeaseIds> {
    let id = prop_oneof![9 => lease(), 1 => Just(0)];
    prop::collection::vec(id, 0..4).prop_map(|ids| LeaseIds::new(ids).unwrap())
}

/// TTLs are short, but for some that are out of bounds.
fn grant() -> impl Strategy<Value = LeaseGrant> {
    let id = prop_oneof![6 => lease(), 1 => Just(0)];
    let odd = vec![i64::MIN, -1, 0, LEASE_TTL_MAX, LEASE_TTL_MAX + 1, i64::MAX];
    let ttl = prop_oneof![6 => 1..5i64, 1 => prop::sample::select(odd)];
    (id, ttl, 0..3u32).prop_map(|(id, ttl, ttl_min)| LeaseGrant { id, ttl, ttl_min })
}

pub(crate) fn lease_command() -> impl Strategy<Value = Command> {
    prop_oneof![
        8 => grant().prop_map(Command::LeaseGrant),
        1 => lease().prop_map(|id| Command::LeaseRevoke { id }),
        2 => lease_ids().prop_map(|ids| Command::LeaseKeepAlive { ids }),
        2 => (lease_ids(), any::<(u64, u64)>())
            .prop_map(|(ids, by)| Command::LeaseExpire(LeaseExpire { ids, by })),
    ]
}

pub(crate) fn caller() -> impl Strategy<Value = Caller> {
    let issued = prop::option::of(any::<u64>());
    let user = (name(), issued).prop_map(|(name, issued)| Identity { name, issued });
    prop_oneof![Just(Caller::Anonymous), Just(Caller::Internal), user.prop_map(Caller::User)]
}

pub(crate) fn name() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["", "root", "ann", "bob", "größe"]).prop_map(str::to_owned)
}

pub(crate) fn permission() -> impl Strategy<Value = Permission> {
    let access = prop::sample::select(vec![Access::Read, Access::Write, Access::ReadWrite]);
    (access, keys()).prop_filter_map("no key", |(access, keys)| Permission::new(access, keys))
}

fn hash() -> impl Strategy<Value = PasswordHash> {
    value().prop_map(PasswordHash)
}

pub(crate) fn auth_command() -> impl Strategy<Value = AuthCommand> {
    prop_oneof![
        any::<[u8; 32]>().prop_map(|secret| AuthCommand::Enable { secret: TokenSecret(secret) }),
        Just(AuthCommand::Disable),
        (name(), prop::option::of(hash()))
            .prop_map(|(name, password)| AuthCommand::UserAdd { name, password }),
        name().prop_map(|name| AuthCommand::UserDelete { name }),
        (name(), hash())
            .prop_map(|(name, password)| AuthCommand::UserChangePassword { name, password }),
        (name(), name()).prop_map(|(user, role)| AuthCommand::UserGrantRole { user, role }),
        (name(), name()).prop_map(|(user, role)| AuthCommand::UserRevokeRole { user, role }),
        name().prop_map(|name| AuthCommand::RoleAdd { name }),
        name().prop_map(|name| AuthCommand::RoleDelete { name }),
        (name(), permission())
            .prop_map(|(role, permission)| AuthCommand::RoleGrantPermission { role, permission }),
        (name(), prop::option::of(keys()))
            .prop_map(|(role, keys)| AuthCommand::RoleRevokePermission { role, keys }),
    ]
}

/// Commands of every kind; the model knows those of [`command`].
pub(crate) fn any_command() -> impl Strategy<Value = Command> {
    prop_oneof![2 => command(), 1 => auth_command().prop_map(Command::Auth)]
}

/// Alarms of a few members; most are cleared, so that runs do not end in refusals.
pub(crate) fn alarm_command() -> impl Strategy<Value = Command> {
    let kind = prop_oneof![3 => Just(AlarmKind::NoSpace), 1 => Just(AlarmKind::Corrupt)];
    let action = prop_oneof![1 => Just(AlarmAction::Activate), 3 => Just(AlarmAction::Deactivate)];
    let change = (action, kind, 1..3u64).prop_map(|(action, kind, member)| AlarmChange {
        action,
        kind,
        member,
    });
    let quota = prop_oneof![4 => 0..6000u64, 2 => Just(u64::MAX)];
    let report = (1..3u64, quota, 0..300u64, prop::bool::weighted(0.1)).prop_map(
        |(member, quota, wanted, disk_low)| SpaceReport { member, quota, wanted, disk_low },
    );
    prop_oneof![2 => change.prop_map(Command::Alarm), 3 => report.prop_map(Command::SpaceReport)]
}

pub(crate) fn command() -> impl Strategy<Value = Command> {
    prop_oneof![
        8 => put().prop_map(Command::Put),
        3 => delete().prop_map(Command::DeleteRange),
        5 => txn().prop_map(Command::Txn),
        6 => lease_command(),
        1 => alarm_command(),
        1 => revision().prop_map(|revision| Command::Compact(Compact { revision })),
    ]
}
