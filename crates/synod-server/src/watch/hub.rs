//! The watches of a member: who they are, and where each of them stands.
//!
//! No thread, no socket and no clock in here: requests and the time come in, and what is to be told
//! goes to outlets. [`Hub::step`] does a bounded piece of work.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Waker;
use std::time::{Duration, Instant};

use slab::Slab;
use synod_etcd::watch::{Flavor, WatchCreate, WatchRefused};
use synod_kv::{Engine, HistoryLimits, KeyRange, Reader, Revision, StorageError, Tail};
use tonic::Status;

use super::index::{Index, Moved, Seat};
use super::outlet::{Answer, AnswerKind, Figures, Outgoing, Outlet};

/// What a hub may cost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HubOptions {
    /// Between notes of how far a watch has come that wants them.
    pub(crate) progress_interval: Duration,
    /// Bytes that wait in one outlet before its watches are parked.
    pub(crate) stream_bytes_max: usize,
    /// Bytes that wait in all outlets before each may have only a small part of its own.
    pub(crate) all_bytes_max: usize,
    /// Memory of all watches, about.
    pub(crate) watch_bytes_max: usize,
    /// One read of history.
    pub(crate) history: HistoryLimits,
}

impl Default for HubOptions {
    fn default() -> Self {
        Self {
            progress_interval: Duration::from_secs(600),
            stream_bytes_max: 1 << 20,
            all_bytes_max: 128 << 20,
            watch_bytes_max: 512 << 20,
            history: HistoryLimits::default(),
        }
    }
}

/// The watches of a member.
///
/// Invariants:
///
/// * A *live* watch sits in `live`, and is told all from its cursor on that the tail comes to.
/// * A *queued* watch sits in `lagging` and in `by_cursor`, and has a turn in `turns`.
/// * A *parked* watch sits nowhere; its stream knows it, and its outlet tells when there is room.
/// * There is a tail if and only if there is a watch.
#[derive(Debug)]
pub(super) struct Hub<E: Engine> {
    pub(super) options: HubOptions,
    pub(super) reader: Reader<E>,
    pub(super) tail: Option<Tail<E>>,
    pub(super) streams: Slab<Stream>,
    pub(super) watches: Slab<Watch>,
    pub(super) live: Index,
    pub(super) lagging: Index,
    pub(super) by_cursor: BTreeSet<(Revision, usize)>,
    pub(super) turns: VecDeque<usize>,
    /// Streams that have something to put into their outlets.
    pub(super) touched: Vec<usize>,
    /// Streams that asked how far they have come.
    pub(super) asking: BTreeSet<usize>,
    /// When streams are to be told without being asked.
    pub(super) due: BTreeSet<(Instant, usize)>,
    /// Streams that may have to get such a time.
    pub(super) undue: Vec<usize>,
    parked: usize,
    watch_bytes: usize,
    /// Who is to be woken for what was put into outlets.
    wakers: Vec<Waker>,
    /// How often a watch was told an event in this step.
    pub(super) told: usize,
    /// The last step did not come to the end of what was applied.
    is_behind: bool,
    pub(super) figures: Arc<Figures>,
}

/// A stream of watches.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) outlet: Arc<Outlet>,
    pub(super) ids: BTreeMap<i64, usize>,
    next_id: i64,
    pub(super) parked: BTreeSet<usize>,
    /// Queued and parked watches.
    pub(super) lagging: usize,
    /// The highest revision that a watch was asked to begin at.
    pub(super) start_max: Revision,
    /// Watches that want progress without asking.
    pub(super) notified: usize,
    pub(super) due: Option<Instant>,
    /// What goes into the outlet at the end of this step.
    pub(super) pending: Vec<Outgoing>,
    /// What else fits into the outlet in this step, once that is known.
    pub(super) room: Option<usize>,
    /// A watch was parked in this step.
    pub(super) is_full: bool,
    /// It is in the list of those that have something to put.
    pub(super) is_touched: bool,
}

