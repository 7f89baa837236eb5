//! The outgoing side: dials one peer for one lane, for ever, and writes what its outbox holds.
//!
//! ```text
//!            ┌────────────── pause, doubling ◀──────────────┐
//!            ▼                                              │ failed, or broken soon
//!   ──▶ dial and greet ── welcome ──▶ write ── broken ──▶ dial at once
//! ```

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, WriteHalf};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::PeerIdentity;
use crate::frame;
use crate::hello::{Greeting, GreetingError, Hello, Lane, PROTOCOL_VERSION, Refused};
use crate::limit::LogLimit;
use crate::options::TransportOptions;
use crate::outbox::{Load, Outbox};
use crate::stats::count;
use crate::tls;

/// One lane to one peer.
pub(crate) struct Dialler<U> {
    pub(crate) hello: Hello,
    pub(crate) address: String,
    pub(crate) options: TransportOptions,
    pub(crate) outbox: Arc<Outbox>,
    pub(crate) on_unreachable: Arc<U>,
    pub(crate) limit: Arc<LogLimit>,
    pub(crate) stop: CancellationToken,
}

/// Why a dial led nowhere.
#[derive(Debug, thiserror::Error)]
enum DialError {
    #[error("cannot connect: {0}")]
    Connect(io::Error),
    #[error("no connection after {0:?}")]
    ConnectTimeout(Duration),
    #[error("no answer to the greeting after {0:?}")]
    GreetingTimeout(Duration),
    #[error("{0}")]
    Tls(String),
    #[error(transparent)]
    Greeting(#[from] GreetingError),
    #[error("refused by the peer: {}", .0.text)]
    Refused(Refused),
    #[error("it speaks protocol version {0}, this member {PROTOCOL_VERSION}")]
    Incompatible(u16),
    #[error("member {0:x} answers there")]
    AnotherMember(u64),
    #[error("it answers a hello with a hello")]
    OutOfTurn,
}

impl DialError {
    /// Nobody listens there.
    fn is_nobody(&self) -> bool {
        matches!(self, Self::Connect(e) if e.kind() == io::ErrorKind::ConnectionRefused)
    }

    /// Somebody is there, and a later dial will end like this one until somebody changes something.
    const fn is_mistake(&self) -> bool {
        matches!(
            self,
            Self::Refused(_)
                | Self::Incompatible(_)
                | Self::AnotherMember(_)
                | Self::Tls(_)
                | Self::Greeting(GreetingError::SpeaksTls)
        )
    }
}

impl<U: Fn(u64) + Send + Sync> Dialler<U> {
    /// Runs until it is told to stop; then sends what still waits.
    pub(crate) async fn run(self) {
        let stop = self.stop.clone();
        let mut pause = self.options.redial_pause_min;
        // Whether there was a connection since the peer was last reported as gone.
        let mut was_connected = false;
        while !stop.is_cancelled() {
            let dialled = tokio::select! {
                dialled = self.dial() => dialled,
                () = stop.cancelled() => break,
            };
            match dialled {
                Ok(stream) => {
                    was_connected = true;
                    let connected = Instant::now();
                    self.serve(stream).await;
                    if connected.elapsed() >= self.options.redial_pause_max {
                        pause = self.options.redial_pause_min;
                        continue;
                    }
                    // It greets and then goes: it is about to stop, or takes two for one.
                }
                Err(error) => {
                    self.outbox.close();
                    if was_connected && error.is_nobody() {
                        was_connected = false;
                        info!(peer = %self.peer(), "peer is gone: its port refuses connections");
                        (self.on_unreachable)(self.hello.receiver);
                    }
                    self.report(&error);
                }
            }
            tokio::select! {
                () = tokio::time::sleep(pause + jitter(pause / 4)) => {}
                () = stop.cancelled() => break,
            }
            pause = (pause * 2).min(self.options.redial_pause_max);
        }
    }

    fn peer(&self) -> String {
        format!("{:x} at {}", self.hello.receiver, self.address)
    }

    fn report(&self, error: &DialError) {
        let (peer, lane) = (self.peer(), self.hello.lane.name());
        if !error.is_mistake() {
            debug!(peer, lane, %error, "dial failed");
        } else if self.limit.allows(&format!("{peer} {error}"), Instant::now()) {
            warn!(peer, %error, "cannot talk to peer");
        }
    }

