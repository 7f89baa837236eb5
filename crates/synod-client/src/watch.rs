//! Watching keys, over lost connections.
//!
//! ```text
//!   created 7        next is 8
//!   events 8, 9      next is 10
//!   progress 14      next is 15: nothing happened to these keys up to 14
//!   (connection lost, another member)
//!   watch from 15
//!   events 14        told already: dropped
//!   events 15        next is 16
//! ```

mod position;

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use synod_etcd::proto::etcdserverpb as pb;
use synod_etcd::proto::etcdserverpb::watch_client::WatchClient;
use synod_etcd::proto::etcdserverpb::watch_create_request::FilterType;
use synod_etcd::proto::etcdserverpb::watch_request::RequestUnion;
use synod_etcd::proto::mvccpb::Event;
use tokio::sync::mpsc;
use tonic::codegen::tokio_stream::{Stream, StreamExt, iter, pending};
use tonic::metadata::AsciiMetadataValue;
use tonic::{Request, Response, Status, Streaming};

use crate::call::{Kind, Service};
use crate::client::{ANSWER_BYTES_MAX, Client};
use crate::error::Error;
use crate::kv::{Keys, by_keys};
use position::{Position, Taken};

/// Which changes to watch.
#[derive(Clone, Debug, PartialEq)]
pub struct Watch {
    create: pb::WatchCreateRequest,
    progress: bool,
}
by_keys!(Watch);

impl Watch {
    fn of((key, range_end): Keys) -> Self {
        // Also if nobody wants to see it, progress moves the point to resume at: a watch of keys
        // that never change would otherwise find its revision compacted one day.
        let create =
            pb::WatchCreateRequest { key, range_end, progress_notify: true, ..Default::default() };
        Self { create, progress: false }
    }

    /// From this revision on, which is included; else from what follows the call.
    #[must_use]
    pub const fn from_revision(mut self, revision: i64) -> Self {
        self.create.start_revision = revision;
        self
    }

    /// With what the keys held before.
    #[must_use]
    pub const fn prev_kv(mut self) -> Self {
        self.create.prev_kv = true;
        self
    }

    /// Without puts.
    #[must_use]
    pub fn no_puts(mut self) -> Self {
        self.create.filters.push(FilterType::Noput.into());
        self
    }

    /// Without deletions.
    #[must_use]
    pub fn no_deletes(mut self) -> Self {
        self.create.filters.push(FilterType::Nodelete.into());
        self
    }

    /// Also gives updates without events, which say up to which revision all was told.
    #[must_use]
    pub const fn progress(mut self) -> Self {
        self.progress = true;
        self
    }
}

/// What happened.
#[derive(Clone, Debug, PartialEq)]
pub struct Update {
    /// The revision the server had when it told.
    pub revision: i64,
    /// In the order of their revisions; those of one revision are together.
    pub events: Vec<Event>,
}

/// A watch: a stream of updates, each revision once and in order, whatever happens to connections.
///
/// It ends after an error: [`Error::Compacted`] if what it needs next is no longer kept, or what a
/// server refuses for good. Members that are away are waited for, without an end. Dropping it ends
/// the watch. Up to [`crate::Options::watch_updates_max`] updates wait here; more wait at the
/// server.
#[derive(Debug)]
pub struct Watcher {
    updates: mpsc::Receiver<Result<Update, Error>>,
}

impl Watcher {
    /// The next update; `None` after the end. Nothing is lost if the future is dropped.
    pub async fn next(&mut self) -> Option<Result<Update, Error>> {
        self.updates.recv().await
    }
}

impl Stream for Watcher {
    type Item = Result<Update, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.updates.poll_recv(context)
    }
}

impl Client {
    /// Watches keys. When it returns, the watch stands: what is written from then on is told.
    ///
    /// # Errors
    ///
    /// See [`Client::read`]. [`Error::Compacted`] comes here or, as etcd creates such a watch and
    /// ends it at once, instead of the first update.
    pub async fn watch(&self, watch: Watch) -> Result<Watcher, Error> {
        let mut pump = Pump {
            client: self.clone(),
            position: Position::at(watch.create.start_revision),
            watch,
        };
        let opened = pump.open().await?;
        let (sender, updates) = mpsc::channel(self.options.watch_updates_max.max(1));
        tokio::spawn(async move { pump.run(opened, &sender).await });
        Ok(Watcher { updates })
    }
}

