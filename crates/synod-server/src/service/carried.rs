//! Answers whose bodies are made here, and not by the gRPC library.

use std::sync::Arc;

use hyper::HeaderMap;
use hyper::body::{Body as HttpBody, Bytes};
use hyper::header::HeaderValue;
use parking_lot::Mutex;
use tonic::Status;
use tonic::body::Body;

/// A body that travels beside the empty message that the generated service answers with.
#[derive(Clone, Debug)]
struct Carried(Arc<Mutex<Option<Body>>>);

/// An answer with a body of its own.
pub(super) fn carry<T>(
    empty: T,
    body: impl HttpBody<Data = Bytes, Error = Status> + Send + 'static,
) -> tonic::Response<T> {
    let mut response = tonic::Response::new(empty);
    response.extensions_mut().insert(Carried(Arc::new(Mutex::new(Some(Body::new(body))))));
    response
}

/// Puts the body in its place, if the answer has one of its own.
pub(super) fn unpack(mut response: hyper::Response<Body>) -> hyper::Response<Body> {
    let carried = response.extensions_mut().remove::<Carried>();
    match carried.and_then(|carried| carried.0.lock().take()) {
        Some(body) => response.map(|_| body),
        None => response,
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
