//! The incoming side: greets whoever calls, refuses whom it should, and hands frames on.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::{debug, warn};

use crate::PeerIdentity;
use crate::dial::configure;
use crate::frame::{FrameDecoder, FrameError};
use crate::hello::{
    Greeting, GreetingError, Hello, Lane, PROTOCOL_VERSION, PROTOCOL_VERSION_MIN, RefusalCode,
    Refused,
};
use crate::limit::LogLimit;
use crate::lobby::{Host, Lobby, Stranger};
use crate::moving::{Movable, Moving};
use crate::options::{TransportOptions, Who};
use crate::outbox::Outbox;
use crate::stats::count;
use crate::tls;

/// Everything that incoming connections share.
pub(crate) struct Acceptor<F> {
    pub(crate) who: Who,
    pub(crate) options: TransportOptions,
    /// The outboxes hold the counters of their lane, in both directions.
    pub(crate) lanes: Arc<BTreeMap<(u64, Lane), Arc<Outbox>>>,
    pub(crate) on_frame: F,
    /// What peers have said about themselves.
    pub(crate) abouts: Arc<Mutex<BTreeMap<u64, Bytes>>>,
    pub(crate) limit: Arc<LogLimit>,
    pub(crate) refused: Arc<AtomicU64>,
    pub(crate) lobby: Arc<Lobby>,
    /// The connection that each lane of each peer came in on last.
    pub(crate) current: Mutex<BTreeMap<(u64, Lane), CancellationToken>>,
    pub(crate) stop: CancellationToken,
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("no complete greeting after {0:?}")]
    GreetingTimeout(Duration),
    #[error("no complete TLS handshake after {0:?}")]
    TlsTimeout(Duration),
    #[error("{0}")]
    Tls(String),
    #[error("{0} connections have not said who they are, most of them from there")]
    Crowded(usize),
    #[error(transparent)]
    Greeting(#[from] GreetingError),
    #[error("refused: {}", .0.text)]
    Refused(Refused),
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("the peer closed it")]
    Closed,
    #[error("the peer has opened a newer one")]
    Replaced,
}

impl Ended {
    /// Whether it is part of a normal day.
    const fn is_usual(&self) -> bool {
        matches!(self, Self::Io(_) | Self::Closed | Self::Replaced)
    }
}

impl<F: Fn(PeerIdentity, Bytes) + Send + Sync + 'static> Acceptor<F> {
    /// Accepts until told to stop.
    pub(crate) async fn run(self: Arc<Self>, socket: TcpListener) {
        loop {
            let accepted = tokio::select! {
                accepted = socket.accept() => accepted,
                () = self.stop.cancelled() => return,
            };
            let (stream, from) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of file descriptors, most likely: trying again at once would only spin.
                    warn!(%error, "cannot accept a peer connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let Some(stranger) = self.lobby.enter(Host::of(from.ip())) else {
                self.complain(from, &self.crowded().to_string());
                continue;
            };
            let this = Arc::clone(&self);
            tokio::spawn(async move { this.serve(stream, stranger, from).await });
        }
    }

    async fn serve(self: Arc<Self>, stream: TcpStream, stranger: Stranger, from: SocketAddr) {
        let ended = tokio::select! {
            ended = self.converse(stream, stranger) => ended,
            () = self.stop.cancelled() => return,
        };
        if ended.is_usual() {
            debug!(%from, reason = %ended, "incoming peer connection ended");
        } else {
            self.complain(from, &ended.to_string());
        }
    }

    /// Tells of a misfit, once for each host and reason in a while.
    fn complain(&self, from: SocketAddr, reason: &str) {
        count(&self.refused, 1);
        if self.limit.allows(&format!("{} {reason}", from.ip()), Instant::now()) {
            warn!(%from, reason, "rejected connection on peer endpoint");
        }
    }

    /// Shakes hands, if TLS is spoken, and goes on.
    async fn converse(self: &Arc<Self>, stream: TcpStream, stranger: Stranger) -> Ended {
        if let Err(error) = configure(&stream, self.options.silence_timeout) {
            return error.into();
        }
        let stream = Moving::Here(stream);
        let Some(config) = self.options.tls.as_ref().and_then(|tls| tls.accepting()) else {
            return self.greet_and_read(stream, stranger).await;
        };
        let limit = self.options.handshake_timeout;
        let shaken = tokio::select! {
            shaken = timeout(limit, TlsAcceptor::from(config).accept(stream)) => shaken,
            () = stranger.is_shown_out() => return self.crowded(),
        };
        match shaken {
            Err(_) => Ended::TlsTimeout(limit),
            Ok(Err(error)) => Ended::Tls(tls::explain(&error)),
            Ok(Ok(stream)) => self.greet_and_read(stream, stranger).await,
        }
    }

    fn crowded(&self) -> Ended {
        Ended::Crowded(self.lobby.strangers_max())
    }

    async fn greet_and_read(
        self: &Arc<Self>,
        mut stream: impl AsyncRead + AsyncWrite + Movable + Unpin + Send + 'static,
        stranger: Stranger,
    ) -> Ended {
        let limit = self.options.handshake_timeout;
        let greeted = tokio::select! {
            greeted = timeout(limit, self.greet(&mut stream)) => greeted,
            () = stranger.is_shown_out() => return self.crowded(),
        };
        let hello = match greeted {
            Err(_) => return Ended::GreetingTimeout(limit),
            Ok(Err(ended)) => return ended,
            Ok(Ok(hello)) => hello,
        };
        drop(stranger);
        let place = (hello.sender.id, hello.lane);
        let newer = CancellationToken::new();
        if let Some(older) = self.current.lock().insert(place, newer.clone()) {
            older.cancel();
        }
        self.abouts.lock().insert(hello.sender.id, hello.about.clone());
        let Some(runtime) = &self.options.reading else {
            return self.read_until(stream, &hello, &newer).await;
        };
        if let Err(error) = stream.socket().leave() {
            return error.into();
        }
        let this = Arc::clone(self);
        let reading = runtime.spawn(async move {
            if let Err(error) = stream.socket().arrive() {
                return error.into();
            }
            this.read_until(stream, &hello, &newer).await
        });
        // Ends with this task, too. If the runtime has ended, so has the member.
        match AbortOnDropHandle::new(reading).await {
            Ok(ended) => ended,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => Ended::Closed,
            },
        }
    }

    /// Reads until the connection ends, or the peer has opened a newer one. Nothing is handed over
    /// after that, or frames would come out of order.
    async fn read_until(
        &self,
        stream: impl AsyncRead + Unpin,
        hello: &Hello,
        newer: &CancellationToken,
    ) -> Ended {
        tokio::select! {
            biased;
            () = newer.cancelled() => Ended::Replaced,
            ended = self.read(stream, hello) => ended.err().unwrap_or(Ended::Closed),
        }
    }

    async fn greet(
        &self,
        stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    ) -> Result<Hello, Ended> {
        let judged = match Greeting::read(stream).await? {
            Greeting::Hello(hello) => judge(&self.who, &hello).map(|()| hello),
            Greeting::Incompatible { version } => Err(incompatible(version)),
            Greeting::Welcome(_) | Greeting::Refused(_) => Err(Refused {
                code: RefusalCode::Malformed,
                text: "a connection begins with a hello".to_owned(),
            }),
        };
        match judged {
            Ok(hello) => {
                stream.write_all(&Greeting::Welcome(self.who.me).encode()).await?;
                stream.flush().await?;
                Ok(hello)
            }
            Err(refused) => {
                stream.write_all(&Greeting::Refused(refused.clone()).encode()).await?;
                stream.shutdown().await?;
                Err(Ended::Refused(refused))
            }
        }
    }

    async fn read(&self, mut stream: impl AsyncRead + Unpin, hello: &Hello) -> Result<(), Ended> {
        let counters =
            &self.lanes.get(&(hello.sender.id, hello.lane)).expect("judged a member").counters;
        let (mut decoder, mut buffer) = (FrameDecoder::default(), BytesMut::new());
        loop {
            while let Some(frame) = decoder.decode(&mut buffer)? {
                count(&counters.received_frames, 1);
                count(&counters.received_bytes, frame.len());
                (self.on_frame)(hello.sender, frame);
            }
            // Frames share the buffer's memory and may be kept for long, so a block is used up
            // before the next one is allocated.
            if buffer.capacity() - buffer.len() < READ_BYTES_MIN {
                buffer.reserve(READ_BLOCK_BYTES);
            }
            if stream.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
        }
    }
}

