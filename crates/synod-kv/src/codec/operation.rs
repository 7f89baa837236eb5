//! What a command does, told from its first bytes: for those who count commands, whatever became of
//! them.

use bytes::Bytes;

use super::auth::{
    TAG_DISABLE, TAG_ENABLE, TAG_ROLE_ADD, TAG_ROLE_DELETE, TAG_ROLE_GRANT_PERMISSION,
    TAG_ROLE_REVOKE_PERMISSION, TAG_USER_ADD, TAG_USER_CHANGE_PASSWORD, TAG_USER_DELETE,
    TAG_USER_GRANT_ROLE, TAG_USER_REVOKE_ROLE,
};
use super::{
    DecodeError, Input, TAG_ALARM, TAG_COMPACT, TAG_DELETE_RANGE, TAG_LEASE_EXPIRE,
    TAG_LEASE_GRANT, TAG_LEASE_KEEP_ALIVE, TAG_LEASE_REVOKE, TAG_PUT, TAG_SPACE_REPORT, TAG_TXN,
    VERSION,
};

/// What a command does, without what it does it to.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Operation {
    /// Stores a value.
    Put,
    /// Deletes keys.
    DeleteRange,
    /// Compares, then does more than one thing.
    Txn,
    /// Forgets history.
    Compact,
    /// Makes a lease.
    LeaseGrant,
    /// Ends a lease.
    LeaseRevoke,
    /// Starts the time of leases anew.
    LeaseKeepAlive,
    /// Ends leases that are due.
    LeaseExpire,
    /// Raises or clears an alarm.
    Alarm,
    /// Tells of a member's space.
    SpaceReport,
    /// Enables auth.
    AuthEnable,
    /// Disables it.
    AuthDisable,
    /// Makes a user.
    UserAdd,
    /// Deletes one.
    UserDelete,
    /// Sets a password.
    UserChangePassword,
    /// Gives a user a role.
    UserGrantRole,
    /// Takes it.
    UserRevokeRole,
    /// Makes a role.
    RoleAdd,
    /// Deletes one.
    RoleDelete,
    /// Gives a role a permission.
    RoleGrantPermission,
    /// Takes it.
    RoleRevokePermission,
}

impl Operation {
    /// What the bytes of a command do; none if they are no command. Only their beginning is looked
    /// at.
    #[must_use]
    pub fn of(command: &Bytes) -> Option<Self> {
        let tag = tag(command).ok()?;
        OPERATIONS.iter().find(|(known, _)| *known == tag).map(|(_, operation)| *operation)
    }
}

fn tag(command: &Bytes) -> Result<u8, DecodeError> {
    let mut input = Input { bytes: command, at: 0 };
    match input.u8()? {
        VERSION => {
            input.caller()?;
            input.answer()?;
            input.u8()
        }
        version => Err(DecodeError::Version(version)),
    }
}

const OPERATIONS: &[(u8, Operation)] = &[
    (TAG_PUT, Operation::Put),
    (TAG_DELETE_RANGE, Operation::DeleteRange),
    (TAG_TXN, Operation::Txn),
    (TAG_COMPACT, Operation::Compact),
    (TAG_LEASE_GRANT, Operation::LeaseGrant),
    (TAG_LEASE_REVOKE, Operation::LeaseRevoke),
    (TAG_LEASE_KEEP_ALIVE, Operation::LeaseKeepAlive),
    (TAG_LEASE_EXPIRE, Operation::LeaseExpire),
    (TAG_ALARM, Operation::Alarm),
    (TAG_SPACE_REPORT, Operation::SpaceReport),
    (TAG_ENABLE, Operation::AuthEnable),
    (TAG_DISABLE, Operation::AuthDisable),
    (TAG_USER_ADD, Operation::UserAdd),
    (TAG_USER_DELETE, Operation::UserDelete),
    (TAG_USER_CHANGE_PASSWORD, Operation::UserChangePassword),
    (TAG_USER_GRANT_ROLE, Operation::UserGrantRole),
    (TAG_USER_REVOKE_ROLE, Operation::UserRevokeRole),
    (TAG_ROLE_ADD, Operation::RoleAdd),
    (TAG_ROLE_DELETE, Operation::RoleDelete),
    (TAG_ROLE_GRANT_PERMISSION, Operation::RoleGrantPermission),
    (TAG_ROLE_REVOKE_PERMISSION, Operation::RoleRevokePermission),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::AuthCommand;
    use crate::caller::{Caller, Identity};
    use crate::command::Command;

    #[test]
    fn a_command_is_told_from_its_beginning_whoever_asks() {
        let user = Caller::User(Identity { name: "ann".to_owned(), issued: Some(7) });
        for caller in [Caller::Anonymous, user, Caller::Internal] {
            let revoke = Command::LeaseRevoke { id: 7 }.encode_for(&caller);
            assert_eq!(Operation::of(&revoke), Some(Operation::LeaseRevoke));
            let disable = Command::Auth(AuthCommand::Disable).encode_within(&caller, 9);
            assert_eq!(Operation::of(&disable), Some(Operation::AuthDisable));
        }
        for nonsense in [&[][..], &[1], &[2, 1], &[1, 0xff]] {
            assert_eq!(Operation::of(&Bytes::from_static(nonsense)), None);
        }
    }
}
