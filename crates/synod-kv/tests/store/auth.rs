//! Users, roles and permissions, one situation each; then against an oracle that is written from
//! the rules alone.

mod property;

use bytes::Bytes;
use synod_kv::{
    Access, ApplyError, Assign, AuthCommand, AuthError, AuthStatus, Caller, Command, Compact,
    FlushLimits, Flusher, Identity, Key, KeyRange, LeaseExpire, LeaseGrant, LeaseIds, MemoryEngine,
    Need, Op, PasswordHash, Permission, Put, Range, ReadError, Reader, Reply, Response, Revision,
    Store, TokenSecret, Txn,
};

/// A member that takes one command per slot.
pub(crate) struct Member {
    engine: MemoryEngine,
    pub(crate) store: Store<MemoryEngine>,
    flusher: Flusher<MemoryEngine>,
}

impl Member {
    pub(crate) fn new() -> Self {
        Self::open(MemoryEngine::new())
    }

    fn open(engine: MemoryEngine) -> Self {
        let (store, flusher) = Store::open(engine.clone()).unwrap();
        Self { engine, store, flusher }
    }

    /// The same member after everything was flushed and its process began anew.
    fn restarted(mut self) -> Self {
        while self.flusher.flush(FlushLimits::default()).unwrap().more {}
        Self::open(self.engine.fork())
    }

    pub(crate) fn reply(&mut self, caller: &Caller, command: &Command) -> Reply {
        let slot = self.store.applied_slot();
        let reply = self.store.apply(slot, 0, &command.encode_for(caller)).unwrap();
        self.store.slot_applied(slot, 0, [0; 2]);
        reply
    }

    pub(crate) fn run(
        &mut self,
        caller: &Caller,
        command: &Command,
    ) -> Result<Response, ApplyError> {
        self.reply(caller, command).result
    }

    pub(crate) fn auth(&mut self, command: AuthCommand) -> Result<(), AuthError> {
        match self.run(&Caller::Internal, &Command::Auth(command)) {
            Ok(response) => {
                assert_eq!(response, Response::Auth);
                Ok(())
            }
            Err(ApplyError::Auth(error)) => Err(error),
            Err(other) => panic!("{other}"),
        }
    }

    /// A user with a role of its own name with these permissions.
    pub(crate) fn user(&mut self, name: &str, permissions: &[Permission]) {
        self.auth(user_add(name)).unwrap();
        self.auth(role_add(name)).unwrap();
        self.auth(user_grant(name, name)).unwrap();
        for permission in permissions {
            self.auth(role_grant(name, permission.clone())).unwrap();
        }
    }

    pub(crate) fn enable(&mut self) {
        self.auth(user_add("root")).unwrap();
        self.auth(user_grant("root", "root")).unwrap();
        self.auth(enable(1)).unwrap();
    }

    fn reader(&self) -> Reader<MemoryEngine> {
        self.store.reader()
    }

    fn status(&self) -> AuthStatus {
        self.reader().auth_status()
    }

    /// A user whose password was right just now.
    pub(crate) fn as_user(&self, name: &str) -> Caller {
        let issued = Some(self.status().revision);
        Caller::User(Identity { name: name.to_owned(), issued })
    }
}

fn hash(text: &str) -> PasswordHash {
    PasswordHash(Bytes::copy_from_slice(text.as_bytes()))
}

fn enable(secret: u8) -> AuthCommand {
    AuthCommand::Enable { secret: TokenSecret([secret; 32]) }
}

fn user_add(name: &str) -> AuthCommand {
    AuthCommand::UserAdd { name: name.to_owned(), password: Some(hash(name)) }
}

fn user_delete(name: &str) -> AuthCommand {
    AuthCommand::UserDelete { name: name.to_owned() }
}

fn user_grant(user: &str, role: &str) -> AuthCommand {
    AuthCommand::UserGrantRole { user: user.to_owned(), role: role.to_owned() }
}

fn user_revoke(user: &str, role: &str) -> AuthCommand {
    AuthCommand::UserRevokeRole { user: user.to_owned(), role: role.to_owned() }
}

fn change_password(name: &str) -> AuthCommand {
    AuthCommand::UserChangePassword { name: name.to_owned(), password: hash("changed") }
}

fn role_add(name: &str) -> AuthCommand {
    AuthCommand::RoleAdd { name: name.to_owned() }
}

