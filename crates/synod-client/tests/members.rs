//! The client against real members, over real sockets, while some of them go.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

#[path = "../../synod-server/tests/members/mod.rs"]
mod members;

use std::time::Duration;

use members::{Members, PATIENCE};
use synod_client::{
    Client, Compact, Compare, Delete, Error, EtcdError, Get, Options, Put, Txn, Watch, proto,
};
use tokio::time::timeout;

const TTL: Duration = Duration::from_secs(60);

fn addresses(members: &Members) -> Vec<String> {
    members.servers.iter().map(|server| server.client_addresses()[0].to_string()).collect()
}

/// A client that prefers the member at this place.
async fn client(members: &Members, at: usize) -> Client {
    let mut addresses = addresses(members);
    addresses.rotate_left(at);
    Client::connect(addresses, Options::default()).await.unwrap()
}

async fn soon<T>(task: impl Future<Output = T>) -> T {
    timeout(PATIENCE, task).await.expect("in time")
}

/// A write that may be done twice, asked again while nobody knows what became of it.
async fn settled<T>(write: impl AsyncFn() -> Result<T, Error>) -> T {
    soon(async {
        loop {
            match write().await {
                Ok(done) => return done,
                Err(Error::OutcomeUnknown(_)) => {}
                Err(error) => panic!("{error}"),
            }
        }
    })
    .await
}

