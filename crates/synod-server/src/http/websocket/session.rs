//! A conversation: messages in, messages out, and its end.

use std::error::Error;
use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt as _, StreamExt as _};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use synod_etcd::json::Streaming;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Error as WebSocketError;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Message, Role, WebSocketConfig};
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::body::Body;

use super::super::gateway;
use super::messages::Messages;
use super::metered::{Meter, Metered};
use crate::intake::{Pipe, Share};
use crate::service::Services;

/// What was agreed on.
pub(crate) struct Session {
    upgrade: OnUpgrade,
    services: Services,
    asked: Request<()>,
    pipe: Arc<Pipe>,
}

type Socket = WebSocketStream<Metered<TokioIo<Upgraded>>>;

impl Session {
    pub(super) const fn new(
        upgrade: OnUpgrade,
        services: Services,
        asked: Request<()>,
        pipe: Arc<Pipe>,
    ) -> Self {
        Self { upgrade, services, asked, pipe }
    }

    /// Goes on until all is answered, the client is gone, or the server stops.
    pub(crate) async fn serve(
        self,
        stop: CancellationToken,
    ) -> Result<(), Box<dyn Error + Send + Sync>> {
        let (stream, meter) = Metered::new(TokioIo::new(self.upgrade.await?));
        let bytes_max = gateway::json_bytes_max(&self.services.context().limits);
        let config = WebSocketConfig::default()
            .read_buffer_size(BUFFER_BYTES)
            .write_buffer_size(BUFFER_BYTES)
            .max_message_size(Some(bytes_max))
            .max_frame_size(Some(bytes_max));
        let socket = WebSocketStream::from_raw_socket(stream, Role::Server, Some(config)).await;
        let (mut sink, mut stream) = socket.split();

        let (pieces, received) = mpsc::channel(1);
        let hear = Hearing {
            stream: &mut stream,
            meter,
            share: Share::new(Arc::clone(&self.pipe)),
            pieces,
            bytes_max,
        };
        let one_request = gateway::routed(self.asked.uri().path())
            .is_some_and(|call| call.streaming() != Streaming::Both);
        let messages = if one_request {
            Messages::first(received, bytes_max, Share::new(self.pipe))
        } else {
            Messages::all(received)
        };
        let request = self.asked.map(|()| Body::new(messages));
        let (services, answers) = (self.services, &mut sink);
        let tell = async { tell(gateway::answer(services, request).await, answers).await };
        let code = tokio::select! {
            told = tell => {
                told?;
                CloseCode::Normal
            }
            heard = hear.all() => return Ok(heard?),
            () = stop.cancelled() => CloseCode::Away,
        };
        // A client that is gone, or does not read, has nothing to be told.
        let _ = timeout(FAREWELL, part(sink, stream, code)).await;
        Ok(())
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("asked", &self.asked).finish_non_exhaustive()
    }
}

/// What takes the client's messages.
struct Hearing<'a> {
    stream: &'a mut SplitStream<Socket>,
    meter: Meter,
    /// What counts of a message that is not whole.
    share: Share,
    pieces: mpsc::Sender<Result<Bytes, Status>>,
    bytes_max: usize,
}

impl Hearing<'_> {
    /// Hands on what the client says, until it is gone.
    async fn all(mut self) -> Result<(), WebSocketError> {
        loop {
            let piece = match self.next().await {
                Some(Ok(Ok(Message::Text(text)))) => Ok(text.into()),
                Some(Ok(Ok(Message::Binary(bytes)))) => Ok(bytes),
                // The library answers them when it is asked for the next.
                Some(Ok(Ok(_))) => continue,
                Some(Ok(Err(WebSocketError::Capacity(_)))) => {
                    Err(gateway::too_long(self.bytes_max))
                }
                Some(Ok(Err(error))) => return Err(error),
                Some(Err(refused)) => Err(refused),
                None => return Ok(()),
            };
            let is_last = piece.is_err();
            // A call that has its request does not read on; the client may still say that it goes.
            let _ = self.pieces.send(piece).await;
            if is_last {
                // The answer to it ends the conversation.
                return std::future::pending().await;
            }
            let _ = self.pieces.send(Ok(Bytes::from_static(b"\n"))).await;
        }
    }

    /// The next message, or the refusal of one that has no room.
    async fn next(&mut self) -> Option<Result<Result<Message, WebSocketError>, Status>> {
        poll_fn(|context| match self.stream.poll_next_unpin(context) {
            Poll::Ready(next) => {
                self.meter.set_back();
                self.share.give_back();
                Poll::Ready(next.map(Ok))
            }
            Poll::Pending => match self.share.hold(self.meter.read()) {
                Ok(()) => Poll::Pending,
                Err(refused) => Poll::Ready(Some(Err(refused))),
            },
        })
        .await
    }
}

/// Sends each line of an answer; the next is asked for when this one is on its way.
async fn tell(
    response: Response<Body>,
    sink: &mut SplitSink<Socket, Message>,
) -> Result<(), WebSocketError> {
    let mut body = response.into_body();
    while let Some(frame) = gateway::next_frame(&mut body).await {
        let Ok(Ok(line)) = frame.map(hyper::body::Frame::into_data) else { break };
        let text = line.strip_suffix(b"\n").map_or(line.len(), <[u8]>::len);
        let text =
            line.slice(..text).try_into().map_err(|_| WebSocketError::Utf8("JSON".into()))?;
        sink.send(Message::Text(text)).await?;
        // Not before: it may be lent.
        drop(line);
    }
    Ok(())
}

/// Says good-bye, and waits until the client has read it: what it sends meanwhile is read, since a
/// connection that ends with something unread is reset, and takes with it what was sent.
async fn part(
    mut sink: SplitSink<Socket, Message>,
    stream: SplitStream<Socket>,
    code: CloseCode,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    sink.send(Message::Close(Some(CloseFrame { code, reason: "".into() }))).await?;
    let mut stream = stream.reunite(sink)?.into_inner();
    stream.shutdown().await?;
    let mut unread = [0; 1024];
    while stream.read(&mut unread).await? > 0 {}
    Ok(())
}

/// Of a socket that is quiet, each way.
const BUFFER_BYTES: usize = 4 << 10;
/// For the client to read its last message.
const FAREWELL: Duration = Duration::from_secs(2);
