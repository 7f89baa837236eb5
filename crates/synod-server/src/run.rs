//! A server as the whole of a process: runs until a signal, or until it must not go on.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{error, info};

use crate::config::ServerConfig;
use crate::member::StartError;
use crate::server::{FatalReason, Server};
use crate::{ETCD_VERSION, SYNOD_VERSION};

/// Why a server's process ends other than by a signal. Its exit status is not 0 then.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// It did not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// It must not go on.
    #[error(transparent)]
    Fatal(#[from] FatalReason),
    /// The system has no threads or signals to give.
    #[error("the system refuses: {0}")]
    System(#[from] io::Error),
}

/// Threads that serve clients and peers: half of the cores, since the protocol, the log and the
/// store have threads of their own, and each hand-over between threads costs more than it gains.
fn worker_threads() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| (cores.get() / 2).clamp(1, 8))
}

/// Runs a server until SIGTERM or SIGINT.
///
/// # Errors
/// If it does not start, or must not go on.
pub fn run(config: ServerConfig) -> Result<(), RunError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(worker_threads())
        .thread_name("synod-serve")
        .enable_all()
        .build()?;
    runtime.block_on(serve(config))
}

async fn serve(config: ServerConfig) -> Result<(), RunError> {
    let (mut terminate, mut interrupt) =
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    info!(
        name = config.name,
        member = format!("{:x}", config.member_id),
        cluster = format!("{:x}", config.cluster_id),
        members = config.members.len(),
        version = SYNOD_VERSION,
        etcd_version = ETCD_VERSION,
        "starting"
    );
    let mut server = Server::start(config).await?;
    tokio::select! {
        name = asked_to_stop(&mut terminate, &mut interrupt) => {
            info!(signal = name, "stopping; a second signal stops at once");
            tokio::select! {
                () = server.shutdown() => {}
                _ = asked_to_stop(&mut terminate, &mut interrupt) => {}
            }
            Ok(())
        }
        reason = server.failed() => {
            // What is on the disk is for the next process to look at: nothing is written any more.
            error!(%reason, "this member must not go on");
            Err(reason.into())
        }
    }
}

async fn asked_to_stop(terminate: &mut Signal, interrupt: &mut Signal) -> &'static str {
    tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    }
}
