//! What a transport is told at its start.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::runtime::Handle;

use crate::PeerIdentity;
use crate::tls::PeerTls;

/// Who this member is, and whom it talks to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Who {
    /// The cluster.
    pub cluster: u64,
    /// This member.
    pub me: PeerIdentity,
    /// The other members, each with the `host:port` it listens on. A name is resolved again at each
    /// dial.
    pub peers: Vec<(u64, String)>,
    /// What this member tells its peers about itself; see [`crate::TransportHandle::about`]. Cut at
    /// [`crate::hello::ABOUT_BYTES_MAX`].
    pub about: Bytes,
}

/// Time-outs and bounds, and whether TLS is spoken.
#[derive(Clone, Debug)]
pub struct TransportOptions {
    /// A greeting must be complete after this time. Default 5 s.
    pub handshake_timeout: Duration,
    /// A dial counts as failed after this time. Default 2 s.
    pub connect_timeout: Duration,
    /// Bytes that the peer's host has not confirmed for this long break the connection. Default 3
    /// s.
    pub silence_timeout: Duration,
    /// The first pause before dialling again. It doubles. Default 10 ms.
    pub redial_pause_min: Duration,
    /// The longest pause, to which up to a quarter is added by chance. Default 250 ms.
    pub redial_pause_max: Duration,
    /// Connections at a time that have not said yet who they are. Those that have are two of each
    /// peer. Default 128.
    pub strangers_max: usize,
    /// Frames that wait for a peer, per lane. Default 16,384.
    pub queue_frames_max: usize,
    /// Bytes that wait for a peer, in the control lane. Default 8 MiB.
    pub control_bytes_max: usize,
    /// Bytes that wait for a peer, in the bulk lane. Default 64 MiB.
    pub bulk_bytes_max: usize,
    /// What to speak TLS with. Default: nothing, all is said in the clear.
    pub tls: Option<Arc<dyn PeerTls>>,
    /// The runtime in which the frames of peers that have been let in are read, and handed over.
    /// Default: the one that the transport is started on, where strangers are greeted in any case.
    pub reading: Option<Handle>,
}

impl Default for TransportOptions {
    fn default() -> Self {
        Self {
            handshake_timeout: Duration::from_secs(5),
            connect_timeout: Duration::from_secs(2),
            silence_timeout: Duration::from_secs(3),
            redial_pause_min: Duration::from_millis(10),
            redial_pause_max: Duration::from_millis(250),
            strangers_max: 128,
            queue_frames_max: 16_384,
            control_bytes_max: 8 << 20,
            bulk_bytes_max: 64 << 20,
            tls: None,
            reading: None,
        }
    }
}
