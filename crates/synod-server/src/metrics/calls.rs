//! gRPC calls as go-grpc-prometheus counts them: begun, ended, messages each way, how long.
//!
//! The rows are the methods of the interface, and one for everything else, since callers choose
//! the paths. Bodies are followed as they pass by, so a stream counts its messages while it lasts,
//! and who goes away before the end has canceled.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use hyper::{Request, Response};
use synod_etcd::json::{self, Streaming};
use tonic::body::Body;
use tonic::{Code, Status};
use tracing::warn;

use super::clients::Clients;
use super::histogram::{Call, Histogram};
use super::messages::Messages;
use crate::sparingly::Sparingly;

/// Calls by method.
#[derive(Debug)]
pub(crate) struct Calls {
    rows: Vec<Row>,
    /// Which clients called.
    pub(crate) clients: Clients,
    /// Bytes of messages that clients sent.
    pub(crate) received_bytes: AtomicU64,
    /// Bytes of messages that clients were sent.
    pub(crate) sent_bytes: AtomicU64,
    slow: Sparingly,
}

/// What is counted of a method.
#[derive(Debug, Default)]
pub(crate) struct Row {
    /// Calls begun.
    pub(crate) started: AtomicU64,
    /// Messages from clients.
    pub(crate) received: AtomicU64,
    /// Messages to clients.
    pub(crate) sent: AtomicU64,
    /// Calls ended, by code.
    pub(crate) handled: [AtomicU64; CODES.len()],
    /// From begin to end.
    pub(crate) seconds: Histogram<Call>,
}

/// gRPC's codes, as go-grpc-prometheus names them.
pub(crate) const CODES: [&str; 17] = [
    "OK",
    "Canceled",
    "Unknown",
    "InvalidArgument",
    "DeadlineExceeded",
    "NotFound",
    "AlreadyExists",
    "PermissionDenied",
    "ResourceExhausted",
    "FailedPrecondition",
    "Aborted",
    "OutOfRange",
    "Unimplemented",
    "Internal",
    "Unavailable",
    "DataLoss",
    "Unauthenticated",
];

impl Default for Calls {
    fn default() -> Self {
        let rows = (0..=json::calls().len()).map(|_| Row::default()).collect();
        Self {
            rows,
            clients: Clients::default(),
            received_bytes: AtomicU64::default(),
            sent_bytes: AtomicU64::default(),
            slow: Sparingly::default(),
        }
    }
}

impl Calls {
    /// A call begins; its request is followed from here on.
    pub(crate) fn begin(self: &Arc<Self>, request: Request<Body>) -> (Request<Body>, Begun) {
        let row = json::position(request.uri().path()).unwrap_or(self.rows.len() - 1);
        count(&self.rows[row].started, 1);
        let call = json::calls().get(row);
        let is_stream = call.is_some_and(|call| call.streaming() != Streaming::Unary);
        self.clients.count(request.headers(), is_stream);
        let begun = Begun { calls: Arc::clone(self), row, start: Instant::now(), ended: false };
        let (calls, messages) = (Arc::clone(self), Messages::default());
        let request =
            request.map(|body| Body::new(Followed { body, messages, way: Way::In { calls, row } }));
        (request, begun)
    }

    /// Service, method, type and figures of every method.
    pub(crate) fn read(&self) -> impl Iterator<Item = (&str, &str, &'static str, &Row)> {
        let names = json::calls().iter().map(|call| {
            let (service, method) = call.names();
            let kind = match call.streaming() {
                Streaming::Unary => "unary",
                Streaming::Answers => "server_stream",
                Streaming::Both => "bidi_stream",
            };
            (service, method, kind)
        });
        let names = names.chain([("unknown", "unknown", "unary")]);
        names.zip(&self.rows).map(|((service, method, kind), row)| (service, method, kind, row))
    }
}

/// A call under way. Dropped before its end, it counts as canceled.
#[derive(Debug)]
pub(crate) struct Begun {
    calls: Arc<Calls>,
    row: usize,
    start: Instant,
    ended: bool,
}

impl Begun {
    /// The answer begins; it is followed to its end.
    pub(crate) fn answered<B>(mut self, response: Response<B>) -> Response<Followed<B>> {
        if let Some(status) = Status::from_header_map(response.headers()) {
            self.end(status.code());
        }
        let messages = Messages::default();
        response.map(|body| Followed { body, messages, way: Way::Out(self) })
    }

    /// Warns of a call that has taken longer than this, in etcd's words.
    pub(crate) fn warn_if_slow(&self, expected: Duration) {
        let Some((method, took)) = self.slow(expected) else { return };
        self.calls.slow.tell(|others| warn!(method, ?took, ?expected, others, "request stats"));
    }

