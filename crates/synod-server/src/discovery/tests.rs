//! Over real UDP, with a name server that knows one zone.

use std::ffi::OsString;

use clap::Parser;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::op::{Message, OpCode, ResponseCode};
use hickory_resolver::proto::rr::rdata::{A, SRV};
use hickory_resolver::proto::rr::{Name, Record, RecordType};
use tokio::net::UdpSocket;

use super::*;
use crate::config::{ServerConfig, ServerFlags};
use crate::flags::Asked;

/// Names and what they are: an address, or hosts and ports.
type Zone = &'static [(&'static str, &'static [(&'static str, u16)])];

const THREE: Zone = &[
    ("_etcd-server._tcp.example.test.", &[("a.test.", 1), ("b.test.", 1), ("c.test.", 2)]),
    ("_etcd-server-ssl-green._tcp.example.test.", &[("a.test.", 3), ("b.test.", 3)]),
    ("_etcd-server._tcp.broken.test.", &[("nowhere.test.", 1)]),
    ("a.test.", &[("127.0.0.1", 0)]),
    ("b.test.", &[("127.0.0.2", 0)]),
    ("c.test.", &[("127.0.0.3", 0)]),
];

fn answer(zone: Zone, question: &[u8]) -> Vec<u8> {
    let question = Message::from_vec(question).unwrap();
    let query = question.queries[0].clone();
    let mut answer = Message::response(question.metadata.id, OpCode::Query);
    answer.metadata.recursion_available = true;
    answer.add_query(query.clone());
    let entry = zone.iter().find(|(name, _)| Name::from_ascii(name).unwrap() == *query.name());
    let Some((_, entries)) = entry else {
        answer.metadata.response_code = ResponseCode::NXDomain;
        return answer.to_vec().unwrap();
    };
    for (host, port) in *entries {
        let data = match (query.query_type(), host.parse()) {
            (RecordType::A, Ok(address)) => RData::A(A(address)),
            (RecordType::SRV, Err(_)) => {
                RData::SRV(SRV::new(0, 0, *port, Name::from_ascii(host).unwrap()))
            }
            _ => continue,
        };
        answer.add_answer(Record::from_rdata(query.name().clone(), 60, data));
    }
    answer.to_vec().unwrap()
}

/// A resolver that asks a server of its own.
async fn resolver(zone: Zone) -> TokioResolver {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let mut server = NameServerConfig::udp(socket.local_addr().unwrap().ip());
    let mut connection = ConnectionConfig::udp();
    connection.port = socket.local_addr().unwrap().port();
    server.connections = vec![connection];
    tokio::spawn(async move {
        let mut question = [0; 1024];
        while let Ok((len, from)) = socket.recv_from(&mut question).await {
            socket.send_to(&answer(zone, &question[..len]), from).await.unwrap();
        }
    });
    let config = ResolverConfig::from_name_servers(vec![server]);
    TokioResolver::builder_with_config(config, TokioRuntimeProvider::default()).build().unwrap()
}

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    flags: ServerFlags,
}

fn settings(words: &[&str]) -> Settings {
    let line = ["synod"].into_iter().chain(words.iter().copied()).map(OsString::from);
    match Line::try_parse_from(line).unwrap().flags.read(&[]).unwrap() {
        Asked::Serve(settings) => *settings,
        asked => panic!("{asked:?}"),
    }
}

async fn found(words: &[&str]) -> Result<ServerConfig, DiscoveryError> {
    let found = discover_with(&resolver(THREE).await, settings(words)).await?;
    Ok(ServerConfig::read(&found).unwrap())
}

#[tokio::test]
async fn all_members_find_the_same_cluster_and_each_itself() {
    let srv = "--discovery-srv=example.test";
    // By address, by name, and by the name that DNS has for the address.
    let advertised = ["http://127.0.0.1:1", "http://b.test:1", "http://127.0.0.3:2"];
    let mut configs = Vec::new();
    for (at, url) in advertised.iter().enumerate() {
        let name = format!("--name=m{at}");
        let listen = format!("--listen-peer-urls=http://127.0.0.1:{}", 10 + at);
        let urls = format!("--initial-advertise-peer-urls={url}");
        configs.push(found(&[srv, &name, &listen, &urls]).await.unwrap());
    }
    let ids = |config: &ServerConfig| config.members.iter().map(|m| m.id).collect::<Vec<_>>();
    assert_eq!(ids(&configs[0]).len(), 3);
    for (at, config) in configs.iter().enumerate() {
        assert_eq!((config.cluster_id, ids(config)), (configs[0].cluster_id, ids(&configs[0])));
        assert_eq!(config.name_of(config.member_id), format!("m{at}"));
    }
    let of: BTreeSet<u64> = configs.iter().map(|config| config.member_id).collect();
    assert_eq!(of.len(), 3);
}

#[tokio::test]
async fn records_of_a_named_service_with_tls() {
    let words = [
        "--discovery-srv=example.test.",
        "--discovery-srv-name=green",
        "--initial-advertise-peer-urls=https://b.test:3",
    ];
    let found = discover_with(&resolver(THREE).await, settings(&words)).await.unwrap();
    let cluster = "a.test:3=https://a.test:3,default=https://b.test:3";
    assert_eq!(found.text("initial-cluster"), cluster);
}

#[tokio::test]
async fn what_is_not_found_is_told_with_where_it_was_looked_for() {
    let url = "--initial-advertise-peer-urls=http://127.0.0.1:1";
    for (words, reason) in [
        (
            &["--discovery-srv=other.test", url][..],
            "no members at _etcd-server-ssl._tcp.other.test.",
        ),
        (&["--discovery-srv=broken.test", url], "names nowhere.test, whose address is not found"),
        (
            &["--discovery-srv=example.test", "--initial-advertise-peer-urls=http://127.0.0.9:1"],
            "it advertises http://127.0.0.9:1 in --initial-advertise-peer-urls, and DNS names \
             http://a.test:1, http://b.test:1, http://c.test:2",
        ),
        (
            &["--discovery-srv=example.test", "--initial-advertise-peer-urls=https://a.test:1"],
            "DNS names http://a.test:1, which is this member, but it advertises https://a.test:1",
        ),
        (
            &["--discovery-srv=example.test", "--initial-cluster=default=http://127.0.0.1:1", url],
            "multiple discovery or bootstrap flags are set.",
        ),
    ] {
        let error = discover_with(&resolver(THREE).await, settings(words)).await.unwrap_err();
        let said = error.to_string();
        assert!(said.contains(reason), "{said}");
    }
}

#[tokio::test]
async fn without_the_flag_nothing_is_asked() {
    let given = settings(&["--name=m"]);
    assert_eq!(discover(given.clone()).await.unwrap(), given);
}
