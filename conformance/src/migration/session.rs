//! A client of one member, signed in or not, and what it writes.

use std::time::Instant;

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use synod_etcd::proto::authpb::{Permission, UserAddOptions};
use synod_etcd::proto::etcdserverpb as pb;
use synod_etcd::proto::etcdserverpb::auth_client::AuthClient;
use synod_etcd::proto::etcdserverpb::kv_client::KvClient;
use synod_etcd::proto::etcdserverpb::lease_client::LeaseClient;
use synod_etcd::proto::etcdserverpb::request_op::Request as Op;
use tonic::Request;
use tonic::transport::Channel;

use super::READY_MAX;
use crate::cluster::{Cluster, MEMBERS, connect};
use crate::compare::CALL_MAX;
use crate::process::POLL;

pub(super) const USER: &str = "root";
pub(super) const PASSWORD: &str = "a password of root's";
const ROLE: &str = "reader";
/// Longer than anything here takes.
const TTL: i64 = 36_000;

pub(super) struct Session {
    pub(super) channel: Channel,
    token: Option<String>,
}

impl Session {
    /// Waits until every member serves, and is a client of the first one.
    pub(super) async fn open(cluster: &mut Cluster, signed_in: bool) -> anyhow::Result<Self> {
        let mut first = None;
        for at in (0..MEMBERS).rev() {
            first = Some(Self::open_member(cluster, at, signed_in).await?);
        }
        first.context("a cluster has members")
    }

    async fn open_member(cluster: &mut Cluster, at: usize, sign: bool) -> anyhow::Result<Self> {
        let deadline = Instant::now() + READY_MAX;
        loop {
            cluster.check_running(at)?;
            let error = match Self::try_open(&cluster.url(at), sign).await {
                Ok(session) => return Ok(session),
                Err(error) => error,
            };
            if Instant::now() > deadline {
                bail!("member {} does not serve after {READY_MAX:?}: {error:#}", at + 1);
            }
            tokio::time::sleep(POLL * 5).await;
        }
    }

    async fn try_open(url: &str, sign: bool) -> anyhow::Result<Self> {
        let mut session = Self { channel: connect(url, CALL_MAX).await?, token: None };
        if sign {
            let refused = session.range("x", 0).await;
            ensure!(refused.is_err(), "it answers who is nobody");
            session.sign_in(PASSWORD).await?;
        }
        session.range("x", 0).await?;
        Ok(session)
    }

    pub(super) fn request<T>(&self, message: T) -> anyhow::Result<Request<T>> {
        let mut request = Request::new(message);
        if let Some(token) = &self.token {
            request.metadata_mut().insert("token", token.parse()?);
        }
        Ok(request)
    }

    pub(super) fn kv(&self) -> KvClient<Channel> {
        KvClient::new(self.channel.clone()).max_decoding_message_size(64 << 20)
    }

    pub(super) fn auth(&self) -> AuthClient<Channel> {
        AuthClient::new(self.channel.clone())
    }

    pub(super) fn leases(&self) -> LeaseClient<Channel> {
        LeaseClient::new(self.channel.clone())
    }

    /// Everything below a prefix; with an empty one, everything.
    pub(super) async fn range(&self, key: &str, at: i64) -> anyhow::Result<pb::RangeResponse> {
        let request = match key {
            "" => pb::RangeRequest {
                key: Bytes::from_static(&[0]),
                range_end: Bytes::from_static(&[0]),
                revision: at,
                ..Default::default()
            },
            _ => {
                pb::RangeRequest { key: key.to_owned().into(), revision: at, ..Default::default() }
            }
        };
        Ok(self.kv().range(self.request(request)?).await?.into_inner())
    }

    async fn sign_in(&mut self, password: &str) -> anyhow::Result<()> {
        let (name, password) = (USER.to_owned(), password.to_owned());
        let request = pb::AuthenticateRequest { name, password };
        self.token = Some(self.auth().authenticate(request).await?.into_inner().token);
        Ok(())
    }

