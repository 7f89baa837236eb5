//! Tables of flags: what they mean, and what is refused.

use clap::Parser;

use super::*;

#[derive(Debug, Parser)]
struct Line {
    #[command(flatten)]
    flags: ServerFlags,
}

const CLUSTER: &str = "--initial-cluster=a=http://h1:1,b=http://h2:2,c=http://h3:3";

fn check(args: &[&str]) -> Result<ServerConfig, ConfigError> {
    let line = [&["synod"], args].concat();
    Line::try_parse_from(line).expect("flags that exist").flags.check()
}

fn member(args: &[&str]) -> Result<ServerConfig, ConfigError> {
    let base = ["--name=b", CLUSTER, "--initial-advertise-peer-urls=http://h2:2"];
    check(&[&base, args].concat())
}

#[test]
fn defaults_are_etcds() {
    let config = check(&[]).unwrap();
    assert_eq!(config.name, "default");
    assert_eq!(config.data_dir, PathBuf::from("default.etcd"));
    assert_eq!(config.listen_client_urls, [Url::parse("http://localhost:2379").unwrap()]);
    assert_eq!(config.advertise_client_urls, config.listen_client_urls);
    assert_eq!(config.listen_peer_urls, [Url::parse("http://localhost:2380").unwrap()]);
    assert_eq!(config.members.len(), 1);
    assert_eq!(config.members[0].id, config.member_id);
    assert_eq!(config.heartbeat_interval, Duration::from_millis(100));
    assert_eq!(config.election_timeout, Duration::from_millis(1000));
    assert_eq!(config.request_timeout(), Duration::from_secs(7));
}

#[test]
fn members_derive_the_same_ids() {
    let b = member(&[]).unwrap();
    let reordered = "--initial-cluster=c=http://h3:3,a=http://h1:1/,b=http://h2:2";
    let a = check(&["--name=a", reordered, "--initial-advertise-peer-urls=http://h1:1"]).unwrap();
    assert_eq!(a.cluster_id, b.cluster_id);
    assert_eq!(a.members, b.members);
    assert_ne!(a.member_id, b.member_id);
    assert_eq!(b.name_of(a.member_id), "a");

    let other = member(&["--initial-cluster-token=other"]).unwrap();
    assert_ne!(other.cluster_id, b.cluster_id);
    assert_ne!(other.member_id, b.member_id);
}

#[test]
fn ids_are_pinned() {
    let config = member(&[]).unwrap();
    let pinned = (0x98e3_0ddb_643b_fa6a, 0xfcf1_f8e4_cb0a_9069);
    assert_eq!((config.member_id, config.cluster_id), pinned, "data folders depend on them");
}

#[test]
fn what_is_wrong_is_named_with_its_flag() {
    let table: &[(&[&str], &str)] = &[
        (&["--name="], "--name must not be empty, nor contain '=' or ','"),
        (&["--name=x"], "--name \"x\" is not in --initial-cluster, which has "),
        (
            &["--initial-advertise-peer-urls=http://h2:9"],
            "--initial-cluster has b=http://h2:2, but --initial-advertise-peer-urls is \
             http://h2:9: they must be the same",
        ),
        (
            &["--initial-cluster=b=http://h2:2,c=http://h2:2"],
            "--initial-cluster: http://h2:2 is named twice; each member needs a peer URL of its \
             own",
        ),
        (&["--initial-cluster=b"], "--initial-cluster: \"b\" is not NAME=URL"),
        (&["--initial-cluster="], "--initial-cluster: \"\" is not NAME=URL"),
        (
            &["--initial-cluster=b=ftp://h2:2"],
            "--initial-cluster: \"ftp://h2:2\" must begin with http://; no other scheme is known",
        ),
        (
            &["--listen-peer-urls=https://h2:2"],
            "--listen-peer-urls: \"https://h2:2\" must begin with http://; TLS is not built yet",
        ),
        (
            &["--listen-peer-urls=http://h2"],
            "--listen-peer-urls: \"http://h2\" does not have the form http://host:port",
        ),
        (
            &["--listen-peer-urls=http://h2:70000"],
            "--listen-peer-urls: \"http://h2:70000\" does not have the form http://host:port",
        ),
        (
            &["--listen-peer-urls=http://h2:2/path"],
            "--listen-peer-urls: \"http://h2:2/path\" must end after the port",
        ),
        (&["--listen-peer-urls=,"], "--listen-peer-urls has no URL"),
        (
            &["--listen-client-urls=http://h2:3"],
            "--advertise-client-urls is required when --listen-client-urls is set explicitly",
        ),
        (
            &["--initial-cluster-state=old"],
            "--initial-cluster-state \"old\" is neither \"new\" nor \"existing\"",
        ),
        (&["--heartbeat-interval=0"], "--heartbeat-interval must be above 0 ms"),
        (&["--election-timeout=0"], "--election-timeout must be above 0 ms"),
        (
            &["--election-timeout=499"],
            "--election-timeout of 499 ms must be at least 5 times --heartbeat-interval of 100 ms",
        ),
        (&["--election-timeout=50001"], "--election-timeout of 50001 ms must be at most 50000 ms"),
    ];
    for (args, expected) in table {
        let base: Vec<&str> = ["--name=b", CLUSTER, "--initial-advertise-peer-urls=http://h2:2"]
            .into_iter()
            .filter(|arg| {
                let flag = arg.split('=').next();
                !args.iter().any(|given| given.split('=').next() == flag)
            })
            .collect();
        let error = check(&[&base, *args].concat()).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{args:?}: {error}");
    }
}

#[test]
fn addresses_of_version_six_are_understood() {
    let url = Url::parse("http://[::1]:2379").unwrap();
    assert_eq!(
        (url.address().as_str(), url.to_string().as_str()),
        ("[::1]:2379", "http://[::1]:2379")
    );
    assert!(Url::parse("http://::1:2379").is_err());
}
