//! The client port: HTTP/1.1 and HTTP/2 without TLS, told apart by their first bytes.
//!
//! Everything a client may hold on to has a bound: connections, streams of a connection, the time
//! until the first byte and for the headers, streams opened only to be reset.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::config::Url;
use crate::service::Services;

/// Ports taken for clients.
#[derive(Debug)]
pub(crate) struct Listener {
    sockets: Vec<TcpListener>,
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

impl Listener {
    /// Takes the ports.
    pub(crate) async fn bind(urls: &[Url]) -> Result<Self, ListenError> {
        let mut sockets = Vec::with_capacity(urls.len());
        for url in urls {
            if url.is_tls() || url.is_unix() {
                let reason = io::Error::other("neither TLS nor unix sockets are built yet");
                return Err(ListenError { url: url.clone(), reason });
            }
            let socket = TcpListener::bind(url.address())
                .await
                .map_err(|reason| ListenError { url: url.clone(), reason })?;
            sockets.push(socket);
        }
        Ok(Self { sockets })
    }

    /// Where they ended up, for ports given as 0.
    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        self.sockets.iter().filter_map(|socket| socket.local_addr().ok()).collect()
    }

    /// Serves until told to stop, and then until what was asked is answered, within a limit.
    pub(crate) async fn serve(self, services: Services, stop: CancellationToken) {
        let mut ports = JoinSet::new();
        for socket in self.sockets {
            ports.spawn(serve_port(socket, services.clone(), stop.clone()));
        }
        while ports.join_next().await.is_some() {}
    }
}

async fn serve_port(socket: TcpListener, services: Services, stop: CancellationToken) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = socket.accept() => accepted,
            Some(_) = connections.join_next() => continue,
            () = stop.cancelled() => break,
        };
        match accepted {
            Ok((stream, from)) if connections.len() < CONNECTIONS_MAX => {
                connections.spawn(serve_connection(stream, from, services.clone(), stop.clone()));
            }
            Ok((_, from)) => {
                warn!(%from, limit = CONNECTIONS_MAX, "closed a connection: there are too many");
            }
            Err(error) => {
                // Out of file descriptors, most likely: trying again at once would only spin.
                warn!(%error, "cannot accept a client connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(socket);
    let drained = async { while connections.join_next().await.is_some() {} };
    if timeout(DRAIN, drained).await.is_err() {
        warn!("some requests were not answered in time and are cut off");
    }
    connections.shutdown().await;
}

async fn serve_connection(
    stream: TcpStream,
    from: SocketAddr,
    services: Services,
    stop: CancellationToken,
) {
    // A stranger that says nothing is not waited for longer than one that says it slowly.
    let spoke = timeout(FIRST_BYTE, stream.readable()).await;
    if !matches!(spoke, Ok(Ok(()))) || stream.set_nodelay(true).is_err() {
        return;
    }
    let builder = builder();
    let service = service_fn(move |request| services.clone().answer(request));
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        debug!(%from, %error, "client connection ended");
    }
}

fn builder() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADERS);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_pending_accept_reset_streams(RESETS_MAX)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE_ANSWER);
    builder
}

const CONNECTIONS_MAX: usize = 10_000;
const STREAMS_MAX: u32 = 10_000;
const RESETS_MAX: usize = 256;
/// A request of the largest size fits, so that it comes without a pause for the window.
const STREAM_WINDOW_BYTES: u32 = 2 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 8 << 20;
const FIRST_BYTE: Duration = Duration::from_secs(30);
const HEADERS: Duration = Duration::from_secs(10);
/// etcd asks a silent client after two hours; a minute notices the dead ones of the day.
const KEEP_ALIVE: Duration = Duration::from_secs(60);
const KEEP_ALIVE_ANSWER: Duration = Duration::from_secs(20);
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// A stopping server waits so long for requests under way.
const DRAIN: Duration = Duration::from_secs(5);
