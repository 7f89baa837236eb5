//! TLS between members: what to speak it with, and what went wrong in words.
//!
//! The crate reads no certificates. Whoever starts a transport hands in a [`PeerTls`], which is
//! asked anew for each connection, so that certificates may change while it runs.

use std::fmt;
use std::io;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ServerConfig};

/// What to speak TLS with, now.
pub trait PeerTls: fmt::Debug + Send + Sync {
    /// Towards those that dial this member; without it, they speak without TLS.
    fn accepting(&self) -> Option<Arc<ServerConfig>>;
    /// Towards those that this member dials; without it, it speaks without TLS.
    fn dialling(&self) -> Option<Arc<ClientConfig>>;
}

/// The name that the certificate at this `host:port` must be for.
pub(crate) fn name_of(address: &str) -> Result<ServerName<'static>, String> {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    ServerName::try_from(host.to_owned()).map_err(|_| format!("{host:?} is no name or address"))
}

/// Why a handshake failed, if it is TLS that failed.
pub(crate) fn reason(error: &io::Error) -> Option<String> {
    match error.get_ref()?.downcast_ref::<rustls::Error>()? {
        rustls::Error::InvalidMessage(_) => {
            Some("the other side does not speak TLS, and this side does".to_owned())
        }
        rustls::Error::AlertReceived(alert) => {
            Some(format!("the other side ends the TLS handshake: {alert:?}"))
        }
        other => Some(format!("TLS: {other}")),
    }
}

/// Why a handshake failed, in any case.
pub(crate) fn explain(error: &io::Error) -> String {
    reason(error).unwrap_or_else(|| match error.kind() {
        io::ErrorKind::UnexpectedEof => "the other side closed it in the TLS handshake: it does \
                                         not speak TLS, or does not trust this side's certificate"
            .to_owned(),
        _ => format!("TLS handshake: {error}"),
    })
}