async fn wait_for_keys(client: &Client, prefix: &str, count: i64) {
    soon(async {
        while client.get(Get::prefix(prefix.to_owned()).count_only()).await.unwrap().count != count
        {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_writer_goes_on_when_the_leader_stops_and_no_write_is_done_twice() {
    let mut members = Members::start().await;
    let leader = members.leader().await;
    let client = client(&members, leader).await;
    client.put(Put::new("k/0", "before")).await.unwrap();
    let writer = tokio::spawn({
        let client = client.clone();
        async move {
            let mut acknowledged = Vec::new();
            for number in 1..300 {
                let key = format!("k/{number:03}");
                match client.put(Put::new(key.clone(), "v")).await {
                    Ok(_) => acknowledged.push(key),
                    Err(Error::OutcomeUnknown(_)) => {}
                    Err(error) => panic!("{key}: {error}"),
                }
            }
            acknowledged
        }
    });
    members.stop(leader).await;
    let acknowledged = soon(writer).await.unwrap();
    assert!(acknowledged.len() > 200, "{}", acknowledged.len());
    let found = client.get(Get::prefix("k/")).await.unwrap();
    for key in acknowledged {
        let kv = found.kvs.iter().find(|kv| kv.key == key).expect("what was acknowledged is there");
        assert_eq!(kv.version, 1, "{key}");
    }
    members.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_has_no_gap_and_no_duplicate_when_its_member_stops() {
    let mut members = Members::start().await;
    let (watching, writing) = (client(&members, 0).await, client(&members, 1).await);
    let mut watcher = watching.watch(Watch::prefix("w/")).await.unwrap();
    for number in 0..20 {
        writing.put(Put::new(format!("w/{number}"), "v")).await.unwrap();
    }
    let mut seen = Vec::new();
    while seen.len() < 5 {
        let update = soon(watcher.next()).await.unwrap().unwrap();
        seen.extend(update.events.into_iter().map(|event| event.kv.unwrap()));
    }
    members.stop(0).await;
    let mut last = 0;
    for number in 20..40 {
        let put = settled(async || writing.put(Put::new(format!("w/{number}"), "v")).await);
        last = put.await.header.unwrap().revision;
    }
    while seen.last().is_none_or(|kv| kv.mod_revision < last) {
        let update = soon(watcher.next()).await.unwrap().unwrap();
        seen.extend(update.events.into_iter().map(|event| event.kv.unwrap()));
    }
    let revisions: Vec<i64> = seen.iter().map(|kv| kv.mod_revision).collect();
    assert_eq!(revisions, (2..=last).collect::<Vec<_>>());
    members.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_that_begins_in_what_is_forgotten_says_where_it_could_begin() {
    let members = Members::start().await;
    let client = client(&members, 0).await;
    for _ in 0..9 {
        client.put(Put::new("k", "v")).await.unwrap();
    }
    client.compact(Compact::before(7)).await.unwrap();
    let mut late = client.watch(Watch::key("k").from_revision(3)).await.unwrap();
    let refused = soon(late.next()).await.unwrap().unwrap_err();
    assert_eq!(refused, Error::Compacted { revision: 7 });
    assert_eq!(soon(late.next()).await, None);
    let mut watcher = client.watch(Watch::key("k").from_revision(8)).await.unwrap();
    let update = soon(watcher.next()).await.unwrap().unwrap();
    assert_eq!(update.events[0].kv.as_ref().unwrap().mod_revision, 8);
    let refused = client.get(Get::key("k").at_revision(3)).await.unwrap_err();
    assert_eq!(refused.etcd(), Some(EtcdError::Compacted));
    members.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_goes_on_to_who_waits_though_its_member_stops() {
    let mut members = Members::start().await;
    let (holding, waiting) = (client(&members, 1).await, client(&members, 0).await);
    let lock = soon(holding.lock("L", TTL)).await.unwrap();
    assert!(lock.is_valid() && lock.remaining() > Duration::ZERO);
    let write = |lock: &synod_client::Lock, value: &str| {
        let put = Put::new("protected", value.to_owned());
        Txn::new().when(lock.held()).and_then(put)
    };
    assert!(holding.txn(write(&lock, "first")).await.unwrap().succeeded);

    let waits = tokio::spawn(async move { (waiting.lock("L", TTL).await, waiting) });
    wait_for_keys(&holding, "L/", 2).await;
    members.stop(0).await;
    let (key, token, stale) = (lock.key().clone(), lock.token(), write(&lock, "late"));
    soon(lock.unlock()).await.unwrap();
    let (lock, waiting) = soon(waits).await.unwrap();
    let lock = lock.unwrap();
    assert!(lock.token() > token);
    assert_ne!(*lock.key(), key);
    let late = settled(async || holding.txn(stale.clone()).await).await;
    assert!(!late.succeeded, "its token is of the past");
    let second = write(&lock, "second");
    assert!(settled(async || waiting.txn(second.clone()).await).await.succeeded);
    // Dropped, it is given back.
    drop(lock);
    soon(holding.lock("L", TTL)).await.unwrap();
    members.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_office_is_seen_from_holder_to_holder_though_a_member_stops() {
    let mut members = Members::start().await;
    let (here, there) = (client(&members, 1).await, client(&members, 2).await);
    let watching = client(&members, 0).await;
    let mut seen = watching.observe("O").await.unwrap();
    assert_eq!(here.leader("O").await.unwrap(), None);
    let office = soon(here.campaign("O", "a", TTL)).await.unwrap();
    let mut next = async || soon(seen.next()).await.unwrap().unwrap().value;
    assert_eq!(next().await, "a");
    office.proclaim("b").await.unwrap();
    assert_eq!(next().await, "b");
    let waits = tokio::spawn(async move { there.campaign("O", "c", TTL).await });
    wait_for_keys(&here, "O/", 2).await;
    members.stop(0).await;
    assert_eq!(here.leader("O").await.unwrap().unwrap().value, "b");
    let token = office.token();
    soon(office.resign()).await.unwrap();
    let office = soon(waits).await.unwrap().unwrap();
    assert!(office.token() > token && office.is_valid());
    assert_eq!(next().await, "c");
    members.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_is_kept_alive_though_its_member_stops() {
    let mut members = Members::start().await;
    let (client, other) = (client(&members, 0).await, client(&members, 1).await);
    let lease = client.grant(Duration::from_secs(6)).await.unwrap();
    client.put(Put::new("k", "v").lease(lease.id)).await.unwrap();
    let kept = client.keep_alive(&lease);
    members.stop(0).await;
    soon(async {
        let (mut renewals, mut before) = (0, kept.remaining());
        while renewals < 2 {
            let now = kept.remaining();
            assert!(!now.is_zero(), "it was lost");
            renewals += u32::from(now > before);
            before = now;
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(other.time_to_live(lease.id, true).await.unwrap().keys, ["k"]);
    other.revoke(lease.id).await.unwrap();
    soon(kept.lost()).await;
    assert_eq!(other.get(Get::key("k")).await.unwrap().count, 0);
    members.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_does_the_one_list_or_the_other() {
    let members = Members::start().await;
    let client = client(&members, 0).await;
    let create = || {
        let nested = Txn::new().when(Compare::value("k").equal("v")).and_then(Get::key("k"));
        Txn::new()
            .when(Compare::version("k").equal(0))
            .and_then(Put::new("k", "v"))
            .or_else(nested)
            .or_else(Delete::key("k"))
    };
    let done = client.txn(create()).await.unwrap();
    assert!(done.succeeded && done.responses.len() == 1);
    let done = client.txn(create()).await.unwrap();
    assert!(!done.succeeded && done.responses.len() == 2);
    assert_eq!(client.get(Get::key("k")).await.unwrap().count, 0);
    assert_eq!(client.revision(), 3);
    members.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_a_password_logs_in_and_again_when_permissions_change() {
    use proto::etcdserverpb as pb;
    use proto::etcdserverpb::auth_client::AuthClient;
    let members = Members::start().await;
    let anyone = client(&members, 0).await;
    let mut auth = AuthClient::new(members.channel(0).await);
    for name in ["root", "alice"] {
        let (name, password) = (name.to_owned(), "secret".to_owned());
        let add = pb::AuthUserAddRequest { name, password, ..Default::default() };
        auth.user_add(add).await.unwrap();
    }
    let roles = ["root", "letters"].map(str::to_owned);
    for role in roles.clone() {
        auth.role_add(pb::AuthRoleAddRequest { name: role }).await.unwrap();
    }
    for (user, role) in ["root", "alice"].map(str::to_owned).into_iter().zip(roles) {
        auth.user_grant_role(pb::AuthUserGrantRoleRequest { user, role }).await.unwrap();
    }
    auth.auth_enable(pb::AuthEnableRequest {}).await.unwrap();

    let of = async |user: &str| {
        let options = Options::default().with_user(user, "secret");
        Client::connect(addresses(&members), options).await
    };
    let (root, alice) = (of("root").await.unwrap(), of("alice").await.unwrap());
    let denied = alice.put(Put::new("a", "v")).await.unwrap_err();
    assert_eq!(denied.etcd(), Some(EtcdError::PermissionDenied));
    let permission = proto::authpb::Permission {
        perm_type: proto::authpb::permission::Type::Readwrite.into(),
        key: "a".into(),
        range_end: "b".into(),
    };
    let name = "letters".to_owned();
    let grant = pb::AuthRoleGrantPermissionRequest { name, perm: Some(permission) };
    let granting = root.write(|service| {
        let grant = grant.clone();
        async move { AuthClient::new(service).role_grant_permission(grant).await }
    });
    granting.await.unwrap();
    // Her token is of a time before that: a new one is fetched, unseen.
    alice.put(Put::new("a", "v")).await.unwrap();
    assert_eq!(alice.get(Get::key("a")).await.unwrap().kvs[0].value, "v");
    let nobody = anyone.get(Get::key("a")).await.unwrap_err();
    assert_eq!(nobody.etcd(), Some(EtcdError::UserEmpty));
    let wrong = Options::default().with_user("alice", "wrong");
    let wrong = Client::connect(addresses(&members), wrong).await.unwrap_err();
    assert_eq!(wrong.etcd(), Some(EtcdError::AuthFailed));
    members.shutdown().await;
}
