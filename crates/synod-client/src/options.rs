//! What a client may be told beside its endpoints.

use std::fmt;
use std::time::Duration;

use crate::tls::Tls;

/// How a client behaves. The defaults suit a cluster in one region.
#[derive(Clone, Eq, PartialEq)]
#[non_exhaustive]
pub struct Options {
    /// Name and password, if the cluster asks for them. The client logs in, and again when its
    /// token is no longer taken.
    pub user: Option<(String, String)>,
    /// How members are spoken to at `https://` endpoints, and at those without a scheme. Without
    /// it the former are trusted if this machine trusts them, and the latter are spoken to openly.
    pub tls: Option<Tls>,
    /// How long a member may take to accept a connection.
    pub connect_timeout: Duration,
    /// How long a call may take, all its attempts together.
    pub call_timeout: Duration,
    /// How often all members are tried in one call before it fails, if time does not end it first.
    pub rounds_max: u32,
    /// How many updates of a watch may wait to be taken. If more come, the stream stands still, and
    /// the server keeps them.
    pub watch_updates_max: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            user: None,
            tls: None,
            connect_timeout: Duration::from_secs(2),
            call_timeout: Duration::from_secs(5),
            rounds_max: 16,
            watch_updates_max: 64,
        }
    }
}

impl Options {
    /// The same, for this user.
    #[must_use]
    pub fn with_user(mut self, name: impl Into<String>, password: impl Into<String>) -> Self {
        self.user = Some((name.into(), password.into()));
        self
    }

    /// The same, with TLS.
    #[must_use]
    pub fn with_tls(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// The same, with this time limit for calls.
    #[must_use]
    pub const fn with_call_timeout(mut self, limit: Duration) -> Self {
        self.call_timeout = limit;
        self
    }

    /// The same, with this time limit for connections.
    #[must_use]
    pub const fn with_connect_timeout(mut self, limit: Duration) -> Self {
        self.connect_timeout = limit;
        self
    }

    /// The same, with so many rounds.
    #[must_use]
    pub const fn with_rounds_max(mut self, rounds: u32) -> Self {
        self.rounds_max = rounds;
        self
    }
}

/// Without the password.
impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { user, tls, connect_timeout, call_timeout, rounds_max, watch_updates_max } = self;
        f.debug_struct("Options")
            .field("user", &user.as_ref().map(|(name, _)| name))
            .field("tls", tls)
            .field("connect_timeout", connect_timeout)
            .field("call_timeout", call_timeout)
            .field("rounds_max", rounds_max)
            .field("watch_updates_max", watch_updates_max)
            .finish()
    }
}
