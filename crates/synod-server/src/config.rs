//! What the flags say, and what it means.
//!
//! [`ServerFlags`] is the text of a command line; [`Settings`] are flags wherever they came from;
//! [`ServerConfig`] is checked once, in [`ServerConfig::read`], and cannot be inconsistent
//! afterwards.
//!
//! Ids are derived, as etcd derives them, so that members need not agree on them by hand: that of
//! a member from its peer URLs and the cluster's token, that of the cluster from those of its
//! members. (The hash is BLAKE3 where etcd's is SHA-1; the ids differ from etcd's, as they may.)

mod cluster;
mod error;
mod restored;
mod sections;
mod tls;
mod url;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

pub use cluster::MemberConfig;
pub use error::ConfigError;
pub use restored::RestoredMember;
pub use sections::{
    AuthConfig, AuthToken, AutoCompaction, HttpConfig, LimitsConfig, LogConfig, LogFormat,
    LogOutput, PaceConfig, RangeLimits, SpaceConfig,
};
pub use tls::{TlsConfig, TlsFiles, TlsVersions};
pub use url::{Url, UrlError};

use crate::flags::{self, Asked, FlagError, INITIAL_CORRUPT_CHECK, Settings};

/// The words of a server's command line, as etcd takes them.
#[derive(Clone, Debug, clap::Args)]
#[command(disable_help_flag = true)]
pub struct ServerFlags {
    /// etcd's flags; `--help` lists them.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "FLAGS")]
    words: Vec<OsString>,
}

/// A checked configuration.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ServerConfig {
    /// Name of this member.
    pub name: String,
    /// Folder of its data.
    pub data_dir: PathBuf,
    /// Where clients are served.
    pub listen_client_urls: Vec<Url>,
    /// Where clients are told to go.
    pub advertise_client_urls: Vec<Url>,
    /// Where peers are served.
    pub listen_peer_urls: Vec<Url>,
    /// All members, this one among them, by id.
    pub members: Vec<MemberConfig>,
    /// This member's id.
    pub member_id: u64,
    /// The cluster's id.
    pub cluster_id: u64,
    /// Whether the cluster is new.
    pub cluster_state: ClusterState,
    /// Whether changes of members that would cost the quorum are refused.
    pub strict_reconfig_check: bool,
    /// Whether a member compares its data with the others' before it serves.
    pub initial_corrupt_check: bool,
    /// Whether members whose data differ raise an alarm; not if it is no time.
    pub corrupt_check_time: Duration,
    /// How often members say that they are there.
    pub heartbeat_interval: Duration,
    /// Silence after which a leader counts as gone.
    pub election_timeout: Duration,
    /// Bytes of the log that are kept for members that lag; beyond, they get a snapshot.
    pub log_keep_bytes: u64,
    /// Whether nobody chose that: then it is less on a small disk.
    pub log_keep_is_default: bool,
    /// How listeners take their ports.
    pub sockets: SocketConfig,
    /// What the store may hold.
    pub space: SpaceConfig,
    /// How callers prove who they are.
    pub auth: AuthConfig,
    /// What is served beside gRPC.
    pub http: HttpConfig,
    /// What clients may cost.
    pub limits: LimitsConfig,
    /// What takes long.
    pub pace: PaceConfig,
    /// TLS.
    pub tls: TlsConfig,
}

/// How listeners take their ports.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct SocketConfig {
    /// Others may listen on the same port.
    pub reuse_port: bool,
    /// The port may be in its last moments of an earlier life.
    pub reuse_address: bool,
}

/// What a member without data may do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ClusterState {
    /// Found the cluster together with the others.
    New,
    /// Nothing: it must have data.
    Existing,
}

impl ServerFlags {
    /// What the words and the environment ask for.
    ///
    /// # Errors
    /// If they make no sense.
    pub fn read(&self, environment: &[(String, String)]) -> Result<Asked, FlagError> {
        flags::read(&self.words, environment)
    }

    /// Makes sense of the words alone, without an environment.
    ///
    /// # Errors
    /// If there is none.
    pub fn check(&self) -> Result<ServerConfig, ConfigError> {
        match self.read(&[]) {
            Ok(Asked::Serve(settings)) => ServerConfig::read(&settings),
            Ok(Asked::Help | Asked::Version) => {
                Err(ConfigError::Flags("no server is asked for".to_owned()))
            }
            Err(error) => Err(ConfigError::Flags(error.to_string())),
        }
    }
}

