//! The commands, and the options that several of them share.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use serde_json::Value;

use crate::{
    auth, bench, compact, del, dev, endpoint, get, json, lease, lock, member, put, sim, snapshot,
    status, text, txn, version, wal, watch,
};

/// A strongly consistent key-value store on Multi-Paxos that speaks the etcd v3 API.
#[derive(Debug, Parser)]
#[command(name = "synod", version = version::LONG, propagate_version = false)]
#[command(after_help = "Begin with `synod dev`: three members on this machine.")]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run one member of a cluster.
    #[command(disable_help_flag = true)]
    Server(synod_server::ServerFlags),
    /// Run three members on this machine, as real processes with real data folders.
    Dev(dev::DevArgs),
    /// Store a value under a key.
    Put(put::PutArgs),
    /// Read a key or a range of keys.
    Get(get::GetArgs),
    /// Delete a key or a range of keys.
    Del(del::DelArgs),
    /// Compare, then do one of two lists of operations, all at once.
    Txn(txn::TxnArgs),
    /// Forget the history before a revision.
    Compact(compact::CompactArgs),
    /// Print what happens to keys, as it happens.
    Watch(watch::WatchArgs),
    /// Grant leases, renew them, end them.
    Lease(lease::LeaseArgs),
    /// Hold a lock, for a while or for a command.
    Lock(lock::LockArgs),
    /// Stand for an office, and hold it.
    Elect(lock::ElectArgs),
    /// Enable and disable authentication.
    Auth(auth::AuthArgs),
    /// Look after users.
    User(auth::UserArgs),
    /// Look after roles.
    Role(auth::RoleArgs),
    /// Look at each endpoint: its health, what it says of itself, the hash of its history.
    Endpoint(endpoint::EndpointArgs),
    /// List and clear alarms.
    Alarm(endpoint::AlarmArgs),
    /// Give space that is free back to the file system.
    Defrag(endpoint::DefragArgs),
    /// Let another member lead.
    MoveLeader(endpoint::MoveLeaderArgs),
    /// Show what each endpoint says of itself.
    Status(status::StatusArgs),
    /// Look at the members of the cluster.
    Member(member::MemberArgs),
    /// Save a member's store to a file, check such a file, make a cluster of it.
    Snapshot(snapshot::SnapshotArgs),
    /// Measure a cluster under load.
    Bench(bench::BenchArgs),
    /// Run whole clusters in virtual time, with faults, from a seed.
    Sim(sim::SimArgs),
    /// Look at a log on disk.
    Wal(wal::WalArgs),
    /// Print the version.
    Version,
}

/// Which cluster to ask, and how to print the answer.
#[derive(Args, Clone, Debug)]
pub(crate) struct ClientArgs {
    /// Where the members listen; the next one is tried if one cannot be reached.
    #[arg(
        long,
        value_delimiter = ',',
        env = "SYNOD_ENDPOINTS",
        default_value = "127.0.0.1:2379,127.0.0.1:22379,127.0.0.1:32379",
        global = true
    )]
    pub(crate) endpoints: Vec<String>,
    /// How long to wait for an answer, for example 5s or 500ms.
    #[arg(
        long = "command-timeout",
        alias = "timeout",
        value_name = "TIME",
        value_parser = duration,
        default_value = "5s",
        global = true
    )]
    pub(crate) timeout: Duration,
    /// How long a member may take to accept a connection.
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "2s", global = true)]
    pub(crate) dial_timeout: Duration,
    /// Who asks: NAME:PASSWORD, or NAME with --password.
    #[arg(long, value_name = "NAME[:PASSWORD]", env = "SYNOD_USER", global = true)]
    pub(crate) user: Option<String>,
    /// The password of --user.
    #[arg(long, env = "SYNOD_PASSWORD", hide_env_values = true, requires = "user", global = true)]
    pub(crate) password: Option<String>,
    #[command(flatten)]
    pub(crate) tls: TlsArgs,
    /// How to print the answer.
    #[arg(
        long,
        short = 'w',
        visible_alias = "write-out",
        value_enum,
        default_value = "simple",
        global = true
    )]
    pub(crate) output: Output,
}

/// How members are trusted, and what they are shown. With any of it, endpoints without a scheme are
/// spoken to over TLS; `https://` ones always are.
#[derive(Args, Clone, Debug)]
pub(crate) struct TlsArgs {
    /// The authorities to trust, in PEM; else those that this machine trusts.
    #[arg(long, value_name = "FILE", env = "SYNOD_CACERT", global = true)]
    pub(crate) cacert: Option<PathBuf>,
    /// The certificate to show, in PEM.
    #[arg(long, value_name = "FILE", env = "SYNOD_CERT", requires = "tls_key", global = true)]
    pub(crate) cert: Option<PathBuf>,
    /// The key of --cert, in PEM.
    #[arg(
        id = "tls_key",
        long = "key",
        value_name = "FILE",
        env = "SYNOD_KEY",
        requires = "cert",
        global = true
    )]
    pub(crate) key: Option<PathBuf>,
    /// The name to expect in certificates, instead of the endpoint's host.
    #[arg(long, value_name = "NAME", global = true)]
    pub(crate) tls_server_name: Option<String>,
    /// Trust whoever answers: for tests only.
    #[arg(long, global = true)]
    pub(crate) insecure_skip_tls_verify: bool,
}

/// How to print an answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Output {
    /// Lines for people and shells.
    Simple,
    /// The answer's message, with keys and values in base64, as etcdctl prints it.
    Json,
}

impl Output {
    /// Prints a line for people, or the answer.
    pub(crate) fn say(self, line: &str, answer: impl FnOnce() -> Value) -> anyhow::Result<()> {
        match self {
            Self::Simple => text::print(|out| writeln!(out, "{line}")),
            Self::Json => json::print(&answer()),
        }
    }
}

/// Reads a time such as `300ms`, `5s` or `2m`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: u64 = digits.parse().map_err(|_| format!("{text:?} is not like 5s or 300ms"))?;
    match &text[digits.len()..] {
        "ms" => Ok(Duration::from_millis(number)),
        "s" => Ok(Duration::from_secs(number)),
        "m" if number <= 1_000_000 => Ok(Duration::from_secs(number * 60)),
        unit => Err(format!("{unit:?} is not a unit of time: ms, s or m")),
    }
}

#[cfg(test)]
mod tests;
