//! etcd's service Lease.
//!
//! Everything that changes a lease goes through the log, renewals too: so each member answers for
//! itself, and a change of leader changes nothing about a lease.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use synod_etcd::lease;
use synod_etcd::proto::etcdserverpb as pb;
use synod_etcd::proto::etcdserverpb::lease_server::Lease;
use synod_kv::{Command, LeaseIds, Response as StoreResponse};
use tokio::sync::mpsc;
use tonic::codegen::tokio_stream::Stream;
use tonic::codegen::tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::Context;
use super::access::{Caller, asks_for_leader, mismatch};
use crate::renewals::RENEWALS_MAX;

/// The service.
#[derive(Clone, Debug)]
pub(super) struct LeaseService(pub(super) Arc<Context>);

type Answer<T> = Result<Response<T>, Status>;

/// Answers that wait for a client to read them; then its next requests wait.
const ANSWERS_MAX: usize = 64;

#[tonic::async_trait]
impl Lease for LeaseService {
    type LeaseKeepAliveStream = ReceiverStream<Result<pb::LeaseKeepAliveResponse, Status>>;

    async fn lease_grant(
        &self,
        request: Request<pb::LeaseGrantRequest>,
    ) -> Answer<pb::LeaseGrantResponse> {
        let caller = self.0.caller(&request)?;
        let grant = lease::grant_command(request.get_ref(), self.0.lease_ttl_min());
        match self.0.propose(&caller, &Command::LeaseGrant(grant)).await? {
            StoreResponse::LeaseGrant(granted) => {
                let revision = self.0.reader.revision();
                Ok(Response::new(lease::granted(self.0.stamp(), revision, granted)))
            }
            other => Err(mismatch(&other)),
        }
    }

    async fn lease_revoke(
        &self,
        request: Request<pb::LeaseRevokeRequest>,
    ) -> Answer<pb::LeaseRevokeResponse> {
        let caller = self.0.caller(&request)?;
        let id = request.get_ref().id;
        match self.0.propose(&caller, &Command::LeaseRevoke { id }).await? {
            StoreResponse::LeaseRevoke(revoked) => {
                let header = Some(self.0.stamp().header(revoked.revision));
                Ok(Response::new(pb::LeaseRevokeResponse { header }))
            }
            other => Err(mismatch(&other)),
        }
    }

    async fn lease_keep_alive(
        &self,
        request: Request<Streaming<pb::LeaseKeepAliveRequest>>,
    ) -> Answer<Self::LeaseKeepAliveStream> {
        let caller = self.0.caller(&request)?;
        let asks_for_leader = asks_for_leader(&request);
        let (answers, stream) = mpsc::channel(ANSWERS_MAX);
        let context = Arc::clone(&self.0);
        tokio::spawn(async move {
            let mut requests = request.into_inner();
            tokio::select! {
                result = keep_alive(&context, &caller, &mut requests, &answers) => {
                    if let Err(status) = result {
                        // Who asked may have gone.
                        let _ = answers.send(Err(status)).await;
                    }
                }
                refusal = context.stream_ends(asks_for_leader) => {
                    let _ = answers.send(Err(refusal.into())).await;
                }
                () = answers.closed() => {}
            }
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn lease_time_to_live(
        &self,
        request: Request<pb::LeaseTimeToLiveRequest>,
    ) -> Answer<pb::LeaseTimeToLiveResponse> {
        let caller = self.0.caller(&request)?;
        let pb::LeaseTimeToLiveRequest { id, keys } = *request.get_ref();
        self.0.linearize(&caller).await?;
        let (header, status) = self
            .0
            .read(&caller, !keys, move |context, who| {
                let header = context.stamp().header(context.reader.revision());
                Ok((header, context.reader.lease(who, id, keys, context.clock.time_ms())?))
            })
            .await?;
        Ok(Response::new(lease::time_to_live(header, id, status)))
    }

    async fn lease_leases(
        &self,
        request: Request<pb::LeaseLeasesRequest>,
    ) -> Answer<pb::LeaseLeasesResponse> {
        let caller = self.0.caller(&request)?;
        self.0.linearize(&caller).await?;
        let (header, ids) = self
            .0
            .read(&caller, false, |context, who| {
                let header = context.stamp().header(context.reader.revision());
                Ok((header, context.reader.leases(who)?))
            })
            .await?;
        Ok(Response::new(lease::leases(header, &ids)))
    }
}

/// Answers a stream of renewals, in its order, until it ends. What has arrived together is renewed
/// together, so that a client with thousands of leases waits for the log a few times only.
async fn keep_alive(
    context: &Context,
    caller: &Caller,
    requests: &mut Streaming<pb::LeaseKeepAliveRequest>,
    answers: &mpsc::Sender<Result<pb::LeaseKeepAliveResponse, Status>>,
) -> Result<(), Status> {
    while let Some(first) = requests.message().await? {
        let mut ids = vec![first.id];
        let ended = take_ready(requests, &mut ids).await?;
        // From before the renewal: whoever finds a lease ended in a later revision than this knows
        // that it was renewed earlier.
        let header = context.stamp().header(context.reader.revision());
        let ids = LeaseIds::new(ids).expect("fewer than a command may name");
        let ttls = context.renew(caller, &ids).await?;
        for (id, ttl) in ids.as_slice().iter().copied().zip(ttls) {
            if answers.send(Ok(lease::renewed(header, id, ttl))).await.is_err() {
                return Ok(());
            }
        }
        if ended {
            break;
        }
    }
    Ok(())
}

/// Adds what has arrived already, within the bound; whether the stream has ended.
async fn take_ready(
    requests: &mut Streaming<pb::LeaseKeepAliveRequest>,
    ids: &mut Vec<i64>,
) -> Result<bool, Status> {
    poll_fn(|cx| {
        while ids.len() < RENEWALS_MAX {
            match Pin::new(&mut *requests).poll_next(cx) {
                Poll::Pending => return Poll::Ready(Ok(false)),
                Poll::Ready(None) => return Poll::Ready(Ok(true)),
                Poll::Ready(Some(Ok(request))) => ids.push(request.id),
                Poll::Ready(Some(Err(status))) => return Poll::Ready(Err(status)),
            }
        }
        Poll::Ready(Ok(false))
    })
    .await
}
