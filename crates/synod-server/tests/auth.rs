//! Auth over real sockets: three members in this process, asked by etcd's generated clients.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

#[path = "http/client.rs"]
mod client;
#[path = "auth/log.rs"]
mod log;
#[path = "members/ports.rs"]
mod ports;
#[path = "auth/raw.rs"]
mod raw;
#[path = "auth/table.rs"]
mod table;

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use clap::Parser;
use synod_etcd::proto::authpb::Permission;
use synod_etcd::proto::etcdserverpb as pb;
use synod_etcd::proto::etcdserverpb::auth_client::AuthClient;
use synod_etcd::proto::etcdserverpb::cluster_client::ClusterClient;
use synod_etcd::proto::etcdserverpb::kv_client::KvClient;
use synod_etcd::proto::etcdserverpb::lease_client::LeaseClient;
use synod_etcd::proto::etcdserverpb::maintenance_client::MaintenanceClient;
use synod_server::{Server, ServerConfig, ServerFlags};
use tokio::time::timeout;
use tonic::transport::Channel;
use tonic::{Code, Request, Response, Status};

const PATIENCE: Duration = Duration::from_secs(60);
const PASSWORD: &str = "canary-dO9fH2sQ";

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    flags: ServerFlags,
}

fn configs(dir: &Path, count: usize) -> Vec<ServerConfig> {
    configs_with(dir, count, &[])
}

/// With more flags; the last of a name counts.
fn configs_with(dir: &Path, count: usize, more: &[&str]) -> Vec<ServerConfig> {
    let held = ports::held(count);
    let urls: Vec<String> =
        held.iter().map(|socket| format!("http://{}", socket.local_addr().unwrap())).collect();
    let cluster: Vec<String> = (0..count).map(|i| format!("m{i}={}", urls[i])).collect();
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
            "--bcrypt-cost=4".to_owned(),
        ];
        let more = more.iter().map(|flag| (*flag).to_owned());
        let args = args.into_iter().chain(more);
        Line::try_parse_from(args).ok().unwrap().flags.check().unwrap()
    };
    (0..count).map(config).collect()
}

async fn start(configs: &[ServerConfig]) -> Vec<Server> {
    let mut servers = Vec::new();
    for config in configs {
        servers.push(ports::start(config.clone()).await);
    }
    for server in &servers {
        timeout(PATIENCE, server.ready()).await.expect("a leader in time");
    }
    servers
}

async fn shutdown(servers: Vec<Server>) {
    for server in servers {
        timeout(PATIENCE, server.shutdown()).await.expect("stopped in time");
    }
}

/// A client that shows a token, or none.
#[derive(Clone)]
struct Client {
    address: SocketAddr,
    channel: Channel,
    token: Option<String>,
}

type Answer<T> = Result<T, (Code, String)>;

fn plain<T>(answer: Result<Response<T>, Status>) -> Answer<T> {
    answer.map(Response::into_inner).map_err(|s| (s.code(), s.message().to_owned()))
}

impl Client {
    async fn of(server: &Server) -> Self {
        let address = server.client_addresses()[0];
        let channel = Channel::from_shared(format!("http://{address}")).unwrap();
        Self { address, channel: channel.connect().await.unwrap(), token: None }
    }

    fn with(&self, token: &str) -> Self {
        Self { token: Some(token.to_owned()), ..self.clone() }
    }

    fn ask<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if let Some(token) = &self.token {
            request.metadata_mut().insert("token", token.parse().unwrap());
        }
        request
    }

    async fn login(&self, name: &str, password: &str) -> Answer<String> {
        let (name, password) = (name.to_owned(), password.to_owned());
        let request = self.ask(pb::AuthenticateRequest { name, password });
        Ok(plain(self.auth().authenticate(request).await)?.token)
    }

    fn auth(&self) -> AuthClient<Channel> {
        AuthClient::new(self.channel.clone())
    }

    async fn put(&self, key: &str) -> Answer<()> {
        let put = pb::PutRequest { key: key.to_owned().into(), ..Default::default() };
        plain(KvClient::new(self.channel.clone()).put(self.ask(put)).await).map(drop)
    }

    async fn get(&self, key: &str, serializable: bool) -> Answer<()> {
        let key = key.to_owned().into();
        let range = pb::RangeRequest { key, serializable, ..Default::default() };
        plain(KvClient::new(self.channel.clone()).range(self.ask(range)).await).map(drop)
    }

    async fn user_add(&self, name: &str, password: &str) -> Answer<()> {
        let (name, password) = (name.to_owned(), password.to_owned());
        let user = pb::AuthUserAddRequest { name, password, ..Default::default() };
        plain(self.auth().user_add(self.ask(user)).await).map(drop)
    }

    async fn change_password(&self, name: &str, password: &str) -> Answer<()> {
        let (name, password) = (name.to_owned(), password.to_owned());
        let change = pb::AuthUserChangePasswordRequest { name, password, ..Default::default() };
        plain(self.auth().user_change_password(self.ask(change)).await).map(drop)
    }

    async fn grant_role(&self, user: &str, role: &str) -> Answer<()> {
        let (user, role) = (user.to_owned(), role.to_owned());
        let grant = pb::AuthUserGrantRoleRequest { user, role };
        plain(self.auth().user_grant_role(self.ask(grant)).await).map(drop)
    }

    async fn enable(&self) -> Answer<()> {
        plain(self.auth().auth_enable(self.ask(pb::AuthEnableRequest {})).await).map(drop)
    }
}

