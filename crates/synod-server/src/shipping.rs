//! The store's state on its way between members.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use bytes::Bytes;
use synod_kv::{Arriving, Caller, Reader, SnapshotOrigin, SnapshotPoint, SnapshotSource};
use synod_paxos::{Ballot, LogTime, Prefix, ReplicaId, Slot};
use synod_replica::Shipping;
use synod_replica::snapshot::{Arrived, Incoming, Outgoing, ShippingError};
use tracing::{info, warn};

use crate::engine::{EngineError, RedbEngine};
use crate::metrics::Metrics;

/// Sends and receives snapshots of the store.
#[derive(Debug)]
pub(crate) struct KvShipping {
    pub(crate) reader: Reader<RedbEngine>,
    pub(crate) origin: SnapshotOrigin,
    pub(crate) metrics: Arc<Metrics>,
}

/// What the log knows of a state.
pub(crate) fn prefix(applied_slot: u64, [round, replica]: [u64; 2], time_ms: u64) -> Prefix {
    Prefix {
        end: Slot::new(applied_slot),
        barrier: Ballot { round, replica: ReplicaId::new(replica) },
        time: LogTime::from_millis(time_ms),
    }
}

impl Shipping for KvShipping {
    fn open(&mut self) -> Result<Box<dyn Outgoing>, ShippingError> {
        let source = self.reader.snapshot(&Caller::Internal, self.origin)?;
        let end = source.point().applied_slot;
        info!(end, "sending a snapshot to a member that lags");
        let metrics = Arc::clone(&self.metrics);
        metrics.snapshots.sending.fetch_add(1, Ordering::Relaxed);
        Ok(Box::new(KvOutgoing { source, metrics, started: Instant::now(), ended: false }))
    }

    fn receive(&mut self) -> Result<Box<dyn Incoming>, ShippingError> {
        let arriving = self.reader.receive()?;
        info!("receiving a snapshot: the log of no member goes back far enough");
        let metrics = Arc::clone(&self.metrics);
        metrics.snapshots.receiving.fetch_add(1, Ordering::Relaxed);
        let (cluster, started) = (self.origin.cluster, Instant::now());
        Ok(Box::new(KvIncoming { arriving: Some(arriving), cluster, metrics, started }))
    }
}

struct KvOutgoing {
    source: SnapshotSource<EngineError>,
    metrics: Arc<Metrics>,
    started: Instant,
    ended: bool,
}

impl Outgoing for KvOutgoing {
    fn prefix(&self) -> Prefix {
        of_point(self.source.point())
    }

    fn next(&mut self, bytes_max: usize) -> Result<Bytes, ShippingError> {
        let chunk = self.source.next_chunk(bytes_max)?;
        self.ended |= chunk.is_empty();
        Ok(chunk)
    }
}

impl Drop for KvOutgoing {
    fn drop(&mut self) {
        let figures = &self.metrics.snapshots;
        figures.sending.fetch_sub(1, Ordering::Relaxed);
        if self.ended {
            figures.sent.observe(self.started.elapsed());
            self.metrics.backend_snapshot.observe(self.started.elapsed());
        } else {
            figures.send_failures.fetch_add(1, Ordering::Relaxed);
        }
    }
}

struct KvIncoming {
    /// None at the end.
    arriving: Option<Arriving<RedbEngine>>,
    cluster: u64,
    metrics: Arc<Metrics>,
    started: Instant,
}

impl Incoming for KvIncoming {
    fn push(&mut self, bytes: &Bytes) -> Result<(), ShippingError> {
        match &mut self.arriving {
            Some(arriving) => Ok(arriving.push(bytes)?),
            None => Err("it has ended".into()),
        }
    }

    fn finish(mut self: Box<Self>) -> Result<Arrived, ShippingError> {
        let Some(arriving) = self.arriving.take() else { return Err("it has ended".into()) };
        let arrived = arriving.finish().inspect_err(|error| {
            warn!(%error, "a snapshot that came is not taken");
            self.metrics.snapshots.receive_failures.fetch_add(1, Ordering::Relaxed);
        })?;
        let facts = arrived.facts();
        if facts.origin.cluster != self.cluster {
            return Err("it is of another cluster".into());
        }
        let took = self.started.elapsed();
        self.metrics.snapshots.received.observe(took);
        info!(end = facts.point.applied_slot, bytes = facts.bytes, ?took, "received a snapshot");
        Ok(Arrived { prefix: of_point(facts.point), state: Box::new(arrived) })
    }
}

impl Drop for KvIncoming {
    fn drop(&mut self) {
        let figures = &self.metrics.snapshots;
        figures.receiving.fetch_sub(1, Ordering::Relaxed);
        if self.arriving.is_some() {
            figures.receive_failures.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn of_point(point: SnapshotPoint) -> Prefix {
    prefix(point.applied_slot, point.barrier, point.time_ms)
}
