//! The member behind the services: folder, store, log, protocol and peers, put together.

use std::io;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use bytes::Bytes;
use parking_lot::Mutex;
use synod_etcd::Limits;
use synod_kv::{Reader, SnapshotOrigin, StorageError, Store};
use synod_paxos::{Identity, Incarnation, Peer, Recovered, ReplicaId};
use synod_replica::log::OpenError;
use synod_replica::{Handle, Log, LogIdentity, Outbox, Running, RuntimeOptions};
use synod_transport::{
    BindError, Lane, Listening, PeerIdentity, PeerTls, Transport, TransportHandle,
    TransportOptions, Who,
};
use synod_wal::{FolderError, FsDisk, Wal};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::auth::{Passwords, TokenOptionsError, Tokens};
use crate::catch_up::CatchUp;
use crate::comparison::Comparison;
use crate::config::{ClusterState, ServerConfig};
use crate::data_folder::{DataFolder, DataFolderError, MemberIdentity};
use crate::disk_space::{self, DiskFull, DiskSpace};
use crate::engine::{EngineError, RedbEngine};
use crate::events::EventLog;
use crate::flush::{self, FlushHandle, Pace};
use crate::http::Access;
use crate::initial_check::{Answering, InitialCheck};
use crate::leadership::Leadership;
use crate::listener::ListenError;
use crate::listener::admission::Admission;
use crate::log_clock::LogClock;
use crate::machine::{KvMachine, LeaseWatch, Listeners};
use crate::measured::MeasuredDisk;
use crate::metrics::Metrics;
use crate::random::random;
use crate::renewals::Renewals;
use crate::round_trip::{Found, RoundTrips};
use crate::server::FatalSink;
use crate::service::{self, Context, RangeBudget};
use crate::space::Space;
use crate::tls::{ServerTls, TlsError};
use crate::watch::{HubOptions, Watches};