/// A watch.
#[derive(Debug)]
pub(super) struct Watch {
    pub(super) stream: usize,
    pub(super) id: i64,
    pub(super) keys: KeyRange,
    pub(super) flavor: Flavor,
    pub(super) fragment: bool,
    pub(super) notified: bool,
    /// It has been told nothing since the last note of progress.
    pub(super) is_quiet: bool,
    /// It has a turn in the queue, perhaps of a former life.
    pub(super) has_turn: bool,
    pub(super) place: Place,
    /// What it was asked to begin at; zero if nothing.
    start: Revision,
    /// The first revision that it may be told. For a live watch, not below the tail's next one
    /// counts.
    pub(super) cursor: Revision,
}

/// Where a watch stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Place {
    Live(Seat),
    Queued(Seat),
    Parked,
}

/// What a watch takes beside its keys, about.
const WATCH_BYTES: usize = 512;

impl HubOptions {
    /// What may wait in one outlet, as things are.
    pub(super) fn limit(&self, figures: &Figures) -> usize {
        if figures.bytes() < self.all_bytes_max {
            self.stream_bytes_max
        } else {
            (self.stream_bytes_max / SMALL_PART).max(1)
        }
    }
}

/// When much waits in all outlets, each may have this part of its own.
const SMALL_PART: usize = 16;

impl Stream {
    /// Notes that it has something to put.
    pub(super) fn touch(&mut self, slot: usize, touched: &mut Vec<usize>) {
        if !std::mem::replace(&mut self.is_touched, true) {
            touched.push(slot);
        }
    }
}

impl Watch {
    /// What it was asked to begin at; zero if nothing.
    pub(super) const fn start(&self) -> Revision {
        self.start
    }
}

impl<E: Engine> Hub<E> {
    pub(super) fn new(reader: Reader<E>, options: HubOptions, figures: Arc<Figures>) -> Self {
        Self {
            options,
            reader,
            tail: None,
            streams: Slab::new(),
            watches: Slab::new(),
            live: Index::default(),
            lagging: Index::default(),
            by_cursor: BTreeSet::new(),
            turns: VecDeque::new(),
            touched: Vec::new(),
            asking: BTreeSet::new(),
            due: BTreeSet::new(),
            undue: Vec::new(),
            parked: 0,
            watch_bytes: 0,
            wakers: Vec::new(),
            told: 0,
            is_behind: false,
            figures,
        }
    }

    /// Does a piece of what there is to do; whether there is more.
    ///
    /// # Errors
    /// If the engine fails.
    pub(super) fn step(&mut self, now: Instant) -> Result<bool, StorageError<E::Error>> {
        self.told = 0;
        self.is_behind = self.follow()?;
        self.catch_up()?;
        if !self.is_behind {
            self.answer_progress();
        }
        self.note_progress(now);
        self.put_all();
        self.count();
        Ok(self.is_behind || !self.by_cursor.is_empty())
    }

    /// Whether the next step may take long: it reads history, has fallen behind, or may tell as
    /// many as the one before.
    pub(super) fn next_step_is_long(&self) -> bool {
        self.is_behind || !self.by_cursor.is_empty() || self.told > TOLD_MAX
    }

    /// Who is to be woken for what the steps before have put.
    pub(super) fn take_wakers(&mut self) -> Vec<Waker> {
        std::mem::take(&mut self.wakers)
    }