fn role_delete(name: &str) -> AuthCommand {
    AuthCommand::RoleDelete { name: name.to_owned() }
}

fn role_grant(role: &str, permission: Permission) -> AuthCommand {
    AuthCommand::RoleGrantPermission { role: role.to_owned(), permission }
}

fn role_revoke(role: &str, keys: Option<KeyRange>) -> AuthCommand {
    AuthCommand::RoleRevokePermission { role: role.to_owned(), keys }
}

fn key(key: &'static str) -> Key {
    Key::new(Bytes::from_static(key.as_bytes())).unwrap()
}

fn keys(start: &'static str, end: &'static str) -> KeyRange {
    KeyRange::new(Bytes::from_static(start.as_bytes()), Bytes::from_static(end.as_bytes())).unwrap()
}

fn may(access: Access, start: &'static str, end: &'static str) -> Permission {
    Permission::new(access, keys(start, end)).unwrap()
}

fn put(name: &'static str) -> Command {
    Command::Put(Put::new(key(name), Bytes::from_static(b"v")))
}

const DENIED: Result<Response, ApplyError> = Err(ApplyError::Auth(AuthError::PermissionDenied));
const NO_TOKEN: Result<Response, ApplyError> = Err(ApplyError::Auth(AuthError::InvalidToken));

/// The order of checks and the errors are those of an etcd 3.4.23, and 3.6 by its source.
#[test]
fn changes_are_refused_as_etcd_does() {
    let mut member = Member::new();
    let a = || may(Access::Read, "a", "");
    let table = [
        (enable(1), Err(AuthError::RootUserNotExist)),
        (user_add(""), Err(AuthError::UserEmpty)),
        (user_add("root"), Ok(())),
        (user_add("root"), Err(AuthError::UserAlreadyExists)),
        (enable(1), Err(AuthError::RootRoleNotExist)),
        (user_grant("root", "nope"), Err(AuthError::RoleNotFound)),
        (user_grant("nobody", "nope"), Err(AuthError::UserNotFound)),
        (user_grant("root", "root"), Ok(())),
        (user_grant("root", "root"), Ok(())),
        (enable(1), Ok(())),
        (enable(2), Ok(())),
        (user_delete("root"), Err(AuthError::InvalidManagement)),
        (user_revoke("root", "root"), Err(AuthError::InvalidManagement)),
        (role_delete("root"), Err(AuthError::InvalidManagement)),
        (role_add(""), Err(AuthError::RoleEmpty)),
        (role_add("r"), Ok(())),
        (role_add("r"), Err(AuthError::RoleAlreadyExists)),
        (role_grant("nope", a()), Err(AuthError::RoleNotFound)),
        (role_grant("r", a()), Ok(())),
        (role_revoke("r", Some(keys("a", "b"))), Err(AuthError::PermissionNotGranted)),
        (role_revoke("r", None), Err(AuthError::PermissionNotGranted)),
        (role_revoke("nope", None), Err(AuthError::RoleNotFound)),
        (role_revoke("r", Some(keys("a", ""))), Ok(())),
        (user_add("ann"), Ok(())),
        (user_revoke("ann", "r"), Err(AuthError::RoleNotGranted)),
        (user_revoke("nobody", "r"), Err(AuthError::UserNotFound)),
        (change_password("nobody"), Err(AuthError::UserNotFound)),
        (user_delete("nobody"), Err(AuthError::UserNotFound)),
        (role_delete("nope"), Err(AuthError::RoleNotFound)),
        (AuthCommand::Disable, Ok(())),
        (AuthCommand::Disable, Ok(())),
        (user_delete("root"), Ok(())),
    ];
    for (command, expected) in table {
        let former = member.status();
        assert_eq!(member.auth(command.clone()), expected, "{command:?}");
        if expected.is_err() {
            assert_eq!(member.status(), former, "refused, and changed something: {command:?}");
        }
    }
}

#[test]
fn the_auth_revision_counts_as_etcds() {
    let mut member = Member::new();
    assert_eq!(member.status(), AuthStatus { enabled: false, revision: 1 });
    member.enable();
    assert_eq!(member.status(), AuthStatus { enabled: true, revision: 3 });
    member.auth(user_grant("root", "root")).unwrap();
    assert_eq!(member.status().revision, 3, "nothing changed");
    member.auth(AuthCommand::Disable).unwrap();
    assert_eq!(member.status(), AuthStatus { enabled: false, revision: 4 });
    assert_eq!(member.store.revision(), Revision::FIRST, "no key has changed");
}

