//! The sections of a configuration: what each part of the server needs to know, checked.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use synod_etcd::Limits;

use super::error::ConfigError;
use super::url::Url;
use crate::flags::{Settings, duration};

/// What the store may hold, and what of its history is kept.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SpaceConfig {
    /// The most bytes of the store; without it, no bound.
    pub quota_bytes: Option<u64>,
    /// Whether nobody chose that: then it is less on a small disk.
    pub quota_is_default: bool,
    /// What is dropped by itself.
    pub auto_compaction: AutoCompaction,
    /// Revisions that one step of a compaction drops.
    pub compaction_batch: u64,
    /// The pause between two such steps.
    pub compaction_pause: Duration,
}

/// What history is dropped by itself.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AutoCompaction {
    /// None.
    Off,
    /// What is older than this.
    Periodic(Duration),
    /// All but so many revisions.
    Revisions(u64),
}

/// How callers prove who they are.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AuthConfig {
    /// The kind of token.
    pub token: AuthToken,
    /// How long a simple token lives without use.
    pub token_ttl: Duration,
    /// The cost of hashing a password.
    pub bcrypt_cost: u32,
}

/// A kind of token.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum AuthToken {
    /// Random words that the server remembers.
    Simple,
    /// Signed statements, with etcd's options: `pub-key`, `priv-key`, `sign-method`, `ttl`.
    Jwt(BTreeMap<String, String>),
}

/// What is served beside gRPC.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HttpConfig {
    /// Where HTTP alone is served. If there are any, the other client listeners serve gRPC alone.
    pub listen_http_urls: Vec<Url>,
    /// Where `/metrics` and `/health` alone are served.
    pub listen_metrics_urls: Vec<Url>,
    /// Whether the API is served as JSON.
    pub gateway: bool,
    /// Whose pages may ask; without it, anybody's.
    pub cors: Option<Vec<String>>,
    /// Which hosts requests without TLS may name; without it, any.
    pub host_whitelist: Option<Vec<String>>,
    /// Whether metrics are to be extensive.
    pub extensive_metrics: bool,
}

/// What clients may cost.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LimitsConfig {
    /// What one request may cost.
    pub request: Limits,
    /// How much memory the answers to ranges may take.
    pub ranges: RangeLimits,
    /// The most connections of clients at a time.
    pub connections_max: usize,
    /// The most of them from one host; without it, three quarters.
    pub host_max: Option<usize>,
    /// The most streams of one connection at a time.
    pub streams_max: u32,
    /// How often a silent client is asked whether it is there; without it, never.
    pub keep_alive_interval: Option<Duration>,
    /// How long it may take to answer.
    pub keep_alive_timeout: Duration,
    /// The most learners of the cluster.
    pub learners_max: u64,
}

/// How much memory the answers to ranges may take.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RangeLimits {
    /// One range.
    pub request_bytes: u64,
    /// All ranges of the member.
    pub member_bytes: u64,
}

/// What is told of what takes long, and how often idle watchers hear.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PaceConfig {
    /// Between notices of progress to idle watchers.
    pub watch_progress_interval: Duration,
    /// A request that takes longer is warned of.
    pub slow_request: Duration,
    /// A command that takes longer to apply is warned of.
    pub slow_apply: Duration,
}

/// Where and how to log.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LogConfig {
    /// What: a level, or directives for parts.
    pub level: String,
    /// How.
    pub format: LogFormat,
    /// Where to.
    pub outputs: Vec<LogOutput>,
}

/// How a log looks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LogFormat {
    /// Lines for people.
    Console,
    /// An object per line, with the names that etcd's lines have.
    Json,
}

/// Where a log goes.
#[derive(Clone, Debug, Eq, PartialEq, Ord, PartialOrd)]
pub enum LogOutput {
    /// Standard error.
    Stderr,
    /// Standard output.
    Stdout,
    /// The end of a file.
    File(PathBuf),
}

