//! For who waits inside this member until keys change, and looks for himself what they are then:
//! those who wait for a lock or an office.

use std::future::poll_fn;
use std::sync::Arc;

use synod_etcd::Refusal;
use synod_etcd::watch::{Flavor, WatchCreate};
use synod_kv::{KeyRange, Revision};
use tonic::Code;

use super::outlet::{AnswerKind, Outlet, Taken};
use super::task::{Request, Watches};

/// A stream that nobody outside sees. Its watches end with it.
struct Waiting<'a> {
    watches: &'a Watches,
    outlet: Arc<Outlet>,
}

impl Watches {
    /// Waits until one of these keys changes at a revision or later, or until it cannot be known
    /// any more whether it did, because that is compacted. Nothing else that is applied wakes who
    /// waits.
    ///
    /// # Errors
    /// If the member stops, or has too many watches.
    pub(crate) async fn changed(
        &self,
        keys: impl IntoIterator<Item = KeyRange>,
        flavor: Flavor,
        from: Revision,
    ) -> Result<(), Refusal> {
        let waiting = Waiting { watches: self, outlet: self.open() };
        for keys in keys {
            let create = WatchCreate {
                keys,
                start: Some(from),
                watch_id: None,
                flavor,
                progress_notify: false,
                fragment: false,
            };
            self.ask(&waiting.outlet, Request::Create(Box::new(create))).await;
        }
        loop {
            // The first event ends it, so it never comes to be full.
            let mut room = false;
            let taken = poll_fn(|context| waiting.outlet.take(context, &mut room)).await;
            match taken.map_err(|status| Refusal::from_status(&status))? {
                Taken::Events(..) => return Ok(()),
                Taken::Answer(answer) => match answer.kind {
                    AnswerKind::Compacted(_) => return Ok(()),
                    AnswerKind::Refused(reason) => {
                        return Err(Refusal::own(Code::ResourceExhausted, reason));
                    }
                    AnswerKind::Created | AnswerKind::Canceled | AnswerKind::Progress => {}
                },
            }
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.watches.close(&self.outlet);
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Context, Poll, Wake, Waker};
    use std::time::Duration;

    use bytes::Bytes;
    use synod_kv::{Command, Compact, DeleteRange, Key, MemoryEngine, Put, Store};
    use tokio::task::JoinHandle;
    use tokio::time::timeout;

    use super::super::{HubOptions, start};
    use super::*;
    use crate::server::FatalSink;

    const PATIENCE: Duration = Duration::from_secs(30);

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// A store and the hub of its watches.
    struct World {
        store: Store<MemoryEngine>,
        slot: u64,
        watches: Watches,
        task: JoinHandle<()>,
    }

    impl World {
        fn new() -> Self {
            let (store, _) = Store::open(MemoryEngine::new()).unwrap();
            let (watches, (fatal, _)) = (Watches::default(), FatalSink::new());
            let task = start(&watches, store.reader(), HubOptions::default(), fatal);
            Self { store, slot: 0, watches, task }
        }

        fn apply(&mut self, command: &Command) {
            self.slot += 1;
            self.store.apply(self.slot, 0, &command.encode()).unwrap();
            self.store.slot_applied(self.slot, 0, [0; 2]);
            self.watches.applied();
        }

        fn put(&mut self, name: &'static str) {
            self.apply(&Command::Put(Put::new(key(name), Bytes::new())));
        }

        fn next(&self) -> Revision {
            self.store.revision().next()
        }

        /// Returns when the hub has done all that it was told before.
        async fn hub_has_come_so_far(&mut self) {
            let from = self.next();
            self.put("marker");
            let changed = self.watches.changed([single("marker")], Flavor::default(), from);
            timeout(PATIENCE, changed).await.expect("told in time").unwrap();
        }
    }

    fn key(name: &'static str) -> Key {
        Key::new(Bytes::from_static(name.as_bytes())).unwrap()
    }

    fn single(name: &'static str) -> KeyRange {
        KeyRange::Single(key(name))
    }

    #[tokio::test]
    async fn who_waits_for_a_deletion_is_woken_by_nothing_else() {
        let mut world = World::new();
        world.put("lock");
        let (watches, from) = (world.watches.clone(), world.next());
        let deletions = Flavor { no_put: true, ..Flavor::default() };
        let mut waits = pin!(watches.changed([single("lock"), single("own")], deletions, from));
        let count = Arc::new(Count::default());
        let waker = Waker::from(Arc::clone(&count));
        let mut context = Context::from_waker(&waker);
        assert!(waits.as_mut().poll(&mut context).is_pending());
        world.hub_has_come_so_far().await;
        assert!(waits.as_mut().poll(&mut context).is_pending(), "the watches were made");
        let woken = count.0.load(Ordering::SeqCst);
        for _ in 0..100 {
            world.put("other");
            world.put("lock");
        }
        world.hub_has_come_so_far().await;
        assert_eq!(count.0.load(Ordering::SeqCst), woken);
        world.apply(&Command::DeleteRange(DeleteRange::new(single("lock"))));
        world.hub_has_come_so_far().await;
        assert!(count.0.load(Ordering::SeqCst) > woken);
        assert!(matches!(waits.poll(&mut context), Poll::Ready(Ok(()))));
        world.watches.stop();
        world.task.await.unwrap();
    }

    #[tokio::test]
    async fn what_is_compacted_may_have_changed() {
        let mut world = World::new();
        let from = world.next();
        world.put("other");
        world.put("other");
        let revision = world.store.revision();
        world.apply(&Command::Compact(Compact { revision }));
        let waits = world.watches.changed([single("lock")], Flavor::default(), from);
        timeout(PATIENCE, waits).await.expect("told in time").unwrap();
        world.watches.stop();
        world.task.await.unwrap();
    }

    #[tokio::test]
    async fn nobody_waits_beyond_the_end_of_a_member() {
        let world = World::new();
        let waits = world.watches.changed([single("lock")], Flavor::default(), world.next());
        let (ended, ()) = tokio::join!(waits, async { world.watches.stop() });
        assert_eq!(ended.unwrap_err().code(), Code::Unavailable);
        world.task.await.unwrap();
    }
}
