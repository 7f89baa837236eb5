//! Why a configuration is refused: in etcd's words where it has some.

use std::path::PathBuf;

use super::ELECTION_TIMEOUT_MAX_MS;
use super::url::UrlError;

/// Why a configuration is refused.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ConfigError {
    /// The words are no flags.
    #[error("{0}")]
    Flags(String),
    /// A gate is neither open nor closed.
    #[error("invalid value for --feature-gates: {word}: expected NAME=true or NAME=false")]
    FeatureGate {
        /// What is said of it.
        word: String,
    },
    /// No name.
    #[error("--name must not be empty, nor contain '=' or ','")]
    BadName,
    /// A URL is wrong.
    #[error("--{flag}: {reason}")]
    Url {
        /// The flag.
        flag: &'static str,
        /// What is wrong.
        reason: UrlError,
    },
    /// A flag with URLs has none.
    #[error("--{flag} has no URL")]
    NoUrl {
        /// The flag.
        flag: &'static str,
    },
    /// A name would have to be looked up to listen on it.
    #[error("expected IP in URL for binding ({url})")]
    NotAnIp {
        /// The URL.
        url: String,
    },
    /// Members find each other over the network.
    #[error("--{flag}: {url}: members talk over TCP, not over unix sockets")]
    UnixPeer {
        /// The flag.
        flag: &'static str,
        /// The URL.
        url: String,
    },
    /// etcd asks for it, since the default would be wrong.
    #[error("--advertise-client-urls is required when --listen-client-urls is set explicitly")]
    AdvertiseClientUrlsRequired,
    /// Part of the initial cluster is not NAME=URL.
    #[error("--initial-cluster: {part:?} is not NAME=URL")]
    BadInitialCluster {
        /// The part.
        part: String,
    },
    /// This member is not in the initial cluster.
    #[error(
        "--name {name:?} is not in --initial-cluster, which has {}", known.join(", ")
    )]
    NameNotInCluster {
        /// The name.
        name: String,
        /// The names there are.
        known: Vec<String>,
    },
    /// Two members share a URL.
    #[error("--initial-cluster: {url} is named twice; each member needs a peer URL of its own")]
    DuplicateUrl {
        /// The URL.
        url: String,
    },
    /// The others would look for this member elsewhere.
    #[error(
        "--initial-cluster has {name}={in_cluster}, but --initial-advertise-peer-urls is \
         {advertised}: they must be the same"
    )]
    AdvertiseMismatch {
        /// This member.
        name: String,
        /// Its URLs in the initial cluster.
        in_cluster: String,
        /// Its advertised URLs.
        advertised: String,
    },
    /// No time.
    #[error("--{flag} must be >0 (set to 0ms)")]
    ZeroTime {
        /// The flag.
        flag: &'static str,
    },
    /// Elections would start while the leader lives.
    #[error(
        "--election-timeout[{election}ms] should be at least as 5 times as \
         --heartbeat-interval[{heartbeat}ms]"
    )]
    ElectionTooShort {
        /// The election timeout.
        election: u64,
        /// The heartbeat interval.
        heartbeat: u64,
    },
    /// A cluster would stand still for that long.
    #[error(
        "--election-timeout[{election}ms] is too long, and should be set less than \
         {ELECTION_TIMEOUT_MAX_MS}ms"
    )]
    ElectionTooLong {
        /// The election timeout.
        election: u64,
    },
    /// Neither periodic nor revision.
    #[error("unknown auto-compaction-mode {mode:?}")]
    CompactionMode {
        /// The mode.
        mode: String,
    },
    /// Neither a time nor a number.
    #[error(
        "error parsing CompactionRetention: {text:?} is no {wanted} from 0: --auto-compaction-mode \
         is {mode}"
    )]
    CompactionRetention {
        /// The text.
        text: String,
        /// What it should be.
        wanted: &'static str,
        /// The mode.
        mode: &'static str,
    },
    /// A number beyond its bounds.
    #[error("--{flag} is {value}, but must be from {min} to {max}")]
    OutOfBounds {
        /// The flag.
        flag: &'static str,
        /// Its value.
        value: u64,
        /// The least it may be.
        min: u64,
        /// The most it may be.
        max: u64,
    },
    /// No such kind of token.
    #[error("auth: invalid auth options: --auth-token is {text:?}, not simple or jwt,NAME=VALUE,…")]
    AuthToken {
        /// The text.
        text: String,
    },
    /// No such level of logs.
    #[error("unrecognized level: {level:?}")]
    LogLevel {
        /// The level.
        level: String,
    },
    /// No such version.
    #[error("unexpected TLS version {version:?} (must be one of: TLS1.2, TLS1.3)")]
    TlsVersion {
        /// The version.
        version: String,
    },
    /// None is between them.
    #[error("min version ({min}) is greater than max version ({max})")]
    TlsVersions {
        /// The lowest.
        min: &'static str,
        /// The highest.
        max: &'static str,
    },
    /// TLS 1.3 has its own.
    #[error("cipher suites cannot be configured when only TLS1.3 is enabled")]
    CiphersOfTls13,
    /// No such cipher suite.
    #[error("unexpected TLS cipher suite {name:?}")]
    UnknownCipher {
        /// Its name.
        name: String,
    },
    /// A cipher suite that can be broken.
    #[error("TLS cipher suite {name:?} is weak: name suites with ECDHE and GCM or CHACHA20 only")]
    WeakCipher {
        /// Its name.
        name: String,
    },
    /// Half of a pair.
    #[error("--{given} needs --{missing}: a certificate and its key belong together")]
    HalfPair {
        /// The flag that is given.
        given: &'static str,
        /// The one that is not.
        missing: &'static str,
    },
    /// Metrics over TLS without a certificate, in etcd's words.
    #[error(
        "client TLS key/cert (--cert-file, --key-file) must be provided for metrics secure url"
    )]
    NoMetricsCertificate,
    /// A TLS listener without a certificate.
    #[error(
        "--{flag} has {url}, but there is no certificate: give --{cert} and --{key}, or --{auto}"
    )]
    NoCertificate {
        /// The flag with the URL.
        flag: &'static str,
        /// The URL.
        url: String,
        /// How to give a certificate.
        cert: &'static str,
        /// How to give its key.
        key: &'static str,
        /// How to have one made.
        auto: &'static str,
    },
    /// Somebody is to be verified, and there is nothing to do it by.
    #[error("--{flag} needs --{ca}: without a CA there is nothing to verify certificates by")]
    NoCa {
        /// The flag that asks for it.
        flag: &'static str,
        /// How to give one.
        ca: &'static str,
    },
    /// One of the two would count for nothing.
    #[error("--{one} and --{other} are mutually exclusive")]
    Exclusive {
        /// One flag.
        one: &'static str,
        /// The other.
        other: &'static str,
    },
    /// Some members would be reached with TLS and some without.
    #[error("--initial-cluster mixes http:// and https:// ({http} and {https}): all or none")]
    MixedPeers {
        /// One of the first kind.
        http: String,
        /// One of the other.
        https: String,
    },
    /// A log file is no place for that.
    #[error("--log-outputs: {} is named twice", path.display())]
    LogOutput {
        /// The file.
        path: PathBuf,
    },
}