#[test]
fn deleting_a_role_takes_it_from_all_users() {
    let mut member = Member::new();
    member.user("ann", &[may(Access::Read, "a", "")]);
    member.auth(role_delete("ann")).unwrap();
    let reader = member.reader();
    assert_eq!(reader.roles_of(&Caller::Internal, "ann"), Ok(vec![]));
    assert_eq!(reader.permissions_of(&Caller::Internal, "ann"), Err(AuthError::RoleNotFound));
}

#[test]
fn permissions_stand_by_key_and_are_replaced_in_place() {
    let mut member = Member::new();
    let granted =
        [may(Access::Read, "b", ""), may(Access::Write, "a", "c"), may(Access::Read, "a", "\0")];
    member.user("ann", &granted);
    member.auth(role_grant("ann", may(Access::ReadWrite, "a", "c"))).unwrap();
    let expected = [
        may(Access::ReadWrite, "a", "c"),
        may(Access::Read, "a", "\0"),
        may(Access::Read, "b", ""),
    ];
    let found = member.reader().permissions_of(&Caller::Internal, "ann");
    assert_eq!(found.as_deref(), Ok(expected.as_slice()));
}

#[test]
fn what_a_role_permits_is_looked_up_when_the_turn_comes() {
    let mut member = Member::new();
    member.user("ann", &[may(Access::ReadWrite, "a", "")]);
    member.enable();
    let ann = member.as_user("ann");
    assert!(member.run(&ann, &put("a")).is_ok());
    // On its way through the log, as it were.
    let asked_before = ann.clone();
    member.auth(user_revoke("ann", "ann")).unwrap();
    assert_eq!(member.run(&asked_before, &put("a")), DENIED);
    // And a token does not die of a change of roles: only a password ends it.
    member.auth(user_grant("ann", "ann")).unwrap();
    assert!(member.run(&ann, &put("a")).is_ok());
    member.auth(role_revoke("ann", Some(keys("a", "")))).unwrap();
    assert_eq!(member.run(&ann, &put("a")), DENIED);
}

#[test]
fn tokens_end_with_password_user_and_time_of_auth() {
    let mut member = Member::new();
    member.user("ann", &[may(Access::ReadWrite, "a", "")]);
    member.enable();
    let first = member.as_user("ann");
    member.auth(change_password("ann")).unwrap();
    assert_eq!(member.run(&first, &put("a")), NO_TOKEN);
    let second = member.as_user("ann");
    assert!(member.run(&second, &put("a")).is_ok());

    member.auth(user_delete("ann")).unwrap();
    assert_eq!(member.run(&second, &put("a")), NO_TOKEN);
    member.auth(user_add("ann")).unwrap();
    member.auth(user_grant("ann", "ann")).unwrap();
    assert_eq!(member.run(&second, &put("a")), NO_TOKEN, "another ann");

    let third = member.as_user("ann");
    member.auth(AuthCommand::Disable).unwrap();
    assert!(member.run(&second, &put("a")).is_ok(), "nobody is asked");
    member.auth(enable(2)).unwrap();
    assert_eq!(member.run(&third, &put("a")), NO_TOKEN, "of a former time");
}

#[test]
fn a_certificate_names_a_user_as_it_is() {
    let mut member = Member::new();
    member.user("ann", &[may(Access::ReadWrite, "a", "")]);
    member.enable();
    let certified = |name: &str| Caller::User(Identity { name: name.to_owned(), issued: None });
    member.auth(change_password("ann")).unwrap();
    assert!(member.run(&certified("ann"), &put("a")).is_ok());
    assert_eq!(member.run(&certified("eve"), &put("a")), DENIED);
    let unknown = member.run(&certified("eve"), &Command::Auth(AuthCommand::Disable));
    assert_eq!(unknown, Err(ApplyError::Auth(AuthError::UserNotFound)));
}

