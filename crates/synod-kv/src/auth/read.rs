//! What readers learn of auth.

use std::sync::atomic::Ordering;

use super::command::Permission;
use super::error::AuthError;
use super::secret::TokenSecret;
use super::{AuthStatus, Login, ROOT_ROLE, root_permission};
use crate::caller::{Caller, Need};
use crate::engine::Engine;
use crate::reader::Reader;

impl<E: Engine> Reader<E> {
    /// Whether callers are checked. Costs no lock.
    #[must_use]
    pub fn is_auth_enabled(&self) -> bool {
        self.shared.auth_enabled.load(Ordering::Acquire)
    }

    /// Whether callers are checked, and the auth revision. For everybody.
    #[must_use]
    pub fn auth_status(&self) -> AuthStatus {
        self.look(|state| state.auth.status())
    }

    /// What members sign tokens with; none while auth is disabled. Not for clients.
    #[must_use]
    pub fn token_secret(&self) -> Option<TokenSecret> {
        self.look(|state| state.auth.secret().cloned())
    }

    /// What a password is to be checked against. Not for clients.
    ///
    /// # Errors
    /// If auth is disabled.
    pub fn login(&self, user: &str) -> Result<Login, AuthError> {
        self.look(|state| state.auth.login(user))
    }

    /// The names of all users.
    ///
    /// # Errors
    /// If the caller is not root.
    pub fn users(&self, caller: &Caller) -> Result<Vec<String>, AuthError> {
        self.look(|state| {
            state.permit(caller, &[Need::Root])?;
            Ok(state.auth.user_names())
        })
    }

    /// The names of all roles.
    ///
    /// # Errors
    /// If the caller is not root.
    pub fn roles(&self, caller: &Caller) -> Result<Vec<String>, AuthError> {
        self.look(|state| {
            state.permit(caller, &[Need::Root])?;
            Ok(state.auth.role_names())
        })
    }

    /// The roles of a user.
    ///
    /// # Errors
    /// If the caller is neither this user nor root, or there is no such user.
    pub fn roles_of(&self, caller: &Caller, user: &str) -> Result<Vec<String>, AuthError> {
        self.look(|state| {
            state.permit(caller, &[Need::Itself(user.to_owned())])?;
            state.auth.roles_of(user)
        })
    }

    /// The permissions of a role.
    ///
    /// # Errors
    /// If the caller neither has this role nor is root, or there is no such role.
    pub fn permissions_of(
        &self,
        caller: &Caller,
        role: &str,
    ) -> Result<Vec<Permission>, AuthError> {
        self.look(|state| {
            state.permit(caller, &[Need::Role(role.to_owned())])?;
            let permissions = state.auth.permissions_of(role)?;
            Ok(if role == ROOT_ROLE { vec![root_permission()] } else { permissions })
        })
    }
}
