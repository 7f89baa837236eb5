//! How callers prove who they are: passwords and tokens.
//!
//! A token says which user earned it, and at which auth revision. It is signed, so that every
//! member can check it and none needs to remember it; what its user may, and whether it still
//! counts, is looked up in the state where it is used. So a changed password ends it at once, on
//! all members, and a changed role does not end it at all.

mod jwt;
mod passwords;
mod recent;
mod simple;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jwt::JwtTokens;
pub use jwt::TokenOptionsError;
pub(crate) use passwords::{PasswordError, Passwords};
use simple::SimpleTokens;
use synod_kv::{Identity, TokenSecret};

use crate::config::{AuthConfig, AuthToken};

/// Issues tokens and reads them.
#[derive(Debug)]
pub(crate) enum Tokens {
    /// Signed with the secret that all members share.
    Simple(SimpleTokens),
    /// Signed with keys from files.
    Jwt(Box<JwtTokens>),
}

/// A moment, as clocks on walls show it: members compare theirs by it.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Ord, PartialOrd)]
pub(crate) struct WallTime(Duration);

impl WallTime {
    pub(crate) fn now() -> Self {
        Self(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
    }

    pub(crate) const fn of_millis(millis: u64) -> Self {
        Self(Duration::from_millis(millis))
    }

    pub(crate) fn as_millis(self) -> u64 {
        u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX)
    }

    pub(crate) const fn as_secs(self) -> u64 {
        self.0.as_secs()
    }

    pub(crate) fn plus(self, time: Duration) -> Self {
        Self(self.0.saturating_add(time))
    }
}

/// No token can be issued: there is only a key to check them with.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("auth: token signing attempted with verify-only key")]
pub(crate) struct VerifyOnly;

impl Tokens {
    /// As configured; reads the files of keys.
    pub(crate) fn open(config: &AuthConfig) -> Result<Self, TokenOptionsError> {
        Ok(match &config.token {
            AuthToken::Simple => Self::Simple(SimpleTokens::new(config.token_ttl)),
            AuthToken::Jwt(options) => Self::Jwt(Box::new(JwtTokens::open(options)?)),
        })
    }

    /// A token for a user whose password was right at this auth revision.
    pub(crate) fn issue(
        &self,
        secret: &TokenSecret,
        name: &str,
        revision: u64,
        now: WallTime,
    ) -> Result<String, VerifyOnly> {
        match self {
            Self::Simple(tokens) => Ok(tokens.issue(secret, name, revision, now)),
            Self::Jwt(tokens) => tokens.issue(name, revision, now),
        }
    }

    /// Whose token it is; none if nobody's, or too old.
    pub(crate) fn read(
        &self,
        secret: &TokenSecret,
        token: &str,
        now: WallTime,
    ) -> Option<Identity> {
        match self {
            Self::Simple(tokens) => tokens.read(secret, token, now),
            Self::Jwt(tokens) => tokens.read(token, now),
        }
    }
}
