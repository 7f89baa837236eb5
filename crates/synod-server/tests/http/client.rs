//! HTTP/1.1 and HTTP/2 over one connection, as plainly as can be.
#![allow(dead_code, reason = "each test program uses its part")]

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body as _, Frame, Incoming};
use hyper::client::conn::{http1, http2};
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::PATIENCE;

/// A connection.
pub(crate) enum Client {
    One(http1::SendRequest<Pieces>),
    Two(http2::SendRequest<Pieces>),
}

/// A body that is sent piece by piece.
pub(crate) struct Pieces(mpsc::UnboundedReceiver<Bytes>);

/// An answer in full.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

/// An answer that goes on.
pub(crate) struct Stream {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    body: Incoming,
    waiting: String,
}

impl Client {
    pub(crate) async fn one(address: SocketAddr) -> Self {
        let io = TokioIo::new(TcpStream::connect(address).await.unwrap());
        let (sender, connection) = http1::handshake(io).await.unwrap();
        tokio::spawn(connection);
        Self::One(sender)
    }

    pub(crate) async fn two(address: SocketAddr) -> Self {
        let io = TokioIo::new(TcpStream::connect(address).await.unwrap());
        let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
        tokio::spawn(connection);
        Self::Two(sender)
    }

    async fn send(&mut self, request: Request<Pieces>) -> Response<Incoming> {
        let response = async {
            match self {
                Self::One(sender) => {
                    sender.ready().await.expect("the connection is kept");
                    sender.send_request(request).await
                }
                Self::Two(sender) => {
                    sender.ready().await.expect("the connection is kept");
                    sender.send_request(request).await
                }
            }
        };
        timeout(PATIENCE, response).await.expect("an answer in time").unwrap()
    }

    /// Sends a request and takes all of its answer.
    pub(crate) async fn ask(
        &mut self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Answer {
        let (pieces, received) = mpsc::unbounded_channel();
        pieces.send(body.into()).unwrap();
        drop(pieces);
        let mut request = Request::builder().method(method).uri(uri(path));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if matches!(self, Self::One(_)) {
            request = request.header("host", "127.0.0.1");
        }
        let response = self.send(request.body(Pieces(received)).unwrap()).await;
        let (parts, body) = response.into_parts();
        let mut stream =
            Stream { status: parts.status, headers: parts.headers, body, waiting: String::new() };
        while stream.more().await {}
        let Stream { status, headers, waiting: text, .. } = stream;
        Answer { status, headers, text }
    }

    pub(crate) async fn get(&mut self, path: &str) -> Answer {
        self.ask(Method::GET, path, &[], "").await
    }

    pub(crate) async fn post(&mut self, path: &str, json: &str) -> Answer {
        self.ask(Method::POST, path, &[], json.to_owned()).await
    }

    /// Sends a request, and takes the first line of an answer that may go on; none is nothing.
    pub(crate) async fn first_line(
        &mut self,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> String {
        let (pieces, received) = mpsc::unbounded_channel();
        pieces.send(body.to_owned().into()).unwrap();
        drop(pieces);
        let mut request =
            Request::builder().method(Method::POST).uri(uri(path)).header("host", "x");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = self.send(request.body(Pieces(received)).unwrap()).await;
        let (parts, body) = response.into_parts();
        let mut stream =
            Stream { status: parts.status, headers: parts.headers, body, waiting: String::new() };
        while !stream.waiting.contains('\n') && stream.more().await {}
        stream.waiting
    }

    /// Sends a request whose body goes on as long as the sender is kept.
    pub(crate) async fn stream(
        &mut self,
        path: &str,
        first: &str,
    ) -> (mpsc::UnboundedSender<Bytes>, Stream) {
        let (pieces, received) = mpsc::unbounded_channel();
        pieces.send(first.to_owned().into()).unwrap();
        let request = Request::builder().method(Method::POST).uri(uri(path)).header("host", "x");
        let response = self.send(request.body(Pieces(received)).unwrap()).await;
        let (parts, body) = response.into_parts();
        let waiting = String::new();
        (pieces, Stream { status: parts.status, headers: parts.headers, body, waiting })
    }
}

fn uri(path: &str) -> String {
    format!("http://127.0.0.1{path}")
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

impl Stream {
    async fn more(&mut self) -> bool {
        let body = &mut self.body;
        let frame = std::future::poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx));
        match timeout(PATIENCE, frame).await.expect("the next piece in time") {
            Some(frame) => {
                if let Ok(piece) = frame.unwrap().into_data() {
                    self.waiting.push_str(std::str::from_utf8(&piece).unwrap());
                }
                true
            }
            None => false,
        }
    }

    /// The next line, as JSON; none at the end.
    pub(crate) async fn line(&mut self) -> Option<Value> {
        while !self.waiting.contains('\n') {
            if !self.more().await {
                assert_eq!(self.waiting, "", "a line has an end");
                return None;
            }
        }
        let end = self.waiting.find('\n').unwrap();
        let line: String = self.waiting.drain(..=end).collect();
        Some(serde_json::from_str(&line).unwrap())
    }
}

impl hyper::body::Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(cx).map(|piece| piece.map(|piece| Ok(Frame::data(piece))))
    }
}
