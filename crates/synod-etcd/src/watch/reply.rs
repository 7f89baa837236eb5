//! A message to a client that watches, its events encoded already, and the codec that reads what
//! clients ask.

use bytes::{BufMut, Bytes};
use prost::Message;
use tonic::codec::{BufferSettings, Codec};
use tonic_prost::{ProstDecoder, ProstEncoder};

use super::block::{Block, decode_events};
use crate::proto::etcdserverpb as pb;

/// A message to a client that watches.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WatchReply {
    /// All but the events.
    pub head: pb::WatchResponse,
    /// The events, encoded.
    pub events: Vec<Bytes>,
}

impl WatchReply {
    /// How long it is as a message.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        self.head.encoded_len() + self.events.iter().map(Bytes::len).sum::<usize>()
    }

    /// Writes the message but for its events.
    pub fn write_head(&self, out: &mut impl BufMut) {
        self.head.encode_raw(out);
    }

    /// The message in full, for who sends it in another form.
    #[must_use]
    pub fn into_message(self) -> pb::WatchResponse {
        let events = self.events.concat();
        let events =
            decode_events(events.into()).expect("events are encoded here and nowhere else");
        pb::WatchResponse { events, ..self.head }
    }
}

/// Cuts the events of one revision into messages shorter than `bytes_max`, if one event is not
/// longer by itself. As etcd does, all but the last one say that more follows.
#[must_use]
pub fn fragments(head: &pb::WatchResponse, block: &Block, bytes_max: usize) -> Vec<WatchReply> {
    let whole = head.encoded_len() + block.len();
    if whole < bytes_max || block.events() < 2 {
        return vec![WatchReply { head: head.clone(), events: vec![block.bytes()] }];
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
                replies.push(WatchReply { head: head.clone(), events: vec![event] });
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
        let reply = WatchReply { head: head(), events: vec![Block::of(&encoded).bytes()] };
        let mut bytes = reply.head.encode_to_vec();
        bytes.extend(reply.events.concat());
        assert_eq!(bytes.len(), reply.encoded_len());
        let message = reply.into_message();
        assert_eq!(message.encode_to_vec(), bytes, "as prost writes it");
        assert_eq!(message.events.len(), 3);
        assert_eq!(message.events[1].r#type(), mvccpb::event::EventType::Delete);
        assert_eq!(message.events[2].kv.as_ref().unwrap().key, "c");
        assert_eq!(message.events[2].prev_kv, Some(kv("p", 1).into()));
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
                assert!(reply.encoded_len() < bytes_max || reply.events.len() == 1);
            }
            let all: Vec<Bytes> = replies.into_iter().flat_map(|reply| reply.events).collect();
            assert_eq!(all.concat(), block.bytes());
        }
    }
}
