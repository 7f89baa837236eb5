//! From events to the watches that want them.

use std::sync::Arc;

use synod_etcd::watch::{Block, Flavor, encode_event};
use synod_kv::{Engine, Event, KeyValue, ReadError, Revision, StorageError};

use super::hub::{Hub, HubOptions, Place, Stream, Watch};
use super::index::Index;
use super::outlet::{ENTRY_BYTES, Events, Figures, OTHER_BYTES, Outgoing};

/// To whom events go, and from which cursors on.
#[derive(Clone, Copy, Debug)]
pub(super) enum To {
    /// Those who are told what comes.
    Live,
    /// Those who read history and stand at this revision or above.
    Lagging(Revision),
}

/// What a key was before; none if it was not there, or if that is compacted.
type Before<'a, F> = dyn Fn(&[u8], Revision) -> Result<Option<KeyValue>, ReadError<F>> + 'a;

/// Events of one revision, encoded when somebody wants them.
struct Encoded<'a, F> {
    events: &'a [Event],
    /// Without and with what was there before.
    blocks: Vec<[Option<Arc<Block>>; 2]>,
    before: &'a Before<'a, F>,
}

impl<E: Engine> Hub<E> {
    /// Tells those who are live what was applied; whether there is more.
    pub(super) fn follow(&mut self) -> Result<bool, StorageError<E::Error>> {
        let Some(mut tail) = self.tail.take() else { return Ok(false) };
        let (next, more) = match tail.read(self.options.history) {
            Ok(history) => {
                self.dispatch(&history.events, To::Live, &|key, at| tail.before(key, at))?;
                (history.next, history.next <= history.revision)
            }
            Err(ReadError::Storage(error)) => return Err(error),
            // The store was replaced by one that begins later: whoever was live finds out by
            // himself what he has missed.
            Err(_) => {
                let next = self.reader.revision().next();
                self.fall_back(tail.next(), next);
                (next, true)
            }
        };
        tail.advance(next);
        self.tail = Some(tail);
        Ok(more)
    }

    /// What live watches would have been told between two revisions they read from history.
    pub(super) fn fall_back(&mut self, from: Revision, next: Revision) {
        let live: Vec<usize> = self.watches.iter().map(|(watch, _)| watch).collect();
        for watch in live {
            let one = &mut self.watches[watch];
            if matches!(one.place, Place::Live(_)) && one.cursor < next {
                one.cursor = one.cursor.max(from);
                self.queue(watch);
            }
        }
    }

    /// Tells events to those who want them.
    pub(super) fn dispatch(
        &mut self,
        events: &[Event],
        to: To,
        before: &Before<'_, E::Error>,
    ) -> Result<(), StorageError<E::Error>> {
        for events in events.chunk_by(|a, b| a.kv().mod_revision == b.kv().mod_revision) {
            let revision = events[0].kv().mod_revision;
            for watch in self.dispatch_revision(revision, events, to, before)? {
                self.park(watch, revision);
            }
        }
        Ok(())
    }

    /// Tells one revision; which watches have no room for it.
    fn dispatch_revision(
        &mut self,
        revision: Revision,
        events: &[Event],
        to: To,
        before: &Before<'_, E::Error>,
    ) -> Result<Vec<usize>, StorageError<E::Error>> {
        let Self { options, streams, watches, live, lagging, touched, told, figures, .. } = self;
        let index = match to {
            To::Live => live,
            To::Lagging(_) => lagging,
        };
        let full = Vec::new();
        let mut offer =
            Offer { options, streams, watches, touched, told, figures, revision, to, full };
        let hits = hits(index, events);
        if hits.is_empty() {
            return Ok(offer.full);
        }
        let mut encoded = Encoded { events, blocks: vec![[None, None]; events.len()], before };
        for hits in hits.chunk_by(|a, b| a.0 == b.0) {
            for group in index.at(hits[0].0) {
                let events = hits.iter().map(|(_, event)| *event);
                let Some(block) = encoded.block(events, group.flavor)? else { continue };
                for watch in &group.members {
                    offer.make(*watch, &block);
                }
            }
        }
        Ok(offer.full)
    }
}

