//! Calls whose answers are taken as slowly as a test wants.

use bytes::{BufMut, Bytes, BytesMut};
use hyper::body::Body as _;
use prost::Message;
use synod_etcd::proto::etcdserverpb as pb;
use synod_etcd::proto::etcdserverpb::kv_client::KvClient;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;
use tonic::Status;
use tonic::body::Body;
use tonic::transport::Channel;
use tower::ServiceExt;

use super::members::{Members, PATIENCE};

/// An answer that is taken piece by piece.
pub(crate) struct Raw {
    body: Body,
    taken: BytesMut,
}

impl Raw {
    /// Begins a call of the service KV.
    pub(crate) async fn begin(
        channel: &Channel,
        method: &str,
        request: &impl Message,
    ) -> Result<Self, Status> {
        let mut frame = BytesMut::new();
        frame.put_u8(0);
        frame.put_u32(u32::try_from(request.encoded_len()).unwrap());
        request.encode(&mut frame).unwrap();
        let body = Body::new(http_body_of(frame.freeze()));
        let request = hyper::Request::post(format!("/etcdserverpb.KV/{method}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(body)
            .unwrap();
        let response = timeout(PATIENCE, channel.clone().oneshot(request)).await.unwrap().unwrap();
        match Status::from_header_map(response.headers()) {
            Some(status) => Err(status),
            None => Ok(Self { body: response.into_body(), taken: BytesMut::new() }),
        }
    }

    /// Takes the first piece.
    pub(crate) async fn first(&mut self) {
        assert_eq!(self.next().await.map_err(|status| status.to_string()), Ok(true));
    }

    /// All bytes of the answer, to its good end.
    pub(crate) async fn all(mut self) -> Result<Bytes, Status> {
        while self.next().await? {}
        Ok(self.taken.freeze())
    }

    /// The messages of a stream, to its good end.
    pub(crate) async fn messages(self) -> Result<Vec<pb::RangeResponse>, Status> {
        let messages = decode::<pb::RangeStreamResponse>(&self.all().await?);
        Ok(messages.into_iter().map(|message| message.range_response.unwrap()).collect())
    }

    async fn next(&mut self) -> Result<bool, Status> {
        let body = &mut self.body;
        let frame = std::future::poll_fn(|cx| std::pin::Pin::new(&mut *body).poll_frame(cx));
        let frame = timeout(PATIENCE, frame).await.expect("a frame in time");
        let frame = frame.expect("trailers come before the end")?;
        match frame.into_data() {
            Ok(data) => {
                self.taken.extend_from_slice(&data);
                Ok(true)
            }
            Err(trailers) => {
                let status = Status::from_header_map(trailers.trailers_ref().unwrap()).unwrap();
                if status.code() == tonic::Code::Ok { Ok(false) } else { Err(status) }
            }
        }
    }
}

fn http_body_of(bytes: Bytes) -> impl hyper::body::Body<Data = Bytes, Error = Status> {
    struct Once(Option<Bytes>);
    impl hyper::body::Body for Once {
        type Data = Bytes;
        type Error = Status;
        fn poll_frame(
            mut self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Result<hyper::body::Frame<Bytes>, Status>>> {
            std::task::Poll::Ready(self.0.take().map(|data| Ok(hyper::body::Frame::data(data))))
        }
    }
    Once(Some(bytes))
}

/// The messages in a body.
pub(crate) fn decode<M: Message + Default>(mut bytes: &[u8]) -> Vec<M> {
    let mut messages = Vec::new();
    while let Some((head, rest)) = bytes.split_first_chunk::<5>() {
        let len = u32::from_be_bytes([head[1], head[2], head[3], head[4]]);
        let (message, rest) = rest.split_at(usize::try_from(len).unwrap());
        messages.push(M::decode(message).unwrap());
        bytes = rest;
    }
    assert!(bytes.is_empty(), "a message was cut off");
    messages
}

/// Merges messages as protobuf does.
pub(crate) fn merged(parts: Vec<pb::RangeResponse>) -> pb::RangeResponse {
    let mut all = pb::RangeResponse::default();
    for part in parts {
        all.merge(&*part.encode_to_vec()).unwrap();
    }
    all
}

/// Keys and values of an answer.
pub(crate) fn in_order(answer: &pb::RangeResponse) -> Vec<(Bytes, Bytes)> {
    answer.kvs.iter().map(|kv| (kv.key.clone(), kv.value.clone())).collect()
}

/// Puts so many keys with values of this length; what they are, in order.
pub(crate) async fn filled(members: &Members, keys: usize, bytes: usize) -> Vec<(Bytes, Bytes)> {
    let mut kv = KvClient::new(members.channel(0).await);
    let mut all = Vec::new();
    for n in 0..keys {
        let key = Bytes::from(format!("k{n:05}"));
        let value = Bytes::from(vec![u8::try_from(n % 251).unwrap(); bytes]);
        let put = pb::PutRequest { key: key.clone(), value: value.clone(), ..Default::default() };
        timeout(PATIENCE, kv.put(put)).await.unwrap().unwrap();
        all.push((key, value));
    }
    all
}

/// What the member at this place has lent to answers.
pub(crate) async fn held_bytes(members: &Members, at: usize) -> u64 {
    let address = members.servers[at].client_addresses()[0];
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = b"GET /metrics HTTP/1.1\r\nhost: m\r\nconnection: close\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut page = String::new();
    timeout(PATIENCE, stream.read_to_string(&mut page)).await.unwrap().unwrap();
    let line = page.lines().find_map(|line| line.strip_prefix("synod_range_held_bytes "));
    line.unwrap().parse().unwrap()
}
