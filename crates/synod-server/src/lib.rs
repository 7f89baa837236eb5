//! The server: a member of a cluster with etcd's face.
//!
//! ```text
//!   clients ─▶ listener ─▶ service ─▶ Handle ─▶ driver ─▶ log
//!              (HTTP/1, 2)  (gRPC)      │         │  ▲
//!                                       │         │  └─▶ transport ◀─▶ peers
//!                                       ▼         ▼
//!                                    Reader ◀── Store ──▶ flusher ──▶ engine (redb)
//! ```
//!
//! Reading order:
//!
//! 1. `flags`, [`ServerFlags`] and [`ServerConfig`]: what the flags say, and what it means;
//!    [`discover`]: members that DNS names.
//! 2. [`DataFolder`]: whose folder it is, and what may be done with it.
//! 3. `engine`, `machine`, `flush`: the store on disk, behind the replicated log.
//! 4. `member`: the parts put together; `events`: what the protocol tells.
//!    `log_clock`, `expiry`, `renewals`: leases, as far as they need a clock.
//! 5. `space`, `disk_space`, `auto_compaction`: what the member does about space by itself.
//! 6. `watch`: who follows what is applied, and how far each has come.
//! 7. `service`: gRPC; `http`: health, version, metrics; `listener`: the port they share.
//! 8. [`Server`] and [`run`]: from start to end.
#![deny(missing_docs)]

mod auth;
mod auto_compaction;
mod catch_up;
mod comparison;
mod config;
mod credentials;
mod data_folder;
mod descriptors;
mod discovery;
mod disk_space;
mod engine;
mod events;
mod expiry;
mod flags;
mod flush;
mod http;
mod initial_check;
mod intake;
mod leadership;
mod lease_figures;
mod listener;
mod log_clock;
mod machine;
mod measured;
mod member;
mod metrics;
mod random;
mod render;
mod renewals;
mod round_trip;
mod run;
mod server;
mod service;
mod shipping;
pub mod snapshot;
mod space;
mod sparingly;
mod tls;
mod watch;

pub use auth::TokenOptionsError;
pub use config::{
    AuthConfig, AuthToken, AutoCompaction, ClusterState, ConfigError, HttpConfig, LimitsConfig,
    LogConfig, LogFormat, LogOutput, MemberConfig, PaceConfig, RangeLimits, RestoredMember,
    ServerConfig, ServerFlags, SocketConfig, SpaceConfig, TlsConfig, TlsFiles, TlsVersions, Url,
    UrlError,
};
pub use data_folder::{DataFolder, DataFolderError, MemberIdentity};
pub use discovery::{DiscoveryError, discover};
pub use disk_space::DiskFull;
pub use engine::{EngineError, RedbEngine};
pub use flags::{Asked, FlagError, Settings, ValueError, help};
pub use listener::ListenError;
pub use member::StartError;
pub use run::{RunError, run};
pub use server::{FatalReason, Server};
pub use tls::TlsError;

/// The etcd version whose interface this server has. Clients switch features by it.
pub const ETCD_VERSION: &str = "3.6.14";
/// The version of the cluster's and the storage's features, as etcd tells them.
pub const ETCD_CLUSTER_VERSION: &str = "3.6.0";
/// This server's own version.
pub const SYNOD_VERSION: &str = env!("CARGO_PKG_VERSION");
