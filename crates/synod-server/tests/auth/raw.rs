//! Calls of every kind as bytes, over gRPC and over the gateway, and what becomes of them.

use bytes::{Buf, BufMut, Bytes};
use prost::Message;
use serde_json::Value;
use synod_etcd::json::{Call, Streaming};
use synod_etcd::proto::etcdserverpb::WatchResponse;
use tokio::time::timeout;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::{Code, Status};

use super::client::Client as Http;
use super::{Client, PATIENCE};

/// What a call came to, as far as who calls matters.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Outcome {
    /// It was carried out, or refused for another reason: this one.
    Passed(String),
    /// Whoever called is not known, or may not.
    Refused(String),
}

impl Outcome {
    fn of(text: &str) -> Self {
        const REASONS: [&str; 3] = [
            "etcdserver: permission denied",
            "etcdserver: invalid auth token",
            "etcdserver: user name is empty",
        ];
        match REASONS.iter().find(|reason| text.contains(*reason)) {
            Some(reason) => Self::Refused((*reason).to_owned()),
            None => Self::Passed(text.to_owned()),
        }
    }
}

/// Calls with the JSON of a request, over gRPC.
pub(super) async fn over_grpc(client: &Client, call: &Call, json: &str) -> Outcome {
    let message = call.request(json.as_bytes()).expect("the JSON of a row is that of its call");
    let mut grpc = tonic::client::Grpc::new(client.channel.clone());
    grpc.ready().await.unwrap();
    let asked = async {
        let path = call.path().parse().unwrap();
        let answer = grpc.server_streaming(client.ask(message), path, Raw).await?;
        answer.into_inner().message().await
    };
    match timeout(PATIENCE, asked).await.unwrap_or_else(|_| panic!("{} hangs", call.path())) {
        Err(status) => {
            assert_ne!(status.code(), Code::Ok);
            Outcome::of(status.message())
        }
        Ok(Some(answer)) if call.path() == "/etcdserverpb.Watch/Watch" => {
            Outcome::of(&WatchResponse::decode(answer).unwrap().cancel_reason)
        }
        Ok(_) => Outcome::of(""),
    }
}

/// The same over the gateway, with the token where it belongs.
pub(super) async fn over_http(
    http: &mut Http,
    (call, path): (&Call, &str),
    token: Option<&str>,
    json: &str,
) -> Outcome {
    let headers: Vec<(&str, &str)> =
        token.map(|token| ("authorization", token)).into_iter().collect();
    // Answers that go on are read as far as the first line.
    let text = match call.streaming() {
        Streaming::Unary => {
            http.ask(hyper::Method::POST, path, &headers, json.to_owned()).await.text
        }
        Streaming::Answers | Streaming::Both => http.first_line(path, &headers, json).await,
    };
    let value: Value = serde_json::from_str(text.lines().next().unwrap_or("{}")).unwrap();
    let reason = &value["result"]["cancel_reason"];
    let error = [&value["error"]["message"], &value["error"], &value["message"], reason];
    Outcome::of(error.into_iter().find_map(Value::as_str).unwrap_or_default())
}

/// Bytes as they are.
#[derive(Clone, Copy, Debug, Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        let count = buffer.remaining();
        Ok(Some(buffer.copy_to_bytes(count)))
    }
}