    /// Users and roles, while auth is disabled.
    pub(super) async fn make_users(&self) -> anyhow::Result<()> {
        let mut auth = self.auth();
        for (name, password) in [(USER, PASSWORD), ("ann", "ann's"), ("cn", "")] {
            let options = Some(UserAddOptions { no_password: password.is_empty() });
            let (name, password) = (name.to_owned(), password.to_owned());
            let request = pb::AuthUserAddRequest { name, password, options, ..Default::default() };
            auth.user_add(request).await?;
        }
        for role in [USER, ROLE] {
            auth.role_add(pb::AuthRoleAddRequest { name: role.to_owned() }).await?;
        }
        for (perm_type, key, range_end) in [(0, "a", "b"), (1, "one", ""), (2, "z", "\0")] {
            let (key, range_end) = (Bytes::from(key), Bytes::from(range_end));
            let perm = Some(Permission { perm_type, key, range_end });
            let name = ROLE.to_owned();
            let request = pb::AuthRoleGrantPermissionRequest { name, perm };
            auth.role_grant_permission(request).await?;
        }
        for (user, role) in [(USER, USER), ("ann", ROLE)] {
            let (user, role) = (user.to_owned(), role.to_owned());
            auth.user_grant_role(pb::AuthUserGrantRoleRequest { user, role }).await?;
        }
        Ok(())
    }

    /// From now on only who has a password may do anything; and wrong ones are still wrong.
    pub(super) async fn enable_auth(&mut self) -> anyhow::Result<()> {
        self.auth().auth_enable(pb::AuthEnableRequest {}).await?;
        ensure!(self.sign_in("another").await.is_err(), "any password is right");
        self.sign_in(PASSWORD).await
    }

    /// Changes of every kind: versions, deletions, transactions, leases, large values; and in
    /// between a compaction.
    pub(super) async fn write(&self, hop: usize) -> anyhow::Result<()> {
        let grant = pb::LeaseGrantRequest { ttl: TTL, ..Default::default() };
        let lease = self.leases().lease_grant(self.request(grant)?).await?.into_inner().id;
        let put = |key: String, value: Vec<u8>, lease: i64| {
            let (key, value) = (key.into(), value.into());
            pb::PutRequest { key, value, lease, ..Default::default() }
        };
        let mut kv = self.kv();
        for batch in 0..8 {
            let puts =
                (0..100).map(|at| put(format!("{hop}/many/{batch}/{at:03}"), vec![b'm'; at], 0));
            self.transact(puts.map(Op::RequestPut).collect()).await?;
        }
        let mut last = 0;
        for round in 0..3 {
            for at in 0..6 {
                let lease = if at == round { lease } else { 0 };
                let request = put(format!("{hop}/{at}"), format!("{round}").into(), lease);
                let answer = kv.put(self.request(request)?).await?.into_inner();
                last = answer.header.context("an answer has a header")?.revision;
            }
            let delete = pb::DeleteRangeRequest {
                key: format!("{hop}/3").into(),
                range_end: format!("{hop}/5").into(),
                ..Default::default()
            };
            let large = put(format!("{hop}/large"), vec![b'l'; 20_000], 0);
            self.transact(vec![Op::RequestDeleteRange(delete), Op::RequestPut(large)]).await?;
            if round == 1 {
                let request = pb::CompactionRequest { revision: last - 3, physical: true };
                kv.compact(self.request(request)?).await?;
            }
        }
        Ok(())
    }

    async fn transact(&self, ops: Vec<Op>) -> anyhow::Result<()> {
        let success = ops.into_iter().map(|op| pb::RequestOp { request: Some(op) }).collect();
        let request = pb::TxnRequest { success, ..Default::default() };
        self.kv().txn(self.request(request)?).await?;
        Ok(())
    }
}
