//! Rows of the engine about auth.
//!
//! ```text
//! key    'as'
//! value  version:u8=1  revision:u64 [since:u64 secret:32]
//!
//! key    'ar' name
//! value  version:u8=1  permission*
//!
//! key    'au' name
//! value  version:u8=1  since:u64 passwordless:u8 password:bytes role:bytes*
//!
//! permission := access:u8 keys
//! ```
//!
//! `bytes` and `keys` are as in commands.

use bytes::{BufMut, Bytes, BytesMut};

use super::secret::{PasswordHash, TokenSecret};
use super::{Auth, Enabled, Role, Settings, User};
use crate::codec::Input;
use crate::row::{FORMAT, RowError};

/// Where settings are.
pub(crate) const SETTINGS_KEY: Bytes = Bytes::from_static(b"as");
/// Below every row of auth.
pub(crate) const AUTH_START: &[u8] = b"a";
/// Above every row of auth.
pub(crate) const AUTH_END: &[u8] = b"b";

const ROLE: &[u8] = b"ar";
const USER: &[u8] = b"au";

/// The engine's key for a user.
pub(crate) fn user_key(name: &str) -> Bytes {
    [USER, name.as_bytes()].concat().into()
}

/// The engine's key for a role.
pub(crate) fn role_key(name: &str) -> Bytes {
    [ROLE, name.as_bytes()].concat().into()
}

pub(crate) fn encode_settings(settings: &Settings) -> Bytes {
    let mut out = BytesMut::with_capacity(49);
    out.put_u8(FORMAT);
    out.put_u64_le(settings.revision);
    if let Some(Enabled { since, secret }) = &settings.enabled {
        out.put_u64_le(*since);
        out.put_slice(&secret.0);
    }
    out.freeze()
}

pub(crate) fn encode_user(user: &User) -> Bytes {
    let mut out = BytesMut::new();
    out.put_u8(FORMAT);
    out.put_u64_le(user.since);
    out.put_u8(u8::from(user.password.is_none()));
    crate::codec::encode_bytes(&mut out, user.password.as_ref().map_or(&[], |hash| &hash.0));
    for role in &user.roles {
        crate::codec::encode_bytes(&mut out, role.as_bytes());
    }
    out.freeze()
}

pub(crate) fn encode_role(role: &Role) -> Bytes {
    let mut out = BytesMut::new();
    out.put_u8(FORMAT);
    for permission in &role.permissions {
        crate::codec::encode_permission(&mut out, permission);
    }
    out.freeze()
}

/// A row about auth, taken apart.
#[derive(Debug)]
pub(crate) enum AuthRow {
    Settings(Settings),
    Role(String, Role),
    User(String, User),
}

impl Auth {
    /// Takes up a row of the engine.
    pub(crate) fn load(&mut self, key: &[u8], value: &Bytes) -> Result<(), RowError> {
        match decode(key, value)? {
            AuthRow::Settings(settings) => self.settings = settings,
            AuthRow::Role(name, role) => drop(self.roles.insert(name, role)),
            AuthRow::User(name, user) => drop(self.users.insert(name, user)),
        }
        Ok(())
    }

    /// All rows there are of it.
    pub(crate) fn rows(&self) -> impl Iterator<Item = (Bytes, Bytes)> {
        let roles = self.roles.iter().map(|(name, role)| (role_key(name), encode_role(role)));
        let users = self.users.iter().map(|(name, user)| (user_key(name), encode_user(user)));
        let settings = (SETTINGS_KEY, encode_settings(&self.settings));
        std::iter::once(settings).chain(roles).chain(users)
    }
}

/// What a row of the engine says.
pub(crate) fn decode(key: &[u8], value: &Bytes) -> Result<AuthRow, RowError> {
    let mut input = match value.first() {
        Some(&FORMAT) => Input::starting_at(value, 1),
        Some(format) => return Err(RowError::Format(*format)),
        None => return Err(RowError::Damaged),
    };
    let name = |prefix: &[u8]| {
        let name = key.strip_prefix(prefix)?;
        String::from_utf8(name.to_vec()).ok().filter(|name| !name.is_empty())
    };
    let row = if key == &SETTINGS_KEY[..] {
        AuthRow::Settings(settings(&mut input)?)
    } else if let Some(name) = name(ROLE) {
        AuthRow::Role(name, role(&mut input)?)
    } else if let Some(name) = name(USER) {
        AuthRow::User(name, user(&mut input)?)
    } else {
        return Err(RowError::Damaged);
    };
    if input.rest() == 0 { Ok(row) } else { Err(RowError::Damaged) }
}

fn settings(input: &mut Input<'_>) -> Result<Settings, RowError> {
    let revision = input.u64().map_err(damaged)?;
    let enabled = if input.rest() == 0 {
        None
    } else {
        let since = input.u64().map_err(damaged)?;
        Some(Enabled { since, secret: TokenSecret(input.array().map_err(damaged)?) })
    };
    Ok(Settings { revision, enabled })
}

fn user(input: &mut Input<'_>) -> Result<User, RowError> {
    let since = input.u64().map_err(damaged)?;
    let passwordless = input.u8().map_err(damaged)?;
    let password = input.bytes().map_err(damaged)?;
    let password = match passwordless {
        0 => Some(PasswordHash(Bytes::copy_from_slice(&password))),
        1 if password.is_empty() => None,
        _ => return Err(RowError::Damaged),
    };
    let mut roles = std::collections::BTreeSet::new();
    while input.rest() > 0 {
        roles.insert(input.text().map_err(damaged)?);
    }
    Ok(User::new(since, password, roles))
}

fn role(input: &mut Input<'_>) -> Result<Role, RowError> {
    let mut permissions = Vec::new();
    while input.rest() > 0 {
        permissions.push(input.permission().map_err(damaged)?);
    }
    Ok(Role { permissions })
}

const fn damaged(_: crate::codec::DecodeError) -> RowError {
    RowError::Damaged
}
