//! A store, a hub and clients that read as fast or slowly as a test wants, and check all they are
//! told against a list of all events.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use synod_etcd::proto::mvccpb;
use synod_etcd::watch::{Flavor, WatchCreate, WatchReply};
use synod_kv::{
    Command, Compact, DeleteRange, FlushLimits, Flusher, HistoryLimits, Key, KeyRange,
    MemoryEngine, Op, Put, Revision, Store, Txn,
};

use super::super::hub::{Hub, HubOptions};
use super::super::outlet::{Answer, AnswerKind, Figures, Outlet, Taken};

pub(super) fn rev(revision: i64) -> Revision {
    Revision::new(revision)
}

pub(super) fn key(key: &str) -> Key {
    Key::new(Bytes::copy_from_slice(key.as_bytes())).unwrap()
}

pub(super) fn single(name: &str) -> KeyRange {
    KeyRange::Single(key(name))
}

/// A watch of these keys from a revision on; 0 for the next one.
pub(super) fn create(keys: KeyRange, start: i64) -> WatchCreate {
    WatchCreate {
        keys,
        start: Revision::named(start),
        watch_id: None,
        flavor: Flavor::default(),
        progress_notify: false,
        fragment: false,
    }
}

/// A change in the list of all events.
#[derive(Clone, Debug)]
struct Change {
    revision: i64,
    key: Bytes,
    /// None if it was deleted.
    value: Option<Bytes>,
    previous: Option<Bytes>,
}

/// A watch as its client sees it.
#[derive(Debug)]
pub(super) struct Watched {
    create: WatchCreate,
    /// The first revision that may still be told.
    next: i64,
    /// Events told.
    pub(super) told: usize,
}

/// A client: one stream.
#[derive(Debug)]
pub(super) struct Client {
    outlet: Arc<Outlet>,
    /// Asked for and not answered yet, in order.
    asked: Vec<WatchCreate>,
    pub(super) watches: BTreeMap<i64, Watched>,
    /// Everything told that is no event, and what became of it.
    pub(super) answers: Vec<Answer>,
}

pub(super) struct World {
    pub(super) store: Store<MemoryEngine>,
    flusher: Flusher<MemoryEngine>,
    pub(super) hub: Hub<MemoryEngine>,
    pub(super) figures: Arc<Figures>,
    pub(super) clients: Vec<Client>,
    pub(super) now: Instant,
    changes: Vec<Change>,
    values: BTreeMap<Bytes, Bytes>,
    pub(super) revision: i64,
    pub(super) compacted: i64,
}

impl World {
    pub(super) fn new(options: HubOptions) -> Self {
        let (store, flusher) = Store::open(MemoryEngine::new()).unwrap();
        let figures = Arc::new(Figures::default());
        let hub = Hub::new(store.reader(), options, Arc::clone(&figures));
        Self {
            store,
            flusher,
            hub,
            figures,
            clients: Vec::new(),
            now: Instant::now(),
            changes: Vec::new(),
            values: BTreeMap::new(),
            revision: 1,
            compacted: 0,
        }
    }

    /// Outlets of a few events, reads of a few.
    pub(super) fn small() -> Self {
        Self::new(HubOptions {
            stream_bytes_max: 300,
            history: HistoryLimits { events_max: 3, bytes_max: 100 },
            progress_interval: Duration::from_secs(10),
            ..HubOptions::default()
        })
    }

    /// Puts, or deletes, these keys in one revision. Each key once.
    pub(super) fn change(&mut self, changes: &[(&str, Option<&str>)]) {
        let mut ops = Vec::new();
        let revision = self.revision + 1;
        for (name, value) in changes {
            let key = key(name);
            let bytes = key.as_bytes().clone();
            let previous = self.values.get(&bytes).cloned();
            let value = value.map(|value| Bytes::copy_from_slice(value.as_bytes()));
            match &value {
                Some(value) => {
                    ops.push(Op::Put(Put::new(key, value.clone())));
                    self.values.insert(bytes.clone(), value.clone());
                }
                None => {
                    ops.push(Op::DeleteRange(DeleteRange::new(KeyRange::Single(key))));
                    if self.values.remove(&bytes).is_none() {
                        continue;
                    }
                }
            }
            self.changes.push(Change { revision, key: bytes, value, previous });
        }
        self.apply(&Command::Txn(Txn::new(vec![], ops, vec![]).unwrap()));
        if self.changes.last().is_some_and(|change| change.revision == revision) {
            self.revision = revision;
        }
        assert_eq!(self.store.revision(), rev(self.revision));
    }