#[test]
fn who_does_not_say_who_it_is_may_nothing() {
    let mut member = Member::new();
    member.enable();
    let nameless = Err(ApplyError::Auth(AuthError::UserEmpty));
    let expire = LeaseExpire { ids: LeaseIds::default(), by: (1, 1) };
    for command in [
        put("a"),
        Command::Txn(Txn::default()),
        Command::LeaseGrant(LeaseGrant { id: 1, ttl: 10, ttl_min: 1 }),
        Command::LeaseRevoke { id: 1 },
        Command::LeaseKeepAlive { ids: LeaseIds::default() },
        Command::LeaseExpire(expire),
        Command::Compact(Compact { revision: Revision::FIRST }),
        Command::Auth(AuthCommand::Disable),
    ] {
        assert_eq!(member.run(&Caller::Anonymous, &command), nameless, "{command:?}");
    }
    let reader = member.reader();
    let range = Range::new(KeyRange::all());
    let refused = |result: Result<(), AuthError>| assert_eq!(result, Err(AuthError::UserEmpty));
    let Err(ReadError::Denied(error)) = reader.range(&Caller::Anonymous, &range) else { panic!() };
    refused(Err(error));
    refused(reader.leases(&Caller::Anonymous).map(drop));
    refused(reader.lease(&Caller::Anonymous, 1, false, 0).map(drop));
    refused(reader.users(&Caller::Anonymous).map(drop));
    refused(reader.roles_of(&Caller::Anonymous, "root").map(drop));
}

#[test]
fn nobody_asks_as_a_member_but_members() {
    let mut member = Member::new();
    member.enable();
    let grant = Command::LeaseGrant(LeaseGrant { id: 1, ttl: 1, ttl_min: 1 });
    member.run(&Caller::Internal, &grant).unwrap();
    let ids = LeaseIds::new(vec![1]).unwrap();
    let expire = Command::LeaseExpire(LeaseExpire { ids, by: (1, 1) });
    let root = member.as_user("root");
    assert_eq!(member.run(&root, &expire), DENIED, "not even root");
    assert!(member.run(&Caller::Internal, &expire).is_ok());
}

#[test]
fn root_may_everything_else() {
    let mut member = Member::new();
    member.enable();
    let root = member.as_user("root");
    assert!(member.run(&root, &put("a")).is_ok());
    let compact = Command::Compact(Compact { revision: Revision::FIRST });
    assert!(member.run(&root, &compact).is_ok());
    let reader = member.reader();
    assert!(reader.hash_kv(&root, None).is_ok());
    assert_eq!(reader.users(&root), Ok(vec!["root".to_owned()]));
}

#[test]
fn users_see_themselves_and_their_roles_only() {
    let mut member = Member::new();
    member.user("ann", &[]);
    member.user("bob", &[]);
    member.enable();
    let (reader, ann) = (member.reader(), member.as_user("ann"));
    assert_eq!(reader.roles_of(&ann, "ann"), Ok(vec!["ann".to_owned()]));
    assert_eq!(reader.roles_of(&ann, "bob"), Err(AuthError::PermissionDenied));
    assert_eq!(reader.roles_of(&ann, "nobody"), Err(AuthError::PermissionDenied));
    assert_eq!(reader.permissions_of(&ann, "ann"), Ok(vec![]));
    assert_eq!(reader.permissions_of(&ann, "bob"), Err(AuthError::PermissionDenied));
    assert_eq!(reader.users(&ann), Err(AuthError::PermissionDenied));
    assert_eq!(reader.roles(&ann), Err(AuthError::PermissionDenied));
    assert!(matches!(reader.hash_kv(&ann, None), Err(ReadError::Denied(_))));
    assert!(matches!(
        reader.history(&ann, Revision::FIRST, Default::default()),
        Err(ReadError::Denied(_))
    ));
}

#[test]
fn cve_2026_33343_a_nested_transaction_needs_what_its_operations_need() {
    let mut member = Member::new();
    member.user("ann", &[may(Access::ReadWrite, "a", "")]);
    member.enable();
    let ann = member.as_user("ann");
    let secret = || Op::Put(Put::new(key("secret"), Bytes::new()));
    let nest = |op: Op| Op::Txn(Txn::new(vec![], vec![op], vec![]).unwrap());
    let mut op = secret();
    for depth in 1..=3 {
        for (success, failure) in [(vec![op.clone()], vec![]), (vec![], vec![op.clone()])] {
            let txn = Command::Txn(Txn::new(vec![], success, failure).unwrap());
            assert_eq!(member.run(&ann, &txn), DENIED, "{depth} deep");
        }
        op = nest(op);
    }
    let range = Op::Range(Range::new(keys("secret", "")));
    let read = Txn::new(vec![], vec![nest(nest(range))], vec![]).unwrap();
    assert!(member.reader().txn(&ann, &read).is_err());
}

