//! etcd's service Election: offices that one of many holds.

use std::sync::Arc;

use bytes::Bytes;
use synod_etcd::proto::mvccpb;
use synod_etcd::proto::v3electionpb as pb;
use synod_etcd::proto::v3electionpb::election_server::Election;
use synod_etcd::watch::Flavor;
use synod_etcd::{EtcdError, Refusal};
use synod_kv::{Key, KeyValue, Revision};
use tokio::sync::mpsc;
use tonic::codegen::tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Response, Status};

use super::Context;
use super::access::{Caller, asks_for_leader};
use super::queue::{self, Taken, in_etcds_code};

/// The service.
#[derive(Clone, Debug)]
pub(super) struct ElectionService(pub(super) Arc<Context>);

type Answer<T> = Result<Response<T>, Status>;

/// Leaders that wait for a client to read of them; what comes after the last one is not lost, as
/// the newest is told in any case.
const ANSWERS_MAX: usize = 16;

#[tonic::async_trait]
impl Election for ElectionService {
    type ObserveStream = ReceiverStream<Result<pb::LeaderResponse, Status>>;

    async fn campaign(
        &self,
        request: Request<pb::CampaignRequest>,
    ) -> Answer<pb::CampaignResponse> {
        let caller = self.0.caller(&request)?;
        let answer = self.stand(&caller, request.into_inner()).await;
        answer.map(Response::new).map_err(in_etcds_code)
    }

    async fn proclaim(
        &self,
        request: Request<pb::ProclaimRequest>,
    ) -> Answer<pb::ProclaimResponse> {
        let caller = self.0.caller(&request)?;
        let answer = self.say(&caller, request.into_inner()).await;
        let header = answer.map_err(in_etcds_code)?;
        Ok(Response::new(pb::ProclaimResponse { header: Some(header) }))
    }

    async fn leader(&self, request: Request<pb::LeaderRequest>) -> Answer<pb::LeaderResponse> {
        let caller = self.0.caller(&request)?;
        let answer = self.find(&caller, &request.get_ref().name).await;
        let (at, found) = answer.map_err(in_etcds_code)?;
        let none = || in_etcds_code(Refusal::own(Code::Unknown, "election: no leader"));
        Ok(Response::new(self.answer(at, found.ok_or_else(none)?)))
    }

    async fn observe(&self, request: Request<pb::LeaderRequest>) -> Answer<Self::ObserveStream> {
        let caller = self.0.caller(&request)?;
        let asks_for_leader = asks_for_leader(&request);
        let name = request.into_inner().name;
        let (answers, stream) = mpsc::channel(ANSWERS_MAX);
        let service = self.clone();
        tokio::spawn(async move {
            tokio::select! {
                refusal = service.follow(&caller, &name, &answers) => {
                    if let Err(refusal) = refusal {
                        // Who asked may have gone.
                        let _ = answers.send(Err(in_etcds_code(refusal))).await;
                    }
                }
                refusal = service.0.stream_ends(asks_for_leader) => {
                    let _ = answers.send(Err(refusal.into())).await;
                }
                () = answers.closed() => {}
            }
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn resign(&self, request: Request<pb::ResignRequest>) -> Answer<pb::ResignResponse> {
        let caller = self.0.caller(&request)?;
        let answer = self.leave(&caller, request.into_inner().leader).await;
        let header = answer.map_err(in_etcds_code)?;
        Ok(Response::new(pb::ResignResponse { header: Some(header) }))
    }
}

impl ElectionService {
    async fn stand(
        &self,
        caller: &Caller,
        request: pb::CampaignRequest,
    ) -> Result<pb::CampaignResponse, Refusal> {
        let pb::CampaignRequest { name, lease, value } = request;
        let lease = queue::session(&self.0, caller, lease).await?;
        let taken = queue::take(&self.0, caller, &name, (lease, value.clone())).await?;
        let Taken { mut waiting, header, former } = taken;
        let place = waiting.place();
        let leader = pb::LeaderKey {
            name: name.clone(),
            key: place.key.as_bytes().clone(),
            rev: place.create.as_i64(),
            lease,
        };
        if former.is_some_and(|former| former != value) {
            // An office whose holder could not say what it stands for is left, as etcd does.
            waiting.risk();
            self.say(caller, pb::ProclaimRequest { leader: Some(leader.clone()), value }).await?;
        }
        waiting.turn(&name, EtcdError::LeaseNotFound.into()).await?;
        Ok(pb::CampaignResponse { header: Some(header), leader: Some(leader) })
    }

    async fn say(
        &self,
        caller: &Caller,
        request: pb::ProclaimRequest,
    ) -> Result<synod_etcd::proto::etcdserverpb::ResponseHeader, Refusal> {
        let leader = request.leader.ok_or_else(no_leader_field)?;
        let key = Key::new(leader.key)?;
        let ops = (queue::put(&key, request.value, leader.lease), Vec::new());
        let answer = queue::if_created(&self.0, caller, (&key, leader.rev), ops).await?;
        if answer.succeeded {
            Ok(self.0.stamp().header(answer.revision))
        } else {
            Err(Refusal::own(Code::Unknown, "election: not leader"))
        }
    }

    async fn leave(
        &self,
        caller: &Caller,
        leader: Option<pb::LeaderKey>,
    ) -> Result<synod_etcd::proto::etcdserverpb::ResponseHeader, Refusal> {
        let leader = leader.ok_or_else(no_leader_field)?;
        let key = Key::new(leader.key)?;
        let ops = (queue::delete(&key), Vec::new());
        let answer = queue::if_created(&self.0, caller, (&key, leader.rev), ops).await?;
        Ok(self.0.stamp().header(answer.revision))
    }

    async fn find(
        &self,
        caller: &Caller,
        name: &Bytes,
    ) -> Result<(Revision, Option<KeyValue>), Refusal> {
        self.0.linearize(caller).await?;
        queue::owner(&self.0, caller, name).await
    }

    /// Tells who leads, and then whoever does and whatever it says, as far as it is still so when
    /// it is told.
    async fn follow(
        &self,
        caller: &Caller,
        name: &Bytes,
        answers: &mpsc::Sender<Result<pb::LeaderResponse, Status>>,
    ) -> Result<(), Refusal> {
        let mut told = Revision::ZERO;
        self.0.linearize(caller).await?;
        loop {
            let (at, found) = queue::owner(&self.0, caller, name).await?;
            if let Some(kv) = found.filter(|kv| kv.mod_revision != told) {
                told = kv.mod_revision;
                if answers.send(Ok(self.answer(at, kv))).await.is_err() {
                    return Ok(());
                }
            }
            let keys = [queue::all(name)];
            tokio::select! {
                changed = self.0.watches.changed(keys, Flavor::default(), at.next()) => changed?,
                () = answers.closed() => return Ok(()),
            }
        }
    }

    fn answer(&self, at: Revision, kv: KeyValue) -> pb::LeaderResponse {
        let header = Some(self.0.stamp().header(at));
        pb::LeaderResponse { header, kv: Some(mvccpb::KeyValue::from(kv)) }
    }
}

fn no_leader_field() -> Refusal {
    Refusal::own(Code::Unknown, "\"leader\" field must be provided")
}
