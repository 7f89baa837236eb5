//! Everything that clients can find out about a store.

use std::collections::BTreeMap;

use anyhow::Context;
use synod_etcd::proto::authpb::Permission;
use synod_etcd::proto::etcdserverpb as pb;
use synod_etcd::proto::mvccpb::KeyValue;

use super::session::{Session, USER};

/// What a store holds.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Contents {
    revision: i64,
    /// All keys at revisions of the past and now; none where it is compacted.
    keys: BTreeMap<i64, Option<Vec<KeyValue>>>,
    /// The TTL of leases, and their keys.
    leases: BTreeMap<i64, (i64, Vec<bytes::Bytes>)>,
    /// Roles of users.
    users: BTreeMap<String, Vec<String>>,
    roles: BTreeMap<String, Vec<(i32, bytes::Bytes, bytes::Bytes)>>,
}

/// How far back it looks: beyond what was compacted.
const REVISIONS: i64 = 24;

impl Contents {
    pub(super) async fn read(session: &Session) -> anyhow::Result<Self> {
        let now = session.range("", 0).await?;
        let revision = now.header.context("an answer has a header")?.revision;
        let mut keys = BTreeMap::new();
        for at in revision - REVISIONS..=revision {
            let answer = session.range("", at).await;
            let compacted = "required revision has been compacted";
            let found = match answer {
                Ok(answer) => Some(answer.kvs),
                Err(error) if format!("{error:#}").contains(compacted) => None,
                Err(error) => return Err(error),
            };
            keys.insert(at, found);
        }
        let leases = leases(session).await?;
        let (users, roles) = (users(session).await?, roles(session).await?);
        Ok(Self { revision, keys, leases, users, roles })
    }

    /// What is not the same after a move.
    pub(super) fn differences(&self, after: &Self) -> Vec<String> {
        let mut told = Vec::new();
        let mut tell = |what: &str, is_same: bool, before: String, after: String| {
            if !is_same {
                let cut = |text: String| text.chars().take(600).collect::<String>();
                told.push(format!("{what}: before {}, after {}", cut(before), cut(after)));
            }
        };
        macro_rules! field {
            ($($name:ident)*) => {$(
                let (one, other) = (&self.$name, &after.$name);
                tell(stringify!($name), one == other, format!("{one:?}"), format!("{other:?}"));
            )*};
        }
        field!(revision leases users roles);
        for (at, before) in &self.keys {
            let after = after.keys.get(at);
            tell(
                &format!("keys at revision {at}"),
                Some(before) == after,
                format!("{before:?}"),
                format!("{after:?}"),
            );
        }
        told
    }
}

async fn leases(session: &Session) -> anyhow::Result<BTreeMap<i64, (i64, Vec<bytes::Bytes>)>> {
    let mut client = session.leases();
    let request = session.request(pb::LeaseLeasesRequest {})?;
    let all = client.lease_leases(request).await?.into_inner().leases;
    let mut leases = BTreeMap::new();
    for pb::LeaseStatus { id } in all {
        let request = session.request(pb::LeaseTimeToLiveRequest { id, keys: true })?;
        let mut lease = client.lease_time_to_live(request).await?.into_inner();
        lease.keys.sort();
        leases.insert(id, (lease.granted_ttl, lease.keys));
    }
    Ok(leases)
}

async fn users(session: &Session) -> anyhow::Result<BTreeMap<String, Vec<String>>> {
    let mut client = session.auth();
    let request = session.request(pb::AuthUserListRequest {})?;
    let mut users = BTreeMap::new();
    for name in client.user_list(request).await?.into_inner().users {
        let request = session.request(pb::AuthUserGetRequest { name: name.clone() })?;
        users.insert(name, client.user_get(request).await?.into_inner().roles);
    }
    Ok(users)
}

async fn roles(
    session: &Session,
) -> anyhow::Result<BTreeMap<String, Vec<(i32, bytes::Bytes, bytes::Bytes)>>> {
    let mut client = session.auth();
    let request = session.request(pb::AuthRoleListRequest {})?;
    let mut roles = BTreeMap::new();
    for role in client.role_list(request).await?.into_inner().roles {
        if role == USER {
            // It may everything, whatever was granted to it: 3.6 says so when it is asked, as does
            // Synod, and 3.4 does not.
            roles.insert(role, Vec::new());
            continue;
        }
        let request = session.request(pb::AuthRoleGetRequest { role: role.clone() })?;
        let granted = client.role_get(request).await?.into_inner().perm;
        let granted = granted
            .into_iter()
            .map(|Permission { perm_type, key, range_end }| (perm_type, key, range_end));
        roles.insert(role, granted.collect());
    }
    Ok(roles)
}
