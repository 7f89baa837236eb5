//! What a client that measures takes from an answer of a watch: how many events there are.
//!
//! A client that decodes each event costs as much as the member that sends it, on the same cores,
//! and hides what the members differ in. The message is walked, each field once; nothing is copied.

use bytes::{Buf, BufMut};
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};
use prost::{DecodeError, Message};
use synod_etcd::proto::etcdserverpb::WatchRequest;
use tonic::Status;
use tonic::codec::{BufferSettings, Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};

/// An answer, counted.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Tally {
    /// It says that a watch was made.
    pub(super) created: bool,
    /// How many events it has.
    pub(super) events: u64,
}

/// Writes requests, counts answers.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct TallyCodec;

/// The fields of an answer that are looked at.
const CREATED_FIELD: u32 = 3;
const EVENTS_FIELD: u32 = 11;

impl Tally {
    fn of(mut message: impl Buf) -> Result<Self, DecodeError> {
        let mut tally = Self::default();
        while message.has_remaining() {
            match decode_key(&mut message)? {
                (CREATED_FIELD, WireType::Varint) => {
                    tally.created = decode_varint(&mut message)? != 0;
                }
                (field, wire) => {
                    tally.events += u64::from(field == EVENTS_FIELD);
                    skip_field(wire, field, &mut message, DecodeContext::default())?;
                }
            }
        }
        Ok(tally)
    }
}

impl Codec for TallyCodec {
    type Encode = WatchRequest;
    type Decode = Tally;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for TallyCodec {
    type Item = WatchRequest;
    type Error = Status;

    fn encode(&mut self, request: WatchRequest, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        out.put_slice(&request.encode_to_vec());
        Ok(())
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::default()
    }
}

impl Decoder for TallyCodec {
    type Item = Tally;
    type Error = Status;

    fn decode(&mut self, message: &mut DecodeBuf<'_>) -> Result<Option<Tally>, Status> {
        Tally::of(message).map(Some).map_err(|error| Status::internal(error.to_string()))
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::default()
    }
}

#[cfg(test)]
mod tests {
    use synod_etcd::proto::etcdserverpb::{ResponseHeader, WatchResponse};
    use synod_etcd::proto::mvccpb::Event;

    use super::*;

    #[test]
    fn what_is_counted_is_what_is_there() {
        for (created, events) in [(true, 0), (false, 1), (false, 7)] {
            let answer = WatchResponse {
                header: Some(ResponseHeader { revision: 300, ..Default::default() }),
                watch_id: 9,
                created,
                cancel_reason: "x".to_owned(),
                events: vec![Event { r#type: 1, ..Default::default() }; events],
                ..Default::default()
            };
            let tally = Tally::of(&answer.encode_to_vec()[..]).unwrap();
            assert_eq!(tally, Tally { created, events: events as u64 });
        }
        Tally::of(&[0x5a, 9][..]).unwrap_err();
    }
}
