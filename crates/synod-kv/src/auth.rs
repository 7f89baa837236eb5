//! Users, roles and permissions: who may do what.
//!
//! Part of the state, changed by commands of the log alone, and looked up at the moment a command
//! or a read is carried out: a role revoked between the request and its turn in the log counts.
//!
//! **Auth revision.** Goes up with every change of users, roles and permissions. It dates tokens:
//! one that was issued before its user's password was set, or before auth was last enabled, is
//! too old. So a changed password, or a user deleted, ends tokens at once, and nothing else does.

mod command;
mod error;
mod execute;
mod permissions;
mod read;
pub(crate) mod row;
mod secret;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

pub use command::{Access, AuthCommand, Permission};
pub use error::AuthError;
use permissions::Permissions;
pub use secret::{PasswordHash, TokenSecret};

use crate::caller::{Caller, Identity, Need};
use crate::key::KeyRange;
use crate::leases::Leases;

/// The user that must exist before auth is enabled.
pub(crate) const ROOT_USER: &str = "root";
/// The role that may everything. It need not exist to be granted.
pub const ROOT_ROLE: &str = "root";

/// All of it.
///
/// Invariants:
///
/// * While auth is enabled there is a user `root` with the role `root`.
/// * Every role of a user exists, except that `root` need not.
#[derive(Debug)]
pub(crate) struct Auth {
    pub(crate) settings: Settings,
    users: BTreeMap<String, User>,
    roles: BTreeMap<String, Role>,
}

/// What there is of auth beside users and roles.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Settings {
    /// Goes up with every change.
    pub(crate) revision: u64,
    /// None while auth is disabled.
    pub(crate) enabled: Option<Enabled>,
}

/// Auth, enabled.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Enabled {
    /// The auth revision at that moment: older tokens are of a former time.
    pub(crate) since: u64,
    /// What members sign tokens with.
    pub(crate) secret: TokenSecret,
}

/// A user.
#[derive(Debug)]
pub(crate) struct User {
    /// The auth revision at which the password was set: older tokens do not count.
    pub(crate) since: u64,
    /// None for a user without password, who signs in by certificate.
    pub(crate) password: Option<PasswordHash>,
    pub(crate) roles: BTreeSet<String>,
    /// The permissions of all roles together, made when they are first asked for.
    merged: OnceLock<Permissions>,
}

/// A role: what it permits, by key and end of range.
#[derive(Debug, Default)]
pub(crate) struct Role {
    pub(crate) permissions: Vec<Permission>,
}

/// What auth looks like from outside.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct AuthStatus {
    /// Whether callers are checked.
    pub enabled: bool,
    /// Goes up with every change of users, roles and permissions.
    pub revision: u64,
}

/// What it takes to check a password, and to date the token it earns.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Login {
    /// The hash of the user's password; none if there is no such user or it has no password.
    pub password: Option<PasswordHash>,
    /// Whether there is such a user, one without a password.
    pub passwordless: bool,
    /// The auth revision at which this was read.
    pub revision: u64,
}

impl Default for Auth {
    fn default() -> Self {
        let settings = Settings { revision: 1, enabled: None };
        Self { settings, users: BTreeMap::new(), roles: BTreeMap::new() }
    }
}

impl User {
    pub(crate) const fn new(
        since: u64,
        password: Option<PasswordHash>,
        roles: BTreeSet<String>,
    ) -> Self {
        Self { since, password, roles, merged: OnceLock::new() }
    }

    fn is_root(&self) -> bool {
        self.roles.contains(ROOT_ROLE)
    }
}

impl Auth {
    pub(crate) fn status(&self) -> AuthStatus {
        let Settings { revision, enabled } = &self.settings;
        AuthStatus { enabled: enabled.is_some(), revision: *revision }
    }

    pub(crate) const fn is_enabled(&self) -> bool {
        self.settings.enabled.is_some()
    }

    /// What members sign tokens with, while auth is enabled.
    pub(crate) fn secret(&self) -> Option<&TokenSecret> {
        self.settings.enabled.as_ref().map(|enabled| &enabled.secret)
    }

