//! etcd's service Cluster: who the members are.
//!
//! Names and peer URLs come from the configuration. Where clients find a member it tells its peers
//! itself, when it connects; until then it has no client URLs, as in etcd a member that has not
//! started.

use std::sync::Arc;

use serde_json::{Value, json};
use synod_etcd::proto::etcdserverpb as pb;
use synod_etcd::proto::etcdserverpb::cluster_server::Cluster;
use synod_etcd::unbuilt;
use tonic::{Request, Response, Status};

use super::Context;
use crate::config::{MemberConfig, ServerConfig, Url};

/// The service.
#[derive(Clone, Debug)]
pub(super) struct ClusterService(pub(super) Arc<Context>);

#[tonic::async_trait]
impl Cluster for ClusterService {
    async fn member_list(
        &self,
        request: Request<pb::MemberListRequest>,
    ) -> Result<Response<pb::MemberListResponse>, Status> {
        let context = &self.0;
        let caller = context.caller(&request)?;
        if request.get_ref().linearizable {
            context.linearize(&caller).await?;
        }
        // etcd's own header of this answer has no revision.
        let header =
            pb::ResponseHeader { revision: 0, ..context.stamp().header(context.reader.revision()) };
        let members = context.config.members.iter().map(|member| self.member(member)).collect();
        Ok(Response::new(pb::MemberListResponse { header: Some(header), members }))
    }

    async fn member_add(
        &self,
        _: Request<pb::MemberAddRequest>,
    ) -> Result<Response<pb::MemberAddResponse>, Status> {
        Err(unbuilt::refuse("Cluster/MemberAdd").into())
    }

    async fn member_remove(
        &self,
        _: Request<pb::MemberRemoveRequest>,
    ) -> Result<Response<pb::MemberRemoveResponse>, Status> {
        Err(unbuilt::refuse("Cluster/MemberRemove").into())
    }

    async fn member_update(
        &self,
        _: Request<pb::MemberUpdateRequest>,
    ) -> Result<Response<pb::MemberUpdateResponse>, Status> {
        Err(unbuilt::refuse("Cluster/MemberUpdate").into())
    }

    async fn member_promote(
        &self,
        _: Request<pb::MemberPromoteRequest>,
    ) -> Result<Response<pb::MemberPromoteResponse>, Status> {
        Err(unbuilt::refuse("Cluster/MemberPromote").into())
    }
}

impl ClusterService {
    fn member(&self, member: &MemberConfig) -> pb::Member {
        let context = &self.0;
        let client_urls = if member.id == context.config.member_id {
            texts(&context.config.advertise_client_urls)
        } else {
            let about = context.transport.get().and_then(|transport| transport.about(member.id));
            about.map(|about| client_urls(&about)).unwrap_or_default()
        };
        pb::Member {
            id: member.id,
            name: member.name.clone(),
            peer_ur_ls: texts(&member.peer_urls),
            client_ur_ls: client_urls,
            is_learner: false,
        }
    }
}

/// What a member tells its peers about itself.
pub(crate) fn about(config: &ServerConfig) -> String {
    json!({ "client-urls": texts(&config.advertise_client_urls) }).to_string()
}

/// The client URLs in what a peer told; none if it told something else.
fn client_urls(about: &[u8]) -> Vec<String> {
    let about: Value = serde_json::from_slice(about).unwrap_or_default();
    let urls = about["client-urls"].as_array().map(Vec::as_slice).unwrap_or_default();
    urls.iter().filter_map(|url| url.as_str().map(str::to_owned)).collect()
}

fn texts(urls: &[Url]) -> Vec<String> {
    urls.iter().map(Url::to_string).collect()
}
