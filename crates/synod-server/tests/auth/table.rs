//! Every call of the interface, by everybody: what each kind of caller is told.
//!
//! The calls come from the descriptors: one without a row fails the test.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::json;
use synod_etcd::json::{calls, routes};
use synod_etcd::proto::authpb::Permission;
use synod_etcd::proto::etcdserverpb as pb;

use super::client::Client as Http;
use super::raw::{Outcome, over_grpc, over_http};
use super::{Client, PASSWORD, configs_with, shutdown, start};

/// What a request needs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Needs {
    Nothing,
    User,
    Read,
    Write,
    Both,
    Root,
}
use Needs::{Both, Nothing, Read, Root, User, Write};

/// Users; each has a role of its own name, and keys from `a` to before `b`.
const USERS: [(&str, &[Needs]); 4] = [
    ("reader", &[User, Read]),
    ("writer", &[User, Write]),
    ("both", &[User, Read, Write, Both]),
    ("root", &[User, Read, Write, Both, Root]),
];

/// A call, the JSON of its request, and what that needs. In it `«…»` is in base64, and `@` is other
/// for each who calls.
const ROWS: &[(&str, &str, Needs)] = &[
    ("/etcdserverpb.KV/Range", r#"{"key":"«a»"}"#, Read),
    ("/etcdserverpb.KV/Range", r#"{"key":"«a»","range_end":"«b»"}"#, Read),
    ("/etcdserverpb.KV/Range", r#"{"key":"«a»","range_end":"«c»"}"#, Root),
    ("/etcdserverpb.KV/Range", r#"{"key":"«a»","range_end":"AA=="}"#, Root),
    ("/etcdserverpb.KV/Range", r#"{"key":"AA==","range_end":"AA==","count_only":true}"#, Root),
    ("/etcdserverpb.KV/Range", r#"{"key":"«x»","serializable":true}"#, Root),
    ("/etcdserverpb.KV/RangeStream", r#"{"key":"«a»"}"#, Read),
    ("/etcdserverpb.KV/RangeStream", r#"{"key":"«a»","range_end":"AA=="}"#, Root),
    ("/etcdserverpb.KV/Put", r#"{"key":"«a»"}"#, Write),
    ("/etcdserverpb.KV/Put", r#"{"key":"«x»"}"#, Root),
    ("/etcdserverpb.KV/Put", r#"{"key":"«a»","prev_kv":true}"#, Both),
    // Whoever attaches a key to a lease can end the other keys with it.
    ("/etcdserverpb.KV/Put", r#"{"key":"«a»","lease":"77"}"#, Root),
    ("/etcdserverpb.KV/DeleteRange", r#"{"key":"«a/@»"}"#, Write),
    ("/etcdserverpb.KV/DeleteRange", r#"{"key":"«a/@»","prev_kv":true}"#, Both),
    ("/etcdserverpb.KV/DeleteRange", r#"{"key":"«y»","range_end":"«z»"}"#, Root),
    ("/etcdserverpb.KV/Txn", "{}", User),
    (
        "/etcdserverpb.KV/Txn",
        r#"{"compare":[{"key":"«a»","target":"VERSION","result":"GREATER"}]}"#,
        Read,
    ),
    ("/etcdserverpb.KV/Txn", r#"{"success":[{"request_put":{"key":"«a»"}}]}"#, Write),
    ("/etcdserverpb.KV/Txn", r#"{"failure":[{"request_range":{"key":"«x»"}}]}"#, Root),
    // CVE-2026-44283.
    ("/etcdserverpb.KV/Txn", r#"{"success":[{"request_put":{"key":"«a»","prev_kv":true}}]}"#, Both),
    ("/etcdserverpb.KV/Txn", r#"{"success":[{"request_put":{"key":"«a»","lease":"77"}}]}"#, Root),
    // CVE-2026-33343.
    (
        "/etcdserverpb.KV/Txn",
        r#"{"success":[{"request_txn":{"success":[{"request_put":{"key":"«x»"}}]}}]}"#,
        Root,
    ),
    (
        "/etcdserverpb.KV/Txn",
        r#"{"success":[{"request_txn":{"failure":[{"request_txn":{"success":[
            {"request_delete_range":{"key":"«a»","prev_kv":true}}]}}]}}]}"#,
        Both,
    ),
    ("/etcdserverpb.KV/Compact", r#"{"revision":"1"}"#, Root),
    ("/etcdserverpb.Watch/Watch", r#"{"create_request":{"key":"«a»"}}"#, Read),
    ("/etcdserverpb.Watch/Watch", r#"{"create_request":{"key":"«a»","range_end":"«b»"}}"#, Read),
    ("/etcdserverpb.Watch/Watch", r#"{"create_request":{"key":"«x»"}}"#, Root),
    // CVE-2026-73499.
    ("/etcdserverpb.Watch/Watch", r#"{"create_request":{"key":"«a»","range_end":"AA=="}}"#, Root),
    ("/etcdserverpb.Watch/Watch", r#"{"create_request":{}}"#, Root),
    ("/etcdserverpb.Lease/LeaseGrant", r#"{"TTL":"60"}"#, User),
    ("/etcdserverpb.Lease/LeaseKeepAlive", r#"{"ID":"76"}"#, Write),
    ("/etcdserverpb.Lease/LeaseKeepAlive", r#"{"ID":"77"}"#, Root),
    ("/etcdserverpb.Lease/LeaseKeepAlive", r#"{"ID":"999"}"#, User),
    ("/etcdserverpb.Lease/LeaseTimeToLive", r#"{"ID":"77"}"#, User),
    ("/etcdserverpb.Lease/LeaseTimeToLive", r#"{"ID":"76","keys":true}"#, Read),
    // CVE-2023-32082.
    ("/etcdserverpb.Lease/LeaseTimeToLive", r#"{"ID":"77","keys":true}"#, Root),
    // There are leases of keys that only root may read.
    ("/etcdserverpb.Lease/LeaseLeases", "{}", Root),
    ("/etcdserverpb.Lease/LeaseRevoke", r#"{"ID":"999"}"#, User),
    ("/etcdserverpb.Lease/LeaseRevoke", r#"{"ID":"77"}"#, Root),
    ("/v3lockpb.Lock/Lock", r#"{"name":"«a/@»","lease":"76"}"#, Both),
    ("/v3lockpb.Lock/Lock", r#"{"name":"«x/@»","lease":"78"}"#, Root),
    ("/v3lockpb.Lock/Unlock", r#"{"key":"«a/@/none»"}"#, Write),
    ("/v3lockpb.Lock/Unlock", r#"{"key":"«x/@/none»"}"#, Root),
    ("/v3electionpb.Election/Campaign", r#"{"name":"«a/@/e»","lease":"76","value":"«v»"}"#, Both),
    ("/v3electionpb.Election/Campaign", r#"{"name":"«x/@/e»","lease":"78"}"#, Root),
    (
        "/v3electionpb.Election/Proclaim",
        r#"{"leader":{"name":"«a/n»","key":"«a/n/4c»","rev":"5","lease":"76"},"value":"«v»"}"#,
        Both,
    ),
    (
        "/v3electionpb.Election/Proclaim",
        r#"{"leader":{"name":"«x/n»","key":"«x/n/4c»","rev":"5","lease":"76"},"value":"«v»"}"#,
        Root,
    ),
    ("/v3electionpb.Election/Leader", r#"{"name":"«a/elected»"}"#, Read),
    ("/v3electionpb.Election/Leader", r#"{"name":"«x/elected»"}"#, Root),
    ("/v3electionpb.Election/Observe", r#"{"name":"«a/elected»"}"#, Read),
    ("/v3electionpb.Election/Observe", r#"{"name":"«x/elected»"}"#, Root),
    (
        "/v3electionpb.Election/Resign",
        r#"{"leader":{"name":"«a/n»","key":"«a/n/4c»","rev":"5","lease":"76"}}"#,
        Both,
    ),
    (
        "/v3electionpb.Election/Resign",
        r#"{"leader":{"name":"«x/n»","key":"«x/n/4c»","rev":"5","lease":"76"}}"#,
        Root,
    ),
    ("/etcdserverpb.Cluster/MemberList", "{}", User),
    ("/etcdserverpb.Cluster/MemberList", r#"{"linearizable":true}"#, User),
    ("/etcdserverpb.Cluster/MemberAdd", r#"{"peerURLs":["http://127.0.0.1:1"]}"#, Root),
    ("/etcdserverpb.Cluster/MemberRemove", r#"{"ID":"1"}"#, Root),
    ("/etcdserverpb.Cluster/MemberUpdate", r#"{"ID":"1"}"#, Root),
    ("/etcdserverpb.Cluster/MemberPromote", r#"{"ID":"1"}"#, Root),
    ("/etcdserverpb.Maintenance/Alarm", "{}", User),
    ("/etcdserverpb.Maintenance/Alarm", r#"{"action":"DEACTIVATE","alarm":"NOSPACE"}"#, Root),
    ("/etcdserverpb.Maintenance/Alarm", r#"{"action":"ACTIVATE","memberID":"1"}"#, Root),
    ("/etcdserverpb.Maintenance/Status", "{}", User),
    ("/etcdserverpb.Maintenance/Defragment", "{}", Root),
    ("/etcdserverpb.Maintenance/Hash", "{}", Root),
    ("/etcdserverpb.Maintenance/HashKV", "{}", Root),
    ("/etcdserverpb.Maintenance/Snapshot", "{}", Root),
    ("/etcdserverpb.Maintenance/MoveLeader", r#"{"targetID":"1"}"#, Root),
    ("/etcdserverpb.Maintenance/Downgrade", r#"{"version":"3.5.0"}"#, Root),
    ("/etcdserverpb.Auth/AuthStatus", "{}", Nothing),
    ("/etcdserverpb.Auth/Authenticate", r#"{"name":"nobody","password":"x"}"#, Nothing),
    ("/etcdserverpb.Auth/UserAdd", r#"{"name":"reader","password":"x"}"#, Root),
    ("/etcdserverpb.Auth/UserGet", r#"{"name":"@"}"#, User),
    ("/etcdserverpb.Auth/UserGet", r#"{"name":"root"}"#, Root),
    ("/etcdserverpb.Auth/UserList", "{}", Root),
    ("/etcdserverpb.Auth/UserDelete", r#"{"name":"nobody"}"#, Root),
    ("/etcdserverpb.Auth/UserChangePassword", r#"{"name":"nobody","password":"x"}"#, Root),
    ("/etcdserverpb.Auth/UserGrantRole", r#"{"user":"@","role":"root"}"#, Root),
    ("/etcdserverpb.Auth/UserRevokeRole", r#"{"name":"nobody","role":"root"}"#, Root),
    ("/etcdserverpb.Auth/RoleAdd", r#"{"name":"reader"}"#, Root),
    ("/etcdserverpb.Auth/RoleGet", r#"{"role":"@"}"#, User),
    ("/etcdserverpb.Auth/RoleGet", r#"{"role":"root"}"#, Root),
    ("/etcdserverpb.Auth/RoleList", "{}", Root),
    ("/etcdserverpb.Auth/RoleDelete", r#"{"role":"nothing"}"#, Root),
    (
        "/etcdserverpb.Auth/RoleGrantPermission",
        r#"{"name":"nothing","perm":{"permType":"READ","key":"«k»"}}"#,
        Root,
    ),
    ("/etcdserverpb.Auth/RoleRevokePermission", r#"{"role":"nothing","key":"«k»"}"#, Root),
    ("/etcdserverpb.Auth/AuthEnable", "{}", Root),
    // The last one: root does it.
    ("/etcdserverpb.Auth/AuthDisable", "{}", Root),
];

/// Who calls, and what becomes of what needs this.
struct Caller {
    name: &'static str,
    token: Option<String>,
    refusal: &'static str,
    may: &'static [Needs],
}

impl Caller {
    fn expected(&self, needs: Needs) -> Option<String> {
        if needs == Nothing || self.may.contains(&needs) {
            return None;
        }
        Some(self.refusal.to_owned())
    }
}

/// The JSON of a row for a caller.
fn json_for(row: &str, caller: &str, way: &str) -> String {
    let is_key = row.contains('«');
    let row = row.replace('@', &if is_key { format!("{caller}{way}") } else { caller.to_owned() });
    let mut parts = row.split('«');
    let mut json = parts.next().unwrap().to_owned();
    for part in parts {
        let (text, rest) = part.split_once('»').unwrap();
        json.push_str(&BASE64_STANDARD.encode(text));
        json.push_str(rest);
    }
    json
}

/// Users, roles, leases and keys; auth is enabled.
pub(super) async fn prepare(client: &Client) {
    for (name, _) in USERS {
        client.user_add(name, PASSWORD).await.unwrap();
        if name != "root" {
            let role = pb::AuthRoleAddRequest { name: name.to_owned() };
            client.auth().role_add(client.ask(role)).await.unwrap();
            let perm_type = ["reader", "writer", "both"].iter().position(|user| *user == name);
            let perm = Permission {
                perm_type: i32::try_from(perm_type.unwrap()).unwrap(),
                key: "a".into(),
                range_end: "b".into(),
            };
            let grant =
                pb::AuthRoleGrantPermissionRequest { name: name.to_owned(), perm: Some(perm) };
            client.auth().role_grant_permission(client.ask(grant)).await.unwrap();
        }
        client.grant_role(name, name).await.unwrap();
    }
    for (path, json) in [
        ("/etcdserverpb.Lease/LeaseGrant", r#"{"TTL":"600","ID":"76"}"#),
        ("/etcdserverpb.Lease/LeaseGrant", r#"{"TTL":"600","ID":"77"}"#),
        ("/etcdserverpb.Lease/LeaseGrant", r#"{"TTL":"600","ID":"78"}"#),
        ("/etcdserverpb.KV/Put", r#"{"key":"«a/leased»","lease":"76"}"#),
        ("/etcdserverpb.KV/Put", r#"{"key":"«x/leased»","lease":"77"}"#),
        ("/v3electionpb.Election/Campaign", r#"{"name":"«a/elected»","lease":"76"}"#),
        ("/v3electionpb.Election/Campaign", r#"{"name":"«x/elected»","lease":"78"}"#),
    ] {
        let call = calls().iter().find(|call| call.path() == path).unwrap();
        let passed = over_grpc(client, call, &json_for(json, "", "")).await;
        assert_eq!(passed, Outcome::Passed(String::new()), "{path}");
    }
    client.enable().await.unwrap();
}

/// Goes through the table with everybody; root's turn is the last of each row.
async fn go_through(client: &Client, callers: &[Caller]) {
    let address = client.address;
    // Nobody enables what the last rows need disabled.
    let is_enabled = callers.iter().any(|caller| !caller.refusal.is_empty());
    let rows = ROWS.iter().filter(|(path, ..)| is_enabled || !path.ends_with("/AuthEnable"));
    for (path, row, needs) in rows {
        let call =
            calls().iter().find(|call| call.path() == *path).expect("it is in the interface");
        let routed = routes().find(|(_, grpc)| grpc == path);
        for caller in callers {
            let expected = caller.expected(*needs);
            let who = Client { token: caller.token.clone(), ..client.clone() };
            let mut found = vec![over_grpc(&who, call, &json_for(row, caller.name, "")).await];
            if let Some((http_path, _)) = routed {
                let mut http = Http::one(address).await;
                let json = json_for(row, caller.name, "-http");
                let token = caller.token.as_deref();
                found.push(over_http(&mut http, (call, http_path), token, &json).await);
                if *path == "/etcdserverpb.Auth/AuthDisable" && caller.name == "root" {
                    // It is disabled by the first of the two.
                    found.truncate(1);
                }
            }
            for found in found {
                match (&expected, &found) {
                    (None, Outcome::Passed(_)) => {}
                    (Some(expected), Outcome::Refused(told)) if expected == told => {}
                    _ => panic!("{path} {row} by {}: {found:?}, not {expected:?}", caller.name),
                }
            }
        }
    }
}

const INVALID: &str = "etcdserver: invalid auth token";
const DENIED: &str = "etcdserver: permission denied";
const NAMELESS: &str = "etcdserver: user name is empty";

async fn callers(client: &Client, bad: Vec<(&'static str, String)>) -> Vec<Caller> {
    let nobody = Caller { name: "nobody", token: None, refusal: NAMELESS, may: &[] };
    let bad = bad.into_iter().map(|(name, token)| Caller {
        name,
        token: Some(token),
        refusal: INVALID,
        may: &[],
    });
    let mut callers: Vec<Caller> = [nobody].into_iter().chain(bad).collect();
    for (name, may) in USERS {
        let token = Some(client.login(name, PASSWORD).await.unwrap());
        callers.push(Caller { name, token, refusal: DENIED, may });
    }
    callers
}

#[test]
fn every_call_of_the_interface_has_a_row() {
    let rows: BTreeSet<&str> = ROWS.iter().map(|(path, ..)| *path).collect();
    for call in calls() {
        assert!(rows.contains(call.path()), "{} has no row: what does it need?", call.path());
        // A stream of the next etcd, which has no path over HTTP yet.
        let is_routed = routes().any(|(_, grpc)| grpc == call.path())
            || call.path() == "/etcdserverpb.KV/RangeStream";
        assert!(is_routed, "{} is not on the gateway", call.path());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_call_by_everybody_with_simple_tokens() {
    let temp = tempfile::tempdir().unwrap();
    let other = start(&configs_with(&temp.path().join("other"), 1, &[])).await;
    let foreign = {
        let client = Client::of(&other[0]).await;
        prepare(&client).await;
        client.login("root", PASSWORD).await.unwrap()
    };
    shutdown(other).await;

    let servers = start(&configs_with(&temp.path().join("this"), 1, &[])).await;
    let client = Client::of(&servers[0]).await;
    prepare(&client).await;
    let root = client.with(&client.login("root", PASSWORD).await.unwrap());
    root.user_add("former", PASSWORD).await.unwrap();
    root.grant_role("former", "root").await.unwrap();
    let stale = client.login("former", PASSWORD).await.unwrap();
    root.change_password("former", "another").await.unwrap();
    let bad = vec![("wrong", "wrong".to_owned()), ("foreign", foreign), ("stale", stale)];
    let callers = callers(&client, bad).await;
    go_through(&client, &callers).await;

    // The last row has disabled auth: now everybody may everything, whatever they show.
    let anybody = |name, token: Option<&str>| Caller {
        name,
        token: token.map(str::to_owned),
        refusal: "",
        may: &[User, Read, Write, Both, Root],
    };
    go_through(&client, &[anybody("n", None), anybody("w", Some("wrong"))]).await;
    shutdown(servers).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_call_by_everybody_with_json_web_tokens() {
    let temp = tempfile::tempdir().unwrap();
    let key = temp.path().join("key");
    std::fs::write(&key, "the key of this cluster").unwrap();
    let option = format!("--auth-token=jwt,sign-method=HS256,priv-key={},ttl=10m", key.display());
    let servers = start(&configs_with(&temp.path().join("this"), 1, &[&option])).await;
    let client = Client::of(&servers[0]).await;
    prepare(&client).await;
    let signed = |key: &str, exp: u64| {
        let claims = json!({ "username": "root", "revision": 1_000, "exp": exp });
        let key = EncodingKey::from_secret(key.as_bytes());
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &key).unwrap()
    };
    let (later, earlier) = (u64::from(u32::MAX), 1_000_000_000);
    let bad = vec![
        ("expired", signed("the key of this cluster", earlier)),
        ("foreign", signed("the key of another cluster", later)),
        ("unsigned", signed("", later)),
    ];
    let callers = callers(&client, bad).await;
    go_through(&client, &callers).await;
    shutdown(servers).await;
}

/// Every call, by root.
pub(super) async fn go_through_as_root(client: &Client, token: String) {
    let may = &[User, Read, Write, Both, Root];
    go_through(client, &[Caller { name: "root", token: Some(token), refusal: DENIED, may }]).await;
}
