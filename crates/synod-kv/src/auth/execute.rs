//! Carries out changes of auth, in etcd's order of checks.

use super::command::{AuthCommand, Permission};
use super::error::AuthError;
use super::{Auth, Enabled, ROOT_ROLE, ROOT_USER, Role, User, row};
use crate::key::KeyRange;
use crate::overlay::Pair;

/// Changes of auth, and the rows that keep them.
pub(crate) struct Change<'a> {
    auth: &'a mut Auth,
    rows: Vec<Pair>,
}

type Done = Result<(), AuthError>;

impl Auth {
    /// Carries out a change; the rows that keep it. None if it changed nothing.
    pub(crate) fn execute(&mut self, command: &AuthCommand) -> Result<Vec<Pair>, AuthError> {
        let mut change = Change { auth: self, rows: Vec::new() };
        change.command(command)?;
        Ok(change.rows)
    }
}

impl Change<'_> {
    fn command(&mut self, command: &AuthCommand) -> Done {
        match command {
            AuthCommand::Enable { secret } => {
                self.enable(Enabled { since: self.auth.settings.revision, secret: secret.clone() })
            }
            AuthCommand::Disable => self.disable(),
            AuthCommand::UserAdd { name, password } => {
                if name.is_empty() {
                    return Err(AuthError::UserEmpty);
                }
                if self.auth.users.contains_key(name) {
                    return Err(AuthError::UserAlreadyExists);
                }
                self.next_revision();
                let since = self.auth.settings.revision;
                let user = User::new(since, password.clone(), Default::default());
                self.auth.users.insert(name.clone(), user);
                self.keep_user(name);
                Ok(())
            }
            AuthCommand::UserDelete { name } => self.user_delete(name),
            AuthCommand::UserChangePassword { name, password } => {
                let since = self.auth.settings.revision + 1;
                let user = self.user(name)?;
                user.since = since;
                if user.password.is_some() {
                    user.password = Some(password.clone());
                }
                self.next_revision();
                self.keep_user(name);
                Ok(())
            }
            AuthCommand::UserGrantRole { user, role } => self.user_grant(user, role),
            AuthCommand::UserRevokeRole { user, role } => self.user_revoke(user, role),
            AuthCommand::RoleAdd { name } => self.role_add(name),
            AuthCommand::RoleDelete { name } => self.role_delete(name),
            AuthCommand::RoleGrantPermission { role, permission } => {
                self.role_grant(role, permission)
            }
            AuthCommand::RoleRevokePermission { role, keys } => {
                self.role_revoke(role, keys.as_ref())
            }
        }
    }

    fn enable(&mut self, enabled: Enabled) -> Done {
        if self.auth.is_enabled() {
            return Ok(());
        }
        let root = self.auth.users.get(ROOT_USER).ok_or(AuthError::RootUserNotExist)?;
        if !root.is_root() {
            return Err(AuthError::RootRoleNotExist);
        }
        self.auth.settings.enabled = Some(enabled);
        self.keep_settings();
        Ok(())
    }

    fn disable(&mut self) -> Done {
        if self.auth.settings.enabled.take().is_some() {
            self.next_revision();
        }
        Ok(())
    }

    fn user_delete(&mut self, name: &str) -> Done {
        if self.auth.is_enabled() && name == ROOT_USER {
            return Err(AuthError::InvalidManagement);
        }
        self.auth.users.remove(name).ok_or(AuthError::UserNotFound)?;
        self.next_revision();
        self.rows.push((row::user_key(name), None));
        Ok(())
    }

    fn user_grant(&mut self, user: &str, role: &str) -> Done {
        let exists = role == ROOT_ROLE || self.auth.roles.contains_key(role);
        let found = self.user(user)?;
        if !exists {
            return Err(AuthError::RoleNotFound);
        }
        if !found.roles.insert(role.to_owned()) {
            return Ok(());
        }
        self.user_changed(user);
        Ok(())
    }

    fn user_revoke(&mut self, user: &str, role: &str) -> Done {
        if self.auth.is_enabled() && user == ROOT_USER && role == ROOT_ROLE {
            return Err(AuthError::InvalidManagement);
        }
        if !self.user(user)?.roles.remove(role) {
            return Err(AuthError::RoleNotGranted);
        }
        self.user_changed(user);
        Ok(())
    }

    fn role_add(&mut self, name: &str) -> Done {
        if name.is_empty() {
            return Err(AuthError::RoleEmpty);
        }
        if self.auth.roles.contains_key(name) {
            return Err(AuthError::RoleAlreadyExists);
        }
        self.auth.roles.insert(name.to_owned(), Role::default());
        self.role_changed(name);
        Ok(())
    }

    fn role_delete(&mut self, name: &str) -> Done {
        if self.auth.is_enabled() && name == ROOT_ROLE {
            return Err(AuthError::InvalidManagement);
        }
        self.auth.roles.remove(name).ok_or(AuthError::RoleNotFound)?;
        self.auth.forget_merged();
        self.next_revision();
        self.rows.push((row::role_key(name), None));
        let mut losers = Vec::new();
        for (user_name, user) in &mut self.auth.users {
            if user.roles.remove(name) {
                losers.push(user_name.clone());
            }
        }
        for user in losers {
            self.keep_user(&user);
        }
        Ok(())
    }

    fn role_grant(&mut self, role: &str, permission: &Permission) -> Done {
        let permissions = &mut self.role(role)?.permissions;
        match permissions.iter_mut().find(|held| held.keys == permission.keys) {
            Some(held) => held.access = permission.access,
            None => {
                let key = permission.keys.start();
                let place = permissions.partition_point(|held| held.keys.start() <= key);
                permissions.insert(place, permission.clone());
            }
        }
        self.role_changed(role);
        Ok(())
    }

    fn role_revoke(&mut self, role: &str, keys: Option<&KeyRange>) -> Done {
        let permissions = &mut self.role(role)?.permissions;
        let before = permissions.len();
        permissions.retain(|held| Some(&held.keys) != keys);
        if permissions.len() == before {
            return Err(AuthError::PermissionNotGranted);
        }
        self.role_changed(role);
        Ok(())
    }

    fn user(&mut self, name: &str) -> Result<&mut User, AuthError> {
        self.auth.users.get_mut(name).ok_or(AuthError::UserNotFound)
    }

    fn role(&mut self, name: &str) -> Result<&mut Role, AuthError> {
        self.auth.roles.get_mut(name).ok_or(AuthError::RoleNotFound)
    }

    fn user_changed(&mut self, name: &str) {
        if let Ok(user) = self.user(name) {
            user.merged = Default::default();
        }
        self.next_revision();
        self.keep_user(name);
    }

    fn role_changed(&mut self, name: &str) {
        self.auth.forget_merged();
        self.next_revision();
        let role = self.auth.roles.get(name).map(row::encode_role);
        self.rows.push((row::role_key(name), role));
    }

    fn keep_user(&mut self, name: &str) {
        let user = self.auth.users.get(name).map(row::encode_user);
        self.rows.push((row::user_key(name), user));
    }

    fn next_revision(&mut self) {
        self.auth.settings.revision += 1;
        self.keep_settings();
    }

    fn keep_settings(&mut self) {
        let value = Some(row::encode_settings(&self.auth.settings));
        self.rows.push((row::SETTINGS_KEY, value));
    }
}