    /// What a password is to be checked against.
    pub(crate) fn login(&self, name: &str) -> Result<Login, AuthError> {
        if !self.is_enabled() {
            return Err(AuthError::NotEnabled);
        }
        let user = self.users.get(name);
        let password = user.and_then(|user| user.password.clone());
        let passwordless = user.is_some_and(|user| user.password.is_none());
        Ok(Login { password, passwordless, revision: self.settings.revision })
    }

    /// The names of all users.
    pub(crate) fn user_names(&self) -> Vec<String> {
        self.users.keys().cloned().collect()
    }

    /// The names of all roles.
    pub(crate) fn role_names(&self) -> Vec<String> {
        self.roles.keys().cloned().collect()
    }

    /// The roles of a user, by name.
    pub(crate) fn roles_of(&self, user: &str) -> Result<Vec<String>, AuthError> {
        let user = self.users.get(user).ok_or(AuthError::UserNotFound)?;
        Ok(user.roles.iter().cloned().collect())
    }

    /// The permissions of a role.
    pub(crate) fn permissions_of(&self, role: &str) -> Result<Vec<Permission>, AuthError> {
        let found = self.roles.get(role).ok_or(AuthError::RoleNotFound)?;
        Ok(found.permissions.clone())
    }

    /// Whether the caller has what is needed, at this moment.
    pub(crate) fn check(
        &self,
        caller: &Caller,
        needs: &[Need],
        leases: &Leases,
    ) -> Result<(), AuthError> {
        let Some(enabled) = &self.settings.enabled else { return Ok(()) };
        let identity = match caller {
            Caller::Internal => return Ok(()),
            _ if needs.is_empty() => return Ok(()),
            Caller::Anonymous => return Err(AuthError::UserEmpty),
            Caller::User(identity) => identity,
        };
        let user = self.find(identity, enabled, needs)?;
        let has_all = needs.iter().all(|need| self.has(&identity.name, user, need, leases));
        if has_all { Ok(()) } else { Err(AuthError::PermissionDenied) }
    }

    fn find(
        &self,
        identity: &Identity,
        enabled: &Enabled,
        needs: &[Need],
    ) -> Result<&User, AuthError> {
        let user = self.users.get(&identity.name);
        match (user, identity.issued) {
            (Some(user), Some(issued)) if issued >= user.since.max(enabled.since) => Ok(user),
            (_, Some(_)) => Err(AuthError::InvalidToken),
            (Some(user), None) => Ok(user),
            (None, None) if needs.contains(&Need::Root) => Err(AuthError::UserNotFound),
            (None, None) => Err(AuthError::PermissionDenied),
        }
    }

    fn has(&self, name: &str, user: &User, need: &Need, leases: &Leases) -> bool {
        if matches!(need, Need::Internal) {
            return false;
        }
        if user.is_root() {
            return true;
        }
        let permissions = || user.merged.get_or_init(|| self.merge(user));
        match need {
            Need::User => true,
            Need::Read(keys) => permissions().may_read(keys),
            Need::Write(keys) => permissions().may_write(keys),
            Need::ReadLease(id) => permissions().may_read_all(|start| leases.key_from(*id, start)),
            Need::WriteLease(id) => {
                permissions().may_write_all(|start| leases.key_from(*id, start))
            }
            Need::ReadLeases => leases
                .ids()
                .all(|id| permissions().may_read_all(|start| leases.key_from(id, start))),
            Need::Itself(user) => user == name,
            Need::Role(role) => user.roles.contains(role),
            Need::Root | Need::Internal => false,
        }
    }

    fn merge(&self, user: &User) -> Permissions {
        let roles = user.roles.iter().filter_map(|role| self.roles.get(role));
        Permissions::merge(roles.flat_map(|role| &role.permissions))
    }

    /// Roles have changed: what was merged from them no longer holds.
    fn forget_merged(&mut self) {
        for user in self.users.values_mut() {
            user.merged = OnceLock::new();
        }
    }
}

/// What etcd answers for the role `root`, whatever was granted to it: every key.
pub(crate) fn root_permission() -> Permission {
    Permission { access: Access::ReadWrite, keys: KeyRange::all() }
}
