//! The events of one revision, encoded as they stand in a message.

use std::sync::OnceLock;

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;
use prost::encoding;
use synod_kv::{Event, KeyValue};

use super::reply::{PREFIX_BYTES, put_prefix};
use crate::proto::{etcdserverpb as pb, mvccpb};

/// The field of [`pb::WatchResponse`] that holds events. No other has a higher number, so a
/// message without events with such fields behind it is the message with these events.
const EVENTS_FIELD: u32 = 11;

/// Encoded events, shared by all messages that carry them.
#[derive(Clone, Debug, PartialEq)]
pub struct Block {
    bytes: Bytes,
    /// Where each event but the last one ends.
    cuts: Box<[usize]>,
    /// The first message that was made of them.
    message: OnceLock<Box<Made>>,
}

/// A message with the events of a block, as gRPC sends it.
#[derive(Clone, Debug, PartialEq)]
struct Made {
    head: pb::WatchResponse,
    bytes: Bytes,
}

/// Encodes an event as a field of a message.
#[must_use]
pub fn encode_event(event: &Event, prev_kv: Option<KeyValue>) -> Bytes {
    use mvccpb::event::EventType;
    let kind = match event {
        Event::Put(_) => EventType::Put,
        Event::Delete(_) => EventType::Delete,
    };
    let event = mvccpb::Event {
        r#type: kind.into(),
        kv: Some(event.kv().clone().into()),
        prev_kv: prev_kv.map(mvccpb::KeyValue::from),
    };
    let mut out = BytesMut::with_capacity(encoding::message::encoded_len(EVENTS_FIELD, &event));
    encoding::message::encode(EVENTS_FIELD, &event, &mut out);
    out.freeze()
}

impl Block {
    /// A block of one event.
    #[must_use]
    pub fn one(event: Bytes) -> Self {
        Self { bytes: event, cuts: Box::default(), message: OnceLock::new() }
    }

    /// A block of several events, in their order.
    #[must_use]
    pub fn of(events: &[Bytes]) -> Self {
        if let [event] = events {
            return Self::one(event.clone());
        }
        let mut bytes = BytesMut::with_capacity(events.iter().map(Bytes::len).sum());
        let mut cuts = Vec::with_capacity(events.len());
        for event in events {
            bytes.extend_from_slice(event);
            cuts.push(bytes.len());
        }
        cuts.pop();
        Self { bytes: bytes.freeze(), cuts: cuts.into(), message: OnceLock::new() }
    }

    /// How many events it has.
    #[must_use]
    pub const fn events(&self) -> usize {
        self.cuts.len() + 1
    }

    /// Its length in a message.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Never: a block has an event.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// All its bytes.
    #[must_use]
    pub fn bytes(&self) -> Bytes {
        self.bytes.clone()
    }

    /// The message with this head and all the events, as gRPC sends it. It is made once: streams
    /// that each have one watch of the same keys are sent the same message, since their watches
    /// have the same id. None for another head than the first one.
    #[must_use]
    pub fn message(&self, head: &pb::WatchResponse) -> Option<Bytes> {
        let made = self.message.get_or_init(|| {
            let length = head.encoded_len() + self.len();
            let mut bytes = BytesMut::with_capacity(PREFIX_BYTES + length);
            put_prefix(length, &mut bytes);
            head.encode(&mut bytes).expect("there is room for it");
            bytes.put_slice(&self.bytes);
            Box::new(Made { head: head.clone(), bytes: bytes.freeze() })
        });
        (made.head == *head).then(|| made.bytes.clone())
    }

    /// The events one by one.
    pub(super) fn split(&self) -> impl Iterator<Item = Bytes> {
        let ends = self.cuts.iter().copied().chain([self.bytes.len()]);
        let mut start = 0;
        ends.map(move |end| self.bytes.slice(std::mem::replace(&mut start, end)..end))
    }
}

/// The events of encoded fields, for who needs them as messages.
pub(super) fn decode_events(bytes: Bytes) -> Result<Vec<mvccpb::Event>, prost::DecodeError> {
    pb::WatchResponse::decode(bytes).map(|response| response.events)
}
