//! etcd's API as JSON over HTTP: `/v3/…`, and `/v3beta/…` as it was once called.
//!
//! A request becomes the gRPC request that it stands for and goes to the same services, in this
//! process; so what they check, refuse and count holds here, too.

use std::pin::Pin;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use hyper::body::Body as _;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, TE};
use hyper::{Method, Request, Response, StatusCode};
use synod_etcd::json::{self, Call, JsonError, Streaming};
use synod_etcd::{EtcdError, Limits, Refusal};
use tonic::body::Body;
use tonic::{Code, Status};

use super::frames::{self, Frames};
use super::lines::{Lines, Requests};
use super::{JSON, refused};
use crate::intake::{Pipe, Share};
use crate::service::{AsJson, Held, Services, lent};

/// An answer that is longer takes from the budget of ranges: its JSON is built whole.
const SMALL_BYTES: usize = 64 << 10;

/// How much the message, what it is read into and its JSON take, in lengths of the message.
pub(crate) const JSON_FACTOR: u64 = 6;

/// Whether a path belongs to the gateway.
pub(super) fn is_for(path: &str) -> bool {
    path.starts_with("/v3/") || path.starts_with("/v3beta/")
}

/// Answers a request of the gateway.
pub(super) async fn answer(services: Services, request: Request<Body>) -> Response<Body> {
    let Some(call) = routed(request.uri().path()) else {
        return refused::response(&Status::not_found("Not Found"));
    };
    if request.method() != Method::POST {
        // Not 405: so grpc-gateway answers.
        return refused::response(&Status::unimplemented("Method Not Allowed"));
    }
    let bytes_max = json_bytes_max(&services.context().limits);
    let answered = match call.streaming() {
        Streaming::Unary => unary(services, call, request, bytes_max).await,
        Streaming::Answers => answers(services, call, request, bytes_max).await,
        Streaming::Both => both(services, call, request, bytes_max).await,
    };
    answered.unwrap_or_else(|status| refused::response(&status))
}

/// The call that a path stands for.
pub(super) fn routed(path: &str) -> Option<&'static Call> {
    match path.strip_prefix("/v3beta/") {
        Some(rest) => json::routed(&format!("/v3/{rest}")),
        None => json::routed(path),
    }
}

/// Bytes in base64 are a third longer, and names and numbers take their place.
pub(super) const fn json_bytes_max(limits: &Limits) -> usize {
    2 * (limits.request_bytes_max + Limits::MESSAGE_OVERHEAD_BYTES)
}

async fn unary(
    services: Services,
    call: &'static Call,
    request: Request<Body>,
    bytes_max: usize,
) -> Result<Response<Body>, Status> {
    let request = transcoded(call, request, bytes_max).await?;
    let context = Arc::clone(services.context());
    let mut answered = sent(services, request).await?;
    let (mut frames, mut answer, mut held) = (Frames::default(), None, lent(&mut answered));
    let mut body = answered.into_body();
    while let Some(frame) = next_frame(&mut body).await {
        match frame?.into_data() {
            Ok(piece) => frames.push(&piece),
            Err(frame) => ended(frame.trailers_ref())?,
        }
        if held.is_none()
            && let Some(len) = frames.next_len().filter(|len| *len > SMALL_BYTES)
        {
            let len = u64::try_from(len).unwrap_or(u64::MAX);
            held = Some(context.ranges.reserve(len.saturating_mul(JSON_FACTOR)).await?);
        }
        answer = answer.or_else(|| frames.next());
    }
    let answer = answer.ok_or_else(|| Status::internal("synod: a call without an answer"))?;
    let mut json = Vec::new();
    call.answer(answer, &mut json).map_err(|error| Status::internal(error.to_string()))?;
    Ok(told(Body::new(Full(Some(Bytes::from_owner(HeldJson { json, _held: held }))))))
}

/// The answer's JSON, and the memory that it and its message were lent.
struct HeldJson {
    json: Vec<u8>,
    _held: Option<Held>,
}

impl AsRef<[u8]> for HeldJson {
    fn as_ref(&self) -> &[u8] {
        &self.json
    }
}

async fn answers(
    services: Services,
    call: &'static Call,
    request: Request<Body>,
    bytes_max: usize,
) -> Result<Response<Body>, Status> {
    let request = transcoded(call, request, bytes_max).await?;
    let body = sent(services, request).await?.into_body();
    Ok(told(Body::new(Lines::begin(call, body, None).await?)))
}

async fn both(
    services: Services,
    call: &'static Call,
    request: Request<Body>,
    bytes_max: usize,
) -> Result<Response<Body>, Status> {
    let (parts, body) = request.into_parts();
    let share = parts.extensions.get::<Arc<Pipe>>().cloned().map(Share::new);
    let (requests, failed) = Requests::new(call, body, bytes_max, share);
    let request = grpc(call, &parts.headers, Body::new(requests));
    // A stream that begins with something else than a request never begins.
    let mut failed = Some(failed);
    let response = tokio::select! {
        response = sent(services, request) => response,
        Ok(status) = async { failed.as_mut().expect("taken below").await } => Err(status),
    };
    let body = response?.into_body();
    Ok(told(Body::new(Lines::begin(call, body, failed.take()).await?)))
}

