//! The bytes of who asks, and of the commands about auth.
//!
//! An anonymous caller takes no bytes: while auth is disabled a command is as short as without.

use bytes::{BufMut, Bytes, BytesMut};

use super::{DecodeError, Input, encode_bytes, encode_keys};
use crate::auth::{Access, AuthCommand, PasswordHash, Permission, TokenSecret};
use crate::caller::{Caller, Identity};

const TAG_USER: u8 = 0x20;
const TAG_CERTIFIED: u8 = 0x21;
const TAG_INTERNAL: u8 = 0x22;

pub(super) const TAG_ENABLE: u8 = 0x30;
pub(super) const TAG_DISABLE: u8 = 0x31;
pub(super) const TAG_USER_ADD: u8 = 0x32;
pub(super) const TAG_USER_DELETE: u8 = 0x33;
pub(super) const TAG_USER_CHANGE_PASSWORD: u8 = 0x34;
pub(super) const TAG_USER_GRANT_ROLE: u8 = 0x35;
pub(super) const TAG_USER_REVOKE_ROLE: u8 = 0x36;
pub(super) const TAG_ROLE_ADD: u8 = 0x37;
pub(super) const TAG_ROLE_DELETE: u8 = 0x38;
pub(super) const TAG_ROLE_GRANT_PERMISSION: u8 = 0x39;
pub(super) const TAG_ROLE_REVOKE_PERMISSION: u8 = 0x3a;

pub(super) fn encode_caller(out: &mut BytesMut, caller: &Caller) {
    match caller {
        Caller::Anonymous => {}
        Caller::User(Identity { name, issued: Some(issued) }) => {
            out.put_u8(TAG_USER);
            out.put_u64_le(*issued);
            encode_bytes(out, name.as_bytes());
        }
        Caller::User(Identity { name, issued: None }) => {
            out.put_u8(TAG_CERTIFIED);
            encode_bytes(out, name.as_bytes());
        }
        Caller::Internal => out.put_u8(TAG_INTERNAL),
    }
}

pub(super) fn encode(out: &mut BytesMut, command: &AuthCommand) {
    match command {
        AuthCommand::Enable { secret } => {
            out.put_u8(TAG_ENABLE);
            out.put_slice(&secret.0);
        }
        AuthCommand::Disable => out.put_u8(TAG_DISABLE),
        AuthCommand::UserAdd { name, password } => {
            out.put_u8(TAG_USER_ADD);
            encode_bytes(out, name.as_bytes());
            out.put_u8(u8::from(password.is_some()));
            if let Some(PasswordHash(hash)) = password {
                encode_bytes(out, hash);
            }
        }
        AuthCommand::UserDelete { name } => encode_names(out, TAG_USER_DELETE, &[name]),
        AuthCommand::UserChangePassword { name, password } => {
            encode_names(out, TAG_USER_CHANGE_PASSWORD, &[name]);
            encode_bytes(out, &password.0);
        }
        AuthCommand::UserGrantRole { user, role } => {
            encode_names(out, TAG_USER_GRANT_ROLE, &[user, role]);
        }
        AuthCommand::UserRevokeRole { user, role } => {
            encode_names(out, TAG_USER_REVOKE_ROLE, &[user, role]);
        }
        AuthCommand::RoleAdd { name } => encode_names(out, TAG_ROLE_ADD, &[name]),
        AuthCommand::RoleDelete { name } => encode_names(out, TAG_ROLE_DELETE, &[name]),
        AuthCommand::RoleGrantPermission { role, permission } => {
            encode_names(out, TAG_ROLE_GRANT_PERMISSION, &[role]);
            encode_permission(out, permission);
        }
        AuthCommand::RoleRevokePermission { role, keys } => {
            encode_names(out, TAG_ROLE_REVOKE_PERMISSION, &[role]);
            out.put_u8(u8::from(keys.is_some()));
            if let Some(keys) = keys {
                encode_keys(out, keys);
            }
        }
    }
}

