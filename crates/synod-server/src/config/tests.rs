//! Tables of flags: what they mean, and what is refused.

use clap::Parser;

use super::*;

const WEEKLY: &str = "unknown auto-compaction-mode \"weekly\"";

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
fn ids_are_etcds() {
    // As etcd 3.6.14 says them for the same flags; data folders depend on them.
    let ids = |config: ServerConfig| (config.member_id, config.cluster_id);
    let alone = (0x8e9e_05c5_2164_694d, 0xcdf8_1819_4e3a_8c32);
    assert_eq!(ids(check(&[]).unwrap()), alone);
    assert_eq!(ids(member(&[]).unwrap()), (0x9c0d_6fd0_26bc_c7e9, 0x0dab_306a_acc1_b1c0));
    let two = "--initial-cluster=default=http://h2:2,default=http://h1:1";
    let urls = "--initial-advertise-peer-urls=http://h1:1,http://h2:2";
    let of_two_urls = (0xffbc_34b2_b6dd_fa5e, 0xd7d4_6db6_e2aa_0f19);
    assert_eq!(ids(check(&[two, urls]).unwrap()), of_two_urls);
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
            "--initial-cluster: URL scheme must be http, https, unix, or unixs: ftp://h2:2",
        ),
        (
            &["--initial-cluster=b=http://h2:2,c=https://h3:3"],
            "--initial-cluster mixes http:// and https:// (http://h2:2 and https://h3:3)",
        ),
        (
            &["--initial-cluster=b=unix://x", "--initial-advertise-peer-urls=unix://x"],
            "--initial-cluster: unix://x: members talk over TCP",
        ),
        (
            &["--listen-peer-urls=https://127.0.0.1:2"],
            "--listen-peer-urls has https://127.0.0.1:2, but there is no certificate: give \
             --peer-cert-file and --peer-key-file, or --peer-auto-tls",
        ),
        (
            &["--listen-metrics-urls=https://127.0.0.1:2"],
            "client TLS key/cert (--cert-file, --key-file) must be provided for metrics secure url",
        ),
        (&["--listen-peer-urls=http://h2:70000"], "invalid value \"http://h2:70000\" for flag"),
        (&["--listen-peer-urls=http://h2:2"], "expected IP in URL for binding (http://h2:2)"),
        (&["--listen-peer-urls=,"], "--listen-peer-urls has no URL"),
        (
            &["--listen-client-urls=http://127.0.0.1:3"],
            "--advertise-client-urls is required when --listen-client-urls is set explicitly",
        ),
        (&["--heartbeat-interval=0"], "--heartbeat-interval must be >0 (set to 0ms)"),
        (&["--election-timeout=0"], "--election-timeout must be >0 (set to 0ms)"),
        (
            &["--election-timeout=499"],
            "--election-timeout[499ms] should be at least as 5 times as \
             --heartbeat-interval[100ms]",
        ),
        (
            &["--election-timeout=50001"],
            "--election-timeout[50001ms] is too long, and should be set less than 50000ms",
        ),
        (&["--auto-compaction-mode=weekly", "--auto-compaction-retention=1"], WEEKLY),
        (
            &["--auto-compaction-mode=revision", "--auto-compaction-retention=1h"],
            "error parsing CompactionRetention: \"1h\" is no number of revisions from 0",
        ),
        (&["--auth-token=magic"], "auth: invalid auth options"),
        (&["--auth-token=jwt,sign-method"], "auth: invalid auth options"),
        (&["--auth-token=jwt,ttl=1s,ttl=2s"], "auth: invalid auth options"),
        (&["--bcrypt-cost=32"], "--bcrypt-cost is 32, but must be from 4 to 31"),
        (&["--max-request-bytes=0"], "--max-request-bytes is 0, but must be from 1 to 12582912"),
        (&["--tls-min-version=TLS1.1"], "unexpected TLS version \"TLS1.1\" (must be one of: "),
        (
            &["--tls-min-version=TLS1.3", "--tls-max-version=TLS1.2"],
            "min version (TLS1.3) is greater than max version (TLS1.2)",
        ),
        (
            &["--tls-min-version=TLS1.3", "--cipher-suites=TLS_AES_128_GCM_SHA256"],
            "cipher suites cannot be configured when only TLS1.3 is enabled",
        ),
        (&["--cipher-suites=X"], "unexpected TLS cipher suite \"X\""),
        (&["--cert-file=c"], "--cert-file needs --key-file"),
        (&["--peer-key-file=k"], "--peer-key-file needs --peer-cert-file"),
        (
            &["--cert-file=c", "--key-file=k", "--client-cert-auth"],
            "--client-cert-auth needs --trusted-ca-file",
        ),
        (
            &["--peer-cert-file=c", "--peer-key-file=k", "--peer-cert-allowed-cn=a"],
            "--peer-cert-allowed-cn needs --peer-trusted-ca-file",
        ),
        (&["--client-crl-file=c"], "--client-crl-file needs --trusted-ca-file"),
        (
            &[
                "--peer-cert-allowed-cn=a",
                "--peer-cert-allowed-hostname=b",
                "--peer-trusted-ca-file=c",
            ],
            "--peer-cert-allowed-cn and --peer-cert-allowed-hostname are mutually exclusive",
        ),
        (&["--self-signed-cert-validity=0"], "--self-signed-cert-validity is 0, but must be from"),
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

