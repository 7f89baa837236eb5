//! Three members in this process, on loopback, and what tests ask them.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]
#![allow(dead_code, reason = "each test program uses its part")]

pub(crate) mod ports;

use std::path::Path;
use std::time::Duration;

use clap::Parser;
use synod_etcd::proto::etcdserverpb as pb;
use synod_etcd::proto::etcdserverpb::maintenance_client::MaintenanceClient;
use synod_server::{Server, ServerConfig, ServerFlags};
use tokio::time::timeout;
use tonic::transport::Channel;
use tonic::{Code, Status};

/// Long enough for any machine; only a hang waits for it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    flags: ServerFlags,
}

/// Members that run, and the folder of their data.
pub(crate) struct Members {
    pub(crate) configs: Vec<ServerConfig>,
    /// Those that were not stopped.
    pub(crate) servers: Vec<Server>,
    _folder: tempfile::TempDir,
}

impl Members {
    pub(crate) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// Starts them with more flags.
    pub(crate) async fn start_with(flags: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let configs = configs(folder.path(), flags);
        let mut servers = Vec::new();
        for config in &configs {
            servers.push(ports::start(config.clone()).await);
        }
        for server in &servers {
            timeout(PATIENCE, server.ready()).await.expect("a leader in time");
            // Tests stop members: the others must be able to vote by then.
            let forms = async {
                while !server.has_formed() {
                    tokio::task::yield_now().await;
                }
            };
            timeout(PATIENCE, forms).await.expect("all have met in time");
        }
        Self { configs, servers, _folder: folder }
    }

    /// A connection to the member at this place.
    pub(crate) async fn channel(&self, at: usize) -> Channel {
        let address = self.servers[at].client_addresses()[0];
        let endpoint = Channel::from_shared(format!("http://{address}")).unwrap();
        endpoint.connect().await.unwrap()
    }

    /// Where the leader is among the members that run.
    pub(crate) async fn leader(&self) -> usize {
        let mut at = 0;
        timeout(PATIENCE, async {
            loop {
                let mut status = MaintenanceClient::new(self.channel(at).await);
                let status = status.status(pb::StatusRequest {}).await.unwrap().into_inner();
                if status.leader == status.header.unwrap().member_id {
                    return at;
                }
                at = (at + 1) % self.servers.len();
                tokio::task::yield_now().await;
            }
        })
        .await
        .expect("a leader in time")
    }

    /// Stops the member at this place.
    pub(crate) async fn stop(&mut self, at: usize) {
        let server = self.servers.remove(at);
        timeout(PATIENCE, server.shutdown()).await.expect("stopped in time");
    }

    pub(crate) async fn shutdown(self) {
        for server in self.servers {
            timeout(PATIENCE, server.shutdown()).await.expect("stopped in time");
        }
    }
}

fn configs(dir: &Path, flags: &[&str]) -> Vec<ServerConfig> {
    // Held together, so that all ports differ; free again when the members start.
    let held = ports::held(3);
    let urls: Vec<String> =
        held.iter().map(|socket| format!("http://{}", socket.local_addr().unwrap())).collect();
    let cluster: Vec<String> = (0..3).map(|i| format!("m{i}={}", urls[i])).collect();
    let config = |i: usize| {
        let args = [
            "synod".to_owned(),
            format!("--name=m{i}"),
            format!("--data-dir={}", dir.join(format!("m{i}")).display()),
            "--listen-client-urls=http://127.0.0.1:0".to_owned(),
            format!("--advertise-client-urls=http://m{i}.example:2379"),
            format!("--listen-peer-urls={}", urls[i]),
            format!("--initial-advertise-peer-urls={}", urls[i]),
            format!("--initial-cluster={}", cluster.join(",")),
            "--heartbeat-interval=50".to_owned(),
            "--election-timeout=500".to_owned(),
        ];
        let args = args.into_iter().chain(flags.iter().map(|flag| (*flag).to_owned()));
        Line::try_parse_from(args).ok().unwrap().flags.check().unwrap()
    };
    (0..3).map(config).collect()
}

pub(crate) fn refused<T: std::fmt::Debug>(result: Result<T, Status>) -> (Code, String) {
    let status = result.expect_err("refused");
    (status.code(), status.message().to_owned())
}

pub(crate) fn get(key: &str) -> pb::RangeRequest {
    pb::RangeRequest { key: key.to_owned().into(), ..Default::default() }
}

/// All keys that begin so.
pub(crate) fn prefix(key: &str) -> pb::RangeRequest {
    let mut end = key.to_owned().into_bytes();
    match end.last_mut() {
        Some(last) => *last += 1,
        None => {
            return pb::RangeRequest {
                key: vec![0].into(),
                range_end: vec![0].into(),
                ..Default::default()
            };
        }
    }
    pb::RangeRequest { key: key.to_owned().into(), range_end: end.into(), ..Default::default() }
}

/// Puts a key on a lease.
pub(crate) fn put_on(key: &str, lease: i64) -> pb::PutRequest {
    pb::PutRequest { key: key.to_owned().into(), lease, ..Default::default() }
}
