//! A server for tests, over real sockets, that answers as its script says.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use parking_lot::Mutex;
use prost::Message;
use synod_etcd::proto::etcdserverpb as pb;
use synod_etcd::proto::v3lockpb as lock;
use tonic::body::Body;
use tonic::codegen::tokio_stream::{self, StreamExt};
use tonic::codegen::{BoxFuture, BoxStream, Service, http};
use tonic::server::{Grpc, StreamingService};
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;

use crate::{Client, Options};

/// What a call is answered: messages, and then an end.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    messages: Vec<Vec<u8>>,
    end: End,
}

#[derive(Clone, Debug)]
enum End {
    Done,
    Failed(Box<Status>),
    Never,
}

impl Step {
    /// One message, and the end.
    pub(crate) fn answer(message: &impl Message) -> Self {
        Self { messages: vec![message.encode_to_vec()], end: End::Done }
    }

    /// A refusal.
    pub(crate) fn refuse(status: impl Into<Status>) -> Self {
        Self { messages: Vec::new(), end: End::Failed(Box::new(status.into())) }
    }

    /// No word, ever.
    pub(crate) const fn silence() -> Self {
        Self { messages: Vec::new(), end: End::Never }
    }

    /// These messages, then silence.
    pub(crate) fn stream<M: Message>(messages: impl IntoIterator<Item = M>) -> Self {
        let messages = messages.into_iter().map(|message| message.encode_to_vec()).collect();
        Self { messages, end: End::Never }
    }

    /// The same, but then it breaks.
    pub(crate) fn breaks(mut self) -> Self {
        self.end = End::Failed(Box::new(Status::unavailable("etcdserver: server stopped")));
        self
    }
}

/// A call that came.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) token: Option<String>,
    message: Vec<u8>,
}

impl Seen {
    pub(crate) fn message<M: Message + Default>(&self) -> M {
        M::decode(self.message.as_slice()).unwrap()
    }
}

/// The server.
#[derive(Clone, Debug)]
pub(crate) struct Fake {
    pub(crate) address: String,
    script: Arc<Mutex<Script>>,
}

#[derive(Debug, Default)]
struct Script {
    steps: BTreeMap<&'static str, VecDeque<Step>>,
    seen: Vec<Seen>,
}

impl Fake {
    pub(crate) fn start() -> Self {
        Self::play(Arc::default())
    }

    /// Another server that plays on in the same script.
    pub(crate) fn twin(&self) -> Self {
        Self::play(Arc::clone(&self.script))
    }

    fn play(script: Arc<Mutex<Script>>) -> Self {
        let incoming = TcpIncoming::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = incoming.local_addr().unwrap().to_string();
        let fake = Self { address, script };
        tokio::spawn(Server::builder().serve_with_incoming(fake.clone(), incoming));
        fake
    }

    /// The next call of this method is answered so.
    pub(crate) fn on(&self, method: &'static str, step: Step) -> &Self {
        self.script.lock().steps.entry(method).or_default().push_back(step);
        self
    }

    /// The calls of a method that came.
    pub(crate) fn seen(&self, method: &str) -> Vec<Seen> {
        self.script.lock().seen.iter().filter(|seen| seen.method == method).cloned().collect()
    }

    /// A client of these servers.
    pub(crate) async fn client(fakes: &[&Self], options: Options) -> Client {
        let addresses = fakes.iter().map(|fake| fake.address.clone());
        Client::connect(addresses, options).await.unwrap()
    }
}

impl Service<http::Request<Body>> for Fake {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Self::Error>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let path = request.uri().path().trim_start_matches('/').to_owned();
        let fake = self.clone();
        match path.split_once('.').map_or("", |(_, method)| method) {
            "KV/Range" => fake.serve::<pb::RangeRequest, pb::RangeResponse>(request),
            "KV/Put" => fake.serve::<pb::PutRequest, pb::PutResponse>(request),
            "Auth/Authenticate" => {
                fake.serve::<pb::AuthenticateRequest, pb::AuthenticateResponse>(request)
            }
            "Watch/Watch" => fake.serve::<pb::WatchRequest, pb::WatchResponse>(request),
            "Lease/LeaseGrant" => {
                fake.serve::<pb::LeaseGrantRequest, pb::LeaseGrantResponse>(request)
            }
            "Lease/LeaseRevoke" => {
                fake.serve::<pb::LeaseRevokeRequest, pb::LeaseRevokeResponse>(request)
            }
            "Lease/LeaseKeepAlive" => {
                fake.serve::<pb::LeaseKeepAliveRequest, pb::LeaseKeepAliveResponse>(request)
            }
            "Lock/Lock" => fake.serve::<lock::LockRequest, lock::LockResponse>(request),
            other => panic!("no test asks for {other}"),
        }
    }
}

impl Fake {
    /// Each call as a stream of requests and a stream of answers: on the wire they are all that.
    fn serve<Q, A>(
        self,
        request: http::Request<Body>,
    ) -> BoxFuture<http::Response<Body>, Infallible>
    where
        Q: Message + Default + 'static,
        A: Message + Default + 'static,
    {
        let method = request.uri().path().split_once('.').unwrap().1.to_owned();
        Box::pin(async move {
            let played = Played { fake: self, method, message: std::marker::PhantomData::<A> };
            let mut grpc = Grpc::new(ProstCodec::<A, Q>::default());
            Ok(grpc.streaming(played, request).await)
        })
    }
}

/// One call, played by the script.
struct Played<A> {
    fake: Fake,
    method: String,
    message: std::marker::PhantomData<A>,
}

impl<Q, A> StreamingService<Q> for Played<A>
where
    Q: Message + 'static,
    A: Message + Default + 'static,
{
    type Response = A;
    type ResponseStream = BoxStream<A>;
    type Future = BoxFuture<Response<Self::ResponseStream>, Status>;

    fn call(&mut self, request: Request<Streaming<Q>>) -> Self::Future {
        let (fake, method) = (self.fake.clone(), self.method.clone());
        Box::pin(async move {
            let token = request.metadata().get("token").map(|token| token.to_str().unwrap().into());
            let mut requests = request.into_inner();
            let message = requests.message().await?.map(|message| message.encode_to_vec());
            let step = {
                let mut script = fake.script.lock();
                let message = message.unwrap_or_default();
                script.seen.push(Seen { method: method.clone(), token, message });
                script.steps.get_mut(method.as_str()).and_then(VecDeque::pop_front)
            };
            let step = step.unwrap_or_else(|| Step::refuse(Status::internal("not in the script")));
            let messages: Vec<Result<A, Status>> = step
                .messages
                .iter()
                .map(|bytes| Ok(A::decode(bytes.as_slice()).unwrap()))
                .collect();
            let messages = tokio_stream::iter(messages);
            let answers: BoxStream<A> = match step.end {
                End::Done => Box::pin(messages),
                End::Failed(status) => Box::pin(messages.chain(tokio_stream::iter([Err(*status)]))),
                // The requests are held, so that the client's side stays open too.
                End::Never => {
                    Box::pin(messages.chain(tokio_stream::pending()).map(move |answer| {
                        let _held = &requests;
                        answer
                    }))
                }
            };
            Ok(Response::new(answers))
        })
    }
}
