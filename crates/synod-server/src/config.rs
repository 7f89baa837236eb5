//! What the command line says, in etcd's words, and what it means.
//!
//! [`ServerFlags`] is the text; [`ServerConfig`] is checked once, in [`ServerFlags::check`], and
//! cannot be inconsistent afterwards.
//!
//! Ids are derived, as etcd derives them, so that members need not agree on them by hand: that of
//! a member from its peer URLs and the cluster's token, that of the cluster from those of its
//! members. (The hash is BLAKE3 where etcd's is SHA-1; the ids differ from etcd's, as they may.)

mod cluster;
mod url;

use std::path::PathBuf;
use std::time::Duration;

pub use cluster::MemberConfig;
pub use url::{Url, UrlError};

/// The flags of a server: etcd's names, defaults and environment.
#[derive(Clone, Debug, clap::Args)]
pub struct ServerFlags {
    /// Name of this member, as in --initial-cluster.
    #[arg(long, env = "ETCD_NAME", default_value = "default")]
    pub name: String,
    /// Folder of this member's data [default: NAME.etcd].
    #[arg(long, env = "ETCD_DATA_DIR")]
    pub data_dir: Option<PathBuf>,
    /// URLs to listen on for clients [default: http://localhost:2379].
    #[arg(long, env = "ETCD_LISTEN_CLIENT_URLS")]
    pub listen_client_urls: Option<String>,
    /// URLs that clients are told [default: http://localhost:2379].
    #[arg(long, env = "ETCD_ADVERTISE_CLIENT_URLS")]
    pub advertise_client_urls: Option<String>,
    /// URLs to listen on for other members.
    #[arg(long, env = "ETCD_LISTEN_PEER_URLS", default_value = DEFAULT_PEER_URL)]
    pub listen_peer_urls: String,
    /// URLs under which the other members find this one.
    #[arg(long, env = "ETCD_INITIAL_ADVERTISE_PEER_URLS", default_value = DEFAULT_PEER_URL)]
    pub initial_advertise_peer_urls: String,
    /// All members: NAME=PEER_URL, separated by commas [default: this member alone].
    #[arg(long, env = "ETCD_INITIAL_CLUSTER")]
    pub initial_cluster: Option<String>,
    /// Whether the cluster is "new" or "existing".
    #[arg(long, env = "ETCD_INITIAL_CLUSTER_STATE", default_value = "new")]
    pub initial_cluster_state: String,
    /// Tells clusters apart that are made of the same URLs.
    #[arg(long, env = "ETCD_INITIAL_CLUSTER_TOKEN", default_value = "etcd-cluster")]
    pub initial_cluster_token: String,
    /// Milliseconds between heartbeats.
    #[arg(long, env = "ETCD_HEARTBEAT_INTERVAL", default_value_t = 100)]
    pub heartbeat_interval: u64,
    /// Milliseconds of silence after which a leader counts as gone.
    #[arg(long, env = "ETCD_ELECTION_TIMEOUT", default_value_t = 1000)]
    pub election_timeout: u64,
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
    /// How often members say that they are there.
    pub heartbeat_interval: Duration,
    /// Silence after which a leader counts as gone.
    pub election_timeout: Duration,
}

/// What a member without data may do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ClusterState {
    /// Found the cluster together with the others.
    New,
    /// Nothing: it must have data.
    Existing,
}

/// Why a configuration is refused.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ConfigError {
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
    /// Neither new nor existing.
    #[error("--initial-cluster-state {found:?} is neither \"new\" nor \"existing\"")]
    BadClusterState {
        /// What it is.
        found: String,
    },
    /// No time.
    #[error("--{flag} must be above 0 ms")]
    ZeroTime {
        /// The flag.
        flag: &'static str,
    },
    /// Elections would start while the leader lives.
    #[error(
        "--election-timeout of {election} ms must be at least 5 times --heartbeat-interval of \
         {heartbeat} ms"
    )]
    ElectionTooShort {
        /// The election timeout.
        election: u64,
        /// The heartbeat interval.
        heartbeat: u64,
    },
    /// A cluster would stand still for that long.
    #[error("--election-timeout of {election} ms must be at most {ELECTION_TIMEOUT_MAX_MS} ms")]
    ElectionTooLong {
        /// The election timeout.
        election: u64,
    },
}

impl ServerFlags {
    /// Makes sense of the flags.
    ///
    /// # Errors
    /// If there is none.
    pub fn check(&self) -> Result<ServerConfig, ConfigError> {
        if self.name.is_empty() || self.name.contains(['=', ',']) {
            return Err(ConfigError::BadName);
        }
        if self.listen_client_urls.is_some() && self.advertise_client_urls.is_none() {
            return Err(ConfigError::AdvertiseClientUrlsRequired);
        }
        let client_urls =
            |flag, text: &Option<String>| urls(flag, text.as_deref().unwrap_or(DEFAULT_CLIENT_URL));
        let advertised = urls("initial-advertise-peer-urls", &self.initial_advertise_peer_urls)?;
        let members = match &self.initial_cluster {
            Some(text) => cluster::parse(text, &self.initial_cluster_token)?,
            None => cluster::alone(&self.name, &advertised, &self.initial_cluster_token),
        };
        let me = cluster::find(&members, &self.name, &advertised)?;
        let (heartbeat_interval, election_timeout) = self.times()?;
        Ok(ServerConfig {
            name: self.name.clone(),
            data_dir: self.data_dir.clone().unwrap_or_else(|| format!("{}.etcd", self.name).into()),
            listen_client_urls: client_urls("listen-client-urls", &self.listen_client_urls)?,
            advertise_client_urls: client_urls(
                "advertise-client-urls",
                &self.advertise_client_urls,
            )?,
            listen_peer_urls: urls("listen-peer-urls", &self.listen_peer_urls)?,
            member_id: me.id,
            cluster_id: cluster::cluster_id(&members),
            members,
            cluster_state: self.state()?,
            heartbeat_interval,
            election_timeout,
        })
    }

    fn state(&self) -> Result<ClusterState, ConfigError> {
        match self.initial_cluster_state.as_str() {
            "new" => Ok(ClusterState::New),
            "existing" => Ok(ClusterState::Existing),
            found => Err(ConfigError::BadClusterState { found: found.to_owned() }),
        }
    }

    fn times(&self) -> Result<(Duration, Duration), ConfigError> {
        let (heartbeat, election) = (self.heartbeat_interval, self.election_timeout);
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
}

impl ServerConfig {
    /// After this a request that found no answer is refused: etcd's 5 s and two elections.
    #[must_use]
    pub fn request_timeout(&self) -> Duration {
        Duration::from_secs(5) + 2 * self.election_timeout
    }

    /// What the cluster calls a member; its id if it has no such member.
    #[must_use]
    pub fn name_of(&self, id: u64) -> String {
        let member = self.members.iter().find(|member| member.id == id);
        member.map_or_else(|| format!("{id:x}"), |member| member.name.clone())
    }
}

fn urls(flag: &'static str, text: &str) -> Result<Vec<Url>, ConfigError> {
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    let urls = parts
        .map(|part| Url::parse(part).map_err(|reason| ConfigError::Url { flag, reason }))
        .collect::<Result<Vec<_>, _>>()?;
    if urls.is_empty() { Err(ConfigError::NoUrl { flag }) } else { Ok(urls) }
}

const DEFAULT_CLIENT_URL: &str = "http://localhost:2379";
const DEFAULT_PEER_URL: &str = "http://localhost:2380";
const ELECTION_TIMEOUT_MAX_MS: u64 = 50_000;

#[cfg(test)]
mod tests;
