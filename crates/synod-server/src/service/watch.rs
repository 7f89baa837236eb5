//! etcd's service Watch.
//!
//! Written out here and not generated, since replies go out with their events already encoded: see
//! `body`.

mod body;

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use synod_etcd::proto::etcdserverpb as pb;
use synod_etcd::proto::etcdserverpb::watch_request::RequestUnion;
use synod_etcd::watch::WatchCodec;
use synod_etcd::{EtcdError, Limits, Refusal};
use tonic::body::Body;
use tonic::codegen::tokio_stream::{self, Empty};
use tonic::server::{Grpc, StreamingService};
use tonic::{Request, Response, Status, Streaming};

pub(crate) use self::body::WatchBody;
use super::Context;
use super::access::Caller;
use super::carried::carry_watches;
use crate::watch;

/// The service.
#[derive(Clone, Debug)]
pub(super) struct WatchService(pub(super) Arc<Context>);

/// The one method.
pub(super) const PATH: &str = "/etcdserverpb.Watch/Watch";

impl WatchService {
    /// Answers a call of [`PATH`].
    pub(super) async fn call(
        self,
        request: hyper::Request<Body>,
    ) -> Result<hyper::Response<Body>, Infallible> {
        let bytes_max = self.0.limits.request_bytes_max + Limits::MESSAGE_OVERHEAD_BYTES;
        let mut grpc = Grpc::new(WatchCodec).max_decoding_message_size(bytes_max);
        Ok(grpc.streaming(self, request).await)
    }

    fn open(&self, request: Request<Streaming<pb::WatchRequest>>) -> Result<WatchBody, Refusal> {
        let caller = self.0.caller(&request)?;
        let leader_lost = super::access::asks_for_leader(&request).then(|| {
            let context = Arc::clone(&self.0);
            Box::pin(async move { context.leader_is_lost().await }) as LeaderLost
        });
        let (feed, asker) = self.0.watch(&caller);
        let context = Arc::clone(&self.0);
        let reader = tokio::spawn(read(context, caller, request.into_inner(), asker, leader_lost));
        Ok(WatchBody::new(feed, reader))
    }
}

impl StreamingService<pb::WatchRequest> for WatchService {
    type Response = pb::WatchResponse;
    type ResponseStream = Nothing;
    type Future = std::future::Ready<Result<Response<Nothing>, Status>>;

    fn call(&mut self, request: Request<Streaming<pb::WatchRequest>>) -> Self::Future {
        let opened = self.open(request).map_err(Status::from);
        std::future::ready(opened.map(|body| carry_watches(tokio_stream::empty(), body)))
    }
}

/// The messages that the gRPC library sends: the body goes another way.
type Nothing = Empty<Result<pb::WatchResponse, Status>>;

/// Ends when there has been no leader for long.
type LeaderLost = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Reads what a client asks for. When it has no more to ask, its watches go on.
#[expect(clippy::manual_async_fn, reason = "it would hold its arguments twice, for each stream")]
fn read(
    context: Arc<Context>,
    caller: Caller,
    mut requests: Streaming<pb::WatchRequest>,
    asker: watch::Asker,
    mut leader_lost: Option<LeaderLost>,
) -> impl Future<Output = ()> + Send + use<> {
    async move {
        let mut has_more = true;
        loop {
            let heard = tokio::select! {
                heard = hear(&context, &caller, &mut requests, &asker), if has_more => heard,
                () = ended(&mut leader_lost) => Err(Refusal::new(EtcdError::NoLeader).into()),
            };
            match heard {
                Ok(more) => has_more = more,
                Err(status) => return asker.end(status),
            }
        }
    }
}

/// Does what the next message asks for. Gives whether there may be more of them.
async fn hear(
    context: &Context,
    caller: &Caller,
    requests: &mut Streaming<pb::WatchRequest>,
    asker: &watch::Asker,
) -> Result<bool, Status> {
    let Some(request) = requests.message().await? else { return Ok(false) };
    // Boxed: a stream that asks for nothing keeps no room for what it takes.
    if let Some(request) = Box::pin(understand(context, caller, request)).await {
        asker.ask(request).await;
    }
    Ok(true)
}

/// Waits for what is there to wait for; for nothing, forever.
async fn ended(leader_lost: &mut Option<LeaderLost>) {
    match leader_lost {
        Some(lost) => lost.await,
        None => std::future::pending().await,
    }
}

/// What a message asks for. As in etcd, one that asks for nothing is passed over.
async fn understand(
    context: &Context,
    caller: &Caller,
    request: pb::WatchRequest,
) -> Option<watch::Request> {
    match request.request_union? {
        RequestUnion::CreateRequest(create) => {
            Some(understand_create(context, caller, &create).await)
        }
        RequestUnion::CancelRequest(cancel) => Some(watch::Request::Cancel(cancel.watch_id)),
        RequestUnion::ProgressRequest(_) => Some(watch::Request::Progress),
    }
}

/// Looks at a request for a watch in etcd's order: its revision, then the caller's right to the
/// range as it was sent, and only then what the range means.
async fn understand_create(
    context: &Context,
    caller: &Caller,
    create: &pb::WatchCreateRequest,
) -> watch::Request {
    use synod_etcd::watch::WatchRefused;
    if create.start_revision < 0 {
        return watch::Request::Refuse(WatchRefused::Compacted.to_string());
    }
    if create.start_revision == 0 {
        context.reach_now(caller).await;
    }
    if let Err(refusal) = context.may_watch(caller, &create.key, &create.range_end).await {
        return watch::Request::Refuse(as_go_prints(&refusal));
    }
    match synod_etcd::watch::create(create) {
        Ok(create) => watch::Request::Create(Box::new(create)),
        Err(refused) => watch::Request::Refuse(refused.to_string()),
    }
}

/// The reason as etcd gives it, and as its clients take it apart: as Go prints an error of gRPC.
fn as_go_prints(refusal: &Refusal) -> String {
    format!("rpc error: code = {:?} desc = {}", refusal.code(), refusal.text())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_watch_gives_its_reason_as_go_prints_errors() {
        let denied = as_go_prints(&Refusal::new(EtcdError::PermissionDenied));
        let expected = "rpc error: code = PermissionDenied desc = etcdserver: permission denied";
        assert_eq!(denied, expected);
    }
}