impl SpaceConfig {
    pub(super) fn read(settings: &Settings) -> Result<Self, ConfigError> {
        let quota = settings.int("quota-backend-bytes");
        let quota_bytes = match quota {
            0 => Some(QUOTA_DEFAULT_BYTES),
            quota => u64::try_from(quota).ok(),
        };
        let batch = settings.int("compaction-batch-limit");
        Ok(Self {
            quota_bytes,
            quota_is_default: quota == 0,
            auto_compaction: AutoCompaction::read(settings)?,
            compaction_batch: u64::try_from(batch).unwrap_or(0).max(1),
            compaction_pause: settings.duration("compaction-sleep-interval"),
        })
    }
}

impl AutoCompaction {
    fn read(settings: &Settings) -> Result<Self, ConfigError> {
        let text = settings.text("auto-compaction-retention");
        let bad =
            |wanted, mode| ConfigError::CompactionRetention { text: text.to_owned(), wanted, mode };
        let number: Option<u64> = text.parse().ok();
        match settings.text("auto-compaction-mode") {
            _ if number == Some(0) => Ok(Self::Off),
            "revision" => {
                number.map(Self::Revisions).ok_or_else(|| bad("number of revisions", "revision"))
            }
            "periodic" => {
                let hours = number.and_then(|hours| hours.checked_mul(3600));
                let time = match number {
                    Some(_) => hours.map(Duration::from_secs),
                    None => duration(text).ok(),
                };
                match time {
                    Some(Duration::ZERO) => Ok(Self::Off),
                    time => time.map(Self::Periodic).ok_or_else(|| bad("time", "periodic")),
                }
            }
            mode => Err(ConfigError::CompactionMode { mode: mode.to_owned() }),
        }
    }
}

impl AuthConfig {
    pub(super) fn read(settings: &Settings) -> Result<Self, ConfigError> {
        let cost = within("bcrypt-cost", settings.uint("bcrypt-cost"), 4, 31)?;
        let ttl = within("auth-token-ttl", settings.uint("auth-token-ttl"), 0, TTL_MAX_SECONDS)?;
        Ok(Self {
            token: AuthToken::read(settings.text("auth-token"))?,
            token_ttl: Duration::from_secs(ttl),
            bcrypt_cost: u32::try_from(cost).expect("at most 31"),
        })
    }
}

impl AuthToken {
    fn read(text: &str) -> Result<Self, ConfigError> {
        let bad = || ConfigError::AuthToken { text: text.to_owned() };
        match text.split_once(',').unwrap_or((text, "")) {
            ("simple", "") => Ok(Self::Simple),
            ("jwt", options) => {
                let mut named = BTreeMap::new();
                for option in options.split(',').filter(|option| !option.is_empty()) {
                    let (name, value) = option.split_once('=').ok_or_else(bad)?;
                    if named.insert(name.to_owned(), value.to_owned()).is_some() {
                        return Err(bad());
                    }
                }
                Ok(Self::Jwt(named))
            }
            _ => Err(bad()),
        }
    }
}

impl HttpConfig {
    pub(super) fn read(settings: &Settings) -> Self {
        let unless_any = |name| {
            Some(settings.words(name))
                .filter(|words| !words.is_empty() && !words.iter().any(|word| word == "*"))
        };
        Self {
            listen_http_urls: settings.urls("listen-client-http-urls"),
            listen_metrics_urls: settings.urls("listen-metrics-urls"),
            gateway: settings.bool("enable-grpc-gateway"),
            cors: unless_any("cors"),
            host_whitelist: unless_any("host-whitelist"),
            extensive_metrics: settings.text("metrics") == "extensive",
        }
    }
}

