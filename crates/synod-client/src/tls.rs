//! Whom a client trusts, and how it shows who it is.

use std::fmt;
use std::sync::Arc;

use tonic::transport::{ClientTlsConfig, Endpoint, Identity};

mod anyone;
mod trusted;

use anyone::Anyone;
use trusted::Trusted;

/// TLS towards members: whose certificates are trusted, and the client's own.
///
/// Everything is PEM, as in the files that `etcdctl` is given.
#[derive(Clone, Default, Eq, PartialEq)]
pub struct Tls {
    authorities: Option<Vec<u8>>,
    /// Certificate and key.
    identity: Option<(Vec<u8>, Vec<u8>)>,
    server_name: Option<String>,
    trusts_anyone: bool,
}

impl Tls {
    /// Trusts the authorities that this machine trusts.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Trusts these authorities instead.
    #[must_use]
    pub fn with_authorities(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.authorities = Some(pem.into());
        self
    }

    /// Shows this certificate, with what follows it up to its authority, and has its key.
    #[must_use]
    pub fn with_identity(
        mut self,
        certificates: impl Into<Vec<u8>>,
        key: impl Into<Vec<u8>>,
    ) -> Self {
        self.identity = Some((certificates.into(), key.into()));
        self
    }

    /// Expects this name in the certificates of members, instead of the host of the endpoint.
    #[must_use]
    pub fn with_server_name(mut self, name: impl Into<String>) -> Self {
        self.server_name = Some(name.into());
        self
    }

    /// Trusts whoever answers. What is read and written can be seen and changed on its way: for
    /// tests only.
    #[must_use]
    pub const fn without_verification(mut self) -> Self {
        self.trusts_anyone = true;
        self
    }

    /// The same endpoint over TLS, or what is wrong.
    pub(crate) fn on(&self, target: Endpoint) -> Result<Endpoint, String> {
        let mut config = ClientTlsConfig::new();
        if let Some((certificates, key)) = &self.identity {
            config = config.identity(Identity::from_pem(certificates, key));
        }
        if let Some(name) = &self.server_name {
            config = config.domain_name(name);
        }
        let target = match &self.authorities {
            _ if self.trusts_anyone => {
                target.tls_config_with_verifier(config, Arc::new(Anyone::default()))
            }
            Some(pem) => target.tls_config_with_verifier(config, Arc::new(Trusted::read(pem)?)),
            None => target.tls_config(config.with_native_roots()),
        };
        target.map_err(|error| deepest(&error).to_string())
    }
}

/// What is behind an error that only says where it happened.
fn deepest(mut error: &dyn std::error::Error) -> &dyn std::error::Error {
    while let Some(cause) = error.source() {
        error = cause;
    }
    error
}

/// Without the key.
impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { authorities, identity, server_name, trusts_anyone } = self;
        f.debug_struct("Tls")
            .field("own_authorities", &authorities.is_some())
            .field("has_identity", &identity.is_some())
            .field("server_name", server_name)
            .field("trusts_anyone", trusts_anyone)
            .finish()
    }
}