/// The gRPC request that a request stands for.
async fn transcoded(
    call: &Call,
    request: Request<Body>,
    bytes_max: usize,
) -> Result<Request<Body>, Status> {
    let (parts, mut body) = request.into_parts();
    let json = collect(&mut body, bytes_max).await?;
    drop(body);
    let message = call.request(&json).map_err(|error| bad_json(&error))?;
    Ok(grpc(call, &parts.headers, Body::new(Full(Some(frames::frame(&message))))))
}

/// The refusal of what is not the JSON of a request.
pub(super) fn bad_json(error: &JsonError) -> Status {
    Status::invalid_argument(error.to_string())
}

/// The refusal of JSON that is too long.
pub(super) fn too_long(bytes_max: usize) -> Status {
    let detail = format!("a request is at most {bytes_max} bytes of JSON: split it");
    Refusal::new(EtcdError::RequestTooLarge).with_detail(detail).into()
}

/// The whole body, up to a limit.
async fn collect(body: &mut Body, bytes_max: usize) -> Result<Bytes, Status> {
    let mut all = BytesMut::new();
    while let Some(frame) = next_frame(body).await {
        let Ok(piece) = frame?.into_data() else { continue };
        if all.len() + piece.len() > bytes_max {
            return Err(too_long(bytes_max));
        }
        all.put(piece);
    }
    Ok(all.freeze())
}

/// The next piece of a body.
pub(super) async fn next_frame(
    body: &mut Body,
) -> Option<Result<hyper::body::Frame<Bytes>, Status>> {
    std::future::poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await
}

fn grpc(call: &Call, headers: &HeaderMap, body: Body) -> Request<Body> {
    let mut request = Request::new(body);
    request.extensions_mut().insert(AsJson);
    *request.method_mut() = Method::POST;
    *request.version_mut() = hyper::Version::HTTP_2;
    *request.uri_mut() = hyper::Uri::try_from(call.path()).expect("paths of calls are plain");
    let metadata = request.headers_mut();
    for (name, value) in headers {
        if let Some(name) = forwarded(name) {
            metadata.append(name, value.clone());
        }
    }
    metadata.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    metadata.insert(TE, HeaderValue::from_static("trailers"));
    request
}

/// Under which name a header goes on: the token, the time-out, and what says that it is metadata.
fn forwarded(name: &HeaderName) -> Option<HeaderName> {
    if *name == AUTHORIZATION || name == "grpc-timeout" {
        return Some(name.clone());
    }
    let rest = name.as_str().strip_prefix("grpc-metadata-")?;
    // These are the transport's own.
    let reserved = rest.starts_with("grpc-") || matches!(rest, "content-type" | "te" | "host");
    if reserved { None } else { HeaderName::try_from(rest).ok() }
}

/// Sends a request to the services; an error that they answer at once is one.
async fn sent(services: Services, request: Request<Body>) -> Result<Response<Body>, Status> {
    let Ok(response) = services.grpc(request).await;
    let response = response.map(Body::new);
    ended(Some(response.headers()))?;
    Ok(response)
}

/// The error in trailers, or in headers that stand for them.
pub(super) fn ended(trailers: Option<&HeaderMap>) -> Result<(), Status> {
    match trailers.and_then(Status::from_header_map) {
        Some(status) if status.code() != Code::Ok => Err(status),
        _ => Ok(()),
    }
}

fn told(body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::OK;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(JSON));
    let grpc = HeaderValue::from_static("application/grpc");
    headers.insert("grpc-metadata-content-type", grpc);
    response
}

/// A body of one piece.
pub(super) struct Full(pub(super) Option<Bytes>);

impl hyper::body::Body for Full {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<hyper::body::Frame<Bytes>, Status>>> {
        std::task::Poll::Ready(self.0.take().map(|piece| Ok(hyper::body::Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_none()
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        let len = self.0.as_ref().map_or(0, Bytes::len);
        hyper::body::SizeHint::with_exact(u64::try_from(len).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_says_so_goes_on_as_metadata() {
        let table = [
            ("authorization", Some("authorization")),
            ("grpc-timeout", Some("grpc-timeout")),
            ("grpc-metadata-hasleader", Some("hasleader")),
            ("grpc-metadata-grpc-status", None),
            ("grpc-metadata-content-type", None),
            ("cookie", None),
            ("hasleader", None),
        ];
        for (name, expected) in table {
            let found = forwarded(&HeaderName::from_static(name));
            assert_eq!(found.as_ref().map(HeaderName::as_str), expected, "{name}");
        }
    }
}
