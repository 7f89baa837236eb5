//! Why auth refuses.

/// Why auth refuses a command or a read. The same on every member.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Hash, thiserror::Error)]
pub enum AuthError {
    /// Auth cannot be enabled without the user `root`.
    #[error("root user does not exist")]
    RootUserNotExist,
    /// Auth cannot be enabled if the user `root` has not the role `root`.
    #[error("root user does not have root role")]
    RootRoleNotExist,
    /// There is such a user.
    #[error("user name already exists")]
    UserAlreadyExists,
    /// A user must be named; or the caller did not say who it is.
    #[error("user name is empty")]
    UserEmpty,
    /// There is no such user.
    #[error("user name not found")]
    UserNotFound,
    /// There is such a role.
    #[error("role name already exists")]
    RoleAlreadyExists,
    /// There is no such role.
    #[error("role name not found")]
    RoleNotFound,
    /// A role must be named.
    #[error("role name is empty")]
    RoleEmpty,
    /// The caller may not.
    #[error("permission denied")]
    PermissionDenied,
    /// The user has no such role.
    #[error("role is not granted to the user")]
    RoleNotGranted,
    /// The role has no such permission.
    #[error("permission is not granted to the role")]
    PermissionNotGranted,
    /// Nobody signs in while auth is disabled.
    #[error("authentication is not enabled")]
    NotEnabled,
    /// The token is of a user that is gone, of a former password, or of a former time.
    #[error("invalid auth token")]
    InvalidToken,
    /// It would lock everybody out, or means nothing.
    #[error("invalid auth management")]
    InvalidManagement,
}

impl AuthError {
    /// A number that tells them apart in the digest.
    pub(crate) const fn code(self) -> u64 {
        match self {
            Self::RootUserNotExist => 1,
            Self::RootRoleNotExist => 2,
            Self::UserAlreadyExists => 3,
            Self::UserEmpty => 4,
            Self::UserNotFound => 5,
            Self::RoleAlreadyExists => 6,
            Self::RoleNotFound => 7,
            Self::RoleEmpty => 8,
            Self::PermissionDenied => 9,
            Self::RoleNotGranted => 10,
            Self::PermissionNotGranted => 11,
            Self::NotEnabled => 12,
            Self::InvalidToken => 13,
            Self::InvalidManagement => 14,
        }
    }
}
