//! All connections of one member, and the handle on them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::PeerIdentity;
use crate::accept::Acceptor;
use crate::dial::Dialler;
use crate::hello::{Hello, Lane};
use crate::limit::LogLimit;
use crate::listening::Listening;
use crate::lobby::Lobby;
use crate::options::{TransportOptions, Who};
use crate::outbox::Outbox;
use crate::stats::{LaneStats, TransportStats, count, counted};

/// Starts transports.
#[derive(Debug)]
pub struct Transport;

/// A running transport. Dropping it stops it.
#[derive(Debug)]
pub struct TransportHandle {
    lanes: Arc<BTreeMap<(u64, Lane), Arc<Outbox>>>,
    abouts: Arc<Mutex<BTreeMap<u64, Bytes>>>,
    refused: Arc<AtomicU64>,
    lobby: Arc<Lobby>,
    misdirected: AtomicU64,
    stop: CancellationToken,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

impl Transport {
    /// Starts to dial and to accept, on the tokio runtime it is called in.
    ///
    /// `on_frame` is called with each frame, from several tasks at once but in order for each peer
    /// and lane. `on_unreachable` is called when a connection to the peer broke and nobody listens
    /// on its port any more: its process is gone. Neither may block.
    pub fn start<F, U>(
        who: Who,
        options: TransportOptions,
        listening: Listening,
        on_frame: F,
        on_unreachable: U,
    ) -> TransportHandle
    where
        F: Fn(PeerIdentity, Bytes) + Send + Sync + 'static,
        U: Fn(u64) + Send + Sync + 'static,
    {
        let lanes = Arc::new(outboxes(&who, &options));
        let limit = Arc::new(LogLimit::default());
        let lobby = Arc::new(Lobby::new(options.strangers_max));
        let refused = Arc::new(AtomicU64::new(0));
        let abouts = Arc::default();
        let stop = CancellationToken::new();
        let on_unreachable = Arc::new(on_unreachable);

        let mut tasks = Vec::new();
        for (peer, address) in &who.peers {
            for lane in Lane::ALL {
                let dialler = Dialler {
                    hello: Hello {
                        cluster: who.cluster,
                        sender: who.me,
                        receiver: *peer,
                        lane,
                        about: who.about.clone(),
                    },
                    address: address.clone(),
                    options: options.clone(),
                    outbox: Arc::clone(&lanes[&(*peer, lane)]),
                    on_unreachable: Arc::clone(&on_unreachable),
                    limit: Arc::clone(&limit),
                    stop: stop.clone(),
                };
                tasks.push(tokio::spawn(dialler.run()));
            }
        }
        let acceptor = Arc::new(Acceptor {
            lobby: Arc::clone(&lobby),
            who,
            options,
            lanes: Arc::clone(&lanes),
            on_frame,
            abouts: Arc::clone(&abouts),
            limit,
            refused: Arc::clone(&refused),
            current: Mutex::default(),
            stop: stop.clone(),
        });
        for socket in listening.sockets {
            tasks.push(tokio::spawn(Arc::clone(&acceptor).run(socket)));
        }
        let tasks = Mutex::new(tasks);
        TransportHandle {
            lanes,
            abouts,
            refused,
            lobby,
            misdirected: AtomicU64::new(0),
            stop,
            tasks,
        }
    }
}

fn outboxes(who: &Who, options: &TransportOptions) -> BTreeMap<(u64, Lane), Arc<Outbox>> {
    let mut lanes = BTreeMap::new();
    for (peer, _) in &who.peers {
        for lane in Lane::ALL {
            let (frames_max, bytes_max) = lane.bounds(options);
            lanes.insert((*peer, lane), Arc::new(Outbox::new(frames_max, bytes_max)));
        }
    }
    lanes
}

impl TransportHandle {
    /// Sends a frame to a member. Never blocks, and tells nobody if the frame is lost.
    pub fn send(&self, to: u64, lane: Lane, frame: Bytes) {
        match self.lanes.get(&(to, lane)) {
            Some(outbox) => outbox.push(frame),
            None => count(&self.misdirected, 1),
        }
    }

    /// What a peer has said about itself when it last connected, since this member started.
    #[must_use]
    pub fn about(&self, peer: u64) -> Option<Bytes> {
        self.abouts.lock().get(&peer).cloned()
    }

    /// The counters as they are now.
    #[must_use]
    pub fn stats(&self) -> TransportStats {
        let lanes = self.lanes.iter().map(|((peer, lane), outbox)| {
            let counters = &outbox.counters;
            LaneStats {
                peer: *peer,
                lane: *lane,
                connected: counters.connected.load(Ordering::Relaxed),
                connects: counted(&counters.connects),
                sent_frames: counted(&counters.sent_frames),
                sent_bytes: counted(&counters.sent_bytes),
                dropped_frames: counted(&counters.dropped_frames),
                received_frames: counted(&counters.received_frames),
                received_bytes: counted(&counters.received_bytes),
                queued_bytes: outbox.queued_bytes(),
            }
        });
        TransportStats {
            lanes: lanes.collect(),
            refused: counted(&self.refused),
            strangers: self.lobby.len(),
            misdirected: counted(&self.misdirected),
        }
    }

    /// Sends what waits, for a moment at most, and closes all connections and ports.
    pub async fn shutdown(&self) {
        self.stop.cancel();
        let tasks = std::mem::take(&mut *self.tasks.lock());
        for task in tasks {
            // A task that panicked has said so already.
            let _ = task.await;
        }
    }
}

impl Drop for TransportHandle {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