impl LimitsConfig {
    pub(super) fn read(settings: &Settings) -> Result<Self, ConfigError> {
        let size = |flag, max| {
            let value = within(flag, settings.uint(flag), 1, max)?;
            Ok(usize::try_from(value).unwrap_or(usize::MAX))
        };
        let interval = settings.duration("grpc-keepalive-interval");
        let timeout = settings.duration("grpc-keepalive-timeout");
        let streams = within(
            "max-concurrent-streams",
            settings.uint("max-concurrent-streams"),
            1,
            u64::from(u32::MAX),
        )?;
        let request_bytes_max = size("max-request-bytes", REQUEST_BYTES_MAX)?;
        Ok(Self {
            request: Limits { request_bytes_max, txn_ops_max: size("max-txn-ops", TXN_OPS_MAX)? },
            ranges: ranges(settings, request_bytes_max)?,
            connections_max: size("max-client-connections", CONNECTIONS_MAX)?,
            host_max: usize::try_from(settings.uint("max-client-connections-per-host"))
                .ok()
                .filter(|max| *max > 0),
            streams_max: u32::try_from(streams).unwrap_or(u32::MAX),
            keep_alive_interval: Some(interval)
                .filter(|interval| !interval.is_zero() && !timeout.is_zero()),
            keep_alive_timeout: timeout,
            learners_max: u64::try_from(settings.int("max-learners")).unwrap_or(0),
        })
    }
}

impl PaceConfig {
    pub(super) fn read(settings: &Settings) -> Self {
        Self {
            watch_progress_interval: settings.duration("watch-progress-notify-interval"),
            slow_request: settings.duration("warning-unary-request-duration"),
            slow_apply: settings.duration("warning-apply-duration"),
        }
    }
}

impl LogConfig {
    /// Reads where and how to log; needed before anything else can be told.
    ///
    /// # Errors
    /// If it makes no sense.
    pub fn read(settings: &Settings) -> Result<Self, ConfigError> {
        let level = settings.text("log-level");
        let level = match level {
            // What ends the process is told as an error here.
            "dpanic" | "panic" | "fatal" => "error",
            "" => return Err(ConfigError::LogLevel { level: level.to_owned() }),
            other => other,
        };
        let format = match settings.text("log-format") {
            "json" => LogFormat::Json,
            _ => LogFormat::Console,
        };
        let mut outputs = Vec::new();
        for word in settings.words("log-outputs") {
            let output = match word.as_str() {
                "default" | "stderr" => LogOutput::Stderr,
                "stdout" => LogOutput::Stdout,
                path => LogOutput::File(path.into()),
            };
            match output {
                LogOutput::File(path) if outputs.contains(&LogOutput::File(path.clone())) => {
                    return Err(ConfigError::LogOutput { path });
                }
                output if outputs.contains(&output) => {}
                output => outputs.push(output),
            }
        }
        if outputs.is_empty() {
            outputs.push(LogOutput::Stderr);
        }
        Ok(Self { level: level.to_owned(), format, outputs })
    }
}

/// One range has room for its window at least, which is twice the largest value, and leaves others
/// some.
fn ranges(settings: &Settings, value_bytes_max: usize) -> Result<RangeLimits, ConfigError> {
    let window = 2 * (value_bytes_max as u64).max(VALUE_BYTES_USUAL);
    let flag = "max-range-bytes";
    let member_bytes = within(flag, settings.uint(flag), 2 * window, RANGES_BYTES_MAX)?;
    let flag = "max-range-request-bytes";
    let request_bytes = within(flag, settings.uint(flag), window, member_bytes / 2)?;
    Ok(RangeLimits { request_bytes, member_bytes })
}

/// The value, if it is within its bounds.
pub(super) fn within(
    flag: &'static str,
    value: u64,
    min: u64,
    max: u64,
) -> Result<u64, ConfigError> {
    if (min..=max).contains(&value) {
        return Ok(value);
    }
    Err(ConfigError::OutOfBounds { flag, value, min, max })
}

/// etcd's.
const QUOTA_DEFAULT_BYTES: u64 = 2 << 30;
/// A request becomes one record of the log, of at most 16 MiB, with what else is in its batch; and
/// one frame between members, of at most 32 MiB. etcd warns above 10 MiB.
const REQUEST_BYTES_MAX: u64 = 12 << 20;
/// Each operation has a place in an answer of bounded size.
const TXN_OPS_MAX: u64 = 1 << 20;
/// What a value may have in any case: it may be from a time when more was let in.
const VALUE_BYTES_USUAL: u64 = 8 << 20;
/// The memory of no machine yet.
const RANGES_BYTES_MAX: u64 = 1 << 50;
const CONNECTIONS_MAX: u64 = 1 << 24;
/// A century.
const TTL_MAX_SECONDS: u64 = 100 * 365 * 24 * 3600;
