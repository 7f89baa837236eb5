//! The ports of clients: gRPC and HTTP, in the clear and with TLS, over TCP and unix sockets.
//!
//! ```text
//!   accept ─▶ TLS handshake ─▶ first bytes ─▶ HTTP/1.1 or HTTP/2 ─▶ services
//!             (deadline,       (deadline)     (limits of each)
//!              so many at a time)
//! ```
//!
//! Everything a client may hold on to has a bound: connections, handshakes, the time for each step
//! until the first request, streams of a connection, and what can be made of frames that cost the
//! sender little (see [`connection`]).

mod authority;
mod connection;
mod ending;
mod gathered;
mod rewound;
mod socket;
mod sparingly;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::config::{LimitsConfig, SocketConfig, Url};
use crate::service::Services;
use crate::tls::{OverTls, ServerTls, shown};
use socket::{Accepted, Socket};
use sparingly::Sparingly;

/// Ports taken for clients.
#[derive(Debug)]
pub(crate) struct Listener {
    sockets: Vec<(Url, Socket)>,
}

/// A port could not be taken.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen for clients on {url}: {reason}")]
pub struct ListenError {
    /// The address asked for.
    pub url: Url,
    /// Why not. It is in the text, so it is not named as a source again.
    pub reason: io::Error,
}

/// What all listeners of a server share.
#[derive(Clone, Debug)]
pub(crate) struct Door {
    tls: Arc<ServerTls>,
    limits: LimitsConfig,
    connections: Arc<Semaphore>,
    handshakes: Arc<Semaphore>,
    refusals: Arc<Sparingly>,
    stop: CancellationToken,
}

impl Door {
    /// Open until `stop`.
    pub(crate) fn new(tls: Arc<ServerTls>, limits: LimitsConfig, stop: CancellationToken) -> Self {
        let connections = limits.connections_max.min(Semaphore::MAX_PERMITS);
        Self {
            tls,
            connections: Arc::new(Semaphore::new(connections)),
            handshakes: Arc::new(Semaphore::new(HANDSHAKES_MAX)),
            refusals: Arc::new(Sparingly::default()),
            limits,
            stop,
        }
    }
}

impl Listener {
    /// Takes the ports.
    pub(crate) async fn bind(urls: &[Url], options: SocketConfig) -> Result<Self, ListenError> {
        let mut sockets = Vec::with_capacity(urls.len());
        for url in urls {
            let socket = Socket::bind(url, options)
                .await
                .map_err(|reason| ListenError { url: url.clone(), reason })?;
            sockets.push((url.clone(), socket));
        }
        Ok(Self { sockets })
    }

    /// Where they ended up, for ports given as 0.
    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        self.sockets.iter().filter_map(|(_, socket)| socket.address()).collect()
    }

    /// Serves until told to stop, and then until what was asked is answered, within a limit.
    pub(crate) async fn serve(self, services: Services, door: Door) {
        let mut ports = JoinSet::new();
        for (url, socket) in self.sockets {
            ports.spawn(serve_port(url, socket, services.clone(), door.clone()));
        }
        while ports.join_next().await.is_some() {}
    }
}

async fn serve_port(url: Url, socket: Socket, services: Services, door: Door) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = socket.accept() => accepted,
            Some(_) = connections.join_next() => continue,
            () = door.stop.cancelled() => break,
        };
        let (stream, from) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, most likely: trying again at once would only spin.
                warn!(%error, "cannot accept a client connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Ok(permit) = Arc::clone(&door.connections).try_acquire_owned() else {
            door.refusals.tell(|others| {
                let limit = door.limits.connections_max;
                warn!(
                    from,
                    limit, others, "closed a connection: --max-client-connections is reached"
                );
            });
            continue;
        };
        let (services, door, is_tls) = (services.clone(), door.clone(), url.is_tls());
        connections.spawn(async move {
            match stream {
                Accepted::Tcp(stream) => welcome(stream, from, is_tls, services, door).await,
                Accepted::Unix(stream) => welcome(stream, from, is_tls, services, door).await,
            }
            drop(permit);
        });
    }
    drop(socket);
    let drained = async { while connections.join_next().await.is_some() {} };
    if timeout(DRAIN, drained).await.is_err() {
        warn!("some requests were not answered in time and are cut off");
    }
    connections.shutdown().await;
}