#[test]
fn cve_2026_44283_a_put_in_a_transaction_needs_what_a_put_needs() {
    let mut member = Member::new();
    member.user("ann", &[may(Access::Write, "a", "")]);
    member.enable();
    for (id, on) in [(1, "secret"), (2, "a")] {
        let grant = Command::LeaseGrant(LeaseGrant { id, ttl: 100, ttl_min: 1 });
        member.run(&Caller::Internal, &grant).unwrap();
        let attach = Put { lease: Assign::Set(id), ..Put::new(key(on), Bytes::new()) };
        member.run(&Caller::Internal, &Command::Put(attach)).unwrap();
    }
    let ann = member.as_user("ann");
    let plain = Put::new(key("a"), Bytes::new());
    let table = [
        (Put { prev_kv: true, ..plain.clone() }, false),
        (Put { lease: Assign::Set(1), ..plain.clone() }, false),
        (Put { lease: Assign::Set(2), ..plain.clone() }, true),
        (Put { value: Assign::Keep, ..plain.clone() }, true),
        (plain, true),
    ];
    for (put, allowed) in table {
        let alone = Command::Put(put.clone());
        let op = Op::Put(put);
        let within = Command::Txn(Txn::new(vec![], vec![op.clone()], vec![]).unwrap());
        let nested = Op::Txn(Txn::new(vec![], vec![], vec![op]).unwrap());
        let nested = Command::Txn(Txn::new(vec![], vec![nested], vec![]).unwrap());
        for command in [alone, within, nested] {
            let result = member.run(&ann, &command);
            assert_eq!(result.is_ok(), allowed, "{command:?}");
            assert!(allowed || result == DENIED);
        }
    }
}

#[test]
fn a_lease_is_its_keys_and_theirs_who_may_write_them() {
    let mut member = Member::new();
    member.user("ann", &[may(Access::ReadWrite, "a", "")]);
    member.user("bob", &[may(Access::ReadWrite, "b", "")]);
    member.enable();
    let (ann, bob) = (member.as_user("ann"), member.as_user("bob"));
    let grant = Command::LeaseGrant(LeaseGrant { id: 1, ttl: 100, ttl_min: 1 });
    member.run(&ann, &grant).unwrap();
    let attach = Put { lease: Assign::Set(1), ..Put::new(key("a"), Bytes::new()) };
    member.run(&ann, &Command::Put(attach)).unwrap();

    let alive = Command::LeaseKeepAlive { ids: LeaseIds::new(vec![1]).unwrap() };
    let revoke = Command::LeaseRevoke { id: 1 };
    assert_eq!(member.run(&bob, &alive), DENIED);
    assert_eq!(member.run(&bob, &revoke), DENIED);
    let join = Put { lease: Assign::Set(1), ..Put::new(key("b"), Bytes::new()) };
    assert_eq!(member.run(&bob, &Command::Put(join)), DENIED);
    assert_eq!(member.reader().leases(&bob), Err(AuthError::PermissionDenied));
    assert_eq!(member.reader().leases(&ann), Ok(vec![1]));
    assert!(member.run(&ann, &alive).is_ok());
    assert!(member.run(&ann, &revoke).is_ok());
    let gone = Err(ApplyError::LeaseNotFound { lease: 1 });
    assert_eq!(member.run(&bob, &revoke), gone, "as for everybody");
}

#[test]
fn cve_2023_32082_the_keys_of_a_lease_need_to_be_readable() {
    let mut member = Member::new();
    member.user("ann", &[may(Access::Write, "a", "")]);
    member.enable();
    let ann = member.as_user("ann");
    member.run(&ann, &Command::LeaseGrant(LeaseGrant { id: 1, ttl: 100, ttl_min: 1 })).unwrap();
    let reader = member.reader();
    assert!(reader.lease(&ann, 1, true, 0).is_ok(), "there are none");
    let attach = Put { lease: Assign::Set(1), ..Put::new(key("a"), Bytes::new()) };
    member.run(&ann, &Command::Put(attach)).unwrap();
    assert_eq!(reader.lease(&ann, 1, true, 0), Err(AuthError::PermissionDenied));
    assert!(reader.lease(&ann, 1, false, 0).unwrap().is_some());
}