/// `root`, and `ann` who may read and write the key `a`; auth is enabled.
async fn prepare(client: &Client) {
    client.user_add("root", PASSWORD).await.unwrap();
    client.grant_role("root", "root").await.unwrap();
    client.user_add("ann", PASSWORD).await.unwrap();
    let role = pb::AuthRoleAddRequest { name: "r".to_owned() };
    client.auth().role_add(client.ask(role)).await.unwrap();
    let perm = Permission { perm_type: 2, key: "a".into(), range_end: "".into() };
    let grant = pb::AuthRoleGrantPermissionRequest { name: "r".to_owned(), perm: Some(perm) };
    client.auth().role_grant_permission(client.ask(grant)).await.unwrap();
    client.grant_role("ann", "r").await.unwrap();
    client.enable().await.unwrap();
}

fn denied<T>() -> Answer<T> {
    Err((Code::PermissionDenied, "etcdserver: permission denied".to_owned()))
}

fn invalid<T>() -> Answer<T> {
    Err((Code::Unauthenticated, "etcdserver: invalid auth token".to_owned()))
}

fn nameless<T>() -> Answer<T> {
    Err((Code::InvalidArgument, "etcdserver: user name is empty".to_owned()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_is_good_on_every_member_and_after_restarts_until_the_password_changes() {
    let temp = tempfile::tempdir().unwrap();
    let configs = configs(temp.path(), 3);
    let servers = start(&configs).await;
    let mut clients = Vec::new();
    for server in &servers {
        clients.push(Client::of(server).await);
    }
    prepare(&clients[0]).await;
    let ann = clients[1].login("ann", PASSWORD).await.unwrap();
    for client in &clients {
        let client = client.with(&ann);
        assert_eq!(client.put("a").await, Ok(()));
        assert_eq!(client.get("a", true).await, Ok(()), "also where the login is not known yet");
        assert_eq!(client.put("b").await, denied());
        assert_eq!(client.get("b", false).await, denied());
        assert_eq!(client.with("s1.no.token").put("a").await, invalid());
    }
    // A change of roles ends no token (etcd#13300).
    let root = clients[0].with(&clients[0].login("root", PASSWORD).await.unwrap());
    root.grant_role("ann", "root").await.unwrap();
    assert_eq!(clients[2].with(&ann).put("b").await, Ok(()));
    shutdown(servers).await;

    let servers = start(&configs).await;
    let client = Client::of(&servers[2]).await;
    assert_eq!(client.with(&ann).put("b").await, Ok(()), "the secret is in the log");
    let root = client.with(&client.login("root", PASSWORD).await.unwrap());
    root.change_password("ann", "other").await.unwrap();
    for server in &servers {
        let client = Client::of(server).await;
        assert_eq!(client.with(&ann).put("a").await, invalid());
        assert_eq!(client.with(&ann).get("a", false).await, invalid());
    }
    let failed = "etcdserver: authentication failed, invalid user ID or password";
    for (name, password) in [("ann", PASSWORD), ("ann", ""), ("nobody", PASSWORD), ("", "")] {
        let refused = client.login(name, password).await;
        assert_eq!(refused, Err((Code::InvalidArgument, failed.to_owned())), "{name}");
    }
    assert!(client.login("ann", "other").await.is_ok());
    shutdown(servers).await;
    for folder in ["m0", "m1", "m2"] {
        let leaked = holds(&temp.path().join(folder), PASSWORD.as_bytes());
        assert!(!leaked, "a password is on disk in clear");
    }
}

/// Whether a file below a folder holds these bytes.
fn holds(folder: &Path, wanted: &[u8]) -> bool {
    std::fs::read_dir(folder).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        if path.is_dir() {
            return holds(&path, wanted);
        }
        std::fs::read(&path).unwrap().windows(wanted.len()).any(|window| window == wanted)
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cve_2026_33413_every_call_asks_who_calls() {
    let temp = tempfile::tempdir().unwrap();
    let servers = start(&configs(temp.path(), 1)).await;
    let nobody = Client::of(&servers[0]).await;
    prepare(&nobody).await;
    let ann = nobody.with(&nobody.login("ann", PASSWORD).await.unwrap());
    let root = nobody.with(&nobody.login("root", PASSWORD).await.unwrap());
    let forged = nobody.with("forged");

    // Every call but these two is refused to who shows nothing, and to a forged token.
    for call in synod_etcd::json::calls() {
        let open = ["/etcdserverpb.Auth/Authenticate", "/etcdserverpb.Auth/AuthStatus"];
        // Refused in the stream, message by message.
        let streams = ["/etcdserverpb.Watch/Watch", "/etcdserverpb.Lease/LeaseKeepAlive"];
        if open.contains(&call.path()) || streams.contains(&call.path()) {
            continue;
        }
        for client in [&nobody, &forged] {
            let refused = raw(client, call.path()).await;
            let reasons = [
                Code::InvalidArgument,
                Code::Unauthenticated,
                Code::PermissionDenied,
                // Locks and elections say so under a code that says nothing, as etcd's.
                Code::Unknown,
                Code::Unimplemented,
            ];
            assert!(reasons.contains(&refused), "{}: {refused:?}", call.path());
        }
    }

    let channel = || nobody.channel.clone();
    macro_rules! asked {
        ($client:expr, $service:ident, $call:ident, $message:expr) => {
            plain($service::new(channel()).$call($client.ask($message)).await).map(drop)
        };
    }
    for (client, user, admin) in
        [(&nobody, nameless(), nameless()), (&ann, Ok(()), denied()), (&root, Ok(()), Ok(()))]
    {
        let status = asked!(client, MaintenanceClient, status, pb::StatusRequest {});
        assert_eq!(status, user);
        let alarms = asked!(client, MaintenanceClient, alarm, pb::AlarmRequest::default());
        assert_eq!(alarms, user);
        let members = asked!(client, ClusterClient, member_list, Default::default());
        assert_eq!(members, user);
        let leases = asked!(client, LeaseClient, lease_leases, pb::LeaseLeasesRequest {});
        assert_eq!(leases, user);
        let grant = pb::LeaseGrantRequest { ttl: 60, id: 0 };
        assert_eq!(asked!(client, LeaseClient, lease_grant, grant), user);
        let ttl = pb::LeaseTimeToLiveRequest { id: 1, keys: false };
        assert_eq!(asked!(client, LeaseClient, lease_time_to_live, ttl), user);

        let hash = asked!(client, MaintenanceClient, hash_kv, pb::HashKvRequest::default());
        assert_eq!(hash, admin);
        let defragment = pb::DefragmentRequest {};
        assert_eq!(asked!(client, MaintenanceClient, defragment, defragment), admin);
        let snapshot = pb::SnapshotRequest {};
        assert_eq!(asked!(client, MaintenanceClient, snapshot, snapshot), admin);
        let users = asked!(client, AuthClient, user_list, pb::AuthUserListRequest {});
        assert_eq!(users, admin);
    }
    let compact = pb::CompactionRequest { revision: 1, physical: false };
    assert_eq!(asked!(&ann, KvClient, compact, compact), denied());
    shutdown(servers).await;
}

/// The code of the answer to an empty message.
async fn raw(client: &Client, path: &'static str) -> Code {
    let mut grpc = tonic::client::Grpc::new(client.channel.clone());
    grpc.ready().await.unwrap();
    let codec = tonic_prost::ProstCodec::<(), ()>::default();
    let request = client.ask(());
    let path = path.parse().unwrap();
    match grpc.server_streaming(request, path, codec).await {
        Err(status) => status.code(),
        Ok(answer) => match answer.into_inner().message().await {
            Err(status) => status.code(),
            Ok(_) => Code::Ok,
        },
    }
}