    pub(super) fn put(&mut self, name: &str, value: &str) {
        self.change(&[(name, Some(value))]);
    }

    pub(super) fn compact(&mut self, revision: i64) {
        self.apply(&Command::Compact(Compact { revision: rev(revision) }));
        self.compacted = self.compacted.max(revision);
    }

    fn apply(&mut self, command: &Command) {
        let slot = self.store.applied_slot();
        self.store.apply(slot, 0, &command.encode()).unwrap().result.unwrap();
        self.store.slot_applied(slot, 0, [0; 2]);
    }

    /// All rows to the engine, and whatever is compacted and held by nobody away.
    pub(super) fn reclaim(&mut self) {
        loop {
            let flushed = self.flusher.flush(FlushLimits::default()).unwrap();
            if flushed.rows == 0 && flushed.reclaimed == 0 {
                return;
            }
        }
    }

    pub(super) fn open(&mut self) -> usize {
        let outlet = Arc::new(Outlet::new(Arc::clone(&self.figures)));
        self.hub.open(Arc::clone(&outlet));
        let client = Client { outlet, asked: vec![], watches: BTreeMap::new(), answers: vec![] };
        self.clients.push(client);
        self.clients.len() - 1
    }

    pub(super) fn close(&mut self, client: usize) {
        let client = &mut self.clients[client];
        self.hub.close(&client.outlet);
        client.watches.clear();
        client.outlet = Arc::new(Outlet::new(Arc::clone(&self.figures)));
    }

    pub(super) fn slot(&self, client: usize) -> usize {
        self.clients[client].outlet.slot().unwrap()
    }

    pub(super) fn ask(&mut self, client: usize, create: WatchCreate) {
        self.hub.create(self.slot(client), create.clone());
        self.clients[client].asked.push(create);
    }

    /// A new client with one watch, created.
    pub(super) fn watching(&mut self, create: WatchCreate) -> usize {
        let client = self.open();
        self.ask(client, create);
        self.hub.step(self.now).unwrap();
        client
    }

    pub(super) fn cancel(&mut self, client: usize, id: i64) {
        self.hub.cancel(self.slot(client), id);
    }

    pub(super) fn step(&mut self) -> bool {
        self.hub.step(self.now).unwrap()
    }

    /// A client takes one message. False if there is none.
    pub(super) fn take(&mut self, client: usize) -> bool {
        let mut room = false;
        let context = Context::from_waker(Waker::noop());
        let taken = self.clients[client].outlet.take(&context, &mut room);
        if room {
            self.hub.unpark(self.slot(client));
        }
        match taken {
            Poll::Pending => return false,
            Poll::Ready(Err(status)) => panic!("{status}"),
            Poll::Ready(Ok(Taken::Answer(answer))) => self.check_answer(client, answer),
            Poll::Ready(Ok(Taken::Events(first, more))) => {
                let all = [vec![first], more].concat();
                // As the client gets them: all go to those whom the last of them names.
                let last = all.last().unwrap();
                let told = [&[last.watch_id][..], &last.others].concat();
                for id in &told {
                    let fragment = self.clients[client].watches[id].create.fragment;
                    assert_eq!(fragment, last.fragment, "watch {id} gets what is for {told:?}");
                    assert!(!fragment || (all.len(), told.len()) == (1, 1), "it comes in parts");
                }
                for one in all {
                    let events = vec![one.block.bytes()];
                    let reply = WatchReply { events, ..WatchReply::default() };
                    let events = reply.into_message().events;
                    for &watch in &told {
                        self.check_events(client, watch, one.revision.as_i64(), &events);
                    }
                }
            }
        }
        true
    }