#[test]
fn unix_sockets_are_addresses_of_clients() {
    let url = Url::parse("unixs:///run/synod.sock").unwrap();
    assert_eq!(url.address(), "/run/synod.sock");
    assert_eq!(url.to_string(), "unixs:///run/synod.sock");
    assert!(url.is_unix() && url.is_tls() && Url::parse("unix://").is_err());
}

/// GHSA-pm3m-32r3-7mfh and its kin: a negative retention made etcd compact without end, or end.
#[test]
fn negative_compaction_retention_is_refused() {
    for retention in ["-1", "-1h", "-0.5s"] {
        for mode in ["periodic", "revision"] {
            let error = check(&[
                &format!("--auto-compaction-retention={retention}"),
                &format!("--auto-compaction-mode={mode}"),
            ]);
            let error = error.unwrap_err().to_string();
            assert!(error.starts_with("error parsing CompactionRetention: "), "{error}");
        }
    }
    let mode = |flags: &[&str]| check(flags).unwrap().space.auto_compaction;
    assert_eq!(mode(&[]), AutoCompaction::Off);
    let hours = |hours: u64| AutoCompaction::Periodic(Duration::from_secs(hours * 3600));
    assert_eq!(mode(&["--auto-compaction-retention=2"]), hours(2));
    assert_eq!(mode(&["--auto-compaction-retention=1h"]), hours(1));
    let revisions = ["--auto-compaction-mode=revision", "--auto-compaction-retention=1000"];
    assert_eq!(mode(&revisions), AutoCompaction::Revisions(1000));
}

/// GHSA-5x4g-q5rc-36jp: etcd let weak cipher suites be selected.
#[test]
fn weak_cipher_suites_are_refused() {
    for weak in [
        "TLS_RSA_WITH_AES_128_GCM_SHA256",
        "TLS_RSA_WITH_RC4_128_SHA",
        "TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA",
        "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256",
        "TLS_ECDHE_ECDSA_WITH_RC4_128_SHA",
    ] {
        let good = "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256";
        let error = check(&[&format!("--cipher-suites={good},{weak}")]).unwrap_err();
        assert_eq!(error, ConfigError::WeakCipher { name: weak.to_owned() });
        check(&[&format!("--cipher-suites={good}")]).unwrap();
    }
}

#[test]
fn sections_are_read_for_their_readers() {
    let config = check(&[
        "--quota-backend-bytes=-1",
        "--max-txn-ops=7",
        "--max-request-bytes=1000",
        "--grpc-keepalive-interval=0s",
        "--cors=https://a,https://b",
        "--metrics=extensive",
        "--auth-token=jwt,sign-method=RS256,ttl=10m",
        "--auth-token-ttl=60",
        "--watch-progress-notify-interval=1m30s",
        "--socket-reuse-port",
    ])
    .unwrap();
    assert_eq!(config.space.quota_bytes, None);
    assert_eq!(
        (config.limits.request.txn_ops_max, config.limits.request.request_bytes_max),
        (7, 1000)
    );
    assert_eq!(config.limits.keep_alive_interval, None);
    assert_eq!(config.http.cors.as_deref(), Some(&["https://a".into(), "https://b".into()][..]));
    assert!(config.http.extensive_metrics && config.http.host_whitelist.is_none());
    let AuthToken::Jwt(options) = &config.auth.token else { panic!("{:?}", config.auth) };
    assert_eq!((options["sign-method"].as_str(), options["ttl"].as_str()), ("RS256", "10m"));
    assert_eq!(config.auth.token_ttl, Duration::from_secs(60));
    assert_eq!(config.pace.watch_progress_interval, Duration::from_secs(90));
    assert!(config.sockets.reuse_port && !config.sockets.reuse_address);
    let config = check(&[]).unwrap();
    assert_eq!((config.space.quota_bytes, config.log_keep_bytes), (Some(2 << 30), 512 << 20));
    assert!(config.space.quota_is_default && config.log_keep_is_default);
    let chosen = ["--quota-backend-bytes=2147483648", "--log-keep-bytes=536870912"];
    let config = check(&chosen).unwrap();
    assert!(!config.space.quota_is_default && !config.log_keep_is_default);
    assert_eq!(crate::disk_space::fit(config.clone()), config, "what was chosen stays");
}

#[test]
fn the_comparison_at_the_start_has_a_flag_and_a_gate() {
    let wants = |args: &[&str]| check(args).map(|config| config.initial_corrupt_check);
    assert_eq!(wants(&[]), Ok(false));
    assert_eq!(wants(&["--experimental-initial-corrupt-check"]), Ok(true));
    assert_eq!(wants(&["--feature-gates=LeaseCheckpoint=true"]), Ok(false));
    assert_eq!(wants(&["--feature-gates=LeaseCheckpoint=true,InitialCorruptCheck=true"]), Ok(true));
    let word = "InitialCorruptCheck=yes".to_owned();
    let refused = Err(ConfigError::FeatureGate { word });
    assert_eq!(wants(&["--feature-gates=InitialCorruptCheck=yes"]), refused);
}