/// Shakes hands, if TLS is spoken here, and serves.
async fn welcome<S>(stream: S, from: String, is_tls: bool, services: Services, door: Door)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let result = match door.tls.client.as_ref().filter(|_| is_tls) {
        None => connection::serve(stream, None, services, &door).await,
        Some(side) => {
            let acceptor = TlsAcceptor::from(side.accepting());
            match shake_hands(acceptor, stream, &door.handshakes, &door.stop).await {
                Ok(stream) => {
                    let certificates = stream.get_ref().1.peer_certificates();
                    let first: Option<&CertificateDer<'_>> =
                        certificates.and_then(|certificates| certificates.first());
                    let tls = OverTls { certificate: first.map(shown) };
                    connection::serve(stream, Some(tls), services, &door).await
                }
                Err(reason) => {
                    // As etcd words it, for those who look for it.
                    door.refusals.tell(|others| {
                        warn!(from, reason, others, "rejected connection on client endpoint");
                    });
                    return;
                }
            }
        }
    };
    if let Err(error) = result {
        debug!(from, %error, "client connection ended");
    }
}

/// CVE-2026-73500: in etcd a handshake had no deadline, and any number could be under way.
async fn shake_hands<S: AsyncRead + AsyncWrite + Unpin>(
    acceptor: TlsAcceptor,
    stream: S,
    handshakes: &Semaphore,
    stop: &CancellationToken,
) -> Result<tokio_rustls::server::TlsStream<S>, String> {
    let Ok(_permit) = handshakes.try_acquire() else {
        return Err(format!("{HANDSHAKES_MAX} TLS handshakes are under way"));
    };
    let shaken = tokio::select! {
        shaken = timeout(HANDSHAKE, acceptor.accept(stream)) => shaken,
        () = stop.cancelled() => return Err("the server stops".to_owned()),
    };
    match shaken {
        Err(_) => Err(format!("no complete TLS handshake after {HANDSHAKE:?}")),
        Ok(Err(error)) => Err(explain(&error)),
        Ok(Ok(stream)) => Ok(stream),
    }
}

fn explain(error: &io::Error) -> String {
    let tls = error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>());
    match tls {
        Some(rustls::Error::InvalidMessage(_)) => {
            "the client does not speak TLS, and this port does".to_owned()
        }
        Some(error) => error.to_string(),
        None => error.to_string(),
    }
}

/// TLS handshakes under way at a time; they hold memory, and little of it.
const HANDSHAKES_MAX: usize = 4096;
/// For a whole handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// A stopping server waits so long for requests under way.
const DRAIN: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use rustls::ServerConfig;
    use rustls::pki_types::PrivateKeyDer;

    use super::*;

    fn acceptor() -> TlsAcceptor {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        TlsAcceptor::from(Arc::new(config))
    }

    /// CVE-2026-73500.
    #[tokio::test(start_paused = true)]
    async fn handshakes_have_a_deadline_and_a_number() {
        let (handshakes, stop) = (Semaphore::new(1), CancellationToken::new());
        let (silent, here) = tokio::io::duplex(64);
        let (_second, there) = tokio::io::duplex(64);
        let acceptor = acceptor();
        let first = shake_hands(acceptor.clone(), here, &handshakes, &stop);
        let second = async {
            tokio::task::yield_now().await;
            shake_hands(acceptor.clone(), there, &handshakes, &stop).await.err().unwrap()
        };
        let (first, second) = tokio::join!(first, second);
        assert_eq!(first.err().unwrap(), "no complete TLS handshake after 10s");
        assert!(second.contains("are under way"), "{second}");
        drop(silent);
        assert_eq!(handshakes.available_permits(), 1, "and leaves room for the next");
    }
}
