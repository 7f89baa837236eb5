//! Answers that are in memory as a whole, in memory that was lent to them.

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use prost::Message;
use synod_etcd::{EtcdError, Refusal};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tonic::Response;

use super::PAGE_BYTES;
use super::body::{Item, RangeBody};
use super::budget::Held;
use super::feed::{FRAME_BYTES, frame_head, hand_over};
use crate::service::Context;
use crate::service::carried::carry;

/// The client of a request takes JSON. Among the extensions of the request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AsJson;

/// What an answer was lent that is to become JSON. Among the extensions of the answer.
#[derive(Clone, Debug)]
struct Lent(Arc<Mutex<Option<Held>>>);

/// Takes what the answer was lent for its JSON, if that was done already.
pub(crate) fn lent<B>(answer: &mut hyper::Response<B>) -> Option<Held> {
    answer.extensions_mut().remove::<Lent>().and_then(|lent| lent.0.lock().take())
}

/// How many pages of it may be with the connection: one that is sent, one that waits, one between.
const PAGES: u64 = 3;

/// The answer of this message, which holds what it was lent until the connection has taken it.
pub(super) fn answer<M: Message + Default>(
    context: &Context,
    message: M,
    mut held: Held,
    is_json: bool,
) -> Response<M> {
    let encoded = encoded(&message);
    drop(message);
    let len = u64::try_from(encoded.len()).unwrap_or(u64::MAX);
    if is_json {
        let mut answer = carry(M::default(), RangeBody::whole(encoded.into()));
        answer.extensions_mut().insert(Lent(Arc::new(Mutex::new(Some(held)))));
        return answer;
    }
    if len <= PAGE_BYTES {
        let held = Arc::new(held.split(len));
        return carry(M::default(), RangeBody::whole(Part::of(encoded, &held)));
    }
    let window = Arc::new(held.split(PAGES * PAGE_BYTES));
    let whole = Whole { encoded, told: 0, window, _held: held.split(len) };
    carry(M::default(), whole.start(context.stopping.clone()))
}

fn encoded(message: &impl Message) -> Vec<u8> {
    let len = message.encoded_len();
    let mut encoded = Vec::with_capacity(FRAME_BYTES + len);
    encoded.extend(frame_head(u64::try_from(len).unwrap_or(u64::MAX)));
    message.encode(&mut encoded).expect("vectors have room");
    encoded
}

/// An answer on its way out, page by page: if its client takes nothing, it goes, and only pages
/// that the connection has already hold something.
struct Whole {
    encoded: Vec<u8>,
    told: usize,
    window: Arc<Held>,
    _held: Held,
}

impl Whole {
    fn start(mut self, stopping: CancellationToken) -> RangeBody {
        let first = Item::Data(self.next());
        let (sender, rest) = mpsc::channel(1);
        tokio::spawn(async move {
            tokio::select! {
                () = self.run(&sender) => {}
                () = stopping.cancelled() => {
                    let stopped = Item::End(Err(Refusal::new(EtcdError::Stopped).into()));
                    hand_over(&sender, stopped).await;
                }
            }
        });
        RangeBody::fed(first, rest)
    }

    async fn run(&mut self, sender: &mpsc::Sender<Item>) {
        while self.told < self.encoded.len() {
            if !hand_over(sender, Item::Data(self.next())).await {
                return;
            }
        }
        hand_over(sender, Item::End(Ok(()))).await;
    }

    fn next(&mut self) -> Bytes {
        let page = usize::try_from(PAGE_BYTES).unwrap_or(usize::MAX);
        let end = self.encoded.len().min(self.told + page);
        let data = self.encoded[self.told..end].to_vec();
        self.told = end;
        Part::of(data, &self.window)
    }
}

/// Bytes on their way, and what they hold.
struct Part {
    data: Vec<u8>,
    _held: Arc<Held>,
}

impl Part {
    fn of(data: Vec<u8>, held: &Arc<Held>) -> Bytes {
        Bytes::from_owner(Self { data, _held: Arc::clone(held) })
    }
}

impl AsRef<[u8]> for Part {
    fn as_ref(&self) -> &[u8] {
        &self.data
    }
}
