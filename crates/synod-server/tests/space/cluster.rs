//! A cluster in this process, and the words to ask it.

use std::time::Duration;

use clap::Parser;
use synod_etcd::proto::etcdserverpb as pb;
use synod_etcd::proto::etcdserverpb::alarm_request::AlarmAction;
use synod_etcd::proto::etcdserverpb::kv_client::KvClient;
use synod_etcd::proto::etcdserverpb::maintenance_client::MaintenanceClient;
use synod_server::{Server, ServerFlags};
use tempfile::TempDir;
use tokio::time::timeout;
use tonic::transport::Channel;
use tonic::{Code, Status};

use super::members::ports;

/// Long enough for any machine; only a hang waits for it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    flags: ServerFlags,
}

pub(crate) struct Cluster {
    pub(crate) servers: Vec<Server>,
    pub(crate) members: Vec<Member>,
    pub(crate) folder: TempDir,
}

/// One member's clients.
#[derive(Clone)]
pub(crate) struct Member {
    pub(crate) kv: KvClient<Channel>,
    pub(crate) maintenance: MaintenanceClient<Channel>,
}

impl Cluster {
    /// Starts so many members with these flags beside the usual ones.
    pub(crate) async fn start(count: usize, flags: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        // Held together, so that all ports differ; free again when the members start.
        let held = ports::held(count);
        let urls: Vec<String> =
            held.iter().map(|socket| format!("http://{}", socket.local_addr().unwrap())).collect();
        drop(held);
        let cluster: Vec<String> = (0..count).map(|i| format!("m{i}={}", urls[i])).collect();
        let mut servers = Vec::new();
        for (i, url) in urls.iter().enumerate() {
            let args = [
                "synod".to_owned(),
                format!("--name=m{i}"),
                format!("--data-dir={}", folder.path().join(format!("m{i}")).display()),
                "--listen-client-urls=http://127.0.0.1:0".to_owned(),
                "--advertise-client-urls=http://127.0.0.1:2379".to_owned(),
                format!("--listen-peer-urls={url}"),
                format!("--initial-advertise-peer-urls={url}"),
                format!("--initial-cluster={}", cluster.join(",")),
                "--heartbeat-interval=100".to_owned(),
                "--election-timeout=5000".to_owned(),
            ];
            let args = args.into_iter().chain(flags.iter().map(|flag| (*flag).to_owned()));
            let config = Line::try_parse_from(args).ok().unwrap().flags.check().unwrap();
            servers.push(ports::start(config).await);
        }
        let mut members = Vec::new();
        for server in &servers {
            timeout(PATIENCE, server.ready()).await.expect("a leader in time");
            let url = format!("http://{}", server.client_addresses()[0]);
            let channel = Channel::from_shared(url).unwrap().connect().await.unwrap();
            let kv = KvClient::new(channel.clone());
            members.push(Member { kv, maintenance: MaintenanceClient::new(channel) });
        }
        Self { servers, members, folder }
    }

    /// The place of the leader among the members.
    pub(crate) async fn leader(&mut self) -> usize {
        let looking = async {
            loop {
                let leader = self.members[0].status().await.leader;
                for place in 0..self.members.len() {
                    if self.members[place].status().await.header.unwrap().member_id == leader {
                        return place;
                    }
                }
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, looking).await.expect("a leader in time")
    }

    /// Has the leader hand over to the member at this place.
    pub(crate) async fn move_leader(&mut self, to: usize) -> Result<(), Status> {
        let leader = self.leader().await;
        let target_id = self.members[to].status().await.header.unwrap().member_id;
        let request = pb::MoveLeaderRequest { target_id };
        self.members[leader].maintenance.move_leader(request).await.map(drop)
    }

    pub(crate) async fn stop(self) {
        for server in self.servers {
            timeout(PATIENCE, server.shutdown()).await.expect("stopped in time");
        }
    }
}

impl Member {
    pub(crate) async fn put(&mut self, key: &str, value: &[u8]) -> Result<i64, Status> {
        let (key, value) = (key.to_owned().into(), value.to_vec().into());
        let put = pb::PutRequest { key, value, ..Default::default() };
        Ok(self.kv.put(put).await?.into_inner().header.unwrap().revision)
    }

    /// Deletes every key from one on; the revision then.
    pub(crate) async fn delete_from(&mut self, key: &str) -> Result<i64, Status> {
        let key = key.to_owned().into();
        let range_end = vec![0].into();
        let delete = pb::DeleteRangeRequest { key, range_end, ..Default::default() };
        Ok(self.kv.delete_range(delete).await?.into_inner().header.unwrap().revision)
    }

    pub(crate) async fn count(&mut self) -> Result<i64, Status> {
        let (key, range_end) = (vec![0].into(), vec![0].into());
        let range = pb::RangeRequest { key, range_end, count_only: true, ..Default::default() };
        Ok(self.kv.range(range).await?.into_inner().count)
    }

    pub(crate) async fn compact(&mut self, revision: i64, physical: bool) -> Result<(), Status> {
        self.kv.compact(pb::CompactionRequest { revision, physical }).await.map(drop)
    }

    pub(crate) async fn status(&mut self) -> pb::StatusResponse {
        self.maintenance.status(pb::StatusRequest {}).await.unwrap().into_inner()
    }

    pub(crate) async fn hash_kv(&mut self, revision: i64) -> Result<pb::HashKvResponse, Status> {
        Ok(self.maintenance.hash_kv(pb::HashKvRequest { revision }).await?.into_inner())
    }

    pub(crate) async fn alarm(
        &mut self,
        action: AlarmAction,
        member_id: u64,
        alarm: pb::AlarmType,
    ) -> Result<Vec<(u64, pb::AlarmType)>, Status> {
        let (action, alarm) = (action.into(), alarm.into());
        let request = pb::AlarmRequest { action, member_id, alarm };
        let alarms = self.maintenance.alarm(request).await?.into_inner().alarms;
        Ok(alarms.iter().map(|alarm| (alarm.member_id, alarm.alarm())).collect())
    }

    /// All alarms that stand.
    pub(crate) async fn alarms(&mut self) -> Vec<(u64, pb::AlarmType)> {
        self.alarm(AlarmAction::Get, 0, pb::AlarmType::None).await.unwrap()
    }

    /// Waits until there are so many alarms: members report them in their own time.
    pub(crate) async fn alarms_come_to(&mut self, count: usize) -> Vec<(u64, pb::AlarmType)> {
        let wait = async {
            loop {
                let alarms = self.alarms().await;
                if alarms.len() == count {
                    return alarms;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(PATIENCE, wait).await.expect("alarms in time")
    }
}

pub(crate) fn refused<T: std::fmt::Debug>(result: Result<T, Status>) -> (Code, String) {
    let status = result.expect_err("refused");
    (status.code(), status.message().to_owned())
}

pub(crate) fn text(code: Code, text: &str) -> (Code, String) {
    (code, text.to_owned())
}

/// What is refused for want of space.
pub(crate) fn no_space() -> (Code, String) {
    text(Code::ResourceExhausted, "etcdserver: mvcc: database space exceeded")
}
