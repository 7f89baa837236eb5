//! Answers whose bodies are made here, and not by the gRPC library.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use hyper::HeaderMap;
use hyper::body::{Body as HttpBody, Bytes, Frame, SizeHint};
use hyper::header::HeaderValue;
use parking_lot::Mutex;
use tonic::Status;
use tonic::body::Body;

use super::watch::WatchBody;

/// The body of an answer. Streams of watches are many and say little at a time: theirs is asked
/// without a detour, and kept without one.
pub(crate) enum AnswerBody {
    Any(Body),
    Watches(Box<WatchBody>),
}

impl HttpBody for AnswerBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        match self.get_mut() {
            Self::Any(body) => Pin::new(body).poll_frame(context),
            Self::Watches(body) => Pin::new(body).poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Any(body) => body.is_end_stream(),
            Self::Watches(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Any(body) => body.size_hint(),
            Self::Watches(body) => body.size_hint(),
        }
    }
}

/// A body that travels beside the empty message that the generated service answers with.
#[derive(Clone)]
struct Carried(Arc<Mutex<Option<AnswerBody>>>);

/// An answer with a body of its own.
pub(super) fn carry<T>(
    empty: T,
    body: impl HttpBody<Data = Bytes, Error = Status> + Send + 'static,
) -> tonic::Response<T> {
    carry_as(empty, AnswerBody::Any(Body::new(body)))
}

/// An answer with watches.
pub(super) fn carry_watches<T>(empty: T, body: WatchBody) -> tonic::Response<T> {
    carry_as(empty, AnswerBody::Watches(Box::new(body)))
}

fn carry_as<T>(empty: T, body: AnswerBody) -> tonic::Response<T> {
    let mut response = tonic::Response::new(empty);
    response.extensions_mut().insert(Carried(Arc::new(Mutex::new(Some(body)))));
    response
}

/// Puts the body in its place, if the answer has one of its own.
pub(super) fn unpack(mut response: hyper::Response<Body>) -> hyper::Response<AnswerBody> {
    let carried = response.extensions_mut().remove::<Carried>();
    match carried.and_then(|carried| carried.0.lock().take()) {
        Some(body) => response.map(|_| body),
        None => response.map(AnswerBody::Any),
    }
}

/// How the call ended. A message that is cut off by an error is one that never came.
pub(super) fn trailers(result: Result<(), Status>) -> Result<HeaderMap, Status> {
    let mut trailers = HeaderMap::new();
    match result {
        Ok(()) => {
            trailers.insert("grpc-status", HeaderValue::from_static("0"));
        }
        Err(status) => status.add_header(&mut trailers)?,
    }
    Ok(trailers)
}
