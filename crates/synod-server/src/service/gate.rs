//! What each call needs before it is looked at, while auth is enabled.
//!
//! A call that is not in the table is denied: a new one must say what it needs. What is
//! [`Inside`](Requirement::Inside) is checked where it is carried out, by what it names.

use synod_kv::Need;

/// What a call needs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Requirement {
    /// Nothing: it is how one signs in, or finds out whether one must.
    Nothing,
    /// What the keys, leases and users it names need: the log and the reader look.
    Inside,
    /// To be a user.
    User,
    /// To have the role `root`.
    Root,
}

impl Requirement {
    /// What is to be checked at the door.
    pub(super) const fn need(self) -> Option<Need> {
        match self {
            Self::Nothing | Self::Inside => None,
            Self::User => Some(Need::User),
            Self::Root => Some(Need::Root),
        }
    }
}

/// What the call with this path needs; none if it is not known.
pub(super) fn requirement(path: &str) -> Option<Requirement> {
    use Requirement::{Inside, Nothing, Root, User};
    let (service, method) = path.strip_prefix('/')?.split_once('/')?;
    Some(match (service, method) {
        ("etcdserverpb.KV", "Range" | "Put" | "DeleteRange" | "Txn" | "RangeStream") => Inside,
        ("etcdserverpb.KV", "Compact") => Root,
        ("etcdserverpb.Watch", "Watch") => Inside,
        (
            "etcdserverpb.Lease",
            "LeaseGrant" | "LeaseRevoke" | "LeaseKeepAlive" | "LeaseTimeToLive" | "LeaseLeases",
        ) => Inside,
        ("etcdserverpb.Cluster", "MemberList") => User,
        (
            "etcdserverpb.Cluster",
            "MemberAdd" | "MemberRemove" | "MemberUpdate" | "MemberPromote",
        ) => Root,
        // To raise or clear an alarm needs more, and the log looks.
        ("etcdserverpb.Maintenance", "Alarm" | "Status") => User,
        (
            "etcdserverpb.Maintenance",
            "Defragment" | "Hash" | "HashKV" | "Snapshot" | "MoveLeader" | "Downgrade",
        ) => Root,
        ("etcdserverpb.Auth", "Authenticate" | "AuthStatus") => Nothing,
        ("etcdserverpb.Auth", "UserGet" | "RoleGet") => Inside,
        (
            "etcdserverpb.Auth",
            "AuthEnable"
            | "AuthDisable"
            | "UserAdd"
            | "UserList"
            | "UserDelete"
            | "UserChangePassword"
            | "UserGrantRole"
            | "UserRevokeRole"
            | "RoleAdd"
            | "RoleList"
            | "RoleDelete"
            | "RoleGrantPermission"
            | "RoleRevokePermission",
        ) => Root,
        ("v3lockpb.Lock", "Lock" | "Unlock") => Inside,
        ("v3electionpb.Election", "Campaign" | "Proclaim" | "Leader" | "Observe" | "Resign") => {
            Inside
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_call_of_the_interface_says_what_it_needs() {
        let calls = synod_etcd::json::calls();
        assert!(calls.len() > 40, "{} calls", calls.len());
        for call in calls {
            assert!(requirement(call.path()).is_some(), "{} is not classified", call.path());
        }
    }

    #[test]
    fn what_nobody_has_classified_is_denied() {
        for path in ["", "/", "/etcdserverpb.KV/Rang", "/etcdserverpb.KV/", "etcdserverpb.KV/Put"] {
            assert_eq!(requirement(path), None, "{path}");
        }
    }
}
