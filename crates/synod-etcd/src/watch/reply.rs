//! A message to a client that watches, its events encoded already, and the codec that reads what
//! clients ask.

use bytes::{BufMut, Bytes};
use prost::Message;
use prost::encoding::int64;
use tonic::codec::{BufferSettings, Codec};
use tonic_prost::{ProstDecoder, ProstEncoder};

use super::block::{Block, decode_events};
use crate::proto::etcdserverpb as pb;

/// A message to a client that watches, and the same one to others of its watches.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WatchReply {
    /// All but the events.
    pub head: pb::WatchResponse,
    /// More watches: each gets a message that differs in its id alone.
    pub others: Vec<i64>,
    /// The events, encoded.
    pub events: Vec<Bytes>,
}

/// What comes before the events in the messages of a reply.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Heads {
    /// All but the id of the watch, encoded.
    shared: Vec<u8>,
}

/// How long it is what gRPC puts before each message.
pub const PREFIX_BYTES: usize = 5;
/// The field of [`pb::WatchResponse`] that holds the id of the watch.
const WATCH_ID_FIELD: u32 = 2;

impl WatchReply {
    /// A message to one watch.
    #[must_use]
    pub const fn to_one(head: pb::WatchResponse, events: Vec<Bytes>) -> Self {
        Self { head, others: Vec::new(), events }
    }

    /// How many messages it is: one for each of its watches.
    #[must_use]
    pub const fn messages(&self) -> usize {
        1 + self.others.len()
    }

    /// The watch that gets the message of this number.
    #[must_use]
    pub fn watch_id(&self, message: usize) -> i64 {
        message.checked_sub(1).map_or(self.head.watch_id, |other| self.others[other])
    }

    /// Encodes what its messages have in common.
    #[must_use]
    pub fn heads(&mut self) -> Heads {
        let watch_id = std::mem::take(&mut self.head.watch_id);
        let shared = self.head.encode_to_vec();
        self.head.watch_id = watch_id;
        Heads { shared }
    }

    /// The first of its messages in full, for who sends it in another form.
    #[must_use]
    pub fn into_message(self) -> pb::WatchResponse {
        let events = self.events.concat();
        let events =
            decode_events(events.into()).expect("events are encoded here and nowhere else");
        pb::WatchResponse { events, ..self.head }
    }
}

impl Heads {
    /// How long the head of a watch's message is.
    #[must_use]
    pub fn len_for(&self, watch_id: i64) -> usize {
        self.shared.len()
            + if watch_id == 0 { 0 } else { int64::encoded_len(WATCH_ID_FIELD, &watch_id) }
    }

    /// How long the longest head is.
    #[must_use]
    pub fn len_max(&self) -> usize {
        self.len_for(-1)
    }

    /// Writes it. The id comes last, as fields may.
    pub fn write(&self, watch_id: i64, out: &mut impl BufMut) {
        out.put_slice(&self.shared);
        if watch_id != 0 {
            int64::encode(WATCH_ID_FIELD, &watch_id, out);
        }
    }
}

/// Writes what gRPC puts before a message: that it is not compressed, and its length.
///
/// # Panics
///
/// If the message has 4 GiB or more: no outlet holds as much.
pub fn put_prefix(length: usize, out: &mut impl BufMut) {
    out.put_u8(0);
    out.put_u32(u32::try_from(length).expect("messages are far shorter than 4 GiB"));
}

/// Cuts the events of one revision into messages shorter than `bytes_max`, if one event is not
/// longer by itself. As etcd does, all but the last one say that more follows.
#[must_use]
pub fn fragments(head: &pb::WatchResponse, block: &Block, bytes_max: usize) -> Vec<WatchReply> {
    let whole = head.encoded_len() + block.len();
    if whole < bytes_max || block.events() < 2 {
        return vec![WatchReply::to_one(head.clone(), vec![block.bytes()])];
    }
    let head = pb::WatchResponse { fragment: true, ..head.clone() };
    let mut replies: Vec<WatchReply> = Vec::new();
    let mut bytes = bytes_max;
    for event in block.split() {
        bytes += event.len();
        match replies.last_mut() {
            Some(reply) if bytes < bytes_max => reply.events.push(event),
            _ => {
                bytes = head.encoded_len() + event.len();
                replies.push(WatchReply::to_one(head.clone(), vec![event]));
            }
        }
    }
    if let Some(last) = replies.last_mut() {
        last.head.fragment = false;
    }
    replies
}

/// Reads requests. Replies go another way than through the gRPC library.
#[derive(Clone, Copy, Debug, Default)]
pub struct WatchCodec;

/// A stream that asks for nothing keeps no large buffer.
const BUFFER_BYTES: usize = 128;

