//! Requests whose bytes are no request: JSON, base64, protobuf.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context, ensure};
use bytes::{Buf, BufMut, Bytes};
use tokio::io::AsyncWriteExt;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::{Code, Request, Status};

use super::read_to_end;
use super::victim::{Port, Victim};
use crate::cluster::connect;

/// A body, and what is said to it.
pub(super) struct Bad {
    pub(super) name: &'static str,
    path: &'static str,
    body: fn() -> Vec<u8>,
    status: &'static [&'static str],
    words: &'static [&'static str],
}

const PUT: &str = "/v3/kv/put";
const RANGE: &str = "/v3/kv/range";
const BAD_REQUEST: &[&str] = &["400"];

/// All of them.
pub(super) const ALL: &[Bad] = &[
    Bad {
        name: "JSON of 8 MiB",
        path: PUT,
        body: || [&b"{\"key\":\"YQ==\",\"value\":\""[..], &vec![b'A'; 8 << 20], b"\"}"].concat(),
        status: &["429", "400"],
        words: &["request is too large"],
    },
    Bad {
        name: "JSON that is 100,000 deep",
        path: "/v3/kv/txn",
        body: || b"{\"success\":[{\"requestTxn\":".repeat(100_000),
        status: &["429", "400"],
        words: &["recursion", "too deep", "request is too large"],
    },
    Bad {
        name: "brackets that are 1,000,000 deep",
        path: PUT,
        body: || vec![b'['; 1_000_000],
        status: BAD_REQUEST,
        words: &["expected", "invalid"],
    },
    Bad {
        name: "no base64",
        path: PUT,
        body: || br#"{"key":"*not base64*"}"#.to_vec(),
        status: BAD_REQUEST,
        words: &["base64", "illegal", "invalid"],
    },
    Bad {
        name: "half of base64",
        path: PUT,
        body: || br#"{"key":"Zm9vY"}"#.to_vec(),
        status: BAD_REQUEST,
        words: &["base64", "illegal", "invalid"],
    },
    Bad {
        name: "a number that is none",
        path: RANGE,
        body: || br#"{"key":"YQ==","limit":"12x"}"#.to_vec(),
        status: BAD_REQUEST,
        words: &["12x", "invalid"],
    },
    Bad {
        name: "a number beyond 64 bits",
        path: RANGE,
        body: || br#"{"key":"YQ==","revision":"99999999999999999999"}"#.to_vec(),
        status: BAD_REQUEST,
        words: &["99999999999999999999", "invalid", "too large", "range"],
    },
    Bad {
        name: "a revision of the future",
        path: RANGE,
        body: || br#"{"key":"YQ==","revision":"9223372036854775807"}"#.to_vec(),
        status: BAD_REQUEST,
        words: &["required revision is a future revision"],
    },
    Bad {
        name: "a range without a beginning",
        path: RANGE,
        body: || br#"{"range_end":"YQ=="}"#.to_vec(),
        status: BAD_REQUEST,
        words: &["key is not provided"],
    },
    Bad {
        name: "text that is no JSON",
        path: PUT,
        body: || b"key=a&value=b".to_vec(),
        status: BAD_REQUEST,
        words: &["invalid", "expected"],
    },
    Bad {
        name: "a lease that was never granted",
        path: PUT,
        body: || br#"{"key":"YQ==","lease":"12345"}"#.to_vec(),
        status: &["404"],
        words: &["requested lease not found"],
    },
    Bad {
        name: "an empty path of etcd's API",
        path: "/v3/kv/nothing",
        body: || b"{}".to_vec(),
        status: &["404"],
        words: &["Not Found"],
    },
];

impl Bad {
    pub(super) async fn send(&self, victim: &Victim) -> anyhow::Result<String> {
        let body = (self.body)();
        let head = format!(
            "POST {} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
            self.path,
            body.len()
        );
        let mut answers = Vec::new();
        for port in [Port::Plain, Port::Tls] {
            let mut stream = match port {
                Port::Plain => Box::new(victim.raw(port, Ipv4Addr::LOCALHOST).await?),
                _ => victim.connect(port).await?,
            };
            let (mut reader, mut writer) = tokio::io::split(&mut stream);
            let sending = async {
                // It may be refused before it is all said.
                let _ = writer.write_all(&[head.as_bytes(), &body].concat()).await;
                std::future::pending::<()>().await;
            };
            let said = tokio::select! {
                () = sending => unreachable!("it is pending"),
                said = read_to_end(&mut reader) => String::from_utf8_lossy(&said?).into_owned(),
            };
            let status = said.split(' ').nth(1).context("an answer without a status")?.to_owned();
            let text = said.split("\r\n\r\n").nth(1).unwrap_or_default().trim().to_owned();
            ensure!(self.status.contains(&status.as_str()), "the status is {status}: {text}");
            let clear = self.words.iter().any(|word| text.contains(word));
            ensure!(clear, "the text {text:?} has none of {:?}", self.words);
            answers.push(format!("{status} {}", &text[..text.len().min(120)]));
        }
        answers.dedup();
        Ok(answers.join(" | "))
    }
}

/// Messages that are no protobuf, to calls of every kind.
pub(super) async fn no_protobuf(victim: &Victim) -> anyhow::Result<String> {
    let garbage: [&[u8]; 6] = [
        &[0xff],
        &[0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f],
        &[0x0a, 0x05, b'a'],
        &[0x0b, 0x0b, 0x0b],
        &[0x08],
        &[0; 64],
    ];
    let channel = connect(&format!("http://127.0.0.1:{}", victim.plain()), WAIT).await?;
    let mut refused = Vec::new();
    let calls = synod_etcd::json::calls();
    for call in calls {
        // An empty request has no field to be wrong: these bytes are unknown ones, or garbage.
        for bytes in garbage {
            let mut grpc = tonic::client::Grpc::new(channel.clone());
            grpc.ready().await?;
            let path = call.path().parse()?;
            let message = Request::new(Bytes::from_static(bytes));
            let answer = grpc.server_streaming(message, path, Raw).await;
            let status = match answer {
                Err(status) => status,
                Ok(answer) => match answer.into_inner().message().await {
                    Err(status) => status,
                    Ok(_) => anyhow::bail!("{} answers {bytes:02x?}", call.path()),
                },
            };
            let text = status.message();
            let clear = text.contains("failed to decode") || text.contains("Unimplemented");
            let unbuilt = status.code() == Code::Unimplemented;
            ensure!(clear || unbuilt, "{} {bytes:02x?}: {status:?}", call.path());
            ensure!(status.code() == Code::Internal || unbuilt, "{}: {status:?}", call.path());
            refused.push(text.to_owned());
        }
    }
    let count = refused.len();
    Ok(format!("{count} messages to {} calls were refused: {}", calls.len(), refused[0]))
}

/// A call whose message never comes.
pub(super) async fn without_end(victim: &Victim) -> Result<(), Status> {
    let url = format!("http://127.0.0.1:{}", victim.plain());
    let channel =
        connect(&url, 2 * WAIT).await.map_err(|error| Status::unavailable(error.to_string()))?;
    let mut grpc = tonic::client::Grpc::new(channel);
    grpc.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
    let path = "/etcdserverpb.KV/Put".parse().map_err(|_| Status::internal("no path"))?;
    let messages = tonic::codegen::tokio_stream::pending::<Bytes>();
    grpc.client_streaming(Request::new(messages), path, Raw).await.map(drop)
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

const WAIT: Duration = Duration::from_secs(60);
