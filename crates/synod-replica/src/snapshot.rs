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
use synod_paxos::{PageWanted, Prefix, ReplicaId};

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

/// How a page that is wanted lies to the one that was read last.
enum Step {
    /// It is that one.
    Again,
    /// It is the next one.
    Next,
    /// It lies before, so whoever wants it has had it: it would not have asked for later ones.
    Past,
}

impl Sending {
    /// How to get to the page; none if this snapshot has no such page, or is of no use.
    ///
    /// One who asks for the first page twice, before it has come, gets the same one twice. Two
    /// snapshots would be two questions for their second pages, each of which would end the
    /// other's snapshot, for ever. But it is of use only if it goes beyond what the asker has got
    /// to meanwhile: otherwise it would never be taken.
    fn step_to(&self, wanted: PageWanted) -> Option<Step> {
        match wanted {
            PageWanted::First { beyond } => {
                (self.offset == 0 && self.state.prefix().end > beyond).then_some(Step::Again)
            }
            PageWanted::At { snapshot, .. } if snapshot != self.name => {
                (self.offset == 0).then_some(Step::Again)
            }
            PageWanted::At { offset, .. } if offset == self.offset => Some(Step::Again),
            PageWanted::At { offset, .. } if offset == self.end() => Some(Step::Next),
            PageWanted::At { offset, .. } => (offset < self.offset).then_some(Step::Past),
        }
    }

    /// Where the page that was read last ends.
    fn end(&self) -> u64 {
        self.offset + length(&self.page)
    }

    fn shown(&mut self) -> SnapshotPage {
        self.used = true;
        SnapshotPage {
            snapshot: self.name,
            prefix: self.state.prefix(),
            offset: self.offset,
            bytes: self.page.clone(),
        }
    }
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

    /// The page that a member wants; nothing if too many snapshots are under way, or if it has had
    /// that page for certain and asks late.
    ///
    /// # Errors
    /// If the state cannot be read.
    pub fn serve(
        &mut self,
        to: ReplicaId,
        wanted: PageWanted,
        bytes_max: usize,
    ) -> Result<Option<SnapshotPage>, ShippingError> {
        let page = self.page(to, wanted, bytes_max);
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
        wanted: PageWanted,
        bytes_max: usize,
    ) -> Result<Option<SnapshotPage>, ShippingError> {
        match self.outgoing.get_mut(&to).and_then(|sending| sending.step_to(wanted)) {
            Some(Step::Past) => return Ok(None),
            Some(Step::Again) => {}
            Some(Step::Next) => self.turn_page(to, bytes_max)?,
            None if !self.begin(to, bytes_max)? => return Ok(None),
            None => {}
        }
        Ok(self.outgoing.get_mut(&to).map(Sending::shown))
    }

    /// Begins to send the state as it is now; false if too many are being sent.
    fn begin(&mut self, to: ReplicaId, bytes_max: usize) -> Result<bool, ShippingError> {
        self.outgoing.remove(&to);
        if self.outgoing.len() >= OUTGOING_MAX {
            return Ok(false);
        }
        self.next_name = self.next_name.wrapping_add(1).max(1);
        let mut state = self.shipping.open()?;
        let page = state.next(bytes_max)?;
        let sending = Sending { name: self.next_name, state, offset: 0, page, used: true };
        self.outgoing.insert(to, sending);
        Ok(true)
    }

    fn turn_page(&mut self, to: ReplicaId, bytes_max: usize) -> Result<(), ShippingError> {
        if let Some(sending) = self.outgoing.get_mut(&to) {
            let offset = sending.end();
            sending.page = sending.state.next(bytes_max)?;
            sending.offset = offset;
        }
        Ok(())
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

#[cfg(test)]
mod tests;
