//! Connections between members: opaque frames, in two lanes, to whoever is there.
//!
//! ```text
//!   member A                                   member B
//!   outbox ─ control ─▶ ══ TCP, dialled by A ══▶ on_frame(A, frame)
//!   outbox ─ bulk ────▶ ══ TCP, dialled by A ══▶ on_frame(A, frame)
//!   on_frame(B, frame) ◀══ TCP, dialled by B ══ ◀─ control ─ outbox
//!   on_frame(B, frame) ◀══ TCP, dialled by B ══ ◀─ bulk ──── outbox
//! ```
//!
//! Each member dials every peer once per lane, sends only on connections it dialled, and receives
//! only on those it accepted. Two lanes are two connections, so that a large value never stands in
//! front of a heartbeat. A connection begins with a [`hello`]; after it come frames, each with its
//! length and checksum (see [`frame`]).
//!
//! What the users of this crate may rely on:
//!
//! * Frames of one lane arrive in the order they were sent, unless they do not arrive. Frames are
//!   lost when a connection breaks, when a peer is away, and when a peer is slower than the
//!   sender: nothing here waits, and nothing is sent twice.
//! * [`TransportHandle::send`] never blocks. Every queue is bounded, by frames and by bytes.
//! * A peer whose process is gone is told of at once: a connection that breaks is dialled again
//!   immediately, unless it has just begun, and if that is refused, nobody listens there any more.
//! * The sender given with a frame is who said hello: of this cluster, a known member, meaning us.
//!   (Without TLS this guards against mistakes, not against forgers. With it, a connection begins
//!   with a handshake, and the hello is read from whoever the certificates let in.)
//!
//! The crate knows nothing of what the frames say.
#![deny(missing_docs)]

mod accept;
mod dial;
pub mod frame;
pub mod hello;
mod limit;
mod listening;
mod lobby;
mod moving;
mod options;
mod outbox;
mod stats;
mod tls;
mod transport;

pub use hello::{Lane, RefusalCode};
pub use listening::{BindError, Listening};
pub use lobby::{Host, Lobby, Stranger};
pub use options::{TransportOptions, Who};
pub use stats::{LaneStats, TransportStats};
pub use tls::PeerTls;
pub use transport::{Transport, TransportHandle};

/// A member as it introduced itself.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Ord, PartialOrd, Hash)]
pub struct PeerIdentity {
    /// Its id.
    pub id: u64,
    /// The life of its disk.
    pub incarnation: u64,
}
