//! A server from its start to its end, inside a process that may hold several.

use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use synod_paxos::HaltReason;
use synod_replica::Exit;
use synod_transport::Listening;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::catch_up;
use crate::config::{ServerConfig, Url};
use crate::data_folder::{self, DataFolder};
use crate::descriptors;
use crate::disk_space::{self, DiskFull};
use crate::expiry;
use crate::initial_check;
use crate::listener::{Door, Listener};
use crate::member::{Member, StartError};
use crate::round_trip::RoundTrips;
use crate::service::{Context, Scope, Services, housekeeping};
use crate::tls::ServerTls;

/// A running server.
pub struct Server {
    context: Arc<Context>,
    addresses: Vec<SocketAddr>,
    metrics_addresses: Vec<SocketAddr>,
    /// Stops the listeners.
    stop: CancellationToken,
    listeners: JoinHandle<()>,
    announcer: JoinHandle<()>,
    catching_up: JoinHandle<()>,
    expiry: JoinHandle<()>,
    housekeeper: JoinHandle<()>,
    /// Asks the members how far they are.
    asker: JoinHandle<()>,
    flusher: std::thread::JoinHandle<()>,
    watcher: JoinHandle<()>,
    ended: oneshot::Receiver<Exit>,
    fatal: mpsc::Receiver<FatalReason>,
    folder: DataFolder,
}

/// Why a member must not go on.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum FatalReason {
    /// The store failed.
    #[error("the store failed: {0}")]
    Store(String),
    /// The log failed.
    #[error("the log failed: {0}")]
    Log(String),
    /// One of them failed, and there is hardly room to write with.
    #[error("{failed}; {full}")]
    OnFullDisk {
        /// What failed.
        failed: Box<Self>,
        /// What is full.
        full: DiskFull,
    },
    /// The protocol forbids it.
    #[error("{0}")]
    Halted(HaltReason),
    /// The member's data differs from that of others. The first words are etcd's.
    #[error(
        "{member:x} found data inconsistency with peers: {others} differ at revision {revision}: \
         find out whose data is right before this member serves"
    )]
    Differs {
        /// This one's id.
        member: u64,
        /// The names of the others.
        others: String,
        /// Where they were compared.
        revision: u64,
    },
    /// A thread of the member died.
    #[error("a thread of the member died: this is a bug")]
    Died,
}

impl FatalReason {
    /// The same, with what is full if that may be why.
    fn on_disk(self, data_dir: &Path) -> Self {
        let wrote = matches!(self, Self::Store(_) | Self::Log(_));
        match disk_space::full(data_dir, &self.to_string()).filter(|_| wrote) {
            Some(full) => Self::OnFullDisk { failed: Box::new(self), full },
            None => self,
        }
    }
}

/// Where fatal reasons go. The first one counts.
#[derive(Clone)]
pub(crate) struct FatalSink(mpsc::Sender<FatalReason>);

impl FatalSink {
    /// A sink, and where its reason comes out.
    pub(crate) fn new() -> (Self, mpsc::Receiver<FatalReason>) {
        let (sender, receiver) = mpsc::channel(1);
        (Self(sender), receiver)
    }

    /// The member must stop.
    pub(crate) fn tell(&self, reason: FatalReason) {
        // When it is full, a reason is on its way already.
        let _ = self.0.try_send(reason);
    }
}

impl fmt::Debug for FatalSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FatalSink")
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("addresses", &self.addresses).finish_non_exhaustive()
    }
}

impl Server {
    /// Takes the ports, opens the data folder and starts to serve. Requests wait until there is a
    /// leader.
    ///
    /// # Errors
    /// If a port, the folder or what is in it cannot be had, or there is no room to write with.
    pub async fn start(config: ServerConfig) -> Result<Self, StartError> {
        let data_dir = config.data_dir.clone();
        disk_space::check(&data_dir)?;
        Self::open(disk_space::fit(config)).await.map_err(|error| error.on_disk(&data_dir))
    }