    /// Connects, shakes hands if TLS is spoken, and greets.
    async fn dial(&self) -> Result<Connection, DialError> {
        let limit = self.options.connect_timeout;
        let connected = timeout(limit, connect(&self.address)).await;
        let mut stream = connected
            .map_err(|_| DialError::ConnectTimeout(limit))?
            .and_then(|stream| configure(&stream, self.options.silence_timeout).map(|()| stream))
            .map_err(DialError::Connect)?;
        let limit = self.options.handshake_timeout;
        let greeted = async {
            let Some(config) = self.options.tls.as_ref().and_then(|tls| tls.dialling()) else {
                self.greet(&mut stream).await?;
                return Ok(Connection::Plain(stream));
            };
            let name = tls::name_of(&self.address).map_err(DialError::Tls)?;
            let shaken = TlsConnector::from(config).connect(name, stream).await;
            let mut stream = shaken.map_err(|error| DialError::Tls(tls::explain(&error)))?;
            match self.greet(&mut stream).await {
                // In TLS 1.3 the other side's verdict on our certificate comes after the handshake.
                Err(DialError::Greeting(GreetingError::Io(error))) => {
                    let reason = tls::reason(&error).map(DialError::Tls);
                    Err(reason.unwrap_or_else(|| GreetingError::Io(error).into()))
                }
                Err(error) => Err(error),
                Ok(()) => Ok(Connection::Tls(Box::new(stream))),
            }
        };
        timeout(limit, greeted).await.map_err(|_| DialError::GreetingTimeout(limit))?
    }

    async fn greet(
        &self,
        stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    ) -> Result<(), DialError> {
        let hello = Greeting::Hello(self.hello.clone()).encode();
        stream.write_all(&hello).await.map_err(GreetingError::Io)?;
        stream.flush().await.map_err(GreetingError::Io)?;
        match Greeting::read(stream).await? {
            Greeting::Welcome(PeerIdentity { id, .. }) if id == self.hello.receiver => Ok(()),
            Greeting::Welcome(PeerIdentity { id, .. }) => Err(DialError::AnotherMember(id)),
            Greeting::Refused(refused) => Err(DialError::Refused(refused)),
            Greeting::Incompatible { version } => Err(DialError::Incompatible(version)),
            Greeting::Hello(_) => Err(DialError::OutOfTurn),
        }
    }

    /// Writes frames until the connection ends.
    async fn serve(&self, connection: Connection) {
        let (peer, lane) = (self.peer(), self.hello.lane);
        debug!(peer, lane = lane.name(), "connected");
        let result = match connection {
            Connection::Plain(stream) => {
                let (reader, writer) = stream.into_split();
                let writer = Arc::new(writer);
                let past = Arc::clone(&writer);
                self.outbox.open(Some(Box::new(move |slices| past.try_write_vectored(slices))));
                self.write_until_end(reader, Plain(writer)).await
            }
            Connection::Tls(stream) => {
                let (reader, writer) = tokio::io::split(*stream);
                self.outbox.open(None);
                self.write_until_end(reader, Sealed(writer)).await
            }
        };
        // The write half closes when both of its owners are gone.
        self.outbox.interrupt();
        if let Err(error) = result {
            debug!(peer, lane = lane.name(), %error, "connection lost");
        }
    }

    async fn write_until_end(
        &self,
        reader: impl AsyncRead + Unpin,
        mut writer: impl WriteChunks,
    ) -> io::Result<()> {
        tokio::select! {
            result = self.write(&mut writer) => return result,
            result = ended(reader) => return result,
            () = self.stop.cancelled() => {}
        }
        let _ = timeout(FAREWELL, self.write_rest(&mut writer)).await;
        Ok(())
    }

    async fn write(&self, writer: &mut impl WriteChunks) -> io::Result<()> {
        loop {
            let load = self.outbox.take().await;
            self.write_load(writer, load).await?;
        }
    }

    async fn write_rest(&self, writer: &mut impl WriteChunks) -> io::Result<()> {
        while let Some(load) = self.outbox.take_now() {
            self.write_load(writer, load).await?;
        }
        writer.finish().await
    }

