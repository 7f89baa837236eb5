//! etcd's Maintenance/Snapshot: the whole store, as a file that etcd's tools read.
//!
//! It is read from a view of one moment while writes go on. A view keeps the engine from reusing
//! space, so what a client may cost is bounded: in number, in time, and in how far the file may
//! grow meanwhile. Memory holds a few chunks of each.

use std::sync::Arc;
use std::time::{Duration, Instant};

use synod_etcd::Refusal;
use synod_etcd::proto::etcdserverpb as pb;
use synod_kv::SnapshotOrigin;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::{sleep, timeout};
use tonic::codegen::tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};
use tracing::{info, warn};

use super::access::Caller;
use super::{Context, refusal};
use crate::ETCD_CLUSTER_VERSION;
use crate::engine::EngineError;
use crate::snapshot::SnapshotFile;

/// What the method answers with.
pub(super) type SnapshotStream = ReceiverStream<Result<pb::SnapshotResponse, Status>>;

/// Snapshots that are sent at a time.
pub(crate) const SNAPSHOTS_MAX: usize = 2;
/// Bytes of a chunk.
const CHUNK_BYTES: usize = 128 << 10;
/// Chunks that wait for the connection.
const CHUNKS_MAX: usize = 4;
/// A client takes a chunk within this time.
const STALL_MAX: Duration = Duration::from_secs(30);
/// A client takes the whole within this time, and a second more for each MiB.
const HELD_MAX: Duration = Duration::from_secs(600);
/// The file may grow by so much meanwhile.
const GROWTH_BYTES_MAX: u64 = 1 << 30;
/// How long to wait until what was applied is in the engine.
const FLUSH_MAX: Duration = Duration::from_secs(10);

/// Begins to send a snapshot of everything that is applied now.
pub(super) async fn send(
    context: &Arc<Context>,
    caller: &Caller,
) -> Result<SnapshotStream, Status> {
    let permit = Arc::clone(&context.snapshots).try_acquire_owned().map_err(|_| {
        Refusal::own(
            Code::ResourceExhausted,
            format!(
                "synod: {SNAPSHOTS_MAX} snapshots are being sent, which is the limit of a \
                 member: try again later, or ask another member"
            ),
        )
    })?;
    flush(context).await?;
    let origin =
        SnapshotOrigin { cluster: context.config.cluster_id, member: context.config.member_id };
    let source = context
        .read(caller, false, move |context, who| {
            let view = context.reader.view(who);
            let view = view.map_err(|error| context.refuse(refusal::of_range(error)))?;
            SnapshotFile::open(view, origin).map_err(|error| context.refuse(Err(error.to_string())))
        })
        .await?;
    let (sender, chunks) = mpsc::channel(CHUNKS_MAX);
    let started = Instant::now();
    let file_bytes = context.reader.sizes().map_or(0, |sizes| sizes.disk_bytes);
    let (context, total) = (Arc::clone(context), source.bytes());
    let sending = Sending { context, source, total, sender, started, file_bytes };
    let runtime = Handle::current();
    tokio::task::spawn_blocking(move || sending.run(&runtime, permit));
    Ok(ReceiverStream::new(chunks))
}

/// Waits until the engine holds what is applied now.
async fn flush(context: &Context) -> Result<(), Refusal> {
    let wanted = context.reader.applied_slot();
    let done = async {
        while context.flush.stable_slot() < wanted {
            let before = context.flush.stable_slot();
            if !context.flush.round().await {
                return false;
            }
            if context.flush.stable_slot() == before {
                // The log's disk is to be waited for, and tells nobody here.
                sleep(Duration::from_millis(5)).await;
            }
        }
        true
    };
    match timeout(FLUSH_MAX, done).await {
        Ok(true) => Ok(()),
        Ok(false) => Err(Refusal::own(Code::Unavailable, "synod: the member is stopping")),
        Err(_) => Err(Refusal::own(
            Code::Unavailable,
            format!("synod: the disk did not take what was written within {FLUSH_MAX:?}"),
        )),
    }
}

/// A snapshot on its way out.
struct Sending {
    context: Arc<Context>,
    source: SnapshotFile<EngineError>,
    /// Bytes before the hash.
    total: u64,
    sender: mpsc::Sender<Result<pb::SnapshotResponse, Status>>,
    started: Instant,
    /// Bytes of the store's file when it began.
    file_bytes: u64,
}

impl Sending {
    fn run(mut self, runtime: &Handle, permit: OwnedSemaphorePermit) {
        let point = self.source.point();
        info!(revision = %point.revision, bytes = self.total, "sending a snapshot");
        match self.send_all(runtime) {
            Ok(()) => {
                let took = self.started.elapsed();
                self.context.metrics.backend_snapshot.observe(took);
                info!(bytes = self.total, ?took, "sent a snapshot");
            }
            Err(refusal) => {
                warn!(reason = refusal.text(), "a snapshot was not sent");
                // If the client is slow or gone, it is not told: there is no room.
                let _ = self.sender.try_send(Err(refusal.into()));
            }
        }
        drop(permit);
    }

    fn send_all(&mut self, runtime: &Handle) -> Result<(), Refusal> {
        let mut sent = 0;
        loop {
            let blob =
                self.source.next_chunk(CHUNK_BYTES).map_err(|error| refusal::failed(&error))?;
            if blob.is_empty() {
                return Ok(());
            }
            sent += u64::try_from(blob.len()).unwrap_or(u64::MAX);
            let chunk = pb::SnapshotResponse {
                // etcd's parts have no header.
                header: None,
                // As etcd counts: the hash is not among them.
                remaining_bytes: self.total.saturating_sub(sent),
                blob,
                version: ETCD_CLUSTER_VERSION.to_owned(),
            };
            match runtime.block_on(timeout(STALL_MAX, self.sender.send(Ok(chunk)))) {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return Err(cancelled("the client has gone".to_owned())),
                Err(_) => {
                    return Err(cancelled(format!(
                        "the client took nothing for {STALL_MAX:?}, which is the limit"
                    )));
                }
            }
            self.check_held(sent)?;
        }
    }

    fn check_held(&self, sent: u64) -> Result<(), Refusal> {
        let limit = HELD_MAX + Duration::from_secs(self.total >> 20);
        let held = self.started.elapsed();
        if held > limit {
            return Err(cancelled(format!(
                "{sent} of {} bytes were taken in {held:?}, and {limit:?} is the limit",
                self.total
            )));
        }
        // Not at every chunk: it asks the file system.
        if !(sent >> 20).is_multiple_of(16) {
            return Ok(());
        }
        let bytes = self.context.reader.sizes().map_or(0, |sizes| sizes.disk_bytes);
        let grown = bytes.saturating_sub(self.file_bytes);
        if grown > GROWTH_BYTES_MAX {
            return Err(cancelled(format!(
                "the store's file grew by {grown} bytes meanwhile, and {GROWTH_BYTES_MAX} is the \
                 limit: take the snapshot over a faster network, or when less is written"
            )));
        }
        Ok(())
    }
}

fn cancelled(why: String) -> Refusal {
    Refusal::own(Code::Aborted, format!("synod: the snapshot was given up: {why}"))
}