    /// The method of a call that has taken longer than this, and how long. Streams go on as long
    /// as clients like, and who asks for a lock or an office waits for others.
    fn slow(&self, expected: Duration) -> Option<(&str, Duration)> {
        let call = json::calls().get(self.row)?;
        let (service, method) = call.names();
        let is_awaited =
            call.streaming() == Streaming::Unary && service.starts_with("etcdserverpb");
        let took = self.start.elapsed();
        (is_awaited && took > expected).then_some((method, took))
    }

    fn end(&mut self, code: Code) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        let row = &self.calls.rows[self.row];
        let code = usize::try_from(i32::from(code)).unwrap_or(2);
        count(&row.handled[code], 1);
        row.seconds.observe(self.start.elapsed());
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        self.end(Code::Cancelled);
    }
}

fn count(counter: &AtomicU64, more: u64) {
    counter.fetch_add(more, Ordering::Relaxed);
}

/// A body that is counted as it passes by.
pub(crate) struct Followed<B> {
    body: B,
    messages: Messages,
    way: Way,
}

enum Way {
    In { calls: Arc<Calls>, row: usize },
    Out(Begun),
}

impl<B> Followed<B> {
    fn passes(&mut self, frame: &Frame<Bytes>) {
        if let Some(piece) = frame.data_ref() {
            let (begun, bytes) = self.messages.take(piece);
            let (messages, total) = match &self.way {
                Way::In { calls, row } => (&calls.rows[*row].received, &calls.received_bytes),
                Way::Out(Begun { calls, row, .. }) => (&calls.rows[*row].sent, &calls.sent_bytes),
            };
            count(messages, begun);
            count(total, bytes);
        } else if let (Way::Out(call), Some(trailers)) = (&mut self.way, frame.trailers_ref()) {
            call.end(Status::from_header_map(trailers).map_or(Code::Ok, |status| status.code()));
        }
    }
}

impl<B: HttpBody<Data = Bytes, Error = Status> + Unpin> HttpBody for Followed<B> {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &polled {
            self.passes(frame);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handled(calls: &Calls) -> Vec<(String, &'static str, u64)> {
        let rows = calls.read().flat_map(|(_, method, _, row)| {
            CODES
                .iter()
                .zip(&row.handled)
                .map(move |(code, count)| (method.to_owned(), *code, count.load(Ordering::Relaxed)))
        });
        rows.filter(|(_, _, count)| *count > 0).collect()
    }

    fn begin(calls: &Arc<Calls>, path: &str) -> Begun {
        let request = Request::builder().uri(path).body(Body::empty()).unwrap();
        calls.begin(request).1
    }

    #[test]
    fn calls_end_with_their_code_and_strangers_share_a_row() {
        let calls = Arc::new(Calls::default());
        let refused = || Status::not_found("").into_http::<Body>();
        begin(&calls, "/etcdserverpb.KV/Put").answered(refused());
        begin(&calls, "/etcdserverpb.KV/Nonsense").answered(refused());
        begin(&calls, "/nonsense").answered(refused());
        let expected = [("Put".to_owned(), "NotFound", 1), ("unknown".to_owned(), "NotFound", 2)];
        assert_eq!(handled(&calls), expected);
    }

    #[test]
    fn only_answers_that_are_waited_for_are_slow() {
        let calls = Arc::new(Calls::default());
        let hour = Duration::from_secs(3600);
        let begun = |path: &str| {
            let mut call = begin(&calls, path);
            call.start = call.start.checked_sub(hour).expect("an hour ago there was time");
            call
        };
        let put = begun("/etcdserverpb.KV/Put");
        assert_eq!(put.slow(Duration::ZERO).unwrap().0, "Put");
        assert!(put.slow(hour * 2).is_none());
        for path in ["/etcdserverpb.Watch/Watch", "/v3lockpb.Lock/Lock", "/nonsense"] {
            assert!(begun(path).slow(Duration::ZERO).is_none(), "{path}");
        }
    }

    #[test]
    fn who_leaves_before_the_end_has_canceled() {
        let calls = Arc::new(Calls::default());
        drop(begin(&calls, "/etcdserverpb.Watch/Watch").answered(Response::new(Body::empty())));
        drop(begin(&calls, "/etcdserverpb.KV/Put"));
        let expected = [("Put".to_owned(), "Canceled", 1), ("Watch".to_owned(), "Canceled", 1)];
        assert_eq!(handled(&calls), expected);
    }
}
