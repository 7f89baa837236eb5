//! What is on the client port beside gRPC, asked over real sockets.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

#[path = "http/client.rs"]
mod client;
#[path = "http/gateway.rs"]
mod gateway;
#[path = "http/metrics.rs"]
mod metrics;
#[path = "http/names.rs"]
mod names;
#[path = "members/ports.rs"]
mod ports;
#[path = "http/probes.rs"]
mod probes;
#[path = "http/websocket.rs"]
mod websocket;

use std::net::SocketAddr;
use std::time::Duration;

use clap::Parser;
use synod_server::{Server, ServerFlags};
use tempfile::TempDir;
use tokio::time::timeout;

/// Long enough for any machine; only a hang waits for it.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    flags: ServerFlags,
}

/// A cluster of one.
struct Member {
    server: Server,
    _folder: TempDir,
}

impl Member {
    /// Starts it. With `others`, there are two more members that never come.
    async fn start(others: bool) -> Self {
        Self::start_with(others, &[]).await
    }

    /// Starts it with more flags.
    async fn start_with(others: bool, flags: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let held = ports::one();
        let peer = format!("http://{}", held.local_addr().unwrap());
        let cluster = if others {
            format!("m={peer},n=http://127.0.0.1:1,o=http://127.0.0.1:2")
        } else {
            format!("m={peer}")
        };
        let args = [
            "synod".to_owned(),
            "--name=m".to_owned(),
            format!("--data-dir={}", folder.path().join("m").display()),
            "--listen-client-urls=http://127.0.0.1:0".to_owned(),
            "--advertise-client-urls=http://127.0.0.1:2379".to_owned(),
            format!("--listen-peer-urls={peer}"),
            format!("--initial-advertise-peer-urls={peer}"),
            format!("--initial-cluster={cluster}"),
            "--heartbeat-interval=100".to_owned(),
            "--election-timeout=5000".to_owned(),
        ];
        let args = args.into_iter().chain(flags.iter().map(|flag| (*flag).to_owned()));
        let config = Line::try_parse_from(args).ok().unwrap().flags.check().unwrap();
        drop(held);
        let server = ports::start(config).await;
        if !others {
            timeout(PATIENCE, server.ready()).await.expect("a leader in time");
        }
        Self { server, _folder: folder }
    }

    fn address(&self) -> SocketAddr {
        self.server.client_addresses()[0]
    }

    async fn stop(self) {
        timeout(PATIENCE, self.server.shutdown()).await.expect("stopped in time");
    }
}