    /// When there is something to do, if nothing happens before.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.due.first().map(|(due, _)| *due)
    }

    /// Whether nobody watches.
    pub(super) fn is_idle(&self) -> bool {
        self.watches.is_empty()
    }

    pub(super) fn open(&mut self, outlet: Arc<Outlet>) {
        let stream = Stream {
            outlet: Arc::clone(&outlet),
            ids: BTreeMap::new(),
            next_id: 0,
            parked: BTreeSet::new(),
            lagging: 0,
            start_max: Revision::ZERO,
            notified: 0,
            due: None,
            pending: Vec::new(),
            room: None,
            is_full: false,
            is_touched: false,
        };
        outlet.set_slot(Some(self.streams.insert(stream)));
    }

    pub(super) fn close(&mut self, outlet: &Outlet) {
        let Some(slot) = outlet.slot() else { return };
        let ids: Vec<usize> = self.streams[slot].ids.values().copied().collect();
        for watch in ids {
            self.remove(watch);
        }
        outlet.set_slot(None);
        self.asking.remove(&slot);
        self.touched.retain(|touched| *touched != slot);
        self.streams.remove(slot);
    }

    /// Ends all streams.
    pub(super) fn end(&self, status: &Status) {
        for (_, stream) in &self.streams {
            stream.outlet.end(status.clone());
        }
    }

    /// Makes a watch, or says why not.
    pub(super) fn create(&mut self, stream: usize, create: WatchCreate) {
        match self.admit(stream, &create) {
            Ok(id) => self.make(stream, id, create),
            Err(reason) => self.refuse(stream, &reason),
        }
    }

    /// Says that there will be no watch.
    pub(super) fn refuse(&mut self, stream: usize, reason: &str) {
        let kind = AnswerKind::Refused(reason.into());
        let answer = Answer { watch_id: NO_WATCH, revision: self.reader.revision(), kind };
        self.tell(stream, Outgoing::Answer(answer));
    }

    /// Cancels a watch, if there is one of this id; if not, nothing is said, as etcd does.
    pub(super) fn cancel(&mut self, stream: usize, watch_id: i64) {
        let Some(watch) = self.streams[stream].ids.get(&watch_id).copied() else {
            self.streams[stream].outlet.permits.add_permits(1);
            return;
        };
        let revision = self.reader.revision();
        let answer = Answer { watch_id, revision, kind: AnswerKind::Canceled };
        self.tell(stream, Outgoing::Answer(answer));
        self.remove(watch);
    }

    /// Queues the watches that were parked because the stream was full.
    pub(super) fn unpark(&mut self, stream: usize) {
        let parked = std::mem::take(&mut self.streams[stream].parked);
        self.parked -= parked.len();
        for watch in parked {
            self.queue(watch);
        }
    }

    /// The id of a new watch.
    fn admit(&mut self, stream: usize, create: &WatchCreate) -> Result<i64, String> {
        let (bytes, max) = (bytes_of(&create.keys), self.options.watch_bytes_max);
        if self.watch_bytes + bytes > max {
            return Err(format!(
                "synod: the watches of this member take {} bytes of at most {max}: watch ranges \
                 instead of single keys, or at another member",
                self.watch_bytes
            ));
        }
        let stream = &mut self.streams[stream];
        match create.watch_id {
            Some(id) if stream.ids.contains_key(&id) => Err(WatchRefused::IdInUse.to_string()),
            Some(id) => Ok(id),
            None => {
                while stream.ids.contains_key(&stream.next_id) {
                    stream.next_id += 1;
                }
                stream.next_id += 1;
                Ok(stream.next_id - 1)
            }
        }
    }

    fn make(&mut self, stream: usize, id: i64, create: WatchCreate) {
        let WatchCreate { keys, start, watch_id: _, flavor, progress_notify, fragment } = create;
        let next = self.tail.get_or_insert_with(|| self.reader.tail()).next();
        let current = self.reader.revision();
        self.watch_bytes += bytes_of(&keys);
        let cursor = start.unwrap_or_else(|| current.next());
        let watch = self.watches.insert(Watch {
            stream,
            id,
            keys,
            flavor,
            fragment,
            notified: progress_notify,
            is_quiet: true,
            has_turn: false,
            place: Place::Parked,
            start: start.unwrap_or(Revision::ZERO),
            cursor,
        });
        let answer = Answer { watch_id: id, revision: current, kind: AnswerKind::Created };
        self.tell(stream, Outgoing::Answer(answer));
        let owner = &mut self.streams[stream];
        owner.ids.insert(id, watch);
        owner.start_max = owner.start_max.max(self.watches[watch].start);
        owner.lagging += 1;
        if progress_notify {
            owner.notified += 1;
            self.undue.push(stream);
        }
        if cursor >= next {
            self.go_live(watch);
        } else {
            self.queue(watch);
        }
    }

    /// Takes a watch away, wherever it is.
    pub(super) fn remove(&mut self, watch: usize) {
        self.unseat(watch);
        let Watch { stream, id, keys, start, notified, .. } = self.watches.remove(watch);
        self.watch_bytes -= bytes_of(&keys);
        let owner = &mut self.streams[stream];
        owner.ids.remove(&id);
        owner.lagging -= 1;
        owner.notified -= usize::from(notified);
        if start == owner.start_max {
            let starts = owner.ids.values().map(|watch| self.watches[*watch].start);
            owner.start_max = starts.max().unwrap_or(Revision::ZERO);
        }
        if let Some(due) = owner.due.filter(|_| owner.notified == 0) {
            owner.due = None;
            self.due.remove(&(due, stream));
        }
        if self.watches.is_empty() {
            self.tail = None;
        }
    }

    /// A watch that has read all that is passed is told the rest as it comes.
    pub(super) fn go_live(&mut self, watch: usize) {
        self.unseat(watch);
        let one = &mut self.watches[watch];
        one.place = Place::Live(self.live.insert(&one.keys, one.flavor, watch));
        self.streams[one.stream].lagging -= 1;
    }

    /// A watch has history to read.
    pub(super) fn queue(&mut self, watch: usize) {
        self.unseat(watch);
        let one = &mut self.watches[watch];
        one.place = Place::Queued(self.lagging.insert(&one.keys, one.flavor, watch));
        self.by_cursor.insert((one.cursor, watch));
        if !std::mem::replace(&mut one.has_turn, true) {
            self.turns.push_back(watch);
        }
    }

    /// The stream of a watch is full: it reads on from this revision when there is room.
    pub(super) fn park(&mut self, watch: usize, cursor: Revision) {
        self.unseat(watch);
        let one = &mut self.watches[watch];
        one.cursor = cursor;
        let stream = &mut self.streams[one.stream];
        stream.parked.insert(watch);
        stream.is_full = true;
        self.parked += 1;
        self.touch(self.watches[watch].stream);
    }

    /// Takes a watch from where it is. It counts as lagging then.
    fn unseat(&mut self, watch: usize) {
        let one = &mut self.watches[watch];
        let moved: Moved = match std::mem::replace(&mut one.place, Place::Parked) {
            Place::Live(seat) => {
                self.streams[one.stream].lagging += 1;
                self.live.remove(&one.keys, one.flavor, seat)
            }
            Place::Queued(seat) => {
                self.by_cursor.remove(&(one.cursor, watch));
                self.lagging.remove(&one.keys, one.flavor, seat)
            }
            Place::Parked => {
                let was_parked = self.streams[one.stream].parked.remove(&watch);
                self.parked -= usize::from(was_parked);
                None
            }
        };
        if let Some((moved, to)) = moved {
            let (Place::Live(seat) | Place::Queued(seat)) = &mut self.watches[moved].place else {
                unreachable!("a parked watch has no seat");
            };
            *seat = to;
        }
    }

    /// Something to put into a stream's outlet at the end of the step.
    pub(super) fn tell(&mut self, stream: usize, what: Outgoing) {
        self.streams[stream].pending.push(what);
        self.touch(stream);
    }

    fn touch(&mut self, stream: usize) {
        self.streams[stream].touch(stream, &mut self.touched);
    }

    fn put_all(&mut self) {
        for slot in std::mem::take(&mut self.touched) {
            let stream = &mut self.streams[slot];
            (stream.room, stream.is_touched) = (None, false);
            if !stream.pending.is_empty() {
                self.wakers.extend(stream.outlet.put(&mut stream.pending));
                stream.pending.shrink_to(IDLE_ENTRIES);
            }
            let low = self.options.limit(&self.figures) / 2;
            if std::mem::take(&mut stream.is_full) && stream.outlet.has_room_or_tells(low) {
                self.unpark(slot);
            }
        }
    }

    fn count(&self) {
        let slow = self.by_cursor.len() + self.parked;
        self.figures.slow.store(slow, Ordering::Relaxed);
        self.figures.watches.store(self.watches.len(), Ordering::Relaxed);
        self.figures.streams.store(self.streams.len(), Ordering::Relaxed);
    }
}

/// What answers that concern no watch, or all of a stream, have for an id.
pub(super) const NO_WATCH: i64 = -1;

/// To tell more watches than this takes about a millisecond.
pub(super) const TOLD_MAX: usize = 8192;

/// What a stream keeps room for between two steps.
const IDLE_ENTRIES: usize = 16;

/// What a watch counts for.
fn bytes_of(keys: &KeyRange) -> usize {
    let end = match keys {
        KeyRange::Between { end, .. } => end.as_bytes().len(),
        KeyRange::Single(_) | KeyRange::From(_) => 0,
    };
    WATCH_BYTES + keys.start().as_bytes().len() + end
}
