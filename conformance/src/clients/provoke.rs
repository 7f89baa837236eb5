//! The requests that provoke errors, in their order: each leaves the cluster as the next wants it.

mod elections;
pub mod old_tokens;

use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use synod_etcd::EtcdError;
use synod_etcd::proto::authpb::Permission;
use synod_etcd::proto::etcdserverpb::auth_client::AuthClient;
use synod_etcd::proto::etcdserverpb::cluster_client::ClusterClient;
use synod_etcd::proto::etcdserverpb::kv_client::KvClient;
use synod_etcd::proto::etcdserverpb::lease_client::LeaseClient;
use synod_etcd::proto::etcdserverpb::maintenance_client::MaintenanceClient;
use synod_etcd::proto::etcdserverpb::request_op::Request as Op;
use synod_etcd::proto::etcdserverpb::*;
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

use super::errors::Answers;
use crate::cluster::{Cluster, MEMBERS, connect};

/// The longest wait for one answer.
const CALL_MAX: Duration = Duration::from_secs(10);

/// Sends all requests to a cluster.
pub async fn provoke(cluster: &mut Cluster) -> anyhow::Result<Answers> {
    let leader = cluster.leader().await?;
    let channel = connect(&cluster.url(leader), CALL_MAX).await?;
    let follower = connect(&cluster.url((leader + 1) % MEMBERS), CALL_MAX).await?;
    let mut answers = Answers::new();
    keys(&channel, &mut answers).await?;
    leases(&channel, &mut answers).await;
    members(cluster, &channel, &follower, &mut answers).await;
    users(&channel, &mut answers).await;
    authenticated(&channel, &mut answers).await?;
    alarms(&channel, &mut answers).await;
    elections::leader_changes(cluster, &mut answers).await?;
    without_quorum(cluster, &mut answers).await?;
    Ok(answers)
}

/// Notes an answer under the error that it should be.
fn note<T>(answers: &mut Answers, error: EtcdError, answer: Result<Response<T>, Status>) {
    let text = match answer {
        Ok(_) => "accepted".to_owned(),
        Err(status) => format!("{:?}: {}", status.code(), status.message()),
    };
    answers.insert(format!("{error:?}"), text);
}