#[test]
fn cve_2026_73499_a_range_without_end_is_not_a_single_key() {
    let mut member = Member::new();
    member.user("ann", &[may(Access::Read, "a", "")]);
    member.enable();
    let (reader, ann) = (member.reader(), member.as_user("ann"));
    for (end, allowed) in [("", true), ("a\0", true), ("\0", false), ("a\0\0", false), ("b", false)]
    {
        let permitted = reader.permit(&ann, &[Need::Read(keys("a", end))]);
        assert_eq!(permitted.is_ok(), allowed, "{end:?}");
    }
}

#[test]
fn etcd_14571_members_that_enable_auth_at_other_moments_of_their_lives_stay_equal() {
    let mut members = [Member::new(), Member::new()];
    let ann = || Caller::User(Identity { name: "ann".to_owned(), issued: Some(100) });
    let steps: Vec<(Caller, Command)> = vec![
        (Caller::Internal, Command::Auth(user_add("root"))),
        (Caller::Internal, Command::Auth(user_grant("root", "root"))),
        (Caller::Internal, Command::Auth(user_add("ann"))),
        (Caller::Internal, Command::Auth(role_add("r"))),
        (Caller::Internal, Command::Auth(role_grant("r", may(Access::ReadWrite, "a", "c")))),
        (Caller::Internal, Command::Auth(user_grant("ann", "r"))),
        (Caller::Anonymous, put("b")),
        (Caller::Internal, Command::Auth(enable(1))),
        (ann(), put("a")),
        (ann(), put("d")),
        (Caller::Anonymous, put("a")),
        (Caller::Internal, Command::Auth(role_revoke("r", Some(keys("a", "c"))))),
        (ann(), put("b")),
        (Caller::Internal, Command::Auth(AuthCommand::Disable)),
        (Caller::Anonymous, put("d")),
    ];
    for (caller, command) in steps {
        // One lives on, the other starts anew before each step.
        let [one, mut other] = members;
        other = other.restarted();
        members = [one, other];
        let [first, second] = members.each_mut().map(|member| member.reply(&caller, &command));
        assert_eq!(first, second, "{command:?}");
        let [first, second] = members.each_ref().map(|member| member.store.digest());
        assert_eq!(first, second, "{command:?}");
        let [first, second] = members.each_ref().map(Member::status);
        assert_eq!(first, second);
    }
}

#[test]
fn refusals_for_other_reasons_are_told_apart_by_the_digest() {
    let digest_after = |caller: &Caller| {
        let mut member = Member::new();
        member.enable();
        member.run(caller, &put("a")).unwrap_err();
        member.store.digest()
    };
    let stale = Caller::User(Identity { name: "root".to_owned(), issued: Some(1) });
    assert_ne!(digest_after(&Caller::Anonymous), digest_after(&stale));
}

#[test]
fn secrets_are_not_in_debug_output() {
    let commands = [
        AuthCommand::UserAdd { name: "ann".to_owned(), password: Some(hash("CANARY")) },
        AuthCommand::UserChangePassword { name: "ann".to_owned(), password: hash("CANARY") },
        AuthCommand::Enable { secret: TokenSecret(*b"CANARYCANARYCANARYCANARYCANARY..") },
    ];
    for command in commands {
        let shown = format!("{command:?}");
        assert!(!shown.contains("CANARY") && !shown.contains("67, 65"), "{shown}");
    }
}

#[test]
fn golden_callers() {
    let command = Command::LeaseRevoke { id: 5 };
    let tail = [&[7][..], &5_i64.to_le_bytes()].concat();
    let named = |tag: &[u8], rest: &[u8]| [&[1], tag, rest, &tail].concat();
    let user = |issued| Caller::User(Identity { name: "ann".to_owned(), issued });
    let issued = [&258_u64.to_le_bytes()[..], &3_u32.to_le_bytes(), b"ann"].concat();
    let certified = [&3_u32.to_le_bytes()[..], b"ann"].concat();
    for (caller, bytes) in [
        (Caller::Anonymous, named(&[], &[])),
        (user(Some(258)), named(&[0x20], &issued)),
        (user(None), named(&[0x21], &certified)),
        (Caller::Internal, named(&[0x22], &[])),
    ] {
        assert_eq!(command.encode_for(&caller), bytes, "{caller:?}");
    }
}
