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

pub(crate) mod admission;
mod arriving;
mod authority;
mod connection;
mod crew;
mod delivery;
mod ending;
mod gathered;
mod rewound;
mod socket;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use synod_transport::Stranger;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::config::{LimitsConfig, SocketConfig, Url};
use crate::service::Services;
use crate::sparingly::Sparingly;
use crate::tls::{OverTls, ServerTls, shown};
use admission::{Admission, Reason};
use connection::Ended;
pub(crate) use delivery::Delivery;
use socket::{Accepted, Socket};

/// Ports taken for clients.
#[derive(Debug)]
pub(crate) struct Listener {
    sockets: Vec<(Url, Speech, Socket)>,
}

/// What is spoken at a port.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Speech {
    Plain,
    Tls,
    /// Either, told apart by the first byte: the port was asked for with `http` and with `https`.
    Both,
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
    admission: Arc<Admission>,
    refusals: Arc<Sparingly>,
    stop: CancellationToken,
}

impl Door {
    /// Open until `stop`.
    pub(crate) fn new(
        tls: Arc<ServerTls>,
        limits: LimitsConfig,
        admission: Arc<Admission>,
        stop: CancellationToken,
    ) -> Self {
        Self { tls, limits, admission, refusals: Arc::new(Sparingly::default()), stop }
    }

    /// Counts a connection that was closed before its first request, and tells of it, as etcd words
    /// it for those who look for it.
    fn refused(&self, from: &str, reason: Reason, why: &str) {
        self.admission.refuse(reason);
        self.refusals.tell(|others| {
            warn!(from, reason = why, others, "rejected connection on client endpoint");
        });
    }
}

impl Listener {
    /// Takes the ports.
    pub(crate) async fn bind(urls: &[Url], options: SocketConfig) -> Result<Self, ListenError> {
        let mut sockets: Vec<(Url, Speech, Socket)> = Vec::with_capacity(urls.len());
        for url in urls {
            let speech = Speech::of(url);
            if let Some((.., also, _)) = sockets.iter_mut().find(|(taken, ..)| taken.shares(url)) {
                *also = also.and(speech);
                continue;
            }
            let socket = Socket::bind(url, options)
                .await
                .map_err(|reason| ListenError { url: url.clone(), reason })?;
            sockets.push((url.clone(), speech, socket));
        }
        Ok(Self { sockets })
    }

    /// Where they ended up, for ports given as 0.
    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        self.sockets.iter().filter_map(|(.., socket)| socket.address()).collect()
    }

    /// Serves until told to stop, and then until what was asked is answered, within a limit.
    pub(crate) async fn serve(self, services: Services, door: Door) {
        let mut ports = JoinSet::new();
        for (_, speech, socket) in self.sockets {
            ports.spawn(serve_port(speech, socket, services.clone(), door.clone()));
        }
        while ports.join_next().await.is_some() {}
    }
}

impl Speech {
    fn of(url: &Url) -> Self {
        if url.is_tls() { Self::Tls } else { Self::Plain }
    }

    fn and(self, other: Self) -> Self {
        if self == other { self } else { Self::Both }
    }

    /// Whether this client speaks TLS; nothing if it has left or was sent away.
    async fn is_tls(self, stream: &TcpStream, guest: &Guest, door: &Door) -> Option<bool> {
        if self != Self::Both {
            return Some(self == Self::Tls);
        }
        let mut first = [0];
        let reason = tokio::select! {
            peeked = timeout(HANDSHAKE, stream.peek(&mut first)) => match peeked {
                Ok(peeked) => return peeked.is_ok().then_some(first == [TLS_HANDSHAKE]),
                Err(_) => Reason::Silence,
            },
            () = guest.stranger.is_shown_out() => Reason::Crowd,
            () = door.stop.cancelled() => return None,
        };
        door.refused(&guest.from, reason, &door.admission.explain(reason));
        None
    }
}

async fn serve_port(speech: Speech, socket: Socket, services: Services, door: Door) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = socket.accept() => accepted,
            Some(_) = connections.join_next() => continue,
            () = door.stop.cancelled() => break,
        };
        let (stream, host, from) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, most likely: trying again at once would only spin.
                warn!(%error, "cannot accept a client connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let (admitted, stranger) = match door.admission.admit(host) {
            Ok(admitted) => admitted,
            Err(reason) => {
                door.refused(&from, reason, &door.admission.explain(reason));
                continue;
            }
        };
        let (services, door) = (services.clone(), door.clone());
        connections.spawn(async move {
            let guest = Guest { from, stranger };
            match stream {
                Accepted::Tcp(stream) => {
                    let Some(is_tls) = speech.is_tls(&stream, &guest, &door).await else { return };
                    welcome(stream, guest, is_tls, services, door).await;
                }
                Accepted::Unix(stream) => {
                    welcome(stream, guest, speech == Speech::Tls, services, door).await;
                }
            }
            drop(admitted);
        });
    }
    drop(socket);
    let drained = async { while connections.join_next().await.is_some() {} };
    if timeout(DRAIN, drained).await.is_err() {
        warn!("some requests were not answered in time and are cut off");
    }
    connections.shutdown().await;
}

/// Who has come in and not said a word.
struct Guest {
    from: String,
    stranger: Stranger,
}

/// Shakes hands, if TLS is spoken here, and serves.
async fn welcome<S>(stream: S, guest: Guest, is_tls: bool, services: Services, door: Door)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let Guest { from, stranger } = guest;
    let result = match door.tls.client.as_ref().filter(|_| is_tls) {
        None => connection::serve(stream, None, stranger, services, &door).await,
        Some(side) => {
            let acceptor = TlsAcceptor::from(side.accepting());
            let shaken = tokio::select! {
                shaken = shake_hands(acceptor, stream) => shaken,
                () = stranger.is_shown_out() => Err(door.admission.explain(Reason::Crowd)),
                () = door.stop.cancelled() => return,
            };
            match shaken {
                Ok(stream) => {
                    let certificates = stream.get_ref().1.peer_certificates();
                    let first: Option<&CertificateDer<'_>> =
                        certificates.and_then(|certificates| certificates.first());
                    let tls = OverTls { certificate: first.map(shown) };
                    connection::serve(stream, Some(tls), stranger, services, &door).await
                }
                Err(why) => return door.refused(&from, Reason::Tls, &why),
            }
        }
    };
    match result {
        Ok(()) => {}
        Err(Ended::Early(reason)) => {
            door.refused(&from, reason, &door.admission.explain(reason));
        }
        Err(Ended::Late(error)) => debug!(from, %error, "client connection ended"),
    }
}

/// CVE-2026-73500: in etcd a handshake had no deadline, and any number could be under way.
async fn shake_hands<S: AsyncRead + AsyncWrite + Unpin>(
    acceptor: TlsAcceptor,
    stream: S,
) -> Result<tokio_rustls::server::TlsStream<S>, String> {
    match timeout(HANDSHAKE, acceptor.accept(stream)).await {
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

/// For a whole handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// What each TLS connection begins with, and no HTTP.
const TLS_HANDSHAKE: u8 = 0x16;
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

    /// CVE-2026-73500. Their number is bounded by the lobby.
    #[tokio::test(start_paused = true)]
    async fn handshakes_have_a_deadline() {
        let (_silent, here) = tokio::io::duplex(64);
        let refused = shake_hands(acceptor(), here).await.err().unwrap();
        assert_eq!(refused, "no complete TLS handshake after 10s");
    }
}
