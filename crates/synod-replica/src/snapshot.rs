//! Snapshots of a state machine: sent to members that lag too far, and received by them.
//!
//! A machine that keeps its state outside the log brings a [`Shipping`]; the rest is here. The
//! [`Shelf`] holds what is under way, without threads or clocks of its own: production has it on a
//! thread of its own, so that a page that is read or put away keeps nobody waiting.

use std::any::Any;
use std::collections::BTreeMap;
use std::error::Error;

use bytes::Bytes;
use synod_paxos::message::SnapshotPage;
use synod_paxos::{Prefix, ReplicaId};

/// Why a state cannot be sent, or what came is none.
pub type ShippingError = Box<dyn Error + Send + Sync>;

/// The state of a machine as others see it: a run of bytes.
pub trait Shipping: Send {
    /// Begins to send the state as it is now, or was a little before. It stays so while the
    /// machine goes on.
    ///
    /// # Errors
    /// If it cannot be read.
    fn open(&mut self) -> Result<Box<dyn Outgoing>, ShippingError>;

    /// Begins to receive a state, beside the one there is. What was received before and not taken
    /// over is forgotten.
    ///
    /// # Errors
    /// If it cannot be put away.
    fn receive(&mut self) -> Result<Box<dyn Incoming>, ShippingError>;
}

/// A state on its way out.
pub trait Outgoing: Send {
    /// What it is the state of.
    fn prefix(&self) -> Prefix;

    /// The next bytes, about `bytes_max`; none at the end.
    ///
    /// # Errors
    /// If they cannot be read.
    fn next(&mut self, bytes_max: usize) -> Result<Bytes, ShippingError>;
}

/// A state on its way in. Dropped if it does not come to its end.
pub trait Incoming: Send {
    /// Puts the next bytes away.
    ///
    /// # Errors
    /// If they cannot be right, or cannot be put away.
    fn push(&mut self, bytes: &Bytes) -> Result<(), ShippingError>;

    /// All bytes have come. Checks that they are what was sent, and prepares what the machine's
    /// [`install`](crate::StateMachine::install) takes over.
    ///
    /// # Errors
    /// If they are not.
    fn finish(self: Box<Self>) -> Result<Arrived, ShippingError>;
}

/// A state that has arrived, whole and undamaged.
pub struct Arrived {
    /// What it is the state of.
    pub prefix: Prefix,
    /// What the machine takes over.
    pub state: Box<dyn Any + Send>,
}

impl std::fmt::Debug for Arrived {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Arrived").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

/// What came of a page that was put away.
#[derive(Debug)]
pub enum Taken {
    /// The snapshot goes on at this offset.
    Next {
        /// Which one.
        snapshot: u64,
        /// Where.
        next: u64,
    },
    /// That was all of it.
    Arrived(Arrived),
    /// It cannot be taken.
    Failed(ShippingError),
}

/// The snapshots under way from and to one member.
pub struct Shelf {
    shipping: Box<dyn Shipping>,
    outgoing: BTreeMap<ReplicaId, Sending>,
    incoming: Option<(u64, u64, Box<dyn Incoming>)>,
    next_name: u64,
}

struct Sending {
    name: u64,
    state: Box<dyn Outgoing>,
    /// The last page that was read: it is sent again if it is asked for again.
    offset: u64,
    page: Bytes,
    /// Whether it was asked for since the last look.
    used: bool,
}

/// Snapshots that are sent at a time. More members than this do not lag at once without worse.
pub const OUTGOING_MAX: usize = 2;

impl std::fmt::Debug for Shelf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shelf").field("outgoing", &self.outgoing.len()).finish_non_exhaustive()
    }
}

impl Shelf {
    /// Nothing is under way. `life` is that of the process, so that names of snapshots do not come
    /// again.
    #[must_use]
    pub fn new(shipping: Box<dyn Shipping>, life: u64) -> Self {
        Self { shipping, outgoing: BTreeMap::new(), incoming: None, next_name: life }
    }

    /// The page of this snapshot at this offset, or the first one of another if there is none
    /// such; nothing if too many are under way.
    ///
    /// # Errors
    /// If the state cannot be read.
    pub fn serve(
        &mut self,
        to: ReplicaId,
        snapshot: u64,
        offset: u64,
        bytes_max: usize,
    ) -> Result<Option<SnapshotPage>, ShippingError> {
        let page = self.page(to, snapshot, offset, bytes_max);
        if page.is_err() {
            self.outgoing.remove(&to);
        }
        page
    }

    /// Puts a page away.
    pub fn take(&mut self, page: &SnapshotPage) -> Taken {
        match self.try_take(page) {
            Ok(taken) => taken,
            Err(error) => {
                self.incoming = None;
                Taken::Failed(error)
            }
        }
    }

    /// Lets go of what nobody has asked for since the last call.
    pub fn forget_unused(&mut self) {
        self.outgoing.retain(|_, sending| std::mem::take(&mut sending.used));
    }

    /// How many are being sent.
    #[must_use]
    pub fn sending(&self) -> usize {
        self.outgoing.len()
    }

    fn page(
        &mut self,
        to: ReplicaId,
        snapshot: u64,
        offset: u64,
        bytes_max: usize,
    ) -> Result<Option<SnapshotPage>, ShippingError> {
        let known = self.outgoing.get(&to).is_some_and(|sending| {
            let end = sending.offset + length(&sending.page);
            // Who asks for no snapshot by name gets a new one: what was begun before may be the
            // state of a prefix that the asker has reached since, and would never take.
            sending.name == snapshot && (sending.offset == offset || end == offset)
        });
        if !known {
            self.outgoing.remove(&to);
            if self.outgoing.len() >= OUTGOING_MAX {
                return Ok(None);
            }
            self.next_name = self.next_name.wrapping_add(1).max(1);
            let mut state = self.shipping.open()?;
            let page = state.next(bytes_max)?;
            let sending = Sending { name: self.next_name, state, offset: 0, page, used: true };
            self.outgoing.insert(to, sending);
        }
        let Some(sending) = self.outgoing.get_mut(&to) else { return Ok(None) };
        sending.used = true;
        let end = sending.offset + length(&sending.page);
        if known && snapshot != 0 && offset == end && !sending.page.is_empty() {
            sending.page = sending.state.next(bytes_max)?;
            sending.offset = end;
        }
        Ok(Some(SnapshotPage {
            snapshot: sending.name,
            prefix: sending.state.prefix(),
            offset: sending.offset,
            bytes: sending.page.clone(),
        }))
    }

    fn try_take(&mut self, page: &SnapshotPage) -> Result<Taken, ShippingError> {
        let SnapshotPage { snapshot, offset, ref bytes, prefix } = *page;
        if offset == 0 {
            self.incoming = None;
            self.incoming = Some((snapshot, 0, self.shipping.receive()?));
        }
        match self.incoming.take() {
            Some((name, at, mut state)) if (name, at) == (snapshot, offset) => {
                if bytes.is_empty() {
                    let arrived = state.finish()?;
                    if arrived.prefix != prefix {
                        return Err("it is not the state that its pages announced".into());
                    }
                    return Ok(Taken::Arrived(arrived));
                }
                state.push(bytes)?;
                let next = offset + length(bytes);
                self.incoming = Some((name, next, state));
                Ok(Taken::Next { snapshot, next })
            }
            _ => Err("its pages do not come one after the other".into()),
        }
    }
}

fn length(bytes: &Bytes) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}
