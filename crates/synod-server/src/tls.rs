//! TLS of this member: certificates, who is let in, and how both change while it runs.
//!
//! A [`Side`] is TLS towards clients or towards members. It hands out finished configurations of
//! `rustls`; a connection takes the one that is there when it begins. Files that change make new
//! configurations, so that nothing of the old ones lives on, not even sessions to resume: a
//! certificate that was revoked is asked for again.

mod auto;
mod itself;
mod load;
mod side;
mod verify;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::{ClientConfig, ServerConfig as RustlsServerConfig};
use synod_transport::PeerTls;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::config::{ServerConfig, Url};
pub(crate) use side::Side;
pub(crate) use verify::{OverTls, shown};

/// TLS of a member, as far as it is spoken.
#[derive(Debug)]
pub(crate) struct ServerTls {
    /// Towards clients.
    pub(crate) client: Option<Side>,
    /// Towards members.
    pub(crate) peer: Option<Side>,
    /// Whether members dial this one with TLS.
    accepts_peers: bool,
    /// Whether this member dials others with TLS.
    dials_peers: bool,
}

/// Why TLS cannot be spoken.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read or written.
    #[error("TLS: {}: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why not. It is in the text, so it is not named as a source again.
        reason: std::io::Error,
    },
    /// A file holds something else.
    #[error("TLS: {}: {reason}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// No certificate could be made.
    #[error("TLS: cannot make a certificate: {0}")]
    Make(String),
}

impl ServerTls {
    /// Reads all files, and makes the certificates that are to be made.
    pub(crate) fn open(config: &ServerConfig) -> Result<Self, TlsError> {
        let http = &config.http;
        let clients =
            [&config.listen_client_urls, &http.listen_http_urls, &http.listen_metrics_urls];
        let clients: Vec<&Url> = clients.into_iter().flatten().collect();
        let peers: Vec<&Url> = config.listen_peer_urls.iter().collect();
        let accepts_peers = peers.iter().any(|url| url.is_tls());
        let mut of_members = config.members.iter().flat_map(|member| &member.peer_urls);
        let dials_peers = of_members.any(Url::is_tls);
        let tls = &config.tls;
        let client = match clients.iter().any(|url| url.is_tls()) {
            true => Some(Side::open("client", &tls.client, config, &clients)?),
            false => None,
        };
        let peer = match accepts_peers || dials_peers {
            true => Some(Side::open("peer", &tls.peer, config, &peers)?),
            false => None,
        };
        Ok(Self { client, peer, accepts_peers, dials_peers })
    }

    fn sides(&self) -> impl Iterator<Item = &Side> {
        self.client.iter().chain(&self.peer)
    }

    /// Looks for changed files and for certificates that end soon, until it is told to stop.
    pub(crate) async fn watch(self: Arc<Self>, stop: CancellationToken) {
        let mut warned = SystemTime::UNIX_EPOCH;
        while self.sides().next().is_some() {
            let this = Arc::clone(&self);
            // A file on a lost network disk must not hold up a thread that serves.
            let looked = tokio::task::spawn_blocking(move || {
                for side in this.sides() {
                    side.refresh();
                }
            });
            tokio::select! {
                _ = looked => {}
                () = stop.cancelled() => return,
            }
            let since = warned.elapsed().unwrap_or_default();
            if since >= WARN_INTERVAL {
                warned = SystemTime::now();
                self.warn_of_expiry();
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK_INTERVAL) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    fn warn_of_expiry(&self) {
        for (role, not_after) in self.expiries() {
            let left = not_after - now();
            if left < EXPIRY_SECONDS {
                let days = left.div_euclid(DAY_SECONDS);
                warn!(role, days, "the certificate ends soon: put a new one in its place");
            }
        }
    }

    /// When each certificate ends, in seconds of Unix time, by what it is for.
    pub(crate) fn expiries(&self) -> Vec<(&'static str, i64)> {
        self.sides().map(|side| (side.role(), side.not_after())).collect()
    }
}

impl PeerTls for ServerTls {
    fn accepting(&self) -> Option<Arc<RustlsServerConfig>> {
        self.peer.as_ref().filter(|_| self.accepts_peers).map(Side::accepting)
    }

    fn dialling(&self) -> Option<Arc<ClientConfig>> {
        self.peer.as_ref().filter(|_| self.dials_peers).and_then(Side::dialling)
    }
}

/// Seconds of Unix time.
pub(crate) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// How often files are looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);
/// How often one is reminded of a certificate that ends soon.
const WARN_INTERVAL: Duration = Duration::from_secs(24 * 3600);
const DAY_SECONDS: i64 = 24 * 3600;
const EXPIRY_SECONDS: i64 = 30 * DAY_SECONDS;

#[cfg(test)]
mod tests;