/// Why a server does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A client port.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// A peer port.
    #[error(transparent)]
    Peers(#[from] BindError),
    /// Certificates.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The data folder.
    #[error(transparent)]
    Folder(#[from] DataFolderError),
    /// The folder of the log.
    #[error(transparent)]
    LogFolder(#[from] FolderError),
    /// The log.
    #[error(transparent)]
    Log(#[from] OpenError),
    /// The file of the store.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StorageError<EngineError>),
    /// There is no room to write with.
    #[error("a member starts with {} bytes free or more: {full}", .full.least)]
    DiskFull {
        /// What is full.
        #[from]
        full: DiskFull,
    },
    /// Something failed, and there is hardly room to write with.
    #[error("{failed}; {full}")]
    OnFullDisk {
        /// What failed.
        failed: Box<Self>,
        /// What is full.
        full: DiskFull,
    },
    /// The keys of tokens.
    #[error(transparent)]
    Tokens(#[from] TokenOptionsError),
    /// The system has no thread or no randomness to give.
    #[error("the system refuses: {0}")]
    System(#[from] io::Error),
}

impl StartError {
    /// The same, with what is full if that may be why.
    pub(crate) fn on_disk(self, data_dir: &Path) -> Self {
        let wrote = matches!(
            self,
            Self::Folder(_) | Self::LogFolder(_) | Self::Log(_) | Self::Engine(_) | Self::Store(_)
        );
        match disk_space::full(data_dir, &self.to_string()).filter(|_| wrote) {
            Some(full) => Self::OnFullDisk { failed: Box::new(self), full },
            None => self,
        }
    }
}

/// A member at work.
pub(crate) struct Member {
    pub(crate) context: Arc<Context>,
    pub(crate) running: Running<KvMachine>,
    pub(crate) flusher: std::thread::JoinHandle<()>,
    pub(crate) watcher: JoinHandle<()>,
    /// Keeps the lock.
    pub(crate) folder: DataFolder,
}

/// What a member's folder holds, opened.
struct Opened {
    folder: DataFolder,
    store: Store<RedbEngine>,
    flusher: synod_kv::Flusher<RedbEngine>,
    log: Log<MeasuredDisk>,
    log_segment_bytes: u64,
    recovered: Recovered,
    incarnation: Incarnation,
}

impl Member {
    /// Opens the folder and starts the threads. Blocks while the log is read.
    pub(crate) fn start(
        config: &Arc<ServerConfig>,
        tls: Arc<ServerTls>,
        fatal: &FatalSink,
    ) -> Result<Self, StartError> {
        let metrics = Arc::new(Metrics::default());
        let comparison = Arc::new(Comparison::default());
        let tokens = Tokens::open(&config.auth)?;
        let passwords = Passwords::new(config.auth.bcrypt_cost)?;
        let Opened { folder, store, flusher, log, log_segment_bytes, recovered, incarnation } =
            open(config, &metrics)?;
        let round = recovered.promised.round;
        let leadership = Arc::new(Leadership::new(config.member_id, round));
        let pace = Pace::of(&config.space);
        let pace = (pace, Arc::clone(&metrics));
        let (flush, flusher) = flush::start(flusher, pace, store.applied_slot(), fatal.clone())?;
        let space = Arc::new(Space::new(config.space.quota_bytes, store.used_bytes()));
        let reader = store.reader();
        let leases = LeaseWatch {
            clock: Arc::new(LogClock::new(store.time_ms())),
            alarm: Arc::default(),
            leadership: Arc::clone(&leadership),
            figures: Arc::default(),
        };
        let watches = Watches::default();
        let transport = Arc::new(OnceLock::new());
        let mut events = EventLog {
            config: Arc::clone(config),
            leadership: Arc::clone(&leadership),
            clock: Arc::clone(&leases.clock),
            metrics: Arc::clone(&metrics),
            ignored_told: None,
        };
        let origin = SnapshotOrigin { cluster: config.cluster_id, member: config.member_id };
        let listeners = Listeners {
            leases: leases.clone(),
            space: Arc::clone(&space),
            watches: watches.clone(),
            metrics: Arc::clone(&metrics),
            comparison: Arc::clone(&comparison),
        };
        let running = Running::start(
            identity(config, incarnation)?,
            runtime_options(config),
            (log, recovered),
            KvMachine::new(
                store,
                flush.clone(),
                fatal.clone(),
                listeners,
                (origin, config.pace.slow_apply),
            ),
            PeerOutbox(Arc::clone(&transport)),
            move |event| events.take(event),
        )?;
        let progress_interval = config.pace.watch_progress_interval;
        let options = HubOptions { progress_interval, ..HubOptions::default() };
        let watcher = crate::watch::start(&watches, reader.clone(), options, fatal.clone());
        let parts = Parts {
            reader,
            flush,
            space,
            log_segment_bytes,
            watches,
            leases,
            metrics,
            comparison,
            transport,
            passwords,
            tokens,
            tls,
        };
        let context = Arc::new(parts.context(config, running.handle().clone(), fatal.clone()));
        Ok(Self { context, running, flusher, watcher, folder })
    }

    /// Starts to talk to the peers.
    pub(crate) fn connect(&self, listening: Listening, round_trips: RoundTrips) {
        let Context { config, handle, metrics, transport, .. } = &*self.context;
        let me = handle.me();
        let others = config.members.iter().filter(|member| member.id != config.member_id);
        let who = Who {
            cluster: config.cluster_id,
            me: PeerIdentity { id: me.id.as_u64(), incarnation: me.incarnation.as_u64() },
            peers: others.map(|member| (member.id, member.peer_urls[0].address())).collect(),
            about: Bytes::from(service::about(config)),
        };
        let (frames, gone) = (handle.clone(), handle.clone());
        let (asked, metrics) = (Arc::clone(transport), Arc::clone(metrics));
        let bad_frames = BadFrames { metrics: Arc::clone(&metrics), told: Mutex::new(None) };
        let tls: Arc<dyn PeerTls> = self.context.tls.clone();
        let comparison = Arc::clone(&self.context.comparison);
        let context = Arc::downgrade(&self.context);
        let answering = Answering { context, runtime: tokio::runtime::Handle::current() };
        let started = Transport::start(
            who,
            TransportOptions {
                tls: Some(tls),
                reading: Some(self.running.io().clone()),
                ..TransportOptions::default()
            },
            listening,
            move |from, frame| {
                let peer = Peer {
                    id: ReplicaId::new(from.id),
                    incarnation: Incarnation::new(from.incarnation),
                };
                let compared = comparison.compare(from.id, &frame);
                if compared.or_else(|| answering.take(from.id, &frame)).is_some() {
                    return;
                }
                if let Some(found) = round_trips.find(&frame) {
                    about_time(found, from.id, &asked, &metrics);
                } else if let Err(error) = frames.deliver_frame(peer, frame) {
                    bad_frames.tell(peer, &error);
                }
            },
            move |peer| gone.unreachable(ReplicaId::new(peer)),
        );
        assert!(transport.set(started).is_ok(), "a member connects once");
    }
}

/// Answers a peer that asks how far it is, or notes its answer.
fn about_time(found: Found, peer: u64, transport: &OnceLock<TransportHandle>, metrics: &Metrics) {
    match found {
        Found::Question(answer) => {
            if let Some(transport) = transport.get() {
                transport.send(peer, Lane::Control, answer);
            }
        }
        Found::Answer(took) => {
            metrics.round_trips.lock().entry(peer).or_default().observe(took);
        }
        Found::Nonsense => {
            metrics.bad_frames.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        }
    }
}

/// Opens what the folder holds, and checks that it belongs together.
fn open(config: &ServerConfig, metrics: &Arc<Metrics>) -> Result<Opened, StartError> {
    let owner = MemberIdentity {
        cluster: config.cluster_id,
        member: config.member_id,
        name: config.name.clone(),
    };
    let mut folder = DataFolder::open(&config.data_dir, owner)?;
    if config.cluster_state == ClusterState::Existing {
        folder.check_not_new()?;
    }
    let disk = FsDisk::open(&folder.log_folder())?;
    let mut disk = MeasuredDisk { disk, metrics: Arc::clone(metrics) };
    let found = LogIdentity::peek(&mut disk)?;
    folder.check_log(found.map(|log| log.me.incarnation.as_u64()))?;
    let log_options = log_options(config, &mut disk)?;

    let start = Instant::now();
    let engine = RedbEngine::open(&folder.store_file(), Arc::clone(metrics))?;
    let (store, flusher) = Store::open(engine)?;
    let applied = synod_paxos::Slot::new(store.applied_slot());
    let (log, opened) = Log::open(
        disk,
        config.cluster_id,
        ReplicaId::new(config.member_id),
        Incarnation::new(random()?),
        log_options,
        applied,
    )?;
    let incarnation = opened.identity.me.incarnation;
    folder.keep_identity(incarnation.as_u64())?;
    info!(
        folder = %config.data_dir.display(), %incarnation, %applied,
        records = opened.recovery.records, tail = ?opened.recovery.tail, took = ?start.elapsed(),
        "opened the data folder"
    );
    let (log_segment_bytes, recovered) = (log_options.segment_bytes, opened.recovered);
    Ok(Opened { folder, store, flusher, log, log_segment_bytes, recovered, incarnation })
}

/// The sizes of the log. It keeps that of its segments; a new one fits its disk.
fn log_options(
    config: &ServerConfig,
    disk: &mut MeasuredDisk,
) -> Result<synod_wal::Options, OpenError> {
    let usual = synod_wal::Options::default();
    // A batch is one request as large as may be, or many that are full together.
    let record = payload_bytes_max(config) + synod_paxos::Options::default().batch_bytes_max;
    let segment_bytes = match Wal::peek_segment_bytes(disk)? {
        Some(found) => found,
        None => DiskSpace::of(disk.disk.folder())
            .map_or(usual.segment_bytes, |space| space.segment_bytes(record)),
    };
    // One that is too small for what the door lets in is refused, rather than ended by it.
    let half = usize::try_from(segment_bytes / 2).unwrap_or(usize::MAX);
    let record_bytes_max = usual.record_bytes_max.min(half).max(record);
    Ok(synod_wal::Options { segment_bytes, record_bytes_max, ..usual })
}

fn identity(config: &ServerConfig, incarnation: Incarnation) -> io::Result<Identity> {
    Ok(Identity {
        me: Peer { id: ReplicaId::new(config.member_id), incarnation },
        life: random()?,
        members: config.members.iter().map(|member| ReplicaId::new(member.id)).collect(),
        seed: random()?,
    })
}

/// What the door lets in fits.
fn payload_bytes_max(config: &ServerConfig) -> usize {
    config.limits.request.request_bytes_max + Limits::MESSAGE_OVERHEAD_BYTES
}

fn runtime_options(config: &ServerConfig) -> RuntimeOptions {
    let paxos = synod_paxos::Options::default();
    let keep_bytes = usize::try_from(config.log_keep_bytes).unwrap_or(usize::MAX);
    RuntimeOptions {
        paxos: synod_paxos::Options {
            heartbeat_interval: config.heartbeat_interval,
            election_timeout: config.election_timeout,
            // Memory holds no more of the log than the disk is to.
            cache_bytes_max: paxos.cache_bytes_max.min(keep_bytes),
            ..paxos
        },
        payload_bytes_max: payload_bytes_max(config),
        log_bytes_max: config.log_keep_bytes,
        request_timeout: config.request_timeout(),
        ..RuntimeOptions::default()
    }
}

/// What the services share, before the member runs.
struct Parts {
    reader: Reader<RedbEngine>,
    flush: FlushHandle,
    space: Arc<Space>,
    log_segment_bytes: u64,
    watches: Watches,
    leases: LeaseWatch,
    metrics: Arc<Metrics>,
    comparison: Arc<Comparison>,
    transport: Arc<OnceLock<TransportHandle>>,
    passwords: Passwords,
    tokens: Tokens,
    tls: Arc<ServerTls>,
}

impl Parts {
    fn context(
        self,
        config: &Arc<ServerConfig>,
        handle: Handle<KvMachine>,
        fatal: FatalSink,
    ) -> Context {
        let Self {
            reader,
            flush,
            space,
            log_segment_bytes,
            watches,
            leases,
            metrics,
            comparison,
            transport,
            passwords,
            tokens,
            tls,
        } = self;
        let LeaseWatch { clock, alarm, leadership, figures } = leases;
        Context {
            config: Arc::clone(config),
            renewals: Renewals::start(handle.clone(), Arc::clone(&metrics)),
            handle,
            reader,
            flush,
            space,
            log_segment_bytes,
            watches,
            leadership,
            clock,
            alarm,
            lease_figures: figures,
            metrics,
            transport,
            tls,
            fatal,
            stopping: CancellationToken::new(),
            limits: config.limits.request,
            comparison,
            initial_check: InitialCheck::default(),
            catch_up: CatchUp::default(),
            admission: Arc::new(Admission::new(&config.limits)),
            access: Access::new(&config.http),
            passwords,
            tokens,
            ranges: RangeBudget::new(config.limits.ranges, config.request_timeout()),
            long_reads: Semaphore::new(LONG_READS_MAX),
            snapshots: Arc::new(Semaphore::new(service::SNAPSHOTS_MAX)),
        }
    }
}

/// Sends frames once the transport is there; what comes earlier is lost, as on any network.
struct PeerOutbox(Arc<OnceLock<TransportHandle>>);

impl Outbox for PeerOutbox {
    fn send(&self, to: ReplicaId, bulk: bool, frame: Bytes) {
        let lane = if bulk { Lane::Bulk } else { Lane::Control };
        if let Some(transport) = self.0.get() {
            transport.send(to.as_u64(), lane, frame);
        }
    }
}

/// Counts frames that do not decode, and tells of the first of each peer's run.
struct BadFrames {
    metrics: Arc<Metrics>,
    told: Mutex<Option<Peer>>,
}

impl BadFrames {
    fn tell(&self, from: Peer, error: &dyn std::error::Error) {
        self.metrics.bad_frames.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        if self.told.lock().replace(from) != Some(from) {
            warn!(peer = %from.id, %error, "a peer sent a frame that does not decode");
        }
    }
}

/// Ranges of many keys that are answered at a time; others wait.
const LONG_READS_MAX: usize = 4;