/// Places and the events that they want, place by place.
fn hits(index: &Index, events: &[Event]) -> Vec<(usize, usize)> {
    let mut hits = Vec::new();
    for (at, event) in events.iter().enumerate() {
        index.find(&event.kv().key, |place| hits.push((place, at)));
    }
    if events.len() > 1 {
        hits.sort_unstable();
    }
    hits
}

/// One revision, as it is offered to watches.
struct Offer<'a> {
    options: &'a HubOptions,
    streams: &'a mut slab::Slab<Stream>,
    watches: &'a mut slab::Slab<Watch>,
    touched: &'a mut Vec<usize>,
    told: &'a mut usize,
    figures: &'a Figures,
    revision: Revision,
    to: To,
    full: Vec<usize>,
}

impl Offer<'_> {
    fn make(&mut self, watch: usize, block: &Arc<Block>) {
        let one = &mut self.watches[watch];
        let passed = match self.to {
            To::Live => self.revision < one.cursor,
            To::Lagging(from) => one.cursor < from || self.revision < one.cursor,
        };
        if passed {
            return;
        }
        let stream = &mut self.streams[one.stream];
        let room = stream.room.get_or_insert_with(|| {
            // One message always fits into an outlet with nothing in it, however large.
            let max = self.options.limit(self.figures);
            max.saturating_sub(stream.outlet.bytes())
        });
        if *room == 0 {
            self.full.push(watch);
            return;
        }
        one.is_quiet = false;
        *self.told += 1;
        let alike = match stream.pending.last_mut() {
            Some(Outgoing::Events(last)) if Arc::ptr_eq(&last.block, block) => Some(last),
            _ => None,
        };
        let is_first = alike.is_none();
        if let Some(alike) = alike.filter(|last| !(last.fragment || one.fragment)) {
            alike.others.push(one.id);
            alike.bytes += OTHER_BYTES;
            *room = room.saturating_sub(OTHER_BYTES);
            return;
        }
        let bytes = ENTRY_BYTES + if is_first { block.len() } else { 0 };
        *room = room.saturating_sub(bytes);
        stream.touch(one.stream, self.touched);
        stream.pending.push(Outgoing::Events(Events {
            watch_id: one.id,
            others: Vec::new(),
            revision: self.revision,
            block: Arc::clone(block),
            fragment: one.fragment,
            bytes,
        }));
    }
}

impl<F> Encoded<'_, F> {
    /// Some of the events as one block; none if the flavor wants none of them.
    fn block(
        &mut self,
        events: impl Iterator<Item = usize>,
        flavor: Flavor,
    ) -> Result<Option<Arc<Block>>, StorageError<F>> {
        let mut wanted = Vec::new();
        for at in events {
            let unwanted = match self.events[at] {
                Event::Put(_) => flavor.no_put,
                Event::Delete(_) => flavor.no_delete,
            };
            if !unwanted {
                wanted.push(self.one(at, flavor.prev_kv)?);
            }
        }
        if wanted.len() < 2 {
            return Ok(wanted.pop());
        }
        let bytes: Vec<_> = wanted.iter().map(|block| block.bytes()).collect();
        Ok(Some(Arc::new(Block::of(&bytes))))
    }

    fn one(&mut self, at: usize, prev_kv: bool) -> Result<Arc<Block>, StorageError<F>> {
        if let Some(block) = &self.blocks[at][usize::from(prev_kv)] {
            return Ok(Arc::clone(block));
        }
        let event = &self.events[at];
        let previous = if prev_kv { self.previous(event)? } else { None };
        let block = Arc::new(Block::one(encode_event(event, previous)));
        self.blocks[at][usize::from(prev_kv)] = Some(Arc::clone(&block));
        Ok(block)
    }

    fn previous(&self, event: &Event) -> Result<Option<KeyValue>, StorageError<F>> {
        let kv = event.kv();
        if matches!(event, Event::Put(_)) && kv.create_revision == kv.mod_revision {
            return Ok(None);
        }
        match (self.before)(&kv.key, kv.mod_revision) {
            Ok(previous) => Ok(previous),
            Err(ReadError::Storage(error)) => Err(error),
            // It is compacted.
            Err(_) => Ok(None),
        }
    }
}
