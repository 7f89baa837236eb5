//! Changes of users, roles and permissions, as the log carries them.

use super::secret::{PasswordHash, TokenSecret};
use crate::key::KeyRange;

/// A change of auth.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum AuthCommand {
    /// Callers are checked from now on. Nothing if they are already.
    Enable {
        /// What members sign tokens with from now on.
        secret: TokenSecret,
    },
    /// Callers are not checked any more. Nothing if they are not.
    Disable,
    /// Makes a user, without roles.
    UserAdd {
        /// Its name.
        name: String,
        /// Its password; none for a user that signs in by certificate.
        password: Option<PasswordHash>,
    },
    /// Deletes a user.
    UserDelete {
        /// Its name.
        name: String,
    },
    /// Sets a user's password, and ends its tokens.
    UserChangePassword {
        /// Its name.
        name: String,
        /// The new password. A user made without one stays so.
        password: PasswordHash,
    },
    /// Gives a role to a user.
    UserGrantRole {
        /// The user.
        user: String,
        /// The role.
        role: String,
    },
    /// Takes a role from a user.
    UserRevokeRole {
        /// The user.
        user: String,
        /// The role.
        role: String,
    },
    /// Makes a role, without permissions.
    RoleAdd {
        /// Its name.
        name: String,
    },
    /// Deletes a role, and takes it from all users.
    RoleDelete {
        /// Its name.
        name: String,
    },
    /// Gives a permission to a role, or changes what kind it is.
    RoleGrantPermission {
        /// The role.
        role: String,
        /// The permission.
        permission: Permission,
    },
    /// Takes a permission from a role.
    RoleRevokePermission {
        /// The role.
        role: String,
        /// The keys exactly as they were granted; none if the request named no key.
        keys: Option<KeyRange>,
    },
}

/// What a role may do with some keys.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Permission {
    /// What it may.
    pub access: Access,
    /// With which keys.
    pub keys: KeyRange,
}

/// What may be done with keys.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Access {
    /// To read them.
    Read,
    /// To write them, unseen.
    Write,
    /// Both.
    ReadWrite,
}

impl Permission {
    /// A permission, unless its range has no key: etcd refuses such.
    #[must_use]
    pub fn new(access: Access, keys: KeyRange) -> Option<Self> {
        match &keys {
            KeyRange::Between { start, end } if start >= end => None,
            KeyRange::Single(_) | KeyRange::Between { .. } | KeyRange::From(_) => {
                Some(Self { access, keys })
            }
        }
    }
}

impl Access {
    pub(crate) const fn reads(self) -> bool {
        matches!(self, Self::Read | Self::ReadWrite)
    }

    pub(crate) const fn writes(self) -> bool {
        matches!(self, Self::Write | Self::ReadWrite)
    }
}
