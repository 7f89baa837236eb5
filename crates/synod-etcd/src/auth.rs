//! Permissions, between etcd's messages and the store.

use bytes::Bytes;
use synod_kv::{Access, KeyRange, Permission, ROOT_ROLE};

use crate::error::EtcdError;
use crate::proto::authpb::{self, permission::Type};
use crate::refusal::Refusal;

/// The permission that a request grants.
///
/// # Errors
/// If it grants none, one for no key, or of a kind that etcd does not have.
pub fn permission(message: Option<authpb::Permission>) -> Result<Permission, Refusal> {
    let Some(authpb::Permission { perm_type, key, range_end }) = message else {
        return Err(EtcdError::PermissionNotGiven.into());
    };
    let access = match Type::try_from(perm_type) {
        Ok(Type::Read) => Access::Read,
        Ok(Type::Write) => Access::Write,
        Ok(Type::Readwrite) => Access::ReadWrite,
        Err(_) => return Err(EtcdError::InvalidAuthManagement.into()),
    };
    let keys = granted_keys(key, range_end);
    let permission = keys.and_then(|keys| Permission::new(access, keys));
    permission.ok_or_else(|| EtcdError::InvalidAuthManagement.into())
}

/// The keys that a permission names; none if it names none.
#[must_use]
pub fn granted_keys(key: Bytes, range_end: Bytes) -> Option<KeyRange> {
    KeyRange::new(key, range_end).ok()
}

/// The messages of a role's permissions.
///
/// What `root` may cannot be granted, and etcd writes it as no grant is written: every key begins
/// at none at all.
#[must_use]
pub fn permission_messages(role: &str, permissions: Vec<Permission>) -> Vec<authpb::Permission> {
    let mut messages: Vec<_> = permissions.into_iter().map(permission_message).collect();
    if role == ROOT_ROLE {
        messages.iter_mut().for_each(|message| message.key = Bytes::new());
    }
    messages
}

/// The message of a permission, with the keys as they were granted.
pub(crate) fn permission_message(permission: Permission) -> authpb::Permission {
    let Permission { access, keys } = permission;
    let perm_type = match access {
        Access::Read => Type::Read,
        Access::Write => Type::Write,
        Access::ReadWrite => Type::Readwrite,
    };
    let key = keys.start().as_bytes().clone();
    let range_end = match keys {
        KeyRange::Single(_) => Bytes::new(),
        KeyRange::Between { end, .. } => end.as_bytes().clone(),
        KeyRange::From(_) => Bytes::from_static(&[0]),
    };
    authpb::Permission { perm_type: perm_type.into(), key, range_end }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(perm_type: i32, key: &'static [u8], end: &'static [u8]) -> authpb::Permission {
        let (key, range_end) = (Bytes::from_static(key), Bytes::from_static(end));
        authpb::Permission { perm_type, key, range_end }
    }

    #[test]
    fn permissions_come_back_as_they_went() {
        for message in [
            message(0, b"a", b""),
            message(1, b"a", b"b"),
            message(2, b"a", b"\0"),
            message(2, b"\0", b"\0"),
        ] {
            let permission = permission(Some(message.clone())).unwrap();
            assert_eq!(permission_message(permission), message);
        }
    }

    /// As etcd 3.6 answers, so that `etcdctl role get root` prints the same.
    #[test]
    fn the_role_root_names_no_first_key() {
        let all = || vec![permission(Some(message(2, b"\0", b"\0"))).unwrap()];
        assert_eq!(permission_messages("root", all()), [message(2, b"", b"\0")]);
        assert_eq!(permission_messages("ann", all()), [message(2, b"\0", b"\0")]);
    }

    /// 3.4.25: a permission for no key could be made.
    #[test]
    fn an_empty_permission_range_is_refused() {
        for message in [
            message(0, b"", b""),
            message(0, b"", b"\0"),
            message(0, b"", b"z"),
            message(0, b"b", b"a"),
            message(0, b"b", b"b"),
            message(3, b"a", b""),
        ] {
            let refusal = permission(Some(message)).unwrap_err();
            assert_eq!(refusal.etcd(), Some(EtcdError::InvalidAuthManagement));
        }
        let none = permission(None).unwrap_err();
        assert_eq!(none.etcd(), Some(EtcdError::PermissionNotGiven));
    }
}
