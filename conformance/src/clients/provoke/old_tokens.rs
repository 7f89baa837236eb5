//! A JWT that is older than the last change of users and roles.

use std::io::Write as _;
use std::path::Path;

use anyhow::Context;
use synod_etcd::EtcdError;
use synod_etcd::proto::etcdserverpb::auth_client::AuthClient;
use synod_etcd::proto::etcdserverpb::kv_client::KvClient;
use synod_etcd::proto::etcdserverpb::*;
use tempfile::NamedTempFile;

use super::super::errors::Answers;
use super::{CALL_MAX, grant, key, login, note, role, user, with};
use crate::cluster::{Cluster, connect};

/// A secret that members share, and the flag that names it.
#[derive(Debug)]
pub struct Secret {
    file: NamedTempFile,
}

impl Secret {
    /// Writes it into a file in `folder`.
    pub fn new(folder: &Path) -> anyhow::Result<Self> {
        let mut file = NamedTempFile::new_in(folder)?;
        file.write_all(b"a secret that is long enough for HMAC with SHA-256")?;
        Ok(Self { file })
    }

    /// The flag.
    #[must_use]
    pub fn flag(&self) -> String {
        format!("--auth-token=jwt,sign-method=HS256,priv-key={}", self.file.path().display())
    }
}

/// Signs in, adds a user, and uses the token from before.
pub async fn provoke(cluster: &Cluster) -> anyhow::Result<Answers> {
    let channel = connect(&cluster.url(cluster.leader().await?), CALL_MAX).await?;
    let (mut auth, mut kv) = (AuthClient::new(channel.clone()), KvClient::new(channel));
    auth.user_add(user("root")).await?;
    auth.role_add(role("root")).await?;
    auth.user_grant_role(grant("root", "root")).await?;
    auth.auth_enable(AuthEnableRequest {}).await?;
    let token = auth.authenticate(login("root", "pw")).await?.into_inner().token;
    let read = || with(&token, RangeRequest { key: key("e"), ..RangeRequest::default() });
    kv.range(read()).await.context("a read with a new token")?;
    auth.user_add(with(&token, user("ann"))).await?;
    let mut answers = Answers::new();
    note(&mut answers, EtcdError::AuthOldRevision, kv.range(read()).await);
    Ok(answers)
}