impl ServerConfig {
    /// Makes sense of the settings.
    ///
    /// # Errors
    /// If there is none.
    pub fn read(settings: &Settings) -> Result<Self, ConfigError> {
        let listen_peer_urls = urls(settings, "listen-peer-urls")?;
        let listen_client_urls = urls(settings, "listen-client-urls")?;
        let http = HttpConfig::read(settings);
        let clients = [
            ("listen-client-urls", listen_client_urls.as_slice()),
            ("listen-client-http-urls", &http.listen_http_urls),
            ("listen-metrics-urls", &http.listen_metrics_urls),
        ];
        let listening = listen_peer_urls.iter().chain(clients.iter().flat_map(|(_, urls)| *urls));
        if let Some(url) = listening.into_iter().find(|url| !url.can_be_bound()) {
            return Err(ConfigError::NotAnIp { url: url.to_string() });
        }
        let tls = TlsConfig::read(settings)?;
        tls.check_listeners(&clients, &[("listen-peer-urls", &listen_peer_urls)])?;

        let name = settings.text("name").to_owned();
        if name.is_empty() || name.contains(['=', ',']) {
            return Err(ConfigError::BadName);
        }
        let advertised = urls(settings, "initial-advertise-peer-urls")?;
        let token = settings.text("initial-cluster-token");
        let members = match settings.text("initial-cluster") {
            "" if !settings.is_set("initial-cluster") => cluster::alone(&name, &advertised, token),
            text => cluster::parse(text, token)?,
        };
        let me = cluster::find(&members, &name, &advertised)?;
        check_peers(&listen_peer_urls, &members)?;
        let (heartbeat_interval, election_timeout) = times(settings)?;
        // As in etcd, last of all.
        if settings.is_set("listen-client-urls") && !settings.is_set("advertise-client-urls") {
            return Err(ConfigError::AdvertiseClientUrlsRequired);
        }
        let data_dir = settings.path("data-dir").unwrap_or_else(|| format!("{name}.etcd").into());
        Ok(Self {
            data_dir,
            advertise_client_urls: urls(settings, "advertise-client-urls")?,
            member_id: me.id,
            cluster_id: cluster::cluster_id(&members),
            cluster_state: match settings.text("initial-cluster-state") {
                "new" => ClusterState::New,
                _ => ClusterState::Existing,
            },
            initial_corrupt_check: initial_corrupt_check(settings)?,
            corrupt_check_time: settings.duration("corrupt-check-time"),
            strict_reconfig_check: settings.bool("strict-reconfig-check"),
            log_keep_bytes: settings.uint("log-keep-bytes"),
            log_keep_is_default: !settings.is_set("log-keep-bytes"),
            sockets: SocketConfig {
                reuse_port: settings.bool("socket-reuse-port"),
                reuse_address: settings.bool("socket-reuse-address"),
            },
            space: SpaceConfig::read(settings)?,
            auth: AuthConfig::read(settings)?,
            limits: LimitsConfig::read(settings)?,
            pace: PaceConfig::read(settings),
            name,
            listen_client_urls,
            listen_peer_urls,
            members,
            heartbeat_interval,
            election_timeout,
            http,
            tls,
        })
    }

    /// After this a request that found no answer is refused: etcd's 5 s and two elections.
    #[must_use]
    pub fn request_timeout(&self) -> Duration {
        Duration::from_secs(5) + 2 * self.election_timeout
    }

    /// So long without a leader, and a member counts as cut off: three elections, as in etcd.
    pub(crate) fn without_leader_after(&self) -> Duration {
        3 * self.election_timeout
    }

    /// What the cluster calls a member; its id if it has no such member.
    #[must_use]
    pub fn name_of(&self, id: u64) -> String {
        let member = self.members.iter().find(|member| member.id == id);
        member.map_or_else(|| format!("{id:x}"), |member| member.name.clone())
    }
}

/// By the flag of etcd 3.5, or by the gate that it is in 3.6.
fn initial_corrupt_check(settings: &Settings) -> Result<bool, ConfigError> {
    let mut wanted = settings.bool("experimental-initial-corrupt-check");
    for word in settings.words("feature-gates") {
        let (gate, value) = word.split_once('=').unwrap_or((&word, ""));
        let value = value.parse().map_err(|_| ConfigError::FeatureGate { word: word.clone() })?;
        if gate == INITIAL_CORRUPT_CHECK {
            wanted = value;
        }
    }
    Ok(wanted)
}

fn times(settings: &Settings) -> Result<(Duration, Duration), ConfigError> {
    let heartbeat = settings.uint("heartbeat-interval");
    let election = settings.uint("election-timeout");
    if heartbeat == 0 {
        return Err(ConfigError::ZeroTime { flag: "heartbeat-interval" });
    }
    if election == 0 {
        return Err(ConfigError::ZeroTime { flag: "election-timeout" });
    }
    if election / 5 < heartbeat {
        return Err(ConfigError::ElectionTooShort { election, heartbeat });
    }
    if election > ELECTION_TIMEOUT_MAX_MS {
        return Err(ConfigError::ElectionTooLong { election });
    }
    Ok((Duration::from_millis(heartbeat), Duration::from_millis(election)))
}

/// Members talk over TCP, and all with TLS or all without.
fn check_peers(listen: &[Url], members: &[MemberConfig]) -> Result<(), ConfigError> {
    let of_members: Vec<&Url> = members.iter().flat_map(|member| &member.peer_urls).collect();
    let unix = |flag| move |url: &Url| ConfigError::UnixPeer { flag, url: url.to_string() };
    if let Some(url) = listen.iter().find(|url| url.is_unix()) {
        return Err(unix("listen-peer-urls")(url));
    }
    if let Some(url) = of_members.iter().find(|url| url.is_unix()) {
        return Err(unix("initial-cluster")(url));
    }
    let tls = of_members.iter().find(|url| url.is_tls());
    match (of_members.iter().find(|url| !url.is_tls()), tls) {
        (Some(http), Some(https)) => {
            Err(ConfigError::MixedPeers { http: http.to_string(), https: https.to_string() })
        }
        _ => Ok(()),
    }
}

/// The URLs of a flag that must have some.
fn urls(settings: &Settings, flag: &'static str) -> Result<Vec<Url>, ConfigError> {
    let urls = settings.urls(flag);
    if urls.is_empty() { Err(ConfigError::NoUrl { flag }) } else { Ok(urls) }
}

const ELECTION_TIMEOUT_MAX_MS: u64 = 50_000;

#[cfg(test)]
mod tests;