/// A stream that stands, and the place of the member it comes from.
type Opened = (usize, Streaming<pb::WatchResponse>);

/// Brings updates from whichever member to the watcher.
struct Pump {
    client: Client,
    watch: Watch,
    position: Position,
}

/// Why a stream was left.
enum Left {
    /// It broke, or another token is needed.
    Broken(Status),
    /// The watch is over.
    Over(Error),
    /// Nobody listens.
    Dropped,
}

impl Pump {
    /// Opens a stream where the last one ended, and waits until the watch stands.
    async fn open(&mut self) -> Result<Opened, Error> {
        let mut create = self.watch.create.clone();
        create.start_revision = self.position.next();
        let limit = Some(self.client.options.call_timeout);
        let asked =
            self.client.ask_from(Kind::Idempotent, limit, |service| open(service, create.clone()));
        let (at, (first, stream)) = asked.await?;
        self.client.saw(first.header.as_ref());
        match self.position.take(first) {
            Taken::Over(error) => Err(error),
            // It says that it stands, and no more. A token it does not take it does not take later.
            _ => Ok((at, stream)),
        }
    }

    async fn run(&mut self, mut opened: Opened, updates: &mpsc::Sender<Result<Update, Error>>) {
        loop {
            let end = match self.forward(&mut opened.1, updates).await {
                Left::Dropped => return,
                Left::Over(error) => Err(error),
                Left::Broken(status) => {
                    let ended = self.client.stream_ended(opened.0, &status);
                    drop(opened);
                    match ended {
                        Err(error) => Err(error),
                        Ok(()) => self.open_again(updates).await,
                    }
                }
            };
            opened = match end {
                Ok(Some(opened)) => opened,
                Ok(None) => return,
                Err(error) => {
                    // Nobody listens: then nobody needs to know.
                    let _ = updates.send(Err(error)).await;
                    return;
                }
            };
        }
    }

    /// Tries until a member answers; `None` if nobody listens any more.
    async fn open_again(
        &mut self,
        updates: &mpsc::Sender<Result<Update, Error>>,
    ) -> Result<Option<Opened>, Error> {
        loop {
            let opened = tokio::select! {
                () = updates.closed() => return Ok(None),
                opened = self.open() => opened,
            };
            match opened {
                Ok(opened) => return Ok(Some(opened)),
                Err(error) if error.is_passing() => {}
                Err(error) => return Err(error),
            }
        }
    }

    async fn forward(
        &mut self,
        stream: &mut Streaming<pb::WatchResponse>,
        updates: &mpsc::Sender<Result<Update, Error>>,
    ) -> Left {
        loop {
            let message = tokio::select! {
                () = updates.closed() => return Left::Dropped,
                message = stream.message() => message,
            };
            let response = match message {
                Ok(Some(response)) => response,
                Ok(None) => return Left::Broken(Status::unavailable("the stream ended")),
                Err(status) => return Left::Broken(status),
            };
            self.client.saw(response.header.as_ref());
            match self.position.take(response) {
                Taken::Over(Error::Refused(refusal)) => return Left::Broken(refusal.into()),
                Taken::Over(error) => return Left::Over(error),
                Taken::Nothing => {}
                Taken::Update(update) if update.events.is_empty() && !self.watch.progress => {}
                Taken::Update(update) => {
                    if updates.send(Ok(update)).await.is_err() {
                        return Left::Dropped;
                    }
                }
            }
        }
    }
}

async fn open(
    service: Service,
    create: pb::WatchCreateRequest,
) -> Result<Response<(pb::WatchResponse, Streaming<pb::WatchResponse>)>, Status> {
    let create = pb::WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
    // The stream of requests stays open: its end would end the watch.
    let mut request = Request::new(iter([create]).chain(pending()));
    // A member that is cut off from the others would be silent for as long as that lasts.
    let yes = AsciiMetadataValue::from_static("true");
    request.metadata_mut().insert("hasleader", yes);
    let mut client = WatchClient::new(service).max_decoding_message_size(ANSWER_BYTES_MAX);
    let mut stream = client.watch(request).await?.into_inner();
    let ended = || Status::unavailable("the stream ended before the watch stood");
    let first = stream.message().await?.ok_or_else(ended)?;
    if let Some(refusal) = position::refusal(&first) {
        return Err(refusal.into());
    }
    Ok(Response::new((first, stream)))
}

#[cfg(test)]
mod tests;
