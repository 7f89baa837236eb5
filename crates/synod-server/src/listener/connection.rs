//! One connection of a client: HTTP/1.1 or HTTP/2, told apart by their first bytes.
//!
//! HTTP/1.1 may become WebSocket, which then has the connection to itself.
//!
//! What a client can flood with, and what stops it:
//!
//! * bytes of a preface or of headers, one now and then: deadlines;
//! * streams opened only to be reset: so many may wait to be seen, then the connection ends;
//! * resets that our refusals cause: so many, then the connection ends;
//! * headers that go on in CONTINUATION frames for ever: a header list has a size;
//! * empty DATA frames, PING and SETTINGS: the HTTP/2 library answers each at most once at a time,
//!   and ends connections of which it has seen too many (h2 from 0.4.16 on);
//! * streams that are half open: so many a connection; what they have begun to say is counted (see
//!   [`crate::intake`]), and must end.

use std::convert::Infallible;
use std::error::Error;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use synod_etcd::Limits;
use synod_transport::Stranger;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::time::timeout;
use tonic::body::Body;

use super::Door;
use super::admission::Reason;
use super::arriving;
use super::crew::{Crew, Hands};
use super::ending::Ending;
use super::gathered::gather;
use super::rewound::Rewound;
use crate::http::Upgrades;
use crate::service::{Services, is_watch};
use crate::tls::OverTls;

/// Why a connection ended that did not end well.
pub(super) enum Ended {
    /// Before its first request.
    Early(Reason),
    /// Some time after it.
    Late(Box<dyn Error + Send + Sync>),
}

impl<E: Into<Box<dyn Error + Send + Sync>>> From<E> for Ended {
    fn from(error: E) -> Self {
        Self::Late(error.into())
    }
}

/// Serves a connection to its end, or until the door closes and what was asked is answered.
pub(super) async fn serve<S>(
    mut stream: S,
    tls: Option<OverTls>,
    stranger: Stranger,
    services: Services,
    door: &Door,
) -> Result<(), Ended>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let begun = tokio::select! {
        begun = timeout(FIRST_BYTES, begin(&mut stream)) => begun,
        () = stranger.is_shown_out() => return Err(Ended::Early(Reason::Crowd)),
        () = door.stop.cancelled() => return Ok(()),
    };
    drop(stranger);
    let Begun { bytes, is_http2 } = begun.map_err(|_| Ended::Early(Reason::Silence))??;
    let stream = Rewound::new(bytes, stream, is_http2);
    let stop = door.stop.clone();
    let pipe = door.admission.intake.pipe();
    let message_bytes_max = door.limits.request.request_bytes_max + Limits::MESSAGE_OVERHEAD_BYTES;
    let crew = Crew::new();
    let streams = crew.clone();
    let upgrades = Upgrades::default();
    let upgraded = upgrades.clone();
    let service = service_fn(move |mut request: Request<Incoming>| {
        let elsewhere = if is_http2 && is_watch(&request) {
            streams.take_next();
            None
        } else {
            Some(streams.elsewhere())
        };
        if !is_http2 {
            request.extensions_mut().insert(upgraded.clone());
            request.extensions_mut().insert(Arc::clone(&pipe));
        }
        if let Some(tls) = &tls {
            request.extensions_mut().insert(tls.clone());
            if let Some(certificate) = &tls.certificate {
                request.extensions_mut().insert(certificate.clone());
            }
        }
        let request = arriving::counted(request, &pipe, message_bytes_max);
        let (services, stop) = (services.clone(), stop.clone());
        // Boxed: it is large, and a stream that lasts would keep its place to the end.
        Box::pin(async move {
            let Some(elsewhere) = elsewhere else {
                let response = services.grpc(request.map(Body::new)).await?;
                return Ok(response.map(Ending::ByItself));
            };
            let response = services.answer(request).await?;
            Ok::<_, Infallible>(response.map(|body| Ending::new(body, stop, elsewhere)))
        })
    });
    // Two arms of one shape: the connections are of different types.
    if is_http2 {
        let (stream, sender) = gather(stream);
        let builder = http2_builder(door, crew.clone());
        let connection = builder.serve_connection(TokioIo::new(stream), service);
        let (mut connection, mut hands, mut end) = (pin!(connection), Hands::new(crew), None);
        tokio::select! {
            sent = sender.drive(connection.as_mut(), &mut hands, &mut end) => {
                sent?;
                return Ok(end.transpose().map(drop)?);
            }
            () = door.stop.cancelled() => connection.as_mut().graceful_shutdown(),
        }
        sender.drive(connection, &mut hands, &mut end).await?;
        Ok(end.transpose().map(drop)?)
    } else {
        let connection = http1_builder().serve_connection(TokioIo::new(stream), service);
        let mut connection = pin!(connection.with_upgrades());
        tokio::select! {
            result = connection.as_mut() => result?,
            () = door.stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await?;
            }
        }
        match upgrades.take() {
            Some(session) => Ok(session.serve(door.stop.clone()).await?),
            None => Ok(()),
        }
    }
}

fn http1_builder() -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEADERS).max_buf_size(HTTP1_BUFFER_BYTES);
    builder
}

fn http2_builder(door: &Door, crew: Crew) -> http2::Builder<Crew> {
    let limits = &door.limits;
    let mut builder = http2::Builder::new(crew);
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.streams_max)
        .max_pending_accept_reset_streams(RESETS_MAX)
        .max_local_error_reset_streams(REFUSALS_MAX)
        .max_header_list_size(HEADER_LIST_BYTES)
        .max_send_buf_size(SEND_BUFFER_BYTES)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .keep_alive_interval(limits.keep_alive_interval)
        .keep_alive_timeout(limits.keep_alive_timeout);
    builder
}

/// The first bytes of a connection.
struct Begun {
    bytes: Vec<u8>,
    is_http2: bool,
}

/// Reads until it is clear which protocol begins.
async fn begin(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Begun> {
    let mut bytes = [0; PREFACE.len()];
    let mut filled = 0;
    loop {
        let read = stream.read(&mut bytes[filled..]).await?;
        filled += read;
        let is_preface = bytes[..filled] == PREFACE[..filled];
        if read == 0 || !is_preface || filled == PREFACE.len() {
            let is_http2 = is_preface && filled == PREFACE.len();
            return Ok(Begun { bytes: bytes[..filled].to_vec(), is_http2 });
        }
    }
}

/// What HTTP/2 begins with.
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// A request of the largest size fits, so that it comes without a pause for the window.
const STREAM_WINDOW_BYTES: u32 = 2 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 8 << 20;
/// Answers that a stream of a slow client may hold.
const SEND_BUFFER_BYTES: usize = 1 << 20;
/// As much as gRPC's metadata may have by default, twice.
const HEADER_LIST_BYTES: u32 = 16 << 10;
const HTTP1_BUFFER_BYTES: usize = 64 << 10;
/// Streams that were reset before anybody looked at them.
const RESETS_MAX: usize = 256;
/// Streams that were reset because the client did wrong.
const REFUSALS_MAX: usize = 1024;
/// Until it is clear which protocol is spoken. Longer than a client's own patience, since some
/// connect first and speak later.
const FIRST_BYTES: Duration = Duration::from_secs(30);
const HEADERS: Duration = Duration::from_secs(10);
