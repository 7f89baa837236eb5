//! Members that share a process: for examples, tests, and programs that want a durable log more
//! than they want machines.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use synod_paxos::{Identity, Incarnation, Peer, ReplicaId};
use synod_wal::FsDisk;

use crate::handle::Handle;
use crate::log::{Log, OpenError};
use crate::machine::StateMachine;
use crate::runtime::{Outbox, Running, RuntimeOptions};

/// A network without wires. Clones are the same network.
#[derive(Clone, Default)]
pub struct LocalNetwork {
    routes: Arc<Mutex<BTreeMap<ReplicaId, Route>>>,
}

/// Takes a frame from a peer.
type Route = Box<dyn Fn(Peer, Bytes) + Send>;

impl LocalNetwork {
    /// Nobody is in it yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What a member sends through.
    #[must_use]
    pub fn outbox(&self, me: Peer) -> LocalOutbox {
        LocalOutbox { me, network: self.clone() }
    }

    /// From now on the member gets what is sent to it; what was sent before is lost.
    pub fn connect<M: StateMachine>(&self, handle: Handle<M>) {
        let id = handle.me().id;
        let route = move |from, frame| {
            handle.deliver_frame(from, frame).expect("this process wrote the frame itself");
        };
        self.lock().insert(id, Box::new(route));
    }

    /// The member gets nothing any more.
    pub fn disconnect(&self, member: ReplicaId) {
        self.lock().remove(&member);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<ReplicaId, Route>> {
        self.routes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A member's way into a [`LocalNetwork`].
pub struct LocalOutbox {
    me: Peer,
    network: LocalNetwork,
}

impl Outbox for LocalOutbox {
    fn send(&self, to: ReplicaId, _bulk: bool, frame: Bytes) {
        if let Some(route) = self.network.lock().get(&to) {
            route(self.me, frame);
        }
    }
}

/// Starts members 1 to `count` in this process, each with a folder of its own below `folder`.
///
/// # Errors
/// If a folder cannot be used, a log cannot be opened, or a thread not started.
///
/// # Panics
/// If `count` is 0, or more than a cluster can have.
pub fn start<M: StateMachine>(
    folder: &Path,
    count: u64,
    options: &RuntimeOptions,
    mut machine: impl FnMut(ReplicaId) -> M,
) -> Result<Vec<Running<M>>, StartError> {
    std::fs::create_dir_all(folder)
        .map_err(|source| StartError::Create { folder: folder.to_owned(), source })?;
    let network = LocalNetwork::new();
    let ids = (1..=count).map(ReplicaId::new);
    ids.clone()
        .map(|id| {
            let machine = machine(id);
            let disk = FsDisk::open(&folder.join(format!("member-{id}")))?;
            let fresh = Incarnation::new(random());
            let applied = machine.applied().end;
            let (log, opened) = Log::open(disk, CLUSTER, id, fresh, wal_options(), applied)?;
            let me = opened.identity.me;
            let members = ids.clone().collect();
            let identity = Identity { me, life: random(), members, seed: random() };
            let log = (log, opened.recovered);
            let outbox = network.outbox(me);
            let member = Running::start(identity, options.clone(), log, machine, outbox, |_| {})?;
            network.connect(member.handle().clone());
            Ok(member)
        })
        .collect()
}

/// Why members did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The folder of all cannot be made.
    #[error("folder {folder}: {source}")]
    Create {
        /// The folder.
        folder: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A data folder cannot be used.
    #[error(transparent)]
    Folder(#[from] synod_wal::FolderError),
    /// A log was not opened.
    #[error(transparent)]
    Log(#[from] OpenError),
    /// A thread was not started.
    #[error("thread: {0}")]
    Thread(#[from] io::Error),
}

/// All clusters of this kind are alone in their process.
const CLUSTER: u64 = 1;

/// Small segments: three logs are on one disk, and few commands in them.
fn wal_options() -> synod_wal::Options {
    synod_wal::Options {
        segment_bytes: 8 << 20,
        record_bytes_max: 4 << 20,
        ..synod_wal::Options::default()
    }
}

/// A number from the system's randomness, by way of the seed of a hash map.
fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}
