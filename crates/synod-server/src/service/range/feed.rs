//! Reads an answer as fast as its client takes it, and no faster.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use synod_etcd::response::Stamp;
use synod_etcd::response::pieces::{self, Pieces};
use synod_etcd::{EtcdError, Refusal};
use synod_kv::{PageLimits, RangeFacts, RangePages, ReadError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::timeout;
use tonic::Code;

use super::body::{Item, RangeBody};
use super::budget::{Held, units};
use super::{PAGE_BYTES, window_bytes};
use crate::engine::{EngineError, RedbEngine};
use crate::service::{Context, refusal};

/// A client takes a page within this time.
pub(super) const STALL_MAX: Duration = Duration::from_secs(30);
/// History is held for an answer that is sent for so long; then a compaction may end it.
const HOLD_MAX: Duration = Duration::from_secs(60);
/// Keys of the first message of a stream, as in etcd: it comes at once.
const FIRST_KEYS: usize = 10;
/// Room for what comes before the keys of a message.
const HEAD_BYTES: usize = 16;
/// gRPC's frame: a byte of flags, four of length.
pub(super) const FRAME_BYTES: usize = 5;

/// What the pages make up.
#[derive(Clone, Copy, Debug)]
pub(super) enum Shape {
    /// One message.
    Message { is_first: bool },
    /// A message each.
    Messages { stamp: Stamp, facts: RangeFacts, is_first: bool },
}

/// An answer on its way out.
pub(super) struct Feed {
    context: Arc<Context>,
    reading: Arc<Mutex<Reading>>,
    window: Window,
    started: Instant,
    /// How long the next page is at least.
    next_bytes: u64,
}

/// What is read.
struct Reading {
    pieces: Pieces<RedbEngine>,
    shape: Shape,
    /// What its lists hold, as long as it may read from them.
    _list: Option<Held>,
}

/// A page, where it begins, and how long the next one is at least.
struct Read {
    data: Vec<u8>,
    start: usize,
    next_bytes: u64,
    is_last: bool,
}

/// How much may be read before the client has taken it.
struct Window {
    room: Arc<Semaphore>,
    units: u32,
    held: Arc<Held>,
}

impl Window {
    fn new(bytes: u64, held: Held) -> Self {
        let units = units(bytes);
        let room = Semaphore::new(usize::try_from(units).unwrap_or(Semaphore::MAX_PERMITS));
        Self { room: Arc::new(room), units, held: Arc::new(held) }
    }

    /// Waits until the client has taken enough of what came before; not for ever.
    async fn room_for(&self, bytes: u64) -> Result<OwnedSemaphorePermit, Refusal> {
        // One value is always read, also one larger than may be stored now.
        let units = units(bytes).min(self.units);
        let room = Arc::clone(&self.room).acquire_many_owned(units);
        match timeout(STALL_MAX, room).await {
            Ok(room) => Ok(room.expect("nobody closes the semaphore")),
            Err(_) => Err(Refusal::own(
                Code::Aborted,
                format!("synod: the client took nothing of the answer for {STALL_MAX:?}"),
            )),
        }
    }
}

/// Bytes on their way, and what they hold.
struct Page {
    data: Vec<u8>,
    start: usize,
    _room: Option<OwnedSemaphorePermit>,
    _held: Arc<Held>,
}

/// Answers with all of a short answer.
pub(super) async fn read_at_once(
    context: &Arc<Context>,
    pieces: Pieces<RedbEngine>,
    list: Option<Held>,
    held: Held,
    short: bool,
) -> Result<RangeBody, Refusal> {
    let mut reading = Reading { pieces, shape: Shape::Message { is_first: true }, _list: list };
    let mut read = move || reading.next();
    let read = if short { read() } else { context.read_on(read).await? };
    let read = read.map_err(|error| context.refuse(refusal::of_range(error)))?;
    assert!(read.is_last, "a short answer is one page");
    Ok(RangeBody::whole(Page::of(read, None, &Arc::new(held))))
}

impl Feed {
    pub(super) fn new(
        context: &Arc<Context>,
        pieces: Pieces<RedbEngine>,
        list: Option<Held>,
        held: Held,
        shape: Shape,
    ) -> Self {
        Self {
            context: Arc::clone(context),
            reading: Arc::new(Mutex::new(Reading { pieces, shape, _list: list })),
            window: Window::new(window_bytes(context), held),
            started: Instant::now(),
            next_bytes: PAGE_BYTES,
        }
    }

    /// Reads the first page, so that what is wrong with the range is told before anything else;
    /// the others are read when there is room for them.
    pub(super) async fn start(mut self) -> Result<RangeBody, Refusal> {
        let (first, is_last) = self.next().await?;
        let (sender, rest) = mpsc::channel(1);
        if is_last {
            return Ok(RangeBody::whole(first));
        }
        tokio::spawn(self.run(sender));
        Ok(RangeBody::fed(Item::Data(first), rest))
    }

    async fn run(mut self, sender: mpsc::Sender<Item>) {
        let stopping = self.context.stopping.clone();
        loop {
            let page = tokio::select! {
                page = self.next() => page,
                () = stopping.cancelled() => Err(EtcdError::Stopped.into()),
                () = sender.closed() => return,
            };
            let (item, is_last) = match page {
                Ok((page, is_last)) => (Item::Data(page), is_last),
                Err(refusal) => (Item::End(Err(refusal.into())), false),
            };
            let ends = matches!(item, Item::End(_));
            if !hand_over(&sender, item).await || ends {
                return;
            }
            if is_last {
                hand_over(&sender, Item::End(Ok(()))).await;
                return;
            }
        }
    }

    /// Waits for room and reads the next page; and whether it is the last one.
    async fn next(&mut self) -> Result<(Bytes, bool), Refusal> {
        let room = self.window.room_for(PAGE_BYTES.max(self.next_bytes)).await?;
        let (reading, is_late) = (Arc::clone(&self.reading), self.started.elapsed() > HOLD_MAX);
        let read = self.context.read_on(move || {
            let mut reading = reading.lock();
            if is_late {
                reading.pieces.ranges().for_each(RangePages::release);
            }
            reading.next()
        });
        let read = read.await?.map_err(|error| self.context.refuse(refusal::of_range(error)))?;
        self.next_bytes = read.next_bytes;
        let is_last = read.is_last;
        Ok((Page::of(read, Some(room), &self.window.held), is_last))
    }
}

impl Reading {
    fn next(&mut self) -> Result<Read, ReadError<EngineError>> {
        let (data, start) = match self.shape {
            Shape::Message { is_first } => (self.part(is_first)?, 0),
            Shape::Messages { stamp, facts, is_first } => self.message(stamp, facts, is_first)?,
        };
        match &mut self.shape {
            Shape::Message { is_first } | Shape::Messages { is_first, .. } => *is_first = false,
        }
        let is_last = self.pieces.is_empty();
        let next_bytes = if is_last { 0 } else { self.pieces.next_len()? };
        Ok(Read { data, start, next_bytes, is_last })
    }

    /// A part of the one message.
    fn part(&mut self, is_first: bool) -> Result<Vec<u8>, ReadError<EngineError>> {
        let len = self.pieces.len();
        let expected = usize::try_from(len.min(PAGE_BYTES)).unwrap_or(usize::MAX);
        let mut data = Vec::with_capacity(expected + FRAME_BYTES);
        if is_first {
            data.extend(frame_head(len));
        }
        let limits = PageLimits { keys_max: usize::MAX, bytes_max: PAGE_BYTES };
        self.pieces.read(limits, &mut data)?;
        Ok(data)
    }

    /// A message of many.
    fn message(
        &mut self,
        stamp: Stamp,
        facts: RangeFacts,
        is_first: bool,
    ) -> Result<(Vec<u8>, usize), ReadError<EngineError>> {
        let keys_max = if is_first { FIRST_KEYS } else { usize::MAX };
        let mut data = vec![0; HEAD_BYTES];
        self.pieces.read(PageLimits { keys_max, bytes_max: PAGE_BYTES }, &mut data)?;
        let last = self.pieces.is_empty().then_some((stamp, facts));
        let before = pieces::stream_message(&mut data, HEAD_BYTES, last);
        let message = HEAD_BYTES - before;
        let len = u64::try_from(data.len() - message).unwrap_or(u64::MAX);
        let start = message - FRAME_BYTES;
        data[start..message].copy_from_slice(&frame_head(len));
        Ok((data, start))
    }
}

impl Page {
    fn of(read: Read, room: Option<OwnedSemaphorePermit>, held: &Arc<Held>) -> Bytes {
        let Read { data, start, .. } = read;
        Bytes::from_owner(Self { data, start, _room: room, _held: Arc::clone(held) })
    }
}

impl AsRef<[u8]> for Page {
    fn as_ref(&self) -> &[u8] {
        &self.data[self.start..]
    }
}

/// Hands something to the client's connection; false if it has gone, or stalls.
pub(super) async fn hand_over(sender: &mpsc::Sender<Item>, item: Item) -> bool {
    matches!(timeout(STALL_MAX, sender.send(item)).await, Ok(Ok(())))
}

pub(super) fn frame_head(len: u64) -> [u8; FRAME_BYTES] {
    let len = u32::try_from(len).expect("longer messages are refused before");
    let [a, b, c, d] = len.to_be_bytes();
    [0, a, b, c, d]
}

#[cfg(test)]
mod tests {
    use super::super::budget::RangeBudget;
    use super::*;
    use crate::config::RangeLimits;

    /// Two values that do not fit into the window together: the second waits for the first, which
    /// nobody takes.
    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_nothing_of_large_values_is_given_up() {
        let limits = RangeLimits { request_bytes: 1 << 20, member_bytes: 1 << 24 };
        let budget = RangeBudget::new(limits, STALL_MAX);
        let window = Window::new(1 << 20, budget.reserve(1 << 20).await.unwrap());
        let first = window.room_for(600 << 10).await.unwrap();
        let refusal = window.room_for(600 << 10).await.unwrap_err();
        assert_eq!(refusal.code(), Code::Aborted);
        drop(first);
        drop(window.room_for(2 << 20).await.unwrap());
        drop(window);
        assert_eq!(budget.held_bytes(), 0);
    }
}