fn key(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

async fn keys(channel: &Channel, answers: &mut Answers) -> anyhow::Result<()> {
    let mut kv = KvClient::new(channel.clone()).max_encoding_message_size(usize::MAX);
    let put = |name: &'static str| PutRequest { key: key(name), ..PutRequest::default() };
    let range = |revision| RangeRequest { key: key("e"), revision, ..RangeRequest::default() };
    note(answers, EtcdError::EmptyKey, kv.put(put("")).await);
    let request = PutRequest { ignore_value: true, ..put("absent") };
    note(answers, EtcdError::KeyNotFound, kv.put(request).await);
    let request = PutRequest { value: key("v"), ignore_value: true, ..put("e") };
    note(answers, EtcdError::ValueProvided, kv.put(request).await);
    let request = PutRequest { lease: 1, ignore_lease: true, ..put("e") };
    note(answers, EtcdError::LeaseProvided, kv.put(request).await);
    let many = |count: usize| TxnRequest {
        success: vec![RequestOp { request: Some(Op::RequestRange(range(0))) }; count],
        ..TxnRequest::default()
    };
    note(answers, EtcdError::TooManyOps, kv.txn(many(129)).await);
    let op = RequestOp { request: Some(Op::RequestPut(put("e"))) };
    let request = TxnRequest { success: vec![op.clone(), op], ..TxnRequest::default() };
    note(answers, EtcdError::DuplicateKey, kv.txn(request).await);
    let large = PutRequest { value: vec![b'x'; 1_600_000].into(), ..put("e") };
    note(answers, EtcdError::RequestTooLarge, kv.put(large).await);
    kv.put(put("e")).await?;
    let last = kv.put(put("e")).await?.into_inner();
    let revision = last.header.context("an answer without a header")?.revision;
    note(answers, EtcdError::FutureRevision, kv.range(range(revision + 1000)).await);
    kv.compact(CompactionRequest { revision, ..CompactionRequest::default() }).await?;
    note(answers, EtcdError::Compacted, kv.range(range(revision - 1)).await);
    Ok(())
}

async fn leases(channel: &Channel, answers: &mut Answers) {
    let mut lease = LeaseClient::new(channel.clone());
    let grant = |ttl| LeaseGrantRequest { id: 77, ttl };
    note(answers, EtcdError::LeaseTtlTooLarge, lease.lease_grant(grant(9_000_000_001)).await);
    note(answers, EtcdError::LeaseExists, lease.lease_grant(grant(60)).await);
    note(answers, EtcdError::LeaseExists, lease.lease_grant(grant(60)).await);
    let request = LeaseRevokeRequest { id: 12_345 };
    note(answers, EtcdError::LeaseNotFound, lease.lease_revoke(request).await);
}

async fn members(cluster: &Cluster, channel: &Channel, follower: &Channel, answers: &mut Answers) {
    let mut members = ClusterClient::new(channel.clone());
    let add = |url: String| MemberAddRequest { peer_ur_ls: vec![url], is_learner: false };
    note(answers, EtcdError::MemberBadUrls, members.member_add(add("no url".to_owned())).await);
    let known = format!("http://127.0.0.1:{}", cluster.members()[0].peer_port);
    let mut answer = members.member_add(add(known.clone())).await;
    for _ in 0..40 {
        // Members that have just met do not count as connected for five seconds.
        if !answer.as_ref().is_err_and(|status| status.message().contains("unhealthy")) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
        answer = members.member_add(add(known.clone())).await;
    }
    note(answers, EtcdError::PeerUrlExists, answer);
    let request = MemberRemoveRequest { id: 1 };
    note(answers, EtcdError::MemberNotFound, members.member_remove(request).await);
    let request = MoveLeaderRequest { target_id: 1 };
    let mut leader = MaintenanceClient::new(channel.clone());
    note(answers, EtcdError::BadLeaderTransferee, leader.move_leader(request).await);
    let mut other = MaintenanceClient::new(follower.clone());
    note(answers, EtcdError::NotLeader, other.move_leader(request).await);
}

async fn users(channel: &Channel, answers: &mut Answers) {
    let mut auth = AuthClient::new(channel.clone());
    note(answers, EtcdError::RootUserNotExist, auth.auth_enable(AuthEnableRequest {}).await);
    note(answers, EtcdError::UserEmpty, auth.user_add(user("")).await);
    let _ = auth.user_add(user("root")).await;
    note(answers, EtcdError::RootRoleNotExist, auth.auth_enable(AuthEnableRequest {}).await);
    note(answers, EtcdError::UserAlreadyExists, auth.user_add(user("root")).await);
    let request = AuthUserGetRequest { name: "absent".to_owned() };
    note(answers, EtcdError::UserNotFound, auth.user_get(request).await);
    note(answers, EtcdError::RoleEmpty, auth.role_add(role("")).await);
    let _ = auth.role_add(role("root")).await;
    note(answers, EtcdError::RoleAlreadyExists, auth.role_add(role("root")).await);
    let request = AuthRoleGetRequest { role: "absent".to_owned() };
    note(answers, EtcdError::RoleNotFound, auth.role_get(request).await);
    let _ = auth.role_add(role("reader")).await;
    let request = AuthRoleRevokePermissionRequest {
        role: "reader".to_owned(),
        key: key("e"),
        range_end: Bytes::new(),
    };
    note(answers, EtcdError::PermissionNotGranted, auth.role_revoke_permission(request).await);
    let request = AuthUserRevokeRoleRequest { name: "root".to_owned(), role: "reader".to_owned() };
    note(answers, EtcdError::RoleNotGranted, auth.user_revoke_role(request).await);
    note(answers, EtcdError::AuthNotEnabled, auth.authenticate(login("root", "pw")).await);
}

/// With authentication on: tokens, passwords, permissions.
async fn authenticated(channel: &Channel, answers: &mut Answers) -> anyhow::Result<()> {
    let mut auth = AuthClient::new(channel.clone());
    let mut kv = KvClient::new(channel.clone());
    let _ = auth.user_add(user("ann")).await;
    let _ = auth.user_grant_role(grant("ann", "reader")).await;
    let _ = auth.user_grant_role(grant("root", "root")).await;
    let perm = Permission { perm_type: 0, key: key("open"), range_end: Bytes::new() };
    let perm = AuthRoleGrantPermissionRequest { name: "reader".to_owned(), perm: Some(perm) };
    let enabled = auth.role_grant_permission(perm).await.is_ok()
        && auth.auth_enable(AuthEnableRequest {}).await.is_ok();
    if !enabled {
        for error in [EtcdError::AuthFailed, EtcdError::InvalidAuthToken] {
            let refused = Status::unavailable("authentication cannot be enabled");
            note::<()>(answers, error, Err(refused));
        }
        return Ok(());
    }
    note(answers, EtcdError::AuthFailed, auth.authenticate(login("ann", "wrong")).await);
    let read = || RangeRequest { key: key("e"), ..RangeRequest::default() };
    note(answers, EtcdError::InvalidAuthToken, kv.range(with("no.1", read())).await);
    let root = auth.authenticate(login("root", "pw")).await?.into_inner().token;
    let ann = auth.authenticate(login("ann", "pw")).await?.into_inner().token;
    note(answers, EtcdError::PermissionDenied, kv.range(with(&ann, read())).await);
    let request = with(&root, AuthUserDeleteRequest { name: "root".to_owned() });
    note(answers, EtcdError::InvalidAuthManagement, auth.user_delete(request).await);
    auth.auth_disable(with(&root, AuthDisableRequest {})).await?;
    Ok(())
}

/// Alarms raised by hand refuse what those raised by a full disk or a wrong digest do.
async fn alarms(channel: &Channel, answers: &mut Answers) {
    let mut maintenance = MaintenanceClient::new(channel.clone());
    let mut kv = KvClient::new(channel.clone());
    let put = || PutRequest { key: key("alarmed"), ..PutRequest::default() };
    for (alarm, error) in [(1, EtcdError::NoSpace), (2, EtcdError::Corrupt)] {
        let request = |action| AlarmRequest { action, member_id: 0, alarm };
        let raised = maintenance.alarm(request(1)).await;
        let answer = match raised {
            Ok(_) => kv.put(put()).await,
            Err(status) => Err(status),
        };
        note(answers, error, answer);
        let _ = maintenance.alarm(request(2)).await;
    }
}

/// The leader and another are killed; the third has nobody to ask.
async fn without_quorum(cluster: &mut Cluster, answers: &mut Answers) -> anyhow::Result<()> {
    let leader = cluster.leader().await?;
    // It is the follower that is asked, so that it notices that its leader is gone.
    let alone = (leader + 1) % MEMBERS;
    let mut kv = KvClient::new(connect(&cluster.url(alone), CALL_MAX * 3).await?);
    cluster.kill_member(leader)?;
    cluster.kill_member((leader + 2) % MEMBERS)?;
    let put = || PutRequest { key: key("alone"), ..PutRequest::default() };
    let mut answer = kv.put(put()).await;
    for _ in 0..3 {
        // The first is cut off with the leader, and says so in other words.
        if answer.as_ref().is_err_and(|status| status.message().ends_with("timed out")) {
            break;
        }
        answer = kv.put(put()).await;
    }
    note(answers, EtcdError::Timeout, answer);
    let mut request = Request::new(put());
    request.metadata_mut().insert("hasleader", "true".parse()?);
    note(answers, EtcdError::NoLeader, kv.put(request).await);
    Ok(())
}

/// A request with a token.
fn with<T>(token: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    if let Ok(value) = token.parse() {
        request.metadata_mut().insert("token", value);
    }
    request
}

fn user(name: &str) -> AuthUserAddRequest {
    let (name, password) = (name.to_owned(), "pw".to_owned());
    AuthUserAddRequest { name, password, ..AuthUserAddRequest::default() }
}

fn role(name: &str) -> AuthRoleAddRequest {
    AuthRoleAddRequest { name: name.to_owned() }
}

fn grant(user: &str, role: &str) -> AuthUserGrantRoleRequest {
    AuthUserGrantRoleRequest { user: user.to_owned(), role: role.to_owned() }
}

fn login(name: &str, password: &str) -> AuthenticateRequest {
    AuthenticateRequest { name: name.to_owned(), password: password.to_owned() }
}