    async fn open(config: ServerConfig) -> Result<Self, StartError> {
        let config = match data_folder::snapshot_of(&config.data_dir)? {
            Some(snapshot) => config.restored_from(snapshot),
            None => config,
        };
        let peers: Vec<String> = config.listen_peer_urls.iter().map(Url::address).collect();
        let listening = Listening::bind(&peers).await?;
        let sockets = config.sockets;
        let listener = Listener::bind(&config.listen_client_urls, sockets).await?;
        let http_listener = Listener::bind(&config.http.listen_http_urls, sockets).await?;
        let addresses = [listener.addresses(), http_listener.addresses()].concat();
        let metrics_listener = Listener::bind(&config.http.listen_metrics_urls, sockets).await?;
        let metrics_addresses = metrics_listener.addresses();
        let tls = Arc::new(ServerTls::open(&config)?);
        descriptors::raise();
        let config = Arc::new(config);
        let (sink, fatal) = FatalSink::new();
        let started = tokio::task::spawn_blocking({
            let tls = Arc::clone(&tls);
            move || Member::start(&config, tls, &sink)
        })
        .await;
        let member = started.map_err(std::io::Error::other)??;
        let round_trips = RoundTrips::new();
        member.connect(listening, round_trips);
        let Member { context, running, flusher, watcher, folder } = member;

        let (exit, ended) = oneshot::channel();
        std::thread::Builder::new().name("synod-exit".to_owned()).spawn(move || {
            // Nobody may be waiting.
            let _ = exit.send(running.join());
        })?;
        let stop = context.stopping.clone();
        let services = Services::new(Arc::clone(&context));
        let door = {
            let (limits, admission) = (context.config.limits.clone(), &context.admission);
            Door::new(Arc::clone(&tls), limits, Arc::clone(admission), stop.clone())
        };
        let split = !context.config.http.listen_http_urls.is_empty();
        let of_clients = if split { Scope::Grpc } else { Scope::Everything };
        let watchers = metrics_listener.serve(services.only(Scope::Metrics), door.clone());
        let pages = http_listener.serve(services.only(Scope::Http), door.clone());
        let clients = listener.serve(services.only(of_clients), door);
        let files = tls.watch(stop.clone());
        let (open, is_open) = oneshot::channel();
        let checked = Arc::clone(&context);
        let listeners = tokio::spawn(async move {
            let is_right = tokio::select! {
                result = initial_check::run(&checked) => result,
                () = checked.stopping.cancelled() => Ok(()),
            };
            match is_right {
                Ok(()) => {
                    // Nobody may be waiting.
                    let _ = open.send(());
                    tokio::join!(clients, pages, watchers, files);
                }
                Err(reason) => checked.fatal.tell(reason),
            }
        });
        let announcer = tokio::spawn({
            let context = Arc::clone(&context);
            async move {
                if is_open.await.is_ok() {
                    announce(context).await;
                }
            }
        });
        let catching_up = tokio::spawn(catch_up::run(Arc::clone(&context)));
        let expiry = tokio::spawn(expiry::run(Arc::clone(&context)));
        let housekeeper = tokio::spawn(housekeeping::keep(Arc::clone(&context)));
        let asker = tokio::spawn(round_trips.ask(Arc::clone(&context)));
        Ok(Self {
            context,
            addresses,
            metrics_addresses,
            stop,
            listeners,
            announcer,
            catching_up,
            expiry,
            housekeeper,
            asker,
            flusher,
            watcher,
            ended,
            fatal,
            folder,
        })
    }

    /// Where clients are served.
    #[must_use]
    pub fn client_addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Where metrics and probes alone are served.
    #[must_use]
    pub fn metrics_addresses(&self) -> &[SocketAddr] {
        &self.metrics_addresses
    }

    /// Waits until there is a leader to serve requests with, and this member has applied what was
    /// chosen while it was down.
    pub async fn ready(&self) {
        self.context.catch_up.done().await;
    }

