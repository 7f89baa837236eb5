//! Streams through the gateway, piece by piece.

use std::collections::VecDeque;

use prost::Message;
use synod_etcd::json;
use synod_etcd::proto::etcdserverpb as pb;
use tonic::Code;

use super::*;

/// A body that comes in these pieces; then trailers, if there are such.
struct Pieces(VecDeque<Frame<Bytes>>);

impl hyper::body::Body for Pieces {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        Poll::Ready(self.0.pop_front().map(Ok))
    }
}

fn body(pieces: impl IntoIterator<Item = Frame<Bytes>>) -> Body {
    Body::new(Pieces(pieces.into_iter().collect()))
}

fn call() -> &'static Call {
    json::routed("/v3/lease/keepalive").unwrap()
}

async fn next<B>(body: &mut B) -> Option<Result<Bytes, Status>>
where
    B: hyper::body::Body<Data = Bytes, Error = Status> + Unpin,
{
    let frame = std::future::poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await?;
    Some(frame.map(|frame| frame.into_data().unwrap()))
}

fn answer(ttl: i64) -> Frame<Bytes> {
    let answer = pb::LeaseKeepAliveResponse { ttl, ..Default::default() };
    Frame::data(frames::frame(&answer.encode_to_vec().into()))
}

fn trailers(status: &Status) -> Frame<Bytes> {
    let mut headers = hyper::HeaderMap::new();
    status.add_header(&mut headers).unwrap();
    Frame::trailers(headers)
}

#[tokio::test]
async fn requests_become_frames_as_they_come() {
    let pieces = [r#"{"ID":"1"}{"ID""#, r#":"2"} "#].map(|text| Frame::data(Bytes::from(text)));
    let (mut requests, _failed) = Requests::new(call(), body(pieces), 100, None);
    for id in [1, 2] {
        let expected = pb::LeaseKeepAliveRequest { id }.encode_to_vec().into();
        assert_eq!(next(&mut requests).await.unwrap().unwrap(), frames::frame(&expected));
    }
    assert!(next(&mut requests).await.is_none());
}

#[tokio::test]
async fn what_is_no_request_ends_both_directions_with_the_reason() {
    for text in [r#"{"ID":"1"}{"ID":"x"}"#, r#"{"ID":"1"}{"ID":"#, r#"{"ID":"1"} garbage"#] {
        let (mut requests, failed) =
            Requests::new(call(), body([Frame::data(Bytes::from(text))]), 100, None);
        assert!(next(&mut requests).await.unwrap().is_ok(), "{text}");
        let status = next(&mut requests).await.unwrap().unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{text}");
        assert_eq!(failed.await.unwrap().message(), status.message());
    }
}

#[tokio::test]
async fn a_request_without_end_is_refused() {
    let (mut requests, failed) =
        Requests::new(call(), body([Frame::data(Bytes::from(vec![b'['; 101]))]), 100, None);
    assert!(next(&mut requests).await.unwrap().is_err());
    assert_eq!(failed.await.unwrap().message(), "etcdserver: request is too large");
}

#[tokio::test]
async fn answers_become_lines_and_an_error_the_last_one() {
    let status = Status::unavailable("etcdserver: no leader");
    let body = body([answer(7), answer(8), trailers(&status)]);
    let mut lines = Lines::begin(call(), body, None).await.ok().unwrap();
    let mut found = Vec::new();
    while let Some(line) = next(&mut lines).await {
        found.push(String::from_utf8(line.unwrap().to_vec()).unwrap());
    }
    assert_eq!(found[..2], ["{\"result\":{\"TTL\":\"7\"}}\n", "{\"result\":{\"TTL\":\"8\"}}\n"]);
    let last: serde_json::Value = serde_json::from_str(&found[2]).unwrap();
    assert_eq!(last["error"]["message"], "etcdserver: no leader");
    assert_eq!(
        (&last["error"]["grpc_code"], &last["error"]["http_code"]),
        (&14.into(), &503.into())
    );
    assert_eq!(found.len(), 3);
}

#[tokio::test]
async fn a_stream_that_fails_at_once_is_refused_as_a_whole() {
    let body = body([trailers(&Status::not_found("gone"))]);
    let status = Lines::begin(call(), body, None).await.err().unwrap();
    assert_eq!((status.code(), status.message()), (Code::NotFound, "gone"));
}
