//! `synod server`: runs one member, with etcd's flags.

use std::io;

use anyhow::{Context, anyhow};
use clap::Args;
use synod_server::ServerFlags;
use tracing_subscriber::EnvFilter;

/// `synod server`
#[derive(Args, Debug)]
pub(crate) struct ServerArgs {
    #[command(flatten)]
    flags: ServerFlags,
    /// What to log: error, warn, info, debug or trace, for all or for parts (info,synod_wal=debug).
    #[arg(long, env = "ETCD_LOG_LEVEL", default_value = "info")]
    log_level: String,
    /// How to log.
    #[arg(long, value_parser = ["text", "json"], default_value = "text")]
    log_format: String,
}

/// Runs the member until it is told to stop.
pub(crate) fn run(args: ServerArgs) -> anyhow::Result<()> {
    log_to_stderr(&args.log_level, &args.log_format)?;
    synod_server::run(args.flags.check()?)?;
    Ok(())
}

fn log_to_stderr(level: &str, format: &str) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(level)
        .with_context(|| format!("--log-level: {level:?} is not understood"))?;
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    let started = match format {
        "json" => log.json().try_init(),
        _ => log.with_ansi(false).try_init(),
    };
    started.map_err(|error| anyhow!("cannot log: {error}"))
}