fn encode_names(out: &mut BytesMut, tag: u8, names: &[&str]) {
    out.put_u8(tag);
    for name in names {
        encode_bytes(out, name.as_bytes());
    }
}

pub(crate) fn encode_permission(out: &mut BytesMut, permission: &Permission) {
    out.put_u8(match permission.access {
        Access::Read => 0,
        Access::Write => 1,
        Access::ReadWrite => 2,
    });
    encode_keys(out, &permission.keys);
}

impl Input<'_> {
    /// The caller, if one is named here.
    pub(super) fn caller(&mut self) -> Result<Caller, DecodeError> {
        match self.peek() {
            Some(TAG_USER) => {
                self.u8()?;
                let issued = Some(self.u64()?);
                Ok(Caller::User(Identity { name: self.text()?, issued }))
            }
            Some(TAG_CERTIFIED) => {
                self.u8()?;
                Ok(Caller::User(Identity { name: self.text()?, issued: None }))
            }
            Some(TAG_INTERNAL) => {
                self.u8()?;
                Ok(Caller::Internal)
            }
            _ => Ok(Caller::Anonymous),
        }
    }

    /// The command about auth with this tag.
    pub(super) fn auth(&mut self, tag: u8) -> Result<AuthCommand, DecodeError> {
        Ok(match tag {
            TAG_ENABLE => AuthCommand::Enable { secret: TokenSecret(self.array()?) },
            TAG_DISABLE => AuthCommand::Disable,
            TAG_USER_ADD => {
                let name = self.text()?;
                let password = if self.flags(1)? == 1 { Some(self.password()?) } else { None };
                AuthCommand::UserAdd { name, password }
            }
            TAG_USER_DELETE => AuthCommand::UserDelete { name: self.text()? },
            TAG_USER_CHANGE_PASSWORD => {
                AuthCommand::UserChangePassword { name: self.text()?, password: self.password()? }
            }
            TAG_USER_GRANT_ROLE => {
                AuthCommand::UserGrantRole { user: self.text()?, role: self.text()? }
            }
            TAG_USER_REVOKE_ROLE => {
                AuthCommand::UserRevokeRole { user: self.text()?, role: self.text()? }
            }
            TAG_ROLE_ADD => AuthCommand::RoleAdd { name: self.text()? },
            TAG_ROLE_DELETE => AuthCommand::RoleDelete { name: self.text()? },
            TAG_ROLE_GRANT_PERMISSION => {
                let (role, permission) = (self.text()?, self.permission()?);
                AuthCommand::RoleGrantPermission { role, permission }
            }
            TAG_ROLE_REVOKE_PERMISSION => {
                let role = self.text()?;
                let keys = if self.flags(1)? == 1 { Some(self.keys()?) } else { None };
                AuthCommand::RoleRevokePermission { role, keys }
            }
            code => return Err(DecodeError::Unknown { what: "command", code }),
        })
    }

    /// Kept for as long as the user: a copy, so that the command it came in can go.
    fn password(&mut self) -> Result<PasswordHash, DecodeError> {
        self.bytes().map(|hash| PasswordHash(Bytes::copy_from_slice(&hash)))
    }

    /// A copy of its keys, likewise.
    pub(crate) fn permission(&mut self) -> Result<Permission, DecodeError> {
        let access = match self.u8()? {
            0 => Access::Read,
            1 => Access::Write,
            2 => Access::ReadWrite,
            code => return Err(DecodeError::Unknown { what: "permission", code }),
        };
        let keys = self.keys()?.detached();
        Permission::new(access, keys).ok_or(DecodeError::EmptyRange)
    }

    pub(crate) fn text(&mut self) -> Result<String, DecodeError> {
        String::from_utf8(self.bytes()?.to_vec()).map_err(|_| DecodeError::Text)
    }
}