impl Codec for WatchCodec {
    type Encode = pb::WatchResponse;
    type Decode = pb::WatchRequest;
    type Encoder = ProstEncoder<pb::WatchResponse>;
    type Decoder = ProstDecoder<pb::WatchRequest>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstEncoder::new(BufferSettings::new(BUFFER_BYTES, BUFFER_BYTES))
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstDecoder::new(BufferSettings::new(BUFFER_BYTES, BUFFER_BYTES))
    }
}

#[cfg(test)]
mod tests {
    use synod_kv::{Event, KeyValue, Revision};

    use super::super::encode_event;
    use super::*;
    use crate::proto::mvccpb;

    fn kv(key: &'static str, value: usize) -> KeyValue {
        KeyValue {
            key: key.into(),
            value: vec![7; value].into(),
            create_revision: Revision::new(2),
            mod_revision: Revision::new(9),
            version: 3,
            lease: 5,
        }
    }

    fn events() -> [Event; 3] {
        let gone =
            KeyValue { key: "b".into(), mod_revision: Revision::new(9), ..Default::default() };
        [Event::Put(kv("a", 40)), Event::Delete(gone), Event::Put(kv("c", 40))]
    }

    fn head() -> pb::WatchResponse {
        let header = pb::ResponseHeader { revision: 9, ..Default::default() };
        pb::WatchResponse { header: Some(header), watch_id: -1, ..Default::default() }
    }

    #[test]
    fn head_and_events_are_the_message() {
        let encoded: Vec<Bytes> =
            events().iter().map(|event| encode_event(event, Some(kv("p", 1)))).collect();
        let reply = WatchReply::to_one(head(), vec![Block::of(&encoded).bytes()]);
        let mut bytes = reply.head.encode_to_vec();
        bytes.extend(reply.events.concat());
        let message = reply.into_message();
        assert_eq!(message.encode_to_vec(), bytes, "as prost writes it");
        assert_eq!(message.events.len(), 3);
        assert_eq!(message.events[1].r#type(), mvccpb::event::EventType::Delete);
        assert_eq!(message.events[2].kv.as_ref().unwrap().key, "c");
        assert_eq!(message.events[2].prev_kv, Some(kv("p", 1).into()));
    }

    #[test]
    fn a_message_is_made_once_and_only_for_its_head() {
        let encoded: Vec<Bytes> = events().iter().map(|event| encode_event(event, None)).collect();
        let block = Block::of(&encoded);
        let message = block.message(&head()).unwrap();
        let (prefix, rest) = message.split_at(PREFIX_BYTES);
        let whole = WatchReply::to_one(head(), vec![block.bytes()]).into_message();
        assert_eq!(rest, whole.encode_to_vec());
        let length = u32::try_from(rest.len()).unwrap().to_be_bytes();
        assert_eq!((prefix[0], &prefix[1..]), (0, &length[..]));
        assert_eq!(block.message(&head()).unwrap().as_ptr(), message.as_ptr());
        let others = [
            pb::WatchResponse { watch_id: 7, ..head() },
            pb::WatchResponse { header: None, ..head() },
        ];
        assert!(others.iter().all(|head| block.message(head).is_none()));
    }

    #[test]
    fn messages_to_several_watches_differ_in_the_id() {
        let ids = [-1, 0, 1, 127, 128, i64::MAX, i64::MIN];
        let others = ids[1..].to_vec();
        let mut reply = WatchReply { head: head(), others, events: Vec::new() };
        let heads = reply.heads();
        assert_eq!((reply.messages(), &reply.head), (ids.len(), &head()));
        for (at, watch_id) in ids.into_iter().enumerate() {
            assert_eq!(reply.watch_id(at), watch_id);
            let mut bytes = Vec::new();
            heads.write(watch_id, &mut bytes);
            assert_eq!(bytes.len(), heads.len_for(watch_id));
            let expected = pb::WatchResponse { watch_id, ..head() };
            assert_eq!(bytes, expected.encode_to_vec(), "as prost writes it");
        }
    }

    #[test]
    fn fragments_are_shorter_than_the_limit_and_lose_nothing() {
        let encoded: Vec<Bytes> = events().iter().map(|event| encode_event(event, None)).collect();
        let block = Block::of(&encoded);
        let whole = head().encoded_len() + block.len();
        for (bytes_max, count) in [(whole + 1, 1), (whole, 2), (1, 3)] {
            let replies = fragments(&head(), &block, bytes_max);
            assert_eq!(replies.len(), count, "{bytes_max}");
            let last = replies.len() - 1;
            for (at, reply) in replies.iter().enumerate() {
                assert_eq!(reply.head.fragment, at < last);
                let bytes = reply.events.iter().map(Bytes::len).sum::<usize>();
                let bytes = reply.head.encoded_len() + bytes;
                assert!(bytes < bytes_max || reply.events.len() == 1);
            }
            let all: Vec<Bytes> = replies.into_iter().flat_map(|reply| reply.events).collect();
            assert_eq!(all.concat(), block.bytes());
        }
    }
}
