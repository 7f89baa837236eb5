//! Logins per second of one member:
//! `cargo run --release -p synod-server --example logins`.
#![expect(clippy::unwrap_used, reason = "a measurement ends where something fails")]

use std::time::Instant;

use clap::Parser;
use synod_etcd::proto::etcdserverpb as pb;
use synod_etcd::proto::etcdserverpb::auth_client::AuthClient;
use synod_server::{Server, ServerFlags};
use tonic::transport::Channel;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    flags: ServerFlags,
}

const CLIENTS: usize = 64;
const LOGINS: usize = 20_000;

#[tokio::main]
async fn main() {
    let folder = tempfile::tempdir().unwrap();
    let data = format!("--data-dir={}", folder.path().join("m").display());
    let args = [
        "synod",
        &data,
        "--listen-client-urls=http://127.0.0.1:0",
        "--advertise-client-urls=http://127.0.0.1:1",
        "--listen-peer-urls=http://127.0.0.1:14080",
        "--initial-advertise-peer-urls=http://127.0.0.1:14080",
        "--initial-cluster=default=http://127.0.0.1:14080",
    ];
    let config = Line::try_parse_from(args).ok().unwrap().flags.check().unwrap();
    let server = Server::start(config).await.unwrap();
    server.ready().await;
    let url = format!("http://{}", server.client_addresses()[0]);
    let mut auth = AuthClient::new(Channel::from_shared(url).unwrap().connect().await.unwrap());

    let login = || pb::AuthenticateRequest { name: "root".to_owned(), password: "pw".to_owned() };
    let (name, password) = ("root".to_owned(), "pw".to_owned());
    auth.user_add(pb::AuthUserAddRequest { name, password, ..Default::default() }).await.unwrap();
    let (user, role) = ("root".to_owned(), "root".to_owned());
    auth.user_grant_role(pb::AuthUserGrantRoleRequest { user, role }).await.unwrap();
    auth.auth_enable(pb::AuthEnableRequest {}).await.unwrap();

    let start = Instant::now();
    auth.authenticate(login()).await.unwrap();
    println!("first login: {:?}", start.elapsed());
    let start = Instant::now();
    let clients = (0..CLIENTS).map(|_| {
        let mut auth = auth.clone();
        tokio::spawn(async move {
            for _ in 0..LOGINS / CLIENTS {
                auth.authenticate(login()).await.unwrap();
            }
        })
    });
    for client in clients.collect::<Vec<_>>() {
        client.await.unwrap();
    }
    let per_second = LOGINS as f64 / start.elapsed().as_secs_f64();
    println!("{LOGINS} logins of {CLIENTS} clients: {per_second:.0} per second");
    server.shutdown().await;
}