    async fn write_load(&self, writer: &mut impl WriteChunks, load: Load) -> io::Result<()> {
        let Load { torn: mut chunks, frames } = load;
        let count_of = frames.len();
        chunks.extend(frame::encode(frames));
        let bytes = chunks.iter().map(Bytes::len).sum();
        writer.write(chunks).await?;
        count(&self.outbox.counters.sent_frames, count_of);
        count(&self.outbox.counters.sent_bytes, bytes);
        Ok(())
    }
}

/// A connection that has been greeted.
enum Connection {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// The way out of a connection.
trait WriteChunks {
    /// Writes all chunks.
    async fn write(&mut self, chunks: VecDeque<Bytes>) -> io::Result<()>;
    /// Says that nothing follows.
    async fn finish(&mut self) -> io::Result<()>;
}

struct Plain(Arc<OwnedWriteHalf>);

impl WriteChunks for Plain {
    async fn write(&mut self, chunks: VecDeque<Bytes>) -> io::Result<()> {
        write_chunks(&self.0, chunks).await
    }

    /// The socket says so when it is dropped.
    async fn finish(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Sealed(WriteHalf<TlsStream<TcpStream>>);

impl WriteChunks for Sealed {
    async fn write(&mut self, chunks: VecDeque<Bytes>) -> io::Result<()> {
        let mut chunks = chunks;
        while !chunks.is_empty() {
            let slices: Vec<IoSlice<'_>> =
                chunks.iter().take(SLICES_MAX).map(|chunk| IoSlice::new(chunk)).collect();
            match self.0.write_vectored(&slices).await? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                written => frame::advance(&mut chunks, written),
            }
        }
        // What is encrypted may wait in the session's buffer.
        self.0.flush().await
    }

    async fn finish(&mut self) -> io::Result<()> {
        self.0.shutdown().await
    }
}

/// Writes all chunks with as few calls as the kernel allows.
async fn write_chunks(writer: &OwnedWriteHalf, mut chunks: VecDeque<Bytes>) -> io::Result<()> {
    while !chunks.is_empty() {
        let slices: Vec<IoSlice<'_>> =
            chunks.iter().take(SLICES_MAX).map(|chunk| IoSlice::new(chunk)).collect();
        match writer.try_write_vectored(&slices) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => frame::advance(&mut chunks, written),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => writer.writable().await?,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Resolves when the peer closes, or says something, which it has no business to.
async fn ended(mut reader: impl AsyncRead + Unpin) -> io::Result<()> {
    match reader.read(&mut [0; 1]).await? {
        0 => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "closed by the peer")),
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, "the peer speaks out of turn")),
    }
}

/// Tries each address of the name. It counts as refused only if every address refuses.
async fn connect(address: &str) -> io::Result<TcpStream> {
    let addresses: Vec<SocketAddr> = tokio::net::lookup_host(address).await?.collect();
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for (i, address) in addresses.into_iter().enumerate() {
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) if i == 0 || error.kind() != io::ErrorKind::ConnectionRefused => {
                failure = error;
            }
            Err(_) => {}
        }
    }
    Err(failure)
}

/// No delay for small frames, and an end to connections whose other side has vanished.
pub(crate) fn configure(stream: &TcpStream, silence: Duration) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    let probes = TcpKeepalive::new()
        .with_time((silence / 3).max(Duration::from_secs(1)))
        .with_interval(Duration::from_secs(1).min(silence))
        .with_retries(3);
    socket.set_tcp_keepalive(&probes)?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(silence))?;
    Ok(())
}

/// Something between nothing and `most`, so that members do not dial in step.
fn jitter(most: Duration) -> Duration {
    let chance = RandomState::new().hash_one(0_u8);
    let micros = u64::try_from(most.as_micros()).unwrap_or(u64::MAX);
    Duration::from_micros(chance % micros.saturating_add(1))
}

/// Buffers per vectored write.
const SLICES_MAX: usize = 64;
/// How long a stopping member goes on sending what waits.
const FAREWELL: Duration = Duration::from_millis(200);

impl Lane {
    /// Frames and bytes that may wait.
    pub(crate) const fn bounds(self, options: &TransportOptions) -> (usize, usize) {
        match self {
            Self::Control => (options.queue_frames_max, options.control_bytes_max),
            Self::Bulk => (options.queue_frames_max, options.bulk_bytes_max),
        }
    }
}
