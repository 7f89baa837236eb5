//! A stream's end: takes what waits, and makes messages of it.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use synod_etcd::proto::etcdserverpb as pb;
use synod_etcd::response::Stamp;
use synod_etcd::watch::{WatchReply, fragments};
use synod_kv::Revision;
use tonic::Status;
use tonic::codegen::tokio_stream::Stream;

use super::outlet::{Answer, AnswerKind, Events, Outlet, Taken};
use super::task::{Request, Watches};

/// The messages of a stream, as they are to be sent. Its watches end with it.
pub(crate) struct Feed {
    watches: Watches,
    outlet: Arc<Outlet>,
    /// The header, but for its revision.
    stamp: Box<dyn Fn() -> Stamp + Send>,
    /// Longer ones are cut, if the client takes that.
    message_bytes_max: usize,
    /// What a message was cut into and is not sent yet.
    fragments: VecDeque<WatchReply>,
    has_ended: bool,
}

/// What is sent next.
pub(crate) enum Told {
    /// A message as it goes out, shared with the streams that are sent the same.
    Message(Bytes),
    /// One or more messages that are this stream's own.
    Reply(WatchReply),
}

/// Messages with more events than this are not kept whole beside their events.
const SHARED_BYTES_MAX: usize = 4 << 10;

/// Asks for watches on a stream.
#[derive(Clone, Debug)]
pub(crate) struct Asker {
    watches: Watches,
    outlet: Arc<Outlet>,
}

impl Feed {
    /// A new stream without watches, and who asks for them.
    pub(crate) fn open(
        watches: &Watches,
        stamp: impl Fn() -> Stamp + Send + 'static,
        message_bytes_max: usize,
    ) -> (Self, Asker) {
        let outlet = watches.open();
        let asker = Asker { watches: watches.clone(), outlet: Arc::clone(&outlet) };
        let feed = Self {
            watches: watches.clone(),
            outlet,
            stamp: Box::new(stamp),
            message_bytes_max,
            fragments: VecDeque::new(),
            has_ended: false,
        };
        (feed, asker)
    }

    fn head(&self, watch_id: i64, revision: Revision) -> pb::WatchResponse {
        let header = Some((self.stamp)().header(revision));
        pb::WatchResponse { header, watch_id, ..pb::WatchResponse::default() }
    }

    fn answer(&self, answer: Answer) -> WatchReply {
        let Answer { watch_id, revision, kind } = answer;
        let head = self.head(watch_id, revision);
        let head = match kind {
            AnswerKind::Created => pb::WatchResponse { created: true, ..head },
            AnswerKind::Refused(reason) => pb::WatchResponse {
                created: true,
                canceled: true,
                cancel_reason: reason.into(),
                ..head
            },
            AnswerKind::Canceled => pb::WatchResponse { canceled: true, ..head },
            AnswerKind::Compacted(compacted) => {
                pb::WatchResponse { canceled: true, compact_revision: compacted.as_i64(), ..head }
            }
            AnswerKind::Progress => head,
        };
        WatchReply::to_one(head, Vec::new())
    }

    fn events(&mut self, first: Events, more: Vec<Events>) -> Told {
        let last = more.last().unwrap_or(&first);
        let head = self.head(last.watch_id, last.revision);
        if last.fragment {
            self.fragments = fragments(&head, &last.block, self.message_bytes_max).into();
            let fragment = self.fragments.pop_front();
            return Told::Reply(fragment.expect("a message is cut into at least one"));
        }
        let is_alone = more.is_empty() && first.others.is_empty();
        if is_alone
            && first.block.len() <= SHARED_BYTES_MAX
            && let Some(message) = first.block.message(&head)
        {
            return Told::Message(message);
        }
        let others = last.others.clone();
        let events = [&first].into_iter().chain(&more).map(|one| one.block.bytes()).collect();
        Told::Reply(WatchReply { head, others, events })
    }
}

impl Stream for Feed {
    type Item = Result<Told, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(fragment) = self.fragments.pop_front() {
            return Poll::Ready(Some(Ok(Told::Reply(fragment))));
        }
        if self.has_ended {
            return Poll::Ready(None);
        }
        let mut room = false;
        let taken = self.outlet.take(context, &mut room);
        if room {
            self.watches.has_room(&self.outlet);
        }
        Poll::Ready(Some(match std::task::ready!(taken) {
            Ok(Taken::Events(first, more)) => Ok(self.events(first, more)),
            Ok(Taken::Answer(answer)) => Ok(Told::Reply(self.answer(answer))),
            Err(status) => {
                self.has_ended = true;
                Err(status)
            }
        }))
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.watches.close(&self.outlet);
    }
}

impl Asker {
    /// Asks, once former requests are answered, but for a few.
    pub(crate) async fn ask(&self, request: Request) {
        self.watches.ask(&self.outlet, request).await;
    }

    /// Ends the stream with a status.
    pub(crate) fn end(&self, status: Status) {
        self.outlet.end(status);
    }
}