    /// Steps and reads until nothing happens any more.
    pub(super) fn settle(&mut self) {
        loop {
            let more = self.step();
            let mut taken = false;
            for client in 0..self.clients.len() {
                while self.clients[client].is_open() && self.take(client) {
                    taken = true;
                }
            }
            if !more && !taken {
                return;
            }
        }
    }

    /// Whatever a watch still had to be told was told.
    pub(super) fn check_complete(&self) {
        for client in &self.clients {
            for watch in client.watches.values() {
                let next = self.next(watch);
                assert!(next.is_none(), "{watch:?} was not told revision {next:?}");
            }
        }
        assert_eq!(self.figures.pending(), 0);
    }

    /// The next revision that a watch is to be told.
    fn next(&self, watch: &Watched) -> Option<i64> {
        let wanted = |change: &&Change| change.revision >= watch.next && watch.wants(change);
        self.changes.iter().find(wanted).map(|change| change.revision)
    }

    fn check_events(&mut self, client: usize, id: i64, revision: i64, events: &[mvccpb::Event]) {
        let watch = &self.clients[client].watches[&id];
        assert_eq!(self.next(watch), Some(revision), "{watch:?} was told out of order");
        let expected: Vec<&Change> = self
            .changes
            .iter()
            .filter(|change| change.revision == revision && watch.wants(change))
            .collect();
        assert_eq!(events.len(), expected.len(), "revision {revision} is whole: {events:?}");
        for (event, change) in events.iter().zip(expected) {
            let kv = event.kv.as_ref().unwrap();
            assert_eq!((&kv.key, kv.mod_revision), (&change.key, revision));
            let value = (event.r#type == 0).then(|| kv.value.clone());
            assert_eq!(value, change.value);
            let previous = event.prev_kv.as_ref().map(|kv| kv.value.clone());
            let hidden = !watch.create.flavor.prev_kv || revision - 1 < self.compacted;
            assert!(previous == change.previous || previous.is_none() && hidden, "{event:?}");
            assert!(previous.is_none() || watch.create.flavor.prev_kv);
        }
        let watch = self.clients[client].watches.get_mut(&id).unwrap();
        (watch.next, watch.told) = (revision + 1, watch.told + events.len());
    }

    fn check_answer(&mut self, client: usize, answer: Answer) {
        let (id, at) = (answer.watch_id, answer.revision.as_i64());
        match &answer.kind {
            AnswerKind::Created => {
                let create = self.clients[client].asked.remove(0);
                let next = create.start.map_or(at + 1, Revision::as_i64);
                let watched = Watched { create, next, told: 0 };
                let former = self.clients[client].watches.insert(id, watched);
                assert!(former.is_none(), "two watches of one id");
            }
            AnswerKind::Refused(_) => {
                assert_eq!(id, -1);
                self.clients[client].asked.remove(0);
            }
            AnswerKind::Canceled => {
                self.clients[client].watches.remove(&id).expect("a watch that was there");
            }
            AnswerKind::Compacted(compacted) => {
                assert!(compacted.as_i64() <= self.compacted);
                let watch = self.clients[client].watches.remove(&id).expect("it was there");
                assert!(watch.next < compacted.as_i64(), "{watch:?} lost nothing");
            }
            AnswerKind::Progress => {
                for (other, watch) in &self.clients[client].watches {
                    if id == -1 || id == *other {
                        assert!(self.next(watch).is_none_or(|next| next > at), "ahead of events");
                        assert!(watch.create.start.is_none_or(|start| start.as_i64() <= at));
                    }
                }
            }
        }
        self.clients[client].answers.push(answer);
    }
}

impl Client {
    pub(super) fn is_open(&self) -> bool {
        self.outlet.slot().is_some()
    }
}

impl Watched {
    fn wants(&self, change: &Change) -> bool {
        let flavor = self.create.flavor;
        let unwanted = if change.value.is_some() { flavor.no_put } else { flavor.no_delete };
        !unwanted && self.create.keys.contains(&change.key)
    }
}