/// Whether this hello is for us, from one of us.
fn judge(who: &Who, hello: &Hello) -> Result<(), Refused> {
    let refuse = |code, text| Err(Refused { code, text });
    if hello.cluster != who.cluster {
        let text = format!(
            "member {:x} belongs to cluster {:x}, this is cluster {:x}",
            hello.sender.id, hello.cluster, who.cluster
        );
        return refuse(RefusalCode::ForeignCluster, text);
    }
    if hello.receiver != who.me.id {
        let text = format!("this is member {:x}, not {:x}", who.me.id, hello.receiver);
        return refuse(RefusalCode::WrongMember, text);
    }
    if !who.peers.iter().any(|(id, _)| *id == hello.sender.id) {
        let text = format!(
            "member {:x} does not know a member {:x} of its cluster",
            who.me.id, hello.sender.id
        );
        return refuse(RefusalCode::UnknownSender, text);
    }
    Ok(())
}

fn incompatible(version: u16) -> Refused {
    let text = format!(
        "protocol version {version} is not understood here, but \
         {PROTOCOL_VERSION_MIN} to {PROTOCOL_VERSION}"
    );
    Refused { code: RefusalCode::IncompatibleVersion, text }
}

/// A new block of memory for reading.
const READ_BLOCK_BYTES: usize = 64 << 10;
/// A block with less room than this is used up.
const READ_BYTES_MIN: usize = 4 << 10;
/// After a failed accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    fn who() -> Who {
        Who {
            cluster: 7,
            me: PeerIdentity { id: 1, incarnation: 11 },
            peers: vec![(2, "b:1".to_owned()), (3, "c:1".to_owned())],
            about: Bytes::new(),
        }
    }

    #[test]
    fn who_is_refused_and_why() {
        let good = Hello {
            cluster: 7,
            sender: PeerIdentity { id: 2, incarnation: 22 },
            receiver: 1,
            lane: Lane::Control,
            about: Bytes::new(),
        };
        let stranger = PeerIdentity { id: 9, incarnation: 22 };
        let myself = PeerIdentity { id: 1, incarnation: 11 };
        let table = [
            (good.clone(), None),
            (Hello { cluster: 8, ..good.clone() }, Some(RefusalCode::ForeignCluster)),
            (Hello { receiver: 3, ..good.clone() }, Some(RefusalCode::WrongMember)),
            (Hello { sender: stranger, ..good.clone() }, Some(RefusalCode::UnknownSender)),
            (Hello { sender: myself, ..good }, Some(RefusalCode::UnknownSender)),
        ];
        for (hello, code) in table {
            assert_eq!(judge(&who(), &hello).err().map(|refused| refused.code), code, "{hello:?}");
        }
    }
}