    /// Whether all members of a new cluster have met, so that this one may vote. Until then it does
    /// not count if others stop: `docs/decisions/0006-forming-a-cluster.md`.
    #[must_use]
    pub fn has_formed(&self) -> bool {
        self.context.handle.status().is_formed
    }

    /// Waits until the member must not go on, and says why. Then only [`Server::shutdown`] is left.
    pub async fn failed(&mut self) -> FatalReason {
        let reason = tokio::select! {
            Some(reason) = self.fatal.recv() => reason,
            ended = &mut self.ended => match ended {
                Ok(Exit::Halted(reason)) => FatalReason::Halted(reason),
                Ok(Exit::LogFailed(error)) => FatalReason::Log(error.to_string()),
                Ok(Exit::Stopped) | Err(_) => FatalReason::Died,
            },
        };
        reason.on_disk(&self.context.config.data_dir)
    }

    /// Stops in order: hands leadership over, answers what was asked, lets clients go elsewhere,
    /// and leaves a folder that starts quickly.
    pub async fn shutdown(self) {
        let Self {
            context,
            stop,
            listeners,
            announcer,
            catching_up,
            expiry,
            housekeeper,
            asker,
            flusher,
            watcher,
            mut ended,
            folder,
            ..
        } = self;
        announcer.abort();
        catching_up.abort();
        expiry.abort();
        housekeeper.abort();
        asker.abort();
        hand_over(&context).await;
        // Streams have no end of their own to wait for.
        context.watches.stop();
        stop.cancel();
        // A listener that panicked has said so.
        let _ = listeners.await;
        if !ended.is_terminated() {
            let handle = context.handle.clone();
            // It may wait for a place in the queue.
            let _ = tokio::task::spawn_blocking(move || handle.shutdown()).await;
            let limit = context.config.request_timeout() + HAND_OVER;
            if timeout(limit, &mut ended).await.is_err() {
                warn!("the member did not end in time");
            }
        }
        // Nobody reads what peers send any more.
        if let Some(transport) = context.transport.get() {
            transport.shutdown().await;
        }
        context.flush.stop();
        let _ = tokio::task::spawn_blocking(move || flusher.join()).await;
        let _ = watcher.await;
        drop(folder);
        info!("stopped");
    }
}

/// Lets another member lead before this one goes, so that no write waits for an election.
async fn hand_over(context: &Context) {
    if !context.leadership.is_leader() || context.config.members.len() == 1 {
        return;
    }
    match timeout(HAND_OVER, context.handle.transfer_leadership(None)).await {
        Ok(Ok(())) => info!("handed leadership over"),
        Ok(Err(reason)) => warn!(%reason, "stopping as the leader"),
        Err(_) => warn!("stopping as the leader: nobody took over in time"),
    }
}

/// Says who is missing while nothing can be served, and once, that it can.
async fn announce(context: Arc<Context>) {
    loop {
        tokio::select! {
            () = context.catch_up.done() => {
                let urls = &context.config.advertise_client_urls;
                let urls: Vec<String> = urls.iter().map(Url::to_string).collect();
                info!(clients = urls.join(","), "ready to serve client requests");
                return;
            }
            () = sleep(WAITING_INTERVAL) => {
                let status = context.handle.status();
                let heard = |id: &u64| status.hears.iter().any(|heard| heard.as_u64() == *id);
                let others = context.config.members.iter().map(|member| member.id);
                let others = others.filter(|id| *id != context.config.member_id);
                let missing: Vec<String> = others
                    .filter(|id| !heard(id))
                    .map(|id| context.config.name_of(id))
                    .collect();
                if context.leadership.leader() != 0 {
                    info!("catching up with what was chosen while this member was down");
                } else if missing.is_empty() {
                    info!("waiting for a leader: all members are heard");
                } else {
                    info!(missing = missing.join(", "), "waiting for other members");
                }
            }
        }
    }
}

/// Another member takes over within this time, or not at all.
const HAND_OVER: Duration = Duration::from_secs(2);
/// Between lines that say who is missing.
const WAITING_INTERVAL: Duration = Duration::from_secs(5);
